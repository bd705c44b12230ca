//! What follows the sums of a strip: scales, bias, residual, activation, and the way out.

use super::STRIP;
use crate::activation::{self, Activation};
use crate::gemm_f32::Residual;
use crate::gemm_f32::product::limits;
use crate::vector::{Vector, per_tier};
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
    /// The scale of each where sums are of bytes.
    pub scale: [f32; STRIP],
}

/// What follows the sums of one panel of columns.
pub(super) struct Finish<'a> {
    pub tier: Tier,
    pub bias: [f32; COLUMNS],
    /// The scale of each column where sums are of bytes.
    pub scales: Option<&'a [f32; COLUMNS]>,
    pub activation: Activation,
    pub residual: Residual<'a>,
    pub output: &'a SharedMut<'a, f32>,
    /// From one row of the output to the next, and where its columns begin and how many there are.
    pub row: usize,
    pub first: usize,
    pub columns: usize,
}

impl Finish<'_> {
    /// Finishes a strip's sums and writes the rows that count.
    ///
    /// # Safety
    /// No other thread has these rows of these columns.
    pub unsafe fn strip(&self, sums: &mut Sums, rows: &Rows) {
        match limits(self.activation) {
            Some(clamps) => straight(self.tier, self, sums, rows, clamps),
            None => {
                before(self.tier, self, sums, rows);
                let all = sums.as_flattened_mut();
                activation::slice_forward_in_place(self.tier, self.activation, all);
                write(self.tier, self, sums, rows);
            }
        }
    }
}

per_tier! {
    /// All of it, where the activation only clamps.
    fn straight(finish: &Finish, sums: &mut Sums, rows: &Rows, clamps: (f32, f32))
    { scalar: scalar_rows, vector: straight_rows }
}

per_tier! {
    /// What comes before the activation.
    fn before(finish: &Finish, sums: &mut Sums, rows: &Rows)
    { scalar: scalar_before, vector: rows_before }
}

per_tier! {
    /// What comes after it.
    fn write(finish: &Finish, sums: &Sums, rows: &Rows)
    { scalar: scalar_write, vector: write_rows }
}

fn scalar_rows(f: &Finish, sums: &mut Sums, rows: &Rows, (least, most): (f32, f32)) {
    scalar_before(f, sums, rows);
    for sum in sums.as_flattened_mut() {
        // A NaN passes.
        let high = if *sum < least { least } else { *sum };
        *sum = if high > most { most } else { high };
    }
    scalar_write(f, sums, rows);
}

fn scalar_before(f: &Finish, sums: &mut Sums, rows: &Rows) {
    for index in 0..rows.count {
        let start = rows.place[index] * f.row + f.first;
        for (column, sum) in sums[rows.at[index]][..f.columns].iter_mut().enumerate() {
            if let Some(scales) = f.scales {
                *sum = (sum.to_bits() as i32) as f32 * (rows.scale[index] * scales[column]);
            }
            *sum += f.bias[column];
            if let Residual::Before(other) = f.residual {
                *sum += other[start + column];
            }
        }
    }
}

fn scalar_write(f: &Finish, sums: &Sums, rows: &Rows) {
    for index in 0..rows.count {
        let start = rows.place[index] * f.row + f.first;
        // SAFETY: no other thread has these rows of these columns (`Finish::strip`).
        let y = unsafe { f.output.slice(start..start + f.columns) };
        for (column, y) in y.iter_mut().enumerate() {
            *y = sums[rows.at[index]][column];
            if let Residual::After(other) = f.residual {
                *y += other[start + column];
            }
        }
    }
}

#[inline(always)]
fn straight_rows<V: Vector>(f: &Finish, sums: &mut Sums, rows: &Rows, clamps: (f32, f32)) {
    // As the right operand a NaN passes.
    let (least, most) = (V::splat(clamps.0), V::splat(clamps.1));
    let clamp = |sum: V| most.min(least.max(sum));
    each_row::<V>(f, rows, |at, column, place| {
        let sum = add(f, V::load(&sums[rows.at[at]][column..]), (rows, at), (column, place));
        put(f, clamp(sum), (column, place));
    });
}

#[inline(always)]
fn rows_before<V: Vector>(f: &Finish, sums: &mut Sums, rows: &Rows) {
    each_row::<V>(f, rows, |at, column, place| {
        let to = &mut sums[rows.at[at]][column..];
        add(f, V::load(to), (rows, at), (column, place)).store(to);
    });
}

#[inline(always)]
fn write_rows<V: Vector>(f: &Finish, sums: &Sums, rows: &Rows) {
    each_row::<V>(f, rows, |at, column, place| {
        put(f, V::load(&sums[rows.at[at]][column..]), (column, place));
    });
}

/// Calls `run` for every row and every vector of its columns: with the row, the column and the place in the output.
#[inline(always)]
fn each_row<V: Vector>(f: &Finish, rows: &Rows, mut run: impl FnMut(usize, usize, usize)) {
    for at in 0..rows.count {
        let start = rows.place[at] * f.row + f.first;
        for column in (0..f.columns).step_by(V::LANES) {
            run(at, column, start + column);
        }
    }
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
        sum = sum.whole() * (V::splat(rows.scale[at]) * V::load(&columns[column..]));
    }
    sum = sum + V::load(&f.bias[column..]);
    match f.residual {
        Residual::Before(other) => sum + other_part(f, other, (column, place)),
        Residual::None | Residual::After(_) => sum,
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

/// Writes a vector of the columns that there are, with what comes after the activation.
#[inline(always)]
fn put<V: Vector>(f: &Finish, mut sum: V, (column, place): (usize, usize)) {
    if let Residual::After(other) = f.residual {
        sum = sum + other_part(f, other, (column, place));
    }
    let count = V::LANES.min(f.columns - column);
    // SAFETY: no other thread has these rows of these columns (`Finish::strip`).
    let y = unsafe { f.output.slice(place..place + count) };
    match count == V::LANES {
        true => sum.store(y),
        false => sum.store_part(y),
    }
}
