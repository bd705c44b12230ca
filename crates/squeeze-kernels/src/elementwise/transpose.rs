//! Transposes in registers: channel shuffles, and images between NCHW and NHWC.
//!
//! `P` rows of a vector each, a power of two, are interleaved by a perfect shuffle of registers (Stone, 1971): in each of
//! its log2(P) rounds, registers `i` and `i + P / 2` alternate their lanes and become registers `2 i` and `2 i + 1`. With `P`
//! the lanes of a vector this transposes a square. The rounds backward deal lanes out to rows.

use super::{PASS, scalar};
use crate::vector::{Vector, per_tier};
use crate::{Cpu, SharedMut};

/// A channel shuffle (Zhang et al., 2017): channels `[groups, c / groups]` become `[c / groups, groups]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffle {
    /// Channels.
    pub c: usize,
    /// Groups; a divisor of the channels.
    pub groups: usize,
}

impl Shuffle {
    /// The shuffle that undoes this one; hence also its backward pass.
    pub fn inverse(self) -> Self {
        Self {
            groups: self.c / self.groups,
            ..self
        }
    }
}

/// Shuffles the channels of each row.
///
/// # Panics
/// When the lengths differ.
pub fn shuffle(cpu: Cpu, shuffle: Shuffle, x: &[f32], y: &mut [f32]) {
    let shape = Transpose {
        n: x.len() / shuffle.c,
        rows: shuffle.groups,
        columns: shuffle.c / shuffle.groups,
    };
    transpose(cpu, shape, x, y);
}

/// Matrices `[n, rows, columns]` that become `[n, columns, rows]`; between NCHW and NHWC too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transpose {
    /// How many matrices.
    pub n: usize,
    /// Rows of what is read.
    pub rows: usize,
    /// Columns of what is read.
    pub columns: usize,
}

/// Transposes each matrix.
///
/// # Panics
/// When the lengths do not fit.
pub fn transpose(cpu: Cpu, shape: Transpose, x: &[f32], y: &mut [f32]) {
    let Transpose { n, rows, columns } = shape;
    assert_eq!(x.len(), n * rows * columns);
    assert_eq!(y.len(), x.len());
    if x.is_empty() {
        return;
    }
    // Strips of columns of a wide matrix are rows of the result, so one matrix can occupy several threads.
    let strips = columns.div_ceil(STRIP);
    let y = SharedMut::new(y);
    cpu.split(n * strips, x.len() * PASS, |range| {
        if strips == 1 {
            let part = range.start * rows * columns..range.end * rows * columns;
            let sides = Sides {
                rows,
                columns,
                stride: columns,
            };
            // SAFETY: each matrix belongs to one range.
            let y = unsafe { y.slice(part.clone()) };
            return matrices(cpu.tier, sides, &x[part], y);
        }
        for strip in range {
            let (matrix, column) = (strip / strips * rows * columns, strip % strips * STRIP);
            let sides = Sides {
                rows,
                columns: STRIP.min(columns - column),
                stride: columns,
            };
            let at = matrix + column * rows;
            // SAFETY: each strip has its own rows of the result.
            let y = unsafe { y.slice(at..at + sides.columns * rows) };
            matrices(cpu.tier, sides, &x[matrix..][column..rows * columns], y);
        }
    });
}

/// Columns of a matrix that are transposed together.
const STRIP: usize = 512;

/// A matrix as a kernel reads it: rows of `columns` numbers, `stride` apart.
#[derive(Clone, Copy, Debug)]
pub struct Sides {
    /// Rows of what is read.
    pub rows: usize,
    /// Columns of what is read.
    pub columns: usize,
    /// From one row to the next; beyond the columns only where there is one matrix.
    pub stride: usize,
}

per_tier! {
    /// Transposes matrices that follow each other, on one thread.
    fn matrices(sides: Sides, x: &[f32], y: &mut [f32])
    { scalar: scalar::transpose, vector: vector_transpose }
}

#[inline(always)]
fn vector_transpose<V: Vector>(sides: Sides, x: &[f32], y: &mut [f32]) {
    let Sides {
        rows,
        columns,
        stride,
    } = sides;
    // One call of `tiles`: its code is long, and each would be a copy.
    match (rows <= columns, columns == stride, rows.min(columns)) {
        (true, _, 0..=2) => join::<V, 2>(sides, x, y),
        (true, _, 3..=4) => join::<V, 4>(sides, x, y),
        (true, _, 5..=8) => join::<V, 8>(sides, x, y),
        (false, true, 0..=2) => deal::<V, 2>(sides, x, y),
        (false, true, 3..=4) => deal::<V, 4>(sides, x, y),
        (false, true, 5..=8) => deal::<V, 8>(sides, x, y),
        _ => tiles::<V>(sides, x, y),
    }
}

