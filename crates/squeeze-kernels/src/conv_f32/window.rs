//! Which numbers of a channels-last image each output pixel reads: as rows of pointers, tap by tap, or gathered.

use std::ops::Range;

use crate::gemm_f32::product::{Feed, PATCH, SEGMENTS, Source, Tiles};
use crate::gemm_f32::tile::ROWS;

/// A window that slides over images `[n, h, w, channels]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub h: usize,
    pub w: usize,
    pub out_h: usize,
    pub out_w: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Zeros above and to the left; negative where the image is cut.
    pub before: [isize; 2],
}

/// The images that a window reads, and how it reads them. The sums run over taps and, within a tap, over the group's channels.
pub(crate) struct Image<'a> {
    pub x: &'a [f32],
    pub window: Window,
    /// Channels of the image.
    pub channels: usize,
    /// Channels of one group.
    pub k: usize,
}

/// Where the window of an output pixel begins: its image's first row, and row and column in the image.
#[derive(Clone, Copy)]
struct Corner {
    image: isize,
    y: isize,
    x: isize,
}

/// What a window reads outside the image.
static ZEROS: [f32; PATCH] = [0.0; PATCH];

/// Images with fewer channels than this are read a row of taps at a time, where their windows are wholly inside.
const JOIN_BELOW: usize = 16;

#[inline(always)]
fn signed(size: usize) -> isize {
    size.cast_signed()
}

impl Window {
    /// Calls `each` with the index and corner of every output pixel of `rows`, in order.
    fn corners(&self, rows: Range<usize>, mut each: impl FnMut(usize, Corner)) {
        let (mut x, above) = (rows.start % self.out_w, rows.start / self.out_w);
        let (mut y, mut image) = (above % self.out_h, above / self.out_h);
        for index in 0..rows.len() {
            each(index, self.corner([image, y, x]));
            x += 1;
            if x == self.out_w {
                (x, y) = (0, y + 1);
            }
            if y == self.out_h {
                (y, image) = (0, image + 1);
            }
        }
    }

    /// The corner of the first of these output pixels, and how many of them from it on lie in one row: each is `stride[1]` pixels from the
    /// one before.
    fn first(&self, rows: &Range<usize>) -> (Corner, usize) {
        let (x, above) = (rows.start % self.out_w, rows.start / self.out_w);
        let (y, image) = (above % self.out_h, above / self.out_h);
        (self.corner([image, y, x]), (self.out_w - x).min(rows.len()))
    }

    /// The corner of an output pixel.
    #[inline(always)]
    fn corner(&self, [image, y, x]: [usize; 3]) -> Corner {
        Corner {
            image: signed(image * self.h),
            y: signed(y * self.stride[0]) - self.before[0],
            x: signed(x * self.stride[1]) - self.before[1],
        }
    }

    /// How many of `most` windows in a row, the first with this corner, read nothing but the image between these two places, counted from
    /// their corners.
    fn inside_from(&self, at: Corner, [first, last]: [[isize; 2]; 2], most: usize) -> usize {
        let room = signed(self.w) - 1 - last[1] - at.x;
        let down = at.y + first[0] >= 0 && at.y + last[0] < signed(self.h);
        if !down || at.x + first[1] < 0 || room < 0 {
            return 0;
        }
        (room.unsigned_abs() / self.stride[1] + 1).min(most)
    }

    /// The same of those that have one tap outside.
    fn outside_from(&self, at: Corner, tap: [isize; 2], most: usize) -> usize {
        let (y, x) = (at.y + tap[0], at.x + tap[1]);
        match y < 0 || y >= signed(self.h) || x >= signed(self.w) {
            true => most,
            false => (-x.min(0))
                .unsigned_abs()
                .div_ceil(self.stride[1])
                .min(most),
        }
    }

    /// From the first tap to the last.
    fn taps(&self) -> [[isize; 2]; 2] {
        [[0, 0], [self.reach(0), self.reach(1)]]
    }

    fn reach(&self, axis: usize) -> isize {
        signed((self.kernel[axis] - 1) * self.dilation[axis])
    }

