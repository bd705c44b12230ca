//! Convolution of channels-last images in 8-bit integers, dense or grouped, with stride, dilation and any padding: the tiles of
//! [`gemm_i8`], fed with the bytes that each tap reads, so that no image is unrolled in memory.
//!
//! Windows share pixels, so each image is brought to bytes with one scale, found just before. Rows of the image lie in the
//! scratch with zeros between them, so that every window reads whole rows of taps; rows of taps above and below the image,
//! and taps beside it that a whole tile reads, are left out of the sums. Where images are so narrow that matrix registers take several rows of
//! the output at once, rows of zeros lie between images too.
//!
//! [`gemm_i8`]: crate::gemm_i8

pub mod scalar;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::conv_f32::{Conv, by_tap};
use crate::gemm_f32::Epilogue;
use crate::gemm_f32::product::{NEAR, Near};
use crate::gemm_i8::codes::{Fixed, Output, Shared};
use crate::gemm_i8::kernel::{MATRIX_ROWS, Runs};
use crate::gemm_i8::quantize::{self, ZERO, factor, quantize};
use crate::gemm_i8::right::{Left, Right, Shape, To};
use crate::gemm_i8::tile::Segment;
use crate::gemm_i8::{Kernel, LONGEST, ROW_BLOCK_BYTES};
use crate::{Cpu, SharedMut, Slab, Threads, Tier, Weight, as_bytes_mut, even};

/// The most taps of a window.
pub const MOST_TAPS: usize = 64;

/// The weight of a convolution in bytes, packed once for the kernel that will run it.
#[derive(Clone)]
pub struct Packed {
    conv: Conv,
    /// How many bytes a pixel has as tiles read it.
    channels: usize,
    right: Right,
    /// From one pixel of the output to the next.
    stride: usize,
    /// The byte of zero of images that are bytes already.
    fixed: Option<u8>,
}

/// How an image lies in bytes: each row behind zeros that the row before it reads too.
#[derive(Clone, Copy)]
struct Layout {
    /// Zeros before a row.
    front: usize,
    /// From one row to the next.
    row: usize,
    /// How many rows of the output a tile takes.
    together: usize,
    /// Rows of zeros above each image and below the last one.
    above: usize,
    /// All rows of all images, what is read behind the last one included.
    len: usize,
}

impl Packed {
    /// Packs `weight`, `[out, c / groups, kh, kw]`.
    ///
    /// # Panics
    /// If the weight's length or the geometry is wrong, there are over [`MOST_TAPS`] taps, or the sums are over [`LONGEST`].
    pub fn pack(weight: Weight, conv: &Conv, tier: Tier) -> Packed {
        Self::pack_in(weight, conv, tier, &Slab::default())
    }

    /// The same in a slab.
    ///
    /// # Panics
    /// As for [`Packed::pack`].
    pub fn pack_in(weight: Weight, conv: &Conv, tier: Tier, slab: &Slab) -> Packed {
        let (shape, bytes, scales) = in_tap_order(conv, weight, tier);
        let weight = Weight::Bytes(&bytes, &scales);
        Packed {
            conv: *conv,
            channels: channels(conv, tier),
            right: Right::pack(weight, shape, ZERO, tier, slab),
            stride: conv.out,
            fixed: None,
        }
    }

    /// The same in a slab for images that are bytes already, in a way that is known before.
    ///
    /// # Panics
    /// As for [`Packed::pack`].
    pub fn pack_fixed(
        weight: Weight,
        conv: &Conv,
        fixed: &Fixed,
        tier: Tier,
        slab: &Slab,
    ) -> Packed {
        let (shape, bytes, scales) = in_tap_order(conv, weight, tier);
        let weight = Weight::Bytes(&bytes, &scales);
        Packed {
            conv: *conv,
            channels: channels(conv, tier),
            right: Right::fixed(weight, shape, fixed, tier, slab),
            stride: conv.out,
            fixed: Some(fixed.codes.input.zero),
        }
    }

    /// The same for an output whose pixels lie `stride` numbers apart: part of a wider image.
    ///
    /// # Panics
    /// If pixels would overlap.
    pub fn with_stride(self, stride: usize) -> Packed {
        assert!(stride >= self.conv.out, "{:?}: pixels overlap", self.conv);
        Packed { stride, ..self }
    }

    /// The geometry it was packed for.
    pub fn conv(&self) -> &Conv {
        &self.conv
    }

