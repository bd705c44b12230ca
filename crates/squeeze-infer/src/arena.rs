//! Cuts one arena into what a step reads, what it writes and its scratch.

use std::ops::Range;

/// An arena in which two ranges are being written; everything around them can be read.
pub(crate) struct Cut<'a> {
    around: [(usize, &'a [f32]); 3],
    /// Where the step's result goes.
    pub write: &'a mut [f32],
    /// Where the step works.
    pub scratch: &'a mut [f32],
}

impl<'a> Cut<'a> {
    /// Cuts out two ranges that do not overlap; empty ranges lie anywhere.
    pub fn new(arena: &'a mut [f32], write: &Range<usize>, scratch: &Range<usize>) -> Self {
        let scratch_first = scratch.end <= write.start;
        let (low, high) = if scratch_first {
            (scratch, write)
        } else {
            (write, scratch)
        };
        // An empty scratch may carry any offset; behind the written range it cuts nothing off.
        let high = if high.is_empty() {
            low.end..low.end
        } else {
            high.clone()
        };
        let (before, rest) = arena.split_at_mut(low.start);
        let (first, rest) = rest.split_at_mut(low.len());
        let (between, rest) = rest.split_at_mut(high.start - low.end);
        let (second, after) = rest.split_at_mut(high.len());
        let (write, scratch) = if scratch_first {
            (second, first)
        } else {
            (first, second)
        };
        Self {
            around: [(0, before), (low.end, between), (high.end, after)],
            write,
            scratch,
        }
    }

    /// A range that lies beside the written ones.
    pub fn read(&self, range: &Range<usize>) -> &'a [f32] {
        for (start, part) in self.around {
            if range.start >= start && range.end <= start + part.len() {
                return &part[range.start - start..range.end - start];
            }
        }
        unreachable!("the placement keeps {range:?} apart from what the step writes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: Range<usize>, scratch: Range<usize>, reads: &[Range<usize>]) {
        let mut arena: Vec<f32> = (0..20).map(|at| at as f32).collect();
        let copy = arena.clone();
        let cut = Cut::new(&mut arena, &write, &scratch);
        assert_eq!(cut.write, &copy[write]);
        assert_eq!(cut.scratch.len(), scratch.len());
        for read in reads {
            assert_eq!(cut.read(read), &copy[read.clone()]);
        }
    }

    #[test]
    fn scratch_behind() {
        check(2..5, 8..10, &[0..2, 5..8, 6..7, 10..20]);
    }

    #[test]
    fn scratch_before() {
        check(8..10, 2..5, &[0..2, 5..8, 10..20]);
    }

    #[test]
    fn no_scratch() {
        check(8..10, 0..0, &[0..8, 10..20]);
        check(0..10, 0..0, &[10..20, 12..13]);
        check(10..20, 0..0, &[0..10, 3..4]);
    }

    #[test]
    fn neighbours() {
        check(4..8, 8..12, &[0..4, 12..20]);
        check(8..12, 4..8, &[0..4, 12..20]);
    }
}
