//! What follows the sums of a strip: scales, bias, residual, activation, and the way out.

use super::STRIP;
use crate::activation::vector::{apply, with_constant};
use crate::activation::{self, Activation};
use crate::vector::Vector;
use crate::{SharedMut, Tier};

/// Columns of a strip.
pub(super) const COLUMNS: usize = 32;

/// The sums of a strip.
pub(super) type Sums = [[f32; COLUMNS]; STRIP];

/// The rows of a strip that count.
#[derive(Clone, Copy, Default)]
pub(super) struct Rows {
    pub count: usize,
    /// The place of each in the strip, and in the product.
    pub at: [usize; STRIP],
    pub place: [usize; STRIP],
    /// The scale of each where there are scales.
    pub scale: [f32; STRIP],
}

/// What follows the sums of one panel of columns.
pub(super) struct Finish<'a> {
    pub bias: [f32; COLUMNS],
    /// The scale of each column where there are scales.
    pub scales: Option<&'a [f32; COLUMNS]>,
    pub activation: Activation,
    pub residual: Option<&'a [f32]>,
    /// What the residual is multiplied by.
    pub factors: [f32; COLUMNS],
    pub output: &'a SharedMut<'a, f32>,
    /// From one row of the output to the next, and where its columns begin and how many there are.
    pub row: usize,
    pub first: usize,
    pub columns: usize,
}

/// Finishes a strip's sums and writes the rows that count; no other thread has these rows of these columns. The family has no kernel of
/// AVX2.
pub(super) fn strip(tier: Tier, finish: &Finish, sums: &Sums, rows: &Rows) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    fn avx512(finish: &Finish, sums: &Sums, rows: &Rows) {
        vector_strip::<crate::vector::F32x16>(finish, sums, rows);
    }
    match tier.min(Tier::detect()) {
        // SAFETY: the machine has this tier, by the line of the match.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 | Tier::Amx => unsafe { avx512(finish, sums, rows) },
        _ => scalar_strip(finish, sums, rows),
    }
}

fn scalar_strip(f: &Finish, sums: &Sums, rows: &Rows) {
    for index in 0..rows.count {
        let start = rows.place[index] * f.row + f.first;
        // SAFETY: no other thread has these rows of these columns.
        let y = unsafe { f.output.slice(start..start + f.columns) };
        for (column, y) in y.iter_mut().enumerate() {
            let sum = sums[rows.at[index]][column];
            *y = match f.scales {
                Some(scales) => sum * (rows.scale[index] * scales[column]),
                None => sum,
            };
            *y += f.bias[column];
            if let Some(other) = f.residual {
                *y += other[start + column] * f.factors[column];
            }
        }
        activation::slice_forward_in_place(Tier::Scalar, f.activation, y);
    }
}

#[inline(always)]
fn vector_strip<V: Vector>(f: &Finish, sums: &Sums, rows: &Rows) {
    with_constant!(f.activation, F => {
        for at in 0..rows.count {
            let start = rows.place[at] * f.row + f.first;
            for column in (0..f.columns).step_by(V::LANES) {
                let place = (column, start + column);
                let sum = V::load(&sums[rows.at[at]][column..]);
                put(f, apply(F, add(f, sum, (rows, at), place)), place);
            }
        }
    });
}

/// Scales sums and adds the bias and what comes before the activation.
#[inline(always)]
fn add<V: Vector>(
    f: &Finish,
    mut sum: V,
    (rows, at): (&Rows, usize),
    (column, place): (usize, usize),
) -> V {
    if let Some(columns) = f.scales {
        sum = sum * (V::splat(rows.scale[at]) * V::load(&columns[column..]));
    }
    sum = sum + V::load(&f.bias[column..]);
    match f.residual {
        Some(other) => {
            let factors = V::load(&f.factors[column..]);
            other_part::<V>(f, other, (column, place)).mul_add(factors, sum)
        }
        None => sum,
    }
}

/// A vector of the columns that there are of another tensor.
#[inline(always)]
fn other_part<V: Vector>(f: &Finish, other: &[f32], (column, place): (usize, usize)) -> V {
    match column + V::LANES <= f.columns {
        true => V::load(&other[place..]),
        false => V::load_part(&other[place..place + f.columns - column]),
    }
}

/// Writes a vector of the columns that there are.
#[inline(always)]
fn put<V: Vector>(f: &Finish, sum: V, (column, place): (usize, usize)) {
    let count = V::LANES.min(f.columns - column);
    // SAFETY: no other thread has these rows of these columns (`strip`).
    let y = unsafe { f.output.slice(place..place + count) };
    match count == V::LANES {
        true => sum.store(y),
        false => sum.store_part(y),
    }
}
