//! Activations of a tile of rows, turned: all rows of the first input, then all of the second, and so on.

use super::quads::row_at;
use crate::elementwise::interleave;
use crate::gemm_i8::quantize::{ROUND, byte, factor, scalar_largest, vector_largest};
use crate::vector::{Vector, per_tier};

/// Some rows of activations and how they are turned.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// The first number of the first row.
    pub data: &'a [f32],
    /// Rows there are, and from one to the next.
    pub count: usize,
    pub step: usize,
    /// Inputs.
    pub k: usize,
    /// Rows of the tile; those beyond `count` are zeros.
    pub tile: usize,
}

impl Rows<'_> {
    fn row(&self, at: usize) -> &[f32] {
        &self.data[at * self.step..][..self.k]
    }
}

per_tier! {
    /// Turns rows to `[k][tile]`; the tile is whole registers.
    pub(super) fn numbers(rows: Rows, to: &mut [f32])
    { scalar: scalar_numbers, vector: vector_numbers }
}

per_tier! {
    /// Brings rows to bytes and turns them to `[k][tile]`, where bytes lie as `row_at` says for a quarter of the tile; gives the scale of
    /// each row of the tile. `offset` is added to the signed bytes.
    pub(super) fn bytes(rows: Rows, offset: u8, scales: &mut [f32], to: &mut [u8])
    { scalar: scalar_bytes, vector: vector_bytes }
}

fn scalar_numbers(rows: Rows, to: &mut [f32]) {
    for (k, to) in to.chunks_exact_mut(rows.tile).enumerate() {
        for (row, to) in to.iter_mut().enumerate() {
            *to = if row < rows.count {
                rows.row(row)[k]
            } else {
                0.0
            };
        }
    }
}

fn scalar_bytes(rows: Rows, offset: u8, scales: &mut [f32], to: &mut [u8]) {
    scales.fill(0.0);
    to.fill(offset);
    for place in 0..rows.tile {
        let row = row_at(place, rows.tile / 4);
        if row < rows.count {
            let x = rows.row(row);
            let (factor, scale) = factor(scalar_largest(x));
            scales[row] = scale;
            for (x, to) in x.iter().zip(to.chunks_exact_mut(rows.tile)) {
                to[place] = byte(*x, factor).wrapping_add(offset);
            }
        }
    }
}

/// Turns squares of `L` rows, those that `row` gives for neighbouring places, and `L` inputs, and runs `$put` for each input: with the
/// input, the first place, and the rows. Whole squares have loops of constant length, so that they stay in registers.
macro_rules! squares {
    ($rows:ident, $row:expr, ($vector:ty, $lanes:ident), |$k:ident, $first:ident, $register:ident| $put:expr) => {
        for $first in (0..$rows.tile).step_by($lanes) {
            let none: &[f32] = &[];
            let mut from = [none; $lanes];
            let mut are_all = true;
            for at in 0..$lanes {
                let row = $row($first + at);
                match row < $rows.count {
                    true => from[at] = $rows.row(row),
                    false => are_all = false,
                }
            }
            let whole = if are_all {
                $rows.k / $lanes * $lanes
            } else {
                0
            };
            for start in (0..whole).step_by($lanes) {
                let mut registers = [<$vector>::splat(0.0); $lanes];
                for at in 0..$lanes {
                    registers[at] = <$vector>::load(&from[at][start..]);
                }
                interleave(&mut registers);
                for at in 0..$lanes {
                    let ($k, $register) = (start + at, registers[at]);
                    $put
                }
            }
            for start in (whole..$rows.k).step_by($lanes) {
                let width = $lanes.min($rows.k - start);
                let mut registers = [<$vector>::splat(0.0); $lanes];
                for at in 0..$lanes {
                    if let Some(from) = from[at].get(start..start + width) {
                        registers[at] = <$vector>::load_part(from);
                    }
                }
                interleave(&mut registers);
                for at in 0..width {
                    let ($k, $register) = (start + at, registers[at]);
                    $put
                }
            }
        }
    };
}

#[inline(always)]
fn vector_numbers<V: Vector>(rows: Rows, to: &mut [f32]) {
    match V::LANES {
        16 => number_squares::<V, 16>(rows, to),
        _ => number_squares::<V, 8>(rows, to),
    }
}

#[inline(always)]
fn vector_bytes<V: Vector>(rows: Rows, offset: u8, scales: &mut [f32], to: &mut [u8]) {
    match V::LANES {
        16 => byte_squares::<V, 16>(rows, offset, scales, to),
        _ => byte_squares::<V, 8>(rows, offset, scales, to),
    }
}

#[inline(always)]
fn number_squares<V: Vector, const L: usize>(rows: Rows, to: &mut [f32]) {
    squares!(rows, |place: usize| place, (V, L), |k, first, register| {
        register.store(&mut to[k * rows.tile + first..]);
    });
}

#[inline(always)]
fn byte_squares<V: Vector, const L: usize>(
    rows: Rows,
    offset: u8,
    scales: &mut [f32],
    to: &mut [u8],
) {
    let mut factors = [0.0; 64];
    scales.fill(0.0);
    for place in 0..rows.tile {
        let row = row_at(place, L);
        if row < rows.count {
            (factors[place], scales[row]) = factor(vector_largest::<V>(rows.row(row)));
        }
    }
    squares!(
        rows,
        |place: usize| row_at(place, L),
        (V, L),
        |k, first, register| {
            let factor = V::load(&factors[first..]);
            let mut numbers = [0.0; L];
            (register * factor + V::splat(ROUND)).store(&mut numbers);
            let to = &mut to[k * rows.tile + first..][..L];
            for (to, number) in to.iter_mut().zip(numbers) {
                *to = (number.to_bits() as u8).wrapping_add(offset);
            }
        }
    );
}
