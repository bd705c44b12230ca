//! The transforms in registers, a register of channels at a time.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::Size;
use super::grid::{Grid, Place};
use super::scalar::{Matrices, back as scalar_back, there as scalar_there};
use crate::activation::slice_forward_in_place;
use crate::conv_f32::Conv;
use crate::gemm_f32::{Epilogue, Residual, Start};
use crate::vector::{Vector, per_tier};
use crate::{SharedMut, Tier};

/// The two magnitudes of the 4 x 4 transform's points, their squares and the squares' sum; the product of the squares is 1.
const P: f32 = 2.0 / 3.0;
const Q: f32 = 1.5;
const PP: f32 = 4.0 / 9.0;
const QQ: f32 = 2.25;
const PPP: f32 = 8.0 / 27.0;
const QQQ: f32 = 3.375;
const SUM: f32 = 97.0 / 36.0;

/// What the input's transform reads, and how it writes: matrix after matrix, `[products, groups]`, each `[tiles, c / groups]`.
pub(super) struct There<'a> {
    pub conv: &'a Conv,
    pub grid: &'a Grid,
    pub matrices: &'a Matrices,
    pub x: &'a [f32],
    /// The block's first tile.
    pub first: usize,
    /// From one matrix to the next.
    pub step: usize,
}

/// What the transform back reads, laid out likewise, and what it does with the outputs.
pub(super) struct Back<'a> {
    pub conv: &'a Conv,
    pub grid: &'a Grid,
    pub matrices: &'a Matrices,
    pub sums: &'a [f32],
    pub first: usize,
    pub step: usize,
    /// From one pixel of the output to the next.
    pub stride: usize,
    pub epilogue: &'a Epilogue<'a>,
}

/// The pixel of the input, counted through all images, that a tile reads at `[i, j]`; none where there is padding.
pub(super) fn pixel(conv: &Conv, place: &Place, tap: [usize; 2]) -> Option<usize> {
    let [y, x] = [0, 1].map(|axis| {
        let at = place.at[axis] + tap[axis] * conv.dilation[axis];
        at.checked_sub(conv.padding[axis])
    });
    let (y, x) = (y.filter(|&y| y < conv.h)?, x.filter(|&x| x < conv.w)?);
    Some((place.image * conv.h + y) * conv.w + x)
}

/// The pixel of the output, counted through all images, that a tile writes at `[i, j]`.
pub(crate) fn written(conv: &Conv, place: &Place, tap: [usize; 2]) -> usize {
    let [y, x] = [0, 1].map(|axis| place.at[axis] + tap[axis] * conv.dilation[axis]);
    (place.image * conv.out_h() + y) * conv.out_w() + x
}

per_tier! {
    /// Transforms the inputs of some tiles of a block, which no other part has.
    pub(super) fn there(job: &There, tiles: Range<usize>, to: &SharedMut<f32>)
    { scalar: scalar_there, vector: vector_there }
}

per_tier! {
    /// Transforms the sums of some tiles of a block back, and writes the outputs that exist.
    pub(super) fn back(job: &Back, tiles: Range<usize>, y: &SharedMut<f32>)
    { scalar: scalar_back, vector: vector_back }
}

#[inline(always)]
fn vector_there<V: Vector>(job: &There, tiles: Range<usize>, to: &SharedMut<f32>) {
    match job.grid.size {
        Size::Two => tiles_there::<V, 4>(job, tiles, to),
        Size::Four => tiles_there::<V, 6>(job, tiles, to),
    }
}

#[inline(always)]
fn vector_back<V: Vector>(job: &Back, tiles: Range<usize>, y: &SharedMut<f32>) {
    match job.grid.size {
        Size::Two => tiles_back::<V, 4, 2>(job, tiles, y),
        Size::Four => tiles_back::<V, 6, 4>(job, tiles, y),
    }
}

/// What a tile reads as padding.
static ZEROS: [f32; 16] = [0.0; 16];

