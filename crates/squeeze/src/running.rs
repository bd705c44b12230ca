//! How a model is run: on so many threads, in the precision it is made for or in another.

use squeeze_infer::Precision;

use crate::units;

/// What the command line asks for.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Running {
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = units::threads())]
    pub threads: usize,
    /// What products are made of; without it bytes where the model's weights are bytes, else single precision
    #[arg(long, value_parser = units::precision())]
    pub precision: Option<Precision>,
}
