//! Products and convolutions of tiles of bfloat16 or half precision: fully connected, grouped and windowed layers, on the CPU's matrix
//! registers (Intel AMX) or with the instructions for them of AVX-512 (BF16, FP16).
//!
//! Products are added in 32 bits, those of half precision in 16 and every 64 of them in 32. Single precision is had from sums of bfloat16: a number is the
//! sum of three of them, and six products of parts, added in single precision, are as exact as a product in single precision
//! (`bf16x6`; three products hold 16 bits, `bf16x3`; Henry, Tang and Heinecke 2019, "Leveraging the bfloat16 artificial
//! intelligence datatype for higher-precision computations"). The weight is split and packed once, the left side just before
//! the product. Infinite numbers, and those above the largest bfloat16, give NaN where a number has more than one part.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
mod block;
mod element;
mod finish;
mod half;
#[cfg(target_arch = "x86_64")]
pub(crate) mod halves;
mod left;
mod pack;
mod pairs;
pub mod scalar;
pub(crate) mod split;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use crate::gemm_f32::{Epilogue, Start};
use crate::slab::{self, Plain};
use crate::{Cpu, SharedMut, Threads, Tier, even};
#[cfg(target_arch = "x86_64")]
pub(crate) use block::{Registers, Shapes, repeat, repeat_bytes};
pub use element::{Element, LINE};
use finish::{COLUMNS, Finish, Rows, Sums};
use left::{Left, Parts};
use pairs::Pair;
pub(crate) use split::Rows as SplitRows;

/// One row of the table of kernels.
#[derive(Debug)]
pub struct Kernel {
    /// The instructions it needs.
    pub tier: Tier,
    /// Whether the machine has what it needs for an element beyond its tier.
    is_present: fn(Element) -> bool,
    /// For each element that it is written for, in the order of [`Element::ALL`], what logs and tables show, and the blocks.
    elements: [Option<(&'static str, &'static OfElement)>; 4],
}

/// Adds the products of up to two by two tiles over some steps.
///
/// # Safety
/// The registers are set up, and the job's pointers hold what it says for these tiles.
pub(crate) type Block = unsafe fn(&Job);
/// `[row tiles - 1][column tiles - 1]`.
type OfElement = [[Block; 2]; 2];

/// The definition.
pub static SCALAR: Kernel = Kernel {
    tier: Tier::Scalar,
    is_present: |_| true,
    elements: [
        Some(("bf16_scalar", &scalar::BLOCKS[0])),
        Some(("bf16x3_scalar", &scalar::BLOCKS[1])),
        Some(("bf16x6_scalar", &scalar::BLOCKS[2])),
        Some(("f16_scalar", &scalar::BLOCKS[3])),
    ],
};

/// The kernel for vector registers with instructions for bfloat16 and half precision: more than one product is slower there than single precision.
#[cfg(target_arch = "x86_64")]
pub static AVX512: Kernel = Kernel {
    tier: Tier::Avx512,
    is_present: avx512::is_present,
    elements: [
        Some(("bf16_avx512", &avx512::BLOCKS)),
        None,
        None,
        Some(("f16_avx512_fp16", &halves::BLOCKS)),
    ],
};

/// The kernel for matrix registers.
#[cfg(target_arch = "x86_64")]
pub static AMX: Kernel = Kernel {
    tier: Tier::Amx,
    is_present: |_| true,
    elements: [
        Some(("bf16_amx", &block::BLOCKS[0])),
        Some(("bf16x3_amx", &block::BLOCKS[1])),
        Some(("bf16x6_amx", &block::BLOCKS[2])),
        None,
    ],
};

/// The kernels of this family, in rising order of tiers.
#[cfg(target_arch = "x86_64")]
pub static KERNELS: [&Kernel; 3] = [&SCALAR, &AVX512, &AMX];
/// The kernels of this family, in rising order of tiers.
#[cfg(not(target_arch = "x86_64"))]
pub static KERNELS: [&Kernel; 1] = [&SCALAR];

