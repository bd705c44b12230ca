//! The definition of layer norm and batch norm. Sums are in f64, so that tests of the fast twins see only their error.

use super::{
    Affine, BatchNorm, BatchNormGrads, BatchNormOut, BatchNormSaved, LayerNorm, LayerNormGrads,
    LayerNormOut, LayerNormSaved, Running,
};
use crate::activation::scalar::{apply, slope};

/// `y = ln(x + residual)`.
pub fn layer_forward(
    norm: &LayerNorm,
    x: &[f32],
    residual: Option<&[f32]>,
    affine: Affine,
    y: &mut [f32],
) {
    add_residual(x, residual, y);
    for y in y.chunks_exact_mut(norm.channels) {
        let [mean, inverse] = row_stats(norm, y);
        normalise(y, [mean, inverse], affine);
    }
}

/// [`layer_forward`] that keeps what was normalised and its statistics.
pub fn layer_forward_train(
    norm: &LayerNorm,
    x: &[f32],
    residual: Option<&[f32]>,
    affine: Affine,
    out: LayerNormOut,
) {
    add_residual(x, residual, out.y);
    if residual.is_some() {
        out.sum.copy_from_slice(out.y);
    }
    for (y, stats) in out
        .y
        .chunks_exact_mut(norm.channels)
        .zip(out.stats.as_chunks_mut::<2>().0)
    {
        *stats = row_stats(norm, y);
        normalise(y, *stats, affine);
    }
}

fn add_residual(x: &[f32], residual: Option<&[f32]>, y: &mut [f32]) {
    y.copy_from_slice(x);
    if let Some(residual) = residual {
        assert_eq!(residual.len(), y.len());
        for (y, r) in y.iter_mut().zip(residual) {
            *y += r;
        }
    }
}

/// Mean and reciprocal deviation of a row.
fn row_stats(norm: &LayerNorm, x: &[f32]) -> [f32; 2] {
    let n = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = x
        .iter()
        .map(|&x| (f64::from(x) - mean).powi(2))
        .sum::<f64>()
        / n;
    [
        mean as f32,
        (1.0 / (variance + f64::from(norm.eps)).sqrt()) as f32,
    ]
}

fn normalise(y: &mut [f32], [mean, inverse]: [f32; 2], affine: Affine) {
    for (c, y) in y.iter_mut().enumerate() {
        *y = (*y - mean) * inverse * affine.gamma[c] + affine.beta[c];
    }
}

/// The gradients of layer norm.
pub fn layer_backward(
    norm: &LayerNorm,
    saved: LayerNormSaved,
    dy: &[f32],
    grads: LayerNormGrads,
    scratch: &mut [f32],
) {
    assert_eq!(saved.x.len(), dy.len());
    assert_eq!(grads.dx.len(), dy.len());
    assert!(scratch.len() >= norm.backward_scratch(dy.len() / norm.channels));
    let n = norm.channels;
    for c in 0..n {
        let (mut dgamma, mut dbeta) = (0.0, 0.0);
        for row in 0..dy.len() / n {
            let [mean, inverse] = [saved.stats[2 * row], saved.stats[2 * row + 1]];
            let d = f64::from(dy[row * n + c]);
            dbeta += d;
            dgamma += d * f64::from((saved.x[row * n + c] - mean) * inverse);
        }
        grads.dgamma[c] += dgamma as f32;
        grads.dbeta[c] += dbeta as f32;
    }
    for (row, dx) in grads.dx.chunks_exact_mut(n).enumerate() {
        let (x, dy) = (&saved.x[row * n..][..n], &dy[row * n..][..n]);
        let [mean, inverse] = [saved.stats[2 * row], saved.stats[2 * row + 1]];
        let (mut sum, mut dot) = (0.0, 0.0);
        for c in 0..n {
            let d = f64::from(dy[c] * saved.gamma[c]);
            sum += d;
            dot += d * f64::from((x[c] - mean) * inverse);
        }
        let (sum, dot) = ((sum / n as f64) as f32, (dot / n as f64) as f32);
        for c in 0..n {
            dx[c] = inverse * (dy[c] * saved.gamma[c] - sum - (x[c] - mean) * inverse * dot);
        }
    }
}

/// Normalises by the statistics of the batch.
pub fn batch_forward_train(
    norm: &BatchNorm,
    x: &[f32],
    affine: Affine,
    running: Running,
    out: BatchNormOut,
) {
    let n = norm.channels;
    let rows = x.len() / n;
    assert_eq!(out.y.len(), x.len());
    assert!(out.scratch.len() >= norm.scratch(rows));
    for c in 0..n {
        let column = || x[c..].iter().step_by(n).map(|&x| f64::from(x));
        let mean = column().sum::<f64>() / rows as f64;
        let squares: f64 = column().map(|x| (x - mean).powi(2)).sum();
        let variance = squares / rows as f64;
        let unbiased = if rows > 1 {
            squares / (rows - 1) as f64
        } else {
            0.0
        };
        out.stats[c] = mean as f32;
        out.stats[n + c] = (1.0 / (variance + f64::from(norm.eps)).sqrt()) as f32;
        running.mean[c] += norm.momentum * (mean as f32 - running.mean[c]);
        running.variance[c] += norm.momentum * (unbiased as f32 - running.variance[c]);
    }
    for (i, y) in out.y.iter_mut().enumerate() {
        let c = i % n;
        let normal = (x[i] - out.stats[c]) * out.stats[n + c];
        *y = apply(norm.activation, normal * affine.gamma[c] + affine.beta[c]);
    }
}

/// Normalises by given statistics.
pub fn batch_forward_eval(
    norm: &BatchNorm,
    x: &[f32],
    affine: Affine,
    (mean, variance): (&[f32], &[f32]),
    y: &mut [f32],
) {
    assert_eq!(x.len(), y.len());
    for (i, y) in y.iter_mut().enumerate() {
        let c = i % norm.channels;
        let scale = affine.gamma[c] / (variance[c] + norm.eps).sqrt();
        *y = apply(norm.activation, (x[i] - mean[c]) * scale + affine.beta[c]);
    }
}

/// The gradients of batch norm in training.
pub fn batch_backward(
    norm: &BatchNorm,
    saved: BatchNormSaved,
    dy: &[f32],
    grads: BatchNormGrads,
    scratch: &mut [f32],
) {
    let n = norm.channels;
    let rows = dy.len() / n;
    assert_eq!(saved.x.len(), dy.len());
    assert_eq!(grads.dx.len(), dy.len());
    assert!(scratch.len() >= norm.scratch(rows));
    for c in 0..n {
        let (mean, inverse) = (saved.stats[c], saved.stats[n + c]);
        let (gamma, beta) = (saved.affine.gamma[c], saved.affine.beta[c]);
        let normal = |row: usize| (saved.x[row * n + c] - mean) * inverse;
        let inner =
            |row: usize| dy[row * n + c] * slope(norm.activation, normal(row) * gamma + beta);
        let (mut sum, mut dot) = (0.0, 0.0);
        for row in 0..rows {
            sum += f64::from(inner(row));
            dot += f64::from(inner(row)) * f64::from(normal(row));
        }
        grads.dbeta[c] += sum as f32;
        grads.dgamma[c] += dot as f32;
        let (sum, dot) = ((sum / rows as f64) as f32, (dot / rows as f64) as f32);
        for row in 0..rows {
            grads.dx[row * n + c] = gamma * inverse * (inner(row) - sum - normal(row) * dot);
        }
    }
}
