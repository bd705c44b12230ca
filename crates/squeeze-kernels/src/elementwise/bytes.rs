//! Elementwise work on bytes that stand for numbers: from and to numbers.
//!
//! Bytes become single precision, 16 or 8 in a register, and are rounded once at the end: every tier gives the same bytes.

use super::each_part;
use crate::vector::{Vector, each_vector, per_tier};
use crate::{Cpu, Quantization};

/// `y = byte(x)`: the nearest byte, ties to even; the byte of zero for NaN.
///
/// # Panics
/// When the lengths differ.
pub fn quantize(cpu: Cpu, q: Quantization, x: &[f32], y: &mut [u8]) {
    assert_eq!(x.len(), y.len());
    each_part(cpu, y, |range, y| slice_quantize(cpu.tier, q, &x[range], y));
}

/// `y = number(x)`.
///
/// # Panics
/// When the lengths differ.
pub fn dequantize(cpu: Cpu, q: Quantization, x: &[u8], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    each_part(cpu, y, |range, y| {
        slice_dequantize(cpu.tier, q, &x[range], y);
    });
}

per_tier! {
    /// [`quantize`] on one thread.
    fn slice_quantize(q: Quantization, x: &[f32], y: &mut [u8])
    { scalar: scalar_quantize, vector: vector_quantize }
}

per_tier! {
    /// [`dequantize`] on one thread.
    fn slice_dequantize(q: Quantization, x: &[u8], y: &mut [f32])
    { scalar: scalar_dequantize, vector: vector_dequantize }
}

fn scalar_quantize(q: Quantization, x: &[f32], y: &mut [u8]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = q.byte(*x);
    }
}

fn scalar_dequantize(q: Quantization, x: &[u8], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = q.number(*x);
    }
}

#[inline(always)]
fn vector_quantize<V: Vector>(q: Quantization, x: &[f32], y: &mut [u8]) {
    let (factor, to, zero) = (
        V::splat(1.0 / q.scale),
        V::splat(f32::from(q.zero)),
        V::splat(0.0),
    );
    each_vector!(V, y, |range| {
        let place = V::load_part(&x[range]) * factor;
        // The larger of NaN and zero is zero.
        place.if_less(zero, place, place.max(zero)) + to
    });
}

#[inline(always)]
fn vector_dequantize<V: Vector>(q: Quantization, x: &[u8], y: &mut [f32]) {
    let (scale, from) = (V::splat(q.scale), V::splat(f32::from(q.zero)));
    for (x, y) in x.chunks(V::LANES).zip(y.chunks_mut(V::LANES)) {
        ((V::load_bytes(x) - from) * scale).store_part(y);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Block, copy_block_bytes};
    use super::*;
    use crate::activation::{Activation, Table};
    use crate::{Threads, Tier};

    const LENGTHS: [usize; 16] = [
        0, 1, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 129, 200_003,
    ];

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

    fn sides() -> [Quantization; 4] {
        let span = |low, high| Quantization::of(low, high);
        [
            span(-1.0, 2.0),
            span(0.0, 6.0),
            span(-3.0, 0.0),
            span(-0.3, 5.0),
        ]
    }

    /// `byte` is next to `place`, up to four roundings of numbers below 2048.
    #[track_caller]
    fn next_to(byte: u8, place: f64) {
        let place = place.clamp(0.0, 255.0);
        let distance = (f64::from(byte) - place).abs();
        let bound = 0.5 + 4.0 * 2048.0 * f64::from(f32::EPSILON) / 2.0;
        assert!(distance <= bound, "{byte} instead of {place}");
    }

    fn place(x: f64, q: Quantization) -> f64 {
        x / f64::from(q.scale) + f64::from(q.zero)
    }

    fn number(x: u8, q: Quantization) -> f64 {
        f64::from(q.scale) * (f64::from(x) - f64::from(q.zero))
    }

    #[test]
    fn to_bytes_and_back() {
        let special = [
            f32::NAN,
            -f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN,
            0.0,
            -0.0,
            1e-40,
        ];
        // One byte apart, and halves between them: ties go to even.
        let steps = Quantization {
            scale: 0.25,
            zero: 3,
        };
        everywhere(|cpu| {
            for q in sides().into_iter().chain([steps]) {
                for len in LENGTHS {
                    let mut x: Vec<f32> =
                        (0..len).map(|i| (i % 601) as f32 * 0.125 - 7.0).collect();
                    for (at, &odd) in special.iter().enumerate().take(len) {
                        x[at * len / special.len()] = odd;
                    }
                    let mut y = vec![77; len + 70];
                    quantize(cpu, q, &x, &mut y[..len]);
                    assert!((0..len).all(|i| y[i] == q.byte(x[i])), "{q:?} {len}");
                    assert!(y[len..].iter().all(|&y| y == 77), "{} {len}", cpu.tier);
                    let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + i / 256) as u8).collect();
                    let mut y = vec![77.0; len + 70];
                    dequantize(cpu, q, &bytes, &mut y[..len]);
                    assert!((0..len).all(|i| y[i] == q.number(bytes[i])), "{q:?} {len}");
                    assert!(y[len..].iter().all(|&y| y == 77.0), "{} {len}", cpu.tier);
                }
            }
        });
        assert_eq!(
            [0.125, 0.375, 0.625, -0.125].map(|x| steps.byte(x)),
            [4, 4, 6, 2]
        );
    }

    #[test]
    fn another_quantization() {
        let x: Vec<u8> = (0..=255).collect();
        everywhere(|cpu| {
            for from in sides() {
                for to in sides() {
                    let mut y = vec![0; 256];
                    Table::of(Activation::Identity, from, to).apply(cpu, &x, &mut y);
                    for (x, y) in x.iter().zip(y) {
                        next_to(y, place(number(*x, from), to));
                        assert!(from != to || *x == y);
                    }
                }
            }
        });
    }

    #[test]
    fn copies() {
        let from: Vec<u8> = (0..60_000).map(|i| (i * 7 + i / 256) as u8).collect();
        everywhere(|cpu| {
            for columns in [1, 4, 16, 65] {
                let block = Block {
                    rows: 600,
                    columns,
                    from_stride: 99,
                    to_stride: columns + 3,
                };
                let mut to = vec![77; 600 * block.to_stride];
                copy_block_bytes(cpu, &block, &from[1..], &mut to[2..]);
                for (i, &y) in to.iter().enumerate() {
                    let (row, column) = (i / block.to_stride, i % block.to_stride);
                    let want = match (2..2 + columns).contains(&column) {
                        true => from[row * 99 + column - 1],
                        false => 77,
                    };
                    assert_eq!(y, want, "{row} {column}");
                }
            }
        });
    }
}
