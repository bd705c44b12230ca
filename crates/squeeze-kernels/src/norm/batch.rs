//! Batch norm: each channel is normalised over all rows; statistics as PyTorch keeps them.

use super::vector::{
    batch_apply as vector_apply, batch_eval as vector_eval, batch_gradient as vector_gradient,
    batch_moments as vector_moments, batch_sums as vector_sums,
};
use super::{Affine, BLOCK_ROWS, scalar};
use crate::activation::Activation;
use crate::elementwise::each_rows;
use crate::vector::per_tier;
use crate::{Cpu, SharedMut};

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
    /// Whether these are given, and do not follow from the rows.
    pub fixed: bool,
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
///
/// # Panics
/// When the lengths do not fit.
pub fn forward_train(
    cpu: Cpu,
    norm: &BatchNorm,
    x: &[f32],
    affine: Affine,
    running: Running,
    out: BatchNormOut,
) {
    let c = norm.channels;
    check(norm, x, affine);
    assert_eq!(out.y.len(), x.len());
    assert_eq!(out.stats.len(), 2 * c);
    let rows = x.len() / c;
    let moments = &mut out.scratch[..norm.scratch(rows)];
    each_block(cpu, c, x.len(), moments, |rows, moments| {
        slice_moments(cpu.tier, &x[rows], moments);
    });
    let (mean, inverse) = out.stats.split_at_mut(c);
    for i in 0..c {
        // Means and squares of blocks become those of the whole (Chan et al., 1979), in f64.
        let (mut count, mut middle, mut squares) = (0.0, 0.0, 0.0);
        for block in 0..rows.div_ceil(BLOCK_ROWS) {
            let size = BLOCK_ROWS.min(rows - block * BLOCK_ROWS) as f64;
            let far = f64::from(moments[2 * block * c + i]) - middle;
            squares += f64::from(moments[(2 * block + 1) * c + i])
                + far * far * count * size / (count + size);
            count += size;
            middle += far * size / count;
        }
        let variance = if rows > 0 { squares / count } else { 0.0 };
        let unbiased = if rows > 1 {
            squares / (count - 1.0)
        } else {
            0.0
        };
        mean[i] = middle as f32;
        inverse[i] = (1.0 / (variance + f64::from(norm.eps)).sqrt()) as f32;
        running.mean[i] += norm.momentum * (mean[i] - running.mean[i]);
        running.variance[i] += norm.momentum * (unbiased as f32 - running.variance[i]);
    }
    let scale = &mut moments[..c];
    for i in 0..c {
        scale[i] = inverse[i] * affine.gamma[i];
    }
    apply(cpu, norm, x, [mean, scale, affine.beta], out.y);
}

/// Normalises by the running statistics `(mean, variance)`.
///
/// # Panics
/// When the lengths do not fit.
pub fn forward_eval(
    cpu: Cpu,
    norm: &BatchNorm,
    x: &[f32],
    affine: Affine,
    running: (&[f32], &[f32]),
    y: &mut [f32],
) {
    let c = norm.channels;
    check(norm, x, affine);
    assert!(running.0.len() == c && running.1.len() == c);
    assert_eq!(y.len(), x.len());
    each_rows(cpu, c, y, |rows, y| {
        let x = &x[rows.start * c..rows.end * c];
        // Blocks of rows stay in cache while the channels are taken one vector after the other.
        for (x, y) in x.chunks(BLOCK_ROWS * c).zip(y.chunks_mut(BLOCK_ROWS * c)) {
            slice_eval(cpu.tier, norm, x, affine, running, y);
        }
    });
}

