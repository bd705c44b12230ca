//! Windows of 3 x 3 and 5 x 5 taps: some neighbours of a row of the output at a time, so that what is read is loaded once for all of
//! them that read it, and as many rows below them, which read again what is then still in the first cache. Which
//! rows and columns windows read is looked up for images of bytes too, whose sums are in `depthwise_i8`.

use std::ops::Range;

use super::{Depthwise, Epilogue};
use crate::even;
use crate::vector::Vector;

/// Windows at a time: their sums, the weights of a row of taps and one number stay in registers.
pub(crate) const WINDOWS: usize = 8;
/// The most taps down and across.
const TAPS: usize = 5;
/// The most columns that the windows read.
pub(crate) const COLUMNS: usize = 2 * (WINDOWS - 1) + TAPS;
/// The most channels that are computed at a time.
pub(crate) const CHANNELS: usize = 256;
/// Channels come in so many, at least twice: the longest vector.
const UNIT: usize = 16;
/// How many bytes windows should read at most: more would not stay in the first cache for the windows below.
const NEAR: usize = 24 << 10;
/// Numbers of the image that a band of rows reads, whose windows are computed from the top down.
const BAND: usize = 64 << 10;
/// A larger image comes from beyond the second cache, which is quickest in the order in which it lies: row by row.
const FAR: usize = 512 << 10;

/// What is read outside an image of numbers.
pub(super) static ZEROS: [f32; CHANNELS] = [0.0; CHANNELS];

/// Whether [`strips`] has the layer.
pub(crate) fn has(d: &Depthwise) -> bool {
    let [down, across] = d.kernel;
    (across == 3 || across == TAPS)
        && down <= TAPS
        && (d.stride[1] == 1 || (d.stride[1] == 2 && d.dilation[1] == 1))
        && d.c >= UNIT
}

/// A layer and what it reads.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'a, N> {
    pub depthwise: &'a Depthwise,
    pub x: &'a [N],
    /// [`CHANNELS`] of what lies outside the image.
    pub outside: &'a [N],
    /// Whether that adds nothing.
    pub leaves_out: bool,
    /// How many windows are computed together: there are multiples of them at a time, but for the last.
    pub unit: usize,
}

/// What some windows read of a row: the first numbers of its columns.
pub(crate) type Reads<N> = [*const N; COLUMNS];

/// How many rows are remembered for the windows below.
const HELD: usize = 4 * TAPS;

/// Some windows of one row of the output, for some channels.
pub(crate) struct Strips<N> {
    reads: [Reads<N>; HELD],
    /// Which of these rows the taps read.
    read: Range<usize>,
    /// The image that they are of, and the first of them, counted with the padding.
    held: Option<[usize; 2]>,
    /// The first row of taps that reads one.
    top: usize,
    pub windows: usize,
    /// Taps across, and from one window to the next in pixels.
    pub kernel: [usize; 2],
    /// The first channel, how many, and those of the layer: from one tap to the next in the weights.
    pub first: usize,
    pub channels: usize,
    all: usize,
    /// From one window to the next in the output.
    pub step: usize,
}

/// Calls `each` with all windows of these rows of the output, counted through all images, and the room of their results.
///
/// # Panics
/// If a slice is shorter than the geometry says.
pub(crate) fn strips<N: Copy>(
    layer: &Layer<N>,
    rows: Range<usize>,
    y: &mut [N],
    mut each: impl FnMut(&Strips<N>, &mut [N]),
) {
    let d = layer.depthwise;
    let (out_h, row_len) = (d.out_h(), d.out_w() * d.c);
    assert!(has(d) && rows.end <= d.n * out_h && y.len() == rows.len() * row_len);
    assert!(layer.x.len() == d.input() && layer.outside.len() >= CHANNELS);
    // Of a dilated kernel, every so-many-th window reads what one that is not dilated would of every so-many-th pixel.
    let (apart, stride) = (d.dilation[1], d.stride[1]);
    let columns = stride * (WINDOWS - 1) + d.kernel[1];
    let units = d.c.div_ceil(UNIT);
    // Windows below each other read the same rows unless these are dilated.
    let (near, down) = match d.h * d.w * d.c <= FAR && d.dilation[0] == 1 {
        true => (NEAR, (BAND / (d.w * d.c * d.stride[0]).max(1)).max(4)),
        false => (usize::MAX, 1),
    };
    let near = near / size_of::<N>();
    let together = (near / (columns * d.kernel[0]) / UNIT).clamp(2, CHANNELS / UNIT);
    let parts = units.div_ceil(together).min(units / 2).max(1);
    let mut strips = Strips {
        reads: [[std::ptr::null(); COLUMNS]; HELD],
        read: 0..0,
        held: None,
        top: 0,
        windows: 0,
        kernel: [d.kernel[1], stride],
        first: 0,
        channels: 0,
        all: d.c,
        step: apart * d.c,
    };
    let bands = rows.clone().step_by(down);
    for (band, phase) in
        bands.flat_map(|band| (0..apart.min(d.out_w())).map(move |phase| (band, phase)))
    {
        let all = (d.out_w() - phase).div_ceil(apart);
        let (tiles, blocks) = (all.div_ceil(layer.unit), all.div_ceil(WINDOWS));
        for (block, part) in (0..blocks).flat_map(|block| (0..parts).map(move |part| (block, part)))
        {
            let (tiles, channels) = (even(tiles, blocks, block), even(units, parts, part));
            let windows = tiles.start * layer.unit..(tiles.end * layer.unit).min(all);
            let channels = channels.start * UNIT..(channels.end * UNIT).min(d.c);
            let first = phase + windows.start * apart;
            (strips.windows, strips.held) = (windows.len(), None);
            (strips.first, strips.channels) = (channels.start, channels.len());
            let places = places(d, first * stride, columns);
            let len = (windows.len() - 1) * strips.step + channels.len();
            // Dividing for each row would take as long as some of its windows.
            let (mut image, mut top) = (band / out_h, band % out_h);
            for row in band..(band + down).min(rows.end) {
                strips.look(layer, [image, top], &places[..columns]);
                top += 1;
                if top == out_h {
                    (image, top) = (image + 1, 0);
                }
                let at = (row - rows.start) * row_len + first * d.c + channels.start;
                each(&strips, &mut y[at..][..len]);
            }
        }
    }
}

