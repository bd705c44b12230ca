//! Both sizes at every tier of this machine against the definition of the convolution.

use super::*;
use crate::activation::Activation;
use crate::conv_f32;
use crate::gemm_f32::Residual;
use crate::gemm_f32::Start;
use crate::gemm_f32::tests::{close, numbers};

/// Two images with padding that keeps their size.
pub(crate) fn same(h: usize, w: usize, c: usize, out: usize) -> Conv {
    Conv {
        n: 2,
        h,
        w,
        c,
        out,
        kernel: [3; 2],
        stride: [1; 2],
        dilation: [1; 2],
        padding: [1; 4],
        groups: 1,
    }
}

fn grouped(c: usize, out: usize, groups: usize) -> Conv {
    Conv {
        groups,
        ..same(9, 7, c, out)
    }
}

/// The bound is that of a sum of so many terms below 1, to which the transforms add what they multiply roundings by: an input is a sum
/// of numbers up to 5.4 for one axis, an output one up to 8.3, a weight up to 1.4 (of the 4 x 4 transform), and errors of both signs
/// add up as roots do: the root of 5.4^2 8.3^2 1.4^2 is 63.
#[track_caller]
fn near(got: &[f32], want: &[f32], conv: &Conv) {
    let terms = 9 * conv.c / conv.groups;
    close(got, want, terms + 63);
}

#[track_caller]
fn check(conv: Conv) {
    check_epilogue(conv, (Activation::Identity, Start::Zero), conv.out, |_| {
        None
    });
}

#[track_caller]
fn check_epilogue(
    conv: Conv,
    (activation, start): (Activation, Start),
    stride: usize,
    residual: impl Fn(&[f32]) -> Option<Residual<'_>>,
) {
    let (x, w) = (numbers(conv.input(), 1), numbers(conv.weight(), 2));
    let len = conv.output() / conv.out.max(1) * stride;
    let (bias, other) = (numbers(conv.out, 3), numbers(len, 4));
    let before = numbers(len, 5);
    let epilogue = Epilogue {
        start,
        bias: Some(&bias),
        activation,
        residual: residual(&other),
    };
    let mut want = before.clone();
    define(&conv, &x, &w, &epilogue, (&mut want, stride));
    for tier in Tier::here() {
        for size in Size::ALL {
            let packed = Packed::pack(&w, &conv, size, tier).with_stride(stride);
            let mut first = None;
            for count in [1, 2] {
                let threads = Threads::new(count);
                let mut got = before.clone();
                let mut scratch = vec![f32::NAN; packed.scratch(count)];
                packed.run(&x, &epilogue, &mut got, &mut scratch, &threads);
                near(&got, &want, &conv);
                let first = first.get_or_insert_with(|| got.clone());
                assert_eq!(*first, got, "the number of threads changes nothing");
            }
        }
    }
}

/// The definition for pixels that lie `stride` numbers apart.
fn define(
    conv: &Conv,
    x: &[f32],
    w: &[f32],
    epilogue: &Epilogue,
    (y, stride): (&mut [f32], usize),
) {
    let dense = |from: &[f32]| -> Vec<f32> {
        let pixels = from.chunks_exact(stride);
        pixels
            .flat_map(|pixel| pixel[..conv.out].to_vec())
            .collect()
    };
    let other = epilogue.residual.map(|residual| dense(residual.values));
    let residual = epilogue.residual.zip(other.as_ref());
    let residual = residual.map(|(residual, values)| Residual { values, ..residual });
    let mut sums = dense(y);
    let epilogue = Epilogue {
        residual,
        ..*epilogue
    };
    conv_f32::scalar::conv(conv, x, w, &epilogue, &mut sums);
    for (to, from) in y.chunks_exact_mut(stride).zip(sums.chunks_exact(conv.out)) {
        to[..conv.out].copy_from_slice(from);
    }
}

#[test]
fn sizes_around_a_tile() {
    for h in [1, 3, 4, 5, 9] {
        for w in [2, 4, 7, 8] {
            check(same(h, w, 5, 3));
        }
    }
}

#[test]
fn channels_around_a_register() {
    for (c, out) in [(1, 1), (8, 16), (15, 17), (16, 8), (17, 33), (40, 50)] {
        check(same(6, 6, c, out));
    }
}

#[test]
fn more_tiles_than_a_block() {
    check(same(37, 41, 16, 24));
    check(same(25, 26, 130, 140));
}

#[test]
fn longer_sums_than_a_block_of_k() {
    check(same(4, 5, 270, 20));
}

#[test]
fn groups() {
    check(grouped(8, 8, 4));
    check(grouped(32, 64, 2));
    check(grouped(40, 20, 10));
    check(grouped(6, 6, 6));
}

#[test]
fn paddings_of_four_kinds() {
    for padding in [[0; 4], [0, 1, 2, 3], [2; 4], [4, 5, 6, 3]] {
        check(Conv {
            padding,
            ..same(8, 9, 16, 16)
        });
    }
}

