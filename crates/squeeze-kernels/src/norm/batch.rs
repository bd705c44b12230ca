//! Batch norm: each channel is normalised over all rows; statistics as PyTorch keeps them.

use super::{Affine, scalar};
use crate::Cpu;
use crate::activation::Activation;

/// Channels-last rows, each channel normalised over all rows, then an activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// How many channels a row has.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f32,
    /// The weight of this batch in the running statistics.
    pub momentum: f32,
    /// Applied to the normalised value.
    pub activation: Activation,
}

impl BatchNorm {
    /// How many numbers of scratch the training passes need for so many rows.
    pub fn scratch(&self, rows: usize) -> usize {
        2 * self.channels * (rows.div_ceil(super::BLOCK_ROWS) + 1)
    }
}

/// The statistics that evaluation uses, one number a channel.
#[derive(Debug)]
pub struct Running<'a> {
    /// The mean.
    pub mean: &'a mut [f32],
    /// The unbiased variance.
    pub variance: &'a mut [f32],
}

/// What the forward pass of training leaves.
#[derive(Debug)]
pub struct BatchNormOut<'a> {
    /// The normalised rows.
    pub y: &'a mut [f32],
    /// Mean of each channel, then reciprocal deviation of each channel: `[2, channels]`.
    pub stats: &'a mut [f32],
    /// At least [`BatchNorm::scratch`] numbers.
    pub scratch: &'a mut [f32],
}

/// What the backward pass reads.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormSaved<'a> {
    /// What was normalised.
    pub x: &'a [f32],
    /// Mean of each channel, then reciprocal deviation of each channel: `[2, channels]`.
    pub stats: &'a [f32],
    /// Factors and addends.
    pub affine: Affine<'a>,
}

/// The gradients that the backward pass gives.
#[derive(Debug)]
pub struct BatchNormGrads<'a> {
    /// Overwritten.
    pub dx: &'a mut [f32],
    /// Added to.
    pub dgamma: &'a mut [f32],
    /// Added to.
    pub dbeta: &'a mut [f32],
}

/// Normalises by the statistics of these rows and moves the running ones towards them.
///
/// The variance that normalises is the biased one, that which is kept the unbiased one (of a single row: zero).
pub fn forward_train(
    cpu: Cpu,
    norm: &BatchNorm,
    x: &[f32],
    affine: Affine,
    running: Running,
    out: BatchNormOut,
) {
    let _ = cpu;
    scalar::batch_forward_train(norm, x, affine, running, out);
}

/// Normalises by the running statistics `(mean, variance)`.
pub fn forward_eval(
    cpu: Cpu,
    norm: &BatchNorm,
    x: &[f32],
    affine: Affine,
    running: (&[f32], &[f32]),
    y: &mut [f32],
) {
    let _ = cpu;
    scalar::batch_forward_eval(norm, x, affine, running, y);
}

/// The gradients of [`forward_train`]. `scratch` holds at least [`BatchNorm::scratch`] numbers.
pub fn backward(
    cpu: Cpu,
    norm: &BatchNorm,
    saved: BatchNormSaved,
    dy: &[f32],
    grads: BatchNormGrads,
    scratch: &mut [f32],
) {
    let _ = cpu;
    scalar::batch_backward(norm, saved, dy, grads, scratch);
}
