//! Layer norm and batch norm on vectors of any tier.

use super::{
    Affine, BatchNorm, BatchNormSaved, LayerNorm, LayerNormGrads, LayerNormOut, LayerNormSaved,
};
use crate::activation::Activation;
use crate::activation::vector::{apply, slope, with_constant};
use crate::elementwise::vector::block_sums;
use crate::vector::Vector;

/// `y = ln(x + residual)`, where without `x` it is what `y` holds; keeps the sum and the statistics where there is room.
#[inline(always)]
pub(super) fn layer_forward<V: Vector>(
    norm: &LayerNorm,
    x: Option<&[f32]>,
    residual: Option<&[f32]>,
    affine: Affine,
    out: LayerNormOut,
) {
    match residual {
        Some(_) => pairs::<V, true>(norm, [x, residual], affine, out),
        None => pairs::<V, false>(norm, [x, None], affine, out),
    }
}

/// The same, two rows at a time: they wait for their sums together, and share factors and addends. The residual counts where `ADD`.
#[inline(always)]
fn pairs<V: Vector, const ADD: bool>(
    norm: &LayerNorm,
    x: [Option<&[f32]>; 2],
    affine: Affine,
    out: LayerNormOut,
) {
    let (c, mut row) = (norm.channels, 0);
    let LayerNormOut { y, sum, stats } = out;
    while row < y.len() / c {
        let count = (y.len() / c - row).min(2);
        let cut = row * c..(row + count) * c;
        let x = x.map(|x| x.map(|x| &x[cut.clone()]));
        let kept = if sum.is_empty() { 0..0 } else { cut.clone() };
        let (y, sum) = (&mut y[cut], &mut sum[kept]);
        let both = match x {
            // A row that is both would get its residual twice.
            [None, Some(residual)] if count == 1 => {
                y.iter_mut()
                    .zip(residual)
                    .for_each(|(y, other)| *y += other);
                two_rows::<V, false>(norm, [None; 2], affine, y, sum)
            }
            _ => two_rows::<V, ADD>(norm, x, affine, y, sum),
        };
        if !stats.is_empty() {
            stats[2 * row..2 * (row + count)].copy_from_slice(&both.as_flattened()[..2 * count]);
        }
        row += count;
    }
}

/// Two rows, or one row as both, and mean and reciprocal deviation of each.
#[inline(always)]
fn two_rows<V: Vector, const ADD: bool>(
    norm: &LayerNorm,
    sides: [Option<&[f32]>; 2],
    affine: Affine,
    y: &mut [f32],
    sum: &mut [f32],
) -> [[f32; 2]; 2] {
    let c = norm.channels;
    let step = y.len() - c;
    let mut given = sides.iter().flatten();
    assert!(given.all(|side| side.len() == y.len()) && (step == c || step == 0));
    assert!([affine.gamma.len(), affine.beta.len()] == [c; 2]);
    let to = y.as_mut_ptr();
    // What is not given is what `y` holds.
    let [x, residual] = sides.map(|side| side.map_or(to.cast_const(), <[f32]>::as_ptr));
    // Where the residual is added, the sum is in `y` from here on, and hence in the first cache.
    let from = if ADD { to.cast_const() } else { x };
    // SAFETY (of all blocks below): `sums` asks for places of whole vectors and of single numbers inside of the rows.
    let means = sums::<V>(
        [c, step],
        |place, _| unsafe {
            if ADD {
                let sum = V::load_ptr(x.add(place)) + V::load_ptr(residual.add(place));
                sum.store_ptr(to.add(place));
                return sum;
            }
            V::load_ptr(x.add(place))
        },
        |place, _| unsafe {
            if ADD {
                *to.add(place) = *x.add(place) + *residual.add(place);
            }
            *from.add(place)
        },
    )
    .map(|sum| sum / c as f32);
    if !sum.is_empty() {
        // SAFETY: `from` is the beginning of `y`, of which no reference is in use.
        sum.copy_from_slice(unsafe { std::slice::from_raw_parts(from, c + step) });
    }
    let mut middles = [V::splat(0.0); 2];
    for row in 0..2 {
        middles[row] = V::splat(means[row]);
    }
    let squares = sums::<V>(
        [c, step],
        |place, row| unsafe {
            let off = V::load_ptr(from.add(place)) - middles[row];
            off * off
        },
        |place, row| unsafe { (*from.add(place) - means[row]) * (*from.add(place) - means[row]) },
    );
    let mut stats = [[0.0; 2]; 2];
    for row in 0..2 {
        stats[row] = [
            means[row],
            1.0 / (squares[row] / c as f32 + norm.eps).sqrt(),
        ];
    }
    // What is called in more places than one is not inlined, and then its instructions are calls: `map` would be.
    let mut normals = [Normal::<V>::of([0.0; 2]); 2];
    for row in 0..2 {
        normals[row] = Normal::of(stats[row]);
    }
    let whole = c / V::LANES * V::LANES;
    let (gamma, beta) = (affine.gamma.as_ptr(), affine.beta.as_ptr());
    let mut at = 0;
    while at < whole {
        // SAFETY (of all blocks here): a vector inside of the rows, and of what they share.
        let shared = unsafe { [V::load_ptr(gamma.add(at)), V::load_ptr(beta.add(at))] };
        // Both are read before one is written: they may be the same.
        let mut both = [V::splat(0.0); 2];
        for row in 0..2 {
            let x = normals[row].apply(unsafe { V::load_ptr(from.add(row * step + at)) });
            both[row] = x.mul_add(shared[0], shared[1]);
        }
        for row in 0..2 {
            unsafe { both[row].store_ptr(to.add(row * step + at)) };
        }
        at += V::LANES;
    }
    for at in whole..c {
        // SAFETY (of both blocks): a number inside of the rows.
        let both = [0, 1].map(|row| unsafe { *from.add(row * step + at) });
        for row in 0..2 {
            let x = (both[row] - stats[row][0]) * stats[row][1];
            let y = x.mul_add(affine.gamma[at], affine.beta[at]);
            unsafe { *to.add(row * step + at) = y };
        }
    }
    stats
}

/// The sums of `f` over each of two rows, `step` numbers apart, by place and row: four chains of vectors, to hide the latency of
/// additions, then what is left one by one.
#[inline(always)]
fn sums<V: Vector>(
    [c, step]: [usize; 2],
    f: impl Fn(usize, usize) -> V,
    one: impl Fn(usize, usize) -> f32,
) -> [f32; 2] {
    let (fours, whole) = (c / (4 * V::LANES) * 4, c / V::LANES);
    let mut sums = [[V::splat(0.0); 4]; 2];
    for at in (0..fours).step_by(4) {
        for chain in 0..4 {
            for row in 0..2 {
                sums[row][chain] = sums[row][chain] + f(row * step + (at + chain) * V::LANES, row);
            }
        }
    }
    for at in fours..whole {
        for row in 0..2 {
            sums[row][0] = sums[row][0] + f(row * step + at * V::LANES, row);
        }
    }
    let mut all = [0.0; 2];
    for (row, all) in all.iter_mut().enumerate() {
        let [first, second, third, fourth] = sums[row];
        *all = ((first + second) + (third + fourth)).sum();
        for at in whole * V::LANES..c {
            *all += one(row * step + at, row);
        }
    }
    all
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
