//! Tiles in AVX2 with FMA.
//!
//! Single precision: 12 sums, at most 3 rows of activations, 1 weight -> 16 registers. Bytes: 8 sums, 4 registers of quads, 1 weight,
//! ones and two steps in between -> 16 registers; the sign of an activation goes to the weight, so that no pair of products leaves 16
//! bits.

use std::arch::x86_64::*;

use super::quads::{self, Sums};
use super::tile::{self, tiles};
use super::{Element, Kernel};
use crate::Tier;
use crate::gemm_f32::avx2::F32x8;

/// The row of this tier in single precision.
pub(super) const F32: Kernel = Kernel {
    names: [
        "f32_spmm_1x1_avx2",
        "f32_spmm_4x1_avx2",
        "f32_spmm_16x1_avx2",
    ],
    element: Element::F32,
    tier: Tier::Avx2,
    is_present: || true,
    lanes: 8,
    offset: 0,
    tiles: [
        tiles!(tile::tile, F32x8, ["avx2,fma"], 1 x [1 2 3 4 5 6 7 8]),
        tiles!(tile::tile, F32x8, ["avx2,fma"], 4 x [1 2 3]),
        tiles!(tile::tile, F32x8, ["avx2,fma"], 4 x [1 2 3]),
    ],
};

/// The row of this tier in bytes.
pub(super) const I8: Kernel = Kernel {
    names: ["i8_spmm_1x1_avx2", "i8_spmm_4x1_avx2", "i8_spmm_16x1_avx2"],
    element: Element::I8,
    tier: Tier::Avx2,
    is_present: || true,
    lanes: 8,
    offset: 0,
    tiles: [
        tiles!(quads::tile, I32x8, ["avx2,fma"], 1 x [1 2 3 4]),
        tiles!(quads::tile, I32x8, ["avx2,fma"], 2 x [1 2 3 4]),
        tiles!(quads::tile, I32x8, ["avx2,fma"], 2 x [1 2 3 4]),
    ],
};

#[derive(Clone, Copy)]
struct I32x8(__m256i);

// SAFETY (of every block below): by the contract of `Sums` the CPU has AVX2 and pointers are valid for what is touched.
impl Sums for I32x8 {
    type Floats = F32x8;
    type Bytes = __m256i;
    type Quad = __m256i;

    #[inline(always)]
    fn splat(value: i32) -> Self {
        Self(unsafe { _mm256_set1_epi32(value) })
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    fn quads([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
        unsafe {
            let low = [_mm256_unpacklo_epi8(a, b), _mm256_unpacklo_epi8(c, d)];
            let high = [_mm256_unpackhi_epi8(a, b), _mm256_unpackhi_epi8(c, d)];
            [
                _mm256_unpacklo_epi16(low[0], low[1]),
                _mm256_unpackhi_epi16(low[0], low[1]),
                _mm256_unpacklo_epi16(high[0], high[1]),
                _mm256_unpackhi_epi16(high[0], high[1]),
            ]
        }
    }
    #[inline(always)]
    fn add_dot(self, x: __m256i, weights: i32) -> Self {
        Self(unsafe {
            let weights = _mm256_sign_epi8(_mm256_set1_epi32(weights), x);
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), weights);
            let quads = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
            _mm256_add_epi32(self.0, quads)
        })
    }
    #[inline(always)]
    fn floats(self) -> F32x8 {
        F32x8(unsafe { _mm256_cvtepi32_ps(self.0) })
    }
}