    /// Whether all of the window lies inside the image.
    fn inside(&self, at: Corner) -> bool {
        at.y >= 0
            && at.x >= 0
            && at.y + self.reach(0) < signed(self.h)
            && at.x + self.reach(1) < signed(self.w)
    }

    /// Calls `each` with the row's index, the tap and the pixel of every tap of every output pixel of `rows` that is inside.
    pub(crate) fn pixels(&self, rows: Range<usize>, mut each: impl FnMut(usize, usize, usize)) {
        let [down, across] = self.dilation.map(signed);
        self.corners(rows, |row, at| {
            let mut tap = 0;
            for ky in 0..self.kernel[0] {
                let y = at.y + signed(ky) * down;
                for kx in 0..self.kernel[1] {
                    let x = at.x + signed(kx) * across;
                    if y >= 0 && x >= 0 && y < signed(self.h) && x < signed(self.w) {
                        each(
                            row,
                            tap,
                            ((at.image + y) * signed(self.w) + x).unsigned_abs(),
                        );
                    }
                    tap += 1;
                }
            }
        });
    }
}

impl Image<'_> {
    /// How many taps follow each other in memory and are read as one run: a row of taps when all channels are one small group.
    fn run_taps(&self) -> usize {
        let joined = self.k == self.channels && self.k < JOIN_BELOW && self.window.dilation[1] == 1;
        if joined { self.window.kernel[1] } else { 1 }
    }

    /// Writes range `k` of what the pixels `rows` read of `group` to rows of `to` that are `step` apart.
    pub(crate) fn gather(
        &self,
        group: usize,
        rows: Range<usize>,
        k: Range<usize>,
        to: (&mut [f32], usize),
    ) {
        let (to, step) = to;
        let first = Runs::new(self, k.start);
        self.window.corners(rows, |row, corner| {
            self.gather_row(group, corner, first, &mut to[row * step..][..k.len()]);
        });
    }

    /// Writes what one pixel reads of `group`, from a place in its runs on, to all of `to`.
    fn gather_row(&self, group: usize, at: Corner, mut runs: Runs, mut to: &mut [f32]) {
        let (w, channels) = (signed(self.window.w), signed(self.channels));
        let all_inside = self.window.inside(at);
        while !to.is_empty() {
            let count = to.len().min(runs.len - runs.from);
            let (now, later) = to.split_at_mut(count);
            to = later;
            let (y, x) = (at.y + runs.y, at.x + runs.x);
            // The run's numbers from `first` on, counted from the first of its row's; those of columns outside of 0..w are zeros.
            let first = x * channels + signed(group * self.k + runs.from);
            let row = (at.image + y) * w * channels;
            if all_inside {
                copy(&self.x[(row + first).unsigned_abs()..], now);
            } else if y < 0 || y >= signed(self.window.h) {
                now.fill(0.0);
            } else if runs.taps == 1 {
                if x < 0 || x >= w {
                    now.fill(0.0);
                } else {
                    copy(&self.x[(row + first).unsigned_abs()..], now);
                }
            } else {
                let inside = |edge: isize| (edge - first).clamp(0, signed(count)).unsigned_abs();
                let (lo, hi) = (inside(0), inside(w * channels));
                now[..lo].fill(0.0);
                now[hi..].fill(0.0);
                if lo < hi {
                    copy(
                        &self.x[(row + first + signed(lo)).unsigned_abs()..],
                        &mut now[lo..hi],
                    );
                }
            }
            runs.next();
        }
    }

    /// Points to what one tap, so far from the windows' corners, reads of each row, from its numbers `start` in the first pixel on, or
    /// to zeros outside the image; whether any row is inside. There is nothing to remember: the next call has other rows.
    fn one_tap(
        &self,
        rows: Range<usize>,
        tap: [isize; 2],
        start: *const f32,
        to: &mut [*const f32; ROWS],
    ) -> bool {
        let [h, w, channels] = [self.window.h, self.window.w, self.channels].map(signed);
        let mut reads = false;
        *to = [ZEROS.as_ptr(); ROWS];
        self.window.corners(rows, |row, at| {
            let (y, x) = (at.y + tap[0], at.x + tap[1]);
            if (0..h).contains(&y) && (0..w).contains(&x) {
                to[row] = start.wrapping_offset(((at.image + y) * w + x) * channels);
                reads = true;
            }
        });
        reads
    }

    /// Points to what windows in a row read, the first of them with this corner, from one run on.
    fn straight(&self, corner: Corner, mut place: Runs, start: *const f32, feed: &mut Feed) {
        let first = (corner.image + corner.y) * signed(self.window.w) + corner.x;
        feed.apart = self.window.stride[1] * self.channels;
        for pointers in &mut feed.pointers[..feed.segments] {
            let pixel = first + place.y * signed(self.window.w) + place.x;
            let from = start.wrapping_offset(pixel * signed(self.channels));
            for (row, pointer) in pointers.iter_mut().enumerate() {
                *pointer = from.wrapping_add(row * feed.apart);
            }
            place.next();
        }
    }

    /// Looks up which pixel each row's taps read, once for all groups and panels.
    fn look(&self, rows: &Range<usize>, runs: Range<usize>, memo: &mut Memo) {
        if memo.rows == *rows && memo.runs == runs {
            return;
        }
        let (taps, w) = (self.run_taps(), signed(self.window.w));
        let mut reads = taps > 1;
        let mut first = Runs::new(self, runs.start * taps * self.k);
        first.from = 0;
        self.window.corners(rows.clone(), |row, at| {
            memo.corners[row] = at;
            let all_inside = self.window.inside(at);
            let start = (at.image + at.y) * w + at.x;
            let mut now = first;
            for run in 0..runs.len() {
                let (y, x) = (at.y + now.y, at.x + now.x);
                let inside = all_inside
                    || (taps == 1 && y >= 0 && x >= 0 && y < signed(self.window.h) && x < w);
                reads |= inside;
                memo.pixels[run][row] = if inside {
                    start + now.y * w + now.x
                } else {
                    -1
                };
                now.next();
            }
        });
        (memo.rows, memo.runs, memo.is_outside) = (rows.clone(), runs, !reads);
    }
}

