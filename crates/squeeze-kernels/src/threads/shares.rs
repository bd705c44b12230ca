//! How work that may be cut anywhere is shared: by how quick threads were lately, and what one leaves goes to the others.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Among more threads than this work is shared evenly.
pub(super) const MOST_SHARES: usize = 16;

/// What a run says of how quick threads are counts for so much of what is held of them.
const NEWS: f32 = 0.125;
/// Runs of fewer nanoseconds say nothing of it.
const SHORT: u64 = 10_000;
/// The most ranges that an even stretch is cut into.
const PIECES: usize = 16;

/// The part of shared work that each thread gets, in order.
#[derive(Clone, Copy)]
pub(super) struct Shares {
    of: [f32; MOST_SHARES],
    count: usize,
}

impl Shares {
    pub fn even(count: usize) -> Shares {
        let of = [1.0 / count as f32; MOST_SHARES];
        Shares { of, count }
    }

    /// Looks at how much each thread has done and in how many nanoseconds. Nobody's share falls below a quarter of an even one.
    pub fn learn(&mut self, seen: impl Fn(usize) -> [u64; 2]) {
        if (0..self.count).all(|index| seen(index)[1] < SHORT) {
            return;
        }
        let speed = |index: usize| {
            let [done, nanos] = seen(index);
            done as f32 / nanos.max(1) as f32
        };
        let all: f32 = (0..self.count).map(speed).sum();
        let least = 0.25 / self.count as f32;
        let shares = &mut self.of[..self.count];
        for (index, share) in shares.iter_mut().enumerate() {
            *share += NEWS * ((speed(index) / all).max(least) - *share);
        }
        let sum: f32 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share /= sum);
    }
}

/// What nobody has begun of each thread's stretch: its start and its end in one number.
pub(super) struct Stretches {
    left: [AtomicU64; MOST_SHARES],
    count: usize,
    least: u32,
    /// Whether a stretch is more than one range; else nobody needs to write here.
    is_cut: bool,
}

impl Stretches {
    /// Cuts `0..end`; a thread takes about `least` at a time and more, if that were too many ranges.
    pub fn new(shares: &Shares, end: u32, least: usize) -> Stretches {
        let (mut start, mut share) = (0, 0.0);
        let mut left = [const { AtomicU64::new(0) }; MOST_SHARES];
        for (index, left) in left.iter_mut().take(shares.count).enumerate() {
            share += f64::from(shares.of[index]);
            let until = match index + 1 < shares.count {
                true => ((f64::from(end) * share).round() as u32).min(end),
                false => end,
            };
            *left.get_mut() = both(start, until);
            start = until;
        }
        let pieces = (PIECES * shares.count) as u32;
        let least = u32::try_from(least).unwrap_or(u32::MAX);
        let least = least.max(end / pieces).max(1);
        Stretches {
            left,
            count: shares.count,
            least,
            is_cut: u64::from(least) * (shares.count as u64) < u64::from(end),
        }
    }

    /// What a thread does next: of its own stretch from the start, at `first` three quarters, then of the others' from the end.
    pub fn next(&self, own: usize, first: bool) -> Option<Range<usize>> {
        if !self.is_cut {
            let (start, end) = ends(self.left[own].load(Ordering::Relaxed));
            return (first && start < end).then_some(start as usize..end as usize);
        }
        let of_own = |len: u32| match first {
            true => self.least.max(len - len / 4),
            false => self.least,
        };
        // Less than half a range stays with the one before it.
        let whole = |len: u32| {
            let taken = of_own(len).min(len);
            if len - taken < self.least.div_ceil(2) {
                len
            } else {
                taken
            }
        };
        let own_range = self.cut(own, true, whole);
        let mut others = (own + 1..self.count).chain(0..own);
        own_range.or_else(|| others.find_map(|other| self.cut(other, false, |_| self.least)))
    }

    /// Takes a range of a stretch of which anything is left, from its start or from its end: as much as `many` says of that length.
    fn cut(
        &self,
        stretch: usize,
        from_start: bool,
        many: impl Fn(u32) -> u32,
    ) -> Option<Range<usize>> {
        let parts = |left: u64| {
            let (start, end) = ends(left);
            let many = many(end - start).min(end - start);
            match from_start {
                true => (start..start + many, both(start + many, end)),
                false => (end - many..end, both(start, end - many)),
            }
        };
        let rest = |left: u64| (ends(left).0 < ends(left).1).then(|| parts(left).1);
        let left = self.left[stretch]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest)
            .ok()?;
        let taken = parts(left).0;
        Some(taken.start as usize..taken.end as usize)
    }
}

fn ends(both: u64) -> (u32, u32) {
    ((both >> 32) as u32, both as u32)
}

fn both(start: u32, end: u32) -> u64 {
    u64::from(start) << 32 | u64::from(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quicker_thread_gets_more() {
        let mut shares = Shares::even(2);
        (0..100).for_each(|_| shares.learn(|index| [[300, 50_000], [100, 50_000]][index]));
        assert!((shares.of[0] - 0.75).abs() < 1e-3, "{:?}", &shares.of[..2]);
        let stretches = Stretches::new(&shares, 400, 1);
        assert_eq!(stretches.next(0, true), Some(0..225));
        assert_eq!(stretches.next(1, true), Some(300..375));
    }

    #[test]
    fn a_thread_that_stands_still_keeps_a_quarter() {
        let mut shares = Shares::even(2);
        (0..1000).for_each(|_| shares.learn(|index| [[300, 50_000], [0, 50_000]][index]));
        assert!(shares.of[1] > 0.1, "{:?}", &shares.of[..2]);
        let before = shares.of;
        shares.learn(|index| [[300, SHORT - 1], [300, 1]][index]);
        assert_eq!(shares.of, before, "a short run says nothing");
    }

    #[test]
    fn what_is_left_goes_to_the_others() {
        let stretches = Stretches::new(&Shares::even(2), 64, 2);
        assert_eq!(stretches.next(0, true), Some(0..24));
        assert_eq!(stretches.next(1, true), Some(32..56));
        let own: Vec<_> = (0..4).map_while(|_| stretches.next(1, false)).collect();
        assert_eq!(own, [56..58, 58..60, 60..62, 62..64]);
        assert_eq!(stretches.next(1, false), Some(30..32));
        assert_eq!(stretches.next(1, false), Some(28..30));
        assert_eq!(stretches.next(0, false), Some(24..26));
        assert_eq!(stretches.next(1, false), Some(26..28));
        assert!(stretches.next(0, false).is_none() && stretches.next(1, false).is_none());
    }
}
