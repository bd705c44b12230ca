//! Tiles of up to 8 rows and 48 columns in AVX-512.
//!
//! 8 x 48 tile: 24 accumulators, 3 loads of b, 1 broadcast of a -> 28 of 32 registers.

use std::arch::x86_64::*;

use super::Kernel;
use super::tile::{ROWS, Register, tiles};
use crate::Tier;
use crate::activation::Activation;
use crate::activation::curve::{Curve, LAST, MIDDLE};
use crate::activation::vector::apply;
use crate::vector;

/// The row of this tier.
pub(crate) const KERNEL: Kernel = Kernel {
    name: "f32_gemm_8x48_avx512",
    tier: Tier::Avx512,
    lanes: 16,
    depth: 192,
    tiles: tiles!(F32x16, ["avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"], [1 2 3 4 5 6 7 8] x [1 2 3]),
};

#[derive(Clone, Copy)]
pub(crate) struct F32x16(pub(crate) __m512);

// SAFETY (of every block below): by the contract of `Register` the CPU has AVX-512 and pointers are valid for what is touched.
impl Register for F32x16 {
    const LANES: usize = 16;
    const UNROLLED: usize = ROWS;
    // Those of three lose by it (engine.md).
    const NARROW: usize = 2;
    type Mask = __mmask16;
    /// The upper one, and the lower one as bytes.
    type Limits = (__m512, __m512i);

    #[inline(always)]
    fn first(count: usize) -> __mmask16 {
        ((1u32 << count.min(16)) - 1) as __mmask16
    }
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f32, mask: __mmask16) -> Self {
        Self(unsafe { _mm512_maskz_loadu_ps(mask, from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_some(self, to: *mut f32, mask: __mmask16) {
        unsafe { _mm512_mask_storeu_ps(to, mask, self.0) }
    }
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn clamp(self, low: Self, high: Self) -> Self {
        // The second operand is what comes out when either is NaN.
        Self(unsafe { _mm512_min_ps(high.0, _mm512_max_ps(low.0, self.0)) })
    }
    #[inline(always)]
    fn limits(low: f32, high: f32) -> Self::Limits {
        unsafe {
            let low = _mm512_cvtps_epi32(_mm512_set1_ps(low));
            let words = _mm512_packus_epi32(low, low);
            (_mm512_set1_ps(high), _mm512_packus_epi16(words, words))
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        unsafe { numbers(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, limits: Self::Limits, to: *mut u8) {
        let bytes = bytes([self; 4], limits);
        unsafe { _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(bytes)) }
    }
    #[inline(always)]
    unsafe fn copy_some_bytes(from: *const u8, to: *mut u8, mask: __mmask16) {
        unsafe {
            let bytes = _mm_maskz_loadu_epi8(mask, from.cast());
            _mm_mask_storeu_epi8(to.cast(), mask, bytes);
        }
    }
    #[inline(always)]
    unsafe fn store_four_of_bytes(four: [Self; 4], limits: Self::Limits, to: (*mut u8, usize)) {
        let bytes = bytes(four, limits);
        unsafe {
            let parts = [
                _mm512_castsi512_si128(bytes),
                _mm512_extracti32x4_epi32::<1>(bytes),
                _mm512_extracti32x4_epi32::<2>(bytes),
                _mm512_extracti32x4_epi32::<3>(bytes),
            ];
            for (at, part) in parts.into_iter().enumerate() {
                _mm_storeu_si128(to.0.wrapping_add(at * to.1).cast(), part);
            }
        }
    }
    #[inline(always)]
    fn curve(self, curve: &Curve) -> Self {
        unsafe {
            let t = _mm512_andnot_ps(_mm512_set1_ps(-0.0), self.0);
            let place = _mm512_min_ps(
                _mm512_add_ps(t, _mm512_set1_ps(MIDDLE)),
                _mm512_set1_ps(LAST),
            );
            let place = _mm512_castps_si512(place);
            let part = |part: usize| {
                let table = _mm256_load_ps(curve.parts[part].as_ptr());
                _mm512_permutexvar_ps(place, _mm512_broadcast_f32x8(table))
            };
            let line = _mm512_fmadd_ps(part(2), t, part(1));
            let value = _mm512_fmadd_ps(line, t, part(0));
            let turns = _mm512_set1_ps(f32::from_bits(curve.turns));
            let value = _mm512_xor_ps(value, _mm512_and_ps(turns, self.0));
            let [straight, middle] = [_mm512_set1_ps(curve.straight), _mm512_set1_ps(curve.middle)];
            Self(_mm512_add_ps(
                _mm512_fmadd_ps(straight, self.0, middle),
                value,
            ))
        }
    }
    #[inline(always)]
    fn gelu(self) -> Self {
        Self(vector::rough_gelu(vector::F32x16(self.0)).0)
    }
    #[inline(always)]
    fn hard_swish(self) -> Self {
        Self(apply(Activation::HardSwish, vector::F32x16(self.0)).0)
    }
    #[inline(always)]
    fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}

/// Bytes as numbers of 0..=255.
#[inline(always)]
fn numbers(bytes: __m128i) -> F32x16 {
    // SAFETY: by the contract of `Register` the CPU has AVX-512.
    F32x16(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)) })
}

/// Numbers as the nearest bytes of the limits, those of each register in a quarter; NaN as the lower limit.
#[inline(always)]
fn bytes(four: [F32x16; 4], (high, low): (__m512, __m512i)) -> __m512i {
    // Of a NaN the second operand of `min` comes out, it becomes the least whole number, and packing makes negative ones zero.
    // SAFETY: by the contract of `Register` the CPU has AVX-512.
    unsafe {
        let [a, b, c, d] = four.map(|x| _mm512_cvtps_epi32(_mm512_min_ps(high, x.0)));
        let words = [_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)];
        let packed = _mm512_packus_epi16(words[0], words[1]);
        // Packing works in quarters of a register; the permutation brings the sixteen groups of four bytes into order.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_max_epu8(_mm512_permutexvar_epi32(order, packed), low)
    }
}
