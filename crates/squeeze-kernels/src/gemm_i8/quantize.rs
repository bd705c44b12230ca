//! From single precision to bytes: symmetric around zero, the largest number becomes 127.

use crate::vector::per_tier;

/// What is added to a number to round it to a whole one, half to even, that stands in the low bits: 1.5 * 2^23.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// Below it a row counts as zeros: 127 over it must be finite.
const LEAST: f32 = 1e-30;

/// Brings a row of weights to signed bytes and gives their scale.
///
/// # Panics
/// If the lengths differ.
pub fn weights(x: &[f32], to: &mut [i8]) -> f32 {
    assert_eq!(x.len(), to.len());
    let (factor, scale) = factor(x);
    for (to, x) in to.iter_mut().zip(x) {
        *to = byte(*x, factor) as i8;
    }
    scale
}

per_tier! {
    /// Brings a row of activations to bytes, 128 too large, and gives their scale; what is left of `to` stands for zeros.
    ///
    /// A row with a NaN has the scale NaN, one with an infinity has an infinite scale.
    pub fn quantize_row(x: &[f32], to: &mut [u8]) -> f32
    { compiled: activations }
}

#[inline(always)]
fn activations(x: &[f32], to: &mut [u8]) -> f32 {
    let (factor, scale) = factor(x);
    let (used, rest) = to.split_at_mut(x.len());
    for (to, x) in used.iter_mut().zip(x) {
        *to = byte(*x, factor) ^ 0x80;
    }
    rest.fill(0x80);
    scale
}

/// What a row is multiplied by to become bytes, and the scale that undoes it.
#[inline(always)]
pub(crate) fn factor(x: &[f32]) -> (f32, f32) {
    // Numbers without their sign come in the order of their bits, and NaN lies above infinity.
    let size = |x: &f32| x.to_bits() & 0x7fff_ffff;
    let most = x.iter().fold(0, |most: u32, x| most.max(size(x)));
    let most = f32::from_bits(most);
    match most < LEAST {
        true => (0.0, 0.0),
        false => (127.0 / most, most / 127.0),
    }
}

#[inline(always)]
pub(crate) fn byte(x: f32, factor: f32) -> u8 {
    (x * factor + ROUND).to_bits() as u8
}
