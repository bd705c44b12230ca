//! The inner loop, written once for every tier: a tile of `M` rows and `V` registers of columns, all of it in registers.

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
    /// `self` and in each lane the four products.
    fn add_dot(self, a: Self::Quad, b: Self::Weights) -> Self;
    /// In single precision.
    fn floats(self) -> Self::Floats;
}

/// What one tile computes: `c = clamp((start + a b) * row_scale * scale + bias + residual)`.
pub(crate) struct Tile {
    /// The first row of bytes, and from one row to the next.
    pub a: *const u8,
    pub row: usize,
    /// Quads of k.
    pub quads: usize,
    /// `[quads, V * LANES, 4]`.
    pub b: *const i8,
    /// What the sum of each of `V * LANES` columns starts from.
    pub start: *const i32,
    /// The scale of each of `V * LANES` columns.
    pub scales: *const f32,
    /// The scale of the first row, and from one row to the next.
    pub row_scales: (*const f32, usize),
    /// Where it goes, and what is added to it.
    pub output: Output,
}

/// Computes a tile.
///
/// # Safety
/// The CPU has the tier of `S`; `a` and `row_scales` are valid for `M` rows of `quads` quads, `b`, `start` and `scales` for
/// `V * LANES` columns, and `output` is as `gemm_f32::tile::tile` asks.
#[inline(always)]
pub(crate) unsafe fn tile<S: Sums, const M: usize, const V: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    let sum = unsafe { sums::<S, M, V>(t) };
    if t.output.columns == V * S::Floats::LANES {
        // SAFETY: the caller's promise.
        unsafe { finish::<S::Floats, M, V, true>(&t.output, &sum) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { finish::<S::Floats, M, V, false>(&t.output, &sum) }
    }
}

/// The sums of a tile, scaled.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn sums<S: Sums, const M: usize, const V: usize>(t: &Tile) -> [[S::Floats; V]; M] {
    let lanes = S::Floats::LANES;
    // SAFETY (of all blocks below): the caller's promise.
    let start: [S; V] = std::array::from_fn(|v| unsafe { S::load(t.start.add(v * lanes)) });
    let mut sum = [start; M];
    let mut b = t.b;
    let mut a = t.a;
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
    let none = S::Floats::splat(0.0);
    let mut out = [[none; V]; M];
    for row in 0..M {
        let scale = S::Floats::splat(unsafe { *t.row_scales.0.add(row * t.row_scales.1) });
        for v in 0..V {
            let scale =
                none.add_product(scale, unsafe { S::Floats::load(t.scales.add(v * lanes)) });
            out[row][v] = none.add_product(sum[row][v].floats(), scale);
        }
    }
    out
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
