//! Windows of 3 x 3 taps at stride 1, where a vector has 32 registers: some neighbours and all that lie below them, from the top down.
//! The sums of three rows of windows stay in registers beside all weights, so each number is loaded once for all of these windows that
//! read it, up to nine, and no weight again.

use std::ops::Range;

use super::{Depthwise, Epilogue};
use crate::vector::Vector;
use crate::{Tier, even};

/// Windows at a time: three rows of their sums, the weights and one number stay in registers.
const WINDOWS: usize = 7;
/// The columns that they read.
const COLUMNS: usize = WINDOWS + 2;
/// Channels of a vector.
const LANES: usize = 16;
/// Numbers of a larger image that a band of rows reads: it comes from beyond the second cache, which is quickest in the order in which it
/// lies.
const BAND: usize = 16 << 10;
/// What an image has that stays in the second cache.
const NEAR: usize = 192 << 10;

/// What is read outside an image.
static ZEROS: [f32; LANES] = [0.0; LANES];

/// Whether [`columns`] has the layer.
pub(super) fn has(d: &Depthwise, tier: Tier) -> bool {
    let registers = matches!(tier.min(Tier::detect()), Tier::Avx512 | Tier::Amx);
    let plain = d.kernel == [3, 3] && d.stride == [1, 1] && d.dilation == [1, 1];
    registers && plain && d.c >= LANES
}

/// Some windows of an image and those below them.
pub(super) struct Column<'a> {
    /// Where each column that they read begins; `None` outside the image.
    reads: [Option<*const f32>; COLUMNS],
    /// How far the rows of a column lie apart.
    line: usize,
    /// Which of the rows that the windows read are inside the image.
    inside: Range<usize>,
    /// `[tap, c]`.
    weights: &'a [f32],
    channels: usize,
    /// How many windows, how many rows of them, and how far those lie apart in the output.
    windows: usize,
    rows: usize,
    down: usize,
}

/// Calls `each` with all windows of these rows of the output, counted through all images, and the room of their results.
///
/// # Panics
/// If a slice is shorter than the geometry says, or the layer is none of these.
pub(super) fn columns(
    (d, tier): (&Depthwise, Tier),
    (x, weights): (&[f32], &[f32]),
    rows: Range<usize>,
    y: &mut [f32],
    mut each: impl FnMut(&Column, &mut [f32]),
) {
    let (out_h, out_w) = (d.out_h(), d.out_w());
    let row_len = out_w * d.c;
    assert!(has(d, tier) && rows.end <= d.n * out_h && y.len() == rows.len() * row_len);
    assert!(x.len() == d.input() && weights.len() == 9 * d.c);
    let most = match d.h * d.w * d.c <= NEAR {
        true => out_h,
        false => (BAND / (d.w * d.c)).max(4),
    };
    let blocks = out_w.div_ceil(WINDOWS);
    let mut row = rows.start;
    while row < rows.end {
        let (image, top) = (row / out_h, row % out_h);
        let band = (rows.end - row).min(out_h - top).min(most);
        let end = (d.padding[0] + d.h).saturating_sub(top).min(band + 2);
        let start = d.padding[0].saturating_sub(top).min(end);
        let line = (image * d.h + top + start).wrapping_sub(d.padding[0]);
        for block in 0..blocks {
            let windows = even(out_w, blocks, block);
            let mut reads = [None; COLUMNS];
            for (column, read) in reads.iter_mut().enumerate() {
                let at = (windows.start + column).wrapping_sub(d.padding[1]);
                let from = line.wrapping_mul(d.w).wrapping_add(at).wrapping_mul(d.c);
                *read = (at < d.w).then(|| x.as_ptr().wrapping_add(from));
            }
            let column = Column {
                reads,
                line: d.w * d.c,
                inside: start..end,
                weights,
                channels: d.c,
                windows: windows.len(),
                rows: band,
                down: row_len,
            };
            let at = (row - rows.start) * row_len + windows.start * d.c;
            each(&column, &mut y[at..][..column.len()]);
        }
        row += band;
    }
}

