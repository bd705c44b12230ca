//! The right side of products in bytes: weights brought to bytes and packed once, and the tiles that run over them.

use std::sync::Arc;

use super::codes::{FAR, Fixed, Shared, ToBytes};
use super::kernel::{BATCH, Kernel, MATRIX_ROWS, Runs};
use super::tile::{Bytes, IN_BYTES, IN_NUMBERS, Numbers, Segment, Tile};
use super::weights::PAIR;
use super::{FEW_BYTES, FEW_MATRIX_BYTES};
use crate::activation::Activation;
#[cfg(target_arch = "x86_64")]
use crate::amx::Registers;
use crate::gemm_f32::panels::Panels;
use crate::gemm_f32::product::{Block as Part, NEAR, NEAR_TILES, Near, after_bytes, follows};
use crate::gemm_f32::tile::{COLUMNS, Tile as Output};
use crate::gemm_f32::{Epilogue, Start};
use crate::slab::Block;
use crate::{Slab, Tier, Weight};

/// Weights of so many bytes stay near while the tiles of all panels are computed for a few rows.
const SMALL_BYTES: usize = 256 << 10;

/// Fewer tiles of a panel are computed before the next panel has come near.
const FEW_TILES: usize = 3;

/// How many quads ahead weights are asked for then.
const AHEAD: usize = 16;

/// Matrix registers add no tiles of fewer rows: vectors are as quick.
const FEWEST_MATRIX_ROWS: usize = BATCH;

/// Rows are packed so many at a time: their quads fill whole cache lines.
const TOGETHER: usize = 16;

/// How weights lie: rows of some segments, one row for each column of each group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub groups: usize,
    /// Columns of a group.
    pub n: usize,
    /// Parts of a sum whose activations are neighbours, and the length of each.
    pub segments: usize,
    pub length: usize,
}

/// Weights in bytes.
#[derive(Clone)]
pub(crate) struct Right {
    pub kernel: &'static Kernel,
    pub shape: Shape,
    /// Panels of quads: four neighbours of a segment.
    pub panels: Panels,
    /// `[groups][panel][segments][quads][width][4]`, or `[..][quads][2][width][2]` for kernels that widen rows.
    data: Arc<Block<[i8; 4]>>,
    /// What the sum of each column over each segment starts from, padding included: `[groups][segments][columns]`.
    start: Arc<[i32]>,
    /// The scale of each column of each group, padding included, and the sum of its weights.
    scales: Arc<[f32]>,
    sums: Arc<[f32]>,
    /// How sums become bytes, if they do.
    pub bytes_out: Option<ToBytes>,
}

/// The rows of some tiles.
pub(crate) struct Left<'a> {
    /// How many tiles, and how many rows of each, at most those of the kernel's largest tile.
    pub tiles: usize,
    pub rows: usize,
    /// The first one's bytes, and from one row to the next.
    pub bytes: (*const u8, usize),
    /// The segments that are added up.
    pub segments: &'a [Segment],
    /// The first one's scale, and from one row to the next.
    pub scales: (*const f32, usize),
    /// What the first one's bytes are counted from, and from one row to the next.
    pub middles: (*const f32, usize),
    /// Whether matrix registers add the sums, and of how many runs of so many rows: they read [`MATRIX_ROWS`] rows, however many a tile has.
    /// Only a single tile may have more than one run.
    pub on_matrix: Option<Runs>,
    /// How many rows of the same panel were computed before these, and how many are computed before the next panel.
    pub turn: (usize, usize),
}

/// Where a tile goes.
#[derive(Clone, Copy)]
pub(crate) struct To<'a> {
    /// The first number or byte of its first row, and from one row to the next.
    pub at: usize,
    pub row: usize,
    pub output: &'a Shared<'a>,
}

/// Whether the products of any bytes with the first two weights of a quad, and those with the last two, sum up to 16 bits.
fn fits(&[a, b, c, d]: &[i8; 4]) -> bool {
    let fits = |a: i8, b: i8| (i16::from(a) + i16::from(b)).abs() <= PAIR;
    fits(a, b) & fits(c, d)
}

/// Brings the first halves of some quads to the front, the second ones behind them.
fn split_pairs(quads: &mut [[i8; 4]]) {
    let half = 2 * quads.len();
    let split = &mut [0; 4 * COLUMNS][..2 * half];
    for (at, &[a, b, c, d]) in quads.iter().enumerate() {
        split[2 * at..][..2].copy_from_slice(&[a, b]);
        split[half + 2 * at..][..2].copy_from_slice(&[c, d]);
    }
    quads.as_flattened_mut().copy_from_slice(split);
}

