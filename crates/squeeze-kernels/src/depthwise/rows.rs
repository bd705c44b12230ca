//! Windows of 3 x 3 and 5 x 5 taps: some neighbours of a row of the output at a time, so that what is read is loaded once for all of
//! them that read it. The loops are those of images in numbers and, where products of bytes are no quicker, in bytes.

use super::{Depthwise, Epilogue};
use crate::even;
use crate::vector::Vector;

/// Windows at a time: their sums, the weights of a row of taps and one number stay in registers.
pub(crate) const WINDOWS: usize = 8;
/// The most taps down and across.
const TAPS: usize = 5;
/// The most columns that the windows read.
const COLUMNS: usize = 2 * (WINDOWS - 1) + TAPS;
/// The most channels for which the columns are looked up once.
pub(crate) const CHANNELS: usize = 256;

/// What is read outside an image of numbers.
static ZEROS: [f32; CHANNELS] = [0.0; CHANNELS];

/// Whether [`compute`] has the layer.
pub(crate) fn has(d: &Depthwise) -> bool {
    let [down, across] = d.kernel;
    // Sixteen numbers are the longest vector.
    (across == 3 || across == TAPS)
        && down <= TAPS
        && (d.stride[1] == 1 || (d.stride[1] == 2 && d.dilation[1] == 1))
        && d.c >= 16
}

/// What images are made of, and what becomes of the sums of windows. Methods run only below a `#[target_feature]` function of the
/// vector's tier.
pub(crate) trait Pixels<V: Vector>: Copy {
    /// What is read and written.
    type Number: Copy;
    /// Whether what lies outside the image adds nothing.
    const LEAVES_OUT: bool;
    /// [`CHANNELS`] of what lies outside the image.
    fn outside(&self) -> *const Self::Number;
    /// A vector of numbers.
    ///
    /// # Safety
    /// `from` is valid for reading so many.
    unsafe fn load(from: *const Self::Number) -> V;
    /// What sums of the channels from this one on start from.
    ///
    /// # Safety
    /// The layer has a vector of channels from it on.
    unsafe fn start(&self, channel: usize) -> V;
    /// Writes the sums of so many windows, of channels from this one on, to places so far apart.
    ///
    /// # Safety
    /// The layer has the channels, and the places are valid for writing them.
    unsafe fn write(
        &self,
        channel: usize,
        sums: [V; WINDOWS],
        windows: usize,
        to: (*mut Self::Number, usize),
    );
}

/// One row of the output, counted through all images.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a, N, P> {
    pub depthwise: &'a Depthwise,
    pub index: usize,
    pub x: &'a [N],
    /// `[tap, c]`.
    pub weights: &'a [f32],
    pub pixels: P,
}

/// [`compute`] for images of numbers.
#[inline(always)]
pub(super) fn vector_row<V: Vector>(row: Row<f32, Epilogue>, y: &mut [f32]) {
    let bias = row.pixels.bias;
    assert!(bias.is_none_or(|bias| bias.len() == row.depthwise.c));
    compute::<V, Epilogue>(row, y);
}

impl<V: Vector> Pixels<V> for Epilogue<'_> {
    type Number = f32;
    const LEAVES_OUT: bool = true;

    #[inline(always)]
    fn outside(&self) -> *const f32 {
        ZEROS.as_ptr()
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_ptr(from) }
    }
    #[inline(always)]
    unsafe fn start(&self, channel: usize) -> V {
        match self.bias {
            // SAFETY: the bias has a number for each channel.
            Some(bias) => unsafe { V::load_ptr(bias.as_ptr().add(channel)) },
            None => V::splat(0.0),
        }
    }
    #[inline(always)]
    unsafe fn write(
        &self,
        _channel: usize,
        sums: [V; WINDOWS],
        windows: usize,
        (to, step): (*mut f32, usize),
    ) {
        let (low, high) = (V::splat(self.clamp[0]), V::splat(self.clamp[1]));
        for (window, sum) in sums.into_iter().enumerate() {
            if window < windows {
                // NaN stays: `min` and `max` give the right operand for it.
                let sum = high.min(low.max(sum));
                // SAFETY: the caller's promise.
                unsafe { sum.store_ptr(to.wrapping_add(window * step)) };
            }
        }
    }
}

