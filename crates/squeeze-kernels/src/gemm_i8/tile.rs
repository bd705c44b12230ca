//! The inner loop, written once for every tier: a tile of `M` rows and `V` registers of columns, all of it in registers.

use crate::activation::curve::Curve;
use crate::gemm_f32::tile::{Register, Tile as Output, finish};

/// One register of 32-bit sums. Its methods are few instructions of a tier and may run only below a `#[target_feature]`
/// function of that tier.
pub(crate) trait Sums: Copy {
    /// The sums in single precision.
    type Floats: Register;
    /// Four bytes of one row for every lane, as [`Sums::add_dot`] takes them.
    type Quad: Copy;
    /// Four weights for each lane.
    type Weights: Copy;

    /// Sums of nothing.
    fn zero() -> Self;
    /// All lanes from `from`.
    ///
    /// # Safety
    /// `from` is valid for reading a register of numbers.
    unsafe fn load(from: *const i32) -> Self;
    /// The four bytes at `from`.
    ///
    /// # Safety
    /// `from` is valid for reading four bytes.
    unsafe fn quad(from: *const u8) -> Self::Quad;
    /// The quads of weights at `from`.
    ///
    /// # Safety
    /// `from` is valid for reading four bytes a lane.
    unsafe fn weights(from: *const i8) -> Self::Weights;
    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self` and in each lane the four products.
    fn add_dot(self, a: Self::Quad, b: Self::Weights) -> Self;
    /// In single precision.
    fn floats(self) -> Self::Floats;
}

/// A part of the sums whose bytes are neighbours in every row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segment {
    /// Where its bytes lie from a row's beginning.
    pub at: usize,
    /// Which of the weight's segments it meets.
    pub index: usize,
}

/// What one tile computes: `c = clamp((start + a b) * row_scale * scale + middle * sum + bias + residual)`.
pub(crate) struct Tile {
    /// The first row of bytes, and from one row to the next.
    pub a: *const u8,
    pub row: usize,
    /// The segments that are added up, and how many.
    pub segments: (*const Segment, usize),
    /// Quads of each.
    pub quads: usize,
    /// `[segments, quads, V * LANES, 4]`.
    pub b: *const i8,
    /// What each segment's sum of each of `V * LANES` columns starts from, and from one segment to the next.
    pub start: (*const i32, usize),
    /// The scale of each of `V * LANES` columns.
    pub scales: *const f32,
    /// The scale of the first row, and from one row to the next.
    pub row_scales: (*const f32, usize),
    /// What the bytes of the first row are counted from, and from one row to the next; null where that is zero.
    pub middles: (*const f32, usize),
    /// The sum of the weights of each of `V * LANES` columns.
    pub sums: *const f32,
    /// Where it goes, and what is added to it.
    pub output: Output,
    /// Where it goes as bytes instead, if anywhere.
    pub bytes: Bytes,
}

/// Where a tile of bytes goes: `byte(limited(curve(sum * scale + bias + residual * factor)))`; rows have no scales of their own.
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    /// First byte of the tile, and from one row to the next; null where numbers go out.
    pub to: (*mut u8, usize),
    /// As `to`, or null.
    pub residual: *const u8,
    /// What bytes of the residual are multiplied by.
    pub factor: f32,
    /// What is done to the sums last, or null.
    pub curve: *const Curve,
}

impl Bytes {
    /// A tile of numbers.
    pub const NONE: Bytes = Bytes {
        to: (std::ptr::null_mut(), 0),
        residual: std::ptr::null(),
        factor: 0.0,
        curve: std::ptr::null(),
    };
}

/// Computes a tile.
///
/// # Safety
/// The CPU has the tier of `S`; `a`, `row_scales` and `middles` are valid for `M` rows, of `quads` quads for each of the segments, `b`, `start`,
/// `scales` and `sums` for `V * LANES` columns of them, and `output` is as `gemm_f32::tile::tile` asks, or `bytes` is for its columns,
/// with its limits in 0..=255.
#[inline(always)]
pub(crate) unsafe fn tile<S: Sums, const M: usize, const V: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    let sum = unsafe { sums::<S, M, V>(t) };
    if !t.bytes.to.0.is_null() {
        // SAFETY: the caller's promise.
        return match t.output.columns == V * S::Floats::LANES {
            true => unsafe { finish_bytes::<S, M, V, true>(t, &sum) },
            false => unsafe { finish_bytes::<S, M, V, false>(t, &sum) },
        };
    }
    let scaled = |bias: S::Floats, row: usize, v: usize| {
        // SAFETY: the caller's promise.
        unsafe { scaled::<S>(t, sum[row][v], (bias, row, v)) }
    };
    // SAFETY: the caller's promise.
    unsafe { finish::<S::Floats, M, V>(&t.output, scaled) }
}

/// The sums of a tile.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn sums<S: Sums, const M: usize, const V: usize>(t: &Tile) -> [[S; V]; M] {
    let lanes = S::Floats::LANES;
    // SAFETY (of all blocks below): the caller's promise.
    let mut start = [S::zero(); V];
    for segment in 0..t.segments.1 {
        let index = unsafe { (*t.segments.0.add(segment)).index };
        for v in 0..V {
            let more = unsafe { S::load(t.start.0.add(index * t.start.1 + v * lanes)) };
            start[v] = start[v].add(more);
        }
    }
    let mut sum = [start; M];
    for segment in 0..t.segments.1 {
        let Segment { at, index } = unsafe { *t.segments.0.add(segment) };
        let mut b = t.b.wrapping_add(index * t.quads * 4 * V * lanes);
        let mut a = t.a.wrapping_add(at);
        for _ in 0..t.quads {
            let column: [S::Weights; V] =
                std::array::from_fn(|v| unsafe { S::weights(b.add(4 * v * lanes)) });
            for row in 0..M {
                let x = unsafe { S::quad(a.add(row * t.row)) };
                for v in 0..V {
                    sum[row][v] = sum[row][v].add_dot(x, column[v]);
                }
            }
            S::Floats::prefetch(b.wrapping_add(4 * V * lanes * AHEAD).cast());
            b = b.wrapping_add(4 * V * lanes);
            a = a.wrapping_add(4);
        }
    }
    let mut out = [[S::zero(); V]; M];
    for row in 0..M {
        for v in 0..V {
            out[row][v] = sum[row][v];
        }
    }
    out
}

/// The numbers that the sums of a row and register stand for, with their bias.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn scaled<S: Sums>(
    t: &Tile,
    sum: S,
    (bias, row, v): (S::Floats, usize, usize),
) -> S::Floats {
    let lanes = S::Floats::LANES;
    let mut out = bias;
    // SAFETY (of all blocks below): the caller's promise.
    if !t.middles.0.is_null() {
        let middle = S::Floats::splat(unsafe { *t.middles.0.add(row * t.middles.1) });
        let sums = unsafe { S::Floats::load(t.sums.add(v * lanes)) };
        out = out.add_product(middle, sums);
    }
    let row_scale = S::Floats::splat(unsafe { *t.row_scales.0.add(row * t.row_scales.1) });
    let scale = unsafe { S::Floats::load(t.scales.add(v * lanes)) };
    out.add_product(
        sum.floats(),
        S::Floats::splat(0.0).add_product(row_scale, scale),
    )
}

/// Writes the sums out as bytes: with bias and residual, limited.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn finish_bytes<S: Sums, const M: usize, const V: usize, const FULL: bool>(
    t: &Tile,
    sum: &[[S; V]; M],
) {
    let lanes = S::Floats::LANES;
    let (limits, columns) = (t.output.limits, t.output.columns);
    let (low, high) = (S::Floats::splat(limits.0), S::Floats::splat(limits.1));
    let factor = S::Floats::splat(t.bytes.factor);
    for v in 0..V {
        let (all, mask) = (FULL || v + 1 < V, S::Floats::first(columns - v * lanes));
        // SAFETY (of all blocks below): bias and scales lie as whole panels do, and the mask ends where the columns do.
        let bias = unsafe { S::Floats::load(t.output.bias.add(v * lanes)) };
        let scale = unsafe { S::Floats::load(t.scales.add(v * lanes)) };
        for row in 0..M {
            let mut x = bias.add_product(sum[row][v].floats(), scale);
            let at = row * t.bytes.to.1 + v * lanes;
            if !t.bytes.residual.is_null() {
                let from = t.bytes.residual.wrapping_add(at);
                let residual = unsafe {
                    match all {
                        true => S::Floats::load_bytes(from),
                        false => S::Floats::load_some_bytes(from, mask),
                    }
                };
                x = x.add_product(residual, factor);
            }
            // SAFETY: the caller's promise.
            if let Some(curve) = unsafe { t.bytes.curve.as_ref() } {
                x = x.curve(curve);
            }
            let to = t.bytes.to.0.wrapping_add(at);
            let x = x.limit(low, high);
            unsafe {
                match all {
                    true => x.store_bytes(to),
                    false => x.store_some_bytes(to, mask),
                }
            }
        }
    }
}

/// How many quads ahead weights are asked for.
const AHEAD: usize = 16;

/// The table of one tier's tiles, `[rows - 1][registers - 1]`, each under the tier's features.
macro_rules! tiles {
    ($register:ty, $features:tt, [$($rows:literal)*] x $columns:tt) => {
        &[$($crate::gemm_i8::tile::tiles!(@row $register, $features, $rows, $columns)),*]
    };
    (@row $register:ty, $features:tt, $rows:literal, [$($columns:literal)*]) => {
        &[$($crate::gemm_i8::tile::tiles!(@one $register, $features, $rows, $columns)),*]
    };
    (@one $register:ty, [$($features:literal)?], $rows:literal, $columns:literal) => {{
        $(#[target_feature(enable = $features)])?
        unsafe fn one(t: &$crate::gemm_i8::tile::Tile) {
            // SAFETY: the caller's promise, passed on.
            unsafe { $crate::gemm_i8::tile::tile::<$register, $rows, $columns>(t) }
        }
        one as unsafe fn(&$crate::gemm_i8::tile::Tile)
    }};
}
pub(crate) use tiles;
