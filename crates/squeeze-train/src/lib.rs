//! Forward and backward of each operator, losses, optimisers, the training loop and its checkpoints.
//!
//! The graph is the tape: an [`Engine`] walks it forward, keeps what backward needs in a [`Tape`],
//! walks it back, and adds the gradients of all weights into one buffer of [`Parameters`].

mod backward;
mod checkpoint;
pub mod config;
mod engine;
mod error;
pub mod evaluate;
mod event;
mod feed;
mod forward;
pub mod loss;
mod mixture;
mod network;
mod ops;
pub mod optimiser;
pub mod parameters;
mod plan;
mod pool;
mod run;
pub mod schedule;
mod tape;

pub use backward::BatchGradients;
pub use checkpoint::{Best, NAME as CHECKPOINT};
pub use config::Config;
pub use engine::{Engine, Mode};
pub use error::TrainError;
pub use evaluate::{Answers, Feeds, Score, predict, score};
pub use event::{Ending, Event};
pub use feed::{Data, Feed};
pub use loss::{IGNORED, Loss, Targets};
pub use mixture::{Mixture, Part};
pub use network::{Inputs, Network};
pub use optimiser::{Average, Optimiser, Rule, State};
pub use parameters::Parameters;
pub use run::{Job, Outcome, Teacher, evaluate, run};
pub use schedule::{Curve, Schedule};
pub use tape::Tape;
