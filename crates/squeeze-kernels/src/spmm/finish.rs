//! What follows the sums of a panel of outputs: back to rows of channels, bias, residual, activation, and the way out.

use super::product::PANEL;
use crate::activation::vector::apply;
use crate::activation::{self, Activation};
use crate::elementwise::interleave;
use crate::vector::{Vector, per_tier};
use crate::{SharedMut, Tier};

/// What follows the sums of one panel of outputs.
pub(super) struct Finish<'a> {
    pub bias: [f32; PANEL],
    pub activation: Activation,
    pub residual: Option<&'a [f32]>,
    /// What the residual is multiplied by.
    pub factors: [f32; PANEL],
    pub output: &'a SharedMut<'a, f32>,
    /// The place of the first row's first column, and from one row to the next.
    pub at: usize,
    pub row: usize,
    /// Rows and columns there are.
    pub rows: usize,
    pub columns: usize,
}

/// Finishes sums `[PANEL][tile]`; no other thread has these rows of these columns.
pub(super) fn panel(tier: Tier, f: &Finish, sums: &[f32], tile: usize) {
    if !registers(tier, f, sums, tile) {
        for start in (0..f.rows).map(|row| f.at + row * f.row) {
            // SAFETY: no other thread has these rows of these columns.
            let y = unsafe { f.output.slice(start..start + f.columns) };
            activation::slice_forward_in_place(tier, f.activation, y);
        }
    }
}

per_tier! {
    /// The same but for activations that are seldom behind products: all of them would be many copies of what follows sums. Whether the
    /// activation is done.
    fn registers(finish: &Finish, sums: &[f32], tile: usize) -> bool
    { scalar: scalar_panel, vector: vector_panel }
}

fn scalar_panel(f: &Finish, sums: &[f32], tile: usize) -> bool {
    for row in 0..f.rows {
        let start = f.at + row * f.row;
        // SAFETY: no other thread has these rows of these columns.
        let y = unsafe { f.output.slice(start..start + f.columns) };
        for (column, y) in y.iter_mut().enumerate() {
            *y = sums[column * tile + row] + f.bias[column];
            if let Some(other) = f.residual {
                *y += other[start + column] * f.factors[column];
            }
        }
    }
    false
}

#[inline(always)]
fn vector_panel<V: Vector>(f: &Finish, sums: &[f32], tile: usize) -> bool {
    use Activation::{Gelu, HardSwish, Identity, Relu, Relu6, Silu};
    match f.activation {
        Relu => panel_of::<V>(f, Relu, sums, tile),
        Relu6 => panel_of::<V>(f, Relu6, sums, tile),
        Gelu => panel_of::<V>(f, Gelu, sums, tile),
        Silu => panel_of::<V>(f, Silu, sums, tile),
        HardSwish => panel_of::<V>(f, HardSwish, sums, tile),
        _ => panel_of::<V>(f, Identity, sums, tile),
    }
    matches!(
        f.activation,
        Identity | Relu | Relu6 | Gelu | Silu | HardSwish
    )
}

#[inline(always)]
fn panel_of<V: Vector>(f: &Finish, activation: Activation, sums: &[f32], tile: usize) {
    match V::LANES {
        16 => squares::<V, 16>(f, activation, sums, tile),
        _ => squares::<V, 8>(f, activation, sums, tile),
    }
}

#[inline(always)]
fn squares<V: Vector, const L: usize>(
    f: &Finish,
    activation: Activation,
    sums: &[f32],
    tile: usize,
) {
    // Of a long activation sixteen copies would be the larger part of the family.
    let is_short = matches!(
        activation,
        Activation::Identity | Activation::Relu | Activation::Relu6
    );
    for first in (0..f.rows).step_by(L) {
        for column in (0..f.columns).step_by(L) {
            let mut registers = [V::splat(0.0); L];
            for at in 0..L {
                registers[at] = V::load(&sums[(column + at) * tile + first..]);
            }
            interleave(&mut registers);
            let (bias, factors) = (V::load(&f.bias[column..]), V::load(&f.factors[column..]));
            let start = f.at + first * f.row + column;
            let (rows, width) = (L.min(f.rows - first), L.min(f.columns - column));
            // A whole square has a loop of constant length, so that it stays in registers.
            if is_short && rows == L && width == L {
                for at in 0..L {
                    let y = [registers[at] + bias, factors];
                    line(f, activation, y, (start + at * f.row, L));
                }
            } else {
                for at in 0..rows {
                    let y = [registers[at] + bias, factors];
                    line(f, activation, y, (start + at * f.row, width));
                }
            }
        }
    }
}

/// What follows the sums and the bias of so many columns of a row.
#[inline(always)]
fn line<V: Vector>(
    f: &Finish,
    activation: Activation,
    [mut y, factors]: [V; 2],
    (start, width): (usize, usize),
) {
    if let Some(other) = f.residual {
        y = part::<V>(other, start, width).mul_add(factors, y);
    }
    y = apply(activation, y);
    // SAFETY: no other thread has these rows of these columns.
    let to = unsafe { f.output.slice(start..start + width) };
    match width == V::LANES {
        true => y.store(to),
        false => y.store_part(to),
    }
}

#[inline(always)]
fn part<V: Vector>(from: &[f32], start: usize, width: usize) -> V {
    match width == V::LANES {
        true => V::load(&from[start..]),
        false => V::load_part(&from[start..start + width]),
    }
}
