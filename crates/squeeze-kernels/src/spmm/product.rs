//! The loops around the tiles: rows, groups, panels of outputs, blocks; and how they are split over threads.

use std::ops::Range;

use super::finish::{Finish, panel};
use super::lists::Values;
use super::tile::Tile;
use super::turn::{self, Rows};
use super::{Element, Packed};
use crate::gemm_f32::{Epilogue, Geometry, Start};
use crate::{SharedMut, Threads, even};

/// Outputs that are finished together.
pub(super) const PANEL: usize = 16;

/// The most rows of a tile.
pub(super) const MOST_ROWS: usize = 128;

/// A turned tile of activations may fill so much of a core's second cache.
const TILE_BYTES: usize = 512 << 10;

/// The sums of one panel, `[PANEL][rows of the tile]`.
#[repr(align(64))]
struct Sums([f32; PANEL * MOST_ROWS]);

/// Memory of one thread: a turned tile, as numbers or as bytes with the scales of their rows.
struct Room<'a> {
    turned: &'a mut [f32],
    scales: &'a mut [f32],
    sums: Sums,
}

impl Packed {
    /// Registers of rows of the largest tile.
    fn registers(&self) -> usize {
        let most = self.kernel.tiles[self.block as usize].by_registers.len();
        let fit = TILE_BYTES / (4 * self.kernel.lanes * self.geometry.k);
        match self.kernel.element {
            Element::F32 => most.min(fit.max(1)),
            Element::I8 => most,
        }
    }

    /// Numbers that one thread works in: the tile, scales, and what moves it to the start of a cache line.
    pub(super) fn room(&self) -> usize {
        let lanes = self.kernel.lanes;
        let turned = match self.kernel.element {
            Element::F32 => self.registers() * lanes * self.geometry.k,
            // Four registers of rows in a byte each.
            Element::I8 => lanes * self.geometry.k + 4 * lanes,
        };
        turned.next_multiple_of(LINE) + LINE
    }

    /// See [`Packed::run`].
    pub(super) fn product(
        &self,
        a: &[f32],
        epilogue: &Epilogue,
        (c, scratch): (&mut [f32], &mut [f32]),
        threads: &Threads,
    ) {
        let g = &self.geometry;
        let columns = g.groups * g.n;
        g.check(a.len(), c.len(), columns * g.k);
        assert_eq!(
            epilogue.start,
            Start::Zero,
            "sparse sums are never added to"
        );
        let needed = g.m.checked_sub(1).map_or(0, |m| m * g.ldc + columns);
        epilogue.check(columns, needed);
        let panels = g.groups * g.n.div_ceil(PANEL);
        let units = g.m.div_ceil(self.kernel.lanes);
        let work = g.m * self.lists.places.len() * self.block.outputs() / self.in_one();
        let parts = threads.parts(work, units.max(panels));
        let by_rows = units.is_multiple_of(parts) || units >= 4 * parts;
        let room = self.room();
        let (c, scratch) = (
            SharedMut::new(c),
            SharedMut::new(&mut scratch[..parts * room]),
        );
        threads.run(parts, &|part| {
            // SAFETY: each part has a room of its own.
            let own = unsafe { scratch.slice(part * room..(part + 1) * room) };
            let line = own.as_ptr().align_offset(4 * LINE);
            let own = &mut own[line..];
            let scales = match self.kernel.element {
                Element::F32 => 0,
                Element::I8 => 4 * self.kernel.lanes,
            };
            let (scales, turned) = own.split_at_mut(scales);
            let sums = Sums([0.0; PANEL * MOST_ROWS]);
            let mut room = Room {
                turned,
                scales,
                sums,
            };
            let (rows, panels) = match by_rows {
                true => {
                    let units = even(units, parts, part);
                    let lanes = self.kernel.lanes;
                    (units.start * lanes..(units.end * lanes).min(g.m), 0..panels)
                }
                false => (0..g.m, self.share(panels, parts, part)),
            };
            self.part(rows, panels, a, (epilogue, &c), &mut room);
        });
    }

    /// Products in one instruction beside those of single precision.
    fn in_one(&self) -> usize {
        match self.kernel.element {
            Element::F32 => 1,
            Element::I8 => 4,
        }
    }

    /// The panels of one part, such that each part has about as many stored blocks.
    fn share(&self, panels: usize, parts: usize, part: usize) -> Range<usize> {
        let all = self.lists.places.len();
        let bound = |part: usize| {
            let before = all * part / parts;
            let starts = (0..panels).map(|panel| self.lists.starts[self.first_block(panel)]);
            match part == parts {
                true => panels,
                false => starts
                    .take_while(|&start| (start as usize) < before)
                    .count(),
            }
        };
        bound(part)..bound(part + 1)
    }

    /// The first block of outputs of a panel that is counted over all groups.
    fn first_block(&self, panel: usize) -> usize {
        let (outputs, n) = (self.block.outputs(), self.geometry.n);
        let in_group = n.div_ceil(PANEL);
        panel / in_group * n.div_ceil(outputs) + panel % in_group * (PANEL / outputs)
    }

