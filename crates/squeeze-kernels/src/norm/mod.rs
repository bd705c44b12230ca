//! Layer norm over the channels of each row and batch norm over the rows of each channel, forward and backward.

pub mod batch;
pub mod layer;
pub mod scalar;
mod vector;

use crate::Tier;

pub use batch::{BatchNorm, BatchNormGrads, BatchNormOut, BatchNormSaved, Running};
pub use layer::{LayerNorm, LayerNormGrads, LayerNormOut, LayerNormSaved};

/// What a normalised value is multiplied by, and what is added, one number a channel.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// The factors.
    pub gamma: &'a [f32],
    /// The addends.
    pub beta: &'a [f32],
}

/// Sums over rows are taken in blocks of so many rows, and the blocks' sums are added in order.
pub const BLOCK_ROWS: usize = 128;

/// The rows of this family: name and tier.
pub const KERNELS: &[(&str, Tier)] = &[
    ("f32_norm_scalar", Tier::Scalar),
    ("f32_norm_avx2", Tier::Avx2),
    ("f32_norm_avx512", Tier::Avx512),
];

#[cfg(test)]
mod tests;
