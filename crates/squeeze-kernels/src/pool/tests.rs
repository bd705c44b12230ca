//! Pools against PyTorch's sizes and formulas written out pixel by pixel, gradients by `<dy, pool(x)> = <dx, x>`.

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

const BASE: Pool = Pool {
    n: 2,
    h: 9,
    w: 11,
    c: 19,
    kernel: [3, 3],
    stride: [2, 2],
    padding: [1, 1, 1, 1],
    rounding: Rounding::Floor,
    divisor: Divisor::WithPadding,
};

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}

/// The real inputs of an output pixel: `(pixel of the image, value)`, and the size of its window with padding.
fn inputs(
    pool: &Pool,
    x: &[f32],
    image: usize,
    oy: usize,
    ox: usize,
    c: usize,
) -> (Vec<(usize, f32)>, usize) {
    let (mut found, mut padded) = (Vec::new(), 0);
    for ky in 0..pool.kernel[0] {
        for kx in 0..pool.kernel[1] {
            let (y, x_) = (oy * pool.stride[0] + ky, ox * pool.stride[1] + kx);
            if y >= pool.h + pool.padding[0] + pool.padding[2]
                || x_ >= pool.w + pool.padding[1] + pool.padding[3]
            {
                continue;
            }
            padded += 1;
            let (y, x_) = (
                y.wrapping_sub(pool.padding[0]),
                x_.wrapping_sub(pool.padding[1]),
            );
            if y < pool.h && x_ < pool.w {
                let pixel = y * pool.w + x_;
                found.push((pixel, x[(image * pool.h * pool.w + pixel) * pool.c + c]));
            }
        }
    }
    (found, padded)
}

#[track_caller]
fn check(pool: Pool, out: [usize; 2]) {
    assert_eq!([pool.out_h(), pool.out_w()], out);
    let (x, dy) = (numbers(pool.input(), 0.0), numbers(pool.output(), 1.0));
    everywhere(|cpu| {
        let mut y = vec![f32::NAN; dy.len()];
        let (mut same, mut places) = (vec![f32::NAN; dy.len()], vec![0; dy.len()]);
        let mut mean = vec![f32::NAN; dy.len()];
        max_forward(cpu, &pool, &x, &mut y);
        max_forward_train(cpu, &pool, &x, &mut same, &mut places);
        average_forward(cpu, &pool, &x, &mut mean);
        assert_eq!(y, same);
        for i in 0..y.len() {
            let (c, pixel) = (i % pool.c, i / pool.c);
            let (image, oy, ox) = (
                pixel / (out[0] * out[1]),
                pixel / out[1] % out[0],
                pixel % out[1],
            );
            let (found, padded) = inputs(&pool, &x, image, oy, ox, c);
            let best = found.iter().fold(
                (0, f32::NEG_INFINITY),
                |a, &b| if b.1 > a.1 { b } else { a },
            );
            assert_eq!((y[i], places[i]), (best.1, best.0 as u32));
            let divisor = match pool.divisor {
                Divisor::WithPadding => padded,
                Divisor::InputsOnly => found.len(),
            };
            let want = found.iter().map(|found| found.1).sum::<f32>() / divisor as f32;
            assert!((mean[i] - want).abs() < 1e-6);
        }
        let mut dx = vec![f32::NAN; x.len()];
        max_backward(cpu, &pool, &places, &dy, &mut dx);
        assert!((dot(&dx, &x) - dot(&dy, &y)).abs() < 1e-4);
        average_backward(cpu, &pool, &dy, &mut dx);
        assert!((dot(&dx, &x) - dot(&dy, &mean)).abs() < 1e-4);
    });
}

#[test]
fn usual() {
    check(BASE, [5, 6]);
    check(
        Pool {
            divisor: Divisor::InputsOnly,
            ..BASE
        },
        [5, 6],
    );
    check(
        Pool {
            stride: [1, 1],
            ..BASE
        },
        [9, 11],
    );
}

