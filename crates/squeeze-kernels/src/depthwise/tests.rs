//! Every tier against the definition; the definition's gradients by the identity `<dy, conv(x)> = <dx, x> = <dw, w>`.

use super::*;
use crate::Threads;

fn numbers(len: usize, seed: f32) -> Vec<f32> {
    (0..len)
        .map(|i| (i as f32 * 0.7 + seed + (i as f32 * 0.013).cos()).sin())
        .collect()
}

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

#[track_caller]
fn close(a: &[f32], b: &[f32], bound: f32, what: &str) {
    assert_eq!(a.len(), b.len());
    for i in 0..a.len() {
        assert!(
            (a[i] - b[i]).abs() <= bound * b[i].abs().max(1.0),
            "{what} at {i}: {} instead of {}",
            a[i],
            b[i]
        );
    }
}

const BASE: Depthwise = Depthwise {
    n: 2,
    h: 9,
    w: 23,
    c: 16,
    kernel: [3, 3],
    stride: [1, 1],
    dilation: [1, 1],
    padding: [1, 1, 1, 1],
};

#[track_caller]
fn check_forward(row: Depthwise) {
    let x = numbers(row.input(), 0.0);
    let (weights, bias) = (numbers(row.taps() * row.c, 2.0), numbers(row.c, 3.0));
    let mut packed = vec![0.0; weights.len()];
    pack(&row, &weights, &mut packed);
    for activation in [
        Activation::Identity,
        Activation::Relu6,
        Activation::Silu,
        Activation::Tanh,
    ] {
        let filter = Filter {
            weights: &packed,
            bias: Some(&bias),
            activation,
        };
        let mut want = vec![0.0; row.output()];
        scalar::forward(&row, &x, filter, &mut want);
        everywhere(|cpu| {
            let mut y = vec![f32::NAN; want.len()];
            forward(cpu, &row, &x, filter, &mut y);
            close(&y, &want, bound(&row) + 1e-6, "y");
        });
    }
}

/// Many rows, of which those that windows read are remembered, and rows and channels so many that they come some at a time.
#[test]
fn bands_of_rows() {
    for kernel in [3, 5] {
        for stride in [1, 2] {
            let tall = Depthwise {
                h: 53,
                w: 9,
                kernel: [kernel; 2],
                stride: [stride; 2],
                padding: [kernel / 2; 4],
                ..BASE
            };
            check_forward(tall);
            let wide = Depthwise {
                h: 7,
                w: 240,
                c: 279,
                ..tall
            };
            check_forward(wide);
            // Beyond the second cache row by row.
            check_forward(Depthwise { h: 9, ..wide });
        }
    }
}

/// Products of numbers below one: each addition loses at most half an ulp of the sum so far.
fn bound(row: &Depthwise) -> f32 {
    2e-7 * row.taps() as f32
}

#[track_caller]
fn check(row: Depthwise) {
    check_forward(row);
    let (x, dy) = (numbers(row.input(), 0.0), numbers(row.output(), 1.0));
    let weights = numbers(row.taps() * row.c, 2.0);
    let mut packed = vec![0.0; weights.len()];
    pack(&row, &weights, &mut packed);
    // Rounding errors of long sums add like a random walk: four deviations of it.
    let whole = 4.0 * 6e-8 * ((row.output() / row.c) as f32).sqrt() + 1e-6;
    let mut want_dx = vec![0.0; x.len()];
    scalar::backward_input(&row, &packed, &dy, &mut want_dx);
    let (mut want_dw, mut want_db) = (vec![1.0; weights.len()], vec![1.0; row.c]);
    let grads = FilterGrads {
        weights: &mut want_dw,
        bias: Some(&mut want_db),
    };
    scalar::backward_weights(&row, &x, &dy, grads);
    everywhere(|cpu| {
        let mut dx = vec![f32::NAN; x.len()];
        backward_input(cpu, &row, &packed, &dy, &mut dx);
        close(&dx, &want_dx, bound(&row), "dx");
        let (mut dw, mut db) = (vec![1.0; weights.len()], vec![1.0; row.c]);
        let mut scratch = vec![f32::NAN; row.weights_scratch()];
        let grads = FilterGrads {
            weights: &mut dw,
            bias: Some(&mut db),
        };
        backward_weights(cpu, &row, &x, &dy, grads, &mut scratch);
        close(&dw, &want_dw, whole, "dw");
        close(&db, &want_db, whole, "db");
    });
    // The three passes of the definition belong together.
    let filter = Filter {
        weights: &packed,
        bias: None,
        activation: Activation::Identity,
    };
    let mut y = vec![0.0; dy.len()];
    scalar::forward(&row, &x, filter, &mut y);
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum()
    };
    let one = dot(&y, &dy);
    let dw: Vec<f32> = want_dw.iter().map(|d| d - 1.0).collect();
    let bound = 1e-5 * (y.len() as f64).max(10.0).sqrt() * row.taps() as f64;
    assert!((dot(&want_dx, &x) - one).abs() < bound && (dot(&dw, &weights) - one).abs() < bound);
}

#[test]
fn three_by_three() {
    check(BASE);
}

#[test]
fn channels_around_the_vector() {
    for c in [1, 5, 8, 15, 17, 24, 33, 48] {
        check(Depthwise {
            n: 1,
            h: 5,
            w: 11,
            c,
            ..BASE
        });
    }
}

