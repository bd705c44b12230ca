//! The definition of gathers.

use super::{Tables, Tokens};

/// `y[i] = table[ids[i]]`.
pub fn gather(c: usize, table: &[f32], ids: &[i32], y: &mut [f32]) {
    for (y, &id) in y.chunks_exact_mut(c).zip(ids) {
        y.copy_from_slice(row(table, c, id));
    }
}

/// Word plus position plus segment, for the tokens from `start` on.
#[inline(always)]
pub fn sum(c: usize, tables: Tables, tokens: Tokens, start: usize, y: &mut [f32]) {
    for (i, y) in y.chunks_exact_mut(c).enumerate() {
        let i = start + i;
        let word = row(tables.word, c, tokens.ids[i]);
        let position = row(tables.position, c, tokens.positions[i]);
        let segment = tokens.segments.get(i).copied().unwrap_or(0);
        let segment = row(tables.segment, c, segment);
        for at in 0..c {
            y[at] = word[at] + position[at] + segment[at];
        }
    }
}

#[inline(always)]
fn row(table: &[f32], c: usize, id: i32) -> &[f32] {
    &table[usize::try_from(id).expect("the caller checks ids") * c..][..c]
}
