//! The products of a training step: the layer with a weight that changes, and the gradients of its input, weight and bias.
//!
//! The same tiles do all of them. The input's gradient packs the weight untransposed; the weight's packs both sides in blocks of
//! rows and adds block after block, so that no sum is longer than a block plus the number of blocks.

use std::ops::Range;

use super::panels::{Panels, View};
use super::product::{Interleaved, Output, PATCH, Product, Strided};
use super::{Epilogue, Geometry, Kernel, Start};
use crate::buffer::Buffer;
use crate::{Cpu, SharedMut, Threads, even};

/// Buffers that training products reuse; one a trainer is enough. Nothing is allocated once they have grown to the largest layer.
#[derive(Default)]
pub struct Scratch {
    pub(crate) columns: Buffer,
    pub(crate) rows: Buffer,
    pub(crate) weight: Buffer,
}

/// Rows that a column sum adds before the result joins the total.
const SUM_ROWS: usize = 128;
/// Bytes of either side of a weight's gradient that are packed at once.
const BLOCK_BYTES: usize = 1 << 20;

/// `y = activation(x w^T + bias + residual)` with `weight` as PyTorch has it.
///
/// # Panics
/// If a slice is shorter than the geometry says.
pub fn forward(
    g: &Geometry,
    (x, weight): (&[f32], &[f32]),
    epilogue: &Epilogue,
    y: &mut [f32],
    scratch: &mut Scratch,
    cpu: Cpu,
) {
    g.check(x.len(), y.len(), weight.len());
    let kernel = Kernel::of(cpu.tier);
    let panels = Panels::new(kernel.width(), g.k, g.n);
    let packed = scratch.columns.sized(g.groups * panels.group_len());
    pack_weight(g, weight, &panels, (packed, cpu));
    let source = Strided {
        data: x,
        row: g.lda,
        group: g.k,
        k: g.k,
    };
    let product = Product {
        kernel,
        m: g.m,
        groups: g.groups,
        panels,
        source: &source,
        b: &scratch.columns,
        output: Output {
            row: g.ldc,
            group: g.n,
        },
        epilogue: *epilogue,
    };
    product.run(y, cpu.threads);
}

/// `dx = dy w`, or added to `dx`.
///
/// # Panics
/// If a slice is shorter than the geometry says.
pub fn input_gradient(
    g: &Geometry,
    (weight, dy): (&[f32], &[f32]),
    dx: &mut [f32],
    start: Start,
    scratch: &mut Scratch,
    cpu: Cpu,
) {
    g.check(dx.len(), dy.len(), weight.len());
    let kernel = Kernel::of(cpu.tier);
    let panels = Panels::new(kernel.width(), g.n, g.k);
    let view = |group: usize| View {
        data: &weight[group * g.n * g.k..],
        k_step: g.k,
        n_step: 1,
    };
    let packed = scratch.columns.sized(g.groups * panels.group_len());
    pack_groups(g.groups, &panels, view, (packed, cpu));
    let source = Strided {
        data: dy,
        row: g.ldc,
        group: g.n,
        k: g.n,
    };
    let product = Product {
        kernel,
        m: g.m,
        groups: g.groups,
        panels,
        source: &source,
        b: &scratch.columns,
        output: Output {
            row: g.lda,
            group: g.k,
        },
        epilogue: Epilogue {
            start,
            ..Epilogue::default()
        },
    };
    product.run(dx, cpu.threads);
}

/// `dw += dy^T x`, `dw` as the weight: `[groups * n, k]`.
///
/// # Panics
/// If a slice is shorter than the geometry says.
pub fn weight_gradient(
    g: &Geometry,
    (dy, x): (&[f32], &[f32]),
    dw: &mut [f32],
    scratch: &mut Scratch,
    cpu: Cpu,
) {
    g.check(x.len(), dy.len(), dw.len());
    let sums = Sums {
        m: g.m,
        n: g.n,
        k: g.k,
        groups: g.groups,
        dy,
        ldy: g.ldc,
    };
    let pack = |panels: &Panels, at: (usize, usize), rows: Range<usize>, to: &mut [f32]| {
        let data = &x[rows.start * g.lda + at.0 * g.k..];
        let view = View {
            data,
            k_step: g.lda,
            n_step: 1,
        };
        panels.pack((to, at.1), 0..rows.len(), view, cpu.tier);
    };
    sums.add(&pack, dw, scratch, cpu);
}

/// `db +=` the sum of the rows of `dy`, in blocks of 128 rows; `db` is `[groups * n]`.
///
/// # Panics
/// If a slice is shorter than the geometry says.
pub fn bias_gradient(g: &Geometry, dy: &[f32], db: &mut [f32], cpu: Cpu) {
    g.check(usize::MAX, dy.len(), g.groups * g.n * g.k);
    assert_eq!(db.len(), g.groups * g.n, "{g:?}: one bias a column");
    add_columns((dy, g.m, g.ldc), db, cpu.threads);
}

/// Adds the sum of each column of `rows` rows `step` apart to `to`, in blocks of rows.
pub(crate) fn add_columns(
    (from, rows, step): (&[f32], usize, usize),
    to: &mut [f32],
    threads: &Threads,
) {
    const WIDTH: usize = 64;
    let work = rows * to.len();
    threads.run_rows(to, 1, work, |columns, to| {
        for (index, to) in to.chunks_mut(WIDTH).enumerate() {
            let left = columns.start + index * WIDTH;
            for block in (0..rows).step_by(SUM_ROWS) {
                let mut sum = [0.0f32; WIDTH];
                for row in block..(block + SUM_ROWS).min(rows) {
                    let row = &from[row * step + left..][..to.len()];
                    for (sum, x) in sum.iter_mut().zip(row) {
                        *sum += x;
                    }
                }
                for (to, sum) in to.iter_mut().zip(sum) {
                    *to += sum;
                }
            }
        }
    });
}