impl Right {
    /// Packs `weight`, `[groups * n, segments * length]`, for activations whose byte of zero is `zero`, to a block of the slab.
    pub fn pack(weight: Weight, shape: Shape, zero: u8, tier: Tier, slab: &Slab) -> Right {
        let Shape {
            groups,
            n,
            segments,
            length,
        } = shape;
        let zero = i32::from(zero);
        let quads = length.div_ceil(4);
        let mut kernel = Kernel::of_sums(tier, segments * quads);
        let registers = kernel.tiles[0][0].len();
        let panels = Panels::new((kernel.lanes, registers), segments * quads, n);
        let columns = panels.group_len() / panels.k;
        let mut data: Block<[i8; 4]> = slab.block(groups * panels.group_len());
        let mut start = vec![0; groups * segments * columns];
        let (mut scales, mut sums) = (vec![0.0; groups * columns], vec![0.0; groups * columns]);
        let sum = segments * length;
        let mut rows = vec![0; TOGETHER * sum];
        for group in 0..groups {
            for panel in 0..panels.count {
                let (width, all) = (panels.width(panel), panels.columns(panel));
                let base = group * panels.group_len() + panels.start(panel);
                for first in all.clone().step_by(TOGETHER) {
                    let count = TOGETHER.min(all.end - first);
                    let columns_here = (first..).zip(rows.chunks_exact_mut(sum)).take(count);
                    for (column, row) in columns_here {
                        let scale = weight.row(group * n + column, 1, row);
                        let mut total = 0;
                        for (segment, row) in row.chunks_exact(length).enumerate() {
                            let sum: i32 = row.iter().map(|&w| i32::from(w)).sum();
                            start[(group * segments + segment) * columns + column] = -zero * sum;
                            total += sum;
                        }
                        scales[group * columns + column] = scale;
                        sums[group * columns + column] = scale * total as f32;
                    }
                    let to = &mut data[base + first - all.start..];
                    for at in 0..segments * quads {
                        let (segment, quad) = (at / quads, at % quads);
                        let from = segment * length + 4 * quad;
                        let end = (from + 4).min((segment + 1) * length);
                        let to = &mut to[at * width..][..count];
                        for (to, row) in to.iter_mut().zip(rows.chunks_exact(sum)) {
                            match row[from..end].first_chunk() {
                                Some(quad) => *to = *quad,
                                None => to[..end - from].copy_from_slice(&row[from..end]),
                            }
                        }
                    }
                }
                if let Some(wide) = kernel.wide
                    && !data[base..][..panels.k * width].iter().all(fits)
                {
                    kernel = wide;
                }
            }
        }
        if kernel.widen.is_some() {
            for group in data.chunks_exact_mut(panels.group_len().max(1)) {
                for panel in 0..panels.count {
                    let width = panels.width(panel);
                    let panel = &mut group[panels.start(panel)..][..panels.k * width];
                    panel.chunks_exact_mut(width).for_each(split_pairs);
                }
            }
        }
        Right {
            kernel,
            shape,
            panels,
            data: Arc::new(data),
            start: start.into(),
            scales: scales.into(),
            sums: sums.into(),
            bytes_out: None,
        }
    }

    /// The same for activations in bytes that are known before.
    ///
    /// # Panics
    /// If the bias is shorter than the columns.
    pub fn fixed(weight: Weight, shape: Shape, fixed: &Fixed, tier: Tier, slab: &Slab) -> Right {
        let input = fixed.codes.input;
        let mut right = Self::pack(weight, shape, input.zero, tier, slab);
        let mut factor = input.scale;
        if let Some(output) = fixed.codes.output {
            let padded = right.scales.len() / shape.groups;
            let mut bias = vec![0.0; right.scales.len()];
            if let Some(from) = fixed.bias {
                for group in 0..shape.groups {
                    let to = &mut bias[group * padded..][..shape.n];
                    to.copy_from_slice(&from[group * shape.n..][..shape.n]);
                }
            }
            let (to_bytes, scale) = ToBytes::new(bias, fixed, output);
            factor *= scale;
            right.bytes_out = Some(to_bytes);
        }
        // No sum is larger than this: of the largest bytes and weights there are.
        let largest = 255.0 * 128.0 * (shape.segments * shape.length) as f32;
        let most = match right.bytes_out {
            Some(_) => FAR / largest,
            None => f32::INFINITY,
        };
        let limited = |scale: &f32| (scale * factor).clamp(0.0, most);
        right.scales = right.scales.iter().map(limited).collect();
        right
    }

