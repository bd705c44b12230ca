//! Dropout whose mask follows from a seed and a place, so that forward and backward passes make the same one.

use super::each_rows;
use crate::Cpu;
use crate::vector::per_tier;

/// Which numbers are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The seed of the mask; a step of training takes another one for every use.
    pub seed: u64,
    /// The share that is kept; 1 keeps everything.
    pub keep: f32,
}

impl Dropout {
    /// Keeps everything.
    pub const NONE: Self = Self { seed: 0, keep: 1.0 };

    /// What the number at this place is multiplied by: 0, or `1 / keep`.
    pub fn factor(&self, place: u64) -> f32 {
        let high = (place >> 32) as u32;
        if self.keep >= 1.0 {
            1.0
        } else if bits(self.row_seed(high), place as u32) < self.threshold() {
            1.0 / self.keep
        } else {
            0.0
        }
    }

    /// The seed for places with these high bits.
    pub(crate) fn row_seed(&self, high: u32) -> [u32; 2] {
        [
            self.seed as u32 ^ high.wrapping_mul(0x9e37_79b9),
            (self.seed >> 32) as u32,
        ]
    }

    /// A number is kept when its 24 random bits are below this.
    pub(crate) fn threshold(&self) -> u32 {
        (self.keep * 16_777_216.0) as u32
    }
}

/// 24 random bits of a place: the integer mixer "lowbias32" (Wellons, 2018), with the seed's halves before and between.
#[inline(always)]
pub(crate) fn bits(seed: [u32; 2], place: u32) -> u32 {
    let mut h = place ^ seed[0];
    h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
    h = (h ^ (h >> 15))
        .wrapping_mul(0x846c_a68b)
        .wrapping_add(seed[1]);
    h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
    (h ^ (h >> 15)) >> 8
}

/// `y = x` with some numbers dropped and the others scaled by `1 / keep`. The same call on `dy` gives `dx`.
///
/// # Panics
/// When the lengths differ.
pub fn dropout(cpu: Cpu, dropout: Dropout, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    each_rows(cpu, 1, y, |range, y| {
        masked(cpu.tier, dropout, range.start as u64, &x[range], y)
    });
}

per_tier! {
    /// [`dropout`] of the numbers from a place on, on one thread.
    pub(crate) fn masked(dropout: Dropout, start: u64, x: &[f32], y: &mut [f32])
    { compiled: masked_loop }
}

#[inline(always)]
fn masked_loop(dropout: Dropout, start: u64, x: &[f32], y: &mut [f32]) {
    if dropout.keep >= 1.0 {
        return y.copy_from_slice(x);
    }
    let (threshold, factor) = (dropout.threshold(), 1.0 / dropout.keep);
    let mut done = 0;
    while done < y.len() {
        // Up to the next place where the high bits change.
        let place = start + done as u64;
        let left = (1 << 32) - (place & 0xffff_ffff);
        let count = left.min((y.len() - done) as u64) as usize;
        let (seed, low) = (dropout.row_seed((place >> 32) as u32), place as u32);
        let (x, y) = (&x[done..][..count], &mut y[done..][..count]);
        for (i, (x, y)) in x.iter().zip(y).enumerate() {
            let kept = bits(seed, low.wrapping_add(i as u32)) < threshold;
            *y = if kept { x * factor } else { 0.0 };
        }
        done += count;
    }
}
