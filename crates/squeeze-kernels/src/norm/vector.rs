//! Layer norm and batch norm on vectors of any tier.

use super::{
    Affine, BatchNorm, BatchNormSaved, LayerNorm, LayerNormGrads, LayerNormOut, LayerNormSaved,
};
use crate::activation::Activation;
use crate::activation::vector::{apply, slope, with_constant};
use crate::elementwise::vector::block_sums;
use crate::vector::Vector;

/// `y = ln(x + residual)`; keeps the sum and the statistics where there is room.
#[inline(always)]
pub(super) fn layer_forward<V: Vector>(
    norm: &LayerNorm,
    x: &[f32],
    residual: Option<&[f32]>,
    affine: Affine,
    out: LayerNormOut,
) {
    let c = norm.channels;
    let mut kept = out.stats.as_chunks_mut::<2>().0.iter_mut();
    for (row, y) in out.y.chunks_exact_mut(c).enumerate() {
        let at = row * c;
        let x = &x[at..][..c];
        let stats = match residual {
            Some(residual) => {
                // The sum is in `y` from here on, and hence in the first cache.
                let residual = &residual[at..][..c];
                let parts = x.chunks(V::LANES).zip(residual.chunks(V::LANES));
                for ((x, r), y) in parts.zip(y.chunks_mut(V::LANES)) {
                    (V::load_part(x) + V::load_part(r)).store_part(y);
                }
                if !out.sum.is_empty() {
                    out.sum[at..][..c].copy_from_slice(y);
                }
                let stats = row_stats::<V>(norm, y);
                let normal = Normal::<V>::of(stats);
                let affine = affine
                    .gamma
                    .chunks(V::LANES)
                    .zip(affine.beta.chunks(V::LANES));
                for (y, (gamma, beta)) in y.chunks_mut(V::LANES).zip(affine) {
                    let x = normal.apply(V::load_part(y));
                    x.mul_add(V::load_part(gamma), V::load_part(beta))
                        .store_part(y);
                }
                stats
            }
            None => {
                let stats = row_stats::<V>(norm, x);
                let normal = Normal::<V>::of(stats);
                let affine = affine
                    .gamma
                    .chunks(V::LANES)
                    .zip(affine.beta.chunks(V::LANES));
                let rows = x.chunks(V::LANES).zip(y.chunks_mut(V::LANES));
                for ((x, y), (gamma, beta)) in rows.zip(affine) {
                    let x = normal.apply(V::load_part(x));
                    x.mul_add(V::load_part(gamma), V::load_part(beta))
                        .store_part(y);
                }
                stats
            }
        };
        if let Some(kept) = kept.next() {
            *kept = stats;
        }
    }
}

/// Mean and reciprocal deviation of a row.
#[inline(always)]
fn row_stats<V: Vector>(norm: &LayerNorm, x: &[f32]) -> [f32; 2] {
    let mean = sum_of::<V>(x, |x| x, |x| x) / x.len() as f32;
    let middle = V::splat(mean);
    let squares = sum_of::<V>(
        x,
        |x| (x - middle) * (x - middle),
        |x| (x - mean) * (x - mean),
    );
    [mean, 1.0 / (squares / x.len() as f32 + norm.eps).sqrt()]
}

/// The sum of `f` over a row: four chains of vectors, to hide the latency of additions, then what is left one by one.
#[inline(always)]
fn sum_of<V: Vector>(x: &[f32], f: impl Fn(V) -> V, one: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [V::splat(0.0); 4];
    let mut fours = x.chunks_exact(4 * V::LANES);
    for x in &mut fours {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = *sum + f(V::load(&x[i * V::LANES..]));
        }
    }
    let mut ones = fours.remainder().chunks_exact(V::LANES);
    for x in &mut ones {
        sums[0] = sums[0] + f(V::load(x));
    }
    let whole = ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum();
    whole + ones.remainder().iter().map(|&x| one(x)).sum::<f32>()
}

/// `(x - mean) * inverse`.
#[derive(Clone, Copy)]
struct Normal<V> {
    mean: V,
    inverse: V,
}

impl<V: Vector> Normal<V> {
    #[inline(always)]
    fn of([mean, inverse]: [f32; 2]) -> Self {
        Self {
            mean: V::splat(mean),
            inverse: V::splat(inverse),
        }
    }

