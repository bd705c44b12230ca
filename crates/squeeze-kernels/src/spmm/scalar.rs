//! The definition of the product that leaves out blocks of zeros, and the tiles of a machine without vectors.
//!
//! In bytes the definition is that of `gemm_i8`: zeros add nothing to sums of whole numbers.

use super::quads::{self, Sums, row_at};
use super::tile::{self, tiles};
use super::{Block, Element, Kernel};
use crate::Tier;
use crate::gemm_f32::scalar::{Eight, finish};
use crate::gemm_f32::{Epilogue, Geometry};

/// The row of this tier in single precision.
pub(super) const F32: Kernel = Kernel {
    names: [
        "f32_spmm_1x1_scalar",
        "f32_spmm_4x1_scalar",
        "f32_spmm_16x1_scalar",
    ],
    element: Element::F32,
    tier: Tier::Scalar,
    is_present: || true,
    lanes: 8,
    offset: 0,
    tiles: [
        tiles!(tile::tile, Eight, [], 1 x [1 2]),
        tiles!(tile::tile, Eight, [], 4 x [1]),
        tiles!(tile::tile, Eight, [], 4 x [1]),
    ],
};

/// The row of this tier in bytes.
pub(super) const I8: Kernel = Kernel {
    names: [
        "i8_spmm_1x1_scalar",
        "i8_spmm_4x1_scalar",
        "i8_spmm_16x1_scalar",
    ],
    element: Element::I8,
    tier: Tier::Scalar,
    is_present: || true,
    lanes: 8,
    offset: 0,
    tiles: [
        tiles!(quads::tile, I32Eight, [], 1 x [1 2 3 4]),
        tiles!(quads::tile, I32Eight, [], 2 x [1 2 3 4]),
        tiles!(quads::tile, I32Eight, [], 2 x [1 2 3 4]),
    ],
};

/// `c = activation(a w^T + bias + residual)`, group by group, each sum in the order of k over the inputs for which one of the block's
/// outputs has a weight.
pub fn product(
    (g, block): (&Geometry, Block),
    a: &[f32],
    weight: &[f32],
    epilogue: &Epilogue,
    c: &mut [f32],
) {
    for row in 0..g.m {
        for column in 0..g.groups * g.n {
            let group = column / g.n;
            let first = column - column % g.n % block.outputs();
            let end = (first + block.outputs()).min((group + 1) * g.n);
            let mut sum = 0.0;
            for k in 0..g.k {
                if (first..end).any(|column| weight[column * g.k + k] != 0.0) {
                    sum += a[row * g.lda + group * g.k + k] * weight[column * g.k + k];
                }
            }
            finish(epilogue, sum, column, (c, row * g.ldc + column));
        }
    }
}

#[derive(Clone, Copy)]
struct I32Eight([i32; 8]);

// SAFETY (of every block below): by the contract of `Sums` pointers are valid for what is touched.
impl Sums for I32Eight {
    type Floats = Eight;
    type Bytes = [i8; 32];
    type Quad = [[i8; 4]; 8];

    #[inline(always)]
    fn splat(value: i32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> [i8; 32] {
        unsafe { from.cast::<[i8; 32]>().read_unaligned() }
    }
    #[inline(always)]
    fn quads(inputs: [[i8; 32]; 4]) -> [[[i8; 4]; 8]; 4] {
        let mut quads = [[[0; 4]; 8]; 4];
        for place in 0..32 {
            let row = row_at(place, 8);
            quads[row / 8][row % 8] = inputs.map(|bytes| bytes[place]);
        }
        quads
    }
    // A function of its own: written out in every tile it would take 50 kB of the runner.
    #[inline(never)]
    fn add_dot(self, x: [[i8; 4]; 8], weights: i32) -> Self {
        let weights = weights.to_ne_bytes();
        Self(std::array::from_fn(|lane| {
            let products = x[lane].iter().zip(weights);
            let product = |(&x, w): (&i8, u8)| i32::from(x) * i32::from(w as i8);
            self.0[lane] + products.map(product).sum::<i32>()
        }))
    }
    #[inline(always)]
    fn floats(self) -> Eight {
        Eight(self.0.map(|sum| sum as f32))
    }
}