/// Where the columns of a row begin from pixel `left` on, which counts the padding; none where they are outside.
fn places(d: &Depthwise, left: usize, columns: usize) -> [Option<usize>; COLUMNS] {
    let mut places = [None; COLUMNS];
    for (at, place) in places[..columns].iter_mut().enumerate() {
        let x = (left + at * d.dilation[1]).checked_sub(d.padding[1]);
        *place = x.filter(|&x| x < d.w).map(|x| x * d.c);
    }
    places
}

impl<N: Copy> Strips<N> {
    /// Looks up what the windows of a row of an image read, but for what those of the row above read too.
    fn look(&mut self, layer: &Layer<N>, [image, row]: [usize; 2], places: &[Option<usize>]) {
        let d = layer.depthwise;
        let (top, apart) = (row * d.stride[0], d.dilation[0]);
        // Rows that lie outside are those of the first taps and of the last.
        let inside = |ky: &usize| {
            let y = (top + ky * apart).wrapping_sub(d.padding[0]);
            !layer.leaves_out || y < d.h
        };
        let first = (0..d.kernel[0]).find(inside).unwrap_or(0);
        let count = (first..d.kernel[0]).take_while(inside).count();
        let start = top + first * apart;
        let known = match self.held {
            Some([of, from]) if of == image && apart == 1 && from <= start => {
                self.read.start += start - from;
                self.read.len()
            }
            _ => 0,
        };
        if known == 0 {
            self.read = 0..0;
        } else if self.read.start + count > HELD {
            self.reads.copy_within(self.read.clone(), 0);
            self.read = 0..known;
        }
        for ky in known..count {
            let y = (start + ky * apart).wrapping_sub(d.padding[0]);
            let columns = &mut self.reads[self.read.start + ky];
            match y < d.h {
                true => {
                    let line = &layer.x[(image * d.h + y) * d.w * d.c + self.first..];
                    for (column, place) in columns.iter_mut().zip(places) {
                        *column = match *place {
                            Some(place) => line.as_ptr().wrapping_add(place),
                            None => layer.outside.as_ptr(),
                        };
                    }
                }
                false => *columns = [layer.outside.as_ptr(); COLUMNS],
            }
        }
        self.read.end = self.read.start + count;
        self.held = Some([image, start]);
        self.top = first;
    }

    /// What the windows read of each row: the first of their channels of each column, of which as many follow.
    pub fn reads(&self) -> &[Reads<N>] {
        &self.reads[self.read.clone()]
    }

    /// Where the weights of the first row of taps begin, `[tap, c]`, and from one row to the next.
    fn taps(&self, weights: &[f32]) -> (*const f32, usize) {
        let row = self.kernel[0] * self.all;
        let rows = &weights[self.top * row..];
        assert!(rows.len() >= self.read.len() * row, "too few weights");
        (rows.as_ptr().wrapping_add(self.first), row)
    }

    /// What a window adds up of one of its channels: numbers and their weights.
    ///
    /// # Panics
    /// If it has no such window or channel.
    pub fn terms(
        &self,
        weights: &[f32],
        window: usize,
        channel: usize,
    ) -> impl Iterator<Item = (N, f32)> {
        assert!(window < self.windows && channel < self.channels);
        let [across, stride] = self.kernel;
        let (weights, apart) = self.taps(weights);
        let rows = self.reads().iter().enumerate();
        let taps = rows.flat_map(move |(row, reads)| (0..across).map(move |kx| (row, reads, kx)));
        taps.map(move |(row, reads, kx)| {
            let column = reads[window * stride + kx].wrapping_add(channel);
            let weight = weights.wrapping_add(row * apart + kx * self.all + channel);
            // SAFETY: every column begins so many channels, as does every tap of the weights `all` behind the one before.
            unsafe { (*column, *weight) }
        })
    }

