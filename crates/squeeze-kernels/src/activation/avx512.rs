//! Activations of sixteen numbers in a register, for the epilogues of other families.

use std::arch::x86_64::__m512;

use super::{Activation, vector};
use crate::vector::F32x16;

/// `f(x)` of sixteen numbers.
#[allow(dead_code, reason = "for the epilogues of products")]
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
pub(crate) fn apply(activation: Activation, x: __m512) -> __m512 {
    vector::apply(activation, F32x16(x)).0
}
