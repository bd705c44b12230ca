//! Tiles of up to 6 rows and 16 columns in AVX2.
//!
//! 6 x 16 tile: 12 sums, a quad of weights, a quad of the row, products on their way and ones -> 16 registers. An instruction multiplies
//! bytes and adds pairs in 16 bits, the next adds pairs of these: three instructions for 32 products. Weights whose pairs leave 16 bits, which
//! files of others hold and [`weights::to_bytes`](super::weights::to_bytes) makes only of windows with an odd number of channels that
//! are no photograph's three, are widened to 16 bits as they are loaded, their rows before: two instructions for 16 products, exact for all bytes.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx2_bytes;
use super::kernel::{Kernel, Table, TileFn, all_parts};
use super::tile::{IN_BYTES, IN_NUMBERS, Sums, Tile, tiles};
use super::tile_bytes::{PLAIN, RESIDUAL, store_pairs};
use crate::Tier;
use crate::gemm_f32::avx2::F32x8;

/// The row of this tier.
pub(crate) const KERNEL: Kernel = Kernel {
    name: "i8_gemm_6x16_avx2",
    tier: Tier::Avx2,
    is_present: || true,
    wide: Some(&WIDE),
    lanes: 8,
    widen: None,
    short: I32x8::<false>::SHORT,
    matrix: None,
    tiles: [&TILES[IN_NUMBERS], &TILES[IN_BYTES]],
};

/// For weights whose pairs leave 16 bits.
static WIDE: Kernel = Kernel {
    name: "i8_gemm_6x16_avx2_wide",
    tier: Tier::Avx2,
    is_present: || true,
    wide: None,
    lanes: 8,
    widen: Some(widen),
    short: I32x8::<true>::SHORT,
    matrix: None,
    tiles: [&WIDE_TILES[IN_NUMBERS], &WIDE_TILES[IN_BYTES]],
};

/// Columns of two registers.
const COLUMNS: usize = 16;

const ONE: Table = tiles!(I32x8::<false>, ["avx2,fma"], [1] x [1 2]);
const TWO: Table = tiles!(I32x8::<false>, ["avx2,fma"], [2] x [2]);
const FOUR: Table = tiles!(I32x8::<false>, ["avx2,fma"], [4] x [2]);
const SIX: Table = tiles!(I32x8::<false>, ["avx2,fma"], [6] x [1 2]);
const WIDE_ONE: Table = tiles!(I32x8::<true>, ["avx2,fma"], [1] x [1 2]);
const WIDE_SIX: Table = tiles!(I32x8::<true>, ["avx2,fma"], [6] x [2]);

static TILES: [[&[TileFn]; 6]; 2] = [rows::<IN_NUMBERS>(), rows::<IN_BYTES>()];
static WIDE_TILES: [[&[TileFn]; 6]; 2] = [wide_rows::<IN_NUMBERS>(), wide_rows::<IN_BYTES>()];

// The runner is to be small: what is seldom computed is so many tiles of one row, few rows of eight columns and most wide tiles, or tiles of
// some sizes together.

const fn rows<const WHAT: usize>() -> [&'static [TileFn]; 6] {
    [
        ONE[WHAT][0],
        &[one_by_one::<WHAT, false, 1, 2>, in_parts::<WHAT, 2>],
        &[one_by_one::<WHAT, false, 1, 3>, in_parts::<WHAT, 3>],
        &[one_by_one::<WHAT, false, 1, 4>, in_parts::<WHAT, 4>],
        &[one_by_one::<WHAT, false, 1, 5>, in_parts::<WHAT, 5>],
        &[six::<WHAT, 1>, six::<WHAT, 2>],
    ]
}

