//! Places buffers with known lives in one arena, large ones first, each at the lowest free gap
//! (the greedy-by-size strategy of Pisarchyk and Lee, 2020).

/// Alignment of every place, in bytes: one cache line.
pub const ALIGNMENT: usize = 64;

/// A buffer and the steps during which it must keep its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Size in bytes.
    pub bytes: usize,
    /// The step that writes it.
    pub first: usize,
    /// The last step that reads it.
    pub last: usize,
}

/// Places in an arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Offset of each buffer in bytes, a multiple of [`ALIGNMENT`].
    pub offsets: Vec<usize>,
    /// Size of the arena in bytes.
    pub bytes: usize,
}

/// Places all buffers so that two whose lives overlap never share a byte.
pub fn place(intervals: &[Interval]) -> Placement {
    let mut order: Vec<usize> = (0..intervals.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(intervals[at].bytes), intervals[at].first));
    let mut offsets = vec![0; intervals.len()];
    let mut placed: Vec<usize> = vec![];
    let mut bytes = 0;
    for at in order {
        let this = intervals[at];
        let size = this.bytes.next_multiple_of(ALIGNMENT);
        let overlaps = |&&other: &&usize| {
            let other = intervals[other];
            other.first <= this.last && this.first <= other.last
        };
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(overlaps)
            .map(|&other| {
                let size = intervals[other].bytes.next_multiple_of(ALIGNMENT);
                (offsets[other], offsets[other] + size)
            })
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if start >= offset + size {
                break;
            }
            offset = offset.max(end);
        }
        offsets[at] = offset;
        bytes = bytes.max(offset + size);
        placed.push(at);
    }
    Placement { offsets, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(bytes: usize, first: usize, last: usize) -> Interval {
        Interval { bytes, first, last }
    }

    #[test]
    fn lives_that_do_not_overlap_share_bytes() {
        let placed = place(&[
            interval(640, 0, 1),
            interval(640, 1, 2),
            interval(640, 2, 3),
        ]);
        assert_eq!(placed.bytes, 1280);
        assert_eq!(placed.offsets[0], placed.offsets[2]);
    }

    #[test]
    fn no_two_living_buffers_meet() {
        // A deterministic mix of sizes and lives.
        let intervals: Vec<_> = (0..60)
            .map(|i| interval(64 + i * 37 % 500, i, i + 1 + i * 7 % 11))
            .collect();
        let placed = place(&intervals);
        for (i, a) in intervals.iter().enumerate() {
            for (j, b) in intervals.iter().enumerate().skip(i + 1) {
                let meet_in_time = a.first <= b.last && b.first <= a.last;
                let (x, y) = (placed.offsets[i], placed.offsets[j]);
                let meet_in_space = x < y + b.bytes && y < x + a.bytes;
                assert!(!(meet_in_time && meet_in_space), "{i} and {j}");
            }
        }
    }
}
