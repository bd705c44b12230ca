//! The definition of the transforms and products in whole numbers.

use super::{Back, Kernel, PRODUCTS, Product, There, WIDTH};
use crate::Tier;

/// The row of this tier.
pub(super) const KERNEL: Kernel = Kernel {
    name: "i8_winograd_2x2_scalar",
    tier: Tier::Scalar,
    there,
    product,
    back,
};

/// Transforms the inputs of a tile.
///
/// # Safety
/// Every tap is valid for reading all channels or, where no bits count, `WIDTH`; `to` for writing as many to every product.
unsafe fn there(job: &There) {
    let line = |d: [i16; 4]| [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]];
    for channel in 0..job.channels {
        // Zeros are as many as a register has channels.
        let at = |bits: usize| channel & (bits | (WIDTH - 1));
        let rows = job.taps.map(|row| {
            // SAFETY: the caller's promise.
            line(row.map(|(from, bits)| {
                i16::from(unsafe { *from.add(at(bits)) }) - i16::from(job.zero)
            }))
        });
        for j in 0..4 {
            for (i, value) in line(rows.map(|row| row[j])).into_iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { *job.to.add((4 * i + j) * job.step + channel) = value };
            }
        }
    }
}

/// Multiplies the transformed inputs of some tiles with a panel of weights.
///
/// # Safety
/// Inputs, weights and sums are valid for all products of all tiles.
unsafe fn product(job: &Product) {
    for product in 0..PRODUCTS {
        for tile in 0..job.tiles {
            let mut sums = [0i32; WIDTH];
            for channel in 0..job.k {
                let a = job
                    .a
                    .wrapping_add(product * job.step + tile * job.row + channel);
                let pair = (product * (job.k / 2) + channel / 2) * WIDTH;
                for (column, sum) in sums.iter_mut().enumerate() {
                    let b = job.b.wrapping_add(4 * (pair + column) + 2 * (channel % 2));
                    // SAFETY (of both): the caller's promise.
                    let (a, b) = unsafe { (*a, b.cast::<[u8; 2]>().read()) };
                    *sum += i32::from(a) * i32::from(i16::from_le_bytes(b));
                }
            }
            let to = job.to.wrapping_add(product * job.to_step + tile * WIDTH);
            unsafe { to.cast::<[i32; WIDTH]>().write_unaligned(sums) };
        }
    }
}

/// Transforms the sums of a tile back and writes the outputs that exist.
///
/// # Safety
/// Sums are valid for all products, scales and bias for a panel, output and residual for every pixel that exists.
unsafe fn back(job: &Back) {
    let line = |m: [i32; 4]| {
        let [a, b, c, d] = m;
        [
            a.wrapping_add(b).wrapping_add(c),
            b.wrapping_sub(c).wrapping_sub(d),
        ]
    };
    for column in 0..WIDTH {
        // SAFETY (of all): the caller's promise.
        let sum = |i: usize, j: usize| unsafe { *job.sums.add((4 * i + j) * job.step + column) };
        let rows = [0, 1, 2, 3].map(|i| line([0, 1, 2, 3].map(|j| sum(i, j))));
        for j in 0..job.place.exist[1] {
            let sums = line(rows.map(|row| row[j]));
            for (i, sum) in sums.into_iter().enumerate().take(job.place.exist[0]) {
                let at = i * job.next[0] + j * job.next[1] + column;
                let (scale, bias) = unsafe { (*job.scales.add(column), *job.bias.add(column)) };
                let mut x = (sum as f32).mul_add(scale, bias);
                if !job.residual.is_null() {
                    x = f32::from(unsafe { *job.residual.add(at) }).mul_add(job.factor, x);
                }
                let (low, high) = job.limits;
                unsafe { *job.to.add(at) = x.max(low).min(high).round_ties_even() as u8 };
            }
        }
    }
}
