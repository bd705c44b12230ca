//! The definition of the pools; the tiers are the same loops over channels with wider instructions.

use std::ops::Range;

use super::{Adaptive, Divisor, NO_ROW, Pool};

/// A window: the input rows and columns that it covers, and what its average is divided by.
struct Window {
    rows: Range<usize>,
    columns: Range<usize>,
    divisor: usize,
}

/// The window of output pixel `at`, counted through all images, and the number of its image.
#[inline(always)]
fn window(pool: &Pool, at: usize) -> (usize, Window) {
    let (out_h, out_w) = (pool.out_h(), pool.out_w());
    let (image, oy, ox) = (at / (out_h * out_w), at / out_w % out_h, at % out_w);
    let (rows, tall) = covered(pool, 0, pool.h, oy);
    let (columns, wide) = covered(pool, 1, pool.w, ox);
    let divisor = match pool.divisor {
        Divisor::WithPadding => tall * wide,
        Divisor::InputsOnly => (rows.len() * columns.len()).max(1),
    };
    (
        image,
        Window {
            rows,
            columns,
            divisor,
        },
    )
}

/// The inputs under a window along one axis, and its size with padding.
#[inline(always)]
pub(super) fn covered(
    pool: &Pool,
    axis: usize,
    size: usize,
    window: usize,
) -> (Range<usize>, usize) {
    let (before, after) = (pool.padding[axis], pool.padding[axis + 2]);
    let start = window * pool.stride[axis];
    let end = (start + pool.kernel[axis]).min(size + before + after);
    let first = start.saturating_sub(before).min(size);
    let last = end.saturating_sub(before).clamp(first, size);
    (first..last, end - start)
}

/// The largest input of each window, for the rows of the output from `first` on.
#[inline(always)]
pub fn max_forward(pool: &Pool, first: usize, x: &[f32], y: &mut [f32]) {
    let (c, start) = (pool.c, first * pool.out_w());
    for (at, y) in y.chunks_exact_mut(c).enumerate() {
        let (image, window) = window(pool, start + at);
        y.fill(f32::NEG_INFINITY);
        for pixel in area(image, pool.h, pool.w, &window.rows, &window.columns) {
            let x = &x[pixel * c..][..c];
            for (y, &x) in y.iter_mut().zip(x) {
                *y = if x > *y || x.is_nan() { x } else { *y };
            }
        }
    }
}

/// [`max_forward`] and the pixel in its image where the first largest input is.
#[inline(always)]
pub fn max_forward_places(pool: &Pool, first: usize, x: &[f32], y: &mut [f32], places: &mut [u32]) {
    let (c, start) = (pool.c, first * pool.out_w());
    for (at, (y, places)) in y
        .chunks_exact_mut(c)
        .zip(places.chunks_exact_mut(c))
        .enumerate()
    {
        let (image, window) = window(pool, start + at);
        y.fill(f32::NEG_INFINITY);
        places.fill((window.rows.start * pool.w + window.columns.start) as u32);
        for pixel in area(image, pool.h, pool.w, &window.rows, &window.columns) {
            let x = &x[pixel * c..][..c];
            let place = (pixel - image * pool.h * pool.w) as u32;
            for ((y, old), &x) in y.iter_mut().zip(&mut *places).zip(x) {
                let larger = x > *y || x.is_nan();
                *y = if larger { x } else { *y };
                *old = if larger { place } else { *old };
            }
        }
    }
}

/// `dx` of the largest, for whole images.
pub fn max_backward(pool: &Pool, places: &[u32], dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    let (c, pixels) = (pool.c, pool.h * pool.w);
    let out = pool.out_h() * pool.out_w() * c;
    for (i, &dy) in dy.iter().enumerate() {
        dx[(i / out * pixels + places[i] as usize) * c + i % c] += dy;
    }
}

/// The average of each window, for the rows of the output from `first` on.
#[inline(always)]
pub fn average_forward(pool: &Pool, first: usize, x: &[f32], y: &mut [f32]) {
    let start = first * pool.out_w();
    for (at, y) in y.chunks_exact_mut(pool.c).enumerate() {
        let (image, window) = window(pool, start + at);
        let pixels = area(image, pool.h, pool.w, &window.rows, &window.columns);
        average(x, pixels, window.divisor, y);
    }
}

/// `dx` of the average, for whole images.
#[inline(always)]
pub fn average_backward(pool: &Pool, dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for (at, dy) in dy.chunks_exact(pool.c).enumerate() {
        let (image, window) = window(pool, at);
        let pixels = area(image, pool.h, pool.w, &window.rows, &window.columns);
        spread(dy, pixels, window.divisor, dx);
    }
}