#[inline(always)]
fn tiles_there<V: Vector, const A: usize>(job: &There, tiles: Range<usize>, to: &SharedMut<f32>) {
    let (conv, groups) = (job.conv, job.conv.groups);
    let k = conv.c / groups;
    let whole = k / V::LANES * V::LANES;
    for tile in tiles {
        let place = job.grid.place(tile);
        let taps = pixels::<f32, A>(conv, &place, job.x, &ZEROS);
        for group in 0..groups {
            let first = group * job.step + (tile - job.first) * k;
            let last = (A * A - 1) * groups * job.step + first;
            assert!(last + k <= to.len(), "the transformed tiles have room");
            for at in (0..whole).step_by(V::LANES) {
                let channel = group * k + at;
                both_there::<V, A>(
                    |i, j| {
                        let (start, bits) = taps[i][j];
                        // SAFETY: a pixel has `c` numbers, of which `channel` begins `LANES`; zeros are 16.
                        unsafe { V::load_ptr(start.add(channel & bits)) }
                    },
                    |product, value| {
                        let at = product * groups * job.step + first + at;
                        // SAFETY: the last product's numbers are inside by the assertion; no other part has this tile.
                        unsafe { value.store_ptr(to.pointer().add(at)) }
                    },
                );
            }
            if whole < k {
                let channel = group * k + whole;
                both_there::<V, A>(
                    |i, j| {
                        let (start, bits) = taps[i][j];
                        // SAFETY: as above; fewer than `LANES` channels are left.
                        V::load_part(unsafe {
                            std::slice::from_raw_parts(start.add(channel & bits), k - whole)
                        })
                    },
                    |product, value| {
                        let at = product * groups * job.step + first;
                        // SAFETY: no other part has this tile.
                        value.store_part(unsafe { to.slice(at + whole..at + k) });
                    },
                );
            }
        }
    }
}

/// Of each pixel that a tile reads the first channel, and which bits of a channel's number count: none of padding's, which reads `zeros`.
#[inline(always)]
pub(crate) fn pixels<T, const A: usize>(
    conv: &Conv,
    place: &Place,
    pixels: &[T],
    zeros: &[T; 16],
) -> [[(*const T, usize); A]; A] {
    let mut taps = [[(zeros.as_ptr(), 0); A]; A];
    // Which taps of each axis are inside the image: neighbours, if any.
    let [down, across] = [(0, conv.h), (1, conv.w)].map(|(axis, size)| {
        let at = |tap: usize| place.at[axis] + tap * conv.dilation[axis];
        let inside =
            |tap: &usize| (conv.padding[axis]..conv.padding[axis] + size).contains(&at(*tap));
        (0..A).find(inside).map(|first| {
            let end = (first..A).find(|tap| !inside(tap)).unwrap_or(A);
            (first..end, at(first) - conv.padding[axis])
        })
    });
    let (Some((down, y)), Some((across, x))) = (down, across) else {
        return taps;
    };
    let next = [conv.dilation[0] * conv.w, conv.dilation[1]].map(|pixels| pixels * conv.c);
    let first = ((place.image * conv.h + y) * conv.w + x) * conv.c;
    let last = first + (down.len() - 1) * next[0] + (across.len() - 1) * next[1];
    assert!(
        last + conv.c <= pixels.len(),
        "pixels are inside the images"
    );
    for (row, i) in down.enumerate() {
        for (column, j) in across.clone().enumerate() {
            let at = first + row * next[0] + column * next[1];
            taps[i][j] = (pixels.as_ptr().wrapping_add(at), usize::MAX);
        }
    }
    taps
}

/// `B^T d B` of one register of channels.
#[inline(always)]
fn both_there<V: Vector, const A: usize>(
    load: impl Fn(usize, usize) -> V,
    mut store: impl FnMut(usize, V),
) {
    let mut half = [[MaybeUninit::uninit(); A]; A];
    for j in 0..A {
        let mut column = [V::splat(0.0); A];
        for i in 0..A {
            column[i] = load(i, j);
        }
        let column = line_there(&column);
        for i in 0..A {
            half[i][j].write(column[i]);
        }
    }
    for i in 0..A {
        // SAFETY: all of it was written above.
        let line = line_there(&unsafe { known(&half[i]) });
        for j in 0..A {
            store(i * A + j, line[j]);
        }
    }
}