/// Few rows: `P` at most.
#[inline(always)]
fn join<V: Vector, const P: usize>(sides: Sides, x: &[f32], y: &mut [f32]) {
    let Sides {
        rows,
        columns,
        stride,
    } = sides;
    let each = V::LANES / P * rows;
    let places = places(|lane| lane / rows * P + lane % rows);
    for (x, y) in x
        .chunks(rows * stride)
        .zip(y.chunks_exact_mut(rows * columns))
    {
        for (j, y) in y.chunks_mut(rows * V::LANES).enumerate() {
            let j = j * V::LANES;
            let width = V::LANES.min(columns - j);
            let mut registers = [V::splat(0.0); P];
            if width == V::LANES {
                for (row, register) in registers.iter_mut().enumerate().take(rows) {
                    *register = V::load(&x[row * stride + j..]);
                }
            } else {
                for (row, register) in registers.iter_mut().enumerate().take(rows) {
                    *register = V::load_part(&x[row * stride + j..][..width]);
                }
            }
            interleave(&mut registers);
            if rows < P {
                for (register, y) in registers.into_iter().zip(y.chunks_mut(each)) {
                    register.permute(&places).store_part(y);
                }
            } else if width == V::LANES {
                for (register, y) in registers.into_iter().zip(y.chunks_exact_mut(V::LANES)) {
                    register.store(y);
                }
            } else {
                for (register, y) in registers.into_iter().zip(y.chunks_mut(V::LANES)) {
                    register.store_part(y);
                }
            }
        }
    }
}

/// Few columns, without a gap between rows: `P` at most.
#[inline(always)]
fn deal<V: Vector, const P: usize>(sides: Sides, x: &[f32], y: &mut [f32]) {
    let Sides { rows, columns, .. } = sides;
    let each = V::LANES / P * columns;
    let places = places(|lane| lane / P * columns + lane % P);
    let size = rows * columns;
    for (x, y) in x.chunks_exact(size).zip(y.chunks_exact_mut(size)) {
        for (i, x) in x.chunks(columns * V::LANES).enumerate() {
            let i = i * V::LANES;
            let height = V::LANES.min(rows - i);
            let mut registers = [V::splat(0.0); P];
            if columns < P {
                for (register, x) in registers.iter_mut().zip(x.chunks(each)) {
                    *register = V::load_part(x).permute(&places);
                }
            } else if height == V::LANES {
                for (register, x) in registers.iter_mut().zip(x.chunks_exact(V::LANES)) {
                    *register = V::load(x);
                }
            } else {
                for (register, x) in registers.iter_mut().zip(x.chunks(V::LANES)) {
                    *register = V::load_part(x);
                }
            }
            deinterleave(&mut registers);
            if height == V::LANES {
                for (column, register) in registers.into_iter().enumerate().take(columns) {
                    register.store(&mut y[column * rows + i..]);
                }
            } else {
                for (column, register) in registers.into_iter().enumerate().take(columns) {
                    register.store_part(&mut y[column * rows + i..][..height]);
                }
            }
        }
    }
}

/// Matrices larger than a vector each way, in squares.
#[inline(always)]
fn tiles<V: Vector>(sides: Sides, x: &[f32], y: &mut [f32]) {
    // A trait's constant cannot be the length of an array: 16 lanes are AVX-512, 8 are AVX2.
    match V::LANES {
        16 => squares::<V, 16>(sides, x, y),
        _ => squares::<V, 8>(sides, x, y),
    }
}

#[inline(always)]
fn squares<V: Vector, const L: usize>(sides: Sides, x: &[f32], y: &mut [f32]) {
    let Sides {
        rows,
        columns,
        stride,
    } = sides;
    for (x, y) in x
        .chunks(rows * stride)
        .zip(y.chunks_exact_mut(rows * columns))
    {
        for j in (0..columns).step_by(L) {
            let width = L.min(columns - j);
            for i in (0..rows).step_by(L) {
                let height = L.min(rows - i);
                let mut registers = [V::splat(0.0); L];
                for (row, register) in registers.iter_mut().enumerate().take(height) {
                    *register = V::load_part(&x[(i + row) * stride + j..][..width]);
                }
                interleave(&mut registers);
                for (column, register) in registers.into_iter().enumerate().take(width) {
                    register.store_part(&mut y[(j + column) * rows + i..][..height]);
                }
            }
        }
    }
}

