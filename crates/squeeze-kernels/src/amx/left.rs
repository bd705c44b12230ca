//! How the left side lies once it is split: rows of lines of 64 bytes, and which of them each strip of 16 rows reads.

use std::ops::Range;

use super::finish::Rows;
use super::{Element, LINE, MOST_TAPS, SPLIT, STRIP};
use super::{half, split};
use crate::conv_f32::Conv;
use crate::{Cpu, SharedMut, Tier};

/// The left side of a product: the pixels of an image, or the rows of a matrix as an image of one row.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub conv: Conv,
    /// From one pixel of the input to the next.
    pub lda: usize,
    element: Element,
    mode: Mode,
    /// Lines of one tap of one group.
    lines: usize,
    /// Bytes of one part of a pixel: an odd number of lines, so that pixels spread over a cache.
    pub pixel: usize,
    /// Rows and columns of an image with the padding that it is split with.
    padded: [usize; 2],
    /// Zeros that it is split with at the top, left, bottom and right.
    margin: [usize; 4],
}

/// What a strip is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// 16 neighbours of a matrix or of an image whose windows are one pixel.
    Plain,
    /// 16 windows of one row of the output; the last strip of a row is short. Taps that lie wholly outside the image are left out.
    Row,
    /// 16 neighbours of the padded image, those between two rows for nothing.
    Flat,
}

impl Left {
    pub fn new(conv: &Conv, lda: usize, element: Element) -> Left {
        assert!(
            conv.kernel[0] * conv.kernel[1] <= MOST_TAPS,
            "{conv:?}: too many taps"
        );
        let plain = conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.padding == [0; 4];
        let lines = (conv.c / conv.groups).div_ceil(LINE);
        let mut left = Left {
            conv: *conv,
            lda,
            element,
            mode: Mode::Plain,
            lines,
            pixel: 64 * ((conv.groups * lines) | 1),
            padded: [conv.h, conv.w],
            margin: [0; 4],
        };
        if plain {
            return left;
        }
        left.set_margin(conv.padding);
        if conv.stride == [1, 1] && left.flat_strips() < left.row_strips() {
            left.mode = Mode::Flat;
        } else {
            left.mode = Mode::Row;
            // A tap that reads any column of the image reads at most so many beside it.
            let most = (STRIP - 1) * conv.stride[1];
            let [_, before, _, behind] = conv.padding;
            left.set_margin([0, before.min(most), 0, behind.min(most)]);
        }
        left
    }

    fn set_margin(&mut self, margin: [usize; 4]) {
        let [top, left, bottom, right] = margin;
        self.padded = [self.conv.h + top + bottom, self.conv.w + left + right];
        self.margin = margin;
    }

    fn flat_strips(&self) -> usize {
        let rows = self.conv.out_h().saturating_sub(1);
        self.conv.n * (rows * self.padded[1] + self.conv.out_w()).div_ceil(STRIP)
    }

    fn row_strips(&self) -> usize {
        self.conv.n * self.conv.out_h() * self.conv.out_w().div_ceil(STRIP)
    }

    /// Strips of all images.
    pub fn strips(&self) -> usize {
        match self.mode {
            Mode::Plain => self.conv.pixels().div_ceil(STRIP),
            Mode::Row => self.row_strips(),
            Mode::Flat => self.flat_strips(),
        }
    }

    /// Whether a strip's rows are split where they are needed, or all beforehand because windows share them.
    pub fn is_plain(&self) -> bool {
        self.mode == Mode::Plain
    }

    /// Bytes of one part of `strips` strips of a plain left side, or of all of an image.
    pub fn plane(&self, strips: usize) -> usize {
        let pixels = match self.mode {
            Mode::Plain => strips * STRIP,
            // The last strip may reach beyond the last row.
            _ => self.conv.n * self.padded[0] * self.padded[1] + STRIP * self.conv.stride[1],
        };
        pixels * self.pixel
    }

    /// From one row of a strip to the next, in bytes.
    pub fn stride(&self) -> usize {
        self.pixel * self.conv.stride[1]
    }

    /// Where a strip begins, in bytes from the first pixel, or from that of strip `first` of a plain left side.
    pub fn start(&self, strip: usize, first: usize) -> usize {
        let [height, width] = self.padded;
        let pixel = match self.mode {
            Mode::Plain => (strip - first) * STRIP,
            Mode::Row => {
                let (image, y, x) = self.row_place(strip);
                (image * height + y * self.conv.stride[0]) * width + x * self.conv.stride[1]
            }
            Mode::Flat => {
                let each = self.flat_strips() / self.conv.n;
                strip / each * height * width + strip % each * STRIP
            }
        };
        pixel * self.pixel
    }

