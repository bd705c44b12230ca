//! Windows of 3 x 3 taps at stride 1 and of 5 x 5 at strides 1 and 2, where a vector has 32 registers: some neighbours and all that lie
//! below them, from the top down. The sums of all rows of windows that read a row of numbers stay in registers, so each number is loaded
//! once for all of these windows that read it, up to 20. Windows whose taps lie apart come with those that read the same rows and columns.
//! Where there are 16 registers, [`super::row_pairs`] has such windows, and those of 3 x 3 taps at stride 2.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::row_pairs::runs;
use super::{Depthwise, Epilogue};
use crate::activation::vector::apply;
use crate::activation::{Activation, slice_forward_in_place};
use crate::vector::{Vector, per_tier};
use crate::{Tier, even};

/// Taps down and across, at most.
pub(super) const TAPS: usize = 5;
/// Windows at a time, at most.
const WINDOWS: usize = 7;
/// The columns that they read, at most.
const COLUMNS: usize = 11;
/// Channels of a vector.
const LANES: usize = 16;
/// Numbers of a larger image that a band of rows reads: it comes from beyond the second cache, which is quickest in the order in which it
/// lies.
const BAND: usize = 32 << 10;
/// What windows read and write that stays in the second cache.
const NEAR: usize = 384 << 10;

/// Windows at a time: beside their sums, nine weights and one number are in registers, or the numbers of a row and one weight.
const fn windows(taps: usize) -> usize {
    if taps == 3 { 7 } else { 4 }
}

/// What is read outside an image.
static ZEROS: [f32; LANES] = [0.0; LANES];

/// Columns, at least, that two rows at a time take less time for than eight windows of one.
const MANY: usize = 14;

/// Whether [`columns`] has the layer. Threads that share an image read a part of it from each other's caches; there columns of 5 x 5 taps are no
/// quicker than rows are, unless one is `alone`.
pub(super) fn has(d: &Depthwise, tier: Tier, alone: bool) -> bool {
    let is_known = match (tier.min(Tier::detect()), d.kernel, d.stride) {
        (Tier::Scalar, ..) => false,
        (Tier::Avx2, [3, 3] | [5, 5], [1, 1] | [2, 2]) => d.w.div_ceil(d.dilation[1]) >= MANY,
        (_, [3, 3], [1, 1]) => true,
        (_, [5, 5], [1, 1] | [2, 2]) => alone,
        _ => false,
    };
    is_known && (d.dilation == [1, 1] || d.stride == [1, 1]) && d.c >= LANES
}

/// Every so manieth row or column of an image, of which windows that lie as far apart read those next to each other.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    /// The first one, and how many there are.
    first: usize,
    pub size: usize,
    /// How many of them lie outside the image before it.
    pub padding: usize,
}

impl Axis {
    /// What this window reads, and those that lie multiples of the dilation behind it.
    fn of(layer: &Depthwise, down: usize, window: usize) -> Self {
        let size = [layer.h, layer.w][down];
        let (padding, apart) = (layer.padding[down], layer.dilation[down]);
        let first = (window + padding * (apart - 1)) % apart;
        Self {
            first,
            size: size.saturating_sub(first).div_ceil(apart),
            padding: (padding + first - window) / apart,
        }
    }
}

/// An image, or every so manieth row and column of one, and where its windows are.
pub(super) struct Grid<'a> {
    pub layer: &'a Depthwise,
    /// `[tap, c]`.
    pub weights: &'a [f32],
    /// The image, and whether what all of these windows of it read and write stays in the second cache.
    pub x: &'a [f32],
    near: bool,
    /// Whether one thread computes all windows, so that what they read is in its own cache.
    alone: bool,
    /// Where the first number of the first row is.
    pub begin: usize,
    pub rows: Axis,
    pub columns: Axis,
    /// How many numbers lie from one row to the next and from one column to the next.
    pub apart: [usize; 2],
    /// The same for the output, and how many windows a row of it has.
    pub steps: [usize; 2],
    pub windows: usize,
    pub end: Epilogue<'a>,
    after: Option<Activation>,
    tier: Tier,
}

