//! Eight `f32` in an AVX register.

use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Sub};

use super::Vector;

/// Eight numbers. Made only below a function with AVX2 and FMA (see [`Vector`]).
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct F32x8(pub(crate) __m256);

macro_rules! operator {
    ($trait:ident, $method:ident, $instruction:ident) => {
        impl $trait for F32x8 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, right: Self) -> Self {
                // SAFETY: runs only below a function with AVX2, as `Vector` demands.
                Self(unsafe { $instruction(self.0, right.0) })
            }
        }
    };
}
operator!(Add, add, _mm256_add_ps);
operator!(Sub, sub, _mm256_sub_ps);
operator!(Mul, mul, _mm256_mul_ps);
operator!(Div, div, _mm256_div_ps);

/// The lanes that a slice shorter than a vector fills: all bits set in the first `len` lanes.
#[inline(always)]
fn lanes(len: usize) -> __m256i {
    const MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: eight numbers from place 0..=8 of sixteen; runs only below a function with AVX2.
    unsafe { _mm256_loadu_si256(MASKS[8 - len.min(8)..][..8].as_ptr().cast()) }
}

/// `2^power` for whole powers within [`Vector::POWERS`].
#[inline(always)]
fn power_of_two(power: F32x8) -> F32x8 {
    // SAFETY: runs only below a function with AVX2.
    unsafe {
        let biased = _mm256_add_epi32(_mm256_cvtps_epi32(power.0), _mm256_set1_epi32(127));
        F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased)))
    }
}

