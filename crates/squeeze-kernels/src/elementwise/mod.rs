//! Elementwise sums and products, strided copies, shuffles, transposes, sums over rows, dropout.

pub mod copy;
pub mod dropout;
pub mod scalar;

use crate::activation::Activation;
use crate::{Cpu, Tier};

pub use copy::{Block, Shuffle, Transpose, add_block, copy_block, permute, shuffle, transpose};
pub use dropout::{Dropout, dropout};

/// The rows of this family: name and tier.
pub const KERNELS: &[(&str, Tier)] = &[
    ("f32_elementwise_scalar", Tier::Scalar),
    ("f32_elementwise_avx2", Tier::Avx2),
    ("f32_elementwise_avx512", Tier::Avx512),
];

/// `y = activation(a + b)`.
pub fn add(cpu: Cpu, a: &[f32], b: &[f32], activation: Activation, y: &mut [f32]) {
    let _ = cpu;
    scalar::add(a, b, activation, y);
}

/// `y = activation(y + a)`.
pub fn add_in_place(cpu: Cpu, a: &[f32], activation: Activation, y: &mut [f32]) {
    let _ = cpu;
    scalar::add_in_place(a, activation, y);
}

/// `y += factor * a`.
pub fn add_scaled(cpu: Cpu, factor: f32, a: &[f32], y: &mut [f32]) {
    let _ = cpu;
    scalar::add_scaled(factor, a, y);
}

/// `y = a * b`.
pub fn mul(cpu: Cpu, a: &[f32], b: &[f32], y: &mut [f32]) {
    let _ = cpu;
    scalar::mul(a, b, y);
}

/// `y += a * b`.
pub fn add_product(cpu: Cpu, a: &[f32], b: &[f32], y: &mut [f32]) {
    let _ = cpu;
    scalar::add_product(a, b, y);
}

/// `y *= factor`.
pub fn scale(cpu: Cpu, factor: f32, y: &mut [f32]) {
    let _ = cpu;
    scalar::scale(factor, y);
}

/// `y = activation(y + bias)` in each row of `bias.len()` numbers.
pub fn add_bias(cpu: Cpu, bias: &[f32], activation: Activation, y: &mut [f32]) {
    let _ = cpu;
    scalar::add_bias(bias, activation, y);
}

/// Images or sequences of `rows` rows, each with its own number for a channel: `x` is `[n, rows, c]`, `gate` is `[n, c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// How many rows share a gate.
    pub rows: usize,
    /// Channels.
    pub c: usize,
}

/// `y = x * gate`.
pub fn gate(cpu: Cpu, shape: Gate, x: &[f32], gate: &[f32], y: &mut [f32]) {
    let _ = cpu;
    scalar::gate(shape, x, gate, y);
}

/// `dgate = sum(x * dy)` over the rows that share a gate; `dx` is [`gate`] of `dy`.
pub fn gate_backward(cpu: Cpu, shape: Gate, x: &[f32], dy: &[f32], dgate: &mut [f32]) {
    let _ = cpu;
    scalar::gate_backward(shape, x, dy, dgate);
}

/// How many numbers of scratch [`column_sums`] needs for `len` numbers in rows of `c`.
pub fn column_sums_scratch(len: usize, c: usize) -> usize {
    (len / c.max(1)).div_ceil(crate::norm::BLOCK_ROWS) * c
}

/// `sums += x[0] + x[1] ..` over the rows of `sums.len()` numbers, in blocks of 128 rows: the gradient of a bias.
///
/// `scratch` holds at least [`column_sums_scratch`] numbers.
pub fn column_sums(cpu: Cpu, x: &[f32], sums: &mut [f32], scratch: &mut [f32]) {
    let _ = cpu;
    assert!(scratch.len() >= column_sums_scratch(x.len(), sums.len()));
    scalar::column_sums(x, sums);
}
