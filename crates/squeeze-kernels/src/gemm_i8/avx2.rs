//! Tiles of up to 4 rows and 16 columns in AVX2.
//!
//! 4 x 16 tile: 8 sums, 2 loads of weights, a quad and its size, two steps in between and ones -> 15 of 16 registers. Products
//! of two signed bytes: the sign of the left one goes to the right one, so that no pair of products leaves 16 bits.

use std::arch::x86_64::*;

use super::Kernel;
use super::tile::{Sums, tiles};
use crate::Tier;
use crate::gemm_f32::avx2::F32x8;

/// The row of this tier.
pub(crate) const KERNEL: Kernel = Kernel {
    name: "i8_gemm_4x16_avx2",
    tier: Tier::Avx2,
    is_present: || true,
    lanes: 8,
    unsigned: false,
    short: I32x8::SHORT,
    tiles: tiles!(I32x8, ["avx2,fma"], [1 2 3 4] x [1 2]),
};

#[derive(Clone, Copy)]
struct I32x8(__m256i);

// SAFETY (of every block below): by the contract of `Sums` the CPU has AVX2 and pointers are valid for what is touched.
impl Sums for I32x8 {
    type Floats = F32x8;
    /// The signed bytes, and their sizes.
    type Quad = (__m256i, __m256i);
    type Weights = __m256i;
    const SHORT: usize = 0;

    #[inline(always)]
    fn zero() -> Self {
        Self(unsafe { _mm256_setzero_si256() })
    }
    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        Self(unsafe { _mm256_loadu_si256(from.cast()) })
    }
    #[inline(always)]
    unsafe fn quad(from: *const u8) -> (__m256i, __m256i) {
        unsafe {
            let bytes = from.cast::<u32>().read_unaligned() ^ 0x8080_8080;
            let bytes = _mm256_set1_epi32(bytes as i32);
            (bytes, _mm256_abs_epi8(bytes))
        }
    }
    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm256_add_epi32(self.0, other.0) })
    }
    #[inline(always)]
    fn add_dot(self, (bytes, sizes): (__m256i, __m256i), b: __m256i) -> Self {
        Self(unsafe {
            let pairs = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8(b, bytes));
            let quads = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
            _mm256_add_epi32(self.0, quads)
        })
    }
    #[inline(always)]
    fn floats(self) -> F32x8 {
        F32x8(unsafe { _mm256_cvtepi32_ps(self.0) })
    }
}
