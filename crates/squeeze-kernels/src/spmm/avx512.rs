//! Tiles in AVX-512: single precision, and bytes with VNNI.
//!
//! Single precision: 24 sums, at most 6 rows of activations, 1 weight -> 31 of 32 registers; a single output needs only as many sums
//! as hide their latency. Bytes: 16 sums, 4 registers of quads, 8 on the way to them, 1 weight -> 29 of 32.

use std::arch::x86_64::*;

use super::quads::{self, Sums};
use super::tile::{self, tiles};
use super::{Element, Kernel};
use crate::Tier;
use crate::gemm_f32::avx512::F32x16;

/// The row of this tier in single precision.
pub(super) const F32: Kernel = Kernel {
    names: [
        "f32_spmm_1x1_avx512",
        "f32_spmm_4x1_avx512",
        "f32_spmm_16x1_avx512",
    ],
    element: Element::F32,
    tier: Tier::Avx512,
    is_present: || true,
    lanes: 16,
    offset: 0,
    tiles: [
        tiles!(tile::tile, F32x16, ["avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"], 1 x [1 2 3 4 5 6 7 8]),
        tiles!(tile::tile, F32x16, ["avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"], 4 x [1 2 3 4 5 6]),
        tiles!(tile::tile, F32x16, ["avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"], 8 x [1 2 3]),
    ],
};

/// The row of this tier in bytes.
pub(super) const I8: Kernel = Kernel {
    names: [
        "i8_spmm_1x1_avx512_vnni",
        "i8_spmm_4x1_avx512_vnni",
        "i8_spmm_16x1_avx512_vnni",
    ],
    element: Element::I8,
    tier: Tier::Avx512,
    is_present: || is_x86_feature_detected!("avx512vnni"),
    lanes: 16,
    offset: 128,
    tiles: [
        tiles!(quads::tile, I32x16, ["avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma"], 1 x [1 2 3 4]),
        tiles!(quads::tile, I32x16, ["avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma"], 4 x [1 2 3 4]),
        tiles!(quads::tile, I32x16, ["avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma"], 4 x [1 2 3 4]),
    ],
};

#[derive(Clone, Copy)]
struct I32x16(__m512i);

// SAFETY (of every block below): by the contract of `Sums` the CPU has AVX-512 with VNNI and pointers are valid for what is touched.
impl Sums for I32x16 {
    type Floats = F32x16;
    type Bytes = __m512i;
    type Quad = __m512i;

    #[inline(always)]
    fn splat(value: i32) -> Self {
        Self(unsafe { _mm512_set1_epi32(value) })
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    fn quads([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
        unsafe {
            let low = [_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d)];
            let high = [_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d)];
            [
                _mm512_unpacklo_epi16(low[0], low[1]),
                _mm512_unpackhi_epi16(low[0], low[1]),
                _mm512_unpacklo_epi16(high[0], high[1]),
                _mm512_unpackhi_epi16(high[0], high[1]),
            ]
        }
    }
    #[inline(always)]
    fn add_dot(self, x: __m512i, weights: i32) -> Self {
        Self(unsafe { _mm512_dpbusd_epi32(self.0, x, _mm512_set1_epi32(weights)) })
    }
    #[inline(always)]
    fn floats(self) -> F32x16 {
        F32x16(unsafe { _mm512_cvtepi32_ps(self.0) })
    }
}
