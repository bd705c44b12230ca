//! Every element on every kernel of this machine against sums in double precision, with sizes around the tiles.

use super::*;
use crate::activation::Activation;
use crate::conv_f32::Conv;
use crate::gemm_f32::Residual;
use crate::gemm_f32::tests::numbers;

/// The layer in double precision, without bias.
fn reference(conv: &Conv, lda: usize, x: &[f32], w: &[f32]) -> Vec<f64> {
    let (k, n) = (conv.c / conv.groups, conv.out / conv.groups);
    let [kh, kw] = conv.kernel;
    let mut y = vec![];
    for place in 0..conv.pixels() {
        let (above, ox) = (place / conv.out_w(), place % conv.out_w());
        let (image, oy) = (above / conv.out_h(), above % conv.out_h());
        for out in 0..conv.out {
            let mut sum = 0.0;
            for (tap, (ky, kx)) in (0..kh * kw).map(|tap| (tap, (tap / kw, tap % kw))) {
                let y = (oy * conv.stride[0] + ky * conv.dilation[0]).wrapping_sub(conv.padding[0]);
                let x0 =
                    (ox * conv.stride[1] + kx * conv.dilation[1]).wrapping_sub(conv.padding[1]);
                if y >= conv.h || x0 >= conv.w {
                    continue;
                }
                let pixel = ((image * conv.h + y) * conv.w + x0) * lda + out / n * k;
                for c in 0..k {
                    sum += f64::from(x[pixel + c]) * f64::from(w[(out * k + c) * kh * kw + tap]);
                }
            }
            y.push(sum);
        }
    }
    y
}

/// The kernels of this machine for an element.
fn on(element: Element) -> impl Iterator<Item = &'static Kernel> {
    let all = KERNELS.iter().copied();
    all.filter(move |kernel| kernel.is_here(element))
}

/// A layer as both kernels run it, from a poisoned scratch.
fn run(packed: &Packed, x: &[f32], epilogue: &Epilogue, y: &mut [f32], threads: usize) {
    let threads = Threads::new(threads);
    let mut scratch = vec![f32::NAN; packed.scratch(threads.count())];
    packed.run(x, epilogue, y, &mut scratch, &threads);
}

/// The largest difference that an element may have from the right sum, in units of the sum of magnitudes.
fn bound(element: Element) -> f64 {
    match element {
        // Two roundings of half a unit in the last of 8 bits, or of 16.
        Element::Bf16 => 2f64.powi(-7),
        Element::Bf16x3 => 2f64.powi(-15),
        // As for single precision: some units in the last of 24 bits.
        Element::Bf16x6 => 2f64.powi(-21),
        // Roundings of half a unit in the last of 11 bits: of each side, and of up to 64 partial sums, which are far below the sum of
        // magnitudes for numbers of both signs.
        Element::F16 => 2f64.powi(-9),
    }
}

#[track_caller]
fn check(conv: Conv) {
    check_apart(conv, 0, 0);
}

/// With pixels that lie further apart than they are long.
#[track_caller]
fn check_apart(conv: Conv, more_in: usize, more_out: usize) {
    let (lda, ldc) = (conv.c + more_in, conv.out + more_out);
    let x = numbers(conv.n * conv.h * conv.w * lda, 1);
    let w = numbers(conv.weight(), 2);
    let wanted = reference(&conv, lda, &x, &w);
    let positive = |x: &[f32]| -> Vec<f32> { x.iter().map(|x| x.abs()).collect() };
    let sizes = reference(&conv, lda, &positive(&x), &positive(&w));
    for element in Element::ALL {
        for kernel in on(element) {
            for threads in [1, 3] {
                let packed = Packed::pack(&w, &conv, (lda, ldc), element, kernel.tier);
                let mut y = vec![7.0; conv.pixels() * ldc];
                run(&packed, &x, &Epilogue::default(), &mut y, threads);
                for (place, row) in y.chunks_exact(ldc).enumerate() {
                    for (out, &found) in row.iter().enumerate() {
                        if out >= conv.out {
                            assert_eq!(found, 7.0, "{packed:?} writes between pixels");
                            continue;
                        }
                        let at = place * conv.out + out;
                        let off = (f64::from(found) - wanted[at]).abs();
                        assert!(
                            off <= bound(element) * sizes[at] + 1e-12,
                            "{packed:?}, pixel {place}, channel {out}: {found} where {} is right",
                            wanted[at]
                        );
                    }
                }
            }
        }
    }
}

fn dense(m: usize, n: usize, k: usize, groups: usize) -> Conv {
    Conv {
        n: 1,
        h: 1,
        w: m,
        c: k * groups,
        out: n * groups,
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [0; 4],
        groups,
    }
}

