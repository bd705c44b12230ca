//! Operators that treat every element (or every row of channels) alike.

use serde::{Deserialize, Serialize};

use crate::shape::{Shape, ShapeError};

/// A non-linear function of each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// Exact GELU, with the error function.
    Gelu,
    /// GELU's approximation with the hyperbolic tangent.
    GeluTanh,
    /// `x * sigmoid(x)`, also called swish.
    Silu,
    /// `x * relu6(x + 3) / 6`.
    HardSwish,
    /// `relu6(x + 3) / 6`.
    HardSigmoid,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
}

/// Sum of inputs of one shape; all but the first may be `[n, c]` against an image or text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {}

/// Product of two inputs of one shape; the second may be a gate `[n, c]` against an image or text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mul {}

/// Product with one number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// The number.
    pub factor: f64,
}

/// Softmax over the channels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {}

/// Zeroes elements at random while training (Srivastava et al., 2014); nothing at inference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    /// Share of elements that are zeroed.
    pub rate: f64,
}

/// Shape of an element-wise operator: that of the first input; the others equal it or are gates.
pub(crate) fn broadcast(inputs: &[&[usize]]) -> Result<Shape, ShapeError> {
    let [first, others @ ..] = inputs else {
        return Err(ShapeError::Inputs {
            wanted: "two or more",
            found: 0,
        });
    };
    if others.is_empty() {
        return Err(ShapeError::Inputs {
            wanted: "two or more",
            found: 1,
        });
    }
    for other in others {
        let channels = first[crate::channel_axis(first)];
        let gate = **other == [first[0], channels];
        if other != first && !gate {
            return Err(ShapeError::Mismatch {
                a: first.to_vec(),
                b: other.to_vec(),
            });
        }
    }
    Ok(first.to_vec())
}