/// Whether the machine has matrix registers.
pub(crate) fn is_present() -> bool {
    #[cfg(target_arch = "x86_64")]
    return block::is_present();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

impl Kernel {
    /// What tables show of an element.
    ///
    /// # Panics
    /// If it is not written for that one.
    pub fn name(&self, element: Element) -> &'static str {
        self.element(element).0
    }

    /// The elements that it is written for.
    pub fn elements(&self) -> impl Iterator<Item = Element> {
        let is_written = |element: &Element| self.elements[element.place()].is_some();
        Element::ALL.into_iter().filter(is_written)
    }

    /// The blocks of an element, `[row tiles - 1][column tiles - 1]`.
    ///
    /// # Panics
    /// If it is not written for that one.
    pub(crate) fn blocks(&self, element: Element) -> &'static OfElement {
        self.element(element).1
    }

    fn element(&self, element: Element) -> (&'static str, &'static OfElement) {
        self.elements[element.place()].expect("the kernel is written for the element")
    }

    /// Whether this machine can run it for an element.
    pub fn is_here(&self, element: Element) -> bool {
        let is_written = self.elements[element.place()].is_some();
        is_written && self.tier.is_present() && (self.is_present)(element)
    }

    /// The best kernel of at most this tier that this machine can run for an element.
    pub fn of(tier: Tier, element: Element) -> &'static Kernel {
        let fits = |kernel: &&&Kernel| kernel.tier <= tier && kernel.is_here(element);
        let best = KERNELS.iter().rev().find(fits);
        best.expect("the scalar kernel runs everywhere")
    }
}

/// What one block computes. Its order is known to the assembly.
#[repr(C)]
pub(crate) struct Job {
    /// The first row of each of the two strips, of the first part.
    pub a0: *const u8,
    pub a1: *const u8,
    /// From one row to the next, and from one part to the next, in bytes.
    pub stride: usize,
    pub plane: usize,
    /// Where each step's line lies from a row's start.
    pub offsets: *const usize,
    pub steps: usize,
    /// `[steps][parts][column tiles]` of 16 x 64 bytes.
    pub b: *const u8,
    /// Two strips of sums.
    pub c: *mut f32,
    /// What is wanted next, and how many lines of it to ask for in each step.
    pub prefetch: *const u8,
    pub lines: usize,
    /// Whether the sums go on from what `c` holds.
    pub add: bool,
}

/// The most taps that a window may have.
pub const MOST_TAPS: usize = 128;

/// Rows of a tile.
const STRIP: usize = 16;

/// Strips whose sums and left side stay in a core's second cache while all panels pass.
const BLOCK_STRIPS: usize = 16;

/// The left side of a block of strips is walked in chunks of about so many bytes, which stay in the second cache for all panels.
const CHUNK_BYTES: usize = 768 << 10;

/// Steps of a panel are walked in blocks of about so many bytes. Tiles from the second cache arrive while others are multiplied; sums
/// that come and go with each block do not.
const PANEL_BYTES: usize = 48 << 10;

/// What splitting a number and finishing a sum cost, in multiply-adds of the vector kernels.
const SPLIT: usize = 10;
const FINISH: usize = 25;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

// SAFETY: any bits are bytes, on one cache line.
unsafe impl Plain for Line {}

/// The weight of a layer, split and packed once.
#[derive(Clone)]
pub struct Packed {
    left: Left,
    ldc: usize,
    element: Element,
    kernel: &'static Kernel,
    /// Columns of a group.
    n: usize,
    offsets: Arc<[usize]>,
    /// `[groups][panel][steps][parts][column tiles]` of 16 lines.
    data: Arc<slab::Block<Line>>,
    /// The scale of each column of each panel of each group, where weights are bytes.
    scales: Arc<[f32]>,
}