    /// The rows of the product that a strip holds.
    pub fn rows(&self, strip: usize) -> Rows {
        let (out_h, out_w) = (self.conv.out_h(), self.conv.out_w());
        let mut rows = Rows::default();
        let mut add = |at: usize, place: usize| {
            (rows.at[rows.count], rows.place[rows.count]) = (at, place);
            rows.count += 1;
        };
        match self.mode {
            Mode::Plain => {
                let start = strip * STRIP;
                let count = STRIP.min(self.conv.pixels() - start);
                (0..count).for_each(|at| add(at, start + at));
            }
            Mode::Row => {
                let (image, y, x) = self.row_place(strip);
                let first = (image * out_h + y) * out_w + x;
                (0..STRIP.min(out_w - x)).for_each(|at| add(at, first + at));
            }
            Mode::Flat => {
                let each = self.flat_strips() / self.conv.n;
                for at in 0..STRIP {
                    let place = strip % each * STRIP + at;
                    let (y, x) = (place / self.padded[1], place % self.padded[1]);
                    if x < out_w && y < out_h {
                        add(at, (strip / each * out_h + y) * out_w + x);
                    }
                }
            }
        }
        rows
    }

    /// Image, row and first column of a strip. Strips go down the image, so that neighbours leave out the same taps.
    fn row_place(&self, strip: usize) -> (usize, usize, usize) {
        let (out_h, across) = (self.conv.out_h(), self.conv.out_w().div_ceil(STRIP));
        let (beside, y) = (strip / out_h, strip % out_h);
        (beside / across, y, beside % across * STRIP)
    }

    /// Which taps of a strip's windows read anything of the image: a bit for each, and all bits where all do.
    pub fn taps(&self, strip: usize) -> u128 {
        if self.mode != Mode::Row {
            return u128::MAX;
        }
        let Conv {
            h,
            w,
            padding,
            stride,
            dilation,
            kernel,
            ..
        } = self.conv;
        let (_, y, x) = self.row_place(strip);
        let count = STRIP.min(self.conv.out_w() - x);
        let (mut taps, all) = (0, u128::MAX >> (128 - kernel[0] * kernel[1]));
        for ky in 0..kernel[0] {
            let row = (y * stride[0] + ky * dilation[0]).wrapping_sub(padding[0]);
            if row >= h {
                continue;
            }
            for kx in 0..kernel[1] {
                // The first of the strip's columns that is not before the image.
                let column = x * stride[1] + kx * dilation[1];
                let skipped = padding[1].saturating_sub(column).div_ceil(stride[1]);
                let reads = skipped < count && column + skipped * stride[1] - padding[1] < w;
                taps |= u128::from(reads) << (ky * kernel[1] + kx);
            }
        }
        if taps == all { u128::MAX } else { taps }
    }

    /// Where each line of a group's sum lies from the start of a window, in bytes that may wrap around: taps, and in each tap its
    /// lines.
    pub fn offsets(&self) -> Vec<usize> {
        let mut offsets = vec![];
        let (down, across) = (self.conv.dilation[0], self.conv.dilation[1]);
        let above = self.conv.padding[0] - self.margin[0];
        let before = self.conv.padding[1] - self.margin[1];
        for ky in 0..self.conv.kernel[0] {
            for kx in 0..self.conv.kernel[1] {
                let row = (ky * down).wrapping_sub(above).wrapping_mul(self.padded[1]);
                let tap = row.wrapping_add((kx * across).wrapping_sub(before));
                let tap = tap.wrapping_mul(self.pixel);
                offsets.extend((0..self.lines).map(|line| tap.wrapping_add(64 * line)));
            }
        }
        offsets
    }

    /// Lines of one tap.
    pub fn tap_lines(&self) -> usize {
        self.lines
    }

    /// Where a group's lines begin in a pixel.
    pub fn group(&self, group: usize) -> usize {
        group * self.lines * 64
    }

    /// How many scales `strips` strips have.
    pub fn scales(&self, strips: usize) -> usize {
        match (self.element, self.mode) {
            (Element::F16, Mode::Plain) => strips * STRIP * self.conv.groups,
            // Windows share pixels, so an image has one scale; each of its rows has had one before.
            (Element::F16, _) => self.conv.n * (1 + self.conv.h),
            (Element::Bf16 | Element::Bf16x3 | Element::Bf16x6, _) => 0,
        }
    }

    /// Looks up the scales of a strip's rows: the strip's place in the split left side where that is plain, and the group.
    pub fn scale(&self, scales: &[f32], (strip, group): (usize, usize), rows: &mut Rows) {
        let pixels = self.conv.out_h() * self.conv.out_w();
        for index in 0..rows.count {
            let place = match self.mode {
                Mode::Plain => (strip * STRIP + rows.at[index]) * self.conv.groups + group,
                Mode::Row | Mode::Flat => rows.place[index] / pixels,
            };
            rows.scale[index] = scales[place];
        }
    }

    /// The rows of some strips of a plain left side.
    pub fn plain_rows(&self, strips: &Range<usize>) -> Range<usize> {
        strips.start * STRIP..(strips.end * STRIP).min(self.conv.pixels())
    }

    /// Splits some rows of a plain left side, whose split part begins with row `first`.
    pub fn split_rows(&self, tier: Tier, x: &[f32], rows: Range<usize>, first: usize, to: &Parts) {
        let x = &x[rows.start * self.lda..];
        self.split_pixels(tier, x, (rows.start - first, rows.len()), to, None);
    }

