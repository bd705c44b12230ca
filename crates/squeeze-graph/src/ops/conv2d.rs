//! 2-D convolution: `[n, c, h, w]` in, `[n, out, h', w']` out, weight `[out, in / groups, kh, kw]`.

use serde::{Deserialize, Serialize};

use crate::param::{Init, Param};
use crate::shape::{Shape, ShapeError, divides, image, windows};

/// A 2-D convolution. Depthwise is `groups == in channels`; position-wise is `kernel == [1, 1]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// Output channels.
    pub out: usize,
    /// Height and width of the window, in taps.
    pub kernel: [usize; 2],
    /// Step of the window.
    #[serde(default = "ones")]
    pub stride: [usize; 2],
    /// Zeros around the image: top, left, bottom, right.
    #[serde(default)]
    pub padding: [usize; 4],
    /// Distance between taps.
    #[serde(default = "ones")]
    pub dilation: [usize; 2],
    /// Groups: output channels of a group see the input channels of that group alone.
    #[serde(default = "one")]
    pub groups: usize,
    /// Whether a bias is added.
    #[serde(default)]
    pub bias: bool,
}

fn ones() -> [usize; 2] {
    [1; 2]
}

fn one() -> usize {
    1
}

impl Conv2d {
    /// A square window of odd size, stride 1, padded so that height and width stay, no bias.
    pub fn square(out: usize, kernel: usize) -> Self {
        Self {
            out,
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: [kernel / 2; 4],
            dilation: [1; 2],
            groups: 1,
            bias: false,
        }
    }

    /// The same with taps `dilation` apart, padded so that height and width stay.
    pub fn dilated(self, dilation: usize) -> Self {
        let [height, width] = self.kernel.map(|taps| dilation * (taps / 2));
        Self {
            dilation: [dilation; 2],
            padding: [height, width, height, width],
            ..self
        }
    }

    /// What comes out of an image `x`.
    pub fn shape(&self, x: &[usize]) -> Result<Shape, ShapeError> {
        let [n, channels, height, width] = image(x)?;
        divides(channels, self.groups)?;
        divides(self.out, self.groups)?;
        let window = |axis: usize| -> Result<usize, ShapeError> {
            let taps = self.kernel[axis];
            let steps = taps
                .checked_sub(1)
                .ok_or(ShapeError::Zero { what: "the kernel" })?;
            if self.dilation[axis] == 0 {
                return Err(ShapeError::Zero {
                    what: "the dilation",
                });
            }
            Ok(steps.saturating_mul(self.dilation[axis]).saturating_add(1))
        };
        let [top, left, bottom, right] = self.padding;
        let height = windows(
            height,
            top.saturating_add(bottom),
            window(0)?,
            self.stride[0],
        )?;
        let width = windows(
            width,
            left.saturating_add(right),
            window(1)?,
            self.stride[1],
        )?;
        Ok(vec![n, self.out, height, width])
    }

    /// Multiply-adds from `x` to `y`.
    pub fn macs(&self, x: &[usize], y: &[usize]) -> u64 {
        let taps = (self.kernel[0] * self.kernel[1] * x[1] / self.groups) as u64;
        taps * crate::elements(y) as u64
    }

    /// Weight and bias for an image `x`.
    pub fn params(&self, x: &[usize]) -> Vec<Param> {
        let [height, width] = self.kernel;
        let fan_out = self.out / self.groups * height * width;
        let shape = vec![self.out, x[1] / self.groups, height, width];
        let weight = Param::weight(shape, Init::he(fan_out));
        if self.bias {
            vec![weight, Param::bias(self.out)]
        } else {
            vec![weight]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(conv: &Conv2d, x: [usize; 4], y: [usize; 4], macs: u64) {
        let shape = conv.shape(&x).expect("fits");
        assert_eq!(shape, y);
        assert_eq!(conv.macs(&x, &shape), macs);
    }

    #[test]
    fn dense() {
        check(
            &Conv2d::square(8, 3),
            [1, 3, 5, 5],
            [1, 8, 5, 5],
            8 * 25 * 27,
        );
    }

    #[test]
    fn grouped() {
        check(
            &Conv2d {
                groups: 4,
                ..Conv2d::square(8, 1)
            },
            [1, 8, 2, 2],
            [1, 8, 2, 2],
            64,
        );
    }

    #[test]
    fn strided_without_padding() {
        let conv = Conv2d {
            stride: [2; 2],
            padding: [0; 4],
            ..Conv2d::square(64, 3)
        };
        check(
            &conv,
            [1, 3, 224, 224],
            [1, 64, 111, 111],
            64 * 111 * 111 * 27,
        );
    }

    #[test]
    fn dilated_keeps_the_size() {
        check(
            &Conv2d::square(2, 3).dilated(4),
            [2, 2, 9, 9],
            [2, 2, 9, 9],
            2 * 2 * 81 * 18,
        );
    }

    #[test]
    fn groups_do_not_divide() {
        let conv = Conv2d {
            groups: 3,
            ..Conv2d::square(6, 1)
        };
        let error = conv
            .shape(&[1, 64, 2, 2])
            .expect_err("64 is no multiple of 3");
        assert_eq!(error.to_string(), "64 channels do not divide into 3 groups");
    }

    #[test]
    fn too_small() {
        let conv = Conv2d {
            padding: [0; 4],
            ..Conv2d::square(6, 5)
        };
        let error = conv.shape(&[1, 3, 4, 4]).expect_err("4 is less than 5");
        assert_eq!(error, ShapeError::Window { window: 5, size: 4 });
    }
}
