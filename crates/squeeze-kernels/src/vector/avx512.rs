//! Sixteen `f32` in an AVX-512 register.

use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Sub};

use super::Vector;

/// Sixteen numbers. Made only below a function with AVX-512 (see [`Vector`]).
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct F32x16(pub(crate) __m512);

macro_rules! operator {
    ($trait:ident, $method:ident, $instruction:ident) => {
        impl $trait for F32x16 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, right: Self) -> Self {
                // SAFETY: runs only below a function with AVX-512, as `Vector` demands.
                Self(unsafe { $instruction(self.0, right.0) })
            }
        }
    };
}
operator!(Add, add, _mm512_add_ps);
operator!(Sub, sub, _mm512_sub_ps);
operator!(Mul, mul, _mm512_mul_ps);
operator!(Div, div, _mm512_div_ps);

/// The lanes that a slice shorter than a vector fills.
#[inline(always)]
fn lanes(len: usize) -> __mmask16 {
    if len >= 16 { 0xffff } else { (1 << len) - 1 }
}

// SAFETY of every block below: the instructions run only below a function with AVX-512, as `Vector` demands; loads
// and stores stay inside the slice that was cut or masked to its length on the same line.
impl Vector for F32x16 {
    const LANES: usize = 16;
    // Beyond what is left of 1 in either direction.
    const POWERS: [f32; 2] = [-160.0, 130.0];

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_loadu_ps(from[..16].as_ptr()) })
    }
    #[inline(always)]
    fn load_part(from: &[f32]) -> Self {
        if from.len() >= Self::LANES {
            return Self::load(from);
        }
        // SAFETY: see above.
        Self(unsafe { _mm512_maskz_loadu_ps(lanes(from.len()), from.as_ptr()) })
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to[..16].as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn store_part(self, to: &mut [f32]) {
        if to.len() >= Self::LANES {
            return self.store(to);
        }
        // SAFETY: see above.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), lanes(to.len()), self.0) }
    }
    #[inline(always)]
    unsafe fn load_ptr(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFETY: a hint, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn neg_mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_fnmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn max(self, right: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_max_ps(self.0, right.0) })
    }
    #[inline(always)]
    fn larger(self, right: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(right.0, right.0);
            _mm512_mask_mov_ps(_mm512_max_ps(right.0, self.0), is_nan, right.0)
        })
    }
    #[inline(always)]
    fn min(self, right: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_min_ps(self.0, right.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_abs_ps(self.0) })
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        // 0xd8 takes the second operand where the mask (third) is set, else the first.
        // SAFETY: see above.
        Self(unsafe {
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xd8>(
                _mm512_castps_si512(self.0),
                _mm512_castps_si512(sign.0),
                _mm512_set1_epi32(i32::MIN),
            ))
        })
    }
    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_roundscale_ps::<0x08>(self.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn scale(self, power: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_scalef_ps(self.0, power.0) })
    }
    #[inline(always)]
    fn scale_and_add(self, power: Self, addend: Self) -> Self {
        self.scale(power) + addend
    }
    #[inline(always)]
    fn in_step(four: [Self; 4]) -> [Self; 4] {
        // SAFETY: see above.
        unsafe { in_step(four) }
    }
    #[inline(always)]
    fn if_less(self, limit: Self, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, limit.0);
            _mm512_mask_blend_ps(less, no.0, yes.0)
        })
    }
    #[inline(always)]
    fn interleave(self, right: Self) -> [Self; 2] {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            [low, high].map(|places| Self(_mm512_permutex2var_ps(self.0, places, right.0)))
        }
    }
    #[inline(always)]
    fn deinterleave(self, right: Self) -> [Self; 2] {
        // SAFETY: see above.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            [even, odd].map(|places| Self(_mm512_permutex2var_ps(self.0, places, right.0)))
        }
    }
    #[inline(always)]
    fn permute(self, places: &[i32]) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let places = _mm512_loadu_si512(places[..16].as_ptr().cast());
            _mm512_permutexvar_ps(places, self.0)
        })
    }
    #[inline(always)]
    fn look_up(self, table: &[f32; 8]) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let places = _mm512_castps_si512(self.0);
            let table = _mm512_broadcast_f32x8(_mm256_loadu_ps(table.as_ptr()));
            _mm512_permutexvar_ps(places, table)
        })
    }
    const LOOKS_UP_LONG: bool = true;
    #[inline(always)]
    fn look_up_long(self, table: &[f32; 32]) -> Self {
        let (low, high) = table.split_at(16);
        // SAFETY: see above.
        Self(unsafe {
            let [low, high] = [low, high].map(|half| _mm512_loadu_ps(half.as_ptr()));
            _mm512_permutex2var_ps(low, _mm512_castps_si512(self.0), high)
        })
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_max_ps(self.0) }
    }
    #[inline(always)]
    fn higher(self, right: Self) -> Self {
        // Numbers without a sign come in the order of their bits, and behind those with one where bits are signed.
        // SAFETY: see above.
        Self(unsafe {
            let (left, right) = (_mm512_castps_si512(self.0), _mm512_castps_si512(right.0));
            _mm512_castsi512_ps(_mm512_max_epi32(left, right))
        })
    }
    #[inline(always)]
    fn lower(self, right: Self) -> Self {
        // Where bits are not signed, numbers with a sign come last, the lowest behind them all.
        // SAFETY: see above.
        Self(unsafe {
            let (left, right) = (_mm512_castps_si512(self.0), _mm512_castps_si512(right.0));
            _mm512_castsi512_ps(_mm512_max_epu32(left, right))
        })
    }
    #[inline(always)]
    fn larger_size(self, right: Self) -> Self {
        // Numbers without their sign come in the order of their bits, and NaN lies above infinity.
        // SAFETY: see above.
        Self(unsafe {
            let right = _mm512_castps_si512(_mm512_abs_ps(right.0));
            let size = _mm512_castps_si512(_mm512_abs_ps(self.0));
            _mm512_castsi512_ps(_mm512_max_epu32(size, right))
        })
    }
    #[inline(always)]
    fn largest_size(self) -> f32 {
        // SAFETY: see above.
        f32::from_bits(unsafe { _mm512_reduce_max_epu32(_mm512_castps_si512(self.0)) })
    }
    #[inline(always)]
    fn store_bytes(self, to: &mut [u8]) {
        // SAFETY: see above.
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0));
            let bytes = _mm_xor_si128(bytes, _mm_set1_epi8(i8::MIN));
            match to.len() {
                16.. => _mm_storeu_si128(to.as_mut_ptr().cast(), bytes),
                _ => _mm_mask_storeu_epi8(to.as_mut_ptr().cast(), lanes(to.len()), bytes),
            }
        }
    }
    #[inline(always)]
    fn store_bytes_four(four: [Self; 4], to: &mut [u8]) {
        // Packing works in quarters of a register; the permutation brings the sixteen groups of four bytes into order.
        // SAFETY: see above.
        unsafe {
            let [a, b, c, d] = four.map(|x| _mm512_cvtps_epi32(x.0));
            let packed = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, packed);
            let bytes = _mm512_xor_si512(bytes, _mm512_set1_epi8(i8::MIN));
            _mm512_storeu_si512(to[..64].as_mut_ptr().cast(), bytes);
        }
    }
    #[inline(always)]
    fn load_bytes(from: &[u8]) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let bytes = match from.len() {
                16.. => _mm_loadu_si128(from.as_ptr().cast()),
                len => _mm_maskz_loadu_epi8(lanes(len), from.as_ptr().cast()),
            };
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
        })
    }
    #[inline(always)]
    fn store_unsigned(self, to: &mut [u8]) {
        // SAFETY: see above.
        unsafe {
            let whole = _mm512_max_epi32(self.up_to_255(), _mm512_setzero_si512());
            let bytes = _mm512_cvtepi32_epi8(whole);
            match to.len() {
                16.. => _mm_storeu_si128(to.as_mut_ptr().cast(), bytes),
                _ => _mm_mask_storeu_epi8(to.as_mut_ptr().cast(), lanes(to.len()), bytes),
            }
        }
    }
    #[inline(always)]
    fn store_unsigned_four(four: [Self; 4], to: &mut [u8]) {
        let [a, b, c, d] = four;
        // Packing works in quarters of a register; the permutation brings the sixteen groups of four bytes into order. Packing makes
        // negative ones 0.
        // SAFETY: see above.
        unsafe {
            let low = _mm512_packus_epi32(a.up_to_255(), b.up_to_255());
            let high = _mm512_packus_epi32(c.up_to_255(), d.up_to_255());
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
            _mm512_storeu_si512(to[..64].as_mut_ptr().cast(), bytes);
        }
    }
}

impl F32x16 {
    /// The nearest whole numbers up to 255, ties to even; NaN becomes negative.
    #[inline(always)]
    fn up_to_255(self) -> __m512i {
        let places = Self::splat(255.0).min(self);
        // SAFETY: runs only below a function with AVX-512, as `Vector` demands.
        unsafe { _mm512_cvtps_epi32(places.0) }
    }
}

in_step!(F32x16, zmm_reg, "avx512f");
