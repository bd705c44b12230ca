//! Sums of two images of bytes, clamped: what is behind a residual block.
//!
//! Whole numbers only: each side has a weight of 15 bits, the sum of both products is shifted. A place between two bytes is met within
//! `255 / 2^shift`, a 64th where a step of a side is at most one of the sum; zeros are exact.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::each_part;
use crate::activation::Activation;
use crate::{Cpu, Quantization, Tier};

/// `y = activation(a + b)`, each side in its own quantization.
///
/// A step of one side counts as at most 32767 steps of the sum.
///
/// # Panics
/// When the lengths differ, or the activation does more than clamp: it is identity, relu or relu6.
pub fn add_bytes(
    cpu: Cpu,
    a: (&[u8], Quantization),
    b: (&[u8], Quantization),
    activation: Activation,
    y: (&mut [u8], Quantization),
) {
    assert_eq!(a.0.len(), y.0.len());
    assert_eq!(b.0.len(), y.0.len());
    let sum = Sum::of([a.1, b.1], activation, y.1);
    each_part(cpu, y.0, |range, y| {
        slice_add(cpu.tier, &sum, &a.0[range.clone()], &b.0[range], y);
    });
}

/// `y = clamp((a weights[0] + b weights[1] + offset) >> shift)`: zeros and half a byte are in the offset.
struct Sum {
    weights: [i16; 2],
    offset: i32,
    shift: u32,
    low: u8,
    high: u8,
}

impl Sum {
    fn of(sides: [Quantization; 2], activation: Activation, y: Quantization) -> Self {
        let Some((low, high)) = activation.limits() else {
            panic!("{activation:?} is not a clamp");
        };
        let [low, high] = [low, high].map(|bound| y.byte(bound));
        let steps = sides.map(|side| f64::from(side.scale) / f64::from(y.scale));
        let weight = |step: f64, shift: u32| (step * f64::from(1 << shift)).round();
        let largest = f64::from(i16::MAX);
        // With 22 bits the zero of `y` fits the sum.
        let fits = |shift: &u32| steps.iter().all(|&step| weight(step, *shift) <= largest);
        let shift = (0..=22).rev().find(fits).unwrap_or(0);
        let weights = steps.map(|step| weight(step, shift).min(largest) as i16);
        let half = (1 << shift) >> 1;
        let zeros = |side: usize| i32::from(sides[side].zero) * i32::from(weights[side]);
        Self {
            weights,
            offset: (i32::from(y.zero) << shift) + half - zeros(0) - zeros(1),
            shift,
            low,
            high,
        }
    }
}

/// [`add_bytes`] on one thread.
fn slice_add(tier: Tier, sum: &Sum, a: &[u8], b: &[u8], y: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    match tier.min(Tier::detect()) {
        Tier::Scalar => scalar(sum, a, b, y),
        // SAFETY: the machine has this tier.
        Tier::Avx2 => unsafe { avx2(sum, a, b, y) },
        // SAFETY: the machine has this tier.
        Tier::Avx512 | Tier::Amx => unsafe { avx512(sum, a, b, y) },
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = tier;
        scalar(sum, a, b, y);
    }
}

fn scalar(sum: &Sum, a: &[u8], b: &[u8], y: &mut [u8]) {
    let [p, q] = sum.weights.map(i32::from);
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        let place = (i32::from(*a) * p + i32::from(*b) * q + sum.offset) >> sum.shift;
        *y = (place.clamp(0, 255) as u8).clamp(sum.low, sum.high);
    }
}

