//! Softmax and losses on every tier against f64, gradients against differences in f64.

use super::*;
use crate::Threads;

fn numbers(len: usize, seed: f32) -> Vec<f32> {
    (0..len)
        .map(|i| (i as f32 * 0.7 + seed).sin() * 5.0)
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

fn log_softmax(x: &[f64]) -> Vec<f64> {
    let top = x.iter().fold(f64::NEG_INFINITY, |top, &x| top.max(x));
    let log = top + x.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
    x.iter().map(|x| x - log).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

#[track_caller]
fn close(a: &[f32], b: &[f64], bound: f64) {
    assert_eq!(a.len(), b.len());
    for i in 0..a.len() {
        let far = (f64::from(a[i]) - b[i]).abs();
        assert!(
            far <= bound || f64::from(a[i]) == b[i],
            "at {i}: {} instead of {}",
            a[i],
            b[i]
        );
    }
}

#[test]
fn rows_of_every_length() {
    everywhere(|cpu| {
        for c in [1usize, 2, 7, 8, 15, 16, 17, 33, 100, 1000] {
            let lengths = [c, 0, c.div_ceil(2)];
            let masked = Softmax {
                columns: c,
                lengths: Some(Lengths {
                    of: &lengths,
                    rows_each: 2,
                }),
            };
            let x = numbers(6 * c, 0.0);
            let (mut y, mut log) = (vec![f32::NAN; 6 * c], vec![f32::NAN; 6 * c]);
            forward(cpu, &masked, &x, &mut y);
            log_forward(cpu, &masked, &x, &mut log);
            for row in 0..6 {
                let length = lengths[row / 2];
                let want = log_softmax(&wide(&x[row * c..][..length]));
                close(&log[row * c..][..length], &want, 4e-6);
                let want: Vec<f64> = want.iter().map(|x| x.exp()).collect();
                close(&y[row * c..][..length], &want, 5e-7);
                assert!(y[row * c..][..c][length..].iter().all(|&y| y == 0.0));
                assert!(
                    log[row * c..][..c][length..]
                        .iter()
                        .all(|&y| y == f32::NEG_INFINITY)
                );
            }
        }
    });
}

#[test]
fn extremes() {
    everywhere(|cpu| {
        let whole = Softmax::whole(3);
        let x = [1e30, 0.0, f32::NEG_INFINITY, 1.0, f32::NAN, 2.0];
        let mut y = [0.0; 6];
        forward(cpu, &whole, &x, &mut y);
        assert_eq!(y[..3], [1.0, 0.0, 0.0]);
        assert!(y[3..].iter().all(|y| y.is_nan()));
        let mut x = [0.0; 2 * 19];
        x[5] = 1e30;
        x[6] = f32::NEG_INFINITY;
        x[19 + 7] = f32::NAN;
        x[19 + 8] = 200.0;
        let mut y = [0.0; 2 * 19];
        forward(cpu, &Softmax::whole(19), &x, &mut y);
        assert!((0..19).all(|at| y[at] == if at == 5 { 1.0 } else { 0.0 }));
        assert!(y[19..].iter().all(|y| y.is_nan()));
    });
}

/// Small shares are as exact as large ones.
#[test]
fn errors_are_relative() {
    everywhere(|cpu| {
        let x: Vec<f32> = (0..950).map(|at| at as f32 * -0.0913).collect();
        let mut y = vec![0.0; x.len()];
        forward(cpu, &Softmax::whole(x.len()), &x, &mut y);
        for (y, log) in y.iter().zip(log_softmax(&wide(&x))) {
            let error = (f64::from(*y) / log.exp() - 1.0).abs();
            // Two units for the exponential, three for the sum, its inverse and the product.
            assert!(
                error <= 5.0 * f64::from(f32::EPSILON),
                "{}: {error}",
                cpu.tier
            );
        }
    });
}

/// Compares `dx` with central differences of `f` at `x`.
#[track_caller]
fn check_gradient(x: &[f32], dx: &[f32], f: impl Fn(&[f64]) -> f64) {
    let mut x = wide(x);
    let h = 1e-5;
    let want: Vec<f64> = (0..x.len())
        .map(|i| {
            let middle = x[i];
            x[i] = middle + h;
            let up = f(&x);
            x[i] = middle - h;
            let down = f(&x);
            x[i] = middle;
            (up - down) / (2.0 * h)
        })
        .collect();
    close(dx, &want, 2e-6);
}

#[test]
fn softmax_gradient() {
    everywhere(|cpu| {
        for c in [3, 16, 21] {
            let (x, dy) = (numbers(2 * c, 0.0), numbers(2 * c, 1.0));
            let (mut y, mut dx) = (vec![0.0; 2 * c], vec![0.0; 2 * c]);
            forward(cpu, &Softmax::whole(c), &x, &mut y);
            backward(cpu, &Softmax::whole(c), &y, &dy, &mut dx);
            check_gradient(&x, &dx, |x| {
                let y = x.chunks_exact(c).flat_map(log_softmax);
                y.zip(&dy).map(|(y, &dy)| y.exp() * f64::from(dy)).sum()
            });
        }
    });
}

#[test]
fn cross_entropy_with_smoothing_and_ignored_rows() {
    everywhere(|cpu| {
        for (classes, smoothing) in [(2, 0.0), (17, 0.1), (40, 0.0)] {
            let row = CrossEntropy {
                smoothing,
                ..CrossEntropy::of(classes)
            };
            let targets = [1, -100, 0, classes as i32 - 1];
            let x = numbers(4 * classes, 0.0);
            let mut dx = vec![f32::NAN; x.len()];
            let got = cross_entropy(cpu, &row, &x, &targets, &mut dx);
            let f = |x: &[f64]| -> f64 {
                let rows = x
                    .chunks_exact(classes)
                    .zip(&targets)
                    .filter(|(_, t)| **t >= 0);
                let lost = rows.map(|(x, &t)| {
                    let log = log_softmax(x);
                    let even = -log.iter().sum::<f64>() / classes as f64;
                    -log[t as usize] * f64::from(1.0 - smoothing) + even * f64::from(smoothing)
                });
                lost.sum::<f64>() / 3.0
            };
            assert_eq!(got.rows, 3);
            assert!((f64::from(got.mean()) - f(&wide(&x))).abs() < 1e-6);
            check_gradient(&x, &dx, f);
        }
    });
}

#[test]
fn soft_targets_and_distillation() {
    everywhere(|cpu| {
        let (classes, temperature) = (19, 2.0);
        let (x, teacher) = (numbers(3 * classes, 0.0), numbers(3 * classes, 1.0));
        let mut q = vec![0.0; teacher.len()];
        forward(cpu, &Softmax::whole(classes), &teacher, &mut q);
        let mut dx = vec![f32::NAN; x.len()];
        let got = cross_entropy_probabilities(cpu, classes, &x, &q, &mut dx);
        let f = |x: &[f64]| -> f64 {
            let log = x.chunks_exact(classes).flat_map(log_softmax);
            log.zip(&q)
                .map(|(log, &q)| -log * f64::from(q))
                .sum::<f64>()
                / 3.0
        };
        assert!((f64::from(got.mean()) - f(&wide(&x))).abs() < 2e-6);
        check_gradient(&x, &dx, f);
        let row = Distillation {
            classes,
            temperature,
        };
        let got = distillation(cpu, &row, &x, &teacher, &mut dx);
        let half = |x: &[f64]| log_softmax(&x.iter().map(|x| x / 2.0).collect::<Vec<_>>());
        let teacher = wide(&teacher);
        let f = |x: &[f64]| -> f64 {
            let rows = x.chunks_exact(classes).zip(teacher.chunks_exact(classes));
            let lost = rows.flat_map(|(x, t)| {
                half(x)
                    .into_iter()
                    .zip(half(t))
                    .map(|(p, q)| q.exp() * (q - p) * 4.0)
            });
            lost.sum::<f64>() / 3.0
        };
        assert!((f64::from(got.mean()) - f(&wide(&x))).abs() < 1e-6);
        check_gradient(&x, &dx, f);
    });
}

#[test]
fn mean_square_and_an_empty_batch() {
    everywhere(|cpu| {
        let (x, targets) = (numbers(100, 0.0), numbers(100, 1.0));
        let mut dx = vec![f32::NAN; 100];
        let got = mean_square(cpu, &x, &targets, &mut dx);
        let f = |x: &[f64]| -> f64 {
            x.iter()
                .zip(&targets)
                .map(|(x, &t)| (x - f64::from(t)).powi(2))
                .sum::<f64>()
                / 100.0
        };
        assert!((f64::from(got.mean()) - f(&wide(&x))).abs() < 1e-5);
        check_gradient(&x, &dx, f);
        let none = cross_entropy(cpu, &CrossEntropy::of(5), &[], &[], &mut []);
        assert_eq!(none.mean(), 0.0);
    });
}