    #[inline(always)]
    fn apply(self, x: V) -> V {
        (x - self.mean) * self.inverse
    }
}

/// The gradients of a block of rows; all are overwritten.
#[inline(always)]
pub(super) fn layer_backward<V: Vector>(
    norm: &LayerNorm,
    saved: LayerNormSaved,
    dy: &[f32],
    grads: LayerNormGrads,
) {
    let c = norm.channels;
    grads.dgamma.fill(0.0);
    grads.dbeta.fill(0.0);
    for (row, dx) in grads.dx.chunks_exact_mut(c).enumerate() {
        let (x, dy) = (&saved.x[row * c..][..c], &dy[row * c..][..c]);
        let normal = Normal::<V>::of([saved.stats[2 * row], saved.stats[2 * row + 1]]);
        let (mut sum, mut dot) = (V::splat(0.0), V::splat(0.0));
        let rows = x
            .chunks(V::LANES)
            .zip(dy.chunks(V::LANES))
            .zip(saved.gamma.chunks(V::LANES));
        let sums = grads
            .dgamma
            .chunks_mut(V::LANES)
            .zip(grads.dbeta.chunks_mut(V::LANES));
        for (((x, dy), gamma), (dgamma, dbeta)) in rows.zip(sums) {
            let x = normal.apply(V::load_part(x));
            // Beyond the end of a row `dy` is zero, so nothing there adds to the sums.
            let dy = V::load_part(dy);
            dy.mul_add(x, V::load_part(dgamma)).store_part(dgamma);
            (V::load_part(dbeta) + dy).store_part(dbeta);
            let d = dy * V::load_part(gamma);
            sum = sum + d;
            dot = d.mul_add(x, dot);
        }
        let sum = V::splat(sum.sum() / c as f32);
        let dot = V::splat(dot.sum() / c as f32);
        let rows = x
            .chunks(V::LANES)
            .zip(dy.chunks(V::LANES))
            .zip(saved.gamma.chunks(V::LANES));
        for (((x, dy), gamma), dx) in rows.zip(dx.chunks_mut(V::LANES)) {
            let x = normal.apply(V::load_part(x));
            let d = V::load_part(dy) * V::load_part(gamma) - sum;
            (normal.inverse * x.neg_mul_add(dot, d)).store_part(dx);
        }
    }
}

/// `y = activation((x - mean) * scale + beta)` with `[mean, scale, beta]` a channel.
#[inline(always)]
pub(super) fn batch_apply<V: Vector>(
    activation: Activation,
    x: &[f32],
    [mean, scale, beta]: [&[f32]; 3],
    y: &mut [f32],
) {
    let c = beta.len();
    with_constant!(activation, F => {
        for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
            let channels = mean.chunks(V::LANES).zip(scale.chunks(V::LANES)).zip(beta.chunks(V::LANES));
            let rows = x.chunks(V::LANES).zip(y.chunks_mut(V::LANES));
            for ((x, y), ((mean, scale), beta)) in rows.zip(channels) {
                let far = V::load_part(x) - V::load_part(mean);
                apply(F, far.mul_add(V::load_part(scale), V::load_part(beta))).store_part(y);
            }
        }
    });
}

/// Normalises by given means and variances.
#[inline(always)]
pub(super) fn batch_eval<V: Vector>(
    norm: &BatchNorm,
    x: &[f32],
    affine: Affine,
    (mean, variance): (&[f32], &[f32]),
    y: &mut [f32],
) {
    let c = norm.channels;
    with_constant!(norm.activation, F => {
        for at in (0..c).step_by(V::LANES) {
            let len = V::LANES.min(c - at);
            let deviation = (V::load_part(&variance[at..][..len]) + V::splat(norm.eps)).sqrt();
            let scale = V::load_part(&affine.gamma[at..][..len]) / deviation;
            let mean = V::load_part(&mean[at..][..len]);
            let beta = V::load_part(&affine.beta[at..][..len]);
            for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
                let far = V::load_part(&x[at..][..len]) - mean;
                apply(F, far.mul_add(scale, beta)).store_part(&mut y[at..][..len]);
            }
        }
    });
}

