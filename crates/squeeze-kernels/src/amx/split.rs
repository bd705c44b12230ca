//! From single precision to what tiles are made of: parts in bfloat16, or halves.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::half;
use crate::Tier;
use crate::vector::per_tier;

/// The nearest bfloat16, half to even, as a number and as its bits. A number beyond the largest becomes infinite.
#[inline(always)]
pub(super) fn nearest(x: f32) -> (f32, u16) {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // A NaN's bits must not run over into those of a number.
    let bits = if x.is_nan() { bits | 1 << 22 } else { rounded };
    (f32::from_bits(bits & 0xffff_0000), (bits >> 16) as u16)
}

/// Rows to split into parts in bfloat16, and where the parts go.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    /// From one row to the next.
    pub lda: usize,
    pub groups: usize,
    /// Numbers of a group, and the lines that hold them with zeros behind.
    pub k: usize,
    pub lines: usize,
    /// Bytes from one row of a part to the next, and from one part to the next.
    pub pixel: usize,
    pub plane: usize,
    pub parts: usize,
}

impl Rows {
    /// Splits `count` rows.
    ///
    /// # Safety
    /// `to` is valid for writing `count` rows of all parts, and nobody else uses them.
    pub unsafe fn split(&self, tier: Tier, x: &[f32], count: usize, to: *mut u8) {
        if count == 0 {
            return;
        }
        assert!(x.len() >= (count - 1) * self.lda + self.groups * self.k);
        #[cfg(target_arch = "x86_64")]
        if super::Kernel::of(tier, super::Element::Bf16).tier >= Tier::Avx512 {
            let split = match self.parts {
                1 => split_rows::<1>,
                2 => split_rows::<2>,
                _ => split_rows::<3>,
            };
            // SAFETY: a machine that runs such a kernel has bfloat16; the caller's promise.
            return unsafe { split(self, x, count, to) };
        }
        for row in 0..count {
            for group in 0..self.groups {
                let x = &x[row * self.lda + group * self.k..][..self.k];
                let to = to.wrapping_add(row * self.pixel + group * self.lines * 64);
                for at in 0..self.lines * 32 {
                    let mut rest = x.get(at).copied().unwrap_or(0.0);
                    for part in 0..self.parts {
                        let (near, bits) = nearest(rest);
                        let to = to.wrapping_add(part * self.plane).cast::<u16>();
                        // SAFETY: the caller's promise.
                        unsafe { to.wrapping_add(at).write_unaligned(bits) };
                        rest -= near;
                    }
                }
            }
        }
    }
}

/// A line of two registers of numbers as bfloat16, and what is left of the numbers.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(crate) fn part([a, b]: &mut [__m512; 2]) -> __m512i {
    // SAFETY: both are 512 bits of any value.
    let bits: __m512i = unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(*b, *a)) };
    *a = _mm512_sub_ps(*a, wide(_mm512_castsi512_si256(bits)));
    *b = _mm512_sub_ps(*b, wide(_mm512_extracti64x4_epi64::<1>(bits)));
    bits
}

/// bfloat16 as numbers.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(crate) fn wide(bits: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
}

/// The first `count` numbers of a row from `at` on, as two registers with zeros behind.
///
/// # Safety
/// `from` is valid for reading `count` numbers.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) unsafe fn load(from: *const f32, count: usize) -> [__m512; 2] {
    let mask = |count: usize| {
        if count >= 16 {
            0xffff
        } else {
            (1 << count) - 1
        }
    };
    // SAFETY: the masks hide what lies behind.
    unsafe {
        [
            _mm512_maskz_loadu_ps(mask(count), from),
            _mm512_maskz_loadu_ps(mask(count.saturating_sub(16)), from.wrapping_add(16)),
        ]
    }
}

/// # Safety
/// As for [`Rows::split`], and the CPU has the features.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn split_rows<const PARTS: usize>(r: &Rows, x: &[f32], count: usize, to: *mut u8) {
    for row in 0..count {
        for group in 0..r.groups {
            let x = x[row * r.lda + group * r.k..][..r.k].as_ptr();
            let to = to.wrapping_add(row * r.pixel + group * r.lines * 64);
            for line in 0..r.lines {
                // SAFETY: the row has so many numbers left.
                let mut numbers = unsafe { load(x.wrapping_add(32 * line), r.k - 32 * line) };
                for index in 0..PARTS {
                    let to = to.wrapping_add(index * r.plane + 64 * line);
                    // SAFETY: the caller's promise.
                    unsafe { _mm512_storeu_si512(to.cast(), part(&mut numbers)) };
                }
            }
        }
    }
}

/// Below it a scale counts as zero: one over it must be finite.
const LEAST: f32 = 1e-32;

/// One over a scale.
pub(super) fn factor(scale: f32) -> f32 {
    if scale < LEAST { 0.0 } else { 1.0 / scale }
}

/// The numbers times `factor` as halves, and zeros up to the end of `to`, whole lines of 64 bytes.
///
/// # Panics
/// If `to` has no room for them.
pub(super) fn halves(tier: Tier, x: &[f32], factor: f32, to: &mut [u8]) {
    assert!(2 * x.len() <= to.len() && to.len().is_multiple_of(64));
    #[cfg(target_arch = "x86_64")]
    if tier.min(Tier::detect()) >= Tier::Avx512 {
        // SAFETY: the machine has the tier.
        return unsafe { wide_halves(x, factor, to) };
    }
    for (at, to) in to.as_chunks_mut().0.iter_mut().enumerate() {
        let x = x.get(at).map_or(0.0, |x| x * factor);
        *to = half::nearest(x).to_le_bytes();
    }
}

/// The same, a line at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn wide_halves(x: &[f32], factor: f32, to: &mut [u8]) {
    let factor = _mm512_set1_ps(factor);
    for (line, to) in to.chunks_exact_mut(64).enumerate() {
        let first = (32 * line).min(x.len());
        // SAFETY: so many numbers are left, and the line holds 32 halves.
        unsafe {
            let both = load(x[first..].as_ptr(), x.len() - first);
            let [a, b] = both.map(|x| _mm512_cvtps_ph::<0>(_mm512_mul_ps(x, factor)));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), a);
            _mm256_storeu_si256(to.as_mut_ptr().add(32).cast(), b);
        }
    }
}

per_tier! {
    /// The largest magnitude; NaN where there is one.
    pub(super) fn largest(x: &[f32]) -> f32
    { compiled: magnitude }
}

#[inline(always)]
fn magnitude(x: &[f32]) -> f32 {
    let size = |x: &f32| x.to_bits() & 0x7fff_ffff;
    f32::from_bits(x.iter().fold(0, |most, x| most.max(size(x))))
}