/// A place in the runs that a pixel reads, one after the other.
#[derive(Clone, Copy)]
struct Runs {
    /// Numbers of a run and how many taps it spans.
    len: usize,
    taps: usize,
    /// Of the run: which tap of its row comes first, and where the row and the tap lie from the corner.
    kx: usize,
    y: isize,
    x: isize,
    /// The number of the run to go on with.
    from: usize,
    kw: usize,
    dilation: [isize; 2],
}

impl Runs {
    /// The place of number `k` of a pixel's sum.
    fn new(image: &Image, k: usize) -> Runs {
        let (taps, kw) = (image.run_taps(), image.window.kernel[1]);
        let len = taps * image.k;
        let dilation = image.window.dilation.map(signed);
        if k == 0 {
            let (kx, y, x, from) = (0, 0, 0, 0);
            return Runs {
                len,
                taps,
                kx,
                y,
                x,
                from,
                kw,
                dilation,
            };
        }
        let tap = k / len * taps;
        let (ky, kx) = (tap / kw, tap % kw);
        let (y, x) = (signed(ky) * dilation[0], signed(kx) * dilation[1]);
        Runs {
            len,
            taps,
            kx,
            y,
            x,
            from: k % len,
            kw,
            dilation,
        }
    }

    #[inline(always)]
    fn next(&mut self) {
        self.from = 0;
        self.kx += self.taps;
        self.x += self.dilation[1];
        if self.kx >= self.kw {
            self.kx = 0;
            self.x = 0;
            self.y += self.dilation[0];
        }
    }
}

/// Which pixels the rows of the last tile read.
pub(crate) struct Memo {
    rows: Range<usize>,
    runs: Range<usize>,
    /// Whether they read nothing but padding.
    is_outside: bool,
    corners: [Corner; ROWS],
    /// For each run the pixel it begins at, or -1 where it is not wholly inside.
    pixels: [[isize; ROWS]; SEGMENTS],
}

