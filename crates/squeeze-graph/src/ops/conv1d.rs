//! 1-D convolution over tokens: `[n, s, c]` in, and lengths `[n]` if wanted; `[n, s, out]` out, weight `[out, in / groups, k]`.

use serde::{Deserialize, Serialize};

use crate::param::{Init, Param};
use crate::shape::{Shape, ShapeError, divides};

/// A convolution over tokens, zero-padded so that the length stays. With lengths, tokens beyond a text's own are zeros too; without, it
/// sees what padding holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv1d {
    /// Output channels.
    pub out: usize,
    /// Width of the window in tokens; odd.
    pub kernel: usize,
    /// Distance between taps.
    pub dilation: usize,
    /// Groups; `groups == in channels` is depthwise.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Conv1d {
    /// Zeros before and after the text.
    pub fn padding(&self) -> usize {
        self.kernel / 2 * self.dilation
    }

    /// What comes out of text `x`, or of `x` and lengths.
    pub fn shape(&self, inputs: &[&[usize]]) -> Result<Shape, ShapeError> {
        let x = match *inputs {
            [x] => x,
            [x, lengths] => {
                super::pool::of_tokens(x, lengths)?;
                x
            }
            _ => {
                return Err(ShapeError::Inputs {
                    wanted: "one or two",
                    found: inputs.len(),
                });
            }
        };
        let &[n, s, channels] = x else {
            return Err(ShapeError::Rank {
                wanted: "text [n, s, c]",
                found: x.to_vec(),
            });
        };
        divides(channels, self.groups)?;
        divides(self.out, self.groups)?;
        if self.kernel.is_multiple_of(2) {
            return Err(ShapeError::EvenKernel {
                kernel: self.kernel,
            });
        }
        if self.dilation == 0 {
            return Err(ShapeError::Zero {
                what: "the dilation",
            });
        }
        Ok(vec![n, s, self.out])
    }

    /// Multiply-adds from `x` to `y`.
    pub fn macs(&self, x: &[usize], y: &[usize]) -> u64 {
        (self.kernel * x[2] / self.groups) as u64 * crate::elements(y) as u64
    }

    /// Weight and bias for text `x`.
    pub fn params(&self, x: &[usize]) -> Vec<Param> {
        let (fan_in, fan_out) = (x[2] / self.groups, self.out / self.groups);
        let init = Init::glorot(fan_in * self.kernel, fan_out * self.kernel);
        let weight = Param::weight(vec![self.out, fan_in, self.kernel], init);
        if self.bias {
            vec![weight, Param::bias(self.out)]
        } else {
            vec![weight]
        }
    }
}