/// A line that was written.
///
/// # Safety
/// Every place of it was.
#[inline(always)]
unsafe fn known<V: Vector, const A: usize>(line: &[MaybeUninit<V>; A]) -> [V; A] {
    let mut known = [V::splat(0.0); A];
    for i in 0..A {
        // SAFETY: the caller's promise.
        known[i] = unsafe { line[i].assume_init() };
    }
    known
}

/// `B^T d` of one line.
#[inline(always)]
fn line_there<V: Vector, const A: usize>(d: &[V; A]) -> [V; A] {
    let mut v = [V::splat(0.0); A];
    if A == 4 {
        v[0] = d[2] - d[0];
        v[1] = d[2] + d[1];
        v[2] = d[2] - d[1];
        v[3] = d[3] - d[1];
    } else {
        let (p, q, pp, qq) = (V::splat(P), V::splat(Q), V::splat(PP), V::splat(QQ));
        let (even_p, odd_p) = (d[2].neg_mul_add(qq, d[4]), d[1].neg_mul_add(qq, d[3]));
        let (even_q, odd_q) = (d[2].neg_mul_add(pp, d[4]), d[1].neg_mul_add(pp, d[3]));
        v[0] = d[2].neg_mul_add(V::splat(SUM), d[4]) + d[0];
        v[1] = odd_p.mul_add(p, even_p);
        v[2] = odd_p.neg_mul_add(p, even_p);
        v[3] = odd_q.mul_add(q, even_q);
        v[4] = odd_q.neg_mul_add(q, even_q);
        v[5] = d[3].neg_mul_add(V::splat(SUM), d[5]) + d[1];
    }
    v
}

/// What happens to each output: the numbers that the epilogue adds, and its limits.
#[derive(Clone, Copy)]
struct End<'a, V> {
    add: bool,
    bias: Option<&'a [f32]>,
    residual: Option<Residual<'a>>,
    limits: [V; 2],
}

#[inline(always)]
fn tiles_back<V: Vector, const A: usize, const R: usize>(
    job: &Back,
    tiles: Range<usize>,
    y: &SharedMut<f32>,
) {
    let (conv, e) = (job.conv, job.epilogue);
    let n = conv.out / conv.groups;
    let whole = n / V::LANES * V::LANES;
    let in_registers = e.activation.limits();
    let (low, high) = in_registers.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    let end = End {
        add: e.start == Start::Add,
        bias: e.bias,
        residual: e.residual,
        limits: [V::splat(low), V::splat(high)],
    };
    for tile in tiles {
        let place = job.grid.place(tile);
        let next =
            [conv.dilation[0] * conv.out_w(), conv.dilation[1]].map(|step| step * job.stride);
        let first = written(conv, &place, [0, 0]) * job.stride;
        for group in 0..conv.groups {
            let from = group * job.step + (tile - job.first) * n;
            let at = [from, first + group * n, group * n];
            for part in (0..whole).step_by(V::LANES) {
                channels_back::<V, A, R, true>(
                    job,
                    &end,
                    (at.map(|at| at + part), V::LANES),
                    (&place, next, y),
                );
            }
            if whole < n {
                channels_back::<V, A, R, false>(
                    job,
                    &end,
                    (at.map(|at| at + whole), n - whole),
                    (&place, next, y),
                );
            }
        }
        // Most activations are done while the pixel is in the first cache.
        if in_registers.is_none() {
            for i in 0..place.exist[0] {
                for j in 0..place.exist[1] {
                    let at = first + i * next[0] + j * next[1];
                    // SAFETY: no other part has this pixel.
                    let y = unsafe { y.slice(at..at + conv.out) };
                    let tier = match V::LANES {
                        16 => Tier::Avx512,
                        _ => Tier::Avx2,
                    };
                    slice_forward_in_place(tier, e.activation, y);
                }
            }
        }
    }
}

