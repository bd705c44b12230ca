//! Copies that move numbers without changing them: blocks, channel shuffles, transposes.

use super::{PASS, slice_add_in_place};
use crate::activation::Activation;
use crate::{Cpu, SharedMut};

/// Rows of `columns` numbers, at different distances in two buffers. A slice of a buffer from the first number on sets
/// where the block begins: so concat, split and slice along the last axis are copies of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// How many rows.
    pub rows: usize,
    /// How many numbers of each row.
    pub columns: usize,
    /// From one row to the next where numbers are read.
    pub from_stride: usize,
    /// From one row to the next where numbers are written.
    pub to_stride: usize,
}

/// `to = from`.
///
/// # Panics
/// When the block is larger than a buffer.
pub fn copy_block(cpu: Cpu, block: &Block, from: &[f32], to: &mut [f32]) {
    each_row(cpu, block, from, to, |from, to| to.copy_from_slice(from));
}

/// `to += from`.
///
/// # Panics
/// When the block is larger than a buffer.
pub fn add_block(cpu: Cpu, block: &Block, from: &[f32], to: &mut [f32]) {
    each_row(cpu, block, from, to, |from, to| {
        slice_add_in_place(cpu.tier, from, Activation::Identity, to);
    });
}

fn each_row(
    cpu: Cpu,
    block: &Block,
    from: &[f32],
    to: &mut [f32],
    work: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    assert!(
        block.columns <= block.to_stride || block.rows <= 1,
        "rows of {block:?} overlap"
    );
    let to = SharedMut::new(to);
    cpu.split(block.rows, block.rows * block.columns * PASS, |range| {
        for row in range {
            let at = row * block.to_stride;
            // SAFETY: rows do not overlap, as asserted, and each belongs to one range.
            let to = unsafe { to.slice(at..at + block.columns) };
            work(&from[row * block.from_stride..][..block.columns], to);
        }
    });
}

/// A channel shuffle (Zhang et al., 2017): channels `[groups, c / groups]` become `[c / groups, groups]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffle {
    /// Channels.
    pub c: usize,
    /// Groups; a divisor of the channels.
    pub groups: usize,
}

impl Shuffle {
    /// The shuffle that undoes this one; hence also its backward pass.
    pub fn inverse(self) -> Self {
        Self {
            groups: self.c / self.groups,
            ..self
        }
    }
}

/// Shuffles the channels of each row.
///
/// # Panics
/// When the lengths differ.
pub fn shuffle(cpu: Cpu, shuffle: Shuffle, x: &[f32], y: &mut [f32]) {
    let shape = Transpose {
        n: x.len() / shuffle.c,
        rows: shuffle.groups,
        columns: shuffle.c / shuffle.groups,
    };
    transpose(cpu, shape, x, y);
}

/// Matrices `[n, rows, columns]` that become `[n, columns, rows]`; between NCHW and NHWC too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transpose {
    /// How many matrices.
    pub n: usize,
    /// Rows of what is read.
    pub rows: usize,
    /// Columns of what is read.
    pub columns: usize,
}

/// Transposes each matrix.
///
/// # Panics
/// When the lengths do not fit.
pub fn transpose(cpu: Cpu, shape: Transpose, x: &[f32], y: &mut [f32]) {
    let Transpose { n, rows, columns } = shape;
    assert_eq!(x.len(), n * rows * columns);
    assert_eq!(y.len(), x.len());
    // Tiles of 16 x 16 numbers: a cache line each way. Strips of 16 columns of a matrix are rows of the result.
    const TILE: usize = 16;
    let strips = columns.div_ceil(TILE);
    let y = SharedMut::new(y);
    cpu.split(n * strips, x.len() * PASS, |range| {
        for strip in range {
            let (matrix, column) = (strip / strips, strip % strips * TILE);
            let width = TILE.min(columns - column);
            let at = matrix * rows * columns + column * rows;
            // SAFETY: each strip has its own rows of the result.
            let y = unsafe { y.slice(at..at + width * rows) };
            let x = &x[matrix * rows * columns..][..rows * columns];
            for row in (0..rows).step_by(TILE) {
                for c in 0..width {
                    for r in row..(row + TILE).min(rows) {
                        y[c * rows + r] = x[r * columns + column + c];
                    }
                }
            }
        }
    });
}

/// `y[i] = x[j]` where axis `a` of `y` is axis `order[a]` of `x`; `shape` is that of `x`.
///
/// # Panics
/// When the lengths do not fit or `order` does not name each axis once.
pub fn permute(cpu: Cpu, shape: [usize; 4], order: [usize; 4], x: &[f32], y: &mut [f32]) {
    let _ = cpu;
    assert_eq!(x.len(), shape.iter().product());
    assert_eq!(y.len(), x.len());
    assert!(
        (0..4).all(|axis| order.contains(&axis)),
        "{order:?} does not name each axis once"
    );
    let strides = [
        shape[1] * shape[2] * shape[3],
        shape[2] * shape[3],
        shape[3],
        1,
    ];
    let [a, b, c, d] = order.map(|axis| (shape[axis], strides[axis]));
    let mut to = 0;
    for i in 0..a.0 {
        for j in 0..b.0 {
            for k in 0..c.0 {
                let from = i * a.1 + j * b.1 + k * c.1;
                for l in 0..d.0 {
                    y[to + l] = x[from + l * d.1];
                }
                to += d.0;
            }
        }
    }
}
