//! The definition of gathers.

use super::{Sum, Tables};

/// `y[i] = table[ids[i]]`.
pub fn gather(c: usize, table: &[f32], ids: &[i32], y: &mut [f32]) {
    for (y, &id) in y.chunks_exact_mut(c).zip(ids) {
        y.copy_from_slice(row(table, c, id));
    }
}

/// Word plus position plus segment, for the tokens from `start` on.
#[inline(always)]
pub fn sum(shape: Sum, tables: Tables, [ids, segments]: [&[i32]; 2], start: usize, y: &mut [f32]) {
    let c = shape.c;
    for (i, y) in y.chunks_exact_mut(c).enumerate() {
        let i = start + i;
        let word = row(tables.word, c, ids[i]);
        let position = &tables.position[i % shape.tokens * c..][..c];
        let segment = row(tables.segment, c, segments.get(i).copied().unwrap_or(0));
        for at in 0..c {
            y[at] = word[at] + position[at] + segment[at];
        }
    }
}

#[inline(always)]
fn row(table: &[f32], c: usize, id: i32) -> &[f32] {
    &table[usize::try_from(id).expect("the caller checks ids") * c..][..c]
}
