//! The inner loop in single precision, written once for every tier: `S` outputs of `V` registers of rows, all in registers.

use crate::gemm_f32::tile::Register;

/// What one tile computes: sums of some outputs of a block for all rows of a turned tile of activations.
pub(super) struct Tile {
    /// Activations `[k][rows]`: numbers, or bytes of as many rows as four registers of numbers hold.
    pub x: *const u8,
    /// The inputs of the block, and how many: in bytes whole quads.
    pub places: *const u32,
    pub count: usize,
    /// The weights of the first output at the first input.
    pub weights: *const u8,
    /// Outputs of the block: from the weights of one input (of bytes: of one quad) to those of the next.
    pub step: usize,
    /// Where the sums go: `[S][rows]`.
    pub sums: *mut f32,
    /// Of bytes: what the sum of each output starts from, its scale, and the scale of each row.
    pub start: *const i32,
    pub scales: *const f32,
    pub row_scales: *const f32,
}

/// Computes a tile.
///
/// # Safety
/// The CPU has the tier of `R`; `places` holds `count` places, `weights` as many steps, `x` a row of `V` registers at each place, and
/// `sums` is valid for writing `S` such rows.
#[inline(always)]
pub(super) unsafe fn tile<R: Register, const V: usize, const S: usize>(t: &Tile) {
    let mut sum = [[R::splat(0.0); V]; S];
    let x = t.x.cast::<f32>();
    let mut weights = t.weights.cast::<f32>();
    for at in 0..t.count {
        // SAFETY (of all blocks here): the caller's promise.
        let x = unsafe { x.add(*t.places.add(at) as usize * (V * R::LANES)) };
        let row: [R; V] = std::array::from_fn(|v| unsafe { R::load(x.add(v * R::LANES)) });
        for s in 0..S {
            let weight = R::splat(unsafe { *weights.add(s) });
            for v in 0..V {
                sum[s][v] = sum[s][v].add_product(weight, row[v]);
            }
        }
        weights = weights.wrapping_add(t.step);
    }
    for s in 0..S {
        for v in 0..V {
            // SAFETY: the caller's promise.
            unsafe { sum[s][v].store(t.sums.add((s * V + v) * R::LANES)) }
        }
    }
}

/// The tiles of one tier with so many outputs and each number of registers of rows, under the tier's features.
macro_rules! tiles {
    ($body:path, $register:ty, $features:tt, $outputs:literal x [$($registers:literal)*]) => {
        $crate::spmm::Tiles {
            outputs: $outputs,
            by_registers: &[
                $($crate::spmm::tile::tiles!(@one $body, $register, $features, $outputs, $registers)),*
            ],
        }
    };
    (@one $body:path, $register:ty, [$($features:literal)?], $outputs:literal, $registers:literal) => {{
        $(#[target_feature(enable = $features)])?
        unsafe fn one(t: &$crate::spmm::tile::Tile) {
            use $body as body;
            // SAFETY: the caller's promise, passed on.
            unsafe { body::<$register, $registers, $outputs>(t) }
        }
        one as unsafe fn(&$crate::spmm::tile::Tile)
    }};
}
pub(super) use tiles;