    /// Some rows of some panels, counted over all groups.
    fn part(
        &self,
        rows: Range<usize>,
        panels: Range<usize>,
        a: &[f32],
        on: (&Epilogue, &SharedMut<f32>),
        room: &mut Room,
    ) {
        let g = &self.geometry;
        let lanes = self.kernel.lanes;
        let units = rows.len().div_ceil(lanes);
        let tiles = units.div_ceil(self.registers());
        let in_group = g.n.div_ceil(PANEL);
        for tile in 0..tiles {
            let units = even(units, tiles, tile);
            let start = rows.start + units.start * lanes;
            let own = start..(rows.start + units.end * lanes).min(rows.end);
            let mut panel = panels.start;
            while panel < panels.end {
                let group = panel / in_group;
                let end = panels.end.min((group + 1) * in_group);
                let first = own.start * g.lda + group * g.k;
                self.turn(&a[first..], own.len(), units.len(), room);
                for panel in panel..end {
                    self.panel(own.clone(), (panel, units.len()), on, room);
                }
                panel = end;
            }
        }
    }

    /// Turns some rows of one group.
    fn turn(&self, data: &[f32], count: usize, registers: usize, room: &mut Room) {
        let Geometry { lda, k, .. } = self.geometry;
        let lanes = self.kernel.lanes;
        let rows = Rows {
            data,
            count,
            step: lda,
            k,
            tile: registers * lanes,
        };
        let tier = self.kernel.tier;
        match self.kernel.element {
            Element::F32 => turn::numbers(tier, rows, &mut room.turned[..rows.tile * k]),
            Element::I8 => {
                let rows = Rows {
                    tile: 4 * lanes,
                    ..rows
                };
                let bytes = &mut room.turned[..lanes * k];
                // SAFETY: any bits are numbers and bytes alike, and bytes may lie anywhere.
                let bytes = unsafe {
                    std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<u8>(), 4 * bytes.len())
                };
                turn::bytes(tier, rows, self.kernel.offset, room.scales, bytes);
            }
        }
    }

    /// Turned rows of one panel.
    fn panel(
        &self,
        rows: Range<usize>,
        (index, registers): (usize, usize),
        (epilogue, c): (&Epilogue, &SharedMut<f32>),
        room: &mut Room,
    ) {
        let g = &self.geometry;
        let in_group = g.n.div_ceil(PANEL);
        let (group, first) = (index / in_group, index % in_group * PANEL);
        let columns = PANEL.min(g.n - first);
        let blocks = columns.div_ceil(self.block.outputs());
        let tile = registers * self.kernel.lanes;
        for block in 0..blocks {
            let sums = &mut room.sums.0[block * self.block.outputs() * tile..];
            let block = self.first_block(index) + block;
            self.block(block, registers, (room.turned, room.scales), sums);
        }
        let column = group * g.n + first;
        let [bias, factors] = epilogue.of_columns(column..column + columns);
        let finish = Finish {
            bias,
            activation: epilogue.activation,
            residual: epilogue.residual.map(|residual| residual.values),
            factors,
            output: c,
            at: rows.start * g.ldc + column,
            row: g.ldc,
            rows: rows.len(),
            columns,
        };
        panel(self.kernel.tier, &finish, &room.sums.0, tile);
    }

    /// The sums of one block of outputs.
    fn block(
        &self,
        block: usize,
        registers: usize,
        (turned, row_scales): (&[f32], &[f32]),
        sums: &mut [f32],
    ) {
        let outputs = self.block.outputs();
        let tiles = &self.kernel.tiles[self.block as usize];
        let run = tiles.by_registers[registers - 1];
        let lists = &*self.lists;
        let own = lists.starts[block] as usize..lists.starts[block + 1] as usize;
        let rows = registers * self.kernel.lanes;
        for output in (0..outputs).step_by(tiles.outputs) {
            let null = std::ptr::null();
            let (weights, start, scales) = match &lists.values {
                Values::F32(values) => {
                    let weights = values[own.start * outputs..own.end * outputs].as_ptr();
                    (weights.wrapping_add(output).cast(), std::ptr::null(), null)
                }
                Values::I8 {
                    bytes,
                    scales,
                    start,
                } => {
                    let weights = bytes[own.start * outputs..own.end * outputs].as_ptr();
                    let at = block * outputs + output;
                    let (start, scales) = (start[at..].as_ptr(), scales[at..].as_ptr());
                    (weights.wrapping_add(4 * output).cast(), start, scales)
                }
            };
            let tile = Tile {
                x: turned.as_ptr().cast(),
                places: lists.places[own.clone()].as_ptr(),
                count: own.len(),
                weights,
                step: outputs,
                sums: sums[output * rows..][..tiles.outputs * rows].as_mut_ptr(),
                start,
                scales,
                row_scales: row_scales.as_ptr(),
            };
            // SAFETY: the machine has what the kernel needs (`Kernel::of`); lists hold places below k and the weights of whole blocks
            // for them, and the scales of whole blocks; a turned tile holds `rows` numbers, or four registers of bytes, for each of
            // k inputs; `sums` was cut to the tile.
            unsafe { run(&tile) };
        }
    }
}

/// Numbers in a cache line.
const LINE: usize = 16;
