//! Copies of blocks: concat, split and slice.

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

/// [`copy_block`] of bytes.
///
/// # Panics
/// When the block is larger than a buffer.
pub fn copy_block_bytes(cpu: Cpu, block: &Block, from: &[u8], to: &mut [u8]) {
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

fn each_row<T: Send + Sync>(
    cpu: Cpu,
    block: &Block,
    from: &[T],
    to: &mut [T],
    work: impl Fn(&[T], &mut [T]) + Sync,
) {
    assert!(
        block.columns <= block.to_stride || block.rows <= 1,
        "rows of {block:?} overlap"
    );
    let to = SharedMut::new(to);
    let passes = block.rows * block.columns * size_of::<T>() / size_of::<f32>();
    cpu.split(block.rows, passes * PASS, |range| {
        for row in range {
            let at = row * block.to_stride;
            // SAFETY: rows do not overlap, as asserted, and each belongs to one range.
            let to = unsafe { to.slice(at..at + block.columns) };
            work(&from[row * block.from_stride..][..block.columns], to);
        }
    });
}
