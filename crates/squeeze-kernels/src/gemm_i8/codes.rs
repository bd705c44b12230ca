//! Layers whose bytes stand for numbers in a way that is known before they run: static quantization.

use std::sync::Arc;

use super::right::Right;
use super::tile::Limits;
use crate::activation::Activation;
use crate::activation::curve::Curve;
use crate::gemm_f32::Epilogue;
use crate::{Quantization, SharedMut};

/// What a layer reads and writes in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Codes {
    /// What its input's bytes stand for.
    pub input: Quantization,
    /// What its output's bytes stand for; numbers go out where there is none.
    pub output: Option<Quantization>,
    /// What the bytes of the residual stand for, if bytes go out and there is one.
    pub residual: Option<Quantization>,
}

/// A layer that reads bytes.
#[derive(Debug, Clone, Copy)]
pub struct Fixed<'a> {
    /// What bytes stand for.
    pub codes: Codes,
    /// A number for each output channel, for a layer that writes bytes.
    pub bias: Option<&'a [f32]>,
    /// What such a layer does last.
    pub activation: Activation,
}

/// Where a layer that reads bytes writes.
#[derive(Debug)]
pub enum Output<'a> {
    /// Numbers, and what happens to them before.
    Numbers(&'a mut [f32], &'a Epilogue<'a>),
    /// Bytes, and the residual's.
    Bytes(&'a mut [u8], Option<&'a [u8]>),
}

/// The same, shared by threads.
pub(crate) enum Shared<'a> {
    Numbers(SharedMut<'a, f32>, &'a Epilogue<'a>),
    Bytes(SharedMut<'a, u8>, Option<&'a [u8]>),
}

impl<'a> Output<'a> {
    pub(crate) fn share(self) -> Shared<'a> {
        match self {
            Self::Numbers(to, epilogue) => Shared::Numbers(SharedMut::new(to), epilogue),
            Self::Bytes(to, residual) => Shared::Bytes(SharedMut::new(to), residual),
        }
    }

    /// # Panics
    /// If it is not what the layer was packed for, or shorter than `len`.
    pub(crate) fn check(&self, right: &Right, len: usize) {
        match self {
            Self::Numbers(to, epilogue) => {
                assert!(right.bytes_out.is_none(), "the layer writes bytes");
                assert!(to.len() >= len, "{} outputs are too few", to.len());
                right.check(epilogue, len);
            }
            Self::Bytes(to, residual) => {
                let out = right.bytes_out.as_ref().expect("the layer writes numbers");
                assert!(to.len() >= len, "{} outputs are too few", to.len());
                assert_eq!(residual.is_some(), out.factor.is_some(), "a residual");
                assert!(residual.is_none_or(|residual| residual.len() >= len));
            }
        }
    }
}

/// Scaled sums, biases and residuals are limited to so much, in bytes of the output, by what they are multiplied by: all three together are
/// numbers that 32 bits hold. Only outputs that could reach millions of times what their bytes do are changed by that.
pub(super) const FAR: f32 = (1 << 29) as f32;

/// How scaled sums become bytes.
#[derive(Clone)]
pub(crate) struct ToBytes {
    /// What is added to each column of each group, padding included.
    pub bias: Arc<[f32]>,
    /// Bounds of the result, in bytes.
    pub limits: (f32, f32),
    /// The same as bytes.
    pub byte_limits: Arc<Limits>,
    /// What bytes of the residual are multiplied by.
    pub factor: Option<f32>,
    /// What is done to the sums last, if that is more than limits.
    pub curve: Option<Arc<Curve>>,
}

impl ToBytes {
    /// `bias` lies as the columns of the packed weights do; what their scales have to be multiplied by comes back too.
    ///
    /// # Panics
    /// If there is a residual before an activation that is more than limits.
    pub fn new(mut bias: Vec<f32>, fixed: &Fixed, output: Quantization) -> (ToBytes, f32) {
        let Some((low, high)) = fixed.activation.limits() else {
            assert!(
                fixed.codes.residual.is_none(),
                "a residual and {:?}",
                fixed.activation
            );
            let (curve, steps) = Curve::of(fixed.activation, output);
            let to_bytes = ToBytes {
                bias: bias.iter().map(|bias| bias * steps).collect(),
                limits: (0.0, 255.0),
                byte_limits: in_bytes((0.0, 255.0)),
                factor: None,
                curve: Some(Arc::new(curve)),
            };
            return (to_bytes, steps);
        };
        let (scale, zero) = (1.0 / output.scale, f32::from(output.zero));
        let residual = fixed.codes.residual;
        let factor = residual.map(|residual| (residual.scale * scale).min(FAR / 255.0));
        let around = residual.map_or(0.0, |residual| f32::from(residual.zero));
        let around = factor.unwrap_or(0.0) * around;
        for bias in &mut bias {
            *bias = (*bias * scale + (zero - around)).clamp(-FAR, FAR);
        }
        let limit = |x: f32| (x * scale + zero).clamp(0.0, 255.0);
        let limits = (limit(low), limit(high));
        let to_bytes = ToBytes {
            bias: bias.into(),
            limits,
            byte_limits: in_bytes(limits),
            factor,
            curve: None,
        };
        (to_bytes, scale)
    }

    /// Bytes of its numbers.
    pub fn bytes(&self) -> usize {
        4 * self.bias.len()
    }
}

/// Bounds as bytes.
fn in_bytes((low, high): (f32, f32)) -> Arc<Limits> {
    Arc::new([low, high].map(|limit| [limit.round_ties_even() as u8; 32]))
}