#[test]
fn strides() {
    check(Depthwise {
        stride: [2, 2],
        ..BASE
    });
    check(Depthwise {
        stride: [1, 3],
        ..BASE
    });
    check(Depthwise {
        stride: [3, 2],
        padding: [0, 0, 1, 1],
        ..BASE
    });
}

#[test]
fn five_by_five_with_dilation() {
    check(Depthwise {
        kernel: [5, 5],
        padding: [2, 2, 2, 2],
        ..BASE
    });
    check(Depthwise {
        kernel: [5, 5],
        padding: [4, 4, 4, 4],
        dilation: [2, 2],
        ..BASE
    });
    check(Depthwise {
        kernel: [5, 5],
        stride: [2, 2],
        padding: [2, 2, 2, 2],
        ..BASE
    });
}

/// Windows that read every so manieth row and column, some of which have none.
#[test]
fn dilations() {
    for kernel in [3, 5] {
        for dilation in [[2, 2], [3, 1], [1, 4], [2, 5]] {
            for [padding, size] in [[0, 21], [3, 14], [8, 6], [10, 3]] {
                check_forward(Depthwise {
                    h: size + 1,
                    w: size + 3,
                    c: 37,
                    kernel: [kernel; 2],
                    dilation,
                    padding: [padding, padding + 1, padding, padding],
                    ..BASE
                });
            }
        }
        // Beyond the second cache, once with columns of windows that read nothing.
        check_forward(Depthwise {
            n: 1,
            h: 3000,
            w: 1,
            c: 70,
            kernel: [kernel; 2],
            dilation: [1, 6],
            padding: [2, 12, 2, 12],
            ..BASE
        });
        check_forward(Depthwise {
            h: 26,
            w: 30,
            c: 300,
            kernel: [kernel; 2],
            dilation: [2, 2],
            padding: [2 * (kernel / 2); 4],
            ..BASE
        });
    }
}

#[test]
fn windows_around_what_is_computed_together() {
    for (w, c) in [(1, 16), (7, 40), (8, 17), (9, 20), (16, 300), (17, 513)] {
        for kernel in [[3, 3], [5, 5], [1, 3], [2, 5]] {
            for (stride, dilation) in [([1, 1], [1, 1]), ([2, 2], [1, 1]), ([1, 1], [2, 3])] {
                check_forward(Depthwise {
                    n: 1,
                    h: 4,
                    w,
                    c,
                    kernel,
                    stride,
                    dilation,
                    padding: [2, 5, 1, 8],
                });
            }
        }
    }
}

#[test]
fn rows_wider_than_the_first_cache() {
    for (w, kernel) in [(76, 3), (151, 3), (61, 5), (150, 5)] {
        for stride in [1, 2] {
            check_forward(Depthwise {
                n: 1,
                h: 11,
                w,
                c: 28,
                kernel: [kernel; 2],
                stride: [stride; 2],
                padding: [kernel / 2; 4],
                ..BASE
            });
        }
    }
}

#[test]
fn asymmetric_padding_and_stride_beyond_the_kernel() {
    check(Depthwise {
        padding: [0, 3, 2, 0],
        ..BASE
    });
    // Windows above and below that read nothing but padding.
    check(Depthwise {
        h: 2,
        padding: [5, 1, 4, 2],
        ..BASE
    });
    check(Depthwise {
        kernel: [1, 2],
        stride: [3, 4],
        padding: [0, 0, 0, 0],
        ..BASE
    });
    check(Depthwise {
        kernel: [2, 2],
        stride: [2, 2],
        dilation: [3, 2],
        padding: [2, 1, 0, 3],
        ..BASE
    });
}

#[test]
fn tokens() {
    check(Depthwise {
        h: 1,
        w: 40,
        c: 20,
        kernel: [1, 7],
        padding: [0, 3, 0, 3],
        ..BASE
    });
    check(Depthwise {
        h: 1,
        w: 9,
        kernel: [1, 3],
        padding: [0, 2, 0, 0],
        ..BASE
    });
}

#[test]
fn an_image_smaller_than_its_kernel() {
    check(Depthwise {
        h: 2,
        w: 2,
        kernel: [5, 5],
        padding: [2, 2, 2, 2],
        ..BASE
    });
    check(Depthwise { h: 1, w: 1, ..BASE });
    assert_eq!(
        Depthwise {
            h: 2,
            padding: [0; 4],
            ..BASE
        }
        .out_h(),
        0
    );
}

#[test]
fn many_taps_run_the_definition() {
    check(Depthwise {
        n: 1,
        h: 13,
        w: 13,
        c: 3,
        kernel: [12, 12],
        padding: [6, 6, 6, 6],
        ..BASE
    });
}

#[test]
fn nan_stays() {
    everywhere(|cpu| {
        let mut x = numbers(BASE.input(), 0.0);
        x[0] = f32::NAN;
        let packed = vec![1.0; 9 * 16];
        let filter = Filter {
            weights: &packed,
            bias: None,
            activation: Activation::Relu6,
        };
        let mut y = vec![0.0; BASE.output()];
        forward(cpu, &BASE, &x, filter, &mut y);
        assert!(y[0].is_nan() && y[1].is_finite());
    });
}

/// What Miri can finish.
#[test]
fn smallest() {
    check(Depthwise {
        n: 1,
        h: 4,
        w: 5,
        c: 9,
        ..BASE
    });
}
