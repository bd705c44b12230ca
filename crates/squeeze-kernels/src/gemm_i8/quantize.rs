//! Activations from single precision to bytes: images symmetric around zero, rows around the middle of what they span, so that those of
//! one sign lose no bit; the largest distance becomes 127. Weights are in [`weights`](super::weights).

use crate::vector::{Vector, per_tier};

/// What is added to a number to round it to a whole one, half to even, that stands in the low bits: 1.5 * 2^23.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// The byte of zero where bytes are 128 too large.
pub(crate) const ZERO: u8 = 0x80;

/// Below it a row counts as zeros: 127 over it must be finite.
const LEAST: f32 = 1e-30;

/// Brings an image to signed bytes and gives their scale: the definition of [`largest`] and [`quantize`].
pub(crate) fn around_zero(x: &[f32], to: &mut [i8]) -> f32 {
    let (factor, scale) = factor(scalar_largest(x));
    for (to, x) in to.iter_mut().zip(x) {
        *to = byte(*x, factor) as i8;
    }
    scale
}

/// Rows of numbers: the length of one, and from one to the next.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    /// Numbers of a row.
    pub k: usize,
    /// From one row to the next.
    pub step: usize,
}

/// How a row became bytes: number `x` is about `middle + scale * byte`.
pub type Mark = [f32; 2];

per_tier! {
    /// Brings as many rows as there are marks to bytes, 128 too large, and gives each row's scale and middle. Each row of `to` is a
    /// whole number of quads; what is left of it stands for zeros.
    ///
    /// A row with a NaN has the scale NaN, one with an infinity has an infinite scale.
    ///
    /// # Panics
    /// If `x` or `to` is too short.
    pub fn quantize_rows(x: &[f32], rows: Stretch, to: &mut [u8], marks: &mut [Mark])
    { scalar: scalar_rows, vector: vector_rows }
}

per_tier! {
    /// The largest magnitude; NaN where there is a NaN.
    pub(crate) fn largest(x: &[f32]) -> f32
    { scalar: scalar_largest, vector: vector_largest }
}

per_tier! {
    /// Brings numbers to bytes, 128 too large: how far they are from `middle`, times `factor`; what is left of `to` stands for zeros.
    /// Zero lies between the smallest number and the largest, or their middle is zero.
    pub(crate) fn quantize(x: &[f32], middle: f32, factor: f32, to: &mut [u8])
    { scalar: scalar_bytes, vector: vector_bytes }
}

fn scalar_rows(x: &[f32], rows: Stretch, to: &mut [u8], marks: &mut [Mark]) {
    let width = rows.k.next_multiple_of(4);
    for (row, mark) in marks.iter_mut().enumerate() {
        let x = &x[row * rows.step..][..rows.k];
        let [middle, half] = scalar_span(x);
        let (factor, scale) = factor(half);
        scalar_bytes(x, middle, factor, &mut to[row * width..][..width]);
        *mark = [scale, middle];
    }
}

/// Numbers of the rows that pass together: a part of the first cache, in which they are still when they become bytes.
const TOGETHER: usize = 4096;

/// Rows at most that pass together.
const MOST_ROWS: usize = 8;

#[inline(always)]
fn vector_rows<V: Vector>(x: &[f32], rows: Stretch, to: &mut [u8], marks: &mut [Mark]) {
    let width = rows.k.next_multiple_of(4);
    let together = (TOGETHER / rows.k.max(1)).clamp(1, MOST_ROWS);
    for (block, marks) in marks.chunks_mut(together).enumerate() {
        let first = block * together;
        let row = |at: usize| &x[(first + at) * rows.step..][..rows.k];
        // Spans of several rows first: each takes long from its numbers to its factor, and none waits for another.
        for (at, mark) in marks.iter_mut().enumerate() {
            *mark = vector_span::<V>(row(at));
        }
        for (at, mark) in marks.iter_mut().enumerate() {
            let [middle, half] = *mark;
            let (factor, scale) = factor(half);
            let to = &mut to[(first + at) * width..][..width];
            vector_bytes::<V>(row(at), middle, factor, to);
            *mark = [scale, middle];
        }
    }
}

fn scalar_bytes(x: &[f32], middle: f32, factor: f32, to: &mut [u8]) {
    let (used, rest) = to.split_at_mut(x.len());
    let shift = -(middle * factor);
    for (to, x) in used.iter_mut().zip(x) {
        *to = byte(x.mul_add(factor, shift), 1.0) ^ ZERO;
    }
    rest.fill(ZERO);
}