    /// The kernel that runs it.
    pub fn kernel(&self) -> &'static Kernel {
        self.right.kernel
    }

    /// Bytes of the packed weight with its scales.
    pub fn bytes(&self) -> usize {
        self.right.bytes()
    }

    /// How many numbers [`Packed::run`] or [`Packed::run_bytes`] works in.
    pub fn scratch(&self) -> usize {
        self.scales() + (self.kernel().unit() * self.layout().len).div_ceil(4)
    }

    /// The scale of each image, and the largest magnitude of each of its rows.
    fn scales(&self) -> usize {
        match self.fixed {
            Some(_) => 0,
            None => self.conv.n * (1 + self.conv.h),
        }
    }

    fn layout(&self) -> Layout {
        let (Conv { n, h, w, .. }, c) = (self.conv, self.channels);
        let [top, left, bottom, right] = self.conv.padding;
        let front = left.max(right) * c;
        let row = front + w * c;
        let out_w = self.conv.out_w();
        let takes_rows = joins(&self.conv)
            && self.conv.stride == [1, 1]
            && self.right.on_matrix(out_w).is_some();
        let together = match takes_rows {
            true => 1 + MATRIX_ROWS.saturating_sub(out_w) / (row / c),
            false => 1,
        };
        let above = if together > 1 { top.max(bottom) } else { 0 };
        // A segment's last quad may end behind its last byte, and tiles read more windows than a row may have.
        let behind = self.right.behind() * self.conv.stride[1] * c;
        let len = (n * (above + h) + above) * row + front + 3 + behind;
        Layout {
            front,
            row,
            together,
            above,
            len,
        }
    }

    /// Where the rows of the output end that a tile takes which begins with `first`, if they end before `end`; counted through all images.
    fn together(&self, first: usize, end: usize) -> usize {
        let rest = self.conv.out_h() - first % self.conv.out_h();
        end.min(first + rest.min(self.layout().together))
    }

    /// `y = activation(conv(x, weight) + bias + residual)` with the image in bytes; allocates nothing.
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
        assert!(self.fixed.is_none(), "{self:?} reads bytes");
        let y = Output::Numbers(y, epilogue);
        self.check(x.len(), &y);
        self.quantize(x, scratch, threads);
        self.all_lines(y, scratch, threads);
    }

    /// The same for images of bytes, of a layer packed with [`Packed::pack_fixed`]; `y` is what it was packed for.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry or [`Packed::scratch`] says, or an epilogue adds to the output.
    pub fn run_bytes(&self, x: &[u8], y: Output, scratch: &mut [f32], threads: &Threads) {
        let zero = self.fixed.expect("the layer reads bytes");
        self.check(x.len(), &y);
        let Conv { n, h, w, c, .. } = self.conv;
        let bytes = as_bytes_mut(&mut scratch[..self.scratch()]);
        self.rows(bytes, zero, threads, n * h * w * c / 8, &|row, to| {
            let from = &x[row * w * c..][..w * c];
            match self.channels == c {
                true => self.kernel().place(from, to),
                false => self.kernel().write(to, |to| spread(from, to)),
            }
        });
        self.all_lines(y, scratch, threads);
    }

    /// # Panics
    /// If so many inputs, or the output, are fewer than the geometry says.
    fn check(&self, inputs: usize, y: &Output) {
        let conv = &self.conv;
        conv.check(inputs, usize::MAX, conv.weight());
        let needed = (conv.pixels().saturating_sub(1)) * self.stride + conv.out;
        y.check(&self.right, needed);
    }

    /// Computes all of the output from images that lie in bytes in the scratch.
    fn all_lines(&self, y: Output, scratch: &[f32], threads: &Threads) {
        let conv = &self.conv;
        let y = &y.share();
        let (units, lines) = (self.right.units(), conv.n * conv.out_h());
        // As for products of bytes.
        let parts = threads.parts(conv.macs() / 4, units.max(lines));
        let (panels, most) = (&self.right.panels, lines.div_ceil(parts));
        let by_lines = panels.split_by_rows((lines, most), (conv.groups, parts), lines >= units);
        let shared = if by_lines { lines } else { units };
        let least = threads.least(conv.macs() / 4, shared);
        threads.share(shared, (parts, least), &|_, own| {
            let _registers = self.right.set_up();
            let (lines, panels) = match by_lines {
                true => (own, 0..units),
                false => (0..lines, own),
            };
            self.part(lines, panels, scratch, y);
        });
    }

    /// Computes some rows of the output, counted through all images, which are all that `y` holds, from images that
    /// [`Packed::quantize`] brought to bytes in the scratch.
    ///
    /// # Panics
    /// If a slice is too short, or there is a residual.
    pub fn run_rows(
        &self,
        rows: Range<usize>,
        epilogue: &Epilogue,
        y: &mut [f32],
        scratch: &[f32],
    ) {
        let conv = &self.conv;
        assert!(rows.end <= conv.n * conv.out_h() && scratch.len() >= self.scratch());
        assert!(y.len() >= rows.len() * conv.out_w() * self.stride);
        self.right.check(epilogue, usize::MAX);
        let y = &Output::Numbers(y, epilogue).share();
        let _registers = self.right.set_up();
        let mut near = NEAR;
        self.lines((rows, 0), 0..self.right.units(), scratch, (y, &mut near));
    }

    /// Brings the images to bytes in the scratch.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry or [`Packed::scratch`] says.
    pub fn quantize(&self, x: &[f32], scratch: &mut [f32], threads: &Threads) {
        let Conv { n, h, w, c, .. } = self.conv;
        let (scales, bytes) = scratch[..self.scratch()].split_at_mut(self.scales());
        let (tier, bytes) = (self.kernel().tier, as_bytes_mut(bytes));
        let cpu = Cpu { tier, threads };
        let (scales, sizes) = scales.split_at_mut(n);
        let shared = SharedMut::new(sizes);
        cpu.split(n * h, n * h * w * c / 2, |rows| {
            for row in rows {
                // SAFETY: each row has its own size.
                let size = unsafe { shared.slice(row..row + 1) };
                size[0] = quantize::largest(cpu.tier, &x[row * w * c..][..w * c]);
            }
        });
        // NaN is larger than every number here, as it is among the sizes of a row.
        let larger = |a: f32, b: &f32| f32::from_bits(a.to_bits().max(b.to_bits()));
        for (scale, sizes) in scales.iter_mut().zip(sizes.chunks_exact(h.max(1))) {
            *scale = factor(sizes.iter().fold(0.0, larger)).1;
        }
        self.rows(bytes, ZERO, threads, n * h * w * c / 2, &|row, to| {
            let sizes = &sizes[row / h * h..][..h];
            let (factor, _) = factor(sizes.iter().fold(0.0, larger));
            let x = &x[row * w * c..][..w * c];
            self.kernel().write(to, |to| match self.channels == c {
                true => quantize(cpu.tier, x, 0.0, factor, to),
                false => {
                    let mut few = [0; FEW * COLOURS];
                    let pixels = x.chunks(FEW * COLOURS).zip(to.chunks_mut(4 * FEW));
                    for (x, to) in pixels {
                        let few = &mut few[..x.len()];
                        quantize(cpu.tier, x, 0.0, factor, few);
                        spread(few, to);
                    }
                }
            });
        });
    }

    /// Lets `write` write every row of the images to its place, as tiles read it; zeros go where no pixel is.
    fn rows(
        &self,
        bytes: &mut [u8],
        zero: u8,
        threads: &Threads,
        work: usize,
        write: &(dyn Fn(usize, &mut [u8]) + Sync),
    ) {
        let (Conv { n, h, .. }, kernel) = (self.conv, self.kernel());
        let layout = self.layout();
        let [row_bytes, front] = [layout.row, layout.front].map(|of| kernel.unit() * of);
        let places = n * (layout.above + h);
        let (images, end) = bytes.split_at_mut(places * row_bytes);
        // As many as tiles read; the last number of the scratch may hold fewer.
        let end_bytes = kernel.unit() * (layout.len - places * layout.row);
        kernel.fill(zero, &mut end[..end_bytes]);
        let shared = SharedMut::new(images);
        let tier = kernel.tier;
        Cpu { tier, threads }.split(n * h, work, |rows| {
            for row in rows {
                let place = layout.above * (row / h + 1) + row;
                // An image's first row brings the zeros above it.
                let above = if row % h == 0 { layout.above } else { 0 };
                // SAFETY: each row has its own bytes.
                let to =
                    unsafe { shared.slice((place - above) * row_bytes..(place + 1) * row_bytes) };
                let (padding, to) = to.split_at_mut(above * row_bytes + front);
                kernel.fill(zero, padding);
                write(row, to);
            }
        });
    }

    /// Some rows of the output, counted through all images, of some panels, counted over all groups.
    fn part(&self, lines: Range<usize>, panels: Range<usize>, scratch: &[f32], to: &Shared) {
        let mut near = NEAR;
        if self.right.is_small() {
            let place = (lines.clone(), lines.start);
            return self.lines(place, panels, scratch, (to, &mut near));
        }
        let row_bytes = self.kernel().unit() * self.layout().row;
        let block = (ROW_BLOCK_BYTES / (row_bytes * self.conv.stride[0])).max(1);
        for first in lines.clone().step_by(block) {
            for panel in panels.clone() {
                let place = (first..(first + block).min(lines.end), first);
                self.lines(place, panel..panel + 1, scratch, (to, &mut near));
            }
        }
    }

    /// Some rows of the output of some panels, and the row of `y` that the first becomes.
    fn lines(
        &self,
        (lines, to_line): (Range<usize>, usize),
        panels: Range<usize>,
        scratch: &[f32],
        (y, near): (&Shared, &mut Near),
    ) {
        let out_w = self.conv.out_w();
        // Small weights stay near once they are.
        let all = if self.right.is_small() {
            0
        } else {
            lines.len() * out_w
        };
        let mut line = lines.start;
        while line < lines.end {
            let before = line - lines.start;
            let these = line..self.together(line, lines.end);
            line = these.end;
            let place = (these, to_line + before);
            self.tile_of_lines(
                place,
                panels.clone(),
                scratch,
                (before * out_w, all),
                (y, near),
            );
        }
    }

    /// The same of those that a tile takes, behind so many windows of so many.
    fn tile_of_lines(
        &self,
        (lines, to_line): (Range<usize>, usize),
        panels: Range<usize>,
        scratch: &[f32],
        (passed, all): (usize, usize),
        (y, near): (&Shared, &mut Near),
    ) {
        const ONE: &f32 = &1.0;
        let (scales, bytes) = scratch.split_at(self.scales());
        let bytes = bytes.as_ptr().cast::<u8>();
        let (conv, layout, unit) = (&self.conv, self.layout(), self.kernel().unit());
        let image = lines.start / conv.out_h();
        let [top, last] =
            [lines.start, lines.end - 1].map(|line| line % conv.out_h() * conv.stride[0]);
        let scale: *const f32 = scales.get(image).unwrap_or(ONE);
        let (c, k) = (self.channels, conv.c / conv.groups);
        let tiles = conv.out_w().div_ceil(self.right.rows());
        let mut segments = [Segment::default(); MOST_TAPS];
        let mut tile = 0;
        while tile < tiles {
            let windows = self.windows(tile, tiles);
            // Tiles of as many windows that leave out the same taps go together.
            let alike = |next: &usize| self.windows(*next, tiles).len() == windows.len();
            let together = match joins(conv) {
                true => (tile..tiles).take_while(alike).count(),
                false => 1,
            };
            let left = windows.start * conv.stride[1];
            let across = left..left + (windows.len() - 1) * conv.stride[1];
            let count = self.segments(top..last, across, &mut segments);
            // Where the first window would begin above and left of the image, its segments do not.
            let row = (image + 1) * layout.above + image * conv.h + top;
            let first = row * layout.row + layout.front + left * c;
            let before = conv.padding[0] * layout.row + conv.padding[1] * c;
            let first = bytes.wrapping_add(unit * first).wrapping_sub(unit * before);
            let to = To {
                at: (to_line * conv.out_w() + windows.start) * self.stride,
                row: self.stride,
                output: y,
            };
            for panel in panels.clone() {
                let (group, _) = self.right.panels.place(panel);
                let from = Left {
                    tiles: together,
                    rows: windows.len(),
                    bytes: (
                        first.wrapping_add(unit * group * k),
                        unit * conv.stride[1] * c,
                    ),
                    segments: &segments[..count],
                    scales: (scale, 0),
                    middles: (&0.0, 0),
                    turn: (passed + windows.start, all),
                    on_matrix: self.right.on_matrix(windows.len()).map(|_| Runs {
                        count: lines.len(),
                        apart: layout.row / c,
                    }),
                };
                // SAFETY: the scratch holds all rows, with zeros as wide as the padding before and behind each; `run` saw that
                // output, bias and residual hold all pixels; no other part has these of this panel.
                unsafe { self.right.tiles(panel, &from, to, near) };
            }
            tile += together;
        }
    }

    /// The windows of one of so many tiles that a row of the output takes: evenly many, since the sums of few wait for each other. On AVX2 they do
    /// not, but there is no tile of five rows: full tiles, and what is left.
    fn windows(&self, tile: usize, tiles: usize) -> Range<usize> {
        let (all, rows) = (self.conv.out_w(), self.right.rows());
        match self.kernel().tier == Tier::Avx2 {
            true => tile * rows..all.min((tile + 1) * rows),
            false => even(all, tiles, tile),
        }
    }

    /// The segments that windows read of the image: windows the first and the last of which begin in the rows `down` and in the columns
    /// `across`, counted from the padding's.
    fn segments(
        &self,
        down: Range<usize>,
        across: Range<usize>,
        to: &mut [Segment; MOST_TAPS],
    ) -> usize {
        let (conv, layout, c) = (&self.conv, self.layout(), self.channels);
        let [kh, kw] = conv.kernel;
        let (columns, joined) = match joins(conv) {
            true => (1, true),
            false => (kw, false),
        };
        let mut count = 0;
        for ky in 0..kh {
            let y = ky * conv.dilation[0];
            let (first, last) = (down.start + y, down.end + y);
            if last < conv.padding[0] || first >= conv.padding[0] + conv.h {
                continue;
            }
            for kx in 0..columns {
                let x = kx * conv.dilation[1];
                let (first, last) = (across.start + x, across.end + x);
                if !joined && (last < conv.padding[1] || first >= conv.padding[1] + conv.w) {
                    continue;
                }
                to[count] = Segment {
                    at: self.kernel().unit() * (ky * conv.dilation[0] * layout.row + x * c),
                    index: ky * columns + kx,
                };
                count += 1;
            }
        }
        count
    }
}

