//! Tiles of up to 8 rows and 48 columns in AVX-512 with VNNI.
//!
//! 8 x 48 tile: 24 sums, 3 loads of weights, 1 broadcast of a quad -> 28 of 32 registers. An instruction adds four products of an
//! unsigned and a signed byte to each of 16 sums.

use std::arch::x86_64::*;

use super::kernel::{Kernel, Table, TileFn, all_parts};
use super::tile::{IN_BYTES, IN_NUMBERS, Sums, Tile, tiles};
use crate::Tier;
use crate::gemm_f32::avx512::F32x16;

/// The row of this tier.
pub(crate) const KERNEL: Kernel = Kernel {
    name: "i8_gemm_8x48_avx512_vnni",
    tier: Tier::Avx512,
    is_present: || is_x86_feature_detected!("avx512vnni"),
    wide: None,
    lanes: 16,
    widen: None,
    short: I32x16::SHORT,
    matrix: None,
    tiles: [&TILES[IN_NUMBERS], &TILES[IN_BYTES]],
};

/// All but tiles of five rows, which are seldom computed: the runner is to be small.
const MOST: Table = tiles!(I32x16, ["avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma"], [1 2 3 4 6 7 8] x [1 2 3]);

static TILES: [[&[TileFn]; 8]; 2] = [rows::<IN_NUMBERS>(), rows::<IN_BYTES>()];

const fn rows<const WHAT: usize>() -> [&'static [TileFn]; 8] {
    let [one, two, three, four, six, seven, eight] = *MOST[WHAT].first_chunk().unwrap();
    let five: &[TileFn] = &[five::<WHAT, 1>, five::<WHAT, 2>, five::<WHAT, 3>];
    [one, two, three, four, five, six, seven, eight]
}

/// Tiles of five rows as tiles of four and of one.
///
/// # Safety
/// As for [`super::tile::compute`].
unsafe fn five<const WHAT: usize, const V: usize>(t: &Tile) {
    let tables = [(4, MOST[WHAT][3][V - 1]), (1, MOST[WHAT][0][V - 1])];
    // SAFETY: the caller's promise.
    unsafe { all_parts(t, 5, &tables) };
}

#[derive(Clone, Copy)]
pub(super) struct I32x16(__m512i);

// SAFETY (of every block below): by the contract of `Sums` the CPU has AVX-512 with VNNI and pointers are valid for what is touched.
impl Sums for I32x16 {
    type Floats = F32x16;
    type Left = __m512i;
    type Weights = __m512i;
    const WIDE: bool = false;
    const SHORT: usize = 8;

    #[inline(always)]
    fn zero() -> Self {
        Self(unsafe { _mm512_setzero_si512() })
    }
    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        Self(unsafe { _mm512_loadu_si512(from.cast()) })
    }
    #[inline(always)]
    unsafe fn left(from: *const u8) -> __m512i {
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_epi32(self.0, other.0) })
    }
    #[inline(always)]
    fn add_dot(self, a: __m512i, b: __m512i) -> Self {
        Self(unsafe { _mm512_dpbusd_epi32(self.0, a, b) })
    }
    #[inline(always)]
    fn floats(self) -> F32x16 {
        F32x16(unsafe { _mm512_cvtepi32_ps(self.0) })
    }
}