    /// Bytes of the weights with their scales.
    pub fn bytes(&self) -> usize {
        let numbers = self.start.len() + self.scales.len() + self.sums.len();
        let out = self.bytes_out.as_ref().map_or(0, ToBytes::bytes);
        4 * self.data.len() + 4 * numbers + out
    }

    /// Whether the weights stay in a core's second cache, beside what passes them.
    pub fn is_small(&self) -> bool {
        4 * self.data.len() <= SMALL_BYTES
    }

    /// Panels of all groups.
    pub fn units(&self) -> usize {
        self.shape.groups * self.panels.count
    }

    /// Rows of the largest tile.
    pub fn rows(&self) -> usize {
        match self.kernel.matrix {
            Some(_) => MATRIX_ROWS,
            None => self.kernel.tiles[0].len(),
        }
    }

    /// Rows of so many bytes pass all panels together, where the weight is small.
    pub fn few_bytes(&self) -> usize {
        match self.kernel.matrix {
            Some(_) => FEW_MATRIX_BYTES,
            None => FEW_BYTES,
        }
    }

    /// Whether matrix registers should add the sums of tiles of so many rows, where as many can be read as they read.
    pub fn on_matrix(&self, rows: usize) -> Option<Runs> {
        let is_used = self.kernel.matrix.is_some() && rows >= FEWEST_MATRIX_ROWS;
        is_used.then_some(Runs::ONE)
    }

    /// How many rows behind its own a tile may read.
    pub fn behind(&self) -> usize {
        self.kernel
            .matrix
            .map_or(0, |_| MATRIX_ROWS - FEWEST_MATRIX_ROWS)
    }

    /// Rows of the largest tile that so many rows fill, or so many.
    pub fn tile_rows(&self, rows: usize) -> usize {
        let sizes = [self.rows(), self.kernel.tiles[0].len()];
        sizes.into_iter().find(|&of| of <= rows).unwrap_or(rows)
    }

    /// Sets this thread's matrix registers up for the tiles, if they use them, while the guard lives.
    #[cfg(target_arch = "x86_64")]
    pub fn set_up(&self) -> Option<Registers> {
        // SAFETY: the machine has what the kernel needs (`Kernel::of`).
        self.kernel
            .matrix
            .map(|_| unsafe { super::amx::set_up(self.quads()) })
    }

    /// There are no matrix registers.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn set_up(&self) {}

    /// Quads of a segment.
    fn quads(&self) -> usize {
        self.shape.length.div_ceil(4)
    }

    /// # Panics
    /// If the epilogue adds to the output, or its slices are shorter than `len`, the numbers from the output's first to its last.
    pub fn check(&self, epilogue: &Epilogue, len: usize) {
        assert_eq!(epilogue.start, Start::Zero, "bytes are never added to");
        epilogue.check(self.shape.groups * self.shape.n, len);
    }

