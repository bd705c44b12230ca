//! The one seam between training and what computes: forward and backward of a network for a batch.

use std::sync::{Mutex, MutexGuard, PoisonError};

use squeeze_kernels::gemm_f32::Scratch;
use squeeze_kernels::{Cpu, Threads, Tier};
use squeeze_tensor::Seed;

use crate::backward::{self, BatchGradients};
use crate::forward;
use crate::pool::Pool;
use crate::tape::Tape;
use crate::{Feed, Mixture, Network, Parameters, TrainError};

/// The CPU engine: threads, and buffers that are used again.
pub struct Engine {
    threads: Threads,
    tier: Tier,
    pool: Pool,
    scratch: Mutex<Scratch>,
}

/// What a forward pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics of the batch, dropout drawn from this seed, and all that backward needs is kept.
    Train(Seed),
    /// Running statistics, no dropout, nothing kept.
    Eval,
}

/// What operators work with.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) cpu: Cpu<'a>,
    pub(crate) pool: &'a Pool,
    pub(crate) mode: Mode,
    scratch: &'a Mutex<Scratch>,
}

impl<'a> Work<'a> {
    /// Where products pack their operands.
    pub(crate) fn scratch(self) -> MutexGuard<'a, Scratch> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// An engine with this many threads and the best instructions of this machine.
    pub fn new(threads: usize) -> Self {
        Self::with_tier(threads, Tier::detect())
    }

    /// An engine with other instructions than the best.
    pub fn with_tier(threads: usize, tier: Tier) -> Self {
        Self {
            threads: Threads::new(threads),
            tier,
            pool: Pool::default(),
            scratch: Mutex::default(),
        }
    }

    /// The threads that it works with.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// What kernels work with.
    pub fn cpu(&self) -> Cpu<'_> {
        Cpu {
            tier: self.tier,
            threads: &self.threads,
        }
    }

    /// Runs a network on a batch. In training, running statistics in `parameters` move.
    ///
    /// # Errors
    /// When the batch does not fit the network.
    pub fn forward(
        &self,
        network: &Network,
        parameters: &mut Parameters,
        feeds: &[Feed],
        mode: Mode,
    ) -> Result<Tape, TrainError> {
        forward::run(network, parameters, feeds, None, self.work(mode))
    }

    /// Runs a space on a batch, each slot as `mixture` says.
    ///
    /// # Errors
    /// When the batch does not fit the space, or the mixture does not fit the batch.
    pub fn forward_space(
        &self,
        network: &Network,
        parameters: &mut Parameters,
        feeds: &[Feed],
        mixture: &Mixture,
        mode: Mode,
    ) -> Result<Tape, TrainError> {
        forward::run(network, parameters, feeds, Some(mixture), self.work(mode))
    }

    /// Runs a tape backward from the gradient of its first output, and **adds** the gradient of
    /// every trained weight to `parameters.gradients`.
    ///
    /// # Panics
    /// When the tape is one of evaluation, or `dy` is not as long as the output.
    pub fn backward(
        &self,
        network: &Network,
        parameters: &mut Parameters,
        tape: Tape,
        dy: &[f32],
    ) -> BatchGradients {
        let work = self.work(tape.mode);
        backward::start(network, parameters, tape, dy, work)
    }

    fn work(&self, mode: Mode) -> Work<'_> {
        Work {
            cpu: self.cpu(),
            pool: &self.pool,
            mode,
            scratch: &self.scratch,
        }
    }
}