/// The gradients of [`forward_train`], or of [`forward_eval`] for fixed statistics. `scratch` holds at least [`BatchNorm::scratch`] numbers.
///
/// # Panics
/// When the lengths do not fit.
pub fn backward(
    cpu: Cpu,
    norm: &BatchNorm,
    saved: BatchNormSaved,
    dy: &[f32],
    grads: BatchNormGrads,
    scratch: &mut [f32],
) {
    let c = norm.channels;
    check(norm, dy, saved.affine);
    assert!(saved.x.len() == dy.len() && grads.dx.len() == dy.len());
    assert_eq!(saved.stats.len(), 2 * c);
    let rows = dy.len() / c;
    let sums = &mut scratch[..norm.scratch(rows)];
    each_block(cpu, c, dy.len(), sums, |rows, sums| {
        let part = BatchNormSaved {
            x: &saved.x[rows.clone()],
            ..saved
        };
        slice_sums(cpu.tier, norm, part, &dy[rows], sums);
    });
    for i in 0..c {
        let whole = |which: usize| -> f64 {
            let blocks = 0..rows.div_ceil(BLOCK_ROWS);
            blocks
                .map(|block| f64::from(sums[(2 * block + which) * c + i]))
                .sum()
        };
        let (sum, dot) = (whole(0), whole(1));
        grads.dbeta[i] += sum as f32;
        grads.dgamma[i] += dot as f32;
        let share = if saved.fixed {
            0.0
        } else {
            1.0 / rows.max(1) as f64
        };
        sums[i] = (sum * share) as f32;
        sums[c + i] = (dot * share) as f32;
    }
    let means = &sums[..2 * c];
    each_rows(cpu, c, grads.dx, |rows, dx| {
        let cut = rows.start * c..rows.end * c;
        let part = BatchNormSaved {
            x: &saved.x[cut.clone()],
            ..saved
        };
        slice_gradient(cpu.tier, norm, part, &dy[cut], means, dx);
    });
}

fn check(norm: &BatchNorm, x: &[f32], affine: Affine) {
    let c = norm.channels;
    assert!(
        x.len().is_multiple_of(c),
        "{} numbers are not rows of {c}",
        x.len()
    );
    assert!(affine.gamma.len() == c && affine.beta.len() == c);
}

/// Calls `work(numbers of the block, its two sums a channel)` for each block of rows.
fn each_block(
    cpu: Cpu,
    c: usize,
    len: usize,
    sums: &mut [f32],
    work: impl Fn(std::ops::Range<usize>, &mut [f32]) + Sync,
) {
    let sums = SharedMut::new(sums);
    cpu.split((len / c).div_ceil(BLOCK_ROWS), len * 8, |range| {
        for block in range {
            let rows = block * BLOCK_ROWS * c..((block + 1) * BLOCK_ROWS * c).min(len);
            // SAFETY: each block has its own sums.
            work(rows, unsafe {
                sums.slice(2 * block * c..2 * (block + 1) * c)
            });
        }
    });
}

fn apply(cpu: Cpu, norm: &BatchNorm, x: &[f32], channels: [&[f32]; 3], y: &mut [f32]) {
    let c = norm.channels;
    each_rows(cpu, c, y, |rows, y| {
        slice_apply(
            cpu.tier,
            norm.activation,
            &x[rows.start * c..rows.end * c],
            channels,
            y,
        );
    });
}

per_tier! {
    /// `y = activation((x - mean) * scale + beta)` with `[mean, scale, beta]` a channel.
    fn slice_apply(activation: Activation, x: &[f32], channels: [&[f32]; 3], y: &mut [f32])
    { scalar: scalar::batch_apply, vector: vector_apply }
}

per_tier! {
    fn slice_eval(
        norm: &BatchNorm,
        x: &[f32],
        affine: Affine,
        running: (&[f32], &[f32]),
        y: &mut [f32],
    )
    { scalar: scalar::batch_eval, vector: vector_eval }
}

per_tier! {
    /// Mean and sum of squared distances from it, of each channel of a block.
    fn slice_moments(x: &[f32], moments: &mut [f32])
    { scalar: scalar::batch_moments, vector: vector_moments }
}

per_tier! {
    /// Sums of `d` and of `d` times the normalised value, of each channel of a block; `d` is before the activation.
    fn slice_sums(norm: &BatchNorm, saved: BatchNormSaved, dy: &[f32], sums: &mut [f32])
    { scalar: scalar::batch_sums, vector: vector_sums }
}

per_tier! {
    /// `dx` from the means of what [`slice_sums`] sums.
    fn slice_gradient(norm: &BatchNorm, saved: BatchNormSaved, dy: &[f32], means: &[f32], dx: &mut [f32])
    { scalar: scalar::batch_gradient, vector: vector_gradient }
}