/// Channels of a photograph.
const COLOURS: usize = 3;

/// So many of its pixels become bytes at a time where a zero follows each.
const FEW: usize = 128;

/// How many bytes a pixel has as tiles of a tier read it. Where products are added in pairs, each pair is of one tap: a zero follows
/// three channels.
fn channels(conv: &Conv, tier: Tier) -> usize {
    let in_pairs = Kernel::of(tier).wide.is_some();
    match in_pairs && joins(conv) && conv.c == COLOURS {
        true => 4,
        false => conv.c,
    }
}

/// Puts a zero behind each pixel of three bytes.
fn spread(pixels: &[u8], to: &mut [u8]) {
    // Four pixels are three numbers of 32 bits.
    let (fours, rest) = pixels.as_chunks::<{ 4 * COLOURS }>();
    let (wide, end) = to[..pixels.len() / COLOURS * 4].split_at_mut(16 * fours.len());
    for (to, from) in wide.as_chunks_mut::<16>().0.iter_mut().zip(fours) {
        let [a, b, c] = [0, 1, 2].map(|at| u32::from_le_bytes(from.as_chunks().0[at]));
        let pixels = [a, a >> 24 | b << 8, b >> 16 | c << 16, c >> 8];
        for (to, pixel) in to.as_chunks_mut().0.iter_mut().zip(pixels) {
            *to = (pixel & 0xff_ffff).to_le_bytes();
        }
    }
    for (to, &[r, g, b]) in end.as_chunks_mut().0.iter_mut().zip(rest.as_chunks().0) {
        *to = [r, g, b, 0];
    }
}

