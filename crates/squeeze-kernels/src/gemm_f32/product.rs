//! The loops around the tiles: row blocks, panels, blocks of k, tiles; and how they are split over threads.

use std::ops::Range;

use super::panels::Panels;
use super::tile::{COLUMNS, ROWS, Tile};
use super::{Epilogue, Kernel, Start};
use crate::activation::vector::{apply, apply_roughly, gelu_four, with_constant};
use crate::activation::{self, Activation};
use crate::conv_f32::window::Memo;
use crate::vector::{Vector, per_tier};
use crate::{SharedMut, Threads, Tier, even};

/// The most segments of k that one tile call walks.
pub(crate) const SEGMENTS: usize = 16;
/// Rows of a are walked in blocks of about this many bytes, which stay in a core's second cache for all panels.
const ROW_BLOCK_BYTES: usize = 1 << 20;

/// A right side of so many bytes stays near while the tiles of all its panels are computed for a few rows.
const SMALL_BYTES: usize = 96 << 10;

/// Reading a number of the right side from beyond the second cache takes the time of so many multiply-adds.
pub(crate) const READ: usize = 8;

/// Threads hand so many rows to each other: fewer would read the right side too often.
pub(crate) const LEAST_ROWS: usize = 32;

/// Where the rows of the left side come from.
pub(crate) trait Source: Sync {
    /// Length of the stretch of k that lies evenly for every row; the whole k is a multiple of it.
    fn stretch(&self) -> usize;
    /// From one k to the next within a stretch.
    fn step(&self) -> usize;
    /// Parts begin at multiples of so many rows.
    fn unit(&self) -> usize;
    /// Whether `feed` has something to look up for a tile's rows that it remembers for other panels.
    fn is_costly(&self) -> bool {
        false
    }
    /// How many tiles of `tile` rows, from the first of `rows` on, lie so evenly that one call computes them: one at least.
    fn together(&self, _rows: Range<usize>, _tile: usize) -> usize {
        1
    }
    /// Fills `feed` for the first tiles of `rows` of `group`, over `k`: a range inside one stretch, or whole stretches; with no segments
    /// where all of it is zeros. How many tiles of `tile` rows it is for: those that [`Source::together`] tells, but no more than `most`.
    fn feed(
        &self,
        group: usize,
        rows: Range<usize>,
        most: Tiles,
        k: Range<usize>,
        feed: &mut Feed,
    ) -> usize;
}

/// Tiles of so many rows, and how many of them.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    pub rows: usize,
    pub count: usize,
}

/// The pointers of one tile's rows, and room to gather rows that do not lie evenly.
pub(crate) struct Feed {
    pub pointers: [[*const f32; ROWS]; SEGMENTS],
    /// From one row to the next, where there are more tiles than one.
    pub apart: usize,
    pub segments: usize,
    pub length: usize,
    pub patch: [f32; ROWS * PATCH],
    pub memo: Memo,
}

/// The longest range of k that is gathered at once.
pub(crate) const PATCH: usize = 256;

/// A product of every group: `c[m, groups * n] = a[m, groups * k] b`, `b` in panels, with its epilogue.
pub(crate) struct Product<'a> {
    pub kernel: &'a Kernel,
    pub m: usize,
    pub groups: usize,
    pub panels: Panels,
    pub source: &'a dyn Source,
    /// The packed right side, group after group.
    pub b: &'a [f32],
    pub output: Output,
    pub epilogue: Epilogue<'a>,
}

/// How the results lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// From one row to the next.
    pub row: usize,
    /// From one group to the next: its columns when groups lie side by side.
    pub group: usize,
}

