//! Rewrites of a network: (graph, weights) to (graph, weights).

pub mod check;
pub mod dropout;
pub mod fresh;
pub mod norms;
pub mod prune;

pub use check::{WeightsError, check_weights};
pub use dropout::drop_dropout;
pub use fresh::fresh;
pub use norms::fold_norms;
pub use prune::{Prune, Pruned, prune};
