//! What can go wrong in training.

use std::path::PathBuf;

use squeeze_graph::GraphError;
use thiserror::Error;

/// Why a network cannot be trained, or a run cannot go on.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The network does not fit its inputs.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] squeeze_data::DataError),
    /// A weight that the network needs is not there.
    #[error("{name}: the parameters do not hold this weight; make them from the same network")]
    Missing {
        /// Full name of the weight.
        name: String,
    },
    /// A weight of another shape than the network needs.
    #[error("{name}: the weight is {found:?}, the network needs {wanted:?}")]
    Shape {
        /// Full name of the weight.
        name: String,
        /// Shape there is.
        found: Vec<usize>,
        /// Shape needed.
        wanted: Vec<usize>,
    },
    /// One name, two shapes: two choices of a space share a name.
    #[error("{name}: two nodes give this weight the shapes {first:?} and {second:?}")]
    Clash {
        /// Full name of the weight.
        name: String,
        /// Shape of the first.
        first: Vec<usize>,
        /// Shape of the second.
        second: Vec<usize>,
    },
    /// An input that is not what the network takes.
    #[error("input {index} of `{network}`: {reason}")]
    Input {
        /// Which input.
        index: usize,
        /// Name of the network.
        network: String,
        /// What does not fit.
        reason: String,
    },
    /// An index outside its table.
    #[error("{node}: index {index} is outside a table of {rows} rows")]
    Index {
        /// Name of the embedding.
        node: String,
        /// The index.
        index: i32,
        /// Rows of the table.
        rows: usize,
    },
    /// A slot without a mixture.
    #[error("{slot}: the slot is open; resolve the space, or give a mixture for it")]
    Open {
        /// Name of the slot.
        slot: String,
    },
    /// A mixture that does not fit its slot.
    #[error("{slot}: {reason}")]
    Mixture {
        /// Name of the slot.
        slot: String,
        /// What does not fit.
        reason: String,
    },
    /// A target that the loss cannot take.
    #[error("loss: {reason}")]
    Target {
        /// What does not fit.
        reason: String,
    },
    /// A value of the recipe that makes no sense.
    #[error("recipe: {reason}")]
    Config {
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The loss is no longer a number.
    #[error("step {step}: the loss is {loss}; lower the learning rate or clip the gradient")]
    Diverged {
        /// Step of the run.
        step: u64,
        /// The loss.
        loss: f32,
    },
    /// A file of the run that cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A checkpoint that is damaged, or of another run.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What does not fit, and the remedy.
        reason: String,
    },
}
