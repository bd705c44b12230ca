//! Two rows of windows at a time, from left to right, where a vector has 16 registers: each number is loaded once for all windows of both rows
//! that read it, and goes to their sums at once. What lies outside is left out.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::columns::{Axis, Grid, TAPS};
use crate::even;
use crate::vector::{F32x8, Vector};

/// Rows of numbers that two rows of windows read, at most.
const LINES: usize = TAPS + 2;
/// Bytes of a line of the cache.
const LINE: usize = 64;
/// How many bytes of lines windows should read and write at most: they stay in the first cache for the windows below and for the other half
/// of their channels.
const NEAR: usize = 28 << 10;
/// Pairs of rows that are computed for some channels before others are, at most.
const PAIRS: usize = 8;

/// What some windows of one row or two read.
pub(super) struct Span {
    /// The first row of numbers, be it inside or not, and the first column that is.
    from: *const f32,
    /// The rows and the columns of numbers that are inside, counted from the first one that the windows would read: beginning and end.
    lines: [usize; 2],
    columns: [usize; 2],
    windows: usize,
    /// How many rows of windows there are.
    rows: usize,
}

impl Axis {
    /// Which of so many rows or columns lie inside, from this one on, which counts the padding: the first one, and the one behind the last.
    fn inside(&self, first: usize, count: usize) -> [usize; 2] {
        let start = self.padding.saturating_sub(first).min(count);
        let end = (self.padding + self.size).saturating_sub(first).min(count);
        [start, end.max(start)]
    }
}

/// Computes the windows of a span for a vector of channels from this one on, with its weights of all taps.
///
/// # Safety
/// The CPU has the tier; as for [`some_rows`].
type Run<V> = unsafe fn(&Grid, &Span, *const V, channel: usize, to: *mut f32);

/// What runs two rows whose lines are all inside, two others, and one.
pub(super) const fn runs<const K: usize, const S: usize>() -> [Run<F32x8>; 3] {
    [
        avx2::<K, S, 2, true>,
        avx2::<K, S, 2, false>,
        avx2::<K, S, 1, false>,
    ]
}

impl Grid<'_> {
    /// Computes these rows of windows.
    #[inline(always)]
    pub(super) fn pairs<V: Vector>(&self, runs: [Run<V>; 3], rows: Range<usize>, y: &mut [f32]) {
        let (taps, stride, channels) = (self.layer.kernel[0], self.layer.stride[0], self.layer.c);
        let [down, across] = self.steps;
        assert!(y.len() >= (rows.len() - 1) * down + (self.windows - 1) * across + channels);
        // How many windows, and then how many pairs of rows of them, stay in the first cache.
        let (near, lines) = (NEAR / LINE, taps + stride);
        let parts = self.windows.div_ceil(near / (lines * stride + 2));
        let width = self.windows.div_ceil(parts);
        let columns = stride * (width - 1) + taps;
        let pairs = near.saturating_sub((taps - stride) * columns);
        let pairs = pairs / (2 * stride * columns + 2 * width);
        // Few weights are quickly there again, and rows then follow each other as they lie.
        let together = 2 * if taps == 3 { 1 } else { pairs.clamp(1, PAIRS) };
        for (first, part) in (rows.clone().step_by(together))
            .flat_map(|first| (0..parts).map(move |part| (first, part)))
        {
            let windows = even(self.windows, parts, part);
            let rows_here = first..(first + together).min(rows.end);
            let mut spans = [const { None }; PAIRS];
            for (span, row) in spans.iter_mut().zip(rows_here.clone().step_by(2)) {
                let count = (rows_here.end - row).min(2);
                *span = Some(self.span((row, count), windows.clone()));
            }
            let base = (first - rows.start) * down + windows.start * across;
            let mut channel = 0;
            while channel < channels {
                // The last vector begins earlier rather than end behind the channels.
                channel = channel.min(channels - V::LANES);
                let mut weights = [MaybeUninit::<V>::uninit(); TAPS * TAPS];
                for (tap, to) in weights[..self.layer.taps()].iter_mut().enumerate() {
                    let from = self.weights.as_ptr().wrapping_add(tap * channels + channel);
                    // SAFETY (of both): `columns` made sure that the image has these channels of all columns in all rows inside, that weights
                    // and bias have as many, and the output has them in each of its rows, as was asserted; the machine has the tier.
                    to.write(unsafe { V::load_ptr(from) });
                    // They come from far, those of the next channels too.
                    V::prefetch(from.wrapping_add(LINE / 4));
                }
                let mut at = base + channel;
                for span in spans.iter().map_while(Option::as_ref) {
                    let [whole, pair, single] = runs;
                    let run = match (span.rows, span.lines[1] - span.lines[0] == lines) {
                        (1, _) => single,
                        (_, true) => whole,
                        (_, false) => pair,
                    };
                    let to = y[at..].as_mut_ptr();
                    unsafe { run(self, span, weights.as_ptr().cast(), channel, to) };
                    self.finish::<V>((at, span.rows, span.windows), y);
                    at += 2 * down;
                }
                channel += V::LANES;
            }
        }
    }

    /// What these windows of one row or two read.
    fn span(&self, (row, rows): (usize, usize), windows: Range<usize>) -> Span {
        let (taps, stride) = (self.layer.kernel[0], self.layer.stride[0]);
        let (top, left) = (row * stride, windows.start * stride);
        let columns = (self.columns).inside(left, stride * (windows.len() - 1) + taps);
        let down = top.wrapping_sub(self.rows.padding);
        let across = (left + columns[0]).wrapping_sub(self.columns.padding);
        let from = down.wrapping_mul(self.apart[0]);
        let from = from.wrapping_add(across.wrapping_mul(self.apart[1]));
        Span {
            from: self.x.as_ptr().wrapping_add(self.begin.wrapping_add(from)),
            lines: self.rows.inside(top, taps + stride * (rows - 1)),
            columns,
            windows: windows.len(),
            rows,
        }
    }
}

