//! Embeddings: rows of tables gathered by number, and their gradients. A table may be one of bytes with a scale for each row.

pub mod scalar;

use crate::activation::Activation;
use crate::elementwise::{PASS, each_rows, slice_add_in_place};
use crate::vector::{Vector, per_tier};
use crate::{Cpu, SharedMut, Tier, Weight};

/// The tables of a text encoder's first layer, each `[rows, c]`.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// One row a word.
    pub word: Weight<'a>,
    /// One row a place in the sequence.
    pub position: &'a [f32],
    /// One row a segment.
    pub segment: &'a [f32],
}

/// The rows of this family: name and tier.
pub const KERNELS: &[(&str, Tier)] = &[
    ("f32_embedding_scalar", Tier::Scalar),
    ("f32_embedding_avx2", Tier::Avx2),
    ("f32_embedding_avx512", Tier::Avx512),
];

/// The same for tables of bytes.
pub const BYTE_KERNELS: &[(&str, Tier)] = &[
    ("i8_embedding_scalar", Tier::Scalar),
    ("i8_embedding_avx2", Tier::Avx2),
    ("i8_embedding_avx512", Tier::Avx512),
];

/// `y[i] = table[ids[i]]`, rows of `c` numbers.
///
/// # Panics
/// When an id is no row of the table: the caller checks them.
pub fn gather(cpu: Cpu, c: usize, table: Weight, ids: &[i32], y: &mut [f32]) {
    assert_eq!(y.len(), ids.len() * c);
    each_rows(cpu, c, y, |rows, y| {
        slice_gather(cpu.tier, c, table, &ids[rows], y);
    });
}

/// For each token its rows of [`Tables`].
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// Which word.
    pub ids: &'a [i32],
    /// Which place in its sequence.
    pub positions: &'a [i32],
    /// Which segment; empty when all are 0.
    pub segments: &'a [i32],
}

/// The sum of word, position and segment rows of `c` numbers.
///
/// # Panics
/// When a number is no row of its table: the caller checks them.
pub fn sum(cpu: Cpu, c: usize, tables: Tables, tokens: Tokens, y: &mut [f32]) {
    let count = tokens.ids.len();
    assert!(y.len() == count * c && tokens.positions.len() == count);
    assert!(tokens.segments.is_empty() || tokens.segments.len() == count);
    each_rows(cpu, c, y, |rows, y| {
        slice_sum(cpu.tier, c, tables, tokens, rows.start, y);
    });
}

/// The shape of a sequence's gradients.
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
    assert_eq!(dy.len(), ids.len() * c);
    let place = |i: usize| usize::try_from(ids[i]).expect("the caller checks ids");
    scatter(cpu, c, dy, dtable, place);
}

/// The gradient of position rows: `dtable[i % tokens] += dy[i]`, in the order of `i`.
///
/// # Panics
/// When the table has fewer rows than a sequence.
pub fn scatter_add_positions(cpu: Cpu, shape: Sum, dy: &[f32], dtable: &mut [f32]) {
    scatter(cpu, shape.c, dy, dtable, |i| i % shape.tokens);
}

/// Threads share the channels, not the rows: so every sum has the same order whatever their number.
fn scatter(
    cpu: Cpu,
    c: usize,
    dy: &[f32],
    dtable: &mut [f32],
    place: impl Fn(usize) -> usize + Sync,
) {
    let dtable = SharedMut::new(dtable);
    // Pieces of 16 channels: a cache line each.
    cpu.split(c.div_ceil(16), dy.len() * PASS, |range| {
        let (start, end) = (range.start * 16, (range.end * 16).min(c));
        for (i, dy) in dy.chunks_exact(c).enumerate() {
            let at = place(i) * c;
            // SAFETY: each range has its own channels of every row.
            let to = unsafe { dtable.slice(at + start..at + end) };
            slice_add_in_place(cpu.tier, &dy[start..end], Activation::Identity, to);
        }
    });
}

per_tier! {
    fn slice_gather(c: usize, table: Weight, ids: &[i32], y: &mut [f32])
    { scalar: scalar::gather, vector: gather_vector }
}

per_tier! {
    fn slice_sum(c: usize, tables: Tables, tokens: Tokens, start: usize, y: &mut [f32])
    { scalar: scalar::sum, vector: sum_vector }
}

/// The definition, compiled for the tier; each row is asked for while one before is read.
#[inline(always)]
fn gather_vector<V: Vector>(c: usize, table: Weight, ids: &[i32], y: &mut [f32]) {
    for (i, y) in y.chunks_exact_mut(c).enumerate() {
        ask_for::<V>(table, c, ids.get(i + AHEAD));
        scalar::gather(c, table, &ids[i..=i], y);
    }
}

/// As [`gather_vector`].
#[inline(always)]
fn sum_vector<V: Vector>(c: usize, tables: Tables, tokens: Tokens, start: usize, y: &mut [f32]) {
    for (i, y) in y.chunks_exact_mut(c).enumerate() {
        let i = start + i;
        ask_for::<V>(tables.word, c, tokens.ids.get(i + AHEAD));
        let position = Weight::Numbers(tables.position);
        ask_for::<V>(position, c, tokens.positions.get(i + AHEAD));
        scalar::sum(c, tables, tokens, i, y);
    }
}

/// How many rows ahead one is asked for: rows of words lie far from each other, where no row before brought them near.
const AHEAD: usize = 2;

/// Asks for the row of an id, if there is one, to come to the second cache.
#[inline(always)]
fn ask_for<V: Vector>(table: Weight, c: usize, id: Option<&i32>) {
    let Some(row) = id.and_then(|&id| usize::try_from(id).ok()) else {
        return;
    };
    let (start, len) = match table {
        Weight::Numbers(numbers) => (numbers.as_ptr().wrapping_add(row * c).cast(), 4 * c),
        Weight::Bytes(bytes, _) => (bytes.as_ptr().wrapping_add(row * c), c),
    };
    for at in (0..len).step_by(LINE) {
        V::prefetch(start.wrapping_add(at).cast());
    }
}

/// Bytes of a line of the cache.
const LINE: usize = 64;

#[cfg(test)]
mod tests;
