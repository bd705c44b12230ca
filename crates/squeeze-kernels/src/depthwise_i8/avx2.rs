//! AVX2: bytes are widened to 16 bits, of which an instruction multiplies and adds pairs exactly.

use std::arch::asm;
use std::arch::x86_64::*;

use super::Kernel;
use super::finish::Finish;
use super::pairs::{CONSTANTS, Eight, Pairs, TOGETHER, WINDOWS, neighbours};
use super::strip::{self, Lanes, Room, Strip};
use crate::Tier;
use crate::activation::curve::Curve;
use crate::depthwise::rows::{COLUMNS, Reads, Strips};
use crate::gemm_f32::{self, tile::Register};
use crate::vector::{F32x8, Vector};

/// The row of this tier.
pub(super) const KERNEL: Kernel = Kernel {
    name: "u8_depthwise_avx2",
    tier: Tier::Avx2,
    is_present: || true,
    widened: true,
    strips: &[(32, narrow)],
    windows: Some(windows),
};

/// As [`super::WindowsFn`].
///
/// # Safety
/// As for [`super::WindowsFn`].
#[target_feature(enable = "avx2,fma")]
unsafe fn windows(strips: &Strips<u8>, on: (&Pairs, &Finish), y: &mut [u8]) {
    // SAFETY (of all): the caller's promise.
    unsafe {
        match strips.kernel {
            [3, 1] => run::<3, 1>(strips, on, y),
            [3, _] => run::<3, 2>(strips, on, y),
            [_, 1] => run::<5, 1>(strips, on, y),
            _ => run::<5, 2>(strips, on, y),
        }
    }
}

/// Windows of `K` taps across that lie `S` columns apart.
///
/// # Safety
/// The CPU has AVX2 and FMA.
#[inline(always)]
unsafe fn run<const K: usize, const S: usize>(
    strips: &Strips<u8>,
    (pairs, finish): (&Pairs, &Finish),
    y: &mut [u8],
) {
    let (channels, step) = (strips.channels, strips.step);
    assert!(channels >= TOGETHER && y.len() >= (strips.windows - 1) * step + channels);
    let mut strip = 0;
    while strip < channels {
        // The last strip begins earlier rather than end behind the channels.
        strip = strip.min(channels - TOGETHER);
        let table = pairs.from(strips.first + strip);
        for first in (0..strips.windows).step_by(WINDOWS) {
            // SAFETY (of both): columns begin `channels` bytes each, and the output has so many windows.
            unsafe {
                let sums = sums::<K, S>(strips.reads(), (first * S, strip), table);
                let to = y.as_mut_ptr().wrapping_add(first * step + strip);
                let windows = strips.windows - first;
                match &finish.curve {
                    None if !finish.is_large => write(table, finish, sums, windows, (to, step)),
                    _ => write_curved(table, finish, sums, windows, (to, step)),
                }
            }
        }
        strip += TOGETHER;
    }
}

/// The two halves of the channels of a window or pixel.
type Halves = [__m256i; 2];

/// The sums of windows, the first of which reads from column `column` on, of the channels from `strip` on.
///
/// # Safety
/// The CPU has AVX2; columns begin so many channels, and as many more as are computed together.
#[inline(always)]
unsafe fn sums<const K: usize, const S: usize>(
    rows: &[Reads<u8>],
    (column, strip): (usize, usize),
    table: &[Eight],
) -> [Halves; WINDOWS] {
    let columns = const { S * (WINDOWS - 1) + K };
    let late = const { (3 - S) * neighbours(K) };
    let weights = rows.len() / 2 * K + rows.len() % 2 * late;
    assert!(table.len() >= CONSTANTS + 2 * weights && column + columns <= COLUMNS);
    let table = table.as_ptr().cast::<__m256i>();
    let at = |row: *const Reads<u8>, next: usize| {
        // SAFETY: the columns are inside, as was asserted.
        unsafe { *row.cast::<*const u8>().add(column + next) }
    };
    // SAFETY (of all blocks below): the caller's promise; the table has so many registers, as was asserted.
    let start = unsafe { [*table, *table.add(1)] };
    let mut sums = [start; WINDOWS];
    let mut weights = table.wrapping_add(CONSTANTS);
    let mut row = rows.as_ptr();
    for _ in 0..rows.len() / 2 {
        macro_rules! columns {
            ($($c:literal)*) => {$(
                if $c < columns {
                    let x = unsafe { pairs(at(row, $c), at(row.add(1), $c), strip) };
                    for kx in 0..K {
                        if $c >= kx && ($c - kx) % S == 0 && ($c - kx) / S < WINDOWS {
                            let window = ($c - kx) / S;
                            sums[window] = unsafe { add(sums[window], x, weights.add(2 * kx)) };
                        }
                    }
                }
            )*};
        }
        columns!(0 1 2 3 4 5 6 7 8 9 10);
        weights = weights.wrapping_add(2 * K);
        row = row.wrapping_add(2);
    }
    if rows.len() % 2 == 1 {
        macro_rules! two_columns {
            ($($c:literal)*) => {$(
                if $c < columns {
                    let next = if $c + 1 < columns { $c + 1 } else { $c };
                    let x = unsafe { pairs(at(row, $c), at(row, next), strip) };
                    for window in 0..WINDOWS {
                        let late = if S == 1 { window % 2 } else { 0 };
                        let begin = S * window - late;
                        if $c >= begin && ($c - begin) / 2 < neighbours(K) {
                            let pair = late * neighbours(K) + ($c - begin) / 2;
                            sums[window] = unsafe { add(sums[window], x, weights.add(2 * pair)) };
                        }
                    }
                }
            )*};
        }
        two_columns!(0 2 4 6 8 10);
    }
    sums
}