impl Column<'_> {
    /// From the first number of the output to behind the last.
    fn len(&self) -> usize {
        (self.rows - 1) * self.down + self.windows * self.channels
    }

    /// Calls `each` with the results of each row of windows.
    pub fn pieces(&self, y: &mut [f32], mut each: impl FnMut(&mut [f32])) {
        for row in y.chunks_mut(self.down) {
            each(&mut row[..self.windows * self.channels]);
        }
    }

    /// Computes the windows.
    ///
    /// # Panics
    /// If there is less room than they need, or no bias for each channel.
    pub fn compute(&self, end: Epilogue, y: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
        fn avx512(column: &Column, end: Epilogue, y: &mut [f32]) {
            column.run::<crate::vector::F32x16>(end, y);
        }
        // SAFETY: `columns`, which makes all of these, asserts that the machine has the tier.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            avx512(self, end, y);
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("no such tier");
    }

    #[inline(always)]
    fn run<V: Vector>(&self, end: Epilogue, y: &mut [f32]) {
        const { assert!(V::LANES == LANES) };
        let (rows, channels) = (self.rows, self.channels);
        assert!(y.len() >= self.len() && channels >= LANES);
        assert!(end.bias.is_none_or(|bias| bias.len() == channels));
        let (low, high) = (V::splat(end.clamp[0]), V::splat(end.clamp[1]));
        let mut strip = 0;
        while strip < channels {
            // The last strip begins earlier rather than end behind the channels.
            strip = strip.min(channels - LANES);
            // SAFETY (of all blocks): `columns` made pointers that are valid for these channels in all rows inside, weights and bias have as
            // many, and so has the output in each of its rows.
            let mut taps = [[V::splat(0.0); 3]; 3];
            for (tap, to) in taps.as_flattened_mut().iter_mut().enumerate() {
                *to = unsafe { V::load_ptr(self.weights.as_ptr().add(tap * channels + strip)) };
            }
            let start = match end.bias {
                Some(bias) => unsafe { V::load_ptr(bias.as_ptr().add(strip)) },
                None => V::splat(0.0),
            };
            let mut from = [(ZEROS.as_ptr(), 0); COLUMNS];
            for (from, read) in from.iter_mut().zip(self.reads) {
                if let Some(read) = read {
                    *from = (read.wrapping_add(strip), self.line);
                }
            }
            // Those of the row of windows whose first row of taps this is, whose second and whose third.
            let mut sums = [[start; WINDOWS]; 3];
            let mut to = y[strip..].as_mut_ptr();
            for row in 0..rows + 2 {
                sums[0] = [start; WINDOWS];
                if self.inside.contains(&row) {
                    // There are no windows above the first ones and below the last ones.
                    unsafe {
                        if row < 2 {
                            add_row::<V, 0, 2>(&from, &taps, &mut sums);
                        } else if row >= rows {
                            add_row::<V, 1, 3>(&from, &taps, &mut sums);
                        } else {
                            add_row::<V, 0, 3>(&from, &taps, &mut sums);
                        }
                    }
                    for (from, line) in &mut from {
                        *from = from.wrapping_add(*line);
                    }
                }
                if row >= 2 {
                    for window in 0..WINDOWS {
                        if window < self.windows {
                            // NaN stays: `min` and `max` give the right operand for it.
                            let sum = high.min(low.max(sums[2][window]));
                            unsafe { sum.store_ptr(to.wrapping_add(window * channels)) };
                        }
                    }
                    to = to.wrapping_add(self.down);
                }
                sums[2] = sums[1];
                sums[1] = sums[0];
            }
            strip += LANES;
        }
    }
}

/// Adds a row of numbers to the windows of which it is one of these rows of taps.
///
/// # Safety
/// The pointers are valid for a vector.
#[inline(always)]
unsafe fn add_row<V: Vector, const FIRST: usize, const END: usize>(
    from: &[(*const f32, usize); COLUMNS],
    taps: &[[V; 3]; 3],
    sums: &mut [[V; WINDOWS]; 3],
) {
    for column in 0..COLUMNS {
        // SAFETY: the caller's promise.
        let x = unsafe { V::load_ptr(from[column].0) };
        for ky in FIRST..END {
            for kx in 0..3 {
                if column >= kx && column - kx < WINDOWS {
                    let sum = &mut sums[ky][column - kx];
                    *sum = x.mul_add(taps[ky][kx], *sum);
                }
            }
        }
    }
}
