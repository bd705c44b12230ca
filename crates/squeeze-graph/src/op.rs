//! The closed set of operators. A new one is a row here; the compiler then lists what it lacks.

use serde::{Deserialize, Serialize};

use crate::graph::Element;
use crate::ops::*;
use crate::param::Param;
use crate::shape::{Shape, ShapeError};

/// An operator with its attributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each variant is documented at its struct")]
pub enum Op {
    Input(Input),
    Conv2d(Conv2d),
    Conv1d(Conv1d),
    Linear(Linear),
    BatchNorm(BatchNorm),
    LayerNorm(LayerNorm),
    NoNorm(NoNorm),
    Activation(ActivationOp),
    Pool(Pool),
    GlobalAverage(GlobalAverage),
    TokenMax(TokenMax),
    TokenMean(TokenMean),
    Add(Add),
    Mul(Mul),
    Scale(Scale),
    Concat(Concat),
    Embedding(Embedding),
    Position(Position),
    ClassToken(ClassToken),
    Attention(Attention),
    Softmax(Softmax),
    Reshape(Reshape),
    Transpose(Transpose),
    ChannelShuffle(ChannelShuffle),
    Slice(Slice),
    Select(Select),
    Resize(Resize),
    Dropout(Dropout),
    Slot(SlotOp),
}

/// What the user puts in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Shape, batch first.
    pub shape: Shape,
    /// Numbers or indices.
    pub element: Element,
}

/// An [`Activation`] as an operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationOp {
    /// Which function.
    pub kind: Activation,
}

/// A place that a [`Space`](crate::Space) fills with one of several choices.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotOp {
    /// What every choice of the slot gives.
    pub shape: Shape,
}

impl Op {
    /// What comes out of inputs of these shapes.
    ///
    /// # Errors
    /// When the operator cannot take them.
    pub fn shape(&self, inputs: &[&[usize]]) -> Result<Shape, ShapeError> {
        let one = || match inputs {
            [x] if !x.is_empty() => Ok(*x),
            _ => Err(ShapeError::Inputs {
                wanted: "one",
                found: inputs.len(),
            }),
        };
        let two = || match inputs {
            [a, b] => Ok((*a, *b)),
            _ => Err(ShapeError::Inputs {
                wanted: "two",
                found: inputs.len(),
            }),
        };
        let shape = match self {
            Self::Input(op) => match inputs {
                [] => op.shape.clone(),
                _ => {
                    return Err(ShapeError::Inputs {
                        wanted: "no",
                        found: inputs.len(),
                    });
                }
            },
            Self::Conv2d(op) => op.shape(one()?)?,
            Self::Conv1d(op) => op.shape(inputs)?,
            Self::Linear(op) => op.shape(one()?)?,
            Self::BatchNorm(_) | Self::LayerNorm(_) | Self::NoNorm(_) => one()?.to_vec(),
            Self::Activation(_) | Self::Softmax(_) | Self::Dropout(_) => one()?.to_vec(),
            Self::Scale(_) => one()?.to_vec(),
            Self::Pool(op) => op.shape(one()?)?,
            Self::GlobalAverage(op) => op.shape(one()?)?,
            Self::TokenMax(op) => {
                let (x, lengths) = two()?;
                op.shape(x, lengths)?
            }
            Self::TokenMean(op) => {
                let (x, lengths) = two()?;
                op.shape(x, lengths)?
            }
            Self::Add(_) => pointwise::broadcast(inputs)?,
            Self::Mul(_) => {
                two()?;
                pointwise::broadcast(inputs)?
            }
            Self::Concat(op) => op.shape(inputs)?,
            Self::Embedding(op) => op.shape(one()?)?,
            Self::Position(op) => op.shape(one()?)?,
            Self::ClassToken(op) => op.shape(one()?)?,
            Self::Attention(op) => op.shape(inputs)?,
            Self::Reshape(op) => op.shape(one()?)?,
            Self::Transpose(op) => op.shape(one()?)?,
            Self::ChannelShuffle(op) => op.shape(one()?)?,
            Self::Slice(op) => op.shape(one()?)?,
            Self::Select(op) => op.shape(one()?)?,
            Self::Resize(op) => op.shape(inputs)?,
            Self::Slot(op) => op.shape.clone(),
        };
        crate::shape::check(&shape)?;
        Ok(shape)
    }

    /// What each input must hold: numbers, or indices; nothing when it may hold either.
    pub fn takes(&self, input: usize) -> Option<Element> {
        match self {
            Self::Position(_) | Self::Slot(_) => None,
            Self::Embedding(_) => Some(Element::Index),
            Self::Conv1d(_) | Self::TokenMax(_) | Self::TokenMean(_) if input == 1 => {
                Some(Element::Index)
            }
            Self::Attention(_) if input == 3 => Some(Element::Index),
            _ => Some(Element::Number),
        }
    }

    /// What comes out: numbers, or indices.
    pub fn gives(&self) -> Element {
        match self {
            Self::Input(op) => op.element,
            Self::Position(_) => Element::Index,
            _ => Element::Number,
        }
    }

