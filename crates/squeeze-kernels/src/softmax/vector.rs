//! Softmax on vectors of any tier, row by row.

use crate::vector::{Cooled, Vector};

/// `y = softmax(x)`.
#[inline(always)]
pub(crate) fn row_forward<V: Vector>(x: &[f32], y: &mut [f32]) {
    let factor = V::splat(1.0 / exponentials::<V>(x, 1.0, y)[1]);
    for y in y.chunks_mut(V::LANES) {
        (V::load_part(y) * factor).store_part(y);
    }
}

/// `y = e^(cool (x - largest))` for a positive `cool`; gives the largest and the sum. A NaN makes the sum NaN.
#[inline(always)]
pub(crate) fn exponentials<V: Vector>(x: &[f32], cool: f32, y: &mut [f32]) -> [f32; 2] {
    let highest = largest::<V>(x);
    let top = V::splat(highest);
    let cooled = Cooled::<V>::new(cool);
    let mut sum = V::splat(0.0);
    let whole = x.len() / V::LANES * V::LANES;
    for (x, y) in x[..whole]
        .chunks_exact(V::LANES)
        .zip(y.chunks_exact_mut(V::LANES))
    {
        let e = cooled.exp(V::load(x) - top);
        sum = sum + e;
        e.store(y);
    }
    let mut total = sum.sum();
    if whole < x.len() {
        cooled
            .exp(V::load_part(&x[whole..]) - top)
            .store_part(&mut y[whole..x.len()]);
        total += y[whole..x.len()].iter().sum::<f32>();
    }
    [highest, total]
}

/// `y = log(softmax(x))`.
#[inline(always)]
pub(super) fn log_row<V: Vector>(x: &[f32], y: &mut [f32]) {
    // The exponentials are only summed; `y` is their place until the end.
    let [top, sum] = exponentials::<V>(x, 1.0, y);
    let log = V::splat(top + sum.ln());
    for (x, y) in x.chunks(V::LANES).zip(y.chunks_mut(V::LANES)) {
        (V::load_part(x) - log).store_part(y);
    }
}

/// `dx = y (dy - sum(y dy))` in each row.
#[inline(always)]
pub(super) fn backward<V: Vector>(columns: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    for (row, dx) in dx.chunks_exact_mut(columns).enumerate() {
        let (y, dy) = (
            &y[row * columns..][..columns],
            &dy[row * columns..][..columns],
        );
        let mut dot = V::splat(0.0);
        for (y, dy) in y.chunks(V::LANES).zip(dy.chunks(V::LANES)) {
            dot = V::load_part(y).mul_add(V::load_part(dy), dot);
        }
        let dot = V::splat(dot.sum());
        for ((y, dy), dx) in y
            .chunks(V::LANES)
            .zip(dy.chunks(V::LANES))
            .zip(dx.chunks_mut(V::LANES))
        {
            (V::load_part(y) * (V::load_part(dy) - dot)).store_part(dx);
        }
    }
}

/// The largest number of a row, for rows without NaN.
#[inline(always)]
pub(crate) fn largest<V: Vector>(x: &[f32]) -> f32 {
    let whole = x.len() / V::LANES * V::LANES;
    let mut top = V::splat(f32::NEG_INFINITY);
    for x in x[..whole].chunks_exact(V::LANES) {
        top = top.max(V::load(x));
    }
    x[whole..].iter().fold(top.largest(), |top, &x| top.max(x))
}