const fn wide_rows<const WHAT: usize>() -> [&'static [TileFn]; 6] {
    [
        WIDE_ONE[WHAT][0],
        &[
            one_by_one::<WHAT, true, 1, 2>,
            one_by_one::<WHAT, true, 2, 2>,
        ],
        &[
            one_by_one::<WHAT, true, 1, 3>,
            one_by_one::<WHAT, true, 2, 3>,
        ],
        &[
            one_by_one::<WHAT, true, 1, 4>,
            one_by_one::<WHAT, true, 2, 4>,
        ],
        &[
            one_by_one::<WHAT, true, 1, 5>,
            one_by_one::<WHAT, true, 2, 5>,
        ],
        &[one_by_one::<WHAT, true, 1, 6>, wide_six::<WHAT>],
    ]
}

/// Tiles of `M` rows and two registers of columns, as tiles of four, two and one.
///
/// # Safety
/// As for [`super::tile::compute`].
unsafe fn in_parts<const WHAT: usize, const M: usize>(t: &Tile) {
    let tables = [
        (4, FOUR[WHAT][0][0]),
        (2, TWO[WHAT][0][0]),
        (1, ONE[WHAT][0][1]),
    ];
    // SAFETY: the caller's promise.
    unsafe { all_parts(t, M, &tables) };
}

/// The largest tile; with two registers of columns in parts where some are missing.
///
/// # Safety
/// As for [`super::tile::compute`].
unsafe fn six<const WHAT: usize, const V: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe {
        match V == 2 && t.output.columns < COLUMNS {
            true => in_parts::<WHAT, 6>(t),
            false => SIX[WHAT][0][V - 1](t),
        }
    }
}

/// The same of the largest wide tile, whose parts are rows.
///
/// # Safety
/// As for [`super::tile::compute`].
unsafe fn wide_six<const WHAT: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe {
        match t.output.columns == COLUMNS {
            true => WIDE_SIX[WHAT][0][0](t),
            false => one_by_one::<WHAT, true, 2, 6>(t),
        }
    }
}

/// Tiles as so many of one row.
///
/// # Safety
/// As for [`super::tile::compute`].
unsafe fn one_by_one<const WHAT: usize, const WIDE: bool, const V: usize, const M: usize>(
    t: &Tile,
) {
    let table = if WIDE { &WIDE_ONE } else { &ONE };
    // SAFETY: the caller's promise.
    unsafe { all_rows(t, M, table[WHAT][0][V - 1]) };
}

/// Tiles of so many rows as tiles of one.
///
/// # Safety
/// As for [`super::tile::compute`].
#[inline(never)]
unsafe fn all_rows(t: &Tile, rows: usize, run: TileFn) {
    let count = rows * t.count;
    // SAFETY: the caller's promise; the rows of tiles follow each other.
    unsafe { run(&Tile { count, ..*t }) };
}

/// Sums of products whose pairs fit into 16 bits, or `WIDE`, of any.
#[derive(Clone, Copy)]
struct I32x8<const WIDE: bool>(__m256i);