impl Product<'_> {
    /// Computes the product into `c`, on as many threads as gain.
    pub(crate) fn run(&self, c: &mut [f32], threads: &Threads) {
        if self.m == 0 {
            return;
        }
        self.check(c.len());
        let (units, tiles) = (
            self.groups * self.panels.count,
            self.m.div_ceil(self.kernel.rows()),
        );
        // Of few rows, reading the right side takes longer than multiplying.
        let rows = self.m.max(READ);
        let work = rows * self.groups * self.panels.n * self.panels.k;
        let parts = match Threads::is_in_part() {
            true => 1,
            false => threads.parts(work, units.max(tiles)),
        };
        let c = SharedMut::new(c);
        // Each thread should read the smaller side whole and only its share of the larger one.
        let prefer_rows = self.m > self.panels.n;
        // Whole tiles where there are many.
        let unit = match tiles >= 8 * parts {
            true => self.source.unit().max(self.kernel.rows()),
            false => self.source.unit(),
        };
        let row_units = self.m.div_ceil(unit);
        let most = (row_units.div_ceil(parts) * unit).min(self.m);
        let by_rows = self
            .panels
            .split_by_rows((self.m, most), (self.groups, parts), prefer_rows);
        let shared = if by_rows { row_units } else { units };
        let fewest = if by_rows {
            LEAST_ROWS.div_ceil(unit)
        } else {
            1
        };
        let least = threads.least(work, shared).max(fewest);
        threads.share(shared, (parts, least), &|_, own| match by_rows {
            true => self.part(own.start * unit..(own.end * unit).min(self.m), 0..units, &c),
            false => self.part(0..self.m, own, &c),
        });
    }

    fn check(&self, c: usize) {
        let width = self.groups * self.panels.n;
        assert!(
            self.panels.k > 0 && self.panels.n > 0 && self.groups > 0,
            "an empty product"
        );
        let Output { row, group } = self.output;
        let side_by_side =
            group >= self.panels.n && row >= (self.groups - 1) * group + self.panels.n;
        let one_after_other = row >= self.panels.n && group >= (self.m - 1) * row + self.panels.n;
        assert!(
            side_by_side || one_after_other,
            "parts of the output overlap: {:?}",
            self.output
        );
        let needed = (self.groups - 1) * group + (self.m - 1) * row + self.panels.n;
        assert!(c >= needed, "the output is shorter than its rows");
        assert!(
            self.b.len() >= self.groups * self.panels.group_len(),
            "the packed side is too short"
        );
        self.epilogue.check(width, needed);
    }

    /// Some rows of some panels (counted over all groups).
    fn part(&self, rows: Range<usize>, panels: Range<usize>, c: &SharedMut<f32>) {
        let k = self.panels.k;
        let mr = self.kernel.rows();
        let small = 4 * self.groups * self.panels.group_len() <= SMALL_BYTES;
        // Rows of groups that lie side by side come together; matrices one after the other come each on its own.
        let together = match self.output.group < self.output.row {
            true => self.groups,
            false => 1,
        };
        // Neighbouring windows read the same numbers, so that more rows of them stay near.
        let fewest = match self.source.is_costly() {
            true => 32 * mr,
            false => 4 * mr,
        };
        let block = (ROW_BLOCK_BYTES / (4 * k * together))
            .max(fewest)
            .next_multiple_of(mr);
        let mut feed = Feed {
            pointers: [[std::ptr::null(); ROWS]; SEGMENTS],
            apart: 0,
            segments: 0,
            length: 0,
            patch: [0.0; ROWS * PATCH],
            memo: Memo::default(),
        };
        let mut near = NEAR;
        let mut row = rows.start;
        while row < rows.end {
            let block = match small && self.source.is_costly() {
                true => mr * self.source.together(row..rows.end, mr),
                false => block,
            };
            let end = (row + block).min(rows.end);
            for panel in panels.clone() {
                let mut k0 = 0;
                while k0 < k {
                    let k1 = self.next_k(k0, self.panels.place(panel).1);
                    self.block(row..end, panel, k0..k1, (c, &mut feed, &mut near));
                    k0 = k1;
                }
            }
            row = end;
        }
    }

    /// Where the block of k that starts at `k0` ends: even parts of a stretch that is too long for the first cache, or as many whole
    /// stretches as fit.
    fn next_k(&self, k0: usize, panel: usize) -> usize {
        let widest = self.kernel.lanes * self.kernel.registers();
        let wide = self.panels.width(panel) == widest;
        let depth = if wide { self.kernel.depth } else { PATCH };
        let stretch = self.source.stretch();
        if self.panels.k <= depth && self.panels.k <= stretch * SEGMENTS {
            return self.panels.k;
        }
        if stretch <= depth {
            let together = (depth / stretch).min(SEGMENTS);
            let blocks = (self.panels.k / stretch).div_ceil(together);
            let at = k0 / stretch;
            let stretches = self.panels.k / stretch;
            let index = (0..blocks).find(|&i| even(stretches, blocks, i).start == at);
            return even(stretches, blocks, index.expect("k0 starts a block")).end * stretch;
        }
        let (start, blocks) = (k0 / stretch * stretch, stretch.div_ceil(depth));
        let ends = (0..blocks).map(|i| start + even(stretch, blocks, i).end);
        ends.into_iter()
            .find(|&end| end > k0)
            .expect("k0 is inside its stretch")
    }

    /// One block: some rows of one panel over a range of k.
    fn block(
        &self,
        rows: Range<usize>,
        panel: usize,
        k: Range<usize>,
        on: (&SharedMut<f32>, &mut Feed, &mut Near),
    ) {
        let (c, feed, near) = on;
        let (group, index) = self.panels.place(panel);
        let (columns, width) = (self.panels.columns(index), self.panels.width(index));
        let b = &self.b[group * self.panels.group_len()..][self.panels.block(index, k.clone())];
        let (first, last) = (k.start == 0, k.end == self.panels.k);
        let left = group * self.output.group + columns.start;
        let mr = self.kernel.rows();
        let ahead = self.panels.ahead(index, k.clone(), rows.len().div_ceil(mr));
        let apart = self.panels.apart().unwrap_or(0);
        let e = &self.epilogue;
        let limits = if last { e.activation.limits() } else { None };
        let column = group * self.panels.n + columns.start;
        let of_columns = |numbers: Option<&[f32]>| {
            numbers.map_or(std::ptr::null(), |numbers| numbers[column..].as_ptr())
        };
        let residual = e.residual.filter(|_| last);
        let add = !first || e.start == Start::Add;
        let is_plain = columns.len() == width && !add && residual.is_none();
        let hard_swish = last && is_plain && e.activation == Activation::HardSwish;
        let follows = follows(e.activation).filter(|_| last && !hard_swish);
        let (bias, factors) = (
            of_columns(e.bias.filter(|_| last)),
            of_columns(residual.and_then(|residual| residual.factors)),
        );
        let most = follows.map_or(usize::MAX, |_| NEAR_TILES);
        let mut start = rows.start;
        while start < rows.end {
            let tile = (start - rows.start) / mr;
            let tile_rows = mr.min(rows.end - start);
            let most = Tiles {
                rows: tile_rows,
                count: most,
            };
            let here = start..rows.end;
            let together = self.source.feed(group, here, most, k.clone(), feed);
            let at = start * self.output.row + left;
            start += together * tile_rows;
            if feed.segments == 0 && !first && !last {
                continue;
            }
            let [next, each_k, each_tile] = ahead.of(tile);
            let place = (c.pointer().wrapping_add(at), self.output.row);
            let tile = Tile {
                tiles: (together, feed.apart * tile_rows),
                a: feed.pointers.as_mut_ptr(),
                segments: feed.segments,
                length: feed.length,
                step: self.source.step(),
                b: b.as_ptr(),
                apart,
                prefetch: (b.as_ptr().wrapping_add(next), each_k, each_tile),
                c: place,
                to: match follows {
                    Some(_) => (near.as_mut_ptr(), COLUMNS),
                    None => place,
                },
                columns: columns.len(),
                add,
                bias,
                residual: residual.map_or(std::ptr::null(), |r| r.values[at..].as_ptr()),
                factors,
                limits: limits.unwrap_or((f32::NEG_INFINITY, f32::INFINITY)),
                hard_swish,
            };
            let run = self.kernel.tiles[tile_rows - 1][width / self.kernel.lanes - 1];
            // SAFETY: the machine has the kernel's tier (`Kernel::of`); the source gives all rows of `k.len()` numbers; `b`
            // was cut to the block; `check` saw that output, bias and residual hold all rows and columns; no other part has
            // these rows of this panel.
            unsafe { run(&tile) };
            if let Some(follows) = follows {
                let block = Block {
                    at,
                    row: self.output.row,
                    rows: together * tile_rows,
                    columns: columns.len(),
                };
                after(self.kernel.tier, follows, near, c, block);
            }
        }
    }
}