/// Computes all windows of these rows of the output, counted through all images, and an activation of them.
///
/// # Panics
/// If a slice is shorter than the geometry says, or the layer is none of these.
pub(super) fn columns(
    (layer, tier, alone): (&Depthwise, Tier, bool),
    (x, weights): (&[f32], &[f32]),
    rows: Range<usize>,
    (end, after): (Epilogue, Option<Activation>),
    y: &mut [f32],
) {
    let (c, out_h, out_w) = (layer.c, layer.out_h(), layer.out_w());
    let (image_len, row_len) = (layer.h * layer.w * c, out_w * c);
    assert!(has(layer, tier, alone) && rows.end <= layer.n * out_h);
    assert!(x.len() == layer.input() && y.len() == rows.len() * row_len);
    assert!(weights.len() == layer.taps() * c && end.bias.is_none_or(|bias| bias.len() == c));
    let [dy, dx] = layer.dilation;
    let tier = tier.min(Tier::detect());
    let mut row = rows.start;
    while row < rows.end {
        let (image, top) = (row / out_h, row % out_h);
        let count = (rows.end - row).min(out_h - top);
        for phase in 0..(dy.min(count) * dx.min(out_w)) {
            let (below, left) = (phase / dx.min(out_w), phase % dx.min(out_w));
            let first = top + below;
            let [down, across] =
                [(0, first % dy), (1, left)].map(|(axis, window)| Axis::of(layer, axis, window));
            let grid = Grid {
                layer,
                weights,
                x: &x[image * image_len..][..image_len],
                alone,
                near: count * (layer.stride[0] * layer.w * c + row_len) <= NEAR,
                begin: (down.first * layer.w + across.first) * c,
                rows: down,
                columns: across,
                apart: [dy * layer.w * c, dx * c],
                steps: [dy * row_len, dx * c],
                windows: (out_w - left).div_ceil(dx),
                end,
                after,
                tier,
            };
            let windows = first / dy..first / dy + (count - below).div_ceil(dy);
            let y = &mut y[(row - rows.start) * row_len..][..count * row_len];
            let y = &mut y[below * row_len + left * c..];
            // SAFETY: the machine has the tier, as was asserted.
            #[cfg(target_arch = "x86_64")]
            match tier {
                Tier::Avx2 => unsafe { pairs(&grid, windows, y) },
                _ => grid.bands(windows, y),
            }
            #[cfg(not(target_arch = "x86_64"))]
            grid.bands(windows, y);
        }
        row += count;
    }
}

/// Some windows of a row and those below them.
struct Part<'a> {
    grid: &'a Grid<'a>,
    windows: Range<usize>,
    rows: usize,
    /// Which of the rows that they read are inside the image, and where the first number of the first of these is.
    inside: Range<usize>,
    begin: usize,
}