#[test]
fn sizes_around_the_tiles() {
    for m in [1, 15, 16, 17, 33, 300] {
        for n in [1, 16, 17, 32, 33] {
            check(dense(m, n, 40, 1));
        }
    }
    for k in [1, 31, 32, 33, 64, 65, 700] {
        check(dense(35, 20, k, 1));
    }
    check(dense(0, 4, 4, 1));
}

#[test]
fn groups_and_rows_apart() {
    for groups in [2, 3] {
        check(dense(20, 18, 33, groups));
        check(dense(20, 32, 64, groups));
        check_apart(dense(20, 18, 33, groups), 3, 5);
        check_apart(dense(270, 18, 33, groups), 3, 5);
    }
}

#[test]
fn windows() {
    let base = Conv {
        n: 2,
        h: 7,
        w: 9,
        c: 6,
        out: 20,
        kernel: [3, 3],
        ..dense(1, 1, 1, 1)
    };
    check(base);
    let padded = Conv {
        padding: [1; 4],
        ..base
    };
    check(padded);
    check_apart(padded, 2, 3);
    check(Conv {
        stride: [2, 2],
        ..padded
    });
    check(Conv {
        stride: [2, 2],
        kernel: [1, 1],
        ..base
    });
    check(Conv {
        dilation: [2, 3],
        padding: [2, 3, 2, 3],
        ..base
    });
    check(Conv {
        groups: 2,
        c: 66,
        kernel: [1, 5],
        padding: [0, 2, 0, 2],
        ..base
    });
    check(Conv {
        w: 40,
        h: 18,
        kernel: [5, 5],
        padding: [2, 2, 1, 3],
        ..base
    });
}

#[test]
fn epilogues() {
    let conv = dense(37, 50, 24, 1);
    let (x, w) = (numbers(37 * 24, 1), numbers(50 * 24, 2));
    let (bias, other) = (numbers(50, 3), numbers(37 * 50, 4));
    let sums = reference(&conv, 24, &x, &w);
    for activation in [Activation::Identity, Activation::Relu6, Activation::Gelu] {
        let factors = Some(&bias[..]);
        let scaled = Residual {
            values: &other,
            factors,
        };
        for residual in [None, Some(Residual::plain(&other)), Some(scaled)] {
            let epilogue = Epilogue {
                start: Start::Zero,
                bias: Some(&bias),
                activation,
                residual,
            };
            let mut wanted: Vec<f32> = sums.iter().map(|&sum| sum as f32).collect();
            for (at, y) in wanted.iter_mut().enumerate() {
                *y += bias[at % 50];
                if let Some(Residual { values, factors }) = residual {
                    *y += values[at] * factors.map_or(1.0, |factors| factors[at % 50]);
                }
            }
            crate::activation::slice_forward_in_place(Tier::Scalar, activation, &mut wanted);
            for (element, bound) in [(Element::Bf16x6, 1e-5), (Element::F16, 5e-3)] {
                for kernel in on(element) {
                    let packed = Packed::pack(&w, &conv, (24, 50), element, kernel.tier);
                    let mut y = vec![0.0; wanted.len()];
                    run(&packed, &x, &epilogue, &mut y, 1);
                    for (y, wanted) in y.iter().zip(&wanted) {
                        assert!((y - wanted).abs() <= bound, "{y} where {wanted} is right");
                    }
                }
            }
        }
    }
}

/// The sums of six products are as near to the right ones as those of the vector kernels.
#[test]
fn six_products_are_single_precision() {
    let conv = dense(64, 64, 768, 1);
    let (x, w) = (numbers(64 * 768, 1), numbers(64 * 768, 2));
    let wanted = reference(&conv, 768, &x, &w);
    let error = |y: &[f32]| {
        let square = |(y, wanted): (&f32, &f64)| (f64::from(*y) - wanted).powi(2);
        (y.iter().zip(&wanted).map(square).sum::<f64>() / y.len() as f64).sqrt()
    };
    let tier = Tier::detect();
    let mut y = vec![0.0; 64 * 64];
    let packed = Packed::pack(&w, &conv, (768, 64), Element::Bf16x6, tier);
    run(&packed, &x, &Epilogue::default(), &mut y, 1);
    let mut single = vec![0.0; 64 * 64];
    let g = crate::gemm_f32::Geometry::dense(64, 64, 768);
    let gemm = crate::gemm_f32::Packed::pack(&w, &g, tier);
    gemm.run(&x, &Epilogue::default(), &mut single, &Threads::new(1));
    let (six, one) = (error(&y), error(&single));
    assert!(six <= 1.5 * one, "{six:e} where vectors are off by {one:e}");
}