/// [`some_rows`] in AVX2.
///
/// # Safety
/// As there; the CPU has AVX2.
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const K: usize, const S: usize, const ROWS: usize, const WHOLE: bool>(
    grid: &Grid,
    span: &Span,
    taps: *const F32x8,
    channel: usize,
    to: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe { some_rows::<F32x8, K, S, ROWS, WHOLE>(grid, span, taps, channel, to) }
}

/// Computes windows of so many rows for a vector of channels from this one on; `WHOLE` where all lines that they read are inside.
///
/// # Safety
/// The image has these channels of all rows and columns inside, there are as many weights and as much of a bias, and room for all windows.
#[inline(always)]
unsafe fn some_rows<
    V: Vector,
    const K: usize,
    const S: usize,
    const ROWS: usize,
    const WHOLE: bool,
>(
    grid: &Grid,
    span: &Span,
    taps: *const V,
    channel: usize,
    to: *mut f32,
) {
    // The last row of taps belongs to the first of the rows of numbers that lie between two rows of windows.
    const { assert!((K - 1).is_multiple_of(S) && K + S <= LINES) };
    let last = (K - 1) / S;
    let [down, across] = grid.steps;
    let (low, high) = (V::splat(grid.end.clamp[0]), V::splat(grid.end.clamp[1]));
    let start = match grid.end.bias {
        // SAFETY (of all blocks): the caller's promise.
        Some(bias) => unsafe { V::load_ptr(bias.as_ptr().add(channel)) },
        None => V::splat(0.0),
    };
    // Where they do not stay in registers, each is read where it is used.
    let taps = [(); 2].map(|()| match K {
        3 => taps,
        _ => std::hint::black_box(taps),
    });
    let mut lines = [span.from.wrapping_add(channel); LINES];
    for line in 1..K + S {
        lines[line] = lines[line - 1].wrapping_add(grid.apart[0]);
    }
    let (mut at, mut to) = (0, to);
    // Those of the window that begins with a column, of the one before, and so on.
    let mut sums = [[start; TAPS]; 2];
    let [left, right] = span.columns;
    for step in (left / S).min(last)..span.windows + last {
        if (left..right).contains(&(S * step)) {
            unsafe { add::<V, K, S, 0, ROWS, WHOLE>((&lines, at), span.lines, taps, &mut sums) };
            at += grid.apart[1];
        }
        if step >= last {
            // NaN stays: `min` and `max` give the right operand for it.
            let limited = |row: usize| high.min(low.max(sums[row][last]));
            unsafe {
                limited(0).store_ptr(to);
                if ROWS == 2 {
                    limited(1).store_ptr(to.wrapping_add(down));
                }
            }
            to = to.wrapping_add(across);
        }
        if S == 2 && (left..right).contains(&(S * step + 1)) {
            unsafe { add::<V, K, S, 1, ROWS, WHOLE>((&lines, at), span.lines, taps, &mut sums) };
            at += grid.apart[1];
        }
        for row in 0..ROWS {
            for before in (0..last).rev() {
                sums[row][before + 1] = sums[row][before];
            }
            sums[row][0] = start;
        }
    }
}

/// Adds a column of numbers to the windows that read it: with the first of every so many taps of a row, or with the second.
///
/// # Safety
/// The lines inside are valid for a vector there, and there are all taps.
#[inline(always)]
unsafe fn add<
    V: Vector,
    const K: usize,
    const S: usize,
    const FIRST: usize,
    const ROWS: usize,
    const WHOLE: bool,
>(
    (lines, at): (&[*const f32; LINES], usize),
    inside: [usize; 2],
    taps: [*const V; 2],
    sums: &mut [[V; TAPS]; 2],
) {
    macro_rules! lines {
        ($($line:literal)*) => {$(
            if $line < K + S * (ROWS - 1) && (WHOLE || (inside[0]..inside[1]).contains(&$line)) {
                // SAFETY (of both): the caller's promise.
                let x = unsafe { V::load_ptr(lines[$line].wrapping_add(at)) };
                for row in 0..ROWS {
                    let ky = ($line as usize).wrapping_sub(S * row);
                    if ky < K {
                        for window in 0..(K - FIRST).div_ceil(S) {
                            let tap = ky * K + S * window + FIRST;
                            let weight = unsafe { *taps[row].wrapping_add(tap) };
                            sums[row][window] = x.mul_add(weight, sums[row][window]);
                        }
                    }
                }
            }
        )*};
    }
    lines!(0 1 2 3 4 5 6);
}
