//! What a plan is compiled for.

use squeeze_kernels::Tier;

/// The instructions and the threads that a plan may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Instructions that kernels may use.
    pub tier: Tier,
    /// Threads, the caller among them.
    pub threads: usize,
}

impl Target {
    /// This machine's best instructions with so many threads.
    pub fn here(threads: usize) -> Self {
        Self {
            tier: Tier::detect(),
            threads,
        }
    }

    /// The same number of threads at another tier.
    pub fn at(self, tier: Tier) -> Self {
        Self { tier, ..self }
    }
}