    /// Splits whole images, with zeros around them.
    pub fn split_images(&self, x: &[f32], to: &Parts, cpu: Cpu) {
        let Conv { n, h, w, c, .. } = self.conv;
        let row = |y: usize| &x[y * w * self.lda..][..(w - 1) * self.lda + c];
        let work = SPLIT * n * h * w * c;
        if self.element.is_scaled() {
            cpu.split(n * h, work / 4, |rows| {
                for y in rows {
                    let pixels = row(y).chunks(self.lda).map(|x| &x[..c.min(x.len())]);
                    let most = match self.lda == c {
                        true => split::largest(cpu.tier, row(y)),
                        false => greatest(pixels.map(|x| split::largest(cpu.tier, x))),
                    };
                    // SAFETY: each row has its own place.
                    let own = unsafe { to.scales.slice(n + y..n + y + 1) };
                    own[0] = most;
                }
            });
            for image in 0..n {
                // SAFETY: no other thread is at work.
                let rows = unsafe { to.scales.slice(n + image * h..n + (image + 1) * h) };
                let most = greatest(rows.iter().copied());
                // SAFETY: as above.
                let own = unsafe { to.scales.slice(image..image + 1) };
                own[0] = half::scale(most, half::LEFT);
            }
        }
        let [height, width] = self.padded;
        let [top, left, _, right] = self.margin;
        cpu.split(n * height, work, |rows| {
            for place in rows {
                let (image, y) = (place / height, place % height);
                let start = place * width;
                if y < top || y >= top + h {
                    self.clear(start..start + width, to);
                    continue;
                }
                self.clear(start..start + left, to);
                self.clear(start + width - right..start + width, to);
                let row = row(image * h + y - top);
                let scale = (self.element.is_scaled())
                    // SAFETY: nobody writes an image's scale any more.
                    .then(|| unsafe { to.scales.slice(image..image + 1) }[0]);
                self.split_pixels(cpu.tier, row, (start + left, w), to, scale);
            }
        });
    }

    /// Brings a pixel to halves; its groups have one scale.
    fn halve_pixel(&self, tier: Tier, x: &[f32], at: usize, to: &Parts, scale: Option<f32>) {
        let groups = self.conv.groups;
        let k = self.conv.c / groups;
        let start = at * self.pixel;
        // SAFETY: each pixel is written by one thread.
        let halves = unsafe { to.bytes.slice(start..start + 64 * groups * self.lines) };
        let scale = scale.unwrap_or_else(|| {
            let scale = half::scale(split::largest(tier, x), half::LEFT);
            // SAFETY: each row has its own scales.
            unsafe { to.scales.slice(at * groups..(at + 1) * groups) }.fill(scale);
            scale
        });
        let factor = split::factor(scale);
        if 2 * x.len() == halves.len() {
            return split::halves(tier, x, factor, halves);
        }
        let of_groups = halves.chunks_exact_mut(64 * self.lines);
        for (x, halves) in x.chunks_exact(k).zip(of_groups) {
            split::halves(tier, x, factor, halves);
        }
    }

    /// Zeros for some pixels.
    fn clear(&self, pixels: Range<usize>, to: &Parts) {
        for part in 0..self.element.parts() {
            let start = part * to.plane;
            let bytes = start + pixels.start * self.pixel..start + pixels.end * self.pixel;
            // SAFETY: each pixel is written by one thread.
            unsafe { to.bytes.slice(bytes) }.fill(0);
        }
    }

    /// Splits neighbouring pixels, of which `at` is the first of the split side; `scale` is an image's.
    fn split_pixels(
        &self,
        tier: Tier,
        x: &[f32],
        (at, count): (usize, usize),
        to: &Parts,
        scale: Option<f32>,
    ) {
        let groups = self.conv.groups;
        let k = self.conv.c / groups;
        if !self.element.is_scaled() {
            let rows = split::Rows {
                lda: self.lda,
                groups,
                k,
                lines: self.lines,
                pixel: self.pixel,
                plane: to.plane,
                parts: self.element.parts(),
            };
            let end = (rows.parts - 1) * to.plane + (at + count) * self.pixel;
            assert!(end <= to.bytes.len());
            let to = to.bytes.pointer().wrapping_add(at * self.pixel);
            // SAFETY: each pixel is written by one thread, and the pixels lie within the split side.
            return unsafe { rows.split(tier, x, count, to) };
        }
        for pixel in 0..count {
            let x = &x[pixel * self.lda..][..self.conv.c];
            self.halve_pixel(tier, x, at + pixel, to, scale);
        }
    }
}

/// Where a split left side goes: its parts `plane` bytes apart, and its scales.
pub(super) struct Parts<'a> {
    pub bytes: SharedMut<'a, u8>,
    pub plane: usize,
    pub scales: SharedMut<'a, f32>,
}

/// The largest, or NaN where there is one.
fn greatest(x: impl Iterator<Item = f32>) -> f32 {
    // Without their sign numbers come in the order of their bits, and NaN lies above infinity.
    f32::from_bits(x.map(f32::to_bits).max().unwrap_or(0))
}
