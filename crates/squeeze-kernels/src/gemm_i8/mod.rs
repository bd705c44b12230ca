//! The product of fully connected layers, dense or grouped, in 8-bit integers.
//!
//! Weights have one scale for each output channel and are packed once. Activations come in single precision; each row of each
//! group is brought to bytes with a scale of its own just before the product, so nothing has to be known of their range.
//! Sums are exact in 32 bits: every tier gives the same ones.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_bytes;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod codes;
#[cfg(test)]
pub(crate) mod codes_tests;
pub(crate) mod kernel;
pub mod quantize;
pub(crate) mod right;
pub mod scalar;
#[cfg(test)]
mod tests;
pub(crate) mod tile;
mod tile_bytes;
pub mod weights;

use std::ops::Range;

use crate::gemm_f32::product::{LEAST_ROWS, NEAR, READ};
use crate::gemm_f32::{Epilogue, Geometry};
use crate::{Cpu, SharedMut, Slab, Threads, Tier, Weight, as_bytes_mut};
use codes::{Fixed, Output as Out, Shared};
use kernel::Runs;
pub(crate) use kernel::repeat;
pub use kernel::{KERNELS, Kernel};
use quantize::{Mark, Stretch, ZERO, quantize_rows};
use right::{Left, Right, Shape, To};
use tile::Segment;

/// The longest sum: its 32 bits hold that many products of an unsigned and a signed byte.
pub const LONGEST: usize = 1 << 16;

/// Rows of bytes are walked in blocks of at most so many, which stay in a core's second cache for all panels.
pub(crate) const ROW_BLOCK_BYTES: usize = 256 << 10;

/// Rows that become bytes before they become numbers of 16 bits: those in between stay in the first cache.
const FEW_ROWS: usize = 8;

/// Where the weight is small, rows of so many bytes pass all panels together: more where matrix registers read weights so quickly that they
/// must come from the first cache.
const FEW_BYTES: usize = 8 << 10;
const FEW_MATRIX_BYTES: usize = 32 << 10;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([i8; 64]);

/// The weight of a layer in bytes, packed once for the kernel that will run it.
#[derive(Clone)]
pub struct Packed {
    geometry: Geometry,
    /// Which pixels of an image the rows are, if not all that follow each other.
    pixels: Option<Pixels>,
    right: Right,
    /// Whether rows are bytes already.
    is_fixed: bool,
}

/// Some pixels of images, which are the rows of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pixels {
    /// Rows and columns of an image.
    pub size: [usize; 2],
    /// From one pixel to the next, down and across.
    pub stride: [usize; 2],
    /// How many of an image they are, down and across.
    pub out: [usize; 2],
}

impl Packed {
    /// Packs `weight`, `[groups * n, k]`.
    ///
    /// # Panics
    /// If the weight's length or the geometry is wrong, or k is over [`LONGEST`].
    pub fn pack(weight: Weight, geometry: &Geometry, tier: Tier) -> Packed {
        Self::pack_in(weight, geometry, tier, &Slab::default())
    }

    /// The same in a slab.
    ///
    /// # Panics
    /// As for [`Packed::pack`].
    pub fn pack_in(weight: Weight, geometry: &Geometry, tier: Tier, slab: &Slab) -> Packed {
        geometry.check(usize::MAX, usize::MAX, weight.len());
        assert!(geometry.k <= LONGEST, "{geometry:?}: too long a sum");
        let shape = Self::shape(geometry);
        Packed {
            geometry: *geometry,
            pixels: None,
            right: Right::pack(weight, shape, ZERO, tier, slab),
            is_fixed: false,
        }
    }

    /// The same in a slab for rows that are bytes already, in a way that is known before.
    ///
    /// # Panics
    /// As for [`Packed::pack`], or if `k` is no multiple of four.
    pub fn pack_fixed(
        weight: Weight,
        geometry: &Geometry,
        fixed: &Fixed,
        tier: Tier,
        slab: &Slab,
    ) -> Packed {
        geometry.check(usize::MAX, usize::MAX, weight.len());
        assert!(geometry.k <= LONGEST, "{geometry:?}: too long a sum");
        assert!(geometry.k.is_multiple_of(4), "{geometry:?}: k is no quads");
        Packed {
            geometry: *geometry,
            pixels: None,
            right: Right::fixed(weight, Self::shape(geometry), fixed, tier, slab),
            is_fixed: true,
        }
    }