/// A NaN spoils the row it stands in and no other.
#[test]
fn odd_rows_stay_by_themselves() {
    let conv = dense(40, 20, 33, 1);
    let (mut x, w) = (numbers(40 * 33, 1), numbers(20 * 33, 2));
    x[5 * 33 + 3] = f32::NAN;
    for element in Element::ALL {
        for kernel in on(element) {
            let packed = Packed::pack(&w, &conv, (33, 20), element, kernel.tier);
            let mut y = vec![0.0; 40 * 20];
            run(&packed, &x, &Epilogue::default(), &mut y, 1);
            for (row, y) in y.chunks_exact(20).enumerate() {
                assert_eq!(
                    y.iter().all(|y| y.is_nan()),
                    row == 5,
                    "{packed:?}, row {row}"
                );
                assert_eq!(
                    y.iter().any(|y| y.is_nan()),
                    row == 5,
                    "{packed:?}, row {row}"
                );
            }
        }
    }
}

/// The worst that half precision does: sums of one sign, each product of which is rounded into a partial sum of up to 64.
#[test]
fn sums_of_one_sign_in_half_precision() {
    let conv = dense(33, 40, 3072, 1);
    let positive = |x: Vec<f32>| -> Vec<f32> { x.iter().map(|x| x.abs()).collect() };
    let (x, w) = (
        positive(numbers(33 * 3072, 1)),
        positive(numbers(40 * 3072, 2)),
    );
    let wanted = reference(&conv, 3072, &x, &w);
    for kernel in on(Element::F16) {
        let packed = Packed::pack(&w, &conv, (3072, 40), Element::F16, kernel.tier);
        let mut y = vec![0.0; wanted.len()];
        run(&packed, &x, &Epilogue::default(), &mut y, 1);
        for (y, wanted) in y.iter().zip(&wanted) {
            let off = (f64::from(*y) - wanted).abs() / wanted;
            assert!(off <= (64.0 + 2.0) * 2f64.powi(-11), "{packed:?}: {off:e}");
            // Roundings go both ways.
            assert!(off <= 2f64.powi(-9), "{packed:?}: {off:e}");
        }
    }
}

/// Rows and columns of any size fit, because they are scaled; the sums of every kernel are the same.
#[test]
fn nothing_finite_overflows_in_half_precision() {
    let conv = dense(18, 20, 200, 2);
    let (mut x, mut w) = (numbers(18 * 400, 1), numbers(40 * 200, 2));
    for (row, x) in x.chunks_exact_mut(400).enumerate() {
        x.iter_mut()
            .for_each(|x| *x *= 10f32.powi(3 * row as i32 - 26));
    }
    for (column, w) in w.chunks_exact_mut(200).enumerate() {
        w.iter_mut()
            .for_each(|w| *w *= 10f32.powi(column as i32 % 7 - 4));
    }
    let wanted = reference(&conv, 400, &x, &w);
    let mut first: Option<Vec<f32>> = None;
    for kernel in on(Element::F16) {
        let packed = Packed::pack(&w, &conv, (400, 40), Element::F16, kernel.tier);
        let mut y = vec![0.0; wanted.len()];
        run(&packed, &x, &Epilogue::default(), &mut y, 1);
        for (row, (y, wanted)) in y.chunks_exact(40).zip(wanted.chunks_exact(40)).enumerate() {
            for column in 0..40 {
                let size = 10f64.powi(3 * row as i32 - 26 + column as i32 % 7 - 4);
                let off = (f64::from(y[column]) - wanted[column]).abs();
                assert!(off <= 0.1 * size, "{packed:?}, row {row}: {off:e}");
            }
        }
        let first = first.get_or_insert_with(|| y.clone());
        assert_eq!(&y, first, "{packed:?}");
    }
}

/// Dilated windows of which most taps read nothing, beside the borders and far inside.
#[test]
fn taps_outside_the_image() {
    let base = Conv {
        n: 2,
        h: 20,
        w: 35,
        c: 33,
        out: 18,
        kernel: [3, 3],
        ..dense(1, 1, 1, 1)
    };
    for dilation in [[1, 1], [12, 17], [18, 30], [24, 40]] {
        let [down, across] = dilation;
        check(Conv {
            dilation,
            padding: [down, across, down, across],
            ..base
        });
    }
    // Windows of which none reads anything.
    check(Conv {
        kernel: [1, 1],
        padding: [2, 40, 1, 3],
        ..base
    });
    check(Conv {
        stride: [3, 2],
        dilation: [4, 5],
        padding: [9, 33, 0, 12],
        ..base
    });
}

/// What Miri can finish.
#[test]
fn smallest() {
    check(dense(2, 3, 4, 1));
}