/// Adaptive averages, for the pixels of the output from `first` on.
#[inline(always)]
pub fn adaptive_forward(adaptive: &Adaptive, first: usize, x: &[f32], y: &mut [f32]) {
    for (at, y) in y.chunks_exact_mut(adaptive.c).enumerate() {
        let (image, window) = adaptive_window(adaptive, first + at);
        let pixels = area(image, adaptive.h, adaptive.w, &window.rows, &window.columns);
        average(x, pixels, window.divisor, y);
    }
}

/// `dx` of adaptive averages, for whole images.
#[inline(always)]
pub fn adaptive_backward(adaptive: &Adaptive, dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for (at, dy) in dy.chunks_exact(adaptive.c).enumerate() {
        let (image, window) = adaptive_window(adaptive, at);
        let pixels = area(image, adaptive.h, adaptive.w, &window.rows, &window.columns);
        spread(dy, pixels, window.divisor, dx);
    }
}

/// `dx` of the mean of the first `length` rows.
#[inline(always)]
pub fn mean_backward(length: usize, dy: &[f32], dx: &mut [f32]) {
    let (counted, rest) = dx.split_at_mut(length * dy.len());
    let share = 1.0 / length.max(1) as f32;
    for dx in counted.chunks_exact_mut(dy.len()) {
        for (dx, dy) in dx.iter_mut().zip(dy) {
            *dx = dy * share;
        }
    }
    rest.fill(0.0);
}

/// The largest of each channel over whole rows; 0 when there is none.
#[inline(always)]
pub fn largest_forward(x: &[f32], y: &mut [f32]) {
    let c = y.len();
    let Some(first) = x.get(..c) else {
        return y.fill(0.0);
    };
    y.copy_from_slice(first);
    for x in x[c..].chunks_exact(c) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = if x > *y || x.is_nan() { x } else { *y };
        }
    }
}

/// [`largest_forward`] that keeps which row was the first largest one.
#[inline(always)]
pub fn largest_forward_places(x: &[f32], y: &mut [f32], places: &mut [u32]) {
    let c = y.len();
    let Some(first) = x.get(..c) else {
        y.fill(0.0);
        return places.fill(NO_ROW);
    };
    y.copy_from_slice(first);
    places.fill(0);
    for (row, x) in (1..).zip(x[c..].chunks_exact(c)) {
        for ((y, place), &x) in y.iter_mut().zip(places.iter_mut()).zip(x) {
            // The first NaN stays.
            let larger = x > *y || (x.is_nan() && !y.is_nan());
            *y = if larger { x } else { *y };
            *place = if larger { row } else { *place };
        }
    }
}

/// `dx` of [`largest_forward_places`].
#[inline(always)]
pub fn largest_backward(places: &[u32], dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for (channel, (&place, dy)) in places.iter().zip(dy).enumerate() {
        if place != NO_ROW {
            dx[place as usize * places.len() + channel] = *dy;
        }
    }
}

#[inline(always)]
fn adaptive_window(adaptive: &Adaptive, at: usize) -> (usize, Window) {
    let Adaptive { h, w, out, .. } = *adaptive;
    let range = |i: usize, size: usize, out: usize| i * size / out..((i + 1) * size).div_ceil(out);
    let rows = range(at / out[1] % out[0], h, out[0]);
    let columns = range(at % out[1], w, out[1]);
    let divisor = rows.len() * columns.len();
    (
        at / (out[0] * out[1]),
        Window {
            rows,
            columns,
            divisor,
        },
    )
}

/// The pixels of a window, counted through all images.
#[inline(always)]
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

#[inline(always)]
fn average(x: &[f32], pixels: impl Iterator<Item = usize>, divisor: usize, y: &mut [f32]) {
    y.fill(0.0);
    let c = y.len();
    for pixel in pixels {
        for (y, x) in y.iter_mut().zip(&x[pixel * c..][..c]) {
            *y += x;
        }
    }
    let share = 1.0 / divisor as f32;
    for y in y {
        *y *= share;
    }
}

#[inline(always)]
fn spread(dy: &[f32], pixels: impl Iterator<Item = usize>, divisor: usize, dx: &mut [f32]) {
    let (c, share) = (dy.len(), 1.0 / divisor as f32);
    for pixel in pixels {
        for (dx, dy) in dx[pixel * c..][..c].iter_mut().zip(dy) {
            *dx += dy * share;
        }
    }
}
