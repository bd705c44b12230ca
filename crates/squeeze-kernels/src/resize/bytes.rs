//! Resizing of bytes that stand for numbers, without leaving their quantization: weights of pixels sum to one, so its scale and zero
//! change nothing.

use super::{Mode, Resize};
use crate::Cpu;
use crate::elementwise::each_rows;
use crate::vector::{Vector, each_vector, per_tier};

/// [`super::forward`] of bytes: the nearest byte, ties to even.
///
/// # Panics
/// When the lengths do not fit.
pub fn forward_bytes(cpu: Cpu, resize: &Resize, x: &[u8], y: &mut [u8]) {
    let Resize {
        n, h, w, c, out, ..
    } = *resize;
    assert_eq!(x.len(), n * h * w * c);
    assert_eq!(y.len(), n * out[0] * out[1] * c);
    each_rows(cpu, out[1] * c, y, |rows, y| {
        for (row, y) in rows.zip(y.chunks_exact_mut(out[1] * c)) {
            let down = resize.mode.place(row % out[0], h, out[0]);
            let line = |line: usize| &x[(row / out[0] * h + line) * w * c..][..w * c];
            let lines = [line(down.low), line(down.high)];
            row_forward(cpu.tier, resize, down.share, lines, y);
        }
    });
}

per_tier! {
    /// A row of the output from the two lines of the input that it lies between; `share` is that of the second.
    fn row_forward(resize: &Resize, share: f32, lines: [&[u8]; 2], y: &mut [u8])
    { scalar: scalar_row, vector: vector_row }
}

fn scalar_row(resize: &Resize, share: f32, lines: [&[u8]; 2], y: &mut [u8]) {
    let c = resize.c;
    for (column, y) in y.chunks_exact_mut(c).enumerate() {
        let (pixels, weights) = corners(resize, share, lines, column);
        for (i, y) in y.iter_mut().enumerate() {
            let number = |corner: usize| f32::from(pixels[corner][i]);
            let first = number(0) * weights[0];
            let blend = (1..4).fold(first, |sum, corner| {
                number(corner).mul_add(weights[corner], sum)
            });
            *y = blend.round_ties_even() as u8;
        }
    }
}

#[inline(always)]
fn vector_row<V: Vector>(resize: &Resize, share: f32, lines: [&[u8]; 2], y: &mut [u8]) {
    let c = resize.c;
    for (column, y) in y.chunks_exact_mut(c).enumerate() {
        let ([a, b, d, e], weights) = corners(resize, share, lines, column);
        if resize.mode == Mode::Nearest {
            y.copy_from_slice(a);
            continue;
        }
        let [p, q] = [V::splat(weights[0]), V::splat(weights[1])];
        let [r, s] = [V::splat(weights[2]), V::splat(weights[3])];
        each_vector!(V, y, |range| {
            let first = V::load_bytes(&a[range.clone()]) * p;
            let second = V::load_bytes(&b[range.clone()]).mul_add(q, first);
            let third = V::load_bytes(&d[range.clone()]).mul_add(r, second);
            V::load_bytes(&e[range]).mul_add(s, third)
        });
    }
}

/// The channels of the four pixels that an output pixel lies between, and their weights.
#[inline(always)]
fn corners<'x>(
    resize: &Resize,
    share: f32,
    [upper, lower]: [&'x [u8]; 2],
    column: usize,
) -> ([&'x [u8]; 4], [f32; 4]) {
    let (c, across) = (resize.c, resize.mode.place(column, resize.w, resize.out[1]));
    let [left, right] = [across.low * c, across.high * c];
    let pixels = [
        &upper[left..][..c],
        &upper[right..][..c],
        &lower[left..][..c],
        &lower[right..][..c],
    ];
    let [before, above] = [1.0 - across.share, 1.0 - share];
    let weights = [
        above * before,
        above * across.share,
        share * before,
        share * across.share,
    ];
    (pixels, weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Threads, Tier};

    #[track_caller]
    fn check(resize: Resize) {
        let Resize {
            n, h, w, c, out, ..
        } = resize;
        let x: Vec<u8> = (0..n * h * w * c)
            .map(|i| ((i * 0x9e37_79b1) >> 13) as u8)
            .collect();
        let numbers: Vec<f32> = x.iter().map(|&x| f32::from(x)).collect();
        let mut want = vec![f32::NAN; n * out[0] * out[1] * c];
        super::super::scalar::forward(&resize, 0, &numbers, &mut want);
        let mut first = None;
        for threads in [1, 3] {
            let threads = Threads::new(threads);
            for tier in Tier::here() {
                let cpu = Cpu {
                    tier,
                    threads: &threads,
                };
                let mut y = vec![77; want.len()];
                forward_bytes(cpu, &resize, &x, &mut y);
                for (i, (&y, want)) in y.iter().zip(&want).enumerate() {
                    // Eight roundings of numbers up to 256.
                    let bound = 0.5 + 8.0 * 256.0 * f32::EPSILON / 2.0;
                    assert!(
                        (f32::from(y) - want).abs() <= bound,
                        "{tier} {resize:?} {i}"
                    );
                }
                assert_eq!(first.get_or_insert(y.clone()), &y, "{tier} {resize:?}");
                if [h, w] == out {
                    assert_eq!(x, y);
                }
            }
        }
    }

    #[test]
    fn every_mode_and_width() {
        for mode in [Mode::Nearest, Mode::Bilinear, Mode::BilinearCorners] {
            for c in [1, 3, 15, 16, 17, 32, 63, 64, 65, 100, 129] {
                for (h, w, out) in [
                    (4, 5, [8, 10]),
                    (7, 6, [3, 4]),
                    (1, 1, [5, 3]),
                    (5, 5, [5, 5]),
                ] {
                    check(Resize {
                        n: 2,
                        h,
                        w,
                        c,
                        out,
                        mode,
                    });
                }
            }
            check(Resize {
                n: 1,
                h: 17,
                w: 16,
                c: 21,
                out: [65, 65],
                mode,
            });
        }
    }
}
