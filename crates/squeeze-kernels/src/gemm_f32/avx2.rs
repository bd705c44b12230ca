//! Tiles of up to 6 rows and 16 columns in AVX2 with FMA.
//!
//! 6 x 16 tile: 12 accumulators, 2 loads of b, 1 broadcast of a -> 15 of 16 registers.

use std::arch::x86_64::*;

use super::Kernel;
use super::tile::{Register, tiles};
use crate::Tier;
use crate::activation::Activation;
use crate::activation::curve::{Curve, LAST, MIDDLE};
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
    type Limits = (Self, __m256i);

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
        unsafe {
            let low = _mm256_cvtps_epi32(_mm256_set1_ps(low));
            let words = _mm256_packs_epi32(low, low);
            (Self::splat(high), _mm256_packus_epi16(words, words))
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        unsafe { numbers(_mm_loadl_epi64(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, limits: Self::Limits, to: *mut u8) {
        let words = whole(self, limits);
        unsafe {
            let (low, high) = (
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            let words = _mm_packs_epi32(low, high);
            let bytes = _mm_packus_epi16(words, words);
            let bytes = _mm_max_epu8(bytes, _mm256_castsi256_si128(limits.1));
            _mm_storel_epi64(to.cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn store_four_of_bytes(four: [Self; 4], limits: Self::Limits, to: (*mut u8, usize)) {
        let [a, b, c, d] = four;
        unsafe {
            let (a, b) = (whole(a, limits), whole(b, limits));
            let first = _mm256_packs_epi32(a, b);
            let (c, d) = (whole(c, limits), whole(d, limits));
            let second = _mm256_packs_epi32(c, d);
            let bytes = _mm256_max_epu8(_mm256_packus_epi16(first, second), limits.1);
            // Four numbers of each, and the other four.
            let (low, high) = (
                _mm256_castsi256_si128(bytes),
                _mm256_extracti128_si256::<1>(bytes),
            );
            let two = [_mm_unpacklo_epi32(low, high), _mm_unpackhi_epi32(low, high)];
            for half in 0..2 {
                let to = (to.0.wrapping_add(2 * half * to.1), to.1);
                _mm_storel_epi64(to.0.cast(), two[half]);
                _mm_storeh_pd(to.0.wrapping_add(to.1).cast(), _mm_castsi128_pd(two[half]));
            }
        }
    }
    #[inline(always)]
    unsafe fn store_two_rows_of_bytes(
        [[a, b], [c, d]]: [[Self; 2]; 2],
        limits: Self::Limits,
        to: (*mut u8, usize),
    ) {
        unsafe {
            let first = _mm256_packs_epi32(whole(a, limits), whole(b, limits));
            let second = _mm256_packs_epi32(whole(c, limits), whole(d, limits));
            let bytes = _mm256_max_epu8(_mm256_packus_epi16(first, second), limits.1);
            // Four numbers of each register, and the other four.
            let in_rows = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let bytes = _mm256_permutevar8x32_epi32(bytes, in_rows);
            _mm_storeu_si128(to.0.cast(), _mm256_castsi256_si128(bytes));
            let second = _mm256_extracti128_si256::<1>(bytes);
            _mm_storeu_si128(to.0.wrapping_add(to.1).cast(), second);
        }
    }
    #[inline(always)]
    unsafe fn copy_some_bytes(from: *const u8, to: *mut u8, mask: __m256i) {
        let lanes = unsafe { _mm256_movemask_ps(_mm256_castsi256_ps(mask)) };
        unsafe { from.copy_to_nonoverlapping(to, lanes.count_ones() as usize) };
    }
    #[inline(always)]
    fn curve(self, curve: &Curve) -> Self {
        unsafe {
            let t = _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0);
            let place = _mm256_min_ps(
                _mm256_add_ps(t, _mm256_set1_ps(MIDDLE)),
                _mm256_set1_ps(LAST),
            );
            let place = _mm256_castps_si256(place);
            let part = |part: usize| {
                let table = _mm256_load_ps(curve.parts[part].as_ptr());
                _mm256_permutevar8x32_ps(table, place)
            };
            let line = _mm256_fmadd_ps(part(2), t, part(1));
            let value = _mm256_fmadd_ps(line, t, part(0));
            let turns = _mm256_set1_ps(f32::from_bits(curve.turns));
            let value = _mm256_xor_ps(value, _mm256_and_ps(turns, self.0));
            let [straight, middle] = [_mm256_set1_ps(curve.straight), _mm256_set1_ps(curve.middle)];
            Self(_mm256_add_ps(
                _mm256_fmadd_ps(straight, self.0, middle),
                value,
            ))
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

/// The nearest whole numbers, not above the upper limit; of NaN, the least.
#[inline(always)]
fn whole(x: F32x8, (high, _): (F32x8, __m256i)) -> __m256i {
    // The second operand is what comes out when either is NaN.
    // SAFETY: as above.
    unsafe { _mm256_cvtps_epi32(_mm256_min_ps(high.0, x.0)) }
}