    /// Multiply-adds from `inputs` to `output`. Only products with weights and the two products of
    /// attention count, as in the published figures.
    pub fn macs(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        match self {
            Self::Conv2d(op) => op.macs(inputs[0], output),
            Self::Conv1d(op) => op.macs(inputs[0], output),
            Self::Linear(op) => op.macs(inputs[0], output),
            Self::Attention(op) => op.macs(inputs),
            Self::Input(_)
            | Self::BatchNorm(_)
            | Self::LayerNorm(_)
            | Self::NoNorm(_)
            | Self::Activation(_)
            | Self::Pool(_)
            | Self::GlobalAverage(_)
            | Self::TokenMax(_)
            | Self::TokenMean(_)
            | Self::Add(_)
            | Self::Mul(_)
            | Self::Scale(_)
            | Self::Concat(_)
            | Self::Embedding(_)
            | Self::Position(_)
            | Self::ClassToken(_)
            | Self::Softmax(_)
            | Self::Reshape(_)
            | Self::Transpose(_)
            | Self::ChannelShuffle(_)
            | Self::Slice(_)
            | Self::Select(_)
            | Self::Resize(_)
            | Self::Dropout(_)
            | Self::Slot(_) => 0,
        }
    }

    /// The weights for inputs of these shapes.
    pub fn params(&self, inputs: &[&[usize]]) -> Vec<Param> {
        match self {
            Self::Conv2d(op) => op.params(inputs[0]),
            Self::Conv1d(op) => op.params(inputs[0]),
            Self::Linear(op) => op.params(inputs[0]),
            Self::BatchNorm(op) => op.params(inputs[0]),
            Self::LayerNorm(op) => op.params(inputs[0]),
            Self::NoNorm(op) => op.params(inputs[0]),
            Self::Embedding(op) => op.params(),
            Self::ClassToken(op) => op.params(inputs[0]),
            Self::Input(_)
            | Self::Activation(_)
            | Self::Pool(_)
            | Self::GlobalAverage(_)
            | Self::TokenMax(_)
            | Self::TokenMean(_)
            | Self::Add(_)
            | Self::Mul(_)
            | Self::Scale(_)
            | Self::Concat(_)
            | Self::Position(_)
            | Self::Attention(_)
            | Self::Softmax(_)
            | Self::Reshape(_)
            | Self::Transpose(_)
            | Self::ChannelShuffle(_)
            | Self::Slice(_)
            | Self::Select(_)
            | Self::Resize(_)
            | Self::Dropout(_)
            | Self::Slot(_) => vec![],
        }
    }

    /// The operator's name in files, reports and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input(_) => "input",
            Self::Conv2d(_) => "conv2d",
            Self::Conv1d(_) => "conv1d",
            Self::Linear(_) => "linear",
            Self::BatchNorm(_) => "batch_norm",
            Self::LayerNorm(_) => "layer_norm",
            Self::NoNorm(_) => "no_norm",
            Self::Activation(_) => "activation",
            Self::Pool(_) => "pool",
            Self::GlobalAverage(_) => "global_average",
            Self::TokenMax(_) => "token_max",
            Self::TokenMean(_) => "token_mean",
            Self::Add(_) => "add",
            Self::Mul(_) => "mul",
            Self::Scale(_) => "scale",
            Self::Concat(_) => "concat",
            Self::Embedding(_) => "embedding",
            Self::Position(_) => "position",
            Self::ClassToken(_) => "class_token",
            Self::Attention(_) => "attention",
            Self::Softmax(_) => "softmax",
            Self::Reshape(_) => "reshape",
            Self::Transpose(_) => "transpose",
            Self::ChannelShuffle(_) => "channel_shuffle",
            Self::Slice(_) => "slice",
            Self::Select(_) => "select",
            Self::Resize(_) => "resize",
            Self::Dropout(_) => "dropout",
            Self::Slot(_) => "slot",
        }
    }

    /// Whether the result is computed element by element, so that it may overwrite its first input.
    pub fn works_in_place(&self) -> bool {
        matches!(
            self,
            Self::Activation(_)
                | Self::BatchNorm(_)
                | Self::LayerNorm(_)
                | Self::NoNorm(_)
                | Self::Add(_)
                | Self::Mul(_)
                | Self::Scale(_)
                | Self::Dropout(_)
                | Self::Softmax(_)
                | Self::Reshape(_)
        )
    }
}

macro_rules! from_row {
    ($($row:ident),* $(,)?) => {
        $(impl From<$row> for Op {
            fn from(row: $row) -> Self {
                Self::$row(row)
            }
        })*
    };
}

from_row!(
    Input,
    Conv2d,
    Conv1d,
    Linear,
    BatchNorm,
    LayerNorm,
    NoNorm,
    Pool,
    GlobalAverage,
    TokenMax,
    TokenMean,
    Add,
    Mul,
    Scale,
    Concat,
    Embedding,
    Position,
    ClassToken,
    Attention,
    Softmax,
    Reshape,
    Transpose,
    ChannelShuffle,
    Slice,
    Select,
    Resize,
    Dropout,
);

impl From<Activation> for Op {
    fn from(kind: Activation) -> Self {
        Self::Activation(ActivationOp { kind })
    }
}
