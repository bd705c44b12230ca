//! The largest input of each window, some registers of channels at a time.

use super::Pool;
use super::scalar::covered;
use crate::vector::Vector;

/// Registers of channels that pass through a window together.
const TOGETHER: usize = 4;

/// The first number of a window, from one of its rows and columns to the next, and how many there are.
struct Window {
    start: usize,
    next: [usize; 2],
    count: [usize; 2],
}

/// [`super::scalar::max_forward`] in registers.
#[inline(always)]
pub(super) fn max_forward<V: Vector>(pool: &Pool, first: usize, x: &[f32], y: &mut [f32]) {
    let (c, wide) = (pool.c, TOGETHER * V::LANES);
    for (row, y) in y.chunks_exact_mut(pool.out_w() * c).enumerate() {
        let (image, oy) = ((first + row) / pool.out_h(), (first + row) % pool.out_h());
        let (rows, _) = covered(pool, 0, pool.h, oy);
        for (ox, y) in y.chunks_exact_mut(c).enumerate() {
            let (columns, _) = covered(pool, 1, pool.w, ox);
            let window = Window {
                start: ((image * pool.h + rows.start) * pool.w + columns.start) * c,
                next: [pool.w * c, c],
                count: [rows.len(), columns.len()],
            };
            let mut channel = 0;
            while channel + wide <= c {
                let load = |at: usize, register: usize| {
                    V::load(&x[at + channel + register * V::LANES..][..V::LANES])
                };
                let best = largest::<V, TOGETHER>(&window, load);
                for register in 0..TOGETHER {
                    best[register].store(&mut y[channel + register * V::LANES..]);
                }
                channel += wide;
            }
            while channel < c {
                let count = (c - channel).min(V::LANES);
                let load = |at: usize, _| V::load_part(&x[at + channel..][..count]);
                let [best] = largest::<V, 1>(&window, load);
                best.store_part(&mut y[channel..][..count]);
                channel += count;
            }
        }
    }
}

#[inline(always)]
fn largest<V: Vector, const N: usize>(window: &Window, load: impl Fn(usize, usize) -> V) -> [V; N] {
    let mut best = [V::splat(f32::NEG_INFINITY); N];
    for row in 0..window.count[0] {
        for column in 0..window.count[1] {
            let at = window.start + row * window.next[0] + column * window.next[1];
            for register in 0..N {
                best[register] = best[register].larger(load(at, register));
            }
        }
    }
    best
}
