//! The definition of the pools.

use std::ops::Range;

use super::{Adaptive, Divisor, Mean, Pool};

/// A window: where its output lies, which input rows and columns it covers, and what its average is divided by.
pub(super) struct Window {
    pub to: usize,
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    pub divisor: usize,
}

/// Calls `work(image, window)` for each window in order.
pub(super) fn each_window(pool: &Pool, mut work: impl FnMut(usize, Window)) {
    let (out_h, out_w) = (pool.out_h(), pool.out_w());
    for image in 0..pool.n {
        for oy in 0..out_h {
            let (rows, tall) = covered(pool, 0, pool.h, oy);
            for ox in 0..out_w {
                let (columns, wide) = covered(pool, 1, pool.w, ox);
                let inputs = rows.len() * columns.len();
                let divisor = match pool.divisor {
                    Divisor::WithPadding => tall * wide,
                    Divisor::InputsOnly => inputs,
                };
                let to = ((image * out_h + oy) * out_w + ox) * pool.c;
                work(
                    image,
                    Window {
                        to,
                        rows: rows.clone(),
                        columns,
                        divisor,
                    },
                );
            }
        }
    }
}

/// The inputs under a window along one axis, and its size with padding.
fn covered(pool: &Pool, axis: usize, size: usize, window: usize) -> (Range<usize>, usize) {
    let (before, after) = (pool.padding[axis], pool.padding[axis + 2]);
    let start = window * pool.stride[axis];
    let end = (start + pool.kernel[axis]).min(size + before + after);
    let first = start.saturating_sub(before).min(size);
    let last = end.saturating_sub(before).clamp(first, size);
    (first..last, end - start)
}

/// The largest input of each window, and optionally where it is.
pub fn max_forward(pool: &Pool, x: &[f32], y: &mut [f32], mut places: Option<&mut [u32]>) {
    y.fill(f32::NEG_INFINITY);
    let c = pool.c;
    each_window(pool, |image, window| {
        for row in window.rows.clone() {
            for column in window.columns.clone() {
                let pixel = row * pool.w + column;
                let first = row == window.rows.start && column == window.columns.start;
                let x = &x[(image * pool.h * pool.w + pixel) * c..][..c];
                for i in 0..c {
                    let to = window.to + i;
                    if first || x[i] > y[to] || x[i].is_nan() {
                        y[to] = x[i];
                        if let Some(places) = &mut places {
                            places[to] = pixel as u32;
                        }
                    }
                }
            }
        }
    });
}

/// `dx` of the largest.
pub fn max_backward(pool: &Pool, places: &[u32], dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    let c = pool.c;
    each_window(pool, |image, window| {
        for i in 0..c {
            let pixel = image * pool.h * pool.w + places[window.to + i] as usize;
            dx[pixel * c + i] += dy[window.to + i];
        }
    });
}

/// The average of each window.
pub fn average_forward(pool: &Pool, x: &[f32], y: &mut [f32]) {
    let c = pool.c;
    each_window(pool, |image, window| {
        let y = &mut y[window.to..][..c];
        let pixels = area(image, pool.h, pool.w, &window.rows, &window.columns);
        average(x, pixels, window.divisor, y);
    });
}

/// `dx` of the average.
pub fn average_backward(pool: &Pool, dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    let c = pool.c;
    each_window(pool, |image, window| {
        let dy = &dy[window.to..][..c];
        let pixels = area(image, pool.h, pool.w, &window.rows, &window.columns);
        spread(dy, pixels, window.divisor, dx);
    });
}

/// Adaptive averages.
pub fn adaptive_forward(adaptive: &Adaptive, x: &[f32], y: &mut [f32]) {
    for (at, y) in y.chunks_exact_mut(adaptive.c).enumerate() {
        let (pixels, count) = adaptive_area(adaptive, at);
        average(x, pixels, count, y);
    }
}

/// `dx` of adaptive averages.
pub fn adaptive_backward(adaptive: &Adaptive, dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for (at, dy) in dy.chunks_exact(adaptive.c).enumerate() {
        let (pixels, count) = adaptive_area(adaptive, at);
        spread(dy, pixels, count, dx);
    }
}

/// The mean over the rows that count.
pub fn mean_forward(mean: &Mean, x: &[f32], y: &mut [f32]) {
    for (n, y) in y.chunks_exact_mut(mean.c).enumerate() {
        let length = mean.length(n);
        average(x, n * mean.rows..n * mean.rows + length, length.max(1), y);
    }
}

/// `dx` of the mean.
pub fn mean_backward(mean: &Mean, dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for (n, dy) in dy.chunks_exact(mean.c).enumerate() {
        let length = mean.length(n);
        spread(dy, n * mean.rows..n * mean.rows + length, length.max(1), dx);
    }
}

fn adaptive_area(adaptive: &Adaptive, at: usize) -> (impl Iterator<Item = usize>, usize) {
    let Adaptive { h, w, out, .. } = *adaptive;
    let range = |i: usize, size: usize, out: usize| i * size / out..((i + 1) * size).div_ceil(out);
    let (image, pixel) = (at / (out[0] * out[1]), at % (out[0] * out[1]));
    let rows = range(pixel / out[1], h, out[0]);
    let columns = range(pixel % out[1], w, out[1]);
    let count = rows.len() * columns.len();
    (area(image, h, w, &rows, &columns), count)
}

/// The pixels of a window, numbered through all images.
fn area(
    image: usize,
    h: usize,
    w: usize,
    rows: &Range<usize>,
    columns: &Range<usize>,
) -> impl Iterator<Item = usize> + use<> {
    let columns = columns.clone();
    rows.clone().flat_map(move |row| {
        columns
            .clone()
            .map(move |column| (image * h + row) * w + column)
    })
}

fn average(x: &[f32], pixels: impl Iterator<Item = usize>, divisor: usize, y: &mut [f32]) {
    y.fill(0.0);
    for pixel in pixels {
        let x = &x[pixel * y.len()..][..y.len()];
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
    for y in y {
        *y /= divisor as f32;
    }
}

fn spread(dy: &[f32], pixels: impl Iterator<Item = usize>, divisor: usize, dx: &mut [f32]) {
    for pixel in pixels {
        let dx = &mut dx[pixel * dy.len()..][..dy.len()];
        for (dx, dy) in dx.iter_mut().zip(dy) {
            *dx += dy / divisor as f32;
        }
    }
}
