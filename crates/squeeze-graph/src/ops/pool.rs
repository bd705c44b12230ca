//! Pools: windows over an image, the mean of an image, the mean of a text.

use serde::{Deserialize, Serialize};

use crate::shape::{Shape, ShapeError, image, windows};

/// What a pool makes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// The largest element.
    Max,
    /// The mean of the elements, padding counted as zeros.
    Average,
    /// The mean of the elements inside the image.
    AverageInside,
}

/// A pool over windows of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Largest or mean.
    pub kind: PoolKind,
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Step of the window.
    pub stride: [usize; 2],
    /// Border around the image: top, left, bottom, right.
    #[serde(default)]
    pub padding: [usize; 4],
    /// Whether a last window may hang over the border (PyTorch's `ceil_mode`).
    #[serde(default)]
    pub ceil: bool,
}

impl Pool {
    /// What comes out of an image `x`.
    pub fn shape(&self, x: &[usize]) -> Result<Shape, ShapeError> {
        let [n, channels, height, width] = image(x)?;
        let [top, left, bottom, right] = self.padding;
        let places = |axis: usize, size: usize, before: usize, after: usize| {
            let (window, stride) = (self.kernel[axis], self.stride[axis]);
            if window == 0 || before >= window || after >= window {
                return Err(ShapeError::Window {
                    window,
                    size: before.max(after),
                });
            }
            let count = windows(size, before + after, window, stride)?;
            // A hanging window must start inside the image or its leading border.
            let hangs = self.ceil
                && (count - 1) * stride + window < size + before + after
                && count * stride < size + before;
            Ok(count + usize::from(hangs))
        };
        Ok(vec![
            n,
            channels,
            places(0, height, top, bottom)?,
            places(1, width, left, right)?,
        ])
    }
}

/// Mean over height and width: `[n, c, h, w]` to `[n, c]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalAverage {}

impl GlobalAverage {
    /// What comes out of an image `x`.
    pub fn shape(&self, x: &[usize]) -> Result<Shape, ShapeError> {
        let [n, channels, _, _] = image(x)?;
        Ok(vec![n, channels])
    }
}

/// Mean over the tokens inside each text's length: `[n, s, c]` and lengths `[n]` to `[n, c]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenMean {}

impl TokenMean {
    /// What comes out of text `x` with `lengths`.
    pub fn shape(&self, x: &[usize], lengths: &[usize]) -> Result<Shape, ShapeError> {
        of_tokens(x, lengths)
    }
}

/// The largest of each channel over the tokens inside each text's length, 0 for an empty text:
/// `[n, s, c]` and lengths `[n]` to `[n, c]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenMax {}

impl TokenMax {
    /// What comes out of text `x` with `lengths`.
    pub fn shape(&self, x: &[usize], lengths: &[usize]) -> Result<Shape, ShapeError> {
        of_tokens(x, lengths)
    }
}

/// One row for each text.
pub(super) fn of_tokens(x: &[usize], lengths: &[usize]) -> Result<Shape, ShapeError> {
    let &[n, _, channels] = x else {
        return Err(ShapeError::Rank {
            wanted: "text [n, s, c]",
            found: x.to_vec(),
        });
    };
    if lengths != [n] {
        return Err(ShapeError::Mismatch {
            a: x.to_vec(),
            b: lengths.to_vec(),
        });
    }
    Ok(vec![n, channels])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(size: usize, padding: usize, ceil: bool, out: usize) {
        let pool = Pool {
            kind: PoolKind::Max,
            kernel: [3; 2],
            stride: [2; 2],
            padding: [padding; 4],
            ceil,
        };
        assert_eq!(
            pool.shape(&[1, 4, size, size]).expect("fits"),
            [1, 4, out, out]
        );
    }

    /// Sizes from `torch.nn.MaxPool2d(3, 2, padding, ceil_mode)`.
    #[test]
    fn windows_as_pytorch_counts_them() {
        check(112, 1, false, 56);
        check(111, 0, true, 55);
        check(112, 0, true, 56);
        check(110, 0, true, 55);
        check(5, 1, true, 3);
    }
}