impl Default for Memo {
    fn default() -> Memo {
        let corner = Corner {
            image: 0,
            y: 0,
            x: 0,
        };
        Memo {
            rows: 0..0,
            runs: 0..0,
            is_outside: false,
            corners: [corner; ROWS],
            pixels: [[-1; ROWS]; SEGMENTS],
        }
    }
}

/// Copies as many numbers as `to` holds; mostly a few, for which a call would cost more than the copy.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    let from = &from[..to.len()];
    match (from.as_chunks::<4>(), to.as_chunks_mut::<4>()) {
        (([a], []), ([x], [])) => *x = *a,
        (([a, b], []), ([x, y], [])) => (*x, *y) = (*a, *b),
        _ => to.copy_from_slice(from),
    }
}

impl Source for Image<'_> {
    fn stretch(&self) -> usize {
        self.run_taps() * self.k
    }

    fn step(&self) -> usize {
        1
    }

    fn unit(&self) -> usize {
        ROWS
    }

    fn together(&self, rows: Range<usize>, tile: usize) -> usize {
        let (corner, most) = self.window.first(&rows);
        let inside = self.window.inside_from(corner, self.window.taps(), most);
        (inside / tile).max(1)
    }

    fn is_costly(&self) -> bool {
        true
    }

    fn feed(
        &self,
        group: usize,
        rows: Range<usize>,
        most: Tiles,
        k: Range<usize>,
        feed: &mut Feed,
    ) -> usize {
        let (taps, run) = (self.run_taps(), self.run_taps() * self.k);
        let [kh, kw] = self.window.kernel;
        let all = if taps > 1 { kh } else { kh * kw };
        // The divisions of the general case would take as long as the products of a first layer's tile.
        let (runs, length) = match k == (0..all * run) {
            true => (0..all, run),
            false => {
                let runs = k.start / run..k.end.div_ceil(run);
                (runs.clone(), k.len() / runs.len())
            }
        };
        (feed.segments, feed.length) = (runs.len(), length);
        assert!(
            feed.segments <= SEGMENTS && feed.length <= PATCH,
            "blocks of k fit a tile's segments"
        );
        let from = if k.start == 0 { 0 } else { k.start % run };
        let start = self.x[group * self.k + from..].as_ptr();
        let (corner, most_inside) = self.window.first(&rows);
        let place = Runs::new(self, runs.start * run);
        let one_tap = (taps == 1 && runs.len() == 1).then_some([place.y, place.x]);
        let read = one_tap.map_or(self.window.taps(), |tap| [tap, tap]);
        let inside = self.window.inside_from(corner, read, most_inside);
        if inside >= most.rows {
            self.straight(corner, place, start, feed);
            return (inside / most.rows).min(most.count);
        }
        let rows = rows.start..rows.start + most.rows;
        if let Some(tap) = one_tap {
            let outside = self.window.outside_from(corner, tap, most_inside);
            if outside >= most.rows {
                feed.segments = 0;
                return (outside / most.rows).min(most.count);
            }
            if !self.one_tap(rows, tap, start, &mut feed.pointers[0]) {
                feed.segments = 0;
            }
            return 1;
        }
        self.look(&rows, runs, &mut feed.memo);
        if feed.memo.is_outside {
            feed.segments = 0;
            return 1;
        }
        if taps > 1 {
            let place = Runs::new(self, k.start);
            for row in 0..rows.len() {
                if feed.memo.pixels[0][row] < 0 {
                    let to = &mut feed.patch[row * PATCH..][..k.len()];
                    self.gather_row(group, feed.memo.corners[row], place, to);
                }
            }
        }
        let patch = feed.patch.as_ptr();
        for (segment, pixels) in feed.memo.pixels[..feed.segments].iter().enumerate() {
            for row in 0..ROWS {
                let outside = match taps {
                    1 => ZEROS.as_ptr(),
                    _ => patch.wrapping_add(row * PATCH + segment * feed.length),
                };
                let inside = start.wrapping_offset(pixels[row] * signed(self.channels));
                feed.pointers[segment][row] = if pixels[row] < 0 { outside } else { inside };
            }
        }
        1
    }
}