#[test]
fn dilated() {
    for dilation in [[2, 2], [3, 1], [5, 7], [12, 12]] {
        let [down, across] = dilation;
        check(Conv {
            dilation,
            padding: [down, across, down, across],
            ..same(11, 13, 16, 8)
        });
    }
    check(Conv {
        dilation: [2, 2],
        padding: [0; 4],
        ..same(11, 10, 8, 8)
    });
}

#[test]
fn every_epilogue() {
    for activation in [Activation::Relu, Activation::Relu6, Activation::HardSwish] {
        for start in [Start::Zero, Start::Add] {
            let with = |residual: fn(&[f32]) -> Option<Residual<'_>>| {
                check_epilogue(same(6, 7, 16, 20), (activation, start), 20, residual);
            };
            with(|_| None);
            with(|r| Some(Residual::plain(r)));
            with(|r| {
                Some(Residual {
                    values: r,
                    factors: Some(r),
                })
            });
        }
    }
}

#[test]
fn part_of_a_wider_image() {
    check_epilogue(
        same(9, 7, 8, 16),
        (Activation::Relu, Start::Zero),
        40,
        |r| Some(Residual::plain(r)),
    );
}

#[test]
fn a_window_larger_than_the_image_has_no_output() {
    let conv = Conv {
        padding: [0; 4],
        ..same(2, 2, 8, 8)
    };
    let packed = Packed::pack(&vec![0.0; conv.weight()], &conv, Size::Four, Tier::Scalar);
    let x = vec![0.0; conv.input()];
    packed.run(&x, &Epilogue::default(), &mut [], &mut [], &Threads::new(1));
}

#[test]
fn nan_stays_in_the_tiles_that_read_it() {
    let conv = Conv {
        n: 1,
        groups: 2,
        ..same(12, 12, 16, 16)
    };
    let mut x = vec![1.0; conv.input()];
    x[0] = f32::NAN;
    for tier in Tier::here() {
        for size in Size::ALL {
            let packed = Packed::pack(&vec![1.0; conv.weight()], &conv, size, tier);
            let mut y = vec![0.0; conv.output()];
            let mut scratch = vec![0.0; packed.scratch(1)];
            packed.run(
                &x,
                &Epilogue::default(),
                &mut y,
                &mut scratch,
                &Threads::new(1),
            );
            for (at, y) in y.iter().enumerate() {
                let (row, column, channel) = (at / 16 / 12, at / 16 % 12, at % 16);
                let in_window = row < 2 && column < 2 && channel < 8;
                let in_tile = row < size.out() && column < size.out() && channel < 8;
                assert!(
                    y.is_nan() || !in_window,
                    "{tier}: {row}, {column}, {channel}"
                );
                assert!(!y.is_nan() || in_tile, "{tier}: {row}, {column}, {channel}");
            }
        }
    }
}

/// The root mean square error against sums in double precision is that of the direct kernels with 2 x 2 tiles, and three times that
/// with 4 x 4.
#[test]
fn the_error_is_near_that_of_the_direct_kernels() {
    let conv = Conv {
        n: 1,
        ..same(28, 28, 64, 16)
    };
    let (x, w) = (numbers(conv.input(), 1), numbers(conv.weight(), 2));
    let exact = in_double(&conv, &x, &w);
    let threads = Threads::new(1);
    let epilogue = Epilogue::default();
    let error = |y: &[f32]| -> f64 {
        let squares = y
            .iter()
            .zip(&exact)
            .map(|(y, e)| (f64::from(*y) - e).powi(2));
        (squares.sum::<f64>() / y.len() as f64).sqrt()
    };
    for tier in Tier::here() {
        let mut y = vec![0.0; conv.output()];
        conv_f32::Packed::pack(&w, &conv, tier).run(&x, &epilogue, &mut y, &threads);
        let direct = error(&y);
        for (size, most) in [(Size::Two, 1.5), (Size::Four, 4.0)] {
            let packed = Packed::pack(&w, &conv, size, tier);
            let mut scratch = vec![0.0; packed.scratch(1)];
            packed.run(&x, &epilogue, &mut y, &mut scratch, &threads);
            let ratio = error(&y) / direct;
            assert!(ratio <= most, "{}: {ratio} times the error", packed.name());
        }
    }
}

fn in_double(conv: &Conv, x: &[f32], w: &[f32]) -> Vec<f64> {
    let mut y = vec![0.0; conv.output()];
    for (at, y) in y.iter_mut().enumerate() {
        let (row, column, out) = (
            at / conv.out / conv.w,
            at / conv.out % conv.w,
            at % conv.out,
        );
        for tap in 0..9 {
            let (i, j) = (row + tap / 3, column + tap % 3);
            if i == 0 || j == 0 || i > conv.h || j > conv.w {
                continue;
            }
            for channel in 0..conv.c {
                let x = x[((i - 1) * conv.w + j - 1) * conv.c + channel];
                *y += f64::from(x) * f64::from(w[(out * conv.c + channel) * 9 + tap]);
            }
        }
    }
    y
}

/// Small for Miri.
#[test]
fn smallest() {
    check(same(5, 3, 2, 9));
    check(Conv {
        groups: 2,
        n: 1,
        ..same(4, 4, 4, 2)
    });
}
