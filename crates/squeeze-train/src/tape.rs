//! What a forward pass leaves: outputs, and what backward needs.

use std::sync::Arc;

use squeeze_graph::Shape;

use crate::engine::Mode;
use crate::ops::slot::SlotRun;
use crate::pool::Buffer;

/// A forward pass: its outputs, and in training all that backward needs.
#[derive(Debug)]
pub struct Tape {
    pub(crate) mode: Mode,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) values: Vec<Option<Value>>,
    pub(crate) kept: Vec<Kept>,
    pub(crate) outputs: Vec<usize>,
}

/// An activation. Several nodes may share one.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Numbers(Arc<Buffer>),
    Indices(Arc<Vec<i32>>),
}

/// What an operator leaves for its backward, beside inputs and output.
#[derive(Debug, Default)]
pub(crate) enum Kept {
    #[default]
    Nothing,
    Floats(Vec<Buffer>),
    Indices(Vec<u32>),
    Lengths(Vec<usize>, Vec<Buffer>),
    Slot(Box<SlotRun>),
}

impl Tape {
    /// Elements of the first output.
    pub fn output(&self) -> &[f32] {
        self.output_of(0)
    }

    /// Shape of the first output.
    pub fn shape(&self) -> &[usize] {
        &self.shapes[self.outputs[0]]
    }

    /// Elements of one output.
    ///
    /// # Panics
    /// When there is no such output, or it holds indices.
    pub fn output_of(&self, index: usize) -> &[f32] {
        let value = self.values[self.outputs[index]].as_ref();
        value.expect("outputs are kept").numbers()
    }
}

impl Value {
    pub(crate) fn numbers(&self) -> &[f32] {
        match self {
            Self::Numbers(buffer) => buffer,
            Self::Indices(_) => unreachable!("the graph checked that these are numbers"),
        }
    }

    pub(crate) fn indices(&self) -> &[i32] {
        match self {
            Self::Indices(indices) => indices,
            Self::Numbers(_) => unreachable!("the graph checked that these are indices"),
        }
    }

    /// Indices as lengths; a negative one counts as zero.
    pub(crate) fn lengths(&self) -> Vec<usize> {
        let length = |&length: &i32| usize::try_from(length).unwrap_or(0);
        self.indices().iter().map(length).collect()
    }

    /// The buffer itself, when nobody else has it.
    pub(crate) fn own(self) -> Result<Buffer, Self> {
        match self {
            Self::Numbers(buffer) => Arc::try_unwrap(buffer).map_err(Self::Numbers),
            indices @ Self::Indices(_) => Err(indices),
        }
    }
}

impl From<Buffer> for Value {
    fn from(buffer: Buffer) -> Self {
        Self::Numbers(Arc::new(buffer))
    }
}
