//! Elementwise sums and products, of numbers and of bytes; strided copies, shuffles, transposes, sums over rows, dropout.

pub mod byte_gates;
pub mod byte_sums;
pub mod bytes;
pub mod copy;
pub mod dropout;
pub mod scalar;
pub mod transpose;
pub(crate) mod vector;

use self::vector::{
    add as vector_add, add_in_place as vector_add_in_place, block_sums as vector_block_sums,
};
use crate::activation::Activation;
use crate::norm::BLOCK_ROWS;
use crate::vector::per_tier;
use crate::{Cpu, SharedMut, Tier};

pub use byte_gates::gate_bytes;
pub use byte_sums::add_bytes;
pub use bytes::{dequantize, quantize};
pub use copy::{Block, add_block, copy_block, copy_block_bytes};
pub use dropout::{Dropout, dropout};
pub(crate) use transpose::interleave;
pub use transpose::{Shuffle, Transpose, permute, shuffle, transpose};

/// The rows of this family: name and tier.
pub const KERNELS: &[(&str, Tier)] = &[
    ("f32_elementwise_scalar", Tier::Scalar),
    ("f32_elementwise_avx2", Tier::Avx2),
    ("f32_elementwise_avx512", Tier::Avx512),
];

/// The rows of this family for bytes.
pub const BYTE_KERNELS: &[(&str, Tier)] = &[
    ("u8_elementwise_scalar", Tier::Scalar),
    ("u8_elementwise_avx2", Tier::Avx2),
    ("u8_elementwise_avx512", Tier::Avx512),
];

/// What one number of a pass costs, in multiply-adds: it is bound by memory.
pub(crate) const PASS: usize = 4;

/// `y = activation(a + b)`.
///
/// # Panics
/// When the lengths differ.
pub fn add(cpu: Cpu, a: &[f32], b: &[f32], activation: Activation, y: &mut [f32]) {
    assert_eq!(a.len(), y.len());
    assert_eq!(b.len(), y.len());
    each_part(cpu, y, |range, y| {
        slice_add(cpu.tier, &a[range.clone()], &b[range], activation, y);
    });
}

/// `y = activation(y + a)`.
///
/// # Panics
/// When the lengths differ.
pub fn add_in_place(cpu: Cpu, a: &[f32], activation: Activation, y: &mut [f32]) {
    assert_eq!(a.len(), y.len());
    each_part(cpu, y, |range, y| {
        slice_add_in_place(cpu.tier, &a[range], activation, y)
    });
}

/// `y += factor * a`.
///
/// # Panics
/// When the lengths differ.
pub fn add_scaled(cpu: Cpu, factor: f32, a: &[f32], y: &mut [f32]) {
    assert_eq!(a.len(), y.len());
    each_part(cpu, y, |range, y| {
        slice_add_scaled(cpu.tier, factor, &a[range], y)
    });
}

/// `y = a * b`.
///
/// # Panics
/// When the lengths differ.
pub fn mul(cpu: Cpu, a: &[f32], b: &[f32], y: &mut [f32]) {
    assert_eq!(a.len(), y.len());
    assert_eq!(b.len(), y.len());
    each_part(cpu, y, |range, y| {
        slice_mul(cpu.tier, &a[range.clone()], &b[range], y)
    });
}

/// `y += a * b`.
///
/// # Panics
/// When the lengths differ.
pub fn add_product(cpu: Cpu, a: &[f32], b: &[f32], y: &mut [f32]) {
    assert_eq!(a.len(), y.len());
    assert_eq!(b.len(), y.len());
    each_part(cpu, y, |range, y| {
        slice_add_product(cpu.tier, &a[range.clone()], &b[range], y)
    });
}

/// `y *= factor`.
pub fn scale(cpu: Cpu, factor: f32, y: &mut [f32]) {
    each_part(cpu, y, |_, y| slice_scale(cpu.tier, factor, y));
}

