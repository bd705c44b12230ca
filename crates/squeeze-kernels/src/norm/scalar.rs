//! The definition of layer norm and batch norm. Sums are in f64, so that tests of the fast twins see only their error.

use super::{
    Affine, BatchNorm, BatchNormSaved, LayerNorm, LayerNormGrads, LayerNormOut, LayerNormSaved,
};
use crate::activation::{
    Activation,
    scalar::{apply, slope},
};

/// `y = ln(x + residual)`, where without `x` it is what `y` holds; keeps the sum and the statistics where there is room.
pub fn layer_forward(
    norm: &LayerNorm,
    x: Option<&[f32]>,
    residual: Option<&[f32]>,
    affine: Affine,
    out: LayerNormOut,
) {
    add_residual(x, residual, out.y);
    if residual.is_some() && !out.sum.is_empty() {
        out.sum.copy_from_slice(out.y);
    }
    let mut kept = out.stats.as_chunks_mut::<2>().0.iter_mut();
    for y in out.y.chunks_exact_mut(norm.channels) {
        let stats = row_stats(norm, y);
        normalise(y, stats, affine);
        if let Some(kept) = kept.next() {
            *kept = stats;
        }
    }
}

fn add_residual(x: Option<&[f32]>, residual: Option<&[f32]>, y: &mut [f32]) {
    if let Some(x) = x {
        y.copy_from_slice(x);
    }
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

/// The gradients of layer norm; all are overwritten.
pub fn layer_backward(norm: &LayerNorm, saved: LayerNormSaved, dy: &[f32], grads: LayerNormGrads) {
    let n = norm.channels;
    for c in 0..n {
        let (mut dgamma, mut dbeta) = (0.0, 0.0);
        for row in 0..dy.len() / n {
            let [mean, inverse] = [saved.stats[2 * row], saved.stats[2 * row + 1]];
            let d = f64::from(dy[row * n + c]);
            dbeta += d;
            dgamma += d * f64::from((saved.x[row * n + c] - mean) * inverse);
        }
        grads.dgamma[c] = dgamma as f32;
        grads.dbeta[c] = dbeta as f32;
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

/// `y = activation((x - mean) * scale + beta)` with `[mean, scale, beta]` a channel.
pub fn batch_apply(
    activation: Activation,
    x: &[f32],
    [mean, scale, beta]: [&[f32]; 3],
    y: &mut [f32],
) {
    for (i, y) in y.iter_mut().enumerate() {
        let c = i % mean.len();
        *y = apply(activation, (x[i] - mean[c]) * scale[c] + beta[c]);
    }
}

/// Normalises by given means and variances.
pub fn batch_eval(
    norm: &BatchNorm,
    x: &[f32],
    affine: Affine,
    (mean, variance): (&[f32], &[f32]),
    y: &mut [f32],
) {
    for (i, y) in y.iter_mut().enumerate() {
        let c = i % norm.channels;
        let scale = affine.gamma[c] / (variance[c] + norm.eps).sqrt();
        *y = apply(norm.activation, (x[i] - mean[c]) * scale + affine.beta[c]);
    }
}

/// Mean, then sum of squared distances from it, of each channel.
pub fn batch_moments(x: &[f32], moments: &mut [f32]) {
    let (means, squares) = moments.split_at_mut(moments.len() / 2);
    let n = means.len();
    for c in 0..n {
        let column = || x[c..].iter().step_by(n).map(|&x| f64::from(x));
        let mean = column().sum::<f64>() / (x.len() / n) as f64;
        means[c] = mean as f32;
        squares[c] = column().map(|x| (x - mean).powi(2)).sum::<f64>() as f32;
    }
}

/// Sums of `d`, then of `d` times the normalised value, of each channel; `d` is the gradient before the activation.
pub fn batch_sums(norm: &BatchNorm, saved: BatchNormSaved, dy: &[f32], sums: &mut [f32]) {
    let n = norm.channels;
    let (sum, dot) = sums.split_at_mut(n);
    for c in 0..n {
        let pairs = || (c..dy.len()).step_by(n).map(|i| inner(norm, saved, dy, i));
        sum[c] = pairs().map(|(d, _)| f64::from(d)).sum::<f64>() as f32;
        dot[c] = pairs()
            .map(|(d, normal)| f64::from(d) * f64::from(normal))
            .sum::<f64>() as f32;
    }
}

/// `dx` from the means of what [`batch_sums`] sums.
pub fn batch_gradient(
    norm: &BatchNorm,
    saved: BatchNormSaved,
    dy: &[f32],
    means: &[f32],
    dx: &mut [f32],
) {
    let n = norm.channels;
    for (i, dx) in dx.iter_mut().enumerate() {
        let c = i % n;
        let (d, normal) = inner(norm, saved, dy, i);
        *dx = saved.affine.gamma[c] * saved.stats[n + c] * (d - means[c] - normal * means[n + c]);
    }
}

/// The gradient before the activation, and the normalised value.
fn inner(norm: &BatchNorm, saved: BatchNormSaved, dy: &[f32], i: usize) -> (f32, f32) {
    let c = i % norm.channels;
    let normal = (saved.x[i] - saved.stats[c]) * saved.stats[norm.channels + c];
    let before = normal * saved.affine.gamma[c] + saved.affine.beta[c];
    (dy[i] * slope(norm.activation, before), normal)
}