/// Both weights as one word, for products of pairs.
#[cfg(target_arch = "x86_64")]
fn pair([p, q]: [i16; 2]) -> i32 {
    i32::from(q) << 16 | i32::from(p) & 0xffff
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(sum: &Sum, a: &[u8], b: &[u8], y: &mut [u8]) {
    let (weights, offset) = (
        _mm256_set1_epi32(pair(sum.weights)),
        _mm256_set1_epi32(sum.offset),
    );
    let shift = _mm_cvtsi32_si128(sum.shift.cast_signed());
    let [low, high] = [sum.low, sum.high].map(|limit| _mm256_set1_epi8(limit.cast_signed()));
    let (y, y_rest) = y.as_chunks_mut::<32>();
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        // SAFETY: 32 bytes each.
        let (a, b) = unsafe {
            (
                _mm256_loadu_si256(a.as_ptr().cast()),
                _mm256_loadu_si256(b.as_ptr().cast()),
            )
        };
        let zero = _mm256_setzero_si256();
        let [low_pairs, high_pairs] = [_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)];
        let mut words = [
            _mm256_unpacklo_epi8(low_pairs, zero),
            _mm256_unpackhi_epi8(low_pairs, zero),
            _mm256_unpacklo_epi8(high_pairs, zero),
            _mm256_unpackhi_epi8(high_pairs, zero),
        ];
        for word in &mut words {
            let sums = _mm256_add_epi32(_mm256_madd_epi16(*word, weights), offset);
            *word = _mm256_sra_epi32(sums, shift);
        }
        let first = _mm256_packs_epi32(words[0], words[1]);
        let second = _mm256_packs_epi32(words[2], words[3]);
        let bytes = _mm256_packus_epi16(first, second);
        let bytes = _mm256_min_epu8(_mm256_max_epu8(bytes, low), high);
        // SAFETY: 32 bytes.
        unsafe { _mm256_storeu_si256(y.as_mut_ptr().cast(), bytes) };
    }
    scalar(sum, a_rest, b_rest, y_rest);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn avx512(sum: &Sum, a: &[u8], b: &[u8], y: &mut [u8]) {
    let (weights, offset) = (
        _mm512_set1_epi32(pair(sum.weights)),
        _mm512_set1_epi32(sum.offset),
    );
    let shift = _mm_cvtsi32_si128(sum.shift.cast_signed());
    let [low, high] = [sum.low, sum.high].map(|limit| _mm512_set1_epi8(limit.cast_signed()));
    let (y, y_rest) = y.as_chunks_mut::<64>();
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<64>(), b.as_chunks::<64>());
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        // SAFETY: 64 bytes each.
        let (a, b) = unsafe {
            (
                _mm512_loadu_si512(a.as_ptr().cast()),
                _mm512_loadu_si512(b.as_ptr().cast()),
            )
        };
        let zero = _mm512_setzero_si512();
        let [low_pairs, high_pairs] = [_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b)];
        let mut words = [
            _mm512_unpacklo_epi8(low_pairs, zero),
            _mm512_unpackhi_epi8(low_pairs, zero),
            _mm512_unpacklo_epi8(high_pairs, zero),
            _mm512_unpackhi_epi8(high_pairs, zero),
        ];
        for word in &mut words {
            let sums = _mm512_add_epi32(_mm512_madd_epi16(*word, weights), offset);
            *word = _mm512_sra_epi32(sums, shift);
        }
        let first = _mm512_packs_epi32(words[0], words[1]);
        let second = _mm512_packs_epi32(words[2], words[3]);
        let bytes = _mm512_packus_epi16(first, second);
        let bytes = _mm512_min_epu8(_mm512_max_epu8(bytes, low), high);
        // SAFETY: 64 bytes.
        unsafe { _mm512_storeu_si512(y.as_mut_ptr().cast(), bytes) };
    }
    scalar(sum, a_rest, b_rest, y_rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Threads;

    fn everywhere(mut work: impl FnMut(Cpu)) {
        for threads in [1, 3] {
            let threads = Threads::new(threads);
            for tier in Tier::here() {
                work(Cpu {
                    tier,
                    threads: &threads,
                });
            }
        }
    }

    const LENGTHS: [usize; 16] = [
        0,
        1,
        15,
        16,
        17,
        31,
        32,
        33,
        63,
        64,
        65,
        100,
        127,
        128,
        129,
        1 << 16,
    ];

    fn place(x: f64, q: Quantization) -> f64 {
        x / f64::from(q.scale) + f64::from(q.zero)
    }

    fn number(x: u8, q: Quantization) -> f64 {
        f64::from(q.scale) * (f64::from(x) - f64::from(q.zero))
    }

    /// All pairs of bytes at every tier against sums of numbers.
    #[track_caller]
    fn check(sides: [Quantization; 2], activation: Activation, limits: [f64; 2], y: Quantization) {
        let a: Vec<u8> = (0..1 << 16).map(|i| (i >> 8) as u8).collect();
        let b: Vec<u8> = (0..1 << 16).map(|i| i as u8).collect();
        let sum = Sum::of(sides, activation, y);
        let mut want = vec![0; a.len()];
        scalar(&sum, &a, &b, &mut want);
        // Half a byte, and half a unit of each weight.
        let bound = 0.5 + 255.0 / f64::from(1 << sum.shift);
        for i in 0..want.len() {
            let numbers = number(a[i], sides[0]) + number(b[i], sides[1]);
            let place = place(numbers, y).clamp(limits[0], limits[1]);
            let distance = (f64::from(want[i]) - place).abs();
            assert!(distance <= bound, "{} instead of {place}", want[i]);
        }
        let zeros = usize::from(sides[0].zero) << 8 | usize::from(sides[1].zero);
        assert_eq!(want[zeros], y.zero);
        everywhere(|cpu| {
            for len in LENGTHS {
                // Bytes behind the end must stay as they are.
                let mut found = vec![77; len + 70];
                let from = a.len() - len;
                let (a, b) = ((&a[from..], sides[0]), (&b[from..], sides[1]));
                add_bytes(cpu, a, b, activation, (&mut found[..len], y));
                assert!(found[..len] == want[from..], "{} {len}", cpu.tier);
                assert!(found[len..].iter().all(|&y| y == 77), "{} {len}", cpu.tier);
            }
        });
    }

    #[test]
    fn all_pairs() {
        let q = [(-1.0, 2.0), (0.0, 6.0), (-3.0, 0.0), (-0.3, 9.0)]
            .map(|(l, h)| Quantization::of(l, h));
        for [a, b, y] in [
            [0, 1, 3],
            [1, 1, 1],
            [2, 0, 0],
            [3, 2, 1],
            [0, 0, 3],
            [3, 3, 2],
        ] {
            let (sides, y) = ([q[a], q[b]], q[y]);
            check(sides, Activation::Identity, [0.0, 255.0], y);
            check(sides, Activation::Relu, [place(0.0, y), 255.0], y);
            let six = place(6.0, y).min(255.0);
            check(sides, Activation::Relu6, [place(0.0, y), six], y);
        }
    }

    #[test]
    fn distant_scales() {
        let (fine, coarse) = (Quantization::of(-1e-38, 0.0), Quantization::of(-1e38, 1e37));
        check([fine, fine], Activation::Identity, [0.0, 255.0], coarse);
        for sides in [[coarse, fine], [coarse, coarse]] {
            let sum = Sum::of(sides, Activation::Identity, fine);
            let mut y = [1];
            scalar(&sum, &[sides[0].zero], &[sides[1].zero], &mut y);
            assert_eq!(y, [fine.zero]);
        }
    }

    #[test]
    #[should_panic(expected = "Tanh is not a clamp")]
    fn other_activations() {
        let q = Quantization::of(-1.0, 2.0);
        everywhere(|cpu| add_bytes(cpu, (&[], q), (&[], q), Activation::Tanh, (&mut [], q)));
    }
}
