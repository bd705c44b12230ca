//! Why a network cannot be compiled, and why inputs are refused.

use squeeze_graph::Shape;
use squeeze_rewrite::WeightsError;
use thiserror::Error;

/// Why there is no plan.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CompileError {
    /// The weights are not those of the network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// No kernel computes this node.
    #[error("{node}: no kernel for this {op}: {reason}")]
    Node {
        /// Name of the node.
        node: String,
        /// Its operator.
        op: &'static str,
        /// What is not possible, and what would be.
        reason: String,
    },
}

/// Why a plan does not take these inputs, or has no sound rows for them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InputError {
    /// Another number of inputs.
    #[error("the network takes {wanted} inputs, {found} are given")]
    Count {
        /// How many it takes.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// Another number of elements.
    #[error("input {name} is {shape:?}, {found} elements are given")]
    Length {
        /// Name of the input.
        name: String,
        /// Its shape.
        shape: Shape,
        /// Elements there are.
        found: usize,
    },
    /// Numbers where indices are needed, or the reverse.
    #[error("input {name} takes {wanted}")]
    Kind {
        /// Name of the input.
        name: String,
        /// What it takes.
        wanted: &'static str,
    },
    /// An index that is no row of its table, or a length that is no length.
    #[error("input {name}, element {at}: {value} is outside of {least}..={most}")]
    Range {
        /// Name of the input.
        name: String,
        /// Place of the element.
        at: usize,
        /// The element.
        value: i32,
        /// Least value allowed.
        least: i32,
        /// Greatest value allowed.
        most: i32,
    },
    /// Rows that the model file has otherwise than they were written.
    #[error(
        "{file}: damaged: the checksum of rows {first} to {last} of `{weight}` differs; copy or download it again"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Which table.
        weight: String,
        /// The first of the rows that are checked together.
        first: usize,
        /// The last of them.
        last: usize,
    },
}
