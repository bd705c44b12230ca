//! What follows the sums of a panel of outputs: back to rows of channels, bias, residual, activation, and the way out.

use super::product::PANEL;
use crate::activation::vector::{apply, with_constant};
use crate::activation::{self, Activation};
use crate::elementwise::interleave;
use crate::gemm_f32::Residual;
use crate::vector::{Vector, per_tier};
use crate::{SharedMut, Tier};

/// What follows the sums of one panel of outputs.
pub(super) struct Finish<'a> {
    pub bias: [f32; PANEL],
    pub activation: Activation,
    pub residual: Residual<'a>,
    pub output: &'a SharedMut<'a, f32>,
    /// The place of the first row's first column, and from one row to the next.
    pub at: usize,
    pub row: usize,
    /// Rows and columns there are.
    pub rows: usize,
    pub columns: usize,
}

per_tier! {
    /// Finishes sums `[PANEL][tile]`; no other thread has these rows of these columns.
    pub(super) fn panel(finish: &Finish, sums: &[f32], tile: usize)
    { scalar: scalar_panel, vector: vector_panel }
}

fn scalar_panel(f: &Finish, sums: &[f32], tile: usize) {
    for row in 0..f.rows {
        let start = f.at + row * f.row;
        // SAFETY: no other thread has these rows of these columns.
        let y = unsafe { f.output.slice(start..start + f.columns) };
        for (column, y) in y.iter_mut().enumerate() {
            *y = sums[column * tile + row] + f.bias[column];
            if let Residual::Before(other) = f.residual {
                *y += other[start + column];
            }
        }
        activation::slice_forward_in_place(Tier::Scalar, f.activation, y);
        if let Residual::After(other) = f.residual {
            y.iter_mut()
                .zip(&other[start..])
                .for_each(|(y, other)| *y += other);
        }
    }
}

#[inline(always)]
fn vector_panel<V: Vector>(f: &Finish, sums: &[f32], tile: usize) {
    match V::LANES {
        16 => squares::<V, 16>(f, sums, tile),
        _ => squares::<V, 8>(f, sums, tile),
    }
}

#[inline(always)]
fn squares<V: Vector, const L: usize>(f: &Finish, sums: &[f32], tile: usize) {
    with_constant!(f.activation, F => {
        for first in (0..f.rows).step_by(L) {
            for column in (0..f.columns).step_by(L) {
                let mut registers = [V::splat(0.0); L];
                for at in 0..L {
                    registers[at] = V::load(&sums[(column + at) * tile + first..]);
                }
                interleave(&mut registers);
                let bias = V::load(&f.bias[column..]);
                let width = L.min(f.columns - column);
                for at in 0..L.min(f.rows - first) {
                    let start = f.at + (first + at) * f.row + column;
                    let part = |other: &[f32]| match width == L {
                        true => V::load(&other[start..]),
                        false => V::load_part(&other[start..start + width]),
                    };
                    let mut y = registers[at] + bias;
                    if let Residual::Before(other) = f.residual {
                        y = y + part(other);
                    }
                    y = apply(F, y);
                    if let Residual::After(other) = f.residual {
                        y = y + part(other);
                    }
                    // SAFETY: no other thread has these rows of these columns.
                    let to = unsafe { f.output.slice(start..start + width) };
                    match width == L {
                        true => y.store(to),
                        false => y.store_part(to),
                    }
                }
            }
        }
    });
}
