//! Bytes times a number for each channel of an image: what is behind squeeze and excite.
//!
//! Whole numbers of 16 bits only: channels have weights of 15 bits, products keep the seven bits behind the byte, fewer where gates and
//! scales make bytes larger. A place between two bytes is met within a 64th where no byte becomes more than twice as large.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::{Gate, each_rows};
use crate::{Cpu, Quantization, Tier};

/// `y = x * gate` as [`super::gate`], where `x` and `y` are bytes. A gate that is not a number counts as zero; bytes become at most 64
/// times as large.
///
/// # Panics
/// When the lengths do not fit.
pub fn gate_bytes(
    cpu: Cpu,
    shape: Gate,
    x: (&[u8], Quantization),
    gate: &[f32],
    y: (&mut [u8], Quantization),
) {
    let Gate { rows, c } = shape;
    assert_eq!(x.0.len(), y.0.len());
    assert_eq!(x.0.len(), gate.len() * rows);
    let scaling = Scaling::of(x.1, gate, y.1);
    each_rows(cpu, c, y.0, |range, y| {
        let x = &x.0[range.start * c..range.end * c];
        let mut from = range.start;
        while from < range.end {
            let image = from / rows;
            let to = range.end.min((image + 1) * rows);
            let part = (from - range.start) * c..(to - range.start) * c;
            let gate = &gate[image * c..][..c];
            image_scale(cpu.tier, &scaling, gate, &x[part.clone()], &mut y[part]);
            from = to;
        }
    });
}

/// `y = (((x - from) 2^7 weight) / 2^15 + offset) >> bits`, the quotient rounded: half a byte is in the offset.
struct Scaling {
    from: i16,
    /// What a gate is multiplied by to become a weight.
    unit: f32,
    offset: i16,
    /// How many bits behind the byte are kept.
    bits: u32,
}

impl Scaling {
    fn of(x: Quantization, gate: &[f32], y: Quantization) -> Self {
        let ratio = (x.scale / y.scale).min(f32::MAX);
        let largest = gate
            .iter()
            .fold(0.0, |largest: f32, gate| largest.max((gate * ratio).abs()));
        let weight = |bits: u32| f32::from(1u16 << (8 + bits));
        let fits = |bits: &u32| (largest * weight(*bits)).round() <= f32::from(i16::MAX);
        let bits = (1..=7).rev().find(fits).unwrap_or(1);
        Self {
            from: i16::from(x.zero),
            unit: (ratio * weight(bits)).min(f32::MAX),
            offset: (i16::from(y.zero) << bits) + (1 << (bits - 1)),
            bits,
        }
    }
}

/// Weights that are kept at a time.
const WEIGHTS: usize = 2048;

/// Whole rows of one image. As many rows as the weights reach for are taken for one; of wider rows parts.
fn image_scale(tier: Tier, scaling: &Scaling, gate: &[f32], x: &[u8], y: &mut [u8]) {
    let c = gate.len();
    let mut weights = [0; WEIGHTS];
    for first in (0..c).step_by(WEIGHTS) {
        let gate = &gate[first..c.min(first + WEIGHTS)];
        let (row, wide) = match c {
            ..=WEIGHTS => (WEIGHTS / c * c, WEIGHTS / c * c),
            _ => (c, gate.len()),
        };
        for weights in weights[..wide.min(x.len())].chunks_mut(gate.len()) {
            for (weight, gate) in weights.iter_mut().zip(gate) {
                *weight = (gate * scaling.unit).round_ties_even() as i16;
            }
        }
        for (x, y) in x.chunks(row).zip(y.chunks_mut(row)) {
            let part = first..x.len().min(first + wide);
            slice_scale(
                tier,
                scaling,
                &weights[..part.len()],
                &x[part.clone()],
                &mut y[part],
            );
        }
    }
}

