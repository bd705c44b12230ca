//! The definition of gathers.

use super::{Tables, Tokens};
use crate::Weight;

/// `y[i] = table[ids[i]]`.
#[inline(always)]
pub fn gather(c: usize, table: Weight, ids: &[i32], y: &mut [f32]) {
    for (y, &id) in y.chunks_exact_mut(c).zip(ids) {
        put(table, id, y);
    }
}

/// Word plus position plus segment, for the tokens from `start` on.
#[inline(always)]
pub fn sum(c: usize, tables: Tables, tokens: Tokens, start: usize, y: &mut [f32]) {
    for (i, y) in y.chunks_exact_mut(c).enumerate() {
        let i = start + i;
        put(tables.word, tokens.ids[i], y);
        let position = row(tables.position, c, tokens.positions[i]);
        let segment = tokens.segments.get(i).copied().unwrap_or(0);
        let segment = row(tables.segment, c, segment);
        for at in 0..c {
            y[at] = y[at] + position[at] + segment[at];
        }
    }
}

/// The row of an id, as numbers.
#[inline(always)]
fn put(table: Weight, id: i32, y: &mut [f32]) {
    match table {
        Weight::Numbers(numbers) => y.copy_from_slice(row(numbers, y.len(), id)),
        Weight::Bytes(bytes, scales) => {
            let scale = row(scales, 1, id)[0];
            let bytes = row(bytes, y.len(), id);
            for (y, &byte) in y.iter_mut().zip(bytes) {
                *y = scale * f32::from(byte);
            }
        }
    }
}

#[inline(always)]
fn row<T>(table: &[T], c: usize, id: i32) -> &[T] {
    &table[usize::try_from(id).expect("the caller checks ids") * c..][..c]
}