/// Mean, then sum of squared distances from it, of each channel.
#[inline(always)]
pub(super) fn batch_moments<V: Vector>(x: &[f32], moments: &mut [f32]) {
    let c = moments.len() / 2;
    let (means, squares) = moments.split_at_mut(c);
    block_sums::<V>(x, means);
    let share = c as f32 / x.len() as f32;
    for mean in &mut *means {
        *mean *= share;
    }
    for (strip, (means, squares)) in means
        .chunks(V::LANES)
        .zip(squares.chunks_mut(V::LANES))
        .enumerate()
    {
        let mean = V::load_part(means);
        let mut sum = V::splat(0.0);
        for row in x.chunks_exact(c) {
            let far = V::load_part(&row[strip * V::LANES..][..means.len()]) - mean;
            sum = far.mul_add(far, sum);
        }
        sum.store_part(squares);
    }
}

/// Sums of `d`, then of `d` times the normalised value, of each channel; `d` is the gradient before the activation.
#[inline(always)]
pub(super) fn batch_sums<V: Vector>(
    norm: &BatchNorm,
    saved: BatchNormSaved,
    dy: &[f32],
    sums: &mut [f32],
) {
    let c = norm.channels;
    let (sum, dot) = sums.split_at_mut(c);
    with_constant!(norm.activation, F => {
        for (strip, (sum, dot)) in sum.chunks_mut(V::LANES).zip(dot.chunks_mut(V::LANES)).enumerate() {
            let at = strip * V::LANES;
            let channels = Channels::load(saved, c, at, sum.len());
            let (mut total, mut product) = (V::splat(0.0), V::splat(0.0));
            for (x, dy) in saved.x.chunks_exact(c).zip(dy.chunks_exact(c)) {
                let normal = channels.normal(V::load_part(&x[at..][..sum.len()]));
                let d = channels.inner(F, normal, V::load_part(&dy[at..][..sum.len()]));
                total = total + d;
                product = d.mul_add(normal, product);
            }
            total.store_part(sum);
            product.store_part(dot);
        }
    });
}

/// `dx` from the means of what [`batch_sums`] sums.
#[inline(always)]
pub(super) fn batch_gradient<V: Vector>(
    norm: &BatchNorm,
    saved: BatchNormSaved,
    dy: &[f32],
    means: &[f32],
    dx: &mut [f32],
) {
    let c = norm.channels;
    let (sum, dot) = means.split_at(c);
    with_constant!(norm.activation, F => {
        for ((x, dy), dx) in saved.x.chunks_exact(c).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
            for (strip, dx) in dx.chunks_mut(V::LANES).enumerate() {
                let (at, len) = (strip * V::LANES, dx.len());
                let channels = Channels::load(saved, c, at, len);
                let normal = channels.normal(V::load_part(&x[at..][..len]));
                let d = channels.inner(F, normal, V::load_part(&dy[at..][..len]));
                let d = d - V::load_part(&sum[at..][..len]);
                let d = normal.neg_mul_add(V::load_part(&dot[at..][..len]), d);
                (channels.gamma * channels.inverse * d).store_part(dx);
            }
        }
    });
}

/// What batch norm knows of the channels in one vector.
#[derive(Clone, Copy)]
struct Channels<V> {
    mean: V,
    inverse: V,
    gamma: V,
    beta: V,
}

impl<V: Vector> Channels<V> {
    #[inline(always)]
    fn load(saved: BatchNormSaved, c: usize, at: usize, len: usize) -> Self {
        Self {
            mean: V::load_part(&saved.stats[at..][..len]),
            inverse: V::load_part(&saved.stats[c + at..][..len]),
            gamma: V::load_part(&saved.affine.gamma[at..][..len]),
            beta: V::load_part(&saved.affine.beta[at..][..len]),
        }
    }

    #[inline(always)]
    fn normal(self, x: V) -> V {
        (x - self.mean) * self.inverse
    }

    /// The gradient before the activation.
    #[inline(always)]
    fn inner(self, activation: Activation, normal: V, dy: V) -> V {
        match activation {
            Activation::Identity => dy,
            other => dy * slope(other, normal.mul_add(self.gamma, self.beta)),
        }
    }
}
