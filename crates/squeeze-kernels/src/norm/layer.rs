//! Layer norm: each row is normalised over its channels.

use super::vector::{layer_backward as vector_backward, layer_forward as vector_forward};
use super::{Affine, BLOCK_ROWS, scalar};
use crate::activation::Activation;
use crate::elementwise::slice_add_in_place;
use crate::vector::per_tier;
use crate::{Cpu, SharedMut};

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

/// `y = gamma (x - mean) / sqrt(variance + eps) + beta` in each row, of `x + residual` where there is one. Without `x` it is what `y` holds.
///
/// # Panics
/// When the lengths do not fit.
pub fn forward(
    cpu: Cpu,
    norm: &LayerNorm,
    x: Option<&[f32]>,
    residual: Option<&[f32]>,
    affine: Affine,
    y: &mut [f32],
) {
    let out = LayerNormOut {
        y,
        sum: &mut [],
        stats: &mut [],
    };
    run(cpu, norm, x, residual, affine, out);
}

/// [`forward`] that keeps what [`backward`] reads.
///
/// # Panics
/// When the lengths do not fit.
pub fn forward_train(
    cpu: Cpu,
    norm: &LayerNorm,
    x: &[f32],
    residual: Option<&[f32]>,
    affine: Affine,
    out: LayerNormOut,
) {
    assert_eq!(out.stats.len() * norm.channels, 2 * x.len());
    assert!(residual.is_none() || out.sum.len() == x.len());
    run(cpu, norm, Some(x), residual, affine, out);
}

fn run(
    cpu: Cpu,
    norm: &LayerNorm,
    x: Option<&[f32]>,
    residual: Option<&[f32]>,
    affine: Affine,
    out: LayerNormOut,
) {
    let c = norm.channels;
    let numbers = out.y.len();
    assert!(
        numbers.is_multiple_of(c),
        "{numbers} numbers are not rows of {c}"
    );
    let mut sides = x.iter().chain(&residual);
    assert!(sides.all(|side| side.len() == numbers));
    assert!(affine.gamma.len() == c && affine.beta.len() == c);
    let rows = numbers / c;
    let (keep_sum, keep_stats) = (
        residual.is_some() && !out.sum.is_empty(),
        !out.stats.is_empty(),
    );
    let (y, sum, stats) = (
        SharedMut::new(out.y),
        SharedMut::new(out.sum),
        SharedMut::new(out.stats),
    );
    cpu.split(rows, numbers * 8, |range| {
        let cut = range.start * c..range.end * c;
        let [x, residual] = [x, residual].map(|side| side.map(|side| &side[cut.clone()]));
        let kept = |keep: bool, range: std::ops::Range<usize>| if keep { range } else { 0..0 };
        // SAFETY: ranges of one split are disjoint.
        let y = unsafe { y.slice(cut.clone()) };
        // SAFETY: as above.
        let sum = unsafe { sum.slice(kept(keep_sum, cut)) };
        // SAFETY: as above.
        let stats = unsafe { stats.slice(kept(keep_stats, 2 * range.start..2 * range.end)) };
        slice_forward(
            cpu.tier,
            norm,
            x,
            residual,
            affine,
            LayerNormOut { y, sum, stats },
        );
    });
}

/// The gradients of what was normalised, of gamma and of beta.
///
/// `scratch` holds at least [`LayerNorm::backward_scratch`] numbers.
///
/// # Panics
/// When the lengths do not fit.
pub fn backward(
    cpu: Cpu,
    norm: &LayerNorm,
    saved: LayerNormSaved,
    dy: &[f32],
    grads: LayerNormGrads,
    scratch: &mut [f32],
) {
    let c = norm.channels;
    assert!(
        dy.len().is_multiple_of(c),
        "{} numbers are not rows of {c}",
        dy.len()
    );
    assert!(saved.x.len() == dy.len() && grads.dx.len() == dy.len());
    assert_eq!(saved.stats.len() * c, 2 * dy.len());
    assert!(saved.gamma.len() == c && grads.dgamma.len() == c && grads.dbeta.len() == c);
    let rows = dy.len() / c;
    let scratch = &mut scratch[..norm.backward_scratch(rows)];
    let (dx, sums) = (SharedMut::new(grads.dx), SharedMut::new(scratch));
    cpu.split(rows.div_ceil(BLOCK_ROWS), dy.len() * 16, |range| {
        for block in range {
            let rows = block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(rows);
            let cut = rows.start * c..rows.end * c;
            let saved = LayerNormSaved {
                x: &saved.x[cut.clone()],
                stats: &saved.stats[2 * rows.start..2 * rows.end],
                gamma: saved.gamma,
            };
            // SAFETY: each block has its own rows.
            let dx = unsafe { dx.slice(cut.clone()) };
            // SAFETY: each block has its own sums.
            let sums = unsafe { sums.slice(2 * block * c..2 * (block + 1) * c) };
            let (dgamma, dbeta) = sums.split_at_mut(c);
            slice_backward(
                cpu.tier,
                norm,
                saved,
                &dy[cut],
                LayerNormGrads { dx, dgamma, dbeta },
            );
        }
    });
    for sums in scratch.chunks_exact(2 * c) {
        let (dgamma, dbeta) = sums.split_at(c);
        slice_add_in_place(cpu.tier, dgamma, Activation::Identity, grads.dgamma);
        slice_add_in_place(cpu.tier, dbeta, Activation::Identity, grads.dbeta);
    }
}

per_tier! {
    fn slice_forward(
        norm: &LayerNorm,
        x: Option<&[f32]>,
        residual: Option<&[f32]>,
        affine: Affine,
        out: LayerNormOut,
    )
    { scalar: scalar::layer_forward, vector: vector_forward }
}

per_tier! {
    /// The gradients of a block; those of gamma and beta are overwritten.
    fn slice_backward(norm: &LayerNorm, saved: LayerNormSaved, dy: &[f32], grads: LayerNormGrads)
    { scalar: scalar::layer_backward, vector: vector_backward }
}