    fn shape(geometry: &Geometry) -> Shape {
        Shape {
            groups: geometry.groups,
            n: geometry.n,
            segments: 1,
            length: geometry.k,
        }
    }

    /// The same for rows that are only some pixels of images.
    ///
    /// # Panics
    /// If the geometry has other rows than that, or pixels lie outside their image.
    pub fn with_pixels(self, pixels: Pixels) -> Packed {
        let Pixels { size, stride, out } = pixels;
        let inside = |axis: usize| out[axis] > 0 && (out[axis] - 1) * stride[axis] < size[axis];
        assert!(inside(0) && inside(1), "{pixels:?} are outside");
        let [down, across] = out;
        assert!(self.geometry.m.is_multiple_of(down * across), "{pixels:?}");
        let pixels = Some(pixels);
        Packed { pixels, ..self }
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
        self.right.kernel
    }

    /// Bytes of the packed weight with its scales.
    pub fn bytes(&self) -> usize {
        self.right.bytes()
    }

    /// Bytes of one group of a row of activations, as tiles read them.
    fn group_bytes(&self) -> usize {
        self.geometry.k.next_multiple_of(4) * self.kernel().unit()
    }

    /// Whether rows of bytes are brought elsewhere before tiles read them.
    fn is_placed(&self) -> bool {
        self.pixels.is_some() || self.kernel().widen.is_some()
    }

    /// How many numbers [`Packed::run`] or [`Packed::run_bytes`] works in.
    pub fn scratch(&self) -> usize {
        let Geometry { m, groups, .. } = self.geometry;
        match (self.is_fixed, self.is_placed()) {
            (false, _) => m * groups * (2 + self.group_bytes() / 4),
            (true, true) => m * groups * self.group_bytes() / 4,
            (true, false) => 0,
        }
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
        assert!(!self.is_fixed, "{self:?} reads bytes");
        let c = Out::Numbers(c, epilogue);
        self.check(a.len(), &c);
        let c = &c.share();
        let (marks, bytes) = scratch[..self.scratch()].split_at_mut(2 * g.m * g.groups);
        let rows = Marked {
            marks: SharedMut::new(marks.as_chunks_mut().0),
            bytes: SharedMut::new(as_bytes_mut(bytes)),
        };
        let prepare = |own: Range<usize>| self.quantize(a, own, &rows);
        self.all(Some(&prepare), &Rows::Marked(&rows), c, threads);
    }

    /// The same for rows of bytes, of a layer packed with [`Packed::pack_fixed`]; `c` is what it was packed for.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry or [`Packed::scratch`] says, or an epilogue adds to the output.
    pub fn run_bytes(&self, a: &[u8], c: Out, scratch: &mut [f32], threads: &Threads) {
        let g = &self.geometry;
        assert!(self.is_fixed, "{self:?} reads numbers");
        self.check(a.len(), &c);
        let c = &c.share();
        if !self.is_placed() {
            let left = Rows::Given {
                bytes: a,
                row: g.lda,
            };
            return self.all(None, &left, c, threads);
        }
        let row = g.groups * self.group_bytes();
        let scratch = as_bytes_mut(&mut scratch[..self.scratch()]);
        let bytes = &SharedMut::new(&mut scratch[..g.m * row]);
        let prepare = |own: Range<usize>| {
            for at in own {
                // SAFETY: each row has its own bytes.
                let to = unsafe { bytes.slice(at * row..(at + 1) * row) };
                let from = &a[self.row(at)..][..g.groups * g.k];
                self.kernel().place(from, to);
            }
        };
        self.all(Some(&prepare), &Rows::Placed(bytes), c, threads);
    }