fn slice_scale(tier: Tier, scaling: &Scaling, weights: &[i16], x: &[u8], y: &mut [u8]) {
    assert!(weights.len() == y.len() && x.len() == y.len());
    #[cfg(target_arch = "x86_64")]
    match tier.min(Tier::detect()) {
        Tier::Scalar => scalar(scaling, weights, x, y),
        // SAFETY: the machine has this tier.
        Tier::Avx2 => unsafe { avx2(scaling, weights, x, y) },
        // SAFETY: the machine has this tier.
        Tier::Avx512 | Tier::Amx => unsafe { avx512(scaling, weights, x, y) },
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = tier;
        scalar(scaling, weights, x, y);
    }
}

fn scalar(scaling: &Scaling, weights: &[i16], x: &[u8], y: &mut [u8]) {
    for ((y, x), weight) in y.iter_mut().zip(x).zip(weights) {
        let number = i32::from(i16::from(*x) - scaling.from) << 7;
        let product = (number * i32::from(*weight) + (1 << 14)) >> 15;
        let place = (product as i16).saturating_add(scaling.offset) >> scaling.bits;
        *y = place.clamp(0, 255) as u8;
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(scaling: &Scaling, weights: &[i16], x: &[u8], y: &mut [u8]) {
    let (from, offset) = (
        _mm256_set1_epi16(scaling.from),
        _mm256_set1_epi16(scaling.offset),
    );
    let bits = _mm_cvtsi32_si128(scaling.bits.cast_signed());
    let (weights, weights_rest) = weights.as_chunks::<32>();
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<32>(), y.as_chunks_mut::<32>());
    for ((y, x), weights) in y.iter_mut().zip(x).zip(weights) {
        let mut words = [_mm256_setzero_si256(); 2];
        for (half, word) in words.iter_mut().enumerate() {
            // SAFETY: the halves of 32 bytes and 32 words.
            let (x, weights) = unsafe {
                let weights = _mm256_loadu_si256(weights[half * 16..].as_ptr().cast());
                (_mm_loadu_si128(x[half * 16..].as_ptr().cast()), weights)
            };
            let number = _mm256_slli_epi16::<7>(_mm256_sub_epi16(_mm256_cvtepu8_epi16(x), from));
            let place = _mm256_adds_epi16(_mm256_mulhrs_epi16(number, weights), offset);
            *word = _mm256_sra_epi16(place, bits);
        }
        // Packing works in halves of a register.
        let bytes =
            _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(words[0], words[1]));
        // SAFETY: 32 bytes.
        unsafe { _mm256_storeu_si256(y.as_mut_ptr().cast(), bytes) };
    }
    scalar(scaling, weights_rest, x_rest, y_rest);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx2")]
fn avx512(scaling: &Scaling, weights: &[i16], x: &[u8], y: &mut [u8]) {
    let (from, offset) = (
        _mm512_set1_epi16(scaling.from),
        _mm512_set1_epi16(scaling.offset),
    );
    let bits = _mm_cvtsi32_si128(scaling.bits.cast_signed());
    let order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    let (weights, weights_rest) = weights.as_chunks::<64>();
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<64>(), y.as_chunks_mut::<64>());
    for ((y, x), weights) in y.iter_mut().zip(x).zip(weights) {
        let mut words = [_mm512_setzero_si512(); 2];
        for (half, word) in words.iter_mut().enumerate() {
            // SAFETY: the halves of 64 bytes and 64 words.
            let (x, weights) = unsafe {
                let weights = _mm512_loadu_si512(weights[half * 32..].as_ptr().cast());
                (_mm256_loadu_si256(x[half * 32..].as_ptr().cast()), weights)
            };
            let number = _mm512_slli_epi16::<7>(_mm512_sub_epi16(_mm512_cvtepu8_epi16(x), from));
            let place = _mm512_adds_epi16(_mm512_mulhrs_epi16(number, weights), offset);
            *word = _mm512_sra_epi16(place, bits);
        }
        // Packing works in quarters of a register.
        let bytes = _mm512_permutexvar_epi64(order, _mm512_packus_epi16(words[0], words[1]));
        // SAFETY: 64 bytes.
        unsafe { _mm512_storeu_si512(y.as_mut_ptr().cast(), bytes) };
    }
    scalar(scaling, weights_rest, x_rest, y_rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Threads;

    /// Gates that reach `most` between two quantizations, at every tier, against numbers.
    #[track_caller]
    fn check(shape: Gate, images: usize, most: f32, [from, to]: [Quantization; 2]) {
        let Gate { rows, c } = shape;
        let gate: Vec<f32> = (0..images * c)
            .map(|i| (i as f32 * 0.7).sin() * most)
            .collect();
        let x: Vec<u8> = (0..images * rows * c)
            .map(|i| (i * 7 + i / 256) as u8)
            .collect();
        let scaling = Scaling::of(from, &gate, to);
        // Half a byte, half of the last bit that is kept, half a unit of the weight; the factor itself is rounded three times.
        let kept = f64::from(1u32 << scaling.bits);
        let bound = 0.5 + 0.5 / kept + 0.5 * 255.0 / 256.0 / kept + 1e-4;
        let mut first = None;
        for threads in [1, 3] {
            let threads = Threads::new(threads);
            for tier in Tier::here() {
                let cpu = Cpu {
                    tier,
                    threads: &threads,
                };
                // Bytes behind the end must stay as they are.
                let mut y = vec![77; x.len() + 70];
                gate_bytes(cpu, shape, (&x, from), &gate, (&mut y[..x.len()], to));
                for (i, (&y, &x)) in y.iter().zip(&x).enumerate() {
                    let number = f64::from(from.scale) * (f64::from(x) - f64::from(from.zero));
                    let product = number * f64::from(gate[i / (rows * c) * c + i % c]);
                    let place = product / f64::from(to.scale) + f64::from(to.zero);
                    let distance = (f64::from(y) - place.clamp(0.0, 255.0)).abs();
                    assert!(
                        distance <= bound,
                        "{tier} {shape:?}: {y} at {i} instead of {place}"
                    );
                    assert!(x != from.zero || y == to.zero);
                }
                assert!(y[x.len()..].iter().all(|&y| y == 77), "{tier} {shape:?}");
                assert_eq!(first.get_or_insert(y.clone()), &y, "{tier} {shape:?}");
            }
        }
    }

    #[test]
    fn every_width() {
        let sides = [Quantization::of(-0.3, 5.0), Quantization::of(-0.3, 4.0)];
        for c in [
            1, 3, 15, 16, 17, 31, 33, 63, 64, 65, 100, 129, 672, 1025, 2048, 2049, 4200,
        ] {
            check(Gate { rows: 7, c }, 3, 1.0, sides);
            check(Gate { rows: 1, c }, 2, 1.0, sides);
        }
        check(Gate { rows: 3000, c: 40 }, 2, 1.0, sides);
    }

    #[test]
    fn gates_of_every_size() {
        let (p, q) = (Quantization::of(-1.0, 2.0), Quantization::of(-2.0, 1.5));
        for most in [0.0, 1e-30, 1e-3, 0.5, 1.5, 3.0, 10.0, 40.0] {
            for sides in [[p, q], [q, p], [p, p]] {
                check(Gate { rows: 9, c: 70 }, 2, most, sides);
            }
        }
    }

    #[test]
    fn odd_gates_saturate() {
        let q = Quantization::of(-1.0, 1.0);
        let gate = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30].repeat(16);
        let x: Vec<u8> = [0, q.zero, 255].iter().flat_map(|&x| [x; 64]).collect();
        let low_and_high = [[q.zero, 0, 255, 0], [q.zero; 4], [q.zero, 255, 0, 255]];
        let want: Vec<u8> = low_and_high
            .iter()
            .flat_map(|four| four.repeat(16))
            .collect();
        for tier in Tier::here() {
            let threads = Threads::new(1);
            let cpu = Cpu {
                tier,
                threads: &threads,
            };
            let mut y = vec![77; x.len()];
            gate_bytes(cpu, Gate { rows: 3, c: 64 }, (&x, q), &gate, (&mut y, q));
            assert_eq!(y, want, "{tier}");
        }
    }
}
