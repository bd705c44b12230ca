//! The definition of softmax, row by row.

/// `y = softmax(x)`.
pub fn row_forward(x: &[f32], y: &mut [f32]) {
    let [_, sum] = exponentials(x, 1.0, y);
    for y in y {
        *y /= sum;
    }
}

/// `y = log(softmax(x))`.
pub fn log_row(x: &[f32], y: &mut [f32]) {
    let log = log_sum(x);
    for (y, x) in y.iter_mut().zip(x) {
        *y = x - log;
    }
}

/// `y = e^(cool (x - largest))`; gives the largest and the sum.
pub fn exponentials(x: &[f32], cool: f32, y: &mut [f32]) -> [f32; 2] {
    let top = largest(x);
    let mut sum = 0.0;
    for (y, &x) in y.iter_mut().zip(x) {
        *y = ((x - top) * cool).exp();
        sum += *y;
    }
    [top, sum]
}

/// `dx = y (dy - sum(y dy))` in each row.
pub fn backward(columns: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    for (row, dx) in dx.chunks_exact_mut(columns).enumerate() {
        let at = row * columns;
        let (y, dy) = (&y[at..][..columns], &dy[at..][..columns]);
        let dot: f32 = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
        for i in 0..columns {
            dx[i] = y[i] * (dy[i] - dot);
        }
    }
}

/// `y = factor y - away`.
#[inline(always)]
pub fn scale_and_shift(factor: f32, away: f32, y: &mut [f32]) {
    for y in y {
        *y = *y * factor - away;
    }
}

/// `log(sum(e^x))` without overflow.
pub fn log_sum(x: &[f32]) -> f32 {
    let top = largest(x);
    top + x.iter().map(|x| (x - top).exp()).sum::<f32>().ln()
}

/// The largest number; NaN when there is one.
pub fn largest(x: &[f32]) -> f32 {
    x.iter().fold(f32::NEG_INFINITY, |top, &x| {
        if x > top || x.is_nan() { x } else { top }
    })
}
