//! The product of fully connected layers, dense or grouped, in 8-bit integers.
//!
//! Weights have one scale for each output channel and are packed once. Activations come in single precision; each row of each
//! group is brought to bytes with a scale of its own just before the product, so nothing has to be known of their range.
//! Sums are exact in 32 bits: every tier gives the same ones.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod quantize;
pub mod scalar;
#[cfg(test)]
mod tests;
mod tile;

use std::ops::Range;
use std::sync::Arc;

use crate::gemm_f32::panels::Panels;
use crate::gemm_f32::product::{After, Block, NEAR, after, limits};
use crate::gemm_f32::tile::{COLUMNS, Tile as Output};
use crate::gemm_f32::{Epilogue, Geometry, Residual, Start};
use crate::{Cpu, SharedMut, Threads, Tier, even};
use quantize::quantize_row;
use tile::Tile;

/// One row of the table of kernels.
#[derive(Debug)]
pub struct Kernel {
    /// What logs and tables show.
    pub name: &'static str,
    /// The instructions it needs.
    pub tier: Tier,
    /// Whether the machine has what it needs beyond its tier.
    is_present: fn() -> bool,
    /// Numbers in a register of sums.
    lanes: usize,
    /// Whether activations enter the products as unsigned bytes, 128 too large.
    unsigned: bool,
    tiles: &'static [&'static [TileFn]],
}

/// Computes one tile.
///
/// # Safety
/// As for [`tile::tile`].
type TileFn = unsafe fn(&Tile);

/// The kernels of this family, in rising order of tiers.
#[cfg(target_arch = "x86_64")]
pub const KERNELS: &[Kernel] = &[scalar::KERNEL, avx2::KERNEL, avx512::KERNEL];
/// The kernels of this family, in rising order of tiers.
#[cfg(not(target_arch = "x86_64"))]
pub const KERNELS: &[Kernel] = &[scalar::KERNEL];

impl Kernel {
    /// Whether this machine can run it.
    pub fn is_here(&self) -> bool {
        self.tier.is_present() && (self.is_present)()
    }

    /// The best kernel of at most this tier that this machine can run.
    pub fn of(tier: Tier) -> &'static Kernel {
        let fits = |kernel: &&Kernel| kernel.tier <= tier && kernel.is_here();
        KERNELS
            .iter()
            .rev()
            .find(fits)
            .expect("the scalar kernel runs everywhere")
    }
}

/// The longest sum: its 32 bits hold that many products of an unsigned and a signed byte.
pub const LONGEST: usize = 1 << 16;

/// Rows of bytes are walked in blocks of at most so many, which stay in a core's second cache for all panels.
const ROW_BLOCK_BYTES: usize = 256 << 10;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([i8; 64]);

/// The weight of a layer in bytes, packed once for the kernel that will run it.
#[derive(Clone)]
pub struct Packed {
    geometry: Geometry,
    kernel: &'static Kernel,
    /// Panels of quads: four neighbours of k.
    panels: Panels,
    /// `[groups][panel][quads][width][4]`.
    data: Arc<[Line]>,
    /// What the sum of each column of each group starts from, padding included.
    start: Arc<[i32]>,
    /// The scale of each column of each group, padding included.
    scales: Arc<[f32]>,
}

impl Packed {
    /// Brings `weight`, `[groups * n, k]`, to bytes and packs it.
    ///
    /// # Panics
    /// If the weight's length or the geometry is wrong, or k is over [`LONGEST`].
    pub fn pack(weight: &[f32], geometry: &Geometry, tier: Tier) -> Packed {
        geometry.check(usize::MAX, usize::MAX, weight.len());
        assert!(geometry.k <= LONGEST, "{geometry:?}: too long a sum");
        let kernel = Kernel::of(tier);
        let Geometry { n, k, groups, .. } = *geometry;
        let quads = k.div_ceil(4);
        let registers = kernel.tiles[0].len();
        let panels = Panels::new((kernel.lanes, registers), quads, n);
        let columns = panels.group_len() / quads;
        let mut data = vec![Line([0; 64]); (groups * panels.group_len() * 4).div_ceil(64)];
        let mut start = vec![0; groups * columns];
        let mut scales = vec![0.0; groups * columns];
        let mut row = vec![0; k];
        for group in 0..groups {
            for panel in 0..panels.count {
                let width = panels.width(panel);
                let base = 4 * (group * panels.group_len() + panels.start(panel));
                for (at, column) in panels.columns(panel).enumerate() {
                    let weight = &weight[(group * n + column) * k..][..k];
                    let place = group * columns + column;
                    scales[place] = quantize::weights(weight, &mut row);
                    if kernel.unsigned {
                        let sum: i32 = row.iter().map(|&w| i32::from(w)).sum();
                        start[place] = -128 * sum;
                    }
                    for (k, &w) in row.iter().enumerate() {
                        let to = base + 4 * (k / 4 * width + at) + k % 4;
                        data[to / 64].0[to % 64] = w;
                    }
                }
            }
        }
        Packed {
            geometry: *geometry,
            kernel,
            panels,
            data: data.into(),
            start: start.into(),
            scales: scales.into(),
        }
    }

