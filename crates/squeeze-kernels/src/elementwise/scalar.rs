//! The definition of the elementwise kernels.

use super::Gate;
use super::transpose::Sides;
use crate::activation::{Activation, scalar::apply};

/// `y = activation(a + b)`.
pub fn add(a: &[f32], b: &[f32], activation: Activation, y: &mut [f32]) {
    same(a, y);
    same(b, y);
    for i in 0..y.len() {
        y[i] = apply(activation, a[i] + b[i]);
    }
}

/// `y = activation(y + a)`.
pub fn add_in_place(a: &[f32], activation: Activation, y: &mut [f32]) {
    same(a, y);
    for i in 0..y.len() {
        y[i] = apply(activation, y[i] + a[i]);
    }
}

/// `y += factor * a`.
#[inline(always)]
pub fn add_scaled(factor: f32, a: &[f32], y: &mut [f32]) {
    same(a, y);
    for i in 0..y.len() {
        y[i] += factor * a[i];
    }
}

/// `y = a * b`.
#[inline(always)]
pub fn mul(a: &[f32], b: &[f32], y: &mut [f32]) {
    same(a, y);
    same(b, y);
    for i in 0..y.len() {
        y[i] = a[i] * b[i];
    }
}

/// `y += a * b`.
#[inline(always)]
pub fn add_product(a: &[f32], b: &[f32], y: &mut [f32]) {
    same(a, y);
    same(b, y);
    for i in 0..y.len() {
        y[i] += a[i] * b[i];
    }
}

/// `y *= factor`.
#[inline(always)]
pub fn scale(factor: f32, y: &mut [f32]) {
    for y in y {
        *y *= factor;
    }
}

/// `y[row][i] = factors[row] * x[row][i]` over rows of `width` numbers.
#[inline(always)]
pub fn scale_rows(factors: &[f32], x: &[f32], width: usize, y: &mut [f32]) {
    let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
    for (&factor, (x, y)) in factors.iter().zip(rows) {
        for (x, y) in x.iter().zip(y) {
            *y = factor * x;
        }
    }
}

/// `dgate = sum(x * dy)`.
#[inline(always)]
pub fn gate_backward(shape: Gate, x: &[f32], dy: &[f32], dgate: &mut [f32]) {
    same(x, dy);
    dgate.fill(0.0);
    for (row, dy) in dy.chunks_exact(shape.c).enumerate() {
        let dgate = &mut dgate[row / shape.rows * shape.c..][..shape.c];
        add_product(&x[row * shape.c..][..shape.c], dy, dgate);
    }
}

/// `sums = x[0] + x[1] ..`, in f64.
pub fn block_sums(x: &[f32], sums: &mut [f32]) {
    let c = sums.len();
    for (i, sum) in sums.iter_mut().enumerate() {
        let column = x[i.min(x.len())..].iter().step_by(c);
        *sum = column.map(|&x| f64::from(x)).sum::<f64>() as f32;
    }
}

/// `y[column][row] = x[row][column]` of each matrix.
pub fn transpose(sides: Sides, x: &[f32], y: &mut [f32]) {
    let Sides {
        rows,
        columns,
        stride,
    } = sides;
    for (x, y) in x
        .chunks(rows * stride)
        .zip(y.chunks_exact_mut(rows * columns))
    {
        for column in 0..columns {
            for row in 0..rows {
                y[column * rows + row] = x[row * stride + column];
            }
        }
    }
}

#[inline(always)]
fn same(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
}