// SAFETY of every block below: the instructions run only below a function with AVX2 and FMA, as `Vector` demands; loads
// and stores stay inside the slice that was cut or masked to its length on the same line.
impl Vector for F32x8 {
    const LANES: usize = 8;
    // As exponents they are all zeros and all ones: 0 and infinity.
    const POWERS: [f32; 2] = [-127.0, 128.0];

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_loadu_ps(from[..8].as_ptr()) })
    }
    #[inline(always)]
    fn load_part(from: &[f32]) -> Self {
        if from.len() >= Self::LANES {
            return Self::load(from);
        }
        // SAFETY: see above.
        Self(unsafe { _mm256_maskload_ps(from.as_ptr(), lanes(from.len())) })
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to[..8].as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn store_part(self, to: &mut [f32]) {
        if to.len() >= Self::LANES {
            return self.store(to);
        }
        // SAFETY: see above.
        unsafe { _mm256_maskstore_ps(to.as_mut_ptr(), lanes(to.len()), self.0) }
    }
    #[inline(always)]
    unsafe fn load_ptr(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFETY: a hint, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn neg_mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_fnmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn max(self, right: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_max_ps(self.0, right.0) })
    }
    #[inline(always)]
    fn larger(self, right: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let is_nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(right.0, right.0);
            _mm256_blendv_ps(_mm256_max_ps(right.0, self.0), right.0, is_nan)
        })
    }
    #[inline(always)]
    fn min(self, right: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_min_ps(self.0, right.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            _mm256_blendv_ps(
                self.abs().0,
                _mm256_or_ps(self.0, _mm256_set1_ps(-0.0)),
                sign.0,
            )
        })
    }
    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)
        })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn scale(self, power: Self) -> Self {
        self * power_of_two(power)
    }
    #[inline(always)]
    fn scale_and_add(self, power: Self, addend: Self) -> Self {
        self.mul_add(power_of_two(power), addend)
    }
    #[inline(always)]
    fn in_step(four: [Self; 4]) -> [Self; 4] {
        // SAFETY: see above.
        unsafe { in_step(four) }
    }
    #[inline(always)]
    fn if_less(self, limit: Self, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, limit.0)) })
    }
    #[inline(always)]
    fn interleave(self, right: Self) -> [Self; 2] {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_unpacklo_ps(self.0, right.0);
            let high = _mm256_unpackhi_ps(self.0, right.0);
            [
                Self(_mm256_permute2f128_ps::<0x20>(low, high)),
                Self(_mm256_permute2f128_ps::<0x31>(low, high)),
            ]
        }
    }
    #[inline(always)]
    fn deinterleave(self, right: Self) -> [Self; 2] {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_permute2f128_ps::<0x20>(self.0, right.0);
            let high = _mm256_permute2f128_ps::<0x31>(self.0, right.0);
            [
                Self(_mm256_shuffle_ps::<0x88>(low, high)),
                Self(_mm256_shuffle_ps::<0xdd>(low, high)),
            ]
        }
    }
    #[inline(always)]
    fn permute(self, places: &[i32]) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let places = _mm256_loadu_si256(places[..8].as_ptr().cast());
            _mm256_permutevar8x32_ps(self.0, places)
        })
    }
    #[inline(always)]
    fn look_up(self, table: &[f32; 8]) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let places = _mm256_castps_si256(self.0);
            _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.as_ptr()), places)
        })
    }
    const LOOKS_UP_LONG: bool = false;
    #[inline(always)]
    fn look_up_long(self, table: &[f32; 32]) -> Self {
        let [a, b, c, d] = [0, 8, 16, 24]
            .map(|at| self.look_up(table[at..].first_chunk().expect("a quarter of a table")));
        // SAFETY: see above.
        Self(unsafe {
            let places = _mm256_castps_si256(self.0);
            // The fourth and the fifth bit pick the register.
            let is_second = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(places));
            let is_high = _mm256_castsi256_ps(_mm256_slli_epi32::<27>(places));
            let low = _mm256_blendv_ps(a.0, b.0, is_second);
            let high = _mm256_blendv_ps(c.0, d.0, is_second);
            _mm256_blendv_ps(low, high, is_high)
        })
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let four = _mm_add_ps(
                _mm256_castps256_ps128(self.0),
                _mm256_extractf128_ps::<1>(self.0),
            );
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let four = _mm_max_ps(
                _mm256_castps256_ps128(self.0),
                _mm256_extractf128_ps::<1>(self.0),
            );
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn higher(self, right: Self) -> Self {
        // Numbers without a sign come in the order of their bits, and behind those with one where bits are signed.
        // SAFETY: see above.
        Self(unsafe {
            let (left, right) = (_mm256_castps_si256(self.0), _mm256_castps_si256(right.0));
            _mm256_castsi256_ps(_mm256_max_epi32(left, right))
        })
    }
    #[inline(always)]
    fn lower(self, right: Self) -> Self {
        // Where bits are not signed, numbers with a sign come last, the lowest behind them all.
        // SAFETY: see above.
        Self(unsafe {
            let (left, right) = (_mm256_castps_si256(self.0), _mm256_castps_si256(right.0));
            _mm256_castsi256_ps(_mm256_max_epu32(left, right))
        })
    }
    #[inline(always)]
    fn larger_size(self, right: Self) -> Self {
        // Numbers without their sign come in the order of their bits, and NaN lies above infinity.
        // SAFETY: see above.
        Self(unsafe {
            let (size, right) = (self.abs().0, right.abs().0);
            let larger = _mm256_max_epu32(_mm256_castps_si256(size), _mm256_castps_si256(right));
            _mm256_castsi256_ps(larger)
        })
    }
    #[inline(always)]
    fn largest_size(self) -> f32 {
        // SAFETY: see above.
        let largest = unsafe {
            let eight = _mm256_castps_si256(self.0);
            let halves = (
                _mm256_castsi256_si128(eight),
                _mm256_extracti128_si256::<1>(eight),
            );
            let four = _mm_max_epu32(halves.0, halves.1);
            let two = _mm_max_epu32(four, _mm_shuffle_epi32::<0b1110>(four));
            _mm_cvtsi128_si32(_mm_max_epu32(two, _mm_shuffle_epi32::<1>(two)))
        };
        f32::from_bits(largest.cast_unsigned())
    }
    #[inline(always)]
    fn store_bytes(self, to: &mut [u8]) {
        let mut bytes = [0; 8];
        // SAFETY: see above.
        unsafe {
            let whole = _mm256_cvtps_epi32(self.0);
            let halves = (
                _mm256_castsi256_si128(whole),
                _mm256_extracti128_si256::<1>(whole),
            );
            let words = _mm_packs_epi32(halves.0, halves.1);
            let eight = _mm_xor_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(i8::MIN));
            _mm_storel_epi64(bytes.as_mut_ptr().cast(), eight);
        }
        match to.first_chunk_mut() {
            Some(to) => *to = bytes,
            None => to.copy_from_slice(&bytes[..to.len()]),
        }
    }
    #[inline(always)]
    fn load_bytes(from: &[u8]) -> Self {
        let bytes = match from.first_chunk() {
            Some(bytes) => *bytes,
            None => {
                let mut bytes = [0; 8];
                bytes[..from.len()].copy_from_slice(from);
                bytes
            }
        };
        // SAFETY: see above.
        Self(unsafe {
            let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(bytes));
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
        })
    }
    #[inline(always)]
    fn store_unsigned(self, to: &mut [u8]) {
        // SAFETY: see above.
        let bytes = unsafe {
            let whole = self.up_to_255();
            let halves = (
                _mm256_castsi256_si128(whole),
                _mm256_extracti128_si256::<1>(whole),
            );
            let words = _mm_packus_epi32(halves.0, halves.1);
            _mm_cvtsi128_si64(_mm_packus_epi16(words, words)).to_le_bytes()
        };
        match to.first_chunk_mut() {
            Some(to) => *to = bytes,
            None => to.copy_from_slice(&bytes[..to.len()]),
        }
    }
    #[inline(always)]
    fn store_unsigned_four(four: [Self; 4], to: &mut [u8]) {
        let [a, b, c, d] = four;
        // Packing works in halves of a register; the permutation brings the eight groups of four bytes into order. Packing makes
        // negative ones 0.
        // SAFETY: see above.
        unsafe {
            let low = _mm256_packus_epi32(a.up_to_255(), b.up_to_255());
            let high = _mm256_packus_epi32(c.up_to_255(), d.up_to_255());
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
            _mm256_storeu_si256(to[..32].as_mut_ptr().cast(), bytes);
        }
    }
}

impl F32x8 {
    /// The nearest whole numbers up to 255, ties to even; NaN becomes negative.
    #[inline(always)]
    fn up_to_255(self) -> __m256i {
        let places = Self::splat(255.0).min(self);
        // SAFETY: runs only below a function with AVX2, as `Vector` demands.
        unsafe { _mm256_cvtps_epi32(places.0) }
    }
}

in_step!(F32x8, ymm_reg, "avx");