    /// All rows of all panels, each behind what prepares its row.
    fn all(
        &self,
        prepare: Option<&(dyn Fn(Range<usize>) + Sync)>,
        left: &Rows,
        c: &Shared,
        threads: &Threads,
    ) {
        let g = &self.geometry;
        let (units, tiles) = (self.right.units(), g.m.div_ceil(self.right.rows()));
        let parts = threads.parts(self.work(), units.max(tiles));
        let by_rows = self.by_rows(parts);
        if let Some(prepare) = prepare.filter(|_| !by_rows) {
            let tier = self.kernel().tier;
            let work = g.m * g.groups * self.group_bytes() * 2;
            Cpu { tier, threads }.split(g.m, work, prepare);
        }
        // Whole tiles where there are many.
        let unit = match tiles >= 8 * parts {
            true => self.right.rows(),
            false => 1,
        };
        let shared = if by_rows { g.m.div_ceil(unit) } else { units };
        let fewest = if by_rows {
            LEAST_ROWS.div_ceil(unit)
        } else {
            1
        };
        let least = threads.least(self.work(), shared).max(fewest);
        threads.share(shared, (parts, least), &|_, own| {
            let _registers = self.right.set_up();
            let (rows, panels) = match by_rows {
                true => (own.start * unit..(own.end * unit).min(g.m), 0..units),
                false => (0..g.m, own),
            };
            for first in rows.clone().step_by(self.block()) {
                let rows_here = first..(first + self.block()).min(rows.end);
                if let Some(prepare) = prepare.filter(|_| by_rows) {
                    prepare(rows_here.clone());
                }
                let passed = first - rows.start;
                self.part((rows_here, passed), panels.clone(), left, c);
            }
        });
    }

    /// Whether parts share the rows, else the panels.
    fn by_rows(&self, parts: usize) -> bool {
        let g = &self.geometry;
        let prefer_rows = g.m.div_ceil(self.right.rows()) >= self.right.units();
        let (panels, most) = (&self.right.panels, g.m.div_ceil(parts));
        parts == 1 || panels.split_by_rows((g.m, most), (g.groups, parts), prefer_rows)
    }

    /// Its time in multiply-adds of single precision: a product of bytes takes about a quarter of the time of one of numbers, and for
    /// few rows reading the weight takes longer.
    fn work(&self) -> usize {
        let g = &self.geometry;
        g.m.max(READ) * g.groups * g.n * g.k / 4
    }

    /// # Panics
    /// If so many inputs, or the output, are fewer than the geometry says.
    fn check(&self, inputs: usize, c: &Out) {
        let g = &self.geometry;
        let last = g.m.checked_sub(1);
        let read = last.map_or(0, |last| self.row(last) + g.groups * g.k);
        assert!(inputs >= read, "{g:?}: {inputs} inputs are too few");
        let needed = last.map_or(0, |last| last * g.ldc + g.groups * g.n);
        c.check(&self.right, needed);
    }

    /// How many rows pass all panels together: few where the weight stays near, so that what they read and write does too, else as
    /// many as stay in a core's second cache.
    fn block(&self) -> usize {
        let row_bytes = self.geometry.groups * self.group_bytes();
        let most = match self.right.is_small() {
            true => self.right.few_bytes() / row_bytes,
            false => ROW_BLOCK_BYTES / row_bytes,
        };
        let mr = self.right.rows();
        most.max(mr).next_multiple_of(mr)
    }

    /// Brings some rows of every group to bytes.
    fn quantize(&self, a: &[f32], rows: Range<usize>, to: &Marked) {
        let (g, kernel) = (&self.geometry, self.kernel());
        let width = self.group_bytes();
        // Rows that follow each other evenly pass at once: those of one group, and all where groups leave no gap.
        let (together, step) = match (g.groups, self.pixels) {
            (1, None) => (g.m, g.lda),
            (1, Some(pixels)) => (pixels.out[1], pixels.stride[1] * g.lda),
            (groups, None) if g.lda == groups * g.k => (g.m, g.k),
            _ => (1, g.k),
        };
        let mut row = rows.start;
        while row < rows.end {
            let most = if kernel.widen.is_some() {
                FEW_ROWS
            } else {
                g.m
            };
            let end = rows
                .end
                .min(row - row % together + together)
                .min(row + most);
            let places = row * g.groups..end * g.groups;
            // SAFETY: each row has its own bytes and marks.
            let (bytes, marks) = unsafe {
                let bytes = to.bytes.slice(places.start * width..places.end * width);
                (bytes, to.marks.slice(places))
            };
            let rows = Stretch { k: g.k, step };
            kernel.write(bytes, |bytes| {
                quantize_rows(kernel.tier, &a[self.row(row)..], rows, bytes, marks);
            });
            row = end;
        }
    }