/// Sizes by PyTorch 2.14: `max_pool2d` and `avg_pool2d` with `ceil_mode=True`.
#[test]
fn rounded_up() {
    let row = Pool {
        rounding: Rounding::Ceil,
        padding: [0; 4],
        h: 8,
        w: 12,
        ..BASE
    };
    check(row, [4, 6]);
    check(
        Pool {
            divisor: Divisor::InputsOnly,
            ..row
        },
        [4, 6],
    );
    // A last window that would start in the padding on the right does not count.
    check(
        Pool {
            kernel: [2, 2],
            stride: [3, 3],
            padding: [1; 4],
            h: 6,
            w: 7,
            ..row
        },
        [3, 3],
    );
    check(
        Pool {
            kernel: [1, 1],
            stride: [2, 2],
            padding: [0; 4],
            h: 4,
            w: 5,
            ..row
        },
        [2, 3],
    );
}

#[test]
fn asymmetric() {
    check(
        Pool {
            padding: [0, 1, 1, 0],
            kernel: [2, 3],
            c: 16,
            ..BASE
        },
        [5, 5],
    );
}

#[test]
fn adaptive_windows_overlap_as_pytorchs() {
    for (h, w, out) in [
        (7, 5, [3, 2]),
        (4, 4, [1, 1]),
        (3, 3, [5, 7]),
        (6, 6, [6, 3]),
    ] {
        let row = Adaptive {
            n: 2,
            h,
            w,
            c: 17,
            out,
        };
        let x = numbers(2 * h * w * 17, 0.0);
        let dy = numbers(2 * out[0] * out[1] * 17, 1.0);
        everywhere(|cpu| {
            let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
            adaptive_forward(cpu, &row, &x, &mut y);
            for (i, y) in y.iter().enumerate() {
                let (c, pixel) = (i % 17, i / 17);
                let (image, oy, ox) = (
                    pixel / (out[0] * out[1]),
                    pixel / out[1] % out[0],
                    pixel % out[1],
                );
                let (mut sum, mut count) = (0.0, 0.0);
                for iy in oy * h / out[0]..((oy + 1) * h).div_ceil(out[0]) {
                    for ix in ox * w / out[1]..((ox + 1) * w).div_ceil(out[1]) {
                        sum += x[((image * h + iy) * w + ix) * 17 + c];
                        count += 1.0;
                    }
                }
                assert!((y - sum / count).abs() < 1e-6);
            }
            adaptive_backward(cpu, &row, &dy, &mut dx);
            assert!((dot(&dx, &x) - dot(&dy, &y)).abs() < 1e-4);
        });
    }
}

#[test]
fn means_over_tokens_that_count() {
    let lengths = [4, 0, 7];
    for lengths in [Some(&lengths[..]), None] {
        let row = Rows {
            starts: None,
            n: 3,
            rows: 7,
            c: 21,
            lengths,
        };
        let (x, dy) = (numbers(3 * 7 * 21, 0.0), numbers(63, 1.0));
        everywhere(|cpu| {
            let (mut y, mut dx) = (vec![f32::NAN; 63], vec![f32::NAN; x.len()]);
            mean_forward(
                cpu,
                &row,
                &x,
                &mut y,
                &mut vec![f32::NAN; mean_scratch(row.n, row.c)],
            );
            for (i, y) in y.iter().enumerate() {
                let length = row.length(i / 21);
                let rows = 0..length;
                let sum: f32 = rows.map(|row| x[(i / 21 * 7 + row) * 21 + i % 21]).sum();
                assert!((y - sum / length.max(1) as f32).abs() < 1e-6);
            }
            mean_backward(cpu, &row, &dy, &mut dx);
            assert!((dot(&dx, &x) - dot(&dy, &y)).abs() < 1e-5);
        });
    }
}

