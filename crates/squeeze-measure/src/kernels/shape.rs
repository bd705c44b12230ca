//! Networks of one layer whose families of kernels are measured.

use std::fmt;

use squeeze_graph::ops::{Conv2d, Linear};
use squeeze_graph::{Builder, Element, Graph, Op};
use squeeze_rewrite::fresh;
use squeeze_tensor::{Seed, Tensor, Weights};

/// A layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Rows of a linear layer, or rows and columns of an image.
    size: Size,
    /// Channels that go in and come out.
    channels: [usize; 2],
    groups: usize,
}

#[derive(Clone, Copy, Debug)]
enum Size {
    Rows(usize),
    Image {
        side: usize,
        kernel: usize,
        stride: usize,
    },
}

/// Which share of the weights is zero, in blocks of so many outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zeros {
    share: f32,
    block: usize,
}

/// So many rows of a linear layer.
pub(super) const fn rows(rows: usize, inputs: usize, outputs: usize) -> Shape {
    Shape {
        size: Size::Rows(rows),
        channels: [inputs, outputs],
        groups: 1,
    }
}

/// 3 x 3 windows over a square image that keeps its size.
pub(super) const fn square(side: usize, inputs: usize, outputs: usize) -> Shape {
    Shape {
        size: Size::Image {
            side,
            kernel: 3,
            stride: 1,
        },
        channels: [inputs, outputs],
        groups: 1,
    }
}

pub(super) const fn zeros(share: f32, block: usize) -> Zeros {
    Zeros { share, block }
}

impl Shape {
    /// The same in groups.
    pub const fn grouped(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// The same with windows of other sizes, some pixels apart.
    pub const fn windows(self, kernel: usize, stride: usize) -> Self {
        match self.size {
            Size::Rows(_) => self,
            Size::Image { side, .. } => Self {
                size: Size::Image {
                    side,
                    kernel,
                    stride,
                },
                ..self
            },
        }
    }

    /// A network of this layer alone, some of its weights zero.
    pub fn network(self, zeros: Zeros) -> (Graph, Weights) {
        let [inputs, out] = self.channels;
        let (x, op): (Vec<usize>, Op) = match self.size {
            Size::Rows(rows) => (
                vec![1, rows, inputs],
                Linear::grouped(out, self.groups).into(),
            ),
            Size::Image {
                side,
                kernel,
                stride,
            } => {
                let conv = Conv2d {
                    stride: [stride; 2],
                    groups: self.groups,
                    ..Conv2d::square(out, kernel)
                };
                (vec![1, inputs, side, side], conv.into())
            }
        };
        let mut b = Builder::new(self.to_string());
        let x = b.input("x", &x, Element::Number).expect("a row that fits");
        let y = b.add("layer", op, &[x]).expect("a row that fits");
        let graph = b.finish(&[y]).expect("it has an output");
        let weights = zeros.of(&fresh(&graph, Seed(1)));
        (graph, weights)
    }
}

impl Zeros {
    /// The weights with this share of blocks drawn and made zero.
    fn of(self, weights: &Weights) -> Weights {
        let mut random = Seed(2).random();
        let mut result = Weights::default();
        for (name, tensor) in weights.iter() {
            // Weights are [out, in / groups, ..].
            let row: usize = tensor.shape()[1..].iter().product();
            let mut values = tensor.floats();
            if tensor.shape().len() > 1 && self.share > 0.0 {
                for rows in values.chunks_mut(self.block * row) {
                    for at in (0..row).filter(|_| random.uniform() < self.share) {
                        let column = rows.iter_mut().skip(at).step_by(row);
                        column.for_each(|weight| *weight = 0.0);
                    }
                }
            }
            result.insert(name, Tensor::from_f32(tensor.shape(), &values));
        }
        result
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [inputs, out] = self.channels.map(|channels| channels / self.groups);
        let first = match self.size {
            Size::Rows(rows) => rows,
            Size::Image { side, .. } => side,
        };
        match self.groups {
            1 => write!(f, "{first} x {inputs} -> {out}")?,
            groups => write!(f, "{first} x {groups} x ({inputs} -> {out})")?,
        }
        match self.size {
            Size::Rows(_) => Ok(()),
            Size::Image { kernel, stride, .. } => {
                write!(f, ", {kernel} x {kernel}")?;
                match stride {
                    1 => Ok(()),
                    stride => write!(f, " / {stride}"),
                }
            }
        }
    }
}

impl fmt::Display for Zeros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { share, block } = self;
        match *share > 0.0 {
            true => write!(f, ", {:.0} % zero in {block}x1", 100.0 * share),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shape: Shape, zeros: Zeros, name: &str) {
        assert_eq!(format!("{shape}{zeros}"), name);
        let (_, weights) = shape.network(zeros);
        let weight = weights.get("layer.weight").expect("it has one").floats();
        let zero = weight.iter().filter(|&&w| w == 0.0).count() as f32;
        // Three standard deviations of draws of the blocks.
        let blocks = weight.len() as f32 / zeros.block as f32;
        let bound = 3.0 * (zeros.share * (1.0 - zeros.share) / blocks).sqrt();
        let share = zero / weight.len() as f32;
        assert!((share - zeros.share).abs() <= bound, "{share}");
    }

    #[test]
    fn names_and_zeros() {
        check(rows(128, 768, 768), zeros(0.0, 1), "128 x 768 -> 768");
        let grouped = rows(128, 768, 768).grouped(4);
        let name = "128 x 4 x (192 -> 192), 90 % zero in 16x1";
        check(grouped, zeros(0.9, 16), name);
        let first = square(224, 3, 64).windows(7, 2);
        check(first, zeros(0.0, 1), "224 x 3 -> 64, 7 x 7 / 2");
        check(
            rows(49, 960, 160),
            zeros(0.65, 1),
            "49 x 960 -> 160, 65 % zero in 1x1",
        );
    }
}