    /// Where a row of `a` begins.
    fn row(&self, row: usize) -> usize {
        let Some(pixels) = self.pixels else {
            return row * self.geometry.lda;
        };
        let [out_h, out_w] = pixels.out;
        let (image, y, x) = (row / out_w / out_h, row / out_w % out_h, row % out_w);
        let line = image * pixels.size[0] + y * pixels.stride[0];
        (line * pixels.size[1] + x * pixels.stride[1]) * self.geometry.lda
    }

    /// Some rows of some panels, counted over all groups; they are behind so many of the same thread.
    fn part(
        &self,
        (rows, passed): (Range<usize>, usize),
        panels: Range<usize>,
        left: &Rows,
        c: &Shared,
    ) {
        let g = &self.geometry;
        let mut near = NEAR;
        for panel in panels {
            let (group, _) = self.right.panels.place(panel);
            let mut start = rows.start;
            while start < rows.end {
                let rows_each = self.right.tile_rows(rows.end - start);
                let tiles = (rows.end - start) / rows_each;
                let before = start - rows.start;
                let left = Left {
                    tiles,
                    // Small weights stay near once they are.
                    turn: match self.right.is_small() {
                        true => (passed + before, 0),
                        false => (before, rows.len()),
                    },
                    ..left.tile((start, rows_each), group, self)
                };
                let to = To {
                    at: start * g.ldc,
                    row: g.ldc,
                    output: c,
                };
                // SAFETY: all rows are there in bytes, whole quads of them; `check` saw that input, output, bias and residual
                // hold all rows; no other part has these rows of this panel.
                unsafe { self.right.tiles(panel, &left, to, &mut near) };
                start += rows_each * tiles;
            }
        }
    }
}

/// Rows of activations.
enum Rows<'a> {
    Marked(&'a Marked<'a>),
    /// Bytes as the layer found them, and from one row to the next.
    Given {
        bytes: &'a [u8],
        row: usize,
    },
    /// Bytes as tiles read them.
    Placed(&'a SharedMut<'a, u8>),
}

/// For each row and group its scale and middle, and its bytes, 128 too large.
struct Marked<'a> {
    marks: SharedMut<'a, Mark>,
    bytes: SharedMut<'a, u8>,
}

impl Rows<'_> {
    /// Some rows of a group, from the first one on.
    fn tile(&self, (first, rows): (usize, usize), group: usize, layer: &Packed) -> Left<'static> {
        let none = Left {
            tiles: 1,
            rows,
            bytes: (std::ptr::null(), 0),
            segments: &[Segment { at: 0, index: 0 }],
            scales: (&1.0, 0),
            middles: (&0.0, 0),
            turn: (0, 0),
            on_matrix: (rows > layer.kernel().tiles[0].len()).then_some(Runs::ONE),
        };
        let width = layer.group_bytes();
        match self {
            Self::Given { bytes, row } => Left {
                bytes: (bytes[first * row + group * width..].as_ptr(), *row),
                ..none
            },
            Self::Placed(bytes) => {
                let row = layer.geometry.groups * width;
                let from = bytes.pointer().wrapping_add(first * row + group * width);
                Left {
                    bytes: (from, row),
                    ..none
                }
            }
            Self::Marked(Marked { marks, bytes }) => {
                let groups = layer.geometry.groups;
                let place = first * groups + group;
                let marks = marks.pointer().wrapping_add(place).cast::<f32>();
                Left {
                    bytes: (bytes.pointer().wrapping_add(place * width), groups * width),
                    scales: (marks, 2 * groups),
                    middles: (marks.wrapping_add(1), 2 * groups),
                    ..none
                }
            }
        }
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({:?}, {})", self.geometry, self.kernel().name)
    }
}
