//! Windows of 3 x 3 and 5 x 5 taps: some neighbours of a row of the output at a time, so that what is read is loaded once for all of
//! them that read it.

use super::{Depthwise, Epilogue};
use crate::even;
use crate::vector::Vector;

/// Windows at a time: their sums, the weights of a row of taps and one number stay in registers.
const WINDOWS: usize = 8;
/// The most taps down and across.
const TAPS: usize = 5;
/// The most columns that the windows read.
const COLUMNS: usize = 2 * (WINDOWS - 1) + TAPS;
/// The most channels for which the columns are looked up once.
const CHANNELS: usize = 256;

/// What is read outside the image.
static ZEROS: [f32; CHANNELS] = [0.0; CHANNELS];

/// Whether [`vector_row`] computes the layer.
pub(super) fn has(d: &Depthwise) -> bool {
    let [down, across] = d.kernel;
    // Sixteen numbers are the longest vector.
    (across == 3 || across == TAPS)
        && down <= TAPS
        && (d.stride[1] == 1 || (d.stride[1] == 2 && d.dilation[1] == 1))
        && d.c >= 16
}

/// One row of the output, counted through all images.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub depthwise: &'a Depthwise,
    pub index: usize,
    pub x: &'a [f32],
    /// `[tap, c]`.
    pub weights: &'a [f32],
    pub end: Epilogue<'a>,
}

/// Computes a row of the output.
///
/// # Panics
/// If a slice is shorter than the geometry says.
#[inline(always)]
pub(super) fn vector_row<V: Vector>(row: Row, y: &mut [f32]) {
    let d = row.depthwise;
    assert!(has(d) && row.index < d.n * d.out_h() && y.len() == d.out_w() * d.c);
    assert!(row.x.len() == d.input() && row.weights.len() == d.taps() * d.c);
    match (d.kernel[1], d.stride[1]) {
        (3, 1) => blocks::<V, 3, 1>(row, y),
        (3, _) => blocks::<V, 3, 2>(row, y),
        (_, 1) => blocks::<V, 5, 1>(row, y),
        _ => blocks::<V, 5, 2>(row, y),
    }
}

/// What some windows read of a row of taps: the first numbers of its columns, and the first tap's weights.
#[derive(Clone, Copy)]
struct Reads {
    columns: [*const f32; COLUMNS],
    weights: *const f32,
}

impl Reads {
    const NONE: Reads = Reads {
        columns: [std::ptr::null(); COLUMNS],
        weights: std::ptr::null(),
    };
}

/// Where windows read from pixel `left` of each row of taps inside the image on, so many columns and as far apart; how many rows there
/// are. Pixels count the padding.
fn look(
    row: Row,
    (left, columns, apart): (usize, usize, usize),
    channel: usize,
    reads: &mut [Reads; TAPS],
) -> usize {
    let d = row.depthwise;
    let (image, top) = (row.index / d.out_h(), row.index % d.out_h() * d.stride[0]);
    let mut count = 0;
    for ky in 0..d.kernel[0] {
        // Above the image the difference is below zero, which wraps to more than any height.
        let y = (top + ky * d.dilation[0]).wrapping_sub(d.padding[0]);
        if y >= d.h {
            continue;
        }
        let line = row.x[(image * d.h + y) * d.w * d.c + channel..].as_ptr();
        for (at, column) in reads[count].columns[..columns].iter_mut().enumerate() {
            let x = (left + at * apart).wrapping_sub(d.padding[1]);
            *column = match x < d.w {
                true => line.wrapping_add(x * d.c),
                false => ZEROS.as_ptr(),
            };
        }
        reads[count].weights = row.weights[ky * d.kernel[1] * d.c + channel..].as_ptr();
        count += 1;
    }
    count
}

#[inline(always)]
fn blocks<V: Vector, const K: usize, const S: usize>(row: Row, y: &mut [f32]) {
    let d = row.depthwise;
    // Of a dilated kernel, every so-many-th window reads what one that is not dilated would of every so-many-th pixel.
    let apart = d.dilation[1];
    let mut reads = [Reads::NONE; TAPS];
    for phase in 0..apart.min(d.out_w()) {
        let all = (d.out_w() - phase).div_ceil(apart);
        let blocks = all.div_ceil(WINDOWS);
        for block in 0..blocks {
            let windows = even(all, blocks, block);
            let first = phase + windows.start * apart;
            let windows = (first, windows.len(), apart);
            some_windows::<V, K, S>(row, windows, &mut reads, &mut y[first * d.c..]);
        }
    }
}