/// `y = activation(y + bias)` in each row of `bias.len()` numbers.
///
/// # Panics
/// When `y` is not made of whole rows.
pub fn add_bias(cpu: Cpu, bias: &[f32], activation: Activation, y: &mut [f32]) {
    each_rows(cpu, bias.len(), y, |_, y| {
        for y in y.chunks_exact_mut(bias.len()) {
            slice_add_in_place(cpu.tier, bias, activation, y);
        }
    });
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
///
/// # Panics
/// When the lengths do not fit.
pub fn gate(cpu: Cpu, shape: Gate, x: &[f32], gate: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    assert_eq!(x.len(), gate.len() * shape.rows);
    each_rows(cpu, shape.c, y, |rows, y| {
        for (row, y) in rows.zip(y.chunks_exact_mut(shape.c)) {
            let gate = &gate[row / shape.rows * shape.c..][..shape.c];
            slice_mul(cpu.tier, &x[row * shape.c..][..shape.c], gate, y);
        }
    });
}

/// `dgate = sum(x * dy)` over the rows that share a gate; `dx` is [`gate`] of `dy`.
///
/// # Panics
/// When the lengths do not fit.
pub fn gate_backward(cpu: Cpu, shape: Gate, x: &[f32], dy: &[f32], dgate: &mut [f32]) {
    assert_eq!(x.len(), dy.len());
    assert_eq!(x.len(), dgate.len() * shape.rows);
    let images = dgate.len() / shape.c.max(1);
    let shared = SharedMut::new(dgate);
    cpu.split(images, x.len() * PASS, |range| {
        for image in range {
            // SAFETY: each image has its own gate.
            let dgate = unsafe { shared.slice(image * shape.c..(image + 1) * shape.c) };
            let rows = image * shape.rows * shape.c..(image + 1) * shape.rows * shape.c;
            slice_gate_backward(cpu.tier, shape, &x[rows.clone()], &dy[rows], dgate);
        }
    });
}

/// How many numbers of scratch [`column_sums`] needs for `len` numbers in rows of `c`.
pub fn column_sums_scratch(len: usize, c: usize) -> usize {
    (len / c.max(1)).div_ceil(BLOCK_ROWS) * c
}

/// `sums += x[0] + x[1] ..` over the rows of `sums.len()` numbers, in blocks of 128 rows: the gradient of a bias.
///
/// `scratch` holds at least [`column_sums_scratch`] numbers.
///
/// # Panics
/// When `x` is not made of whole rows or the scratch is too small.
pub fn column_sums(cpu: Cpu, x: &[f32], sums: &mut [f32], scratch: &mut [f32]) {
    let c = sums.len();
    if x.is_empty() {
        return;
    }
    assert!(x.len().is_multiple_of(c));
    let blocks = (x.len() / c).div_ceil(BLOCK_ROWS);
    let scratch = &mut scratch[..blocks * c];
    let shared = SharedMut::new(scratch);
    cpu.split(blocks, x.len() * PASS, |range| {
        for block in range {
            // SAFETY: each block has its own sums.
            let sums = unsafe { shared.slice(block * c..(block + 1) * c) };
            let rows = block * BLOCK_ROWS * c..((block + 1) * BLOCK_ROWS * c).min(x.len());
            block_sums(cpu.tier, &x[rows], sums);
        }
    });
    for block in scratch.chunks_exact(c) {
        slice_add_in_place(cpu.tier, block, Activation::Identity, sums);
    }
}

/// Calls `part` with even ranges of a buffer.
fn each_part<T: Send>(
    cpu: Cpu,
    y: &mut [T],
    part: impl Fn(std::ops::Range<usize>, &mut [T]) + Sync,
) {
    each_rows(cpu, 1, y, part);
}

/// Calls `part` with even ranges of the rows of a buffer.
///
/// # Panics
/// When the buffer is not made of whole rows.
pub(crate) fn each_rows<T: Send>(
    cpu: Cpu,
    c: usize,
    y: &mut [T],
    part: impl Fn(std::ops::Range<usize>, &mut [T]) + Sync,
) {
    if y.is_empty() {
        return;
    }
    assert!(
        y.len().is_multiple_of(c),
        "{} numbers are not rows of {c}",
        y.len()
    );
    let work = y.len() * PASS;
    cpu.threads.run_rows(y, c, work, part);
}

per_tier! {
    /// [`add`] on one thread.
    pub(crate) fn slice_add(a: &[f32], b: &[f32], activation: Activation, y: &mut [f32])
    { scalar: scalar::add, vector: vector_add }
}

per_tier! {
    /// [`add_in_place`] on one thread.
    pub(crate) fn slice_add_in_place(a: &[f32], activation: Activation, y: &mut [f32])
    { scalar: scalar::add_in_place, vector: vector_add_in_place }
}

per_tier! {
    /// [`add_scaled`] on one thread.
    pub(crate) fn slice_add_scaled(factor: f32, a: &[f32], y: &mut [f32])
    { compiled: scalar::add_scaled }
}

per_tier! {
    /// [`mul`] on one thread.
    pub(crate) fn slice_mul(a: &[f32], b: &[f32], y: &mut [f32])
    { compiled: scalar::mul }
}

per_tier! {
    /// [`add_product`] on one thread.
    pub(crate) fn slice_add_product(a: &[f32], b: &[f32], y: &mut [f32])
    { compiled: scalar::add_product }
}

per_tier! {
    /// [`scale`] on one thread.
    pub(crate) fn slice_scale(factor: f32, y: &mut [f32])
    { compiled: scalar::scale }
}

per_tier! {
    /// `y[row][i] = factors[row] * x[row][i]` over rows of `width` numbers, on one thread.
    pub(crate) fn slice_scale_rows(factors: &[f32], x: &[f32], width: usize, y: &mut [f32])
    { compiled: scalar::scale_rows }
}

per_tier! {
    /// [`gate_backward`] of one image.
    fn slice_gate_backward(shape: Gate, x: &[f32], dy: &[f32], dgate: &mut [f32])
    { compiled: scalar::gate_backward }
}

per_tier! {
    /// `sums = x[0] + x[1] ..` over the rows of `sums.len()` numbers.
    pub(crate) fn block_sums(x: &[f32], sums: &mut [f32])
    { scalar: scalar::block_sums, vector: vector_block_sums }
}

#[cfg(test)]
mod tests;