impl Grid<'_> {
    /// What follows the sums of some rows of some windows, for a vector of channels from number `first` of `y` on.
    #[inline(always)]
    pub(super) fn finish<V: Vector>(
        &self,
        (first, rows, windows): (usize, usize, usize),
        y: &mut [f32],
    ) {
        let Some(activation) = self.after else {
            return;
        };
        if !finish(self.tier, self, activation, (first, rows, windows), y) {
            let [down, across] = self.steps;
            for at in (0..rows * windows).map(|at| at / windows * down + at % windows * across) {
                slice_forward_in_place(self.tier, activation, &mut y[first + at..][..V::LANES]);
            }
        }
    }

    /// Computes these rows of windows.
    fn bands(&self, rows: Range<usize>, y: &mut [f32]) {
        let (taps, stride) = (self.layer.kernel[0], self.layer.stride[0]);
        let row_len = self.columns.size * self.layer.c;
        let most = match self.near {
            true => rows.len(),
            false => (BAND / (row_len * stride).max(1)).max(4),
        };
        let parts = match self.near && self.alone {
            true => 1,
            false => self.windows.div_ceil(windows(taps)),
        };
        for first in rows.clone().step_by(most) {
            let count = (rows.end - first).min(most);
            let above = first * stride;
            let end = (self.rows.padding + self.rows.size).saturating_sub(above);
            let end = end.min((count - 1) * stride + taps);
            let start = self.rows.padding.saturating_sub(above).min(end);
            let row = (above + start).saturating_sub(self.rows.padding);
            let begin = self.begin + row * self.apart[0];
            for part in 0..parts {
                let part = Part {
                    grid: self,
                    windows: even(self.windows, parts, part),
                    rows: count,
                    inside: start..end,
                    begin,
                };
                // SAFETY: `columns`, which makes the grids, asserts that the machine has the tier.
                #[cfg(target_arch = "x86_64")]
                unsafe {
                    compute(&part, &mut y[(first - rows.start) * self.steps[0]..]);
                }
                #[cfg(not(target_arch = "x86_64"))]
                unreachable!("no such tier");
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
fn compute(part: &Part, y: &mut [f32]) {
    use crate::vector::F32x16;
    match (part.grid.layer.kernel, part.grid.layer.stride) {
        ([3, 3], _) => part.run::<F32x16, 3, 1>(y),
        (_, [1, 1]) => part.run::<F32x16, 5, 1>(y),
        _ => part.run::<F32x16, 5, 2>(y),
    }
}

/// [`Grid::pairs`] of the layer's windows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn pairs(grid: &Grid, rows: Range<usize>, y: &mut [f32]) {
    let runs = match (grid.layer.kernel, grid.layer.stride) {
        ([3, 3], [1, 1]) => runs::<3, 1>(),
        ([3, 3], _) => runs::<3, 2>(),
        (_, [1, 1]) => runs::<5, 1>(),
        _ => runs::<5, 2>(),
    };
    grid.pairs(runs, rows, y);
}

per_tier! {
    /// An activation that networks have behind windows, of some rows of some windows, for a vector of channels from number `first` of `y` on:
    /// they are still in the first cache. Whether it is one of these.
    #[inline(never)]
    fn finish(grid: &Grid, activation: Activation, part: (usize, usize, usize), y: &mut [f32]) -> bool
    { scalar: no_activation, vector: vector_finish }
}

fn no_activation(_: &Grid, _: Activation, _: (usize, usize, usize), _: &mut [f32]) -> bool {
    false
}

#[inline(always)]
fn vector_finish<V: Vector>(
    grid: &Grid,
    activation: Activation,
    (first, rows, windows): (usize, usize, usize),
    y: &mut [f32],
) -> bool {
    let [down, across] = grid.steps;
    assert!(y.len() >= (rows - 1) * down + first + (windows - 1) * across + V::LANES);
    macro_rules! each {
        ($activation:expr) => {
            for row in 0..rows {
                for window in 0..windows {
                    // SAFETY (of both): the output has these channels of all windows, as was asserted.
                    let at = unsafe { y.as_mut_ptr().add(row * down + first + window * across) };
                    unsafe { apply($activation, V::load_ptr(at)).store_ptr(at) };
                }
            }
        };
    }
    match activation {
        Activation::HardSwish => each!(Activation::HardSwish),
        Activation::Silu => each!(Activation::Silu),
        _ => return false,
    }
    true
}

impl Part<'_> {
    #[inline(always)]
    fn run<V: Vector, const K: usize, const S: usize>(&self, y: &mut [f32]) {
        // The last row of taps belongs to the first of the rows of numbers that lie between two rows of windows.
        const { assert!(V::LANES == LANES && (K - 1).is_multiple_of(S)) };
        let (grid, rows, channels) = (self.grid, self.rows, self.grid.layer.c);
        let [down, across] = grid.steps;
        assert!(y.len() >= (rows - 1) * down + (self.windows.end - 1) * across + channels);
        let clamp = grid.end.clamp;
        let (low, high) = (V::splat(clamp[0]), V::splat(clamp[1]));
        let last = (K - 1) / S;
        let blocks = self.windows.len().div_ceil(windows(K));
        let (each, wider) = (self.windows.len() / blocks, self.windows.len() % blocks);
        let mut strip = 0;
        while strip < channels {
            // The last strip begins earlier rather than end behind the channels.
            strip = strip.min(channels - LANES);
            // SAFETY (of all blocks): `columns` made sure that the image has these channels of all columns in all rows inside, that weights
            // and bias have as many, and so has the output in each of its rows.
            let start = match grid.end.bias {
                Some(bias) => unsafe { V::load_ptr(bias.as_ptr().add(strip)) },
                None => V::splat(0.0),
            };
            let mut taps = [start; TAPS * TAPS];
            for (tap, to) in taps[..K * K].iter_mut().enumerate() {
                let weights = grid.weights.as_ptr().wrapping_add(tap * channels + strip);
                *to = unsafe { V::load_ptr(weights) };
                // They come from far, those of the next strip too.
                V::prefetch(weights.wrapping_add(LANES));
            }
            // Where they do not stay in registers, each is loaded once for some windows, which the compiler would do for each of them.
            let kept = match K {
                3 => std::ptr::null(),
                _ => std::hint::black_box(taps.as_ptr()),
            };
            let mut first = self.windows.start;
            for block in 0..blocks {
                let count = each + usize::from(block < wider);
                let mut from = [(ZEROS.as_ptr(), 0); COLUMNS];
                for (column, from) in from[..S * (windows(K) - 1) + K].iter_mut().enumerate() {
                    let at = (first * S + column).wrapping_sub(grid.columns.padding);
                    if at < grid.columns.size {
                        let at = self.begin + at * grid.apart[1] + strip;
                        *from = (grid.x.as_ptr().wrapping_add(at), grid.apart[0]);
                    }
                }
                // Those of the row of windows that begins with the last row of numbers, of the one above it, and so on.
                let mut sums = [[start; WINDOWS]; TAPS];
                let mut to = y[first * across + strip..].as_mut_ptr();
                for step in 0..rows + last {
                    for above in (0..last).rev() {
                        sums[above + 1] = sums[above];
                    }
                    sums[0] = [start; WINDOWS];
                    if self.inside.contains(&(S * step)) {
                        unsafe {
                            match K {
                                // There are no windows above the first ones and below the last ones.
                                3 if step < 2 => add_three::<V, 0, 2>(&from, &taps, &mut sums),
                                3 if step < rows => add_three::<V, 0, 3>(&from, &taps, &mut sums),
                                3 => add_three::<V, 1, 3>(&from, &taps, &mut sums),
                                _ => add_five::<V, S, 0>(&from, kept, (step, rows), &mut sums),
                            }
                        }
                        next(&mut from);
                    }
                    if step >= last {
                        for window in 0..windows(K) {
                            if window < count {
                                // NaN stays: `min` and `max` give the right operand for it.
                                let sum = high.min(low.max(sums[last][window]));
                                unsafe { sum.store_ptr(to.wrapping_add(window * across)) };
                            }
                        }
                        to = to.wrapping_add(down);
                    }
                    if S == 2 && self.inside.contains(&(S * step + 1)) {
                        unsafe { add_five::<V, S, 1>(&from, kept, (step, rows), &mut sums) };
                        next(&mut from);
                    }
                }
                grid.finish::<V>((first * across + strip, rows, count), y);
                first += count;
            }
            strip += LANES;
        }
    }
}

/// Columns and how far their rows lie apart.
type Columns = [(*const f32, usize); COLUMNS];

/// Moves on to the next row.
#[inline(always)]
fn next(columns: &mut Columns) {
    for (column, line) in columns {
        *column = column.wrapping_add(*line);
    }
}

/// Adds a row of numbers to the windows of which it is one of these three rows of taps.
///
/// # Safety
/// The pointers are valid for a vector.
#[inline(always)]
unsafe fn add_three<V: Vector, const FIRST: usize, const END: usize>(
    from: &Columns,
    taps: &[V; TAPS * TAPS],
    sums: &mut [[V; WINDOWS]; TAPS],
) {
    for column in 0..windows(3) + 2 {
        // SAFETY: the caller's promise.
        let x = unsafe { V::load_ptr(from[column].0) };
        for ky in FIRST..END {
            for kx in 0..3 {
                if column >= kx && column - kx < windows(3) {
                    let sum = &mut sums[ky][column - kx];
                    *sum = x.mul_add(taps[ky * 3 + kx], *sum);
                }
            }
        }
    }
}

/// Adds a row of numbers to the windows of which it is one of the five rows of taps: the first, third and fifth where rows of windows lie
/// two rows of numbers apart, or the second and fourth. `step` is the row of windows that begins here, of so many.
///
/// # Safety
/// The pointers are valid for a vector, that of the taps for 25.
#[inline(always)]
unsafe fn add_five<V: Vector, const S: usize, const FIRST: usize>(
    from: &Columns,
    taps: *const V,
    (step, rows): (usize, usize),
    sums: &mut [[V; WINDOWS]; TAPS],
) {
    let mut x = [V::splat(0.0); COLUMNS];
    for column in 0..S * (windows(5) - 1) + 5 {
        // SAFETY: the caller's promise.
        x[column] = unsafe { V::load_ptr(from[column].0) };
    }
    macro_rules! rows {
        ($($row:literal)*) => {$(
            if FIRST + S * $row < 5 && step.wrapping_sub($row) < rows {
                for kx in 0..5 {
                    // SAFETY: the caller's promise.
                    let weight = unsafe { *taps.wrapping_add((FIRST + S * $row) * 5 + kx) };
                    for window in 0..windows(5) {
                        let sum = &mut sums[$row][window];
                        *sum = x[S * window + kx].mul_add(weight, *sum);
                    }
                }
            }
        )*};
    }
    rows!(0 1 2 3 4);
}
