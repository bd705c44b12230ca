//! Tiles of up to 6 rows and 16 columns in AVX2.
//!
//! 6 x 16 tile: 12 sums, 2 pairs of weights, a pair of the row and a product on its way -> 16 registers. Rows are widened to 16 bits
//! before, weights as they are loaded, so that an instruction multiplies and adds pairs exactly: two instructions for 16 products. Bytes
//! as they are would take four for 32, since the sum of two of their products leaves 16 bits where both are unsigned and large.

use std::arch::asm;
use std::arch::x86_64::*;

use super::tile::{IN_BYTES, IN_NUMBERS, Sums, Tile, tiles};
use super::{Kernel, TileFn};
use crate::Tier;
use crate::gemm_f32::avx2::F32x8;

/// The row of this tier.
pub(crate) const KERNEL: Kernel = Kernel {
    name: "i8_gemm_6x16_avx2",
    tier: Tier::Avx2,
    is_present: || true,
    lanes: 8,
    widen: Some(widen),
    short: I32x8::SHORT,
    tiles: [&TILES[IN_NUMBERS], &TILES[IN_BYTES]],
};

const FEW: [&[&[TileFn]]; 2] = tiles!(I32x8, ["avx2,fma"], [1 2 3 4] x [1 2]);
const SIX: [&[&[TileFn]]; 2] = tiles!(I32x8, ["avx2,fma"], [6] x [1 2]);
static TILES: [[&[TileFn]; 6]; 2] = [rows::<IN_NUMBERS>(), rows::<IN_BYTES>()];

const fn rows<const WHAT: usize>() -> [&'static [TileFn]; 6] {
    let [few, six] = [FEW[WHAT], SIX[WHAT]];
    let five: &[TileFn] = &[five::<WHAT, 1>, five::<WHAT, 2>];
    [few[0], few[1], few[2], few[3], five, six[0]]
}

/// Tiles of five rows as three and two: the runner is to be small.
///
/// # Safety
/// As for [`super::tile::compute`].
unsafe fn five<const WHAT: usize, const V: usize>(t: &Tile) {
    let mut next = Tile { count: 1, ..*t };
    for _ in 0..t.count {
        for rows in [3, 2] {
            // SAFETY: the caller's promise.
            unsafe { FEW[WHAT][rows - 1][V - 1](&next) };
            next = next.next(rows);
        }
    }
}

#[derive(Clone, Copy)]
struct I32x8(__m256i);

// SAFETY (of every block below): by the contract of `Sums` the CPU has AVX2 and pointers are valid for what is touched.
impl Sums for I32x8 {
    type Floats = F32x8;
    type Left = __m256i;
    type Weights = __m256i;
    const WIDE: bool = true;
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
    unsafe fn left(from: *const u8) -> __m256i {
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m256i {
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm256_add_epi32(self.0, other.0) })
    }
    #[inline(always)]
    fn add_dot(self, a: __m256i, b: __m256i) -> Self {
        Self(unsafe { _mm256_add_epi32(self.0, _mm256_madd_epi16(a, b)) })
    }
    #[inline(always)]
    fn end_row() {
        // No instruction, but no load passes it: pairs of several rows at once would take registers that sums need.
        unsafe { asm!("", options(nostack, preserves_flags)) }
    }
    #[inline(always)]
    fn floats(self) -> F32x8 {
        F32x8(unsafe { _mm256_cvtepi32_ps(self.0) })
    }
}

/// As [`super::Widen`].
///
/// # Safety
/// As there; the CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn widen(from: *const u8, count: usize, to: *mut u16) {
    let whole = count / 16 * 16;
    for at in (0..whole).step_by(16) {
        // SAFETY (of all blocks): the caller's promise.
        unsafe {
            let bytes = _mm_loadu_si128(from.add(at).cast());
            _mm256_storeu_si256(to.add(at).cast(), _mm256_cvtepu8_epi16(bytes));
        }
    }
    for at in whole..count {
        unsafe { to.add(at).write(u16::from(from.add(at).read())) };
    }
}
