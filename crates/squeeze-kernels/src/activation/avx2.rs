//! Activations of eight numbers in a register, for the epilogues of other families.

use std::arch::x86_64::__m256;

use super::{Activation, vector};
use crate::vector::F32x8;

/// `f(x)` of eight numbers.
#[allow(dead_code, reason = "for the epilogues of products")]
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn apply(activation: Activation, x: __m256) -> __m256 {
    vector::apply(activation, F32x8(x)).0
}
