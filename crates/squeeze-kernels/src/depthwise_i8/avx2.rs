//! AVX2: bytes are widened to 16 bits, of which an instruction multiplies and adds pairs exactly; or to numbers, where each then serves
//! several windows.

use std::arch::x86_64::*;

use super::Kernel;
use super::finish::Finish;
use super::pack::Channels;
use super::rows::Rows;
use super::strip::{self, Lanes, Room, Strip};
use crate::Tier;
use crate::activation::curve::Curve;
use crate::depthwise::rows::{Pixels, Strips, WINDOWS};
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
/// The CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn windows(
    strips: &Strips<u8>,
    (rows, channels, finish): (&Rows, &Channels, &Finish),
    y: &mut [u8],
) {
    let bytes = Bytes {
        rows,
        channels,
        finish,
    };
    strips.compute(&bytes, y);
}

/// Images of bytes.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    rows: &'a Rows,
    channels: &'a Channels,
    finish: &'a Finish,
}

// SAFETY (of every block below): by the contract of `Pixels` the CPU has AVX2 and FMA, and pointers and channels are valid for what is
// touched.
impl Pixels<F32x8> for Bytes<'_> {
    type Number = u8;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> F32x8 {
        F32x8(unsafe { gemm_f32::avx2::F32x8::load_bytes(from).0 })
    }
    #[inline(always)]
    unsafe fn start(&self, channel: usize) -> F32x8 {
        unsafe { F32x8::load_ptr(self.rows.start.as_ptr().add(channel)) }
    }
    #[inline(always)]
    unsafe fn write(
        &self,
        channel: usize,
        sums: [F32x8; WINDOWS],
        windows: usize,
        to: (*mut u8, usize),
    ) {
        unsafe {
            self.write_four::<0>(channel, &sums, windows, to);
            if windows > 4 {
                self.write_four::<4>(channel, &sums, windows, to);
            }
        }
    }
}

impl Bytes<'_> {
    /// Writes four windows from `FIRST` on, if there are so many.
    ///
    /// # Safety
    /// As for [`Pixels::write`].
    #[inline(always)]
    unsafe fn write_four<const FIRST: usize>(
        &self,
        channel: usize,
        sums: &[F32x8; WINDOWS],
        windows: usize,
        (to, step): (*mut u8, usize),
    ) {
        // SAFETY (of all blocks below): the caller's promise.
        let [factor, offset] = [&self.channels.factor, &self.channels.offset]
            .map(|numbers| unsafe { F32x8::load_ptr(numbers.as_ptr().add(channel)) });
        let mut whole = [unsafe { _mm256_setzero_si256() }; 4];
        for window in 0..4 {
            let mut place = sums[FIRST + window].mul_add(factor, offset);
            if let Some(curve) = &self.finish.curve {
                place = Narrow::curve(place, curve);
            }
            if self.finish.is_large {
                // NaN, of an infinity times zero, becomes the lowest byte, as `max` gives its right operand.
                place = place.max(F32x8::splat(0.0)).min(F32x8::splat(255.0));
            }
            whole[window] = Narrow::whole(place).0;
        }
        let [a, b, c, d] = whole.map(Narrow);
        let [low, high] = self.finish.limits.map(Narrow::splat);
        let bytes = a.words(b).bytes(c.words(d)).clamp(low, high);
        // Words and bytes were made of the lower and the upper halves of registers apart.
        let halves = unsafe {
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let bytes = _mm256_permutevar8x32_epi32(bytes.0, order);
            [
                _mm256_castsi256_si128(bytes),
                _mm256_extracti128_si256::<1>(bytes),
            ]
        };
        for half in 0..2 {
            let window = FIRST + 2 * half;
            unsafe {
                let to = to.wrapping_add(window * step);
                if window < windows {
                    _mm_storel_epi64(to.cast(), halves[half]);
                }
                if window + 1 < windows {
                    _mm_storeh_pd(to.wrapping_add(step).cast(), _mm_castsi128_pd(halves[half]));
                }
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
    const PIXELS: usize = 2;
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
