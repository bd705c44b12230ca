//! Activations: forward, in place or not, and backward from the input or, where it says enough, from the output.
//!
//! [`avx512::apply`] and [`avx2::apply`] work on one register, for the epilogues of other families.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod curve;
pub mod scalar;
pub mod table;
pub(crate) mod vector;

pub use table::Table;

use vector::{
    backward as vector_backward, backward_from_output as vector_backward_from_output,
    backward_in_place as vector_backward_in_place, forward as vector_forward,
    forward_in_place as vector_forward_in_place,
};

use crate::vector::per_tier;
use crate::{Cpu, SharedMut, Tier};

/// An elementwise function of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x`.
    #[default]
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` times the normal distribution function of `x`, exactly.
    Gelu,
    /// The approximation of [`Activation::Gelu`] by a hyperbolic tangent.
    GeluTanh,
    /// `x sigmoid(x)`, also called swish.
    Silu,
    /// `x relu6(x + 3) / 6`.
    HardSwish,
    /// `relu6(x + 3) / 6`.
    HardSigmoid,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Every activation, for tables and tests.
    pub const ALL: [Self; 10] = [
        Self::Identity,
        Self::Relu,
        Self::Relu6,
        Self::Gelu,
        Self::GeluTanh,
        Self::Silu,
        Self::HardSwish,
        Self::HardSigmoid,
        Self::Sigmoid,
        Self::Tanh,
    ];

    /// The bounds that are all there is to it, if that is so.
    pub fn limits(self) -> Option<(f32, f32)> {
        match self {
            Self::Identity => Some((f32::NEG_INFINITY, f32::INFINITY)),
            Self::Relu => Some((0.0, f32::INFINITY)),
            Self::Relu6 => Some((0.0, 6.0)),
            Self::Gelu
            | Self::GeluTanh
            | Self::Silu
            | Self::HardSwish
            | Self::HardSigmoid
            | Self::Sigmoid
            | Self::Tanh => None,
        }
    }

    /// Whether [`backward_from_output`] exists: the slope follows from the output.
    pub fn output_suffices(self) -> bool {
        match self {
            Self::Identity
            | Self::Relu
            | Self::Relu6
            | Self::HardSigmoid
            | Self::Sigmoid
            | Self::Tanh => true,
            Self::Gelu | Self::GeluTanh | Self::Silu | Self::HardSwish => false,
        }
    }
}

/// The rows of this family: name and tier.
pub const KERNELS: &[(&str, Tier)] = &[
    ("f32_activation_scalar", Tier::Scalar),
    ("f32_activation_avx2", Tier::Avx2),
    ("f32_activation_avx512", Tier::Avx512),
];

/// `y = f(x)`.
///
/// # Panics
/// When the lengths differ.
pub fn forward(cpu: Cpu, activation: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let shared = SharedMut::new(y);
    cpu.split(x.len(), x.len() * work(activation), |range| {
        // SAFETY: ranges of one split are disjoint.
        let y = unsafe { shared.slice(range.clone()) };
        slice_forward(cpu.tier, activation, &x[range], y);
    });
}

/// `x = f(x)`.
pub fn forward_in_place(cpu: Cpu, activation: Activation, x: &mut [f32]) {
    let len = x.len();
    let shared = SharedMut::new(x);
    cpu.split(len, len * work(activation), |range| {
        // SAFETY: ranges of one split are disjoint.
        slice_forward_in_place(cpu.tier, activation, unsafe { shared.slice(range) });
    });
}

/// `dx = dy f'(x)`, where `x` is what the activation was applied to.
///
/// # Panics
/// When the lengths differ.
pub fn backward(cpu: Cpu, activation: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(x.len(), dx.len());
    assert_eq!(dy.len(), dx.len());
    let shared = SharedMut::new(dx);
    cpu.split(x.len(), x.len() * work(activation), |range| {
        // SAFETY: ranges of one split are disjoint.
        let dx = unsafe { shared.slice(range.clone()) };
        slice_backward(cpu.tier, activation, &x[range.clone()], &dy[range], dx);
    });
}

/// `d = d f'(x)`, where `x` is what the activation was applied to.
///
/// # Panics
/// When the lengths differ.
pub fn backward_in_place(cpu: Cpu, activation: Activation, x: &[f32], d: &mut [f32]) {
    assert_eq!(x.len(), d.len());
    let shared = SharedMut::new(d);
    cpu.split(x.len(), x.len() * work(activation), |range| {
        // SAFETY: ranges of one split are disjoint.
        let d = unsafe { shared.slice(range.clone()) };
        slice_backward_in_place(cpu.tier, activation, &x[range], d);
    });
}

/// `d = d f'(x)`, where the slope follows from the output `y = f(x)`.
///
/// # Panics
/// When the lengths differ or the output does not say enough (see [`Activation::output_suffices`]).
pub fn backward_from_output(cpu: Cpu, activation: Activation, y: &[f32], d: &mut [f32]) {
    assert_eq!(y.len(), d.len());
    let shared = SharedMut::new(d);
    cpu.split(y.len(), y.len(), |range| {
        // SAFETY: ranges of one split are disjoint.
        let d = unsafe { shared.slice(range.clone()) };
        slice_backward_from_output(cpu.tier, activation, &y[range], d);
    });
}

/// What one number costs, in multiply-adds.
fn work(activation: Activation) -> usize {
    match activation {
        Activation::Identity
        | Activation::Relu
        | Activation::Relu6
        | Activation::HardSwish
        | Activation::HardSigmoid => 2,
        Activation::Gelu
        | Activation::GeluTanh
        | Activation::Silu
        | Activation::Sigmoid
        | Activation::Tanh => 20,
    }
}

per_tier! {
    /// [`forward`] on one thread.
    pub(crate) fn slice_forward(activation: Activation, x: &[f32], y: &mut [f32])
    { scalar: scalar::forward, vector: vector_forward }
}

per_tier! {
    /// [`forward_in_place`] on one thread.
    pub(crate) fn slice_forward_in_place(activation: Activation, x: &mut [f32])
    { scalar: scalar::forward_in_place, vector: vector_forward_in_place }
}

per_tier! {
    /// [`backward`] on one thread.
    pub(crate) fn slice_backward(activation: Activation, x: &[f32], dy: &[f32], dx: &mut [f32])
    { scalar: scalar::backward, vector: vector_backward }
}

per_tier! {
    /// [`backward_in_place`] on one thread.
    pub(crate) fn slice_backward_in_place(activation: Activation, x: &[f32], d: &mut [f32])
    { scalar: scalar::backward_in_place, vector: vector_backward_in_place }
}

per_tier! {
    /// [`backward_from_output`] on one thread.
    pub(crate) fn slice_backward_from_output(activation: Activation, y: &[f32], d: &mut [f32])
    { scalar: scalar::backward_from_output, vector: vector_backward_from_output }
}

#[cfg(test)]
mod tests;
