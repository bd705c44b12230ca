//! Fully connected layer over the last axis: `[.., in]` to `[.., out]`, weight `[out, in / groups]`.
//!
//! With text it is the position-wise layer of a Transformer; with groups, SqueezeBERT's grouped
//! convolution with kernel size 1 (Iandola et al., 2020).

use serde::{Deserialize, Serialize};

use crate::param::{Init, Param};
use crate::shape::{Shape, ShapeError, divides};

/// A fully connected layer, block-diagonal when grouped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Output channels.
    pub out: usize,
    /// Groups: output channels of a group see the input channels of that group alone.
    #[serde(default = "one")]
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

fn one() -> usize {
    1
}

impl Linear {
    /// A dense layer with bias.
    pub fn dense(out: usize) -> Self {
        Self {
            out,
            groups: 1,
            bias: true,
        }
    }

    /// A grouped layer with bias.
    pub fn grouped(out: usize, groups: usize) -> Self {
        Self {
            out,
            groups,
            bias: true,
        }
    }

    /// What comes out of `x`, a vector `[n, c]` or text `[n, s, c]`.
    pub fn shape(&self, x: &[usize]) -> Result<Shape, ShapeError> {
        let [rows @ .., channels] = x else {
            return Err(ShapeError::Rank {
                wanted: "[n, c] or [n, s, c]",
                found: x.to_vec(),
            });
        };
        if !(1..=2).contains(&rows.len()) {
            return Err(ShapeError::Rank {
                wanted: "[n, c] or [n, s, c]",
                found: x.to_vec(),
            });
        }
        divides(*channels, self.groups)?;
        divides(self.out, self.groups)?;
        Ok([rows, &[self.out]].concat())
    }

    /// Multiply-adds from `x` to `y`.
    pub fn macs(&self, x: &[usize], y: &[usize]) -> u64 {
        (x[x.len() - 1] / self.groups) as u64 * crate::elements(y) as u64
    }

    /// Weight and bias for `x`.
    pub fn params(&self, x: &[usize]) -> Vec<Param> {
        let fan_in = x[x.len() - 1] / self.groups;
        let init = Init::glorot(fan_in, self.out / self.groups);
        let weight = Param::weight(vec![self.out, fan_in], init);
        if self.bias {
            vec![weight, Param::bias(self.out)]
        } else {
            vec![weight]
        }
    }
}
