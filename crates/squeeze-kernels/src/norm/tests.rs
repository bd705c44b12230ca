//! Every tier against the definition, gradients against differences of the definition in f64.

use super::*;
use crate::activation::Activation;
use crate::{Cpu, Threads};

fn numbers(len: usize, seed: f32) -> Vec<f32> {
    (0..len)
        .map(|i| (i as f32 * 0.7 + seed + (i as f32 * 0.0137).cos()).sin() * 2.0 + 0.5)
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
fn close(a: &[f32], b: &[f64], bound: f64) {
    assert_eq!(a.len(), b.len());
    for i in 0..a.len() {
        let far = (f64::from(a[i]) - b[i]).abs();
        assert!(
            far <= bound * b[i].abs().max(1.0),
            "at {i}: {} instead of {}",
            a[i],
            b[i]
        );
    }
}

/// Layer norm in f64.
fn layer(x: &[f64], gamma: &[f64], beta: &[f64], eps: f64) -> Vec<f64> {
    let c = gamma.len();
    let mut y = vec![0.0; x.len()];
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        let mean = x.iter().sum::<f64>() / c as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / c as f64;
        for i in 0..c {
            y[i] = (x[i] - mean) / (variance + eps).sqrt() * gamma[i] + beta[i];
        }
    }
    y
}

/// Batch norm in training, in f64.
fn batch(activation: Activation, x: &[f64], gamma: &[f64], beta: &[f64], eps: f64) -> Vec<f64> {
    let c = gamma.len();
    let rows = (x.len() / c) as f64;
    let mut y = vec![0.0; x.len()];
    for i in 0..c {
        let column = || x[i..].iter().step_by(c);
        let mean = column().sum::<f64>() / rows;
        let variance = column().map(|x| (x - mean).powi(2)).sum::<f64>() / rows;
        for at in (i..x.len()).step_by(c) {
            let before = (x[at] - mean) / (variance + eps).sqrt() * gamma[i] + beta[i];
            y[at] = match activation {
                Activation::Relu => before.max(0.0),
                Activation::Silu => before / (1.0 + (-before).exp()),
                _ => before,
            };
        }
    }
    y
}

