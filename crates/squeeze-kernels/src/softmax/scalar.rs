//! The definition of softmax.

use super::Softmax;

/// `y = softmax(x)` in each row.
pub fn forward(softmax: &Softmax, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let rows = x
        .chunks_exact(softmax.columns)
        .zip(y.chunks_exact_mut(softmax.columns));
    for (row, (x, y)) in rows.enumerate() {
        let length = softmax.length(row);
        y[length..].fill(0.0);
        row_forward(&x[..length], &mut y[..length]);
    }
}

/// Softmax of one row.
pub fn row_forward(x: &[f32], y: &mut [f32]) {
    let top = largest(x);
    let mut sum = 0.0;
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - top).exp();
        sum += *y;
    }
    for y in y {
        *y /= sum;
    }
}

/// `y = log(softmax(x))` in each row.
pub fn log_forward(softmax: &Softmax, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let rows = x
        .chunks_exact(softmax.columns)
        .zip(y.chunks_exact_mut(softmax.columns));
    for (row, (x, y)) in rows.enumerate() {
        let length = softmax.length(row);
        y[length..].fill(f32::NEG_INFINITY);
        let log = log_sum(&x[..length]);
        for i in 0..length {
            y[i] = x[i] - log;
        }
    }
}

/// `dx = y (dy - sum(y dy))` in each row.
pub fn backward(softmax: &Softmax, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(y.len(), dx.len());
    assert_eq!(dy.len(), dx.len());
    for (row, dx) in dx.chunks_exact_mut(softmax.columns).enumerate() {
        let at = row * softmax.columns;
        let (y, dy) = (&y[at..][..dx.len()], &dy[at..][..dx.len()]);
        let dot: f32 = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
        for i in 0..dx.len() {
            dx[i] = y[i] * (dy[i] - dot);
        }
    }
}

/// `log(sum(e^x))` without overflow.
pub fn log_sum(x: &[f32]) -> f32 {
    let top = largest(x);
    top + x.iter().map(|x| (x - top).exp()).sum::<f32>().ln()
}

/// The largest number; NaN when there is one.
fn largest(x: &[f32]) -> f32 {
    x.iter().fold(f32::NEG_INFINITY, |top, &x| {
        if x > top || x.is_nan() { x } else { top }
    })
}