/// How the weights lie, and the weights as rows `[kh, kw, c / groups]`, with a zero behind three channels where pixels have one.
///
/// # Panics
/// If the weight's length or the geometry is wrong, there are over [`MOST_TAPS`] taps, or the sums are over [`LONGEST`].
fn in_tap_order(conv: &Conv, weight: Weight, tier: Tier) -> (Shape, Vec<i8>, Vec<f32>) {
    conv.check(usize::MAX, usize::MAX, weight.len());
    assert!(conv.taps() <= MOST_TAPS, "{conv:?}: too many taps");
    assert!(conv.sum() <= LONGEST, "{conv:?}: too long a sum");
    let segments = match joins(conv) {
        true => conv.kernel[0],
        false => conv.taps(),
    };
    let (bytes, scales) = weight.in_rows(conv.out, conv.taps());
    let mut bytes = by_tap(conv, &bytes);
    let channels = channels(conv, tier);
    if channels > conv.c {
        let with_zero = |&[r, g, b]: &[i8; COLOURS]| [r, g, b, 0];
        bytes = bytes.as_chunks().0.iter().flat_map(with_zero).collect();
    }
    let shape = Shape {
        groups: conv.groups,
        n: conv.out / conv.groups,
        segments,
        length: channels / conv.groups * conv.taps() / segments,
    };
    (shape, bytes, scales)
}

/// Whether a row of taps reads one stretch of the image.
fn joins(conv: &Conv) -> bool {
    conv.groups == 1 && conv.dilation[1] == 1
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({:?}, {})", self.conv, self.kernel().name)
    }
}