#[test]
fn largest_of_the_tokens_that_count() {
    let lengths = [4, 0, 7];
    for lengths in [Some(&lengths[..]), None] {
        let row = Rows {
            starts: None,
            n: 3,
            rows: 7,
            c: 21,
            lengths,
        };
        let (mut x, dy) = (numbers(3 * 7 * 21, 0.0), numbers(63, 1.0));
        // Of equal ones the first counts.
        x[21] = 9.0;
        x[42] = 9.0;
        everywhere(|cpu| {
            let (mut y, mut dx) = (vec![f32::NAN; 63], vec![f32::NAN; x.len()]);
            let (mut again, mut places) = (y.clone(), vec![9; 63]);
            largest_forward(cpu, &row, &x, &mut y);
            largest_forward_train(cpu, &row, &x, &mut again, &mut places);
            assert_eq!(y, again);
            let mut wanted = vec![0.0; x.len()];
            for (i, &y) in y.iter().enumerate() {
                let at = |row: usize| (i / 21 * 7 + row) * 21 + i % 21;
                let rows = 0..row.length(i / 21);
                let best = rows.reduce(|a, b| if x[at(b)] > x[at(a)] { b } else { a });
                assert_eq!(y, best.map_or(0.0, |row| x[at(row)]));
                assert_eq!(places[i], best.map_or(NO_ROW, |row| row as u32));
                if let Some(row) = best {
                    wanted[at(row)] = dy[i];
                }
            }
            largest_backward(cpu, &row, &places, &dy, &mut dx);
            assert_eq!(dx, wanted);
        });
    }
}

#[test]
fn sequences_of_different_lengths() {
    let starts = [0, 140, 140, 143];
    let row = Rows {
        n: 3,
        rows: 150,
        starts: Some(&starts),
        c: 21,
        lengths: None,
    };
    let x = numbers(143 * 21, 0.0);
    everywhere(|cpu| {
        let (mut mean, mut largest) = (vec![f32::NAN; 63], vec![f32::NAN; 63]);
        let mut scratch = vec![f32::NAN; mean_scratch(row.n, row.c)];
        mean_forward(cpu, &row, &x, &mut mean, &mut scratch);
        largest_forward(cpu, &row, &x, &mut largest);
        for (n, rows) in starts.windows(2).enumerate() {
            let alone = Rows {
                n: 1,
                rows: rows[1] - rows[0],
                starts: None,
                ..row
            };
            let x = &x[rows[0] * 21..rows[1] * 21];
            let mut y = vec![f32::NAN; 21];
            mean_forward(cpu, &alone, x, &mut y, &mut scratch);
            assert_eq!(y, mean[n * 21..][..21]);
            // 140 rows are four blocks.
            for (i, y) in y.iter().enumerate() {
                let sum: f64 = x.iter().skip(i).step_by(21).map(|&x| f64::from(x)).sum();
                assert!((f64::from(*y) - sum / alone.rows.max(1) as f64).abs() < 1e-6);
            }
            largest_forward(cpu, &alone, x, &mut y);
            assert_eq!(y, largest[n * 21..][..21]);
        }
    });
}

#[test]
fn nan_is_the_largest_token() {
    let row = Rows {
        starts: None,
        n: 1,
        rows: 3,
        c: 2,
        lengths: None,
    };
    everywhere(|cpu| {
        let x = [1.0, 1.0, f32::NAN, 3.0, 2.0, 2.0];
        let (mut y, mut places) = ([0.0; 2], [9; 2]);
        largest_forward_train(cpu, &row, &x, &mut y, &mut places);
        assert!(y[0].is_nan() && y[1] == 3.0);
        assert_eq!(places, [1, 1]);
        largest_forward(cpu, &row, &x, &mut y);
        assert!(y[0].is_nan() && y[1] == 3.0);
    });
}

#[test]
fn nan_is_the_largest() {
    everywhere(|cpu| {
        let mut x = numbers(BASE.input(), 0.0);
        x[0] = f32::NAN;
        let (mut y, mut places) = (vec![0.0; BASE.output()], vec![9; BASE.output()]);
        max_forward_train(cpu, &BASE, &x, &mut y, &mut places);
        assert!(y[0].is_nan() && y[1].is_finite());
        assert_eq!(places[0], 0);
    });
}

#[test]
fn nan_is_the_largest_input_wherever_it_is() {
    let pool = Pool {
        n: 1,
        h: 3,
        w: 3,
        c: 83,
        padding: [0; 4],
        ..BASE
    };
    for place in 0..pool.input() {
        let mut x = numbers(pool.input(), 0.0);
        x[place] = f32::NAN;
        everywhere(|cpu| {
            let mut y = vec![0.0; pool.output()];
            max_forward(cpu, &pool, &x, &mut y);
            for (channel, y) in y.iter().enumerate() {
                let seen = channel == place % pool.c;
                assert_eq!(y.is_nan(), seen, "place {place}, channel {channel}");
            }
        });
    }
}
