//! Softmax over the last axis with masks, and the losses that are built on it, forward and backward.

pub mod loss;
pub mod scalar;
pub(crate) mod vector;

use self::vector::{
    backward as vector_backward, log_row as vector_log_row, row_forward as vector_row_forward,
};
use crate::elementwise::each_rows;
use crate::vector::per_tier;
use crate::{Cpu, Tier};

pub use loss::{
    CrossEntropy, Distillation, Loss, cross_entropy, cross_entropy_probabilities, distillation,
    mean_square,
};

/// Rows of logits, optionally masked: in row `r` only the first `lengths[r / rows_each]` columns count, the others get
/// probability 0.
#[derive(Clone, Copy, Debug)]
pub struct Softmax<'a> {
    /// How many numbers a row has.
    pub columns: usize,
    /// How many columns count.
    pub lengths: Option<Lengths<'a>>,
}

/// One length for every `rows_each` rows in turn.
#[derive(Clone, Copy, Debug)]
pub struct Lengths<'a> {
    /// The lengths, each at most the number of columns.
    pub of: &'a [usize],
    /// How many consecutive rows share a length.
    pub rows_each: usize,
}

impl Softmax<'_> {
    /// Rows without a mask.
    pub fn whole(columns: usize) -> Self {
        Self {
            columns,
            lengths: None,
        }
    }

    /// How many columns of a row count.
    pub fn length(&self, row: usize) -> usize {
        self.lengths
            .map_or(self.columns, |lengths| lengths.of[row / lengths.rows_each])
    }
}

/// The rows of this family: name and tier.
pub const KERNELS: &[(&str, Tier)] = &[
    ("f32_softmax_scalar", Tier::Scalar),
    ("f32_softmax_avx2", Tier::Avx2),
    ("f32_softmax_avx512", Tier::Avx512),
];

/// `y = softmax(x)` in each row; a row of length zero becomes zeros.
///
/// # Panics
/// When the lengths do not fit.
pub fn forward(cpu: Cpu, softmax: &Softmax, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let c = softmax.columns;
    each_rows(cpu, c, y, |rows, y| {
        for (row, y) in rows.zip(y.chunks_exact_mut(c)) {
            let length = softmax.length(row);
            y[length..].fill(0.0);
            row_forward(cpu.tier, &x[row * c..][..length], &mut y[..length]);
        }
    });
}

/// `y = log(softmax(x))` in each row; columns that do not count become negative infinity.
///
/// # Panics
/// When the lengths do not fit.
pub fn log_forward(cpu: Cpu, softmax: &Softmax, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let c = softmax.columns;
    each_rows(cpu, c, y, |rows, y| {
        for (row, y) in rows.zip(y.chunks_exact_mut(c)) {
            let length = softmax.length(row);
            y[length..].fill(f32::NEG_INFINITY);
            log_row(cpu.tier, &x[row * c..][..length], &mut y[..length]);
        }
    });
}

/// `dx` of [`forward`] from its output: `y (dy - sum(y dy))` in each row.
///
/// # Panics
/// When the lengths do not fit.
pub fn backward(cpu: Cpu, softmax: &Softmax, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(y.len() == dx.len() && dy.len() == dx.len());
    let c = softmax.columns;
    each_rows(cpu, c, dx, |rows, dx| {
        let cut = rows.start * c..rows.end * c;
        rows_backward(cpu.tier, c, &y[cut.clone()], &dy[cut], dx);
    });
}

per_tier! {
    /// Softmax of one row.
    pub(crate) fn row_forward(x: &[f32], y: &mut [f32])
    { scalar: scalar::row_forward, vector: vector_row_forward }
}

per_tier! {
    /// The logarithm of the softmax of one row.
    fn log_row(x: &[f32], y: &mut [f32])
    { scalar: scalar::log_row, vector: vector_log_row }
}

per_tier! {
    fn rows_backward(columns: usize, y: &[f32], dy: &[f32], dx: &mut [f32])
    { scalar: scalar::backward, vector: vector_backward }
}

#[cfg(test)]
mod tests;