    /// Computes tiles of one panel, counted over all groups; what follows their sums passes through `near`.
    ///
    /// # Safety
    /// The registers are set up ([`Right::set_up`]). The rows are valid for reading whole quads of every segment, [`MATRIX_ROWS`] of a tile where
    /// matrix registers add their sums; output and epilogue hold all of the tiles' rows, which no other thread has.
    pub unsafe fn tiles(&self, panel: usize, left: &Left, to: To, near: &mut Near) {
        let (group, index) = self.panels.place(panel);
        let (columns, width) = (self.panels.columns(index), self.panels.width(index));
        let padded = self.scales.len() / self.shape.groups;
        let base = group * self.panels.group_len() + self.panels.start(index);
        let column = group * self.shape.n + columns.start;
        let at = to.at + column;
        let in_columns = group * padded + columns.start;
        let near_by = (near.as_mut_ptr(), COLUMNS);
        let is_short = left.on_matrix.is_some() || left.rows == self.kernel.short;
        let is_short = is_short && columns.len() == width;
        let numbers = match to.output {
            Shared::Numbers(_, e) if is_short && e.residual.is_none() => match e.activation {
                Activation::Identity => Numbers::Plain,
                Activation::Gelu => Numbers::Gelu,
                _ => Numbers::Any,
            },
            _ => Numbers::Any,
        };
        // What tiles do not do themselves.
        let what = match to.output {
            Shared::Numbers(_, e) if numbers == Numbers::Any => follows(e.activation),
            _ => None,
        };
        let none = Output {
            columns: columns.len(),
            ..Output::EMPTY
        };
        let (output, bytes) = match (to.output, &self.bytes_out) {
            (Shared::Numbers(c, epilogue), _) => {
                let there = (c.pointer().wrapping_add(at), to.row);
                let from = |numbers: Option<&[f32]>, at: usize| {
                    numbers.map_or(std::ptr::null(), |numbers| numbers[at..].as_ptr())
                };
                let residual = epilogue.residual;
                let output = Output {
                    c: there,
                    to: what.map_or(there, |_| near_by),
                    bias: from(epilogue.bias, column),
                    residual: from(residual.map(|residual| residual.values), at),
                    factors: from(residual.and_then(|residual| residual.factors), column),
                    limits: epilogue.activation.limits().unwrap_or(none.limits),
                    ..none
                };
                (output, Bytes::NONE)
            }
            (Shared::Bytes(c, residual), Some(out)) => {
                let output = Output {
                    c: near_by,
                    to: near_by,
                    bias: out.bias[in_columns..].as_ptr(),
                    limits: out.limits,
                    ..none
                };
                let bytes = Bytes {
                    to: (c.pointer().wrapping_add(at), to.row),
                    residual: residual.map_or(std::ptr::null(), |from| from[at..].as_ptr()),
                    factor: out.factor.unwrap_or(0.0),
                    curve: out
                        .curve
                        .as_deref()
                        .map_or(std::ptr::null(), std::ptr::from_ref),
                    limits: std::ptr::from_ref(&*out.byte_limits),
                };
                (output, bytes)
            }
            (Shared::Bytes(..), None) => unreachable!("outputs were checked"),
        };
        let start = &self.start[group * self.shape.segments * padded + columns.start..];
        // The next panel comes near while the tiles of this one are computed. Few tiles leave no time for that: then weights are asked
        // for some quads before they are used.
        let b = self.data.as_ptr().wrapping_add(base);
        let rows_each = left.rows * left.on_matrix.map_or(1, |runs| runs.count);
        let (before, all) = left.turn;
        let prefetch = match (all < FEW_TILES * rows_each, before) {
            (true, 0) => (b.wrapping_add(AHEAD * width), 4 * width),
            (true, _) => (b, 0),
            (false, _) => {
                let next = b.wrapping_add(width * self.panels.k);
                let passed = width * self.panels.k * before / all;
                (
                    next.wrapping_add(passed),
                    (4 * width * rows_each).div_ceil(all),
                )
            }
        };
        let mut tile = Tile {
            count: left.tiles,
            a: left.bytes,
            segments: (left.segments.as_ptr(), left.segments.len()),
            quads: self.quads(),
            b: b.cast(),
            prefetch: (prefetch.0.cast(), prefetch.1),
            start: (start.as_ptr(), padded),
            scales: self.scales[in_columns..].as_ptr(),
            row_scales: left.scales,
            middles: left.middles,
            sums: self.sums[in_columns..].as_ptr(),
            output,
            numbers,
            bytes,
        };
        let writes = match bytes.to.0.is_null() {
            true => IN_NUMBERS,
            false => IN_BYTES,
        };
        let run = |tile: &Tile| unsafe {
            let size = [left.rows, width / self.kernel.lanes];
            self.kernel.compute(tile, writes, left.on_matrix, size);
        };
        // SAFETY (of both): the machine has what the kernel needs (`Kernel::of`); `data`, `start`, `scales` and `sums` hold whole
        // panels; the rest is the caller's promise.
        let (Some(what), Shared::Numbers(c, _)) = (what, to.output) else {
            return run(&tile);
        };
        // As many as there is room for.
        let together = NEAR_TILES.min(NEAR.len() / (rows_each * COLUMNS));
        for first in (0..left.tiles).step_by(together) {
            tile.count = together.min(left.tiles - first);
            run(&tile);
            let rows = tile.count * rows_each;
            let block = Part {
                at: at + first * rows_each * to.row,
                row: to.row,
                rows,
                columns: columns.len(),
            };
            after_bytes(self.kernel.tier, what, near, c, block);
            (0..tile.count).for_each(|_| tile.pass(left.rows));
            tile.output.to = near_by;
        }
    }
}
