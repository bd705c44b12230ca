//! Resizing against PyTorch's values, gradients by `<dy, resize(x)> = <dx, x>`.

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

fn numbers(len: usize, seed: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.7 + seed).sin()).collect()
}

/// One row of pixels `0, 1, 4, 9` to other widths, by `torch.nn.functional.interpolate` of PyTorch 2.14.
#[track_caller]
fn check_row(mode: Mode, want: &[f32]) {
    let row = Resize {
        n: 1,
        h: 1,
        w: 4,
        c: 1,
        out: [1, want.len()],
        mode,
    };
    everywhere(|cpu| {
        let mut y = vec![f32::NAN; want.len()];
        forward(cpu, &row, &[0.0, 1.0, 4.0, 9.0], &mut y);
        for i in 0..want.len() {
            assert!(
                (y[i] - want[i]).abs() < 2e-6,
                "{mode:?}: {y:?} instead of {want:?}"
            );
        }
    });
}

#[test]
fn nearest() {
    check_row(Mode::Nearest, &[0.0, 0.0, 1.0, 1.0, 4.0, 4.0, 9.0, 9.0]);
    check_row(Mode::Nearest, &[0.0, 1.0, 4.0]);
}

#[test]
fn bilinear() {
    check_row(
        Mode::Bilinear,
        &[0.0, 0.25, 0.75, 1.75, 3.25, 5.25, 7.75, 9.0],
    );
    check_row(Mode::Bilinear, &[0.166_666_7, 2.5, 8.166_667]);
    check_row(Mode::Bilinear, &[0.5, 6.5]);
}

#[test]
fn bilinear_corners() {
    check_row(Mode::BilinearCorners, &[0.0, 0.5, 1.0, 2.5, 4.0, 6.5, 9.0]);
    check_row(Mode::BilinearCorners, &[0.0, 2.5, 9.0]);
    check_row(Mode::BilinearCorners, &[0.0]);
}

/// Of many columns and channels, which are computed some at a time.
#[test]
fn tiers_agree_with_the_definition() {
    for mode in [Mode::Bilinear, Mode::BilinearCorners] {
        for (c, w, out) in [
            (1, 700, 1403),
            (3, 9, 40),
            (21, 64, 512),
            (130, 40, 80),
            (600, 5, 9),
            (3000, 5, 9),
            (20, 31, 11),
            (400, 90, 4),
            (30, 700, 5),
            (30, 1, 7),
            (30, 9, 1),
        ] {
            let row = Resize {
                n: 2,
                h: 3,
                w,
                c,
                out: [5, out],
                mode,
            };
            let x = numbers(2 * 3 * w * c, 0.0);
            let mut want = vec![f32::NAN; 2 * 5 * out * c];
            scalar::forward(&row, 0, &x, &mut want);
            everywhere(|cpu| {
                let mut y = vec![f32::NAN; want.len()];
                forward(cpu, &row, &x, &mut y);
                for (y, want) in y.iter().zip(&want) {
                    assert!((y - want).abs() < 1e-6, "{row:?}: {y} instead of {want}");
                }
            });
        }
    }
}

#[test]
fn gradients() {
    for mode in [Mode::Nearest, Mode::Bilinear, Mode::BilinearCorners] {
        for (h, w, out) in [
            (4, 5, [8, 10]),
            (7, 6, [3, 4]),
            (1, 1, [5, 3]),
            (5, 5, [5, 5]),
        ] {
            for c in [1, 16, 21] {
                let row = Resize {
                    n: 2,
                    h,
                    w,
                    c,
                    out,
                    mode,
                };
                let (x, dy) = (
                    numbers(2 * h * w * c, 0.0),
                    numbers(2 * out[0] * out[1] * c, 1.0),
                );
                everywhere(|cpu| {
                    let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
                    forward(cpu, &row, &x, &mut y);
                    backward(cpu, &row, &dy, &mut dx);
                    let dot = |a: &[f32], b: &[f32]| -> f64 {
                        a.iter()
                            .zip(b)
                            .map(|(&a, &b)| f64::from(a) * f64::from(b))
                            .sum()
                    };
                    assert!((dot(&dx, &x) - dot(&dy, &y)).abs() < 1e-4);
                    if [h, w] == out {
                        assert_eq!(x, y);
                    }
                });
            }
        }
    }
}