/// Rows of the output that one part alone has.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    /// The first number, and from one row to the next.
    pub at: usize,
    pub row: usize,
    pub rows: usize,
    pub columns: usize,
}

/// How many tiles of a panel pass together from their sums to what follows.
pub(crate) const NEAR_TILES: usize = 4;
/// Room for their results on the way: a part of the first cache.
pub(crate) type Near = [f32; NEAR_TILES * ROWS * COLUMNS];
/// Nothing yet.
pub(crate) const NEAR: Near = [0.0; NEAR_TILES * ROWS * COLUMNS];

/// The activation, if a tile does not do it in registers.
pub(crate) fn follows(activation: Activation) -> Option<Activation> {
    activation.limits().is_none().then_some(activation)
}

per_tier! {
    /// Does an activation from the first cache to the output, which is so written once.
    pub(crate) fn after(activation: Activation, near: &Near, c: &SharedMut<f32>, block: Block)
    { scalar: scalar_after, vector: vector_after }
}

per_tier! {
    /// The same for sums of bytes, which need no more exact activations.
    pub(crate) fn after_bytes(activation: Activation, near: &Near, c: &SharedMut<f32>, block: Block)
    { scalar: scalar_after, vector: vector_after_bytes }
}

fn scalar_after(activation: Activation, near: &Near, c: &SharedMut<f32>, block: Block) {
    for row in 0..block.rows {
        let at = block.at + row * block.row;
        // SAFETY: no other part has these rows of these columns.
        let y = unsafe { c.slice(at..at + block.columns) };
        let x = &near[row * COLUMNS..][..block.columns];
        activation::slice_forward(Tier::Scalar, activation, x, y);
    }
}

