//! What an ONNX value is to us while a file is read: known numbers, a node's result, or a part of an operator of ours.

use std::rc::Rc;

use super::array::Array;
use super::attention::Scores;
use crate::view::View;

/// What an ONNX value is to us.
#[derive(Clone)]
pub(super) enum Value {
    /// Known numbers.
    Known(Rc<Array>),
    /// Known for two sample masks.
    Mask(Mask),
    /// A node's result.
    Node(View),
    /// Attention in the making.
    Scores(Scores),
    /// GELU in the making, of a node's result.
    Curve(View, Curve),
    /// Layer norm in the making, of a node's result.
    Norm(View, Norm),
    /// Tokens from one place to another of a text, to be padded.
    Cut(View, [usize; 2]),
    /// A text moved so many tokens forward, with zeros where nothing comes from.
    Shifted(View, i64),
    /// A text beside itself moved by these numbers of tokens, along the channels.
    Window(View, Vec<i64>),
    /// An image with zeros around it: top, left, bottom, right.
    Padded(View, [usize; 4]),
    /// A text whose padding is this number.
    Hidden(View, f64),
    /// The sum of a text's tokens before the padding.
    TokenSum(View),
    /// False everywhere: whether a softmax is not a number.
    Never,
}

/// A value computed from the mask: for texts that fill all places, and for texts of which every second one fills half of them.
#[derive(Clone)]
pub(super) struct Mask {
    pub whole: Rc<Array>,
    pub half: Rc<Array>,
}

impl Mask {
    /// Of numbers that no mask changes.
    pub fn known(array: Rc<Array>) -> Self {
        Self {
            whole: array.clone(),
            half: array,
        }
    }

    /// A mask of the same shape from what stands in both samples.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        let of = |array: &Array| {
            let data = array.data.iter().map(|&value| f(value)).collect();
            Rc::new(Array {
                shape: array.shape.clone(),
                data,
            })
        };
        Self {
            whole: of(&self.whole),
            half: of(&self.half),
        }
    }

    /// The number that stands everywhere in both samples.
    pub fn constant(&self) -> Option<f64> {
        let value = self.whole.constant()?;
        (self.half.constant() == Some(value)).then_some(value)
    }
}

/// How far a GELU that is written out has come, of `x` times the view's factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Curve {
    /// The error function.
    Erf,
    /// The same and 1.
    ErfAndOne,
    /// The square.
    Square,
    /// A multiple of the cube.
    Cube(f64),
    /// `x` and a multiple of its cube, times a number.
    Inner { cubic: f64, factor: f64 },
    /// The hyperbolic tangent of that.
    Tanh,
    /// The same and 1.
    TanhAndOne,
}

/// How far a layer norm that is written out has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Norm {
    /// The mean over the channels.
    Mean,
    /// What is left without it.
    Centred,
    /// The squares of that.
    Squares,
    /// Their mean, and a number that was added.
    Variance(f64),
    /// Its root.
    Deviation(f64),
    /// One over its root.
    Inverse(f64),
}
