//! The definition of gathers and scatters.

use super::{Sum, Tables};

/// `y[i] = table[ids[i]]`.
pub fn gather(c: usize, table: &[f32], ids: &[i32], y: &mut [f32]) {
    for (y, &id) in y.chunks_exact_mut(c).zip(ids) {
        y.copy_from_slice(row(table, c, id));
    }
}

/// Word plus position plus segment.
pub fn sum(shape: Sum, tables: Tables, [ids, segments]: [&[i32]; 2], y: &mut [f32]) {
    let c = shape.c;
    for (i, y) in y.chunks_exact_mut(c).enumerate() {
        let word = row(tables.word, c, ids[i]);
        let position = &tables.position[i % shape.tokens * c..][..c];
        let segment = row(tables.segment, c, segments.get(i).copied().unwrap_or(0));
        for at in 0..c {
            y[at] = word[at] + position[at] + segment[at];
        }
    }
}

/// `dtable[ids[i]] += dy[i]`.
pub fn scatter_add(c: usize, ids: &[i32], dy: &[f32], dtable: &mut [f32]) {
    for (dy, &id) in dy.chunks_exact(c).zip(ids) {
        let at = place(id) * c;
        add(&mut dtable[at..][..c], dy);
    }
}

/// `dtable[i % tokens] += dy[i]`.
pub fn scatter_add_positions(shape: Sum, dy: &[f32], dtable: &mut [f32]) {
    for (i, dy) in dy.chunks_exact(shape.c).enumerate() {
        add(&mut dtable[i % shape.tokens * shape.c..][..shape.c], dy);
    }
}

fn add(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

fn row(table: &[f32], c: usize, id: i32) -> &[f32] {
    &table[place(id) * c..][..c]
}

fn place(id: i32) -> usize {
    usize::try_from(id).expect("the caller checks ids")
}
