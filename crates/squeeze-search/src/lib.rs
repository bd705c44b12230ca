//! Finds the network: supernet and random search over a space, with the cost on the device in the loss.

pub mod architecture;
pub mod limit;
pub mod pareto;
pub mod shared;
pub mod supernet;

pub use architecture::{Architecture, random_within};
pub use limit::Multiplier;