    /// Calls `each` with the results of windows that follow each other, all of them where they lie side by side.
    pub fn pieces(&self, y: &mut [N], mut each: impl FnMut(&mut [N])) {
        match self.step == self.channels {
            true => each(y),
            false => y
                .chunks_mut(self.step)
                .for_each(|y| each(&mut y[..self.channels])),
        }
    }
}

impl Strips<f32> {
    /// Computes the windows.
    ///
    /// # Panics
    /// If there is less room than they need, or there are fewer weights.
    #[inline(always)]
    fn compute<V: Vector>(&self, weights: &[f32], end: Epilogue, y: &mut [f32]) {
        let weights = self.taps(weights);
        // SAFETY (of all): every column begins so many channels, as does every tap of the weights `all` behind the one before.
        unsafe {
            match self.kernel {
                [3, 1] => self.run::<V, 3, 1>(weights, end, y),
                [3, _] => self.run::<V, 3, 2>(weights, end, y),
                [_, 1] => self.run::<V, 5, 1>(weights, end, y),
                _ => self.run::<V, 5, 2>(weights, end, y),
            }
        }
    }

    /// # Safety
    /// Columns and weights of `reads` are valid for so many channels.
    #[inline(always)]
    unsafe fn run<V: Vector, const K: usize, const S: usize>(
        &self,
        weights: (*const f32, usize),
        end: Epilogue,
        y: &mut [f32],
    ) {
        assert!(self.read.len() <= TAPS && self.channels >= V::LANES);
        assert!(y.len() >= (self.windows - 1) * self.step + self.channels);
        assert!(end.bias.is_none_or(|bias| bias.len() == self.all));
        let (low, high) = (V::splat(end.clamp[0]), V::splat(end.clamp[1]));
        let mut strip = 0;
        while strip < self.channels {
            // The last strip begins earlier rather than end behind the channels.
            strip = strip.min(self.channels - V::LANES);
            let start = match end.bias {
                // SAFETY: the bias has a number for each channel.
                Some(bias) => unsafe { V::load_ptr(bias.as_ptr().add(self.first + strip)) },
                None => V::splat(0.0),
            };
            let mut sums = [start; WINDOWS];
            // SAFETY: the layer has these channels.
            unsafe { self.add_rows::<V, K, S>(weights, strip, &mut sums) };
            let to = y[strip..].as_mut_ptr();
            for (window, sum) in sums.into_iter().enumerate() {
                if window < self.windows {
                    // NaN stays: `min` and `max` give the right operand for it.
                    let sum = high.min(low.max(sum));
                    // SAFETY: so many windows lie `step` numbers apart, as was checked.
                    unsafe { sum.store_ptr(to.wrapping_add(window * self.step)) };
                }
            }
            strip += V::LANES;
        }
    }

    /// Adds what all rows of taps give.
    ///
    /// # Safety
    /// As for [`Strips::run`], with a vector of channels from `strip` on.
    #[inline(always)]
    unsafe fn add_rows<V: Vector, const K: usize, const S: usize>(
        &self,
        (weights, apart): (*const f32, usize),
        strip: usize,
        sums: &mut [V; WINDOWS],
    ) {
        // Pointers, because a loop over a slice of at most `TAPS` would be unrolled into five times the code.
        let Range { mut start, end } = self.reads().as_ptr_range();
        let mut weights = weights.wrapping_add(strip);
        while start < end {
            // SAFETY: inside the slice.
            let columns = unsafe { &*start };
            let mut taps = [V::splat(0.0); K];
            for (kx, tap) in taps.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *tap = unsafe { V::load_ptr(weights.wrapping_add(kx * self.all)) };
            }
            macro_rules! columns {
                ($($column:literal)*) => {$(
                    // SAFETY: the caller's promise.
                    unsafe { add::<V, K, S, $column>(columns, strip, &taps, sums) };
                )*};
            }
            columns!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18);
            start = start.wrapping_add(1);
            weights = weights.wrapping_add(apart);
        }
    }
}

/// [`Strips::compute`].
#[inline(always)]
pub(super) fn vector_strips<V: Vector>(
    strips: &Strips<f32>,
    weights: &[f32],
    end: Epilogue,
    y: &mut [f32],
) {
    strips.compute::<V>(weights, end, y);
}

/// Adds what column `C` gives to the windows that read it.
///
/// # Safety
/// The column is valid for a vector from `strip` on.
#[inline(always)]
unsafe fn add<V: Vector, const K: usize, const S: usize, const C: usize>(
    columns: &Reads<f32>,
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