/// Bytes of two pixels, or of two rows, as pairs of 16 bits.
///
/// # Safety
/// The CPU has AVX2, and both are valid for as many bytes behind `strip` as there are channels together.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn pairs(low: *const u8, high: *const u8, strip: usize) -> Halves {
    let (lower, upper);
    // In assembly, because the compiler would widen registers, which takes four times as long as widening what is loaded.
    // SAFETY: the caller's promise; the code only reads these bytes.
    unsafe {
        asm!(
            "vpmovzxbw {lower}, xmmword ptr [{low} + {strip}]",
            "vpmovzxbw {words}, xmmword ptr [{high} + {strip}]",
            "vpunpckhwd {upper}, {lower}, {words}",
            "vpunpcklwd {lower}, {lower}, {words}",
            low = in(reg) low,
            high = in(reg) high,
            strip = in(reg) strip,
            words = out(ymm_reg) _,
            lower = out(ymm_reg) lower,
            upper = lateout(ymm_reg) upper,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    [lower, upper]
}

/// Adds the products of pairs and the weights from here on, each of which is used once: the compiler would keep them in registers, and put
/// sums in memory for that.
///
/// # Safety
/// The CPU has AVX2, and there are weights of both halves.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add(sums: Halves, x: Halves, weights: *const __m256i) -> Halves {
    let [mut first, mut second] = sums;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "vpmaddwd {products}, {x0}, [{weights}]",
            "vpaddd {first}, {first}, {products}",
            "vpmaddwd {products}, {x1}, [{weights} + 32]",
            "vpaddd {second}, {second}, {products}",
            weights = in(reg) weights,
            x0 = in(ymm_reg) x[0],
            x1 = in(ymm_reg) x[1],
            first = inout(ymm_reg) first,
            second = inout(ymm_reg) second,
            products = out(ymm_reg) _,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    [first, second]
}

/// Constants of a half of the channels: factors and offsets.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn constants(table: &[Eight], half: usize) -> [F32x8; 2] {
    // SAFETY (of both): eight numbers each.
    unsafe {
        [
            F32x8::load_ptr(table[2 + half].0.as_ptr().cast()),
            F32x8::load_ptr(table[4 + half].0.as_ptr().cast()),
        ]
    }
}

/// Writes the bytes of the first of these windows, at most so many, to places so far apart.
///
/// # Safety
/// The CPU has AVX2 and FMA; the table has the constants, and the places are valid for as many bytes as there are channels together.
#[inline(always)]
unsafe fn write(
    table: &[Eight],
    finish: &Finish,
    sums: [Halves; WINDOWS],
    windows: usize,
    to: (*mut u8, usize),
) {
    let mut words = [sums[0][0]; WINDOWS];
    // SAFETY (of all): the caller's promise.
    let [low, high] = unsafe { [constants(table, 0), constants(table, 1)] };
    for window in 0..WINDOWS {
        let [a, b] = sums[window];
        let a = Narrow::whole(Narrow(a).numbers().mul_add(low[0], low[1]));
        let b = Narrow::whole(Narrow(b).numbers().mul_add(high[0], high[1]));
        words[window] = a.words(b).0;
    }
    unsafe { write_words(finish, words, windows, to) };
}

