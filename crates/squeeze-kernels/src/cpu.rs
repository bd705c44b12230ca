//! Where a kernel runs: the instruction set and the threads.

use std::ops::Range;

use crate::{Threads, Tier};

/// Ranges at least so long are cut at whole cache lines.
const LONG: usize = 1 << 10;

/// The instruction set and the pool of threads that an entry function uses.
///
/// Conventions of the families that take it: activations are channels-last and contiguous, outputs and gradients of
/// activations are overwritten, gradients of parameters are **added to** (the trainer clears them once a step). Results do
/// not depend on the number of threads.
#[derive(Clone, Copy, Debug)]
pub struct Cpu<'a> {
    /// The instructions that kernels may use.
    pub tier: Tier,
    /// The threads that work is split over.
    pub threads: &'a Threads,
}

impl Cpu<'_> {
    /// Splits `0..count` into ranges, as many as so many multiply-adds are worth, and calls `part` with each. Cuts of long ranges are at
    /// multiples of 16, so that vectors stay on their cache lines.
    pub(crate) fn split(&self, count: usize, work: usize, part: impl Fn(Range<usize>) + Sync) {
        let parts = self.threads.parts(work, count);
        let unit = if count < LONG { 1 } else { 16 };
        let units = count.div_ceil(unit);
        let least = self.threads.least(work, units);
        self.threads.share(units, (parts, least), &|_, own| {
            part((own.start * unit).min(count)..(own.end * unit).min(count));
        });
    }
}