    /// The same weight for another number of rows; allocates nothing.
    pub fn with_rows(&self, m: usize) -> Packed {
        let geometry = Geometry { m, ..self.geometry };
        Packed {
            geometry,
            ..self.clone()
        }
    }

    /// The kernel that runs it.
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// Bytes of the packed weight with its scales.
    pub fn bytes(&self) -> usize {
        64 * self.data.len() + 4 * (self.start.len() + self.scales.len())
    }

    /// Bytes of one group of a row of activations.
    fn group_bytes(&self) -> usize {
        self.geometry.k.next_multiple_of(4)
    }

    /// How many numbers [`Packed::run`] works in.
    pub fn scratch(&self) -> usize {
        let Geometry { m, groups, .. } = self.geometry;
        m * groups * (1 + self.group_bytes() / 4)
    }

    /// `c = activation(a w^T + bias + residual)` with rows of `a` in bytes; allocates nothing.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry or [`Packed::scratch`] says, or the epilogue adds to the output.
    pub fn run(
        &self,
        a: &[f32],
        epilogue: &Epilogue,
        c: &mut [f32],
        scratch: &mut [f32],
        threads: &Threads,
    ) {
        let g = &self.geometry;
        g.check(a.len(), c.len(), g.groups * g.n * g.k);
        assert_eq!(epilogue.start, Start::Zero, "bytes are never added to");
        let needed = |step: usize| g.m.saturating_sub(1) * step + g.groups * g.n;
        assert!(
            epilogue
                .bias
                .is_none_or(|bias| bias.len() >= g.groups * g.n)
        );
        match epilogue.residual {
            Residual::None => {}
            Residual::Before(r) | Residual::After(r) => assert!(r.len() >= needed(g.ldc)),
        }
        let scratch = &mut scratch[..self.scratch()];
        let (scales, bytes) = scratch.split_at_mut(g.m * g.groups);
        // SAFETY: any bits are numbers and bytes alike, and bytes may lie anywhere.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<u8>(), 4 * bytes.len())
        };
        let tier = self.kernel.tier;
        let cpu = Cpu { tier, threads };
        self.quantize(a, (scales, bytes), cpu);
        let rows = Rows { scales, bytes };
        let (units, tiles) = (
            g.groups * self.panels.count,
            g.m.div_ceil(self.kernel.tiles.len()),
        );
        // A product of bytes takes about a quarter of the time of one of numbers.
        let parts = threads.parts(g.macs() / 4, units.max(tiles));
        let c = SharedMut::new(c);
        let by_rows = tiles >= units;
        threads.run(parts, &|part| {
            if by_rows {
                let tiles = even(tiles, parts, part);
                let step = self.kernel.tiles.len();
                let own = tiles.start * step..(tiles.end * step).min(g.m);
                self.part(own, 0..units, &rows, (epilogue, &c));
            } else {
                self.part(0..g.m, even(units, parts, part), &rows, (epilogue, &c));
            }
        });
    }

    /// Brings every row of every group to bytes.
    fn quantize(&self, a: &[f32], (scales, bytes): (&mut [f32], &mut [u8]), cpu: Cpu) {
        let g = &self.geometry;
        let width = self.group_bytes();
        let (scales, bytes) = (SharedMut::new(scales), SharedMut::new(bytes));
        cpu.split(g.m, g.m * g.groups * width * 2, |rows| {
            for place in rows.start * g.groups..rows.end * g.groups {
                let (row, group) = (place / g.groups, place % g.groups);
                let x = &a[row * g.lda + group * g.k..][..g.k];
                // SAFETY: each row has its own bytes and scales.
                let (to, scale) = unsafe {
                    let to = bytes.slice(place * width..(place + 1) * width);
                    (to, scales.slice(place..place + 1))
                };
                scale[0] = quantize_row(cpu.tier, x, to);
            }
        });
    }

    /// Some rows of some panels, counted over all groups.
    fn part(
        &self,
        rows: Range<usize>,
        panels: Range<usize>,
        left: &Rows,
        (epilogue, c): (&Epilogue, &SharedMut<f32>),
    ) {
        let mr = self.kernel.tiles.len();
        let row_bytes = self.geometry.groups * self.group_bytes();
        let block = (ROW_BLOCK_BYTES / row_bytes).max(mr).next_multiple_of(mr);
        for first in rows.clone().step_by(block) {
            let rows = first..(first + block).min(rows.end);
            for panel in panels.clone() {
                self.panel(rows.clone(), panel, left, (epilogue, c));
            }
        }
    }

    /// Some rows of one panel.
    fn panel(
        &self,
        rows: Range<usize>,
        panel: usize,
        left: &Rows,
        (epilogue, c): (&Epilogue, &SharedMut<f32>),
    ) {
        let g = &self.geometry;
        let (group, index) = self.panels.place(panel);
        let (columns, width) = (self.panels.columns(index), self.panels.width(index));
        let per_group = self.start.len() / g.groups;
        let base = 4 * (group * self.panels.group_len() + self.panels.start(index));
        let place = group * per_group + columns.start;
        let column = group * g.n + columns.start;
        let clamps = limits(epilogue.activation);
        let follows = After::of(epilogue);
        let mut near = NEAR;
        let bias = epilogue.bias;
        let group_bytes = self.group_bytes();
        let mr = self.kernel.tiles.len();
        for start in rows.clone().step_by(mr) {
            let rows = start..(start + mr).min(rows.end);
            let at = start * g.ldc + column;
            let residual = match epilogue.residual {
                Residual::Before(residual) => residual[at..].as_ptr(),
                Residual::After(_) | Residual::None => std::ptr::null(),
            };
            let there = (c.pointer().wrapping_add(at), g.ldc);
            let tile = Tile {
                a: left.bytes[(start * g.groups + group) * group_bytes..].as_ptr(),
                row: g.groups * group_bytes,
                quads: self.panels.k,
                b: self.data.as_ptr().cast::<i8>().wrapping_add(base),
                start: self.start[place..].as_ptr(),
                scales: self.scales[place..].as_ptr(),
                row_scales: (left.scales[start * g.groups + group..].as_ptr(), g.groups),
                output: Output {
                    c: there,
                    to: match follows {
                        Some(_) => (near.as_mut_ptr(), COLUMNS),
                        None => there,
                    },
                    columns: columns.len(),
                    bias: bias.map_or(std::ptr::null(), |bias| bias[column..].as_ptr()),
                    residual,
                    limits: clamps.unwrap_or((f32::NEG_INFINITY, f32::INFINITY)),
                    ..Output::EMPTY
                },
            };
            let run = self.kernel.tiles[rows.len() - 1][width / self.kernel.lanes - 1];
            // SAFETY: the machine has what the kernel needs (`Kernel::of`); `data`, `start` and `scales` hold whole panels, the
            // scratch all rows; `run` saw that output, bias and residual hold all rows and columns; no other part has these
            // rows of this panel.
            unsafe { run(&tile) };
            if let Some(follows) = follows {
                let block = Block {
                    at,
                    row: g.ldc,
                    rows: rows.len(),
                    columns: columns.len(),
                };
                after(self.kernel.tier, follows, &near, c, block);
            }
        }
    }
}