/// The same behind a curve, or of numbers that may be large; a function of its own, which all kinds of windows share.
///
/// # Safety
/// As for [`write`].
#[target_feature(enable = "avx2,fma")]
unsafe fn write_curved(
    table: &[Eight],
    finish: &Finish,
    sums: [Halves; WINDOWS],
    windows: usize,
    to: (*mut u8, usize),
) {
    // SAFETY (of all): the caller's promise.
    let [low, high] = unsafe { [constants(table, 0), constants(table, 1)] };
    let mut places = [low; WINDOWS];
    for window in 0..WINDOWS {
        let [a, b] = sums[window];
        places[window] = [
            Narrow(a).numbers().mul_add(low[0], low[1]),
            Narrow(b).numbers().mul_add(high[0], high[1]),
        ];
    }
    if let Some(curve) = &finish.curve {
        for window in 0..WINDOWS {
            for half in 0..2 {
                places[window][half] = Narrow::curve(places[window][half], curve);
            }
        }
    }
    if finish.is_large {
        for window in 0..WINDOWS {
            for half in 0..2 {
                // NaN, of an infinity times zero, becomes the lowest byte, as `max` gives its right operand.
                let place = places[window][half].max(F32x8::splat(0.0));
                places[window][half] = place.min(F32x8::splat(255.0));
            }
        }
    }
    let mut words = [sums[0][0]; WINDOWS];
    for window in 0..WINDOWS {
        let [a, b] = places[window];
        words[window] = Narrow::whole(a).words(Narrow::whole(b)).0;
    }
    unsafe { write_words(finish, words, windows, to) };
}

/// Writes words as bytes.
///
/// # Safety
/// As for [`write`].
#[inline(always)]
unsafe fn write_words(
    finish: &Finish,
    words: [__m256i; WINDOWS],
    windows: usize,
    (to, step): (*mut u8, usize),
) {
    let [low, high] = finish.limits.map(Narrow::splat);
    for first in [0, 2] {
        let two = Narrow(words[first]).bytes(Narrow(words[first + 1]));
        let to = to.wrapping_add(first * step);
        // SAFETY (of all): the caller's promise.
        unsafe {
            // The lower half has the first eight channels of both windows, the upper half the others.
            let two = _mm256_permute4x64_epi64::<0b11_01_10_00>(two.clamp(low, high).0);
            if first < windows {
                _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(two));
            }
            if first + 1 < windows {
                _mm_storeu_si128(
                    to.wrapping_add(step).cast(),
                    _mm256_extracti128_si256::<1>(two),
                );
            }
        }
    }
}

/// # Safety
/// As for [`super::StripFn`].
#[target_feature(enable = "avx2,fma")]
unsafe fn narrow(job: &Strip, room: &mut Room) {
    // SAFETY: the caller's promise.
    unsafe { strip::strip::<Narrow>(job, room) }
}

/// Quads of the bytes of four rows.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn interleave([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let (ab, cd) = (
            [_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)],
            [_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d)],
        );
        [
            _mm256_unpacklo_epi16(ab[0], cd[0]),
            _mm256_unpackhi_epi16(ab[0], cd[0]),
            _mm256_unpacklo_epi16(ab[1], cd[1]),
            _mm256_unpackhi_epi16(ab[1], cd[1]),
        ]
    }
}

#[derive(Clone, Copy)]
struct Narrow(__m256i);

// SAFETY (of every block below): by the contract of `Lanes` the CPU has AVX2 and pointers are valid for what is touched.
impl Lanes for Narrow {
    const BYTES: usize = 32;
    const PIXELS: usize = 1;
    const THREES: bool = false;
    const WEIGHTS: usize = 64;
    type Floats = F32x8;
    /// The first and third byte of each quad, and the second and fourth, in 16 bits.
    type Quads = [__m256i; 2];
    type Weights = [__m256i; 2];

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
        let mut bytes = [0u8; 32];
        unsafe {
            from.copy_to_nonoverlapping(bytes.as_mut_ptr(), count.min(32));
            Self::load(bytes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut u8, count: usize) {
        let mut bytes = [0u8; 32];
        unsafe {
            self.store(bytes.as_mut_ptr());
            to.copy_from_nonoverlapping(bytes.as_ptr(), count.min(32));
        }
    }
    #[inline(always)]
    fn interleave([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        let [a, b, c, d] = unsafe { interleave([a.0, b.0, c.0, d.0]) };
        [Self(a), Self(b), Self(c), Self(d)]
    }
    #[inline(always)]
    fn quads(self) -> [__m256i; 2] {
        unsafe {
            let even = _mm256_and_si256(self.0, _mm256_set1_epi16(0xff));
            [even, _mm256_srli_epi16::<8>(self.0)]
        }
    }
    #[inline(always)]
    unsafe fn weights(from: *const u8) -> [__m256i; 2] {
        unsafe { [Self::load(from).0, Self::load(from.add(32)).0] }
    }
    #[inline(always)]
    fn add_dot(self, quads: [__m256i; 2], weights: [__m256i; 2]) -> Self {
        Self(unsafe {
            let even = _mm256_madd_epi16(quads[0], weights[0]);
            let odd = _mm256_madd_epi16(quads[1], weights[1]);
            _mm256_add_epi32(self.0, _mm256_add_epi32(even, odd))
        })
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
