//! Strips in pairs, and which steps a pair takes.

use std::ops::Range;

use super::BLOCK_STRIPS;
use super::left::Left;

impl Left {
    /// The strips of a block in pairs that leave out the same taps.
    pub fn pairs(&self, strips: Range<usize>, first: usize) -> Pairs {
        let mut pairs = Pairs::default();
        let mut strip = strips.start;
        while strip < strips.end {
            let taps = self.taps(strip);
            let both = strip + 1 < strips.end && self.taps(strip + 1) == taps;
            let row = |strip: usize| self.start(strip, first);
            pairs.all[pairs.used] = Pair {
                strip: strip - strips.start,
                both,
                taps,
                rows: [row(strip), row(strip + usize::from(both))],
            };
            pairs.used += 1;
            strip += 1 + usize::from(both);
        }
        pairs
    }
}

/// One or two strips that leave out the same taps.
#[derive(Clone, Copy, Default)]
pub(super) struct Pair {
    /// The first one's place in its block.
    pub strip: usize,
    pub both: bool,
    pub taps: u128,
    /// Where each begins in the split left side.
    pub rows: [usize; 2],
}

/// The pairs of a block.
#[derive(Default)]
pub(super) struct Pairs {
    all: [Pair; BLOCK_STRIPS],
    used: usize,
}

impl Pairs {
    pub fn as_slice(&self) -> &[Pair] {
        &self.all[..self.used]
    }
}

impl Pair {
    /// The first step that any of its taps takes.
    pub fn first_step(&self, lines: usize) -> usize {
        self.taps.trailing_zeros() as usize * lines
    }

    /// Calls `run` for every run of steps of `own` whose taps are no gaps.
    pub fn runs(&self, own: &Range<usize>, lines: usize, mut run: impl FnMut(Range<usize>)) {
        if self.taps == u128::MAX {
            return run(own.clone());
        }
        let mut start = own.start;
        while start < own.end {
            let reads = |step: usize| self.taps >> (step / lines) & 1 == 1;
            let mut end = start;
            while end < own.end && reads(end) == reads(start) {
                end = (end / lines + 1) * lines;
            }
            let end = end.min(own.end);
            if reads(start) {
                run(start..end);
            }
            start = end;
        }
    }
}
