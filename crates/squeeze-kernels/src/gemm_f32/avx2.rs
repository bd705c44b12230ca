//! Tiles of up to 6 rows and 16 columns in AVX2 with FMA.
//!
//! 6 x 16 tile: 12 accumulators, 2 loads of b, 1 broadcast of a -> 15 of 16 registers.

use std::arch::x86_64::*;

use super::Kernel;
use super::tile::{Register, tiles};
use crate::Tier;

/// The row of this tier.
pub(crate) const KERNEL: Kernel = Kernel {
    name: "f32_gemm_6x16_avx2",
    tier: Tier::Avx2,
    lanes: 8,
    depth: 256,
    tiles: tiles!(F32x8, ["avx2,fma"], [1 2 3 4 5 6] x [1 2]),
};

#[derive(Clone, Copy)]
pub(crate) struct F32x8(pub(crate) __m256);

// SAFETY (of every block below): by the contract of `Register` the CPU has AVX2 and FMA and pointers are valid for what is touched.
impl Register for F32x8 {
    const LANES: usize = 8;
    type Mask = __m256i;

    #[inline(always)]
    fn first(count: usize) -> __m256i {
        let count = count.min(8) as i32;
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane)
        }
    }
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f32, mask: __m256i) -> Self {
        Self(unsafe { _mm256_maskload_ps(from, mask) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_some(self, to: *mut f32, mask: __m256i) {
        unsafe { _mm256_maskstore_ps(to, mask, self.0) }
    }
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        Self(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn clamp(self, low: Self, high: Self) -> Self {
        // The second operand is what comes out when either is NaN.
        Self(unsafe { _mm256_min_ps(high.0, _mm256_max_ps(low.0, self.0)) })
    }
    #[inline(always)]
    fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}