#[inline(always)]
fn vector_after<V: Vector>(activation: Activation, near: &Near, c: &SharedMut<f32>, block: Block) {
    with_constant!(activation, F => finish_block::<V, false>(F, near, c, block));
}

#[inline(always)]
fn vector_after_bytes<V: Vector>(
    activation: Activation,
    near: &Near,
    c: &SharedMut<f32>,
    block: Block,
) {
    with_constant!(activation, F => finish_block::<V, true>(F, near, c, block));
}

#[inline(always)]
fn finish_block<V: Vector, const ROUGH: bool>(
    activation: Activation,
    near: &Near,
    c: &SharedMut<f32>,
    block: Block,
) {
    assert!(block.columns <= COLUMNS && block.rows * COLUMNS <= near.len());
    if activation == Activation::Gelu && !ROUGH && !V::LOOKS_UP_LONG {
        return finish_with_gelu::<V>(near, c, block);
    }
    for row in 0..block.rows {
        for column in (0..block.columns).step_by(V::LANES) {
            let one = load_near::<V>(near, [row, column]);
            let result = match ROUGH {
                true => apply_roughly(activation, one),
                false => apply(activation, one),
            };
            write(result, [row, column], c, block);
        }
    }
}

#[inline(always)]
fn finish_with_gelu<V: Vector>(near: &Near, c: &SharedMut<f32>, block: Block) {
    let mut place = [0; 2];
    for _ in 0..block.rows * block.columns.div_ceil(V::LANES) / 4 {
        let (mut four, mut places) = ([V::splat(0.0); 4], [place; 4]);
        for (one, at) in four.iter_mut().zip(&mut places) {
            *at = place;
            *one = load_near(near, place);
            place = behind::<V>(place, block);
        }
        for (one, at) in gelu_four(four).into_iter().zip(places) {
            write(one, at, c, block);
        }
    }
    while place[0] < block.rows {
        let one = apply(Activation::Gelu, load_near::<V>(near, place));
        write(one, place, c, block);
        place = behind::<V>(place, block);
    }
}