/// Packs a weight `[groups * n, k]` for the product with its transpose.
pub(crate) fn pack_weight(g: &Geometry, weight: &[f32], panels: &Panels, on: (&mut [f32], Cpu)) {
    let view = |group: usize| View {
        data: &weight[group * g.n * g.k..],
        k_step: 1,
        n_step: g.k,
    };
    pack_groups(g.groups, panels, view, on);
}

/// Packs one matrix a group into as many numbers as the panels of all groups take.
pub(crate) fn pack_groups<'a>(
    groups: usize,
    panels: &Panels,
    view: impl Fn(usize) -> View<'a> + Sync,
    (packed, cpu): (&mut [f32], Cpu),
) {
    let len = panels.group_len();
    assert_eq!(packed.len(), groups * len);
    let data = SharedMut::new(packed);
    let units = groups * panels.count;
    let parts = cpu.threads.parts(groups * len * 4, units);
    cpu.threads.run(parts, &|part| {
        for unit in even(units, parts, part) {
            let (group, index) = panels.place(unit);
            let start = group * len + panels.start(index);
            // SAFETY: panels are disjoint, and each belongs to one part.
            let to = unsafe { data.slice(start..start + panels.width(index) * panels.k) };
            panels.pack((to, index), 0..panels.k, view(group), cpu.tier);
        }
    });
}

/// The sums of a weight's gradient: `dw[groups * n, k] += dy^T[n, m] columns[m, k]` for each group.
pub(crate) struct Sums<'a> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub groups: usize,
    pub dy: &'a [f32],
    pub ldy: usize,
}

/// Packs some rows of a panel, given as (group, panel), into a slice that begins with the first of them.
pub(crate) type PackRows<'a> =
    dyn Fn(&Panels, (usize, usize), Range<usize>, &mut [f32]) + Sync + 'a;

impl Sums<'_> {
    /// Adds the sums to `dw`, block after block of rows.
    pub(crate) fn add(&self, pack: &PackRows, dw: &mut [f32], scratch: &mut Scratch, cpu: Cpu) {
        let kernel = Kernel::of(cpu.tier);
        let mr = kernel.rows();
        let tiles = self.n.div_ceil(mr);
        let widest = self.groups * self.n.max(self.k);
        let blocks = (BLOCK_BYTES / (4 * widest * kernel.depth)).clamp(1, 8);
        let depth = kernel.depth.min(PATCH) * blocks;
        for start in (0..self.m).step_by(depth) {
            let rows = start..(start + depth).min(self.m);
            let len = rows.len();
            let panels = Panels::new(kernel.width(), len, self.k);
            let group_columns = panels.group_len();
            let group_rows = tiles * mr * len;
            let (units, stripes) = (self.groups * panels.count, self.groups * tiles);
            {
                let columns = SharedMut::new(scratch.columns.sized(self.groups * group_columns));
                let packed = SharedMut::new(scratch.rows.sized(self.groups * group_rows));
                let parts = cpu
                    .threads
                    .parts(4 * len * self.groups * (self.n + self.k), units + stripes);
                cpu.threads.run(parts, &|part| {
                    for unit in even(units, parts, part) {
                        let (group, index) = panels.place(unit);
                        let at = group * group_columns + panels.start(index);
                        // SAFETY: panels are disjoint, and each belongs to one part.
                        let to = unsafe { columns.slice(at..at + panels.width(index) * len) };
                        pack(&panels, (group, index), rows.clone(), to);
                    }
                    for stripe in even(stripes, parts, part) {
                        let (group, tile) = (stripe / tiles, stripe % tiles);
                        let at = group * group_rows + tile * mr * len;
                        // SAFETY: stripes are disjoint, and each belongs to one part.
                        let to = unsafe { packed.slice(at..at + mr * len) };
                        let used = (self.n - tile * mr).min(mr);
                        let from = &self.dy[rows.start * self.ldy + group * self.n + tile * mr..];
                        interleave(from, self.ldy, (mr, used), to);
                    }
                });
            }
            let source = Interleaved {
                data: &scratch.rows,
                rows: mr,
                group: group_rows,
                k: len,
            };
            let product = Product {
                kernel,
                m: self.n,
                groups: self.groups,
                panels,
                source: &source,
                b: &scratch.columns,
                output: Output {
                    row: self.k,
                    group: self.n * self.k,
                },
                epilogue: Epilogue {
                    start: Start::Add,
                    ..Epilogue::default()
                },
            };
            product.run(dw, cpu.threads);
        }
    }
}

/// Packs `used` columns of rows `step` apart as `[row][width]`, with zeros for the rest.
fn interleave(from: &[f32], step: usize, (width, used): (usize, usize), to: &mut [f32]) {
    for (row, to) in to.chunks_exact_mut(width).enumerate() {
        let from = &from[row * step..][..used];
        if used == width {
            to.copy_from_slice(from);
        } else {
            to[..used].copy_from_slice(from);
            to[used..].fill(0.0);
        }
    }
}
