//! Embeddings: rows of tables gathered by number, and their gradients.

pub mod scalar;

use crate::{Cpu, Tier};

/// The tables of a text encoder's first layer, each `[rows, c]`.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// One row a word.
    pub word: &'a [f32],
    /// One row a place in the sequence.
    pub position: &'a [f32],
    /// One row a segment.
    pub segment: &'a [f32],
}

/// The rows of this family: name and tier.
pub const KERNELS: &[(&str, Tier)] = &[("f32_embedding_scalar", Tier::Scalar)];

/// `y[i] = table[ids[i]]`, rows of `c` numbers.
///
/// # Panics
/// When an id is no row of the table: the caller checks them.
pub fn gather(cpu: Cpu, c: usize, table: &[f32], ids: &[i32], y: &mut [f32]) {
    let _ = cpu;
    assert_eq!(y.len(), ids.len() * c);
    scalar::gather(c, table, ids, y);
}

/// The sum of word, position and segment rows: `ids` is `[n, tokens]`, `segments` too, or empty when all are 0.
///
/// # Panics
/// When a number is no row of its table: the caller checks them.
pub fn sum(cpu: Cpu, shape: Sum, tables: Tables, [ids, segments]: [&[i32]; 2], y: &mut [f32]) {
    let _ = cpu;
    assert_eq!(y.len(), ids.len() * shape.c);
    assert!(segments.is_empty() || segments.len() == ids.len());
    scalar::sum(shape, tables, [ids, segments], y);
}

/// The shape of [`sum`].
#[derive(Clone, Copy, Debug)]
pub struct Sum {
    /// How many tokens a sequence has.
    pub tokens: usize,
    /// How many channels a row has.
    pub c: usize,
}

/// `dtable[ids[i]] += dy[i]`, in the order of `i`.
///
/// # Panics
/// When an id is no row of the table: the caller checks them.
pub fn scatter_add(cpu: Cpu, c: usize, ids: &[i32], dy: &[f32], dtable: &mut [f32]) {
    let _ = cpu;
    assert_eq!(dy.len(), ids.len() * c);
    scalar::scatter_add(c, ids, dy, dtable);
}

/// The gradient of position rows: `dtable[i % tokens] += dy[i]`, in the order of `i`.
///
/// # Panics
/// When the table has fewer rows than a sequence.
pub fn scatter_add_positions(cpu: Cpu, shape: Sum, dy: &[f32], dtable: &mut [f32]) {
    let _ = cpu;
    scalar::scatter_add_positions(shape, dy, dtable);
}