// SAFETY (of every block below): by the contract of `Sums` the CPU has AVX2 and pointers are valid for what is touched.
impl<const WIDE: bool> Sums for I32x8<WIDE> {
    type Floats = F32x8;
    type Left = __m256i;
    type Weights = __m256i;
    const WIDE: bool = WIDE;
    const SHORT: usize = if WIDE { 0 } else { 6 };
    const UNROLLED: usize = 6;
    const IN_MEMORY: bool = !WIDE;

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
        unsafe {
            match WIDE {
                true => _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())),
                false => _mm256_loadu_si256(from.cast()),
            }
        }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm256_add_epi32(self.0, other.0) })
    }
    #[inline(always)]
    fn add_dot(self, a: __m256i, b: __m256i) -> Self {
        Self(unsafe {
            match WIDE {
                true => add_pairs(self.0, a, b),
                false => add_quads(self.0, a, b),
            }
        })
    }
    #[inline(always)]
    unsafe fn add_dots<const STEP: usize>(
        two: [Self; 2],
        a: __m256i,
        first: __m256i,
        b: *const i8,
    ) -> [Self; 2] {
        unsafe { add_two::<STEP>(two.map(|sums| sums.0), a, first, b) }.map(Self)
    }
    #[inline(always)]
    fn end_row() {
        // No instruction, but no load passes it: those of several rows at once would take registers that sums need.
        unsafe { asm!("", options(nostack, preserves_flags)) }
    }
    #[inline(always)]
    unsafe fn store_whole<const M: usize, const V: usize, const THROUGH: u8>(
        t: &Tile,
        sum: &[[Self; V]; M],
    ) {
        assert!(M == 6 && V == 2, "tiles that are whole");
        let row = |row: usize| [sum[row][0].0, sum[row][1].0];
        let rows = [row(0), row(1), row(2), row(3), row(4), row(5)];
        unsafe {
            match THROUGH {
                PLAIN => avx2_bytes::plain(t, rows),
                RESIDUAL => avx2_bytes::with_residual(t, rows),
                _ => store_pairs::<Self, M, V, THROUGH>(t, sum),
            }
        }
    }
    #[inline(always)]
    fn floats(self) -> F32x8 {
        F32x8(unsafe { _mm256_cvtepi32_ps(self.0) })
    }
}

/// Ones of 16 bits, as an instruction reads them.
#[repr(align(32))]
struct Ones(#[allow(dead_code)] [i16; 16]);

static ONES: Ones = Ones([1; 16]);

/// Adds the products of quads of unsigned and of signed bytes, pairs first. In one piece, and with the ones in memory: a register of them,
/// or products that wait, would put sums there.
#[inline]
#[target_feature(enable = "avx2")]
fn add_quads(mut sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: the ones are as aligned as the instruction asks for.
    unsafe {
        asm!(
            "vpmaddubsw {products}, {a}, {b}",
            "vpmaddwd {products}, {products}, ymmword ptr [rip + {ones}]",
            "vpaddd {sums}, {sums}, {products}",
            products = out(ymm_reg) _,
            sums = inout(ymm_reg) sums,
            a = in(ymm_reg) a,
            b = in(ymm_reg) b,
            ones = sym ONES,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    sums
}

/// The same for two registers of columns. The second one's weights stay in memory and the ones in a register: sums, first weights, row and
/// products take the other fifteen, and there are seven loads fewer for six rows than with the ones in memory.
///
/// # Safety
/// `b` is valid for reading the weights of one quad more than `STEP`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_two<const STEP: usize>(
    two: [__m256i; 2],
    a: __m256i,
    weights: __m256i,
    b: *const i8,
) -> [__m256i; 2] {
    let [mut first, mut second] = two;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "vpmaddubsw {products}, {a}, {weights}",
            "vpmaddubsw {a}, {a}, ymmword ptr [{b} + {second_weights}]",
            "vpmaddwd {products}, {products}, {ones}",
            "vpmaddwd {a}, {a}, {ones}",
            "vpaddd {first}, {first}, {products}",
            "vpaddd {second}, {second}, {a}",
            products = out(ymm_reg) _,
            first = inout(ymm_reg) first,
            second = inout(ymm_reg) second,
            a = inout(ymm_reg) a => _,
            weights = in(ymm_reg) weights,
            b = in(reg) b,
            second_weights = const 4 * (STEP * COLUMNS + COLUMNS / 2),
            ones = in(ymm_reg) _mm256_set1_epi16(1),
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    [first, second]
}

/// Adds the products of pairs of 16 bits, in one piece as above. It reads no memory, but says so, since else it would pass the ends of rows.
#[inline]
#[target_feature(enable = "avx2")]
fn add_pairs(mut sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: only registers are touched.
    unsafe {
        asm!(
            "vpmaddwd {products}, {a}, {b}",
            "vpaddd {sums}, {sums}, {products}",
            products = out(ymm_reg) _,
            sums = inout(ymm_reg) sums,
            a = in(ymm_reg) a,
            b = in(ymm_reg) b,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    sums
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