/// Computes a row of the output.
///
/// # Panics
/// If a slice is shorter than the geometry says.
#[inline(always)]
pub(crate) fn compute<V: Vector, P: Pixels<V>>(row: Row<P::Number, P>, y: &mut [P::Number]) {
    let d = row.depthwise;
    assert!(has(d) && row.index < d.n * d.out_h() && y.len() == d.out_w() * d.c);
    assert!(row.x.len() == d.input() && row.weights.len() == d.taps() * d.c);
    match (d.kernel[1], d.stride[1]) {
        (3, 1) => blocks::<V, P, 3, 1>(row, y),
        (3, _) => blocks::<V, P, 3, 2>(row, y),
        (_, 1) => blocks::<V, P, 5, 1>(row, y),
        _ => blocks::<V, P, 5, 2>(row, y),
    }
}

/// What some windows read of a row of taps: the first numbers of its columns, and the first tap's weights.
#[derive(Clone, Copy)]
struct Reads<N> {
    columns: [*const N; COLUMNS],
    weights: *const f32,
}

/// Where windows read from pixel `left` of each row of taps on, so many columns and as far apart; how many rows there are, some of which
/// may be left out. Pixels count the padding.
fn look<V: Vector, P: Pixels<V>>(
    row: &Row<P::Number, P>,
    (left, columns, apart): (usize, usize, usize),
    channel: usize,
    reads: &mut [Reads<P::Number>; TAPS],
) -> usize {
    let d = row.depthwise;
    let (image, top) = (row.index / d.out_h(), row.index % d.out_h() * d.stride[0]);
    let mut count = 0;
    for ky in 0..d.kernel[0] {
        // Above the image the difference is below zero, which wraps to more than any height.
        let y = (top + ky * d.dilation[0]).wrapping_sub(d.padding[0]);
        let is_inside = y < d.h;
        if !is_inside && P::LEAVES_OUT {
            continue;
        }
        let line = match is_inside {
            true => row.x[(image * d.h + y) * d.w * d.c + channel..].as_ptr(),
            false => std::ptr::null(),
        };
        for (at, column) in reads[count].columns[..columns].iter_mut().enumerate() {
            let x = (left + at * apart).wrapping_sub(d.padding[1]);
            *column = match is_inside && x < d.w {
                true => line.wrapping_add(x * d.c),
                false => row.pixels.outside(),
            };
        }
        reads[count].weights = row.weights[ky * d.kernel[1] * d.c + channel..].as_ptr();
        count += 1;
    }
    count
}

#[inline(always)]
fn blocks<V: Vector, P: Pixels<V>, const K: usize, const S: usize>(
    row: Row<P::Number, P>,
    y: &mut [P::Number],
) {
    let d = row.depthwise;
    // Of a dilated kernel, every so-many-th window reads what one that is not dilated would of every so-many-th pixel.
    let apart = d.dilation[1];
    let mut reads = [Reads {
        columns: [std::ptr::null(); COLUMNS],
        weights: std::ptr::null(),
    }; TAPS];
    let parts = d.c.div_ceil(CHANNELS);
    for phase in 0..apart.min(d.out_w()) {
        let all = (d.out_w() - phase).div_ceil(apart);
        let blocks = all.div_ceil(WINDOWS);
        for (block, part) in (0..blocks).flat_map(|block| (0..parts).map(move |part| (block, part)))
        {
            let (windows, channels) = (even(all, blocks, block), even(d.c, parts, part));
            let first = phase + windows.start * apart;
            let columns = (first * S, S * (WINDOWS - 1) + K, apart);
            let strips = Strips {
                rows: look(&row, columns, channels.start, &mut reads),
                windows: windows.len(),
                first: channels.start,
                channels: channels.len(),
                all: d.c,
                step: apart * d.c,
            };
            let y = &mut y[first * d.c + channels.start..];
            // SAFETY: every column begins `channels.len()` numbers, as does every tap of the weights `d.c` behind the one before.
            unsafe { strips.run::<V, P, K, S>(&reads, &row.pixels, y) };
        }
    }
}

