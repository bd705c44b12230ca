//! Layer norm: each row is normalised over its channels.

use super::{Affine, scalar};
use crate::Cpu;

/// Rows of channels, each row normalised by its own mean and variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// How many numbers a row has.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl LayerNorm {
    /// How many numbers of scratch [`backward`] needs for so many rows.
    pub fn backward_scratch(&self, rows: usize) -> usize {
        2 * self.channels * rows.div_ceil(super::BLOCK_ROWS)
    }
}

/// What the forward pass of training leaves.
#[derive(Debug)]
pub struct LayerNormOut<'a> {
    /// The normalised rows.
    pub y: &'a mut [f32],
    /// `x + residual`, for the backward pass; empty when there is no residual.
    pub sum: &'a mut [f32],
    /// Mean and reciprocal deviation of each row: `[rows, 2]`.
    pub stats: &'a mut [f32],
}

/// What the backward pass reads.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormSaved<'a> {
    /// What was normalised: `x`, or `x + residual`.
    pub x: &'a [f32],
    /// Mean and reciprocal deviation of each row: `[rows, 2]`.
    pub stats: &'a [f32],
    /// The factors.
    pub gamma: &'a [f32],
}

/// The gradients that the backward pass gives.
#[derive(Debug)]
pub struct LayerNormGrads<'a> {
    /// Overwritten: the gradient of what was normalised, hence of `x` and of the residual.
    pub dx: &'a mut [f32],
    /// Added to.
    pub dgamma: &'a mut [f32],
    /// Added to.
    pub dbeta: &'a mut [f32],
}

/// `y = gamma (x - mean) / sqrt(variance + eps) + beta` in each row.
pub fn forward(cpu: Cpu, norm: &LayerNorm, x: &[f32], affine: Affine, y: &mut [f32]) {
    let _ = cpu;
    scalar::layer_forward(norm, x, None, affine, y);
}

/// [`forward`] of `x + residual`.
pub fn forward_residual(
    cpu: Cpu,
    norm: &LayerNorm,
    x: &[f32],
    residual: &[f32],
    affine: Affine,
    y: &mut [f32],
) {
    let _ = cpu;
    scalar::layer_forward(norm, x, Some(residual), affine, y);
}

/// [`forward`] of `x`, or of `x + residual`, that keeps what [`backward`] reads.
pub fn forward_train(
    cpu: Cpu,
    norm: &LayerNorm,
    x: &[f32],
    residual: Option<&[f32]>,
    affine: Affine,
    out: LayerNormOut,
) {
    let _ = cpu;
    scalar::layer_forward_train(norm, x, residual, affine, out);
}

/// The gradients of what was normalised, of gamma and of beta.
///
/// `scratch` holds at least [`LayerNorm::backward_scratch`] numbers.
pub fn backward(
    cpu: Cpu,
    norm: &LayerNorm,
    saved: LayerNormSaved,
    dy: &[f32],
    grads: LayerNormGrads,
    scratch: &mut [f32],
) {
    let _ = cpu;
    scalar::layer_backward(norm, saved, dy, grads, scratch);
}
