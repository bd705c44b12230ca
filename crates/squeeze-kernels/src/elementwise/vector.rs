//! Sums with activations and sums over rows, on vectors of any tier.

use crate::activation::{Activation, vector::apply, vector::with_constant};
use crate::vector::Vector;

/// `y = activation(a + b)`.
#[inline(always)]
pub(super) fn add<V: Vector>(a: &[f32], b: &[f32], activation: Activation, y: &mut [f32]) {
    assert_eq!(a.len(), y.len());
    assert_eq!(b.len(), y.len());
    with_constant!(activation, F => {
        for ((a, b), y) in a.chunks(V::LANES).zip(b.chunks(V::LANES)).zip(y.chunks_mut(V::LANES)) {
            apply(F, V::load_part(a) + V::load_part(b)).store_part(y);
        }
    });
}

/// `y = activation(y + a)`.
#[inline(always)]
pub(super) fn add_in_place<V: Vector>(a: &[f32], activation: Activation, y: &mut [f32]) {
    assert_eq!(a.len(), y.len());
    with_constant!(activation, F => {
        for (a, y) in a.chunks(V::LANES).zip(y.chunks_mut(V::LANES)) {
            apply(F, V::load_part(y) + V::load_part(a)).store_part(y);
        }
    });
}

/// `sums = x[0] + x[1] ..` over the rows of `sums.len()` numbers.
#[inline(always)]
pub(crate) fn block_sums<V: Vector>(x: &[f32], sums: &mut [f32]) {
    let c = sums.len();
    // Four accumulators: four chains of additions hide each other's latency.
    for (strip, sums) in sums.chunks_mut(4 * V::LANES).enumerate() {
        let from = strip * 4 * V::LANES;
        if sums.len() == 4 * V::LANES {
            let mut four = [V::splat(0.0); 4];
            for row in x.chunks_exact(c) {
                let row = &row[from..from + 4 * V::LANES];
                for (i, sum) in four.iter_mut().enumerate() {
                    *sum = *sum + V::load(&row[i * V::LANES..]);
                }
            }
            for (i, sum) in four.into_iter().enumerate() {
                sum.store(&mut sums[i * V::LANES..]);
            }
            continue;
        }
        for (i, sums) in sums.chunks_mut(V::LANES).enumerate() {
            let from = from + i * V::LANES;
            let mut sum = V::splat(0.0);
            for row in x.chunks_exact(c) {
                sum = sum + V::load_part(&row[from..from + sums.len()]);
            }
            sum.store_part(sums);
        }
    }
}