/// The place, row and column, of the vector behind one.
#[inline(always)]
fn behind<V: Vector>([row, column]: [usize; 2], block: Block) -> [usize; 2] {
    match column + V::LANES < block.columns {
        true => [row, column + V::LANES],
        false => [row + 1, 0],
    }
}

/// What is behind the last column is anything.
#[inline(always)]
fn load_near<V: Vector>(near: &Near, [row, column]: [usize; 2]) -> V {
    // SAFETY: rows of `near` are whole vectors, and the place is one of the block's, which `finish_block` asserts to be inside.
    unsafe { V::load_ptr(near.as_ptr().add(row * COLUMNS + column)) }
}

#[inline(always)]
fn write<V: Vector>(one: V, [row, column]: [usize; 2], c: &SharedMut<f32>, block: Block) {
    let at = block.at + row * block.row;
    // SAFETY: no other part has these rows of these columns.
    let y = unsafe { c.slice(at..at + block.columns) };
    match column + V::LANES <= block.columns {
        // SAFETY: inside the row.
        true => unsafe { one.store_ptr(y.as_mut_ptr().add(column)) },
        false => one.store_part(&mut y[column..]),
    }
}

/// Rows that lie a fixed distance apart.
pub(crate) struct Strided<'a> {
    pub data: &'a [f32],
    /// From one row to the next.
    pub row: usize,
    /// From one group to the next.
    pub group: usize,
    pub k: usize,
}

impl Source for Strided<'_> {
    fn stretch(&self) -> usize {
        self.k
    }

    fn step(&self) -> usize {
        1
    }

    fn unit(&self) -> usize {
        1
    }

    fn together(&self, rows: Range<usize>, tile: usize) -> usize {
        rows.len() / tile
    }

    fn feed(
        &self,
        group: usize,
        rows: Range<usize>,
        most: Tiles,
        k: Range<usize>,
        feed: &mut Feed,
    ) -> usize {
        let first = rows.start * self.row + group * self.group + k.start;
        let tiles = self.together(rows, most.rows).min(most.count);
        let count = tiles * most.rows;
        assert!(
            first + (count - 1) * self.row + k.len() <= self.data.len(),
            "the left side is too short"
        );
        for (row, pointer) in feed.pointers[0].iter_mut().enumerate() {
            // Rows beyond the last one repeat it and are not read.
            *pointer = self.data[first + row.min(count - 1) * self.row..].as_ptr();
        }
        (feed.segments, feed.length, feed.apart) = (1, k.len(), self.row);
        tiles
    }
}

/// Tiles of `rows` rows each, packed so that the rows of a tile are neighbours: `[group][tile][k][rows]`.
pub(crate) struct Interleaved<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    /// From one group to the next.
    pub group: usize,
    pub k: usize,
}

impl Source for Interleaved<'_> {
    fn stretch(&self) -> usize {
        self.k
    }

    fn step(&self) -> usize {
        self.rows
    }

    fn unit(&self) -> usize {
        self.rows
    }

    fn feed(
        &self,
        group: usize,
        rows: Range<usize>,
        _most: Tiles,
        k: Range<usize>,
        feed: &mut Feed,
    ) -> usize {
        let first =
            group * self.group + rows.start / self.rows * self.rows * self.k + k.start * self.rows;
        let tile = &self.data[first..][..k.len() * self.rows];
        for (row, pointer) in feed.pointers[0].iter_mut().enumerate() {
            *pointer = tile[row.min(self.rows - 1)..].as_ptr();
        }
        (feed.segments, feed.length) = (1, k.len());
        1
    }
}