/// So many windows, for so many channels from the first on.
struct Strips {
    /// Rows of taps.
    rows: usize,
    windows: usize,
    first: usize,
    channels: usize,
    /// Channels of the layer: from one tap to the next in the weights.
    all: usize,
    /// From one window to the next in the output.
    step: usize,
}

impl Strips {
    /// # Safety
    /// Columns and weights of `reads` are valid for so many channels.
    #[inline(always)]
    unsafe fn run<V: Vector, P: Pixels<V>, const K: usize, const S: usize>(
        &self,
        reads: &[Reads<P::Number>; TAPS],
        pixels: &P,
        y: &mut [P::Number],
    ) {
        assert!(self.rows <= TAPS && self.channels >= V::LANES);
        assert!(y.len() >= (self.windows - 1) * self.step + self.channels);
        let mut strip = 0;
        while strip < self.channels {
            // The last strip begins earlier rather than end behind the channels.
            strip = strip.min(self.channels - V::LANES);
            // SAFETY (of both): the layer has these channels, and so many windows lie `step` numbers apart, as was checked.
            let mut sums = [unsafe { pixels.start(self.first + strip) }; WINDOWS];
            unsafe { self.add_rows::<V, P, K, S>(reads, strip, &mut sums) };
            let to = (y[strip..].as_mut_ptr(), self.step);
            unsafe { pixels.write(self.first + strip, sums, self.windows, to) };
            strip += V::LANES;
        }
    }

    /// Adds what all rows of taps give.
    ///
    /// # Safety
    /// As for [`Strips::run`], with a vector of channels from `strip` on.
    #[inline(always)]
    unsafe fn add_rows<V: Vector, P: Pixels<V>, const K: usize, const S: usize>(
        &self,
        reads: &[Reads<P::Number>; TAPS],
        strip: usize,
        sums: &mut [V; WINDOWS],
    ) {
        // Pointers, because a loop over a slice of at most `TAPS` would be unrolled into five times the code.
        let std::ops::Range { mut start, end } = reads[..self.rows].as_ptr_range();
        while start < end {
            // SAFETY: inside the slice.
            let row = unsafe { &*start };
            let weights = row.weights.wrapping_add(strip);
            let mut taps = [V::splat(0.0); K];
            for (kx, tap) in taps.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *tap = unsafe { V::load_ptr(weights.wrapping_add(kx * self.all)) };
            }
            macro_rules! columns {
                ($($column:literal)*) => {$(
                    // SAFETY: the caller's promise.
                    unsafe { add::<V, P, K, S, $column>(&row.columns, strip, &taps, sums) };
                )*};
            }
            columns!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18);
            start = start.wrapping_add(1);
        }
    }
}

/// Adds what column `C` gives to the windows that read it.
///
/// # Safety
/// The column is valid for a vector from `strip` on.
#[inline(always)]
unsafe fn add<V: Vector, P: Pixels<V>, const K: usize, const S: usize, const C: usize>(
    columns: &[*const P::Number; COLUMNS],
    strip: usize,
    taps: &[V; K],
    sums: &mut [V; WINDOWS],
) {
    if C >= S * (WINDOWS - 1) + K {
        return;
    }
    // SAFETY: the caller's promise.
    let x = unsafe { P::load(columns[C].wrapping_add(strip)) };
    for kx in 0..K {
        if C >= kx && (C - kx).is_multiple_of(S) && (C - kx) / S < WINDOWS {
            sums[(C - kx) / S] = x.mul_add(taps[kx], sums[(C - kx) / S]);
        }
    }
}