impl Packed {
    /// What runs it, as tables show it.
    pub fn name(&self) -> &'static str {
        self.kernel.name(self.element)
    }

    /// The same weight for another number of rows, where each is computed from itself alone; allocates nothing.
    ///
    /// # Panics
    /// If windows read more than one pixel.
    pub fn with_rows(&self, rows: usize) -> Packed {
        assert!(self.left.is_plain(), "{self:?}: rows share pixels");
        let mut packed = self.clone();
        let conv = &mut packed.left.conv;
        (conv.n, conv.h, conv.w) = (1, 1, rows);
        packed
    }

    /// Bytes of the packed weight with its scales.
    pub fn bytes(&self) -> usize {
        64 * self.data.len() + 4 * self.scales.len()
    }

    /// Column tiles of a panel.
    fn column_tiles(&self, panel: usize) -> usize {
        (self.n - panel * COLUMNS).div_ceil(STRIP).min(2)
    }

    fn panel_bytes(&self, tiles: usize) -> usize {
        self.offsets.len() * self.element.parts() * tiles * 1024
    }

    fn group_bytes(&self) -> usize {
        self.panel_bytes(self.n.div_ceil(STRIP))
    }

    /// Whether threads share the columns and not the rows: where there are few rows, and more than twice as many bytes of weights as of activations.
    /// Rows stay with their thread from layer to layer; columns spare it half of the weights.
    fn by_columns(&self) -> bool {
        let conv = &self.left.conv;
        let activations = 4 * conv.pixels() * (conv.c + conv.out);
        self.left.strips() <= BLOCK_STRIPS && 64 * self.data.len() > 2 * activations
    }

    /// What it costs, in multiply-adds of the vector kernels.
    fn work(&self) -> usize {
        let conv = &self.left.conv;
        let products = conv.macs() * self.element.products() / 12;
        products + SPLIT * conv.input() + FINISH * conv.output()
    }

    /// Strips whose left side is split at once: all, or a block of each thread.
    fn split_strips(&self) -> usize {
        self.left.strips().min(BLOCK_STRIPS)
    }

    /// Numbers that hold a split left side and its scales.
    fn split_numbers(&self) -> usize {
        let strips = self.split_strips();
        let bytes = self.element.parts() * self.left.plane(strips);
        bytes / 4 + self.left.scales(strips).next_multiple_of(16)
    }

    /// In how many chunks the left side of a block of strips is walked.
    fn chunks(&self) -> usize {
        let bytes = self.split_strips() * STRIP * self.offsets.len() * 64 * self.element.parts();
        bytes.div_ceil(CHUNK_BYTES)
    }

    /// Panels whose sums are kept at a time: those of a group where the left side comes in chunks.
    fn panels_together(&self) -> usize {
        match self.chunks() {
            1 => 1,
            _ => self.n.div_ceil(COLUMNS),
        }
    }

    /// Numbers that the sums of one thread take.
    fn sum_numbers(&self) -> usize {
        // Odd strips are padded to pairs.
        self.panels_together() * self.split_strips().next_multiple_of(2) * STRIP * COLUMNS
    }

    /// How many numbers [`Packed::run`] works in with so many threads.
    pub fn scratch(&self, threads: usize) -> usize {
        let splits = match self.left.is_plain() && !self.by_columns() {
            true => threads,
            false => 1,
        };
        // Lines begin at a multiple of 64 bytes.
        16 + splits * self.split_numbers() + threads * self.sum_numbers()
    }

    /// `y = activation(conv(x, weight) + bias + residual)`; allocates nothing.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry or [`Packed::scratch`] says, or the epilogue adds to the output.
    pub fn run(
        &self,
        x: &[f32],
        epilogue: &Epilogue,
        y: &mut [f32],
        scratch: &mut [f32],
        threads: &Threads,
    ) {
        let conv = &self.left.conv;
        let pixels = conv.pixels();
        if pixels == 0 {
            return;
        }
        assert_eq!(epilogue.start, Start::Zero, "products are never added to");
        let inputs = (conv.n * conv.h * conv.w - 1) * self.left.lda + conv.c;
        assert!(x.len() >= inputs, "{conv:?}: too few inputs");
        let outputs = (pixels - 1) * self.ldc + conv.out;
        assert!(y.len() >= outputs, "{conv:?}: too few outputs");
        epilogue.check(conv.out, outputs);
        let aligned = scratch.as_ptr().align_offset(64);
        let scratch = &mut scratch[aligned..][..self.scratch(threads.count()) - 16];
        let tier = self.kernel.tier;
        let cpu = Cpu { tier, threads };
        let strips = self.left.strips();
        let units = conv.groups * self.n.div_ceil(COLUMNS);
        let work = self.work();
        let y = SharedMut::new(y);
        if self.left.is_plain() && !self.by_columns() {
            let parts = threads.parts(work, strips);
            let each = self.split_numbers() + self.sum_numbers();
            let scratch = SharedMut::new(scratch);
            let least = threads.least(work, strips).max(2);
            threads.share(strips, (parts, least), &|part, own| {
                // SAFETY: each part has its own place.
                let own_scratch = unsafe { scratch.slice(part * each..(part + 1) * each) };
                let (split, sums) = own_scratch.split_at_mut(self.split_numbers());
                for strips in blocks(own) {
                    let parts = self.parts(split);
                    let rows = self.left.plain_rows(&strips);
                    let first = rows.start;
                    self.left.split_rows(tier, x, rows, first, &parts);
                    let on = (&parts, strips.start);
                    self.panels(0..units, strips, on, sums, (epilogue, &y));
                }
            });
            return;
        }
        let (split, sums) = scratch.split_at_mut(self.split_numbers());
        let parts = self.parts(split);
        match self.left.is_plain() {
            true => cpu.split(pixels, SPLIT * pixels * conv.c, |rows| {
                self.left.split_rows(tier, x, rows, 0, &parts);
            }),
            false => self.left.split_images(x, &parts, cpu),
        }
        let sums = SharedMut::new(sums);
        let by_columns = self.by_columns();
        let pieces = if by_columns { units } else { strips };
        let count = threads.parts(work, pieces);
        let least = threads.least(work, pieces).max(2);
        threads.share(pieces, (count, least), &|part, own| {
            let each = self.sum_numbers();
            // SAFETY: each part has its own place.
            let sums = unsafe { sums.slice(part * each..(part + 1) * each) };
            let (units, strips) = match by_columns {
                true => (own, 0..strips),
                false => (0..units, own),
            };
            for strips in blocks(strips) {
                self.panels(units.clone(), strips, (&parts, 0), sums, (epilogue, &y));
            }
        });
    }

    /// The places of a split left side.
    fn parts<'a>(&self, split: &'a mut [f32]) -> Parts<'a> {
        let plane = self.left.plane(self.split_strips());
        let (numbers, scales) = split.split_at_mut(self.element.parts() * plane / 4);
        // SAFETY: any bits are numbers and bytes alike, and bytes may lie anywhere.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<u8>(), 4 * numbers.len())
        };
        Parts {
            bytes: SharedMut::new(bytes),
            plane,
            scales: SharedMut::new(scales),
        }
    }

    /// Some strips of some panels, counted over all groups. The split left side begins with strip `first` where it is plain.
    fn panels(
        &self,
        units: Range<usize>,
        strips: Range<usize>,
        (parts, first): (&Parts, usize),
        sums: &mut [f32],
        (epilogue, y): (&Epilogue, &SharedMut<f32>),
    ) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has what the kernel needs (`Kernel::of`).
        let _registers =
            (self.kernel.tier == Tier::Amx).then(|| unsafe { block::Registers::set_up() });
        let panels = self.n.div_ceil(COLUMNS);
        // SAFETY: nobody writes scales any more.
        let row_scales = unsafe { parts.scales.slice(0..self.left.scales(self.split_strips())) };
        let mut rows = [Rows::default(); BLOCK_STRIPS];
        for (rows, strip) in rows.iter_mut().zip(strips.clone()) {
            *rows = self.left.rows(strip);
        }
        let pairs = self.left.pairs(strips.clone(), first);
        let count = self.chunks();
        let each = self.sum_numbers() / self.panels_together();
        let mut unit = units.start;
        while unit < units.end {
            // Panels of one group share their left side.
            let end = match count {
                1 => unit + 1,
                _ => ((unit / panels + 1) * panels).min(units.end),
            };
            for chunk in 0..count {
                let steps = even(self.offsets.len(), count, chunk);
                for (unit, sums) in (unit..end).zip(sums.chunks_exact_mut(each)) {
                    let place = (unit / panels, unit % panels);
                    self.sum(place, steps.clone(), pairs.as_slice(), parts, sums);
                }
            }
            for (unit, sums) in (unit..end).zip(sums.chunks_exact_mut(each)) {
                self.finish(
                    unit,
                    &strips,
                    (row_scales, first),
                    sums,
                    (&mut rows, epilogue, y),
                );
            }
            unit = end;
        }
    }

    /// What follows the sums of some strips of one panel.
    fn finish(
        &self,
        unit: usize,
        strips: &Range<usize>,
        (row_scales, first): (&[f32], usize),
        sums: &mut [f32],
        (rows, epilogue, y): (&mut [Rows], &Epilogue, &SharedMut<f32>),
    ) {
        let panels = self.n.div_ceil(COLUMNS);
        let (group, panel) = (unit / panels, unit % panels);
        let columns = (self.n - panel * COLUMNS).min(COLUMNS);
        let column = group * self.n + panel * COLUMNS;
        let [bias, factors] = epilogue.of_columns(column..column + columns);
        let scales = self.scales.as_chunks().0.get(unit);
        let finish = Finish {
            bias,
            scales,
            activation: epilogue.activation,
            residual: epilogue.residual.map(|residual| residual.values),
            factors,
            output: y,
            row: self.ldc,
            first: column,
            columns,
        };
        let (sums, _) = sums.as_chunks_mut::<COLUMNS>();
        let (sums, _): (&mut [Sums], _) = sums.as_chunks_mut();
        for (index, sums) in sums.iter_mut().take(strips.len()).enumerate() {
            let rows = &mut rows[index];
            if scales.is_some() {
                self.left
                    .scale(row_scales, (strips.start + index - first, group), rows);
            }
            // `run` gave these rows of these panels to this part alone.
            finish::strip(self.kernel.tier, &finish, sums, rows);
        }
    }

    /// The sums of some pairs of strips of one panel over a chunk of steps.
    fn sum(
        &self,
        (group, panel): (usize, usize),
        chunk: Range<usize>,
        pairs: &[Pair],
        parts: &Parts,
        sums: &mut [f32],
    ) {
        let tiles = self.column_tiles(panel);
        let step_bytes = self.element.parts() * tiles * 1024;
        let start = group * self.group_bytes() + panel * self.panel_bytes(2);
        let blocks = self.kernel.blocks(self.element);
        let depth = match pairs.len() {
            1 => chunk.len(),
            _ => (PANEL_BYTES / step_bytes).max(1),
        };
        let count = chunk.len().div_ceil(depth);
        let lines = (step_bytes / 64).div_ceil(pairs.len());
        let left = parts.bytes.pointer().wrapping_add(self.left.group(group));
        let right = self.data.as_ptr().cast::<u8>().wrapping_add(start);
        for block in 0..count {
            let own = even(chunk.len(), count, block);
            let own = chunk.start + own.start..chunk.start + own.end;
            for (index, pair) in pairs.iter().enumerate() {
                let sums = &mut sums[pair.strip * STRIP * COLUMNS..];
                let sums = &mut sums[..(1 + usize::from(pair.both)) * STRIP * COLUMNS];
                if own.start == 0 && pair.taps == 0 {
                    sums.fill(0.0);
                }
                let wanted = own.end * step_bytes + 64 * own.len() * lines * index;
                let mut lines = lines;
                pair.runs(&own, self.left.tap_lines(), |run| {
                    let job = Job {
                        a0: left.wrapping_add(pair.rows[0]),
                        a1: left.wrapping_add(pair.rows[1]),
                        stride: self.left.stride(),
                        plane: parts.plane,
                        offsets: self.offsets[run.clone()].as_ptr(),
                        steps: run.len(),
                        b: right.wrapping_add(run.start * step_bytes),
                        c: sums.as_mut_ptr(),
                        prefetch: right.wrapping_add(wanted),
                        lines: std::mem::take(&mut lines),
                        add: run.start > pair.first_step(self.left.tap_lines()),
                    };
                    let run = blocks[usize::from(pair.both)][tiles - 1];
                    // SAFETY: the registers are set up by `panels`; the strips' taps that are no gaps lie within the split left
                    // side, the steps within the panel, and `sums` holds the strips.
                    unsafe { run(&job) };
                });
            }
        }
    }
}

/// Even blocks of strips, pairs as far as they go.
fn blocks(strips: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let pairs = strips.len().div_ceil(2);
    let count = strips.len().div_ceil(BLOCK_STRIPS);
    (0..count).map(move |block| {
        let own = even(pairs, count, block);
        strips.start + 2 * own.start..(strips.start + 2 * own.end).min(strips.end)
    })
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({:?}, {})", self.left.conv, self.name())
    }
}