#[inline(always)]
fn vector_bytes<V: Vector>(x: &[f32], middle: f32, factor: f32, to: &mut [u8]) {
    assert!(x.len() <= to.len());
    // The middle is no farther from zero than the ends are, so nothing is lost.
    let (factor, shift) = (V::splat(factor), V::splat(-(middle * factor)));
    let (four, whole) = (4 * V::LANES, x.len() / V::LANES * V::LANES);
    let fours = x.chunks_exact(four).zip(to.chunks_exact_mut(four));
    for (x, to) in fours {
        let part = |at: usize| V::load(&x[at * V::LANES..][..V::LANES]).mul_add(factor, shift);
        V::store_bytes_four([part(0), part(1), part(2), part(3)], to);
    }
    for at in (x.len() / four * four..whole).step_by(V::LANES) {
        let x = V::load(&x[at..at + V::LANES]);
        x.mul_add(factor, shift)
            .store_bytes(&mut to[at..at + V::LANES]);
    }
    if whole < to.len() {
        let end = to.len().min(whole + V::LANES);
        let last = V::load_part(&x[whole..]).mul_add(factor, shift);
        last.store_bytes(&mut to[whole..end]);
        to[x.len()..].fill(ZERO);
    }
}

/// The middle of what a row and zero span, and half of it; zero and the largest magnitude where there is a NaN or an infinity.
pub(crate) fn scalar_span(x: &[f32]) -> [f32; 2] {
    let top = x.iter().fold(0.0, |top: f32, &x| top.max(x));
    let bottom = x.iter().fold(0.0, |bottom: f32, &x| bottom.min(x));
    match x.iter().all(|x| x.is_finite()) {
        true => span(bottom, top),
        false => [0.0, scalar_largest(x)],
    }
}

#[inline(always)]
fn vector_span<V: Vector>(x: &[f32]) -> [f32; 2] {
    let zero = V::splat(0.0);
    let (mut tops, mut bottoms) = ([zero; 4], [zero; 4]);
    let mut meet = |at: usize, x: V| {
        tops[at] = x.higher(tops[at]);
        bottoms[at] = x.lower(bottoms[at]);
    };
    let fours = x.chunks_exact(4 * V::LANES);
    for part in fours.remainder().chunks(V::LANES) {
        meet(0, V::load_part(part));
    }
    for four in fours {
        for at in 0..4 {
            meet(at, V::load(&four[at * V::LANES..][..V::LANES]));
        }
    }
    let top = (tops[0].higher(tops[1])).higher(tops[2].higher(tops[3]));
    let bottom = (bottoms[0].lower(bottoms[1])).lower(bottoms[2].lower(bottoms[3]));
    // The largest bits of both: a bottom without a sign is no bottom.
    let (top, bottom) = (top.largest_size(), bottom.largest_size());
    let bottom = if bottom.is_sign_negative() {
        bottom
    } else {
        0.0
    };
    match top.is_finite() && bottom.is_finite() {
        true => span(bottom, top),
        false => [0.0, vector_largest::<V>(x)],
    }
}

/// Halves are taken before numbers meet, so that nothing finite becomes infinite.
#[inline(always)]
fn span(bottom: f32, top: f32) -> [f32; 2] {
    [0.5 * top + 0.5 * bottom, 0.5 * top - 0.5 * bottom]
}

pub(crate) fn scalar_largest(x: &[f32]) -> f32 {
    // Numbers without their sign come in the order of their bits, and NaN lies above infinity.
    let size = |x: &f32| x.to_bits() & 0x7fff_ffff;
    let most = x.iter().fold(0, |most: u32, x| most.max(size(x)));
    f32::from_bits(most)
}

#[inline(always)]
pub(crate) fn vector_largest<V: Vector>(x: &[f32]) -> f32 {
    let (blocks, rest) = (
        x.chunks_exact(4 * V::LANES),
        x.chunks_exact(4 * V::LANES).remainder(),
    );
    let mut most = V::splat(0.0);
    if blocks.len() > 0 {
        let mut four = [most; 4];
        for block in blocks {
            for part in 0..4 {
                let x = V::load(&block[part * V::LANES..][..V::LANES]);
                four[part] = four[part].larger_size(x);
            }
        }
        most = four[0]
            .larger_size(four[1])
            .larger_size(four[2].larger_size(four[3]));
    }
    for part in rest.chunks(V::LANES) {
        most = most.larger_size(V::load_part(part));
    }
    most.largest_size()
}

/// What numbers up to `most` are multiplied by to become bytes, and the scale that undoes it.
#[inline(always)]
pub(crate) fn factor(most: f32) -> (f32, f32) {
    factor_to(most, 127.0)
}

/// The same where `most` becomes the byte `largest`.
#[inline(always)]
pub(crate) fn factor_to(most: f32, largest: f32) -> (f32, f32) {
    match most < LEAST {
        true => (0.0, 0.0),
        false => (largest / most, most / largest),
    }
}

#[inline(always)]
pub(crate) fn byte(x: f32, factor: f32) -> u8 {
    (x * factor + ROUND).to_bits() as u8
}
