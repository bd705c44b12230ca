//! Softmax over the last axis with masks, and the losses that are built on it, forward and backward.

pub mod loss;
pub mod scalar;

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
pub fn forward(cpu: Cpu, softmax: &Softmax, x: &[f32], y: &mut [f32]) {
    let _ = cpu;
    scalar::forward(softmax, x, y);
}

/// `y = log(softmax(x))` in each row; columns that do not count become negative infinity.
pub fn log_forward(cpu: Cpu, softmax: &Softmax, x: &[f32], y: &mut [f32]) {
    let _ = cpu;
    scalar::log_forward(softmax, x, y);
}

/// `dx` of [`forward`] from its output: `y (dy - sum(y dy))` in each row.
pub fn backward(cpu: Cpu, softmax: &Softmax, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    let _ = cpu;
    scalar::backward(softmax, y, dy, dx);
}
