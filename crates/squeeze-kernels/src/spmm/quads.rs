//! The inner loop in bytes, written once for every tier: quads of inputs are put side by side in registers, row by row.

use super::tile::Tile;
use crate::gemm_f32::tile::Register;

/// One register of 32-bit sums, one a row. Its methods are few instructions of a tier and may run only below a
/// `#[target_feature]` function of that tier.
pub(super) trait Sums: Copy {
    /// The sums in single precision.
    type Floats: Register;
    /// The bytes of one input: a byte a row, of four registers of rows.
    type Bytes: Copy;
    /// Four bytes of each row.
    type Quad: Copy;

    /// The same number in every lane.
    fn splat(value: i32) -> Self;
    /// The bytes at `from`.
    ///
    /// # Safety
    /// `from` is valid for reading four bytes a lane.
    unsafe fn bytes(from: *const u8) -> Self::Bytes;
    /// The bytes of four inputs as quads, one register of rows after the other; bytes lie as [`row_at`] says.
    fn quads(inputs: [Self::Bytes; 4]) -> [Self::Quad; 4];
    /// `self` and in each lane the four products with the four signed bytes of `weights`.
    fn add_dot(self, x: Self::Quad, weights: i32) -> Self;
    /// In single precision.
    fn floats(self) -> Self::Floats;
}

/// The row whose byte lies at `place` among those of an input, for so many lanes: then interleaving the bytes of four inputs in parts
/// of sixteen gives registers of neighbouring rows.
pub(super) fn row_at(place: usize, lanes: usize) -> usize {
    lanes * (place % 16 / 4) + 4 * (place / 16) + place % 4
}

/// Computes a tile.
///
/// # Safety
/// The CPU has the tier of `R`; `places` holds `count` places, a whole number of quads, `weights` as many steps, `x` four bytes a lane
/// at each place; `start` and `scales` hold `S` numbers, `row_scales` a number for each of `V` registers of rows, and `sums` is valid
/// for writing `S` such rows. `V` is at most 4.
#[inline(always)]
pub(super) unsafe fn tile<R: Sums, const V: usize, const S: usize>(t: &Tile) {
    let lanes = R::Floats::LANES;
    // SAFETY (of all blocks here): the caller's promise.
    let start: [R; S] = std::array::from_fn(|s| R::splat(unsafe { *t.start.add(s) }));
    let mut sum: [[R; V]; S] = [[start[0]; V]; S];
    for s in 0..S {
        sum[s] = [start[s]; V];
    }
    let mut weights = t.weights.cast::<i32>();
    for quad in 0..t.count / 4 {
        let place = |at: usize| unsafe { *t.places.add(4 * quad + at) as usize };
        let input = |at: usize| unsafe { R::bytes(t.x.add(place(at) * 4 * lanes)) };
        let x = R::quads([input(0), input(1), input(2), input(3)]);
        for s in 0..S {
            let weight = unsafe { weights.add(s).read_unaligned() };
            for v in 0..V {
                sum[s][v] = sum[s][v].add_dot(x[v], weight);
            }
        }
        weights = weights.wrapping_add(t.step);
    }
    let none = R::Floats::splat(0.0);
    for s in 0..S {
        let scale = R::Floats::splat(unsafe { *t.scales.add(s) });
        for v in 0..V {
            let rows = unsafe { R::Floats::load(t.row_scales.add(v * lanes)) };
            let y = none.add_product(sum[s][v].floats(), none.add_product(rows, scale));
            unsafe { y.store(t.sums.add((s * V + v) * lanes)) }
        }
    }
}
