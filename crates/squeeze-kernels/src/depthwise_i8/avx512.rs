//! AVX-512 with VNNI: an instruction adds four products of an unsigned and a signed byte to each of 16 sums, or of 8 in the half
//! registers of narrow strips.

use std::arch::x86_64::*;

use super::Kernel;
use super::strip::{self, Lanes, Room, Strip};
use crate::Tier;
use crate::activation::curve::Curve;
use crate::gemm_f32::{self, tile::Register};
use crate::vector::{F32x8, F32x16};

/// The row of this tier.
pub(super) const KERNEL: Kernel = Kernel {
    name: "u8_depthwise_avx512_vnni",
    tier: Tier::Avx512,
    is_present: || is_x86_feature_detected!("avx512vnni"),
    widened: false,
    strips: &[(64, wide), (32, narrow)],
    windows: None,
};

/// # Safety
/// As for [`super::StripFn`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn wide(job: &Strip, room: &mut Room) {
    // SAFETY: the caller's promise.
    unsafe { strip::strip::<Wide>(job, room) }
}

/// # Safety
/// As for [`super::StripFn`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn narrow(job: &Strip, room: &mut Room) {
    // SAFETY: the caller's promise.
    unsafe { strip::strip::<Narrow>(job, room) }
}

#[derive(Clone, Copy)]
struct Wide(__m512i);

#[derive(Clone, Copy)]
struct Narrow(__m256i);

// SAFETY (of every block below): by the contract of `Lanes` the CPU has AVX-512 with VNNI and pointers are valid for what is
// touched.
impl Lanes for Wide {
    const BYTES: usize = 64;
    const PIXELS: usize = 4;
    const THREES: bool = true;
    const WEIGHTS: usize = 64;
    type Floats = F32x16;
    type Quads = Self;
    type Weights = Self;

    #[inline(always)]
    fn splat(byte: u8) -> Self {
        Self(unsafe { _mm512_set1_epi8(byte.cast_signed()) })
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        Self(unsafe { _mm512_loadu_si512(from.cast()) })
    }
    #[inline(always)]
    unsafe fn load_part(from: *const u8, count: usize) -> Self {
        Self(unsafe { _mm512_maskz_loadu_epi8((1 << count) - 1, from.cast()) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut u8, count: usize) {
        unsafe { _mm512_mask_storeu_epi8(to.cast(), (1 << count) - 1, self.0) }
    }
    #[inline(always)]
    fn interleave([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        unsafe {
            let (ab, cd) = (
                [
                    _mm512_unpacklo_epi8(a.0, b.0),
                    _mm512_unpackhi_epi8(a.0, b.0),
                ],
                [
                    _mm512_unpacklo_epi8(c.0, d.0),
                    _mm512_unpackhi_epi8(c.0, d.0),
                ],
            );
            [
                Self(_mm512_unpacklo_epi16(ab[0], cd[0])),
                Self(_mm512_unpackhi_epi16(ab[0], cd[0])),
                Self(_mm512_unpacklo_epi16(ab[1], cd[1])),
                Self(_mm512_unpackhi_epi16(ab[1], cd[1])),
            ]
        }
    }
    #[inline(always)]
    fn quads(self) -> Self {
        self
    }
    #[inline(always)]
    unsafe fn weights(from: *const u8) -> Self {
        unsafe { Self::load(from) }
    }
    #[inline(always)]
    fn add_dot(self, quads: Self, weights: Self) -> Self {
        Self(unsafe { _mm512_dpbusd_epi32(self.0, quads.0, weights.0) })
    }
    #[inline(always)]
    fn numbers(self) -> F32x16 {
        F32x16(unsafe { _mm512_cvtepi32_ps(self.0) })
    }
    #[inline(always)]
    fn whole(numbers: F32x16) -> Self {
        Self(unsafe { _mm512_cvtps_epi32(numbers.0) })
    }
    #[inline(always)]
    fn words(self, right: Self) -> Self {
        Self(unsafe { _mm512_packs_epi32(self.0, right.0) })
    }
    #[inline(always)]
    fn bytes(self, right: Self) -> Self {
        Self(unsafe { _mm512_packus_epi16(self.0, right.0) })
    }
    #[inline(always)]
    fn clamp(self, low: Self, high: Self) -> Self {
        Self(unsafe { _mm512_min_epu8(_mm512_max_epu8(self.0, low.0), high.0) })
    }
    #[inline(always)]
    fn curve(places: F32x16, curve: &Curve) -> F32x16 {
        F32x16(gemm_f32::avx512::F32x16(places.0).curve(curve).0)
    }
}

// SAFETY (of every block below): as above.
impl Lanes for Narrow {
    const BYTES: usize = 32;
    const PIXELS: usize = 4;
    const THREES: bool = false;
    const WEIGHTS: usize = 32;
    type Floats = F32x8;
    type Quads = Self;
    type Weights = Self;

    #[inline(always)]
    fn splat(byte: u8) -> Self {
        Self(unsafe { _mm256_set1_epi8(byte.cast_signed()) })
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        Self(unsafe { _mm256_loadu_si256(from.cast()) })
    }
    #[inline(always)]
    unsafe fn load_part(from: *const u8, count: usize) -> Self {
        Self(unsafe { _mm256_maskz_loadu_epi8((1 << count) - 1, from.cast()) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut u8, count: usize) {
        unsafe { _mm256_mask_storeu_epi8(to.cast(), (1 << count) - 1, self.0) }
    }
    #[inline(always)]
    fn interleave([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        let [a, b, c, d] = unsafe { super::avx2::interleave([a.0, b.0, c.0, d.0]) };
        [Self(a), Self(b), Self(c), Self(d)]
    }
    #[inline(always)]
    fn quads(self) -> Self {
        self
    }
    #[inline(always)]
    unsafe fn weights(from: *const u8) -> Self {
        unsafe { Self::load(from) }
    }
    #[inline(always)]
    fn add_dot(self, quads: Self, weights: Self) -> Self {
        Self(unsafe { _mm256_dpbusd_epi32(self.0, quads.0, weights.0) })
    }
    #[inline(always)]
    fn numbers(self) -> F32x8 {
        F32x8(unsafe { _mm256_cvtepi32_ps(self.0) })
    }
    #[inline(always)]
    fn whole(numbers: F32x8) -> Self {
        Self(unsafe { _mm256_cvtps_epi32(numbers.0) })
    }
    #[inline(always)]
    fn words(self, right: Self) -> Self {
        Self(unsafe { _mm256_packs_epi32(self.0, right.0) })
    }
    #[inline(always)]
    fn bytes(self, right: Self) -> Self {
        Self(unsafe { _mm256_packus_epi16(self.0, right.0) })
    }
    #[inline(always)]
    fn clamp(self, low: Self, high: Self) -> Self {
        Self(unsafe { _mm256_min_epu8(_mm256_max_epu8(self.0, low.0), high.0) })
    }
    #[inline(always)]
    fn curve(places: F32x8, curve: &Curve) -> F32x8 {
        F32x8(gemm_f32::avx2::F32x8(places.0).curve(curve).0)
    }
}
