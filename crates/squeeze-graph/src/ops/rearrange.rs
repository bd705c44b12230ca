//! Operators that move elements and compute nothing.

use serde::{Deserialize, Serialize};

use crate::shape::{Shape, ShapeError, channel_axis, divides, elements};

/// Inputs side by side along an axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concat {
    /// The axis that grows.
    pub axis: usize,
}

impl Concat {
    /// What comes out.
    pub fn shape(&self, inputs: &[&[usize]]) -> Result<Shape, ShapeError> {
        let Some(first) = inputs.first() else {
            return Err(ShapeError::Inputs {
                wanted: "one or more",
                found: 0,
            });
        };
        let mut shape = first.to_vec();
        let axis = self.axis;
        for other in &inputs[1..] {
            let alike = other.len() == first.len()
                && axis < first.len()
                && (0..first.len()).all(|at| at == axis || first[at] == other[at]);
            if !alike {
                return Err(ShapeError::Mismatch {
                    a: first.to_vec(),
                    b: other.to_vec(),
                });
            }
            shape[axis] = shape[axis].saturating_add(other[axis]);
        }
        Ok(shape)
    }
}

/// The same elements, in the graph's order of axes, under another shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reshape {
    /// Size of each axis; 0 keeps the input's, -1 takes what is left.
    pub dims: Vec<i64>,
}

impl Reshape {
    /// `[n, ..]` to `[n, everything]`.
    pub fn flatten() -> Self {
        Self { dims: vec![0, -1] }
    }

    /// What comes out of `x`.
    pub fn shape(&self, x: &[usize]) -> Result<Shape, ShapeError> {
        let error = || ShapeError::Form {
            found: x.to_vec(),
            wanted: self.dims.clone(),
        };
        let mut shape = Shape::new();
        let mut free = None;
        for (axis, &dim) in self.dims.iter().enumerate() {
            shape.push(match dim {
                0 => *x.get(axis).ok_or_else(error)?,
                -1 if free.is_none() => {
                    free = Some(axis);
                    1
                }
                _ => usize::try_from(dim).map_err(|_| error())?,
            });
        }
        let total = elements(x);
        let known = shape
            .iter()
            .try_fold(1usize, |a, &b| a.checked_mul(b))
            .ok_or_else(error)?;
        if let Some(axis) = free {
            shape[axis] = total.checked_div(known).ok_or_else(error)?;
        }
        let count = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
        if count == Some(total) {
            Ok(shape)
        } else {
            Err(error())
        }
    }
}

/// Axes in another order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transpose {
    /// Axis `i` of the output is axis `order[i]` of the input.
    pub order: Vec<usize>,
}

impl Transpose {
    /// What comes out of `x`.
    pub fn shape(&self, x: &[usize]) -> Result<Shape, ShapeError> {
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.len()) {
            let wanted = self.order.iter().map(|&axis| axis as i64).collect();
            return Err(ShapeError::Form {
                found: x.to_vec(),
                wanted,
            });
        }
        Ok(self.order.iter().map(|&axis| x[axis]).collect())
    }
}

/// Deals the channels of each group out over all groups (ShuffleNet; Zhang et al., 2018).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelShuffle {
    /// Groups before the shuffle: channel `g * (c / groups) + i` goes to `i * groups + g`.
    pub groups: usize,
}

impl ChannelShuffle {
    /// What comes out of `x`.
    pub fn shape(&self, x: &[usize]) -> Result<Shape, ShapeError> {
        divides(x[channel_axis(x)], self.groups)?;
        Ok(x.to_vec())
    }
}

/// A range of one axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// The axis that shrinks.
    pub axis: usize,
    /// First index.
    pub start: usize,
    /// One past the last index.
    pub end: usize,
}

impl Slice {
    /// What comes out of `x`.
    pub fn shape(&self, x: &[usize]) -> Result<Shape, ShapeError> {
        let (start, end) = (self.start, self.end);
        let size = x.get(self.axis).copied().unwrap_or(0);
        if start >= end || end > size {
            return Err(ShapeError::Range { start, end, size });
        }
        let mut shape = x.to_vec();
        shape[self.axis] = end - start;
        Ok(shape)
    }
}

/// One index of one axis, which goes away: the first token of each text, say.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// The axis that goes away; not the batch.
    pub axis: usize,
    /// The index that stays.
    pub index: usize,
}

impl Select {
    /// What comes out of `x`.
    pub fn shape(&self, x: &[usize]) -> Result<Shape, ShapeError> {
        let size = x.get(self.axis).copied().unwrap_or(0);
        if self.index >= size || self.axis == 0 {
            let (start, end) = (self.index, self.index.saturating_add(1));
            return Err(ShapeError::Range { start, end, size });
        }
        let mut shape = x.to_vec();
        shape.remove(self.axis);
        Ok(shape)
    }
}
