//! Tiles of up to 6 rows and 16 columns in AVX2 with FMA.
//!
//! 6 x 16 tile: 12 accumulators, 2 loads of b, 1 broadcast of a -> 15 of 16 registers.

use std::arch::x86_64::*;

use super::Kernel;
use super::tile::{Register, tiles};
use crate::Tier;
use crate::activation::Activation;
use crate::activation::curve::{Curve, FIRST, LAST, MIDDLE};
use crate::activation::vector::apply;
use crate::vector;

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
    const UNROLLED: usize = 1;
    type Mask = __m256i;
    type Limits = (Self, Self);

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
    fn limits(low: f32, high: f32) -> Self::Limits {
        (Self::splat(low), Self::splat(high))
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        unsafe { numbers(_mm_loadl_epi64(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, limits: Self::Limits, to: *mut u8) {
        unsafe { _mm_storel_epi64(to.cast(), bytes(self, limits)) }
    }
    #[inline(always)]
    unsafe fn copy_some_bytes(from: *const u8, to: *mut u8, mask: __m256i) {
        let lanes = unsafe { _mm256_movemask_ps(_mm256_castsi256_ps(mask)) };
        unsafe { from.copy_to_nonoverlapping(to, lanes.count_ones() as usize) };
    }
    #[inline(always)]
    fn curve(self, curve: &Curve) -> Self {
        unsafe {
            let place = _mm256_max_ps(
                _mm256_add_ps(self.0, _mm256_set1_ps(MIDDLE)),
                _mm256_set1_ps(FIRST),
            );
            let place = _mm256_castps_si256(_mm256_min_ps(place, _mm256_set1_ps(LAST)));
            // The fourth bit picks the register, the three below it the lane.
            let is_high = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(place));
            let part = |part: usize| {
                let table = curve.parts[part].as_ptr();
                let low = _mm256_permutevar8x32_ps(_mm256_load_ps(table), place);
                let high = _mm256_permutevar8x32_ps(_mm256_load_ps(table.add(8)), place);
                _mm256_blendv_ps(low, high, is_high)
            };
            let line = _mm256_fmadd_ps(part(2), self.0, part(1));
            Self(_mm256_fmadd_ps(line, self.0, part(0)))
        }
    }
    #[inline(always)]
    fn gelu(self) -> Self {
        Self(vector::rough_gelu(vector::F32x8(self.0)).0)
    }
    #[inline(always)]
    fn hard_swish(self) -> Self {
        Self(apply(Activation::HardSwish, vector::F32x8(self.0)).0)
    }
    #[inline(always)]
    fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}

/// Bytes as numbers of 0..=255.
#[inline(always)]
fn numbers(bytes: __m128i) -> F32x8 {
    // SAFETY: as above.
    F32x8(unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)) })
}

/// The limited numbers as the nearest bytes; NaN as the lower limit.
#[inline(always)]
fn bytes(x: F32x8, (low, high): (F32x8, F32x8)) -> __m128i {
    // SAFETY: as above.
    unsafe {
        // The second operand is what comes out when either is NaN.
        let limited = _mm256_min_ps(high.0, _mm256_max_ps(x.0, low.0));
        let whole = _mm256_cvtps_epi32(limited);
        let (low, high) = (
            _mm256_castsi256_si128(whole),
            _mm256_extracti128_si256::<1>(whole),
        );
        let words = _mm_packus_epi32(low, high);
        _mm_packus_epi16(words, words)
    }
}
