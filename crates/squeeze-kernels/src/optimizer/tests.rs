//! Steps against PyTorch's formulas written out in f64, sums against f64.

use super::*;
use crate::Threads;

const N: usize = 100;

fn numbers(seed: f32) -> Vec<f32> {
    (0..N).map(|i| (i as f32 * 0.7 + seed).sin()).collect()
}

/// Runs three steps on every tier and compares the weights with those of `exact`, which steps one weight in f64.
#[track_caller]
fn check(
    step: impl Fn(Cpu, u32, &[f32], &mut [f32], &mut [f32], &mut [f32]),
    exact: impl Fn(u32, f64, f64, &mut f64, &mut f64) -> f64,
) {
    let threads = Threads::new(2);
    for tier in Tier::here() {
        let cpu = Cpu {
            tier,
            threads: &threads,
        };
        let (mut w, mut m, mut v) = (numbers(0.0), vec![0.0; N], vec![0.0; N]);
        let mut want: Vec<(f64, f64, f64)> = w.iter().map(|&w| (f64::from(w), 0.0, 0.0)).collect();
        for number in 1..=3 {
            let g = numbers(number as f32);
            step(cpu, number, &g, &mut w, &mut m, &mut v);
            for (want, &g) in want.iter_mut().zip(&g) {
                want.0 = exact(number, f64::from(g), want.0, &mut want.1, &mut want.2);
            }
        }
        for (w, want) in w.iter().zip(&want) {
            assert!(
                (f64::from(*w) - want.0).abs() < 4e-7,
                "{tier}: {w} instead of {}",
                want.0
            );
        }
    }
}

#[test]
fn momentum() {
    let row = Sgd {
        rate: 0.1,
        momentum: 0.9,
        look: Look::Here,
        decay: 0.01,
    };
    check(
        |cpu, _, g, w, m, _| sgd(cpu, &row, g, w, m),
        |_, g, w, v, _| {
            *v = 0.9 * *v + g + 0.01 * w;
            w - 0.1 * *v
        },
    );
}

#[test]
fn nesterov() {
    let row = Sgd {
        rate: 0.1,
        momentum: 0.9,
        look: Look::Ahead,
        decay: 0.0,
    };
    check(
        |cpu, _, g, w, m, _| sgd(cpu, &row, g, w, m),
        |_, g, w, v, _| {
            *v = 0.9 * *v + g;
            w - 0.1 * (g + 0.9 * *v)
        },
    );
}

#[test]
fn adamw_decays_apart() {
    let row = Adam {
        rate: 0.01,
        betas: [0.9, 0.999],
        eps: 1e-8,
        decay: 0.1,
        step: 0,
    };
    check(
        |cpu, step, g, w, first, second| {
            adamw(cpu, &Adam { step, ..row }, g, w, Moments { first, second })
        },
        |step, g, w, m, v| {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            let (m, v) = (
                *m / (1.0 - 0.9f64.powi(step as i32)),
                *v / (1.0 - 0.999f64.powi(step as i32)),
            );
            w * (1.0 - 0.01 * 0.1) - 0.01 * m / (v.sqrt() + 1e-8)
        },
    );
}

#[test]
fn lamb_scales_by_norms() {
    let threads = Threads::new(1);
    for tier in Tier::here() {
        let cpu = Cpu {
            tier,
            threads: &threads,
        };
        let row = Adam {
            rate: 0.01,
            betas: [0.9, 0.999],
            eps: 1e-6,
            decay: 0.1,
            step: 1,
        };
        let (g, start) = (numbers(1.0), numbers(0.0));
        let (mut w, mut m, mut v, mut step) =
            (start.clone(), vec![0.0; N], vec![0.0; N], vec![0.0; N]);
        lamb(
            cpu,
            &row,
            &g,
            &mut w,
            Moments {
                first: &mut m,
                second: &mut v,
            },
            &mut step,
        );
        // The length of the step is the rate times the norm of the weights.
        let moved: f64 = w
            .iter()
            .zip(&start)
            .map(|(a, b)| f64::from(a - b).powi(2))
            .sum();
        let norm: f64 = start.iter().map(|&w| f64::from(w).powi(2)).sum();
        assert!(
            (moved.sqrt() / (0.01 * norm.sqrt()) - 1.0).abs() < 1e-5,
            "{tier}"
        );
        // At the first step the direction is the gradient's sign plus the decay.
        for i in 0..N {
            let want = f64::from(g[i].signum()) + 0.1 * f64::from(start[i]);
            assert!((f64::from(step[i]) - want).abs() < 2e-4, "{tier}");
        }
    }
}

#[test]
fn norms_and_averages() {
    for tier in Tier::here() {
        let (one, three) = (Threads::new(1), Threads::new(3));
        let cpu = Cpu {
            tier,
            threads: &one,
        };
        let x: Vec<f32> = (0..50_000).map(|i| (i as f32 * 0.37).sin() + 0.5).collect();
        let want: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let norm = norm_squared(cpu, &x);
        assert!((norm / want - 1.0).abs() < 1e-6);
        assert_eq!(
            norm,
            norm_squared(
                Cpu {
                    threads: &three,
                    ..cpu
                },
                &x
            )
        );
        let mut gradient = x.clone();
        let before = clip(cpu, 1.0, &mut gradient);
        assert!((f64::from(before) / want.sqrt() - 1.0).abs() < 1e-6);
        assert!((norm_squared(cpu, &gradient) - 1.0).abs() < 1e-5);
        let mut average = vec![1.0; x.len()];
        moving_average(cpu, 0.9, &x, &mut average);
        assert!((average[7] - (0.9 + 0.1 * x[7])).abs() < 1e-6);
    }
}

#[test]
fn a_gradient_that_is_no_number_is_reported_and_left() {
    let threads = Threads::new(1);
    let mut gradient = [1.0, f32::NAN];
    let norm = clip(
        Cpu {
            tier: Tier::detect(),
            threads: &threads,
        },
        1.0,
        &mut gradient,
    );
    assert!(norm.is_nan());
    assert_eq!(gradient[0], 1.0);
}