/// So many windows, as far apart, from the `first` one of the row on.
#[inline(always)]
fn some_windows<V: Vector, const K: usize, const S: usize>(
    row: Row,
    (first, count, apart): (usize, usize, usize),
    reads: &mut [Reads; TAPS],
    y: &mut [f32],
) {
    let d = row.depthwise;
    let parts = d.c.div_ceil(CHANNELS);
    for part in 0..parts {
        let channels = even(d.c, parts, part);
        let columns = (first * S, S * (WINDOWS - 1) + K, apart);
        let rows = look(row, columns, channels.start, reads);
        let end = Epilogue {
            bias: row.end.bias.map(|bias| &bias[channels.clone()]),
            ..row.end
        };
        let steps = (d.c, apart * d.c);
        let on = (count, channels.len(), steps);
        // SAFETY: every column begins `channels.len()` numbers, as does every tap of the weights `d.c` behind the one before.
        unsafe { strips::<V, K, S>(&reads[..rows], on, end, &mut y[channels.start..]) };
    }
}

/// So many windows, for so many channels, with the steps from one tap to the next in the weights and from one window to the next in
/// the output.
///
/// # Safety
/// Columns and weights of `reads` are valid for so many channels.
#[inline(always)]
unsafe fn strips<V: Vector, const K: usize, const S: usize>(
    reads: &[Reads],
    (windows, channels, (tap_step, step)): (usize, usize, (usize, usize)),
    end: Epilogue,
    y: &mut [f32],
) {
    assert!(channels >= V::LANES && y.len() >= (windows - 1) * step + channels);
    assert!(end.bias.is_none_or(|bias| bias.len() == channels));
    let (low, high) = (V::splat(end.clamp[0]), V::splat(end.clamp[1]));
    let bias = end.bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
    let mut strip = 0;
    while strip < channels {
        // The last strip begins earlier rather than end behind the channels.
        strip = strip.min(channels - V::LANES);
        let start = match bias.is_null() {
            true => V::splat(0.0),
            // SAFETY: the bias has a number for each channel.
            false => unsafe { V::load_ptr(bias.add(strip)) },
        };
        let mut sums = [start; WINDOWS];
        // Pointers, because a loop over a slice of at most `TAPS` would be unrolled into five times the code.
        let std::ops::Range { mut start, end } = reads.as_ptr_range();
        while start < end {
            // SAFETY: inside the slice.
            let row = unsafe { &*start };
            let weights = row.weights.wrapping_add(strip);
            let mut taps = [V::splat(0.0); K];
            for (kx, tap) in taps.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *tap = unsafe { V::load_ptr(weights.wrapping_add(kx * tap_step)) };
            }
            macro_rules! columns {
                ($($column:literal)*) => {$(
                    // SAFETY: the caller's promise.
                    unsafe { add::<V, K, S, $column>(&row.columns, strip, &taps, &mut sums) };
                )*};
            }
            columns!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18);
            start = start.wrapping_add(1);
        }
        let to = y[strip..].as_mut_ptr();
        for (window, sum) in sums.into_iter().enumerate() {
            if window < windows {
                // NaN stays: `min` and `max` give the right operand for it.
                let sum = high.min(low.max(sum));
                // SAFETY: so many windows lie `step` numbers apart, each with its channels, as was checked.
                unsafe { sum.store_ptr(to.wrapping_add(window * step)) };
            }
        }
        strip += V::LANES;
    }
}

/// Adds what column `C` gives to the windows that read it.
///
/// # Safety
/// The column is valid for a vector from `strip` on.
#[inline(always)]
unsafe fn add<V: Vector, const K: usize, const S: usize, const C: usize>(
    columns: &[*const f32; COLUMNS],
    strip: usize,
    taps: &[V; K],
    sums: &mut [V; WINDOWS],
) {
    if C >= S * (WINDOWS - 1) + K {
        return;
    }
    // SAFETY: the caller's promise.
    let x = unsafe { V::load_ptr(columns[C].wrapping_add(strip)) };
    for kx in 0..K {
        if C >= kx && (C - kx).is_multiple_of(S) && (C - kx) / S < WINDOWS {
            sums[(C - kx) / S] = x.mul_add(taps[kx], sums[(C - kx) / S]);
        }
    }
}