/// One register of channels of a tile, which begins at these places of the sums, the output and the bias; `FULL` where all its lanes
/// are used.
#[inline(always)]
fn channels_back<V: Vector, const A: usize, const R: usize, const FULL: bool>(
    job: &Back,
    end: &End<V>,
    ([from, at, channel], count): ([usize; 3], usize),
    (place, next, y): (&Place, [usize; 2], &SharedMut<f32>),
) {
    let load = |from: &[f32]| match FULL {
        true => V::load(from),
        false => V::load_part(&from[..count]),
    };
    let step = job.conv.groups * job.step;
    assert!(!FULL || count == V::LANES);
    let sums = &job.sums[from..from + (A * A - 1) * step + count];
    let bias = end
        .bias
        .map_or(V::splat(0.0), |bias| load(&bias[channel..]));
    let [low, high] = end.limits;
    both_back::<V, A, R>(
        |i, j| match FULL {
            // SAFETY: `sums` was cut to hold `LANES` numbers of the last product, and so of each.
            true => unsafe { V::load_ptr(sums.as_ptr().add((i * A + j) * step)) },
            false => V::load_part(&sums[(i * A + j) * step..][..count]),
        },
        |i, j, sum| {
            if i >= place.exist[0] || j >= place.exist[1] {
                return;
            }
            let at = at + i * next[0] + j * next[1];
            // SAFETY: no other part has this pixel.
            let y = unsafe { y.slice(at..at + count) };
            let mut sum = sum;
            if end.add {
                sum = load(y) + sum;
            }
            sum = sum + bias;
            if let Some(Residual { values, factors }) = end.residual {
                let other = load(&values[at..]);
                sum = match factors {
                    Some(factors) => other.mul_add(load(&factors[channel..]), sum),
                    None => sum + other,
                };
            }
            // The right operand is what comes out of NaN.
            let sum = high.min(low.max(sum));
            match FULL {
                true => sum.store(y),
                false => sum.store_part(y),
            }
        },
    );
}

/// `A^T m A` of one register of channels.
#[inline(always)]
fn both_back<V: Vector, const A: usize, const R: usize>(
    load: impl Fn(usize, usize) -> V,
    mut store: impl FnMut(usize, usize, V),
) {
    let mut half = [[MaybeUninit::uninit(); A]; R];
    for j in 0..A {
        let mut column = [V::splat(0.0); A];
        for i in 0..A {
            column[i] = load(i, j);
        }
        let column = line_back::<V, A, R>(&column);
        for i in 0..R {
            half[i][j].write(column[i]);
        }
    }
    for i in 0..R {
        // SAFETY: all of it was written above.
        let line = line_back::<V, A, R>(&unsafe { known(&half[i]) });
        for j in 0..R {
            store(i, j, line[j]);
        }
    }
}

/// `A^T m` of one line.
#[inline(always)]
fn line_back<V: Vector, const A: usize, const R: usize>(m: &[V; A]) -> [V; R] {
    let mut y = [V::splat(0.0); R];
    let (sum_p, difference_p) = (m[1] + m[2], m[1] - m[2]);
    if A == 4 {
        y[0] = m[0] + sum_p;
        y[1] = difference_p + m[3];
    } else {
        let (sum_q, difference_q) = (m[3] + m[4], m[3] - m[4]);
        y[0] = m[0] + sum_p + sum_q;
        y[1] = difference_p.mul_add(V::splat(P), difference_q * V::splat(Q));
        y[2] = sum_p.mul_add(V::splat(PP), sum_q * V::splat(QQ));
        y[3] = difference_p.mul_add(V::splat(PPP), difference_q.mul_add(V::splat(QQQ), m[5]));
    }
    y
}