/// Computes one full tile of zeros again and again, for the machine's peak; how many multiply-adds that was.
pub(crate) fn repeat(tier: Tier, rounds: usize) -> usize {
    const QUADS: usize = 64;
    let kernel = Kernel::of(tier);
    let rows = kernel.tiles.len();
    let width = kernel.lanes * kernel.tiles[0].len();
    let (a, b) = (
        vec![0; rows * QUADS * 4],
        vec![Line([0; 64]); QUADS * width * 4 / 64],
    );
    let (start, scales) = (vec![0; width], vec![0.0; width.max(rows)]);
    let mut c = vec![0.0; rows * width];
    let tile = Tile {
        a: a.as_ptr(),
        row: QUADS * 4,
        quads: QUADS,
        b: b.as_ptr().cast(),
        start: start.as_ptr(),
        scales: scales.as_ptr(),
        row_scales: (scales.as_ptr(), 1),
        output: Output {
            to: (c.as_mut_ptr(), width),
            columns: width,
            limits: (f32::NEG_INFINITY, f32::INFINITY),
            ..Output::EMPTY
        },
    };
    let run = kernel.tiles[rows - 1][kernel.tiles[0].len() - 1];
    for _ in 0..rounds {
        // SAFETY: the machine has what the kernel needs (`Kernel::of`), and all buffers hold a full tile.
        unsafe { run(std::hint::black_box(&tile)) };
    }
    rounds * rows * width * QUADS * 4
}

/// Activations in bytes: for each row and group its scale, and its bytes, 128 too large.
struct Rows<'a> {
    scales: &'a [f32],
    bytes: &'a [u8],
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({:?}, {})", self.geometry, self.kernel.name)
    }
}