/// Lane `j` of register `p` goes to number `j P + p` of all lanes in a row.
#[inline(always)]
pub(crate) fn interleave<V: Vector, const P: usize>(registers: &mut [V; P]) {
    for _ in 0..P.trailing_zeros() {
        let old = *registers;
        for i in 0..P / 2 {
            [registers[2 * i], registers[2 * i + 1]] = old[i].interleave(old[i + P / 2]);
        }
    }
}

/// Undoes [`interleave`].
#[inline(always)]
fn deinterleave<V: Vector, const P: usize>(registers: &mut [V; P]) {
    for _ in 0..P.trailing_zeros() {
        let old = *registers;
        for i in 0..P / 2 {
            [registers[i], registers[i + P / 2]] = old[2 * i].deinterleave(old[2 * i + 1]);
        }
    }
}

/// Where each lane comes from.
#[inline(always)]
fn places(source: impl Fn(usize) -> usize) -> [i32; 16] {
    std::array::from_fn(|lane| source(lane) as i32)
}

/// `y[i] = x[j]` where axis `a` of `y` is axis `order[a]` of `x`; `shape` is that of `x`.
///
/// # Panics
/// When the lengths do not fit or `order` does not name each axis once.
pub fn permute(cpu: Cpu, shape: [usize; 4], order: [usize; 4], x: &[f32], y: &mut [f32]) {
    let _ = cpu;
    assert_eq!(x.len(), shape.iter().product());
    assert_eq!(y.len(), x.len());
    assert!(
        (0..4).all(|axis| order.contains(&axis)),
        "{order:?} does not name each axis once"
    );
    let strides = [
        shape[1] * shape[2] * shape[3],
        shape[2] * shape[3],
        shape[3],
        1,
    ];
    let [a, b, c, d] = order.map(|axis| (shape[axis], strides[axis]));
    let mut to = 0;
    for i in 0..a.0 {
        for j in 0..b.0 {
            for k in 0..c.0 {
                let from = i * a.1 + j * b.1 + k * c.1;
                for l in 0..d.0 {
                    y[to + l] = x[from + l * d.1];
                }
                to += d.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Threads, Tier};

    #[track_caller]
    fn check(n: usize, rows: usize, columns: usize) {
        let x: Vec<f32> = (0..n * rows * columns).map(|i| i as f32).collect();
        for tier in Tier::here() {
            let threads = Threads::new(2);
            let cpu = Cpu {
                tier,
                threads: &threads,
            };
            // Numbers behind the end must stay as they are.
            let mut y = vec![-1.0; x.len() + 16];
            let shape = Transpose { n, rows, columns };
            transpose(cpu, shape, &x, &mut y[..n * rows * columns]);
            for (i, &y) in y[..x.len()].iter().enumerate() {
                let (matrix, at) = (i / (rows * columns), i % (rows * columns));
                let from = matrix * rows * columns + at % rows * columns + at / rows;
                assert_eq!(y, x[from], "{tier} {n} of {rows} x {columns} at {i}");
            }
            assert!(y[x.len()..].iter().all(|&y| y == -1.0), "{tier}");
        }
    }

    #[test]
    fn every_small_shape() {
        for rows in 1..=36 {
            for columns in 1..=36 {
                check(2, rows, columns);
            }
        }
    }

    #[test]
    fn shuffles_of_odd_widths() {
        for groups in [2, 3, 4, 6, 8, 12, 16] {
            for width in [5, 15, 16, 17, 33, 64, 100] {
                check(5, groups, width);
                check(5, width, groups);
            }
        }
    }

    #[test]
    fn strips_of_wide_matrices() {
        for rows in [1, 3, 8, 9, 33] {
            check(2, rows, 2 * STRIP + 1);
            check(1, rows, STRIP + 17);
            check(3, 2 * STRIP + 1, rows);
        }
    }

    #[test]
    fn many_rows_over_threads() {
        check(3000, 4, 32);
        check(3000, 32, 4);
        check(0, 4, 4);
    }
}
