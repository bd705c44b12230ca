//! How a model is run: on so many threads, in the precision it is made for or in another.

use squeeze_infer::{Precision, Target};
use squeeze_tensor::Weights;

use crate::units;

/// What the command line, or the program, asks for.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Running {
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = units::threads())]
    pub threads: usize,
    /// What products are made of; without it bytes where the model's weights are bytes, else single precision
    #[arg(long, value_parser = units::precision())]
    pub precision: Option<Precision>,
}

impl Running {
    /// What a model with these weights is compiled for on a device.
    pub fn target(&self, device: Target, weights: &Weights) -> Target {
        device.with_precision(self.precision.unwrap_or(Precision::of(weights)))
    }
}