/// Central differences of `sum(dy f(x))` by each number of `x`.
fn differences(x: &[f64], dy: &[f32], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let mut moved = x.to_vec();
    let h = 1e-6;
    let mut at = |i: usize, by: f64| {
        moved[i] = x[i] + by;
        let sum: f64 = f(&moved)
            .iter()
            .zip(dy)
            .map(|(y, &dy)| y * f64::from(dy))
            .sum();
        moved[i] = x[i];
        sum
    };
    (0..x.len())
        .map(|i| (at(i, h) - at(i, -h)) / (2.0 * h))
        .collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

#[test]
fn layer_norm() {
    everywhere(|cpu| {
        for (rows, c) in [
            (1, 1),
            (3, 7),
            (2, 16),
            (5, 17),
            (3, 33),
            (300, 64),
            (1, 768),
        ] {
            let norm = LayerNorm {
                channels: c,
                eps: 1e-5,
            };
            let (x, r) = (numbers(rows * c, 0.0), numbers(rows * c, 1.0));
            let (gamma, beta) = (numbers(c, 2.0), numbers(c, 3.0));
            let affine = Affine {
                gamma: &gamma,
                beta: &beta,
            };
            let mut y = vec![0.0; x.len()];
            layer::forward(cpu, &norm, Some(&x), None, affine, &mut y);
            // The definition has one row of one channel at zero variance: there 1 / sqrt(eps) magnifies rounding by 300.
            let want = layer(&wide(&x), &wide(&gamma), &wide(&beta), 1e-5);
            close(&y, &want, 4e-6);
            let mut own = x.clone();
            layer::forward(cpu, &norm, None, None, affine, &mut own);
            assert_eq!(own, y);
            layer::forward(cpu, &norm, Some(&x), Some(&r), affine, &mut y);
            let sum: Vec<f32> = x.iter().zip(&r).map(|(x, r)| x + r).collect();
            let want = layer(&wide(&sum), &wide(&gamma), &wide(&beta), 1e-5);
            close(&y, &want, 4e-6);
            let mut own = x.clone();
            layer::forward(cpu, &norm, None, Some(&r), affine, &mut own);
            assert_eq!(own, y);
            let (mut kept, mut stats) = (vec![0.0; x.len()], vec![0.0; 2 * rows]);
            let mut same = vec![0.0; x.len()];
            let out = LayerNormOut {
                y: &mut same,
                sum: &mut kept,
                stats: &mut stats,
            };
            layer::forward_train(cpu, &norm, &x, Some(&r), affine, out);
            assert_eq!((same, kept), (y, sum));
        }
    });
}

#[test]
fn layer_norm_gradients() {
    everywhere(|cpu| {
        for (rows, c) in [(3, 7), (2, 16), (4, 21), (130, 2)] {
            let norm = LayerNorm {
                channels: c,
                eps: 1e-5,
            };
            let (x, dy) = (numbers(rows * c, 0.0), numbers(rows * c, 1.0));
            let (gamma, beta) = (numbers(c, 2.0), numbers(c, 3.0));
            let affine = Affine {
                gamma: &gamma,
                beta: &beta,
            };
            let (mut y, mut stats) = (vec![0.0; x.len()], vec![0.0; 2 * rows]);
            let out = LayerNormOut {
                y: &mut y,
                sum: &mut [],
                stats: &mut stats,
            };
            layer::forward_train(cpu, &norm, &x, None, affine, out);
            let mut dx = vec![f32::NAN; x.len()];
            let (mut dgamma, mut dbeta) = (vec![1.0; c], vec![1.0; c]);
            let mut scratch = vec![f32::NAN; norm.backward_scratch(rows)];
            let saved = LayerNormSaved {
                x: &x,
                stats: &stats,
                gamma: &gamma,
            };
            let grads = LayerNormGrads {
                dx: &mut dx,
                dgamma: &mut dgamma,
                dbeta: &mut dbeta,
            };
            layer::backward(cpu, &norm, saved, &dy, grads, &mut scratch);
            let (x, gamma, beta) = (wide(&x), wide(&gamma), wide(&beta));
            // Rows of two channels have variances near zero and slopes up to 1 / sqrt(eps): their rounding is magnified.
            let bound = if c == 2 { 2e-3 } else { 1e-5 };
            close(
                &dx,
                &differences(&x, &dy, |x| layer(x, &gamma, &beta, 1e-5)),
                bound,
            );
            let one = |d: Vec<f64>| d.iter().map(|d| d + 1.0).collect::<Vec<_>>();
            close(
                &dgamma,
                &one(differences(&gamma, &dy, |g| layer(&x, g, &beta, 1e-5))),
                bound,
            );
            close(
                &dbeta,
                &one(differences(&beta, &dy, |b| layer(&x, &gamma, b, 1e-5))),
                bound,
            );
        }
    });
}

#[test]
fn batch_norm() {
    everywhere(|cpu| {
        for activation in [Activation::Identity, Activation::Relu, Activation::Silu] {
            for (rows, c) in [(4, 3), (300, 5), (30, 17), (260, 32)] {
                let norm = BatchNorm {
                    channels: c,
                    eps: 1e-5,
                    momentum: 0.1,
                    activation,
                };
                // A mean far from zero: sums of squares without their mean would lose it.
                let x: Vec<f32> = numbers(rows * c, 0.0).iter().map(|x| x + 100.0).collect();
                let (gamma, beta) = (numbers(c, 2.0), numbers(c, 3.0));
                let affine = Affine {
                    gamma: &gamma,
                    beta: &beta,
                };
                let (mut mean, mut variance) = (vec![1.0; c], vec![1.0; c]);
                let (mut y, mut stats) = (vec![0.0; x.len()], vec![0.0; 2 * c]);
                let mut scratch = vec![f32::NAN; norm.scratch(rows)];
                let out = BatchNormOut {
                    y: &mut y,
                    stats: &mut stats,
                    scratch: &mut scratch,
                };
                let running = Running {
                    mean: &mut mean,
                    variance: &mut variance,
                };
                batch::forward_train(cpu, &norm, &x, affine, running, out);
                // The mean is rounded to 1e-5 (half an ulp of 100 is 4e-6), then scaled by gamma / deviation.
                close(
                    &y,
                    &batch(activation, &wide(&x), &wide(&gamma), &wide(&beta), 1e-5),
                    4e-5,
                );
                let exact = wide(&x);
                for i in 0..c {
                    let column = || exact[i..].iter().step_by(c);
                    let middle = column().sum::<f64>() / rows as f64;
                    let squares: f64 = column().map(|x| (x - middle).powi(2)).sum();
                    assert!((f64::from(mean[i]) - (0.9 + 0.1 * middle)).abs() < 4e-6);
                    let want = 0.9 + 0.1 * squares / (rows - 1) as f64;
                    assert!((f64::from(variance[i]) - want).abs() < 4e-6, "{rows} {c}");
                }
                let mut same = vec![0.0; x.len()];
                let variance: Vec<f32> = (0..c)
                    .map(|i| 1.0 / (stats[c + i] * stats[c + i]) - 1e-5)
                    .collect();
                batch::forward_eval(cpu, &norm, &x, affine, (&stats[..c], &variance), &mut same);
                close(&same, &wide(&y), 1e-5);
            }
        }
    });
}

#[test]
fn batch_norm_gradients() {
    everywhere(|cpu| {
        for activation in [Activation::Identity, Activation::Relu, Activation::Silu] {
            for (rows, c) in [(5, 3), (8, 17), (140, 2)] {
                let norm = BatchNorm {
                    channels: c,
                    eps: 1e-5,
                    momentum: 0.1,
                    activation,
                };
                let (x, dy) = (numbers(rows * c, 0.0), numbers(rows * c, 1.0));
                let (gamma, beta) = (numbers(c, 2.0), numbers(c, 3.0));
                let affine = Affine {
                    gamma: &gamma,
                    beta: &beta,
                };
                let (mut mean, mut variance) = (vec![0.0; c], vec![1.0; c]);
                let (mut y, mut stats) = (vec![0.0; x.len()], vec![0.0; 2 * c]);
                let mut scratch = vec![f32::NAN; norm.scratch(rows)];
                let out = BatchNormOut {
                    y: &mut y,
                    stats: &mut stats,
                    scratch: &mut scratch,
                };
                let running = Running {
                    mean: &mut mean,
                    variance: &mut variance,
                };
                batch::forward_train(cpu, &norm, &x, affine, running, out);
                let mut dx = vec![f32::NAN; x.len()];
                let (mut dgamma, mut dbeta) = (vec![1.0; c], vec![1.0; c]);
                let saved = BatchNormSaved {
                    fixed: false,
                    x: &x,
                    stats: &stats,
                    affine,
                };
                let grads = BatchNormGrads {
                    dx: &mut dx,
                    dgamma: &mut dgamma,
                    dbeta: &mut dbeta,
                };
                batch::backward(cpu, &norm, saved, &dy, grads, &mut scratch);
                let (x, gamma, beta) = (wide(&x), wide(&gamma), wide(&beta));
                let f = |x: &[f64], g: &[f64], b: &[f64]| batch(activation, x, g, b, 1e-5);
                close(&dx, &differences(&x, &dy, |x| f(x, &gamma, &beta)), 1e-5);
                let one = |d: Vec<f64>| d.iter().map(|d| d + 1.0).collect::<Vec<_>>();
                close(
                    &dgamma,
                    &one(differences(&gamma, &dy, |g| f(&x, g, &beta))),
                    1e-5,
                );
                close(
                    &dbeta,
                    &one(differences(&beta, &dy, |b| f(&x, &gamma, b))),
                    1e-5,
                );
            }
        }
    });
}

#[test]
fn nan_stays_in_its_row() {
    everywhere(|cpu| {
        let norm = LayerNorm {
            channels: 20,
            eps: 1e-5,
        };
        let mut x = numbers(40, 0.0);
        x[3] = f32::NAN;
        let (gamma, beta) = (vec![1.0; 20], vec![0.0; 20]);
        let mut y = vec![0.0; 40];
        layer::forward(
            cpu,
            &norm,
            Some(&x),
            None,
            Affine {
                gamma: &gamma,
                beta: &beta,
            },
            &mut y,
        );
        assert!(y[..20].iter().all(|y| y.is_nan()) && y[20..].iter().all(|y| y.is_finite()));
    });
}
