//! Which numbers of a channels-last image each output pixel reads: as rows of pointers, tap by tap, or gathered.

use std::ops::Range;

use crate::gemm_f32::product::{Feed, PATCH, SEGMENTS, Source};
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

/// Groups with fewer channels than this are gathered: their taps are too short to be walked one by one.
const GATHER_BELOW: usize = 16;

fn signed(size: usize) -> isize {
    isize::try_from(size).expect("sizes of slices fit")
}

impl Window {
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Calls `each` with the index and corner of every output pixel of `rows`, in order.
    fn corners(&self, rows: Range<usize>, mut each: impl FnMut(usize, Corner)) {
        let (mut x, above) = (rows.start % self.out_w, rows.start / self.out_w);
        let (mut y, mut image) = (above % self.out_h, above / self.out_h);
        for index in 0..rows.len() {
            let corner = Corner {
                image: signed(image * self.h),
                y: signed(y * self.stride[0]) - self.before[0],
                x: signed(x * self.stride[1]) - self.before[1],
            };
            each(index, corner);
            x += 1;
            if x == self.out_w {
                (x, y) = (0, y + 1);
            }
            if y == self.out_h {
                (y, image) = (0, image + 1);
            }
        }
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

    /// The pixel that `tap` reads, if it is inside.
    fn pixel(&self, at: Corner, tap: usize) -> Option<usize> {
        let y = at.y + signed(tap / self.kernel[1] * self.dilation[0]);
        let x = at.x + signed(tap % self.kernel[1] * self.dilation[1]);
        let inside = y >= 0 && x >= 0 && y < signed(self.h) && x < signed(self.w);
        inside.then(|| ((at.image + y) * signed(self.w) + x).unsigned_abs())
    }

    /// Calls `each` with the tap and the pixel of every tap of every output pixel of `rows` that is inside, and the row's index.
    pub(crate) fn pixels(&self, rows: Range<usize>, mut each: impl FnMut(usize, usize, usize)) {
        self.corners(rows, |row, corner| {
            for tap in 0..self.taps() {
                if let Some(pixel) = self.pixel(corner, tap) {
                    each(row, tap, pixel);
                }
            }
        });
    }
}

impl Image<'_> {
    /// Whether the channels of neighbouring taps follow each other, so that a row of taps is one stretch.
    fn joined(&self) -> bool {
        self.k == self.channels && self.window.dilation[1] == 1
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
        // A run is what lies evenly: a tap's channels, or those of a whole row of taps.
        let taps = if self.joined() {
            self.window.kernel[1]
        } else {
            1
        };
        let run = taps * self.k;
        self.window.corners(rows, |row, corner| {
            let mut to = &mut to[row * step..][..k.len()];
            let mut at = k.start;
            while at < k.end {
                let (index, from) = (at / run, at % run);
                let until = run.min(from + k.end - at);
                let (now, later) = to.split_at_mut(until - from);
                self.run(group, corner, index * taps, (from, now));
                (to, at) = (later, at + until - from);
            }
        });
    }

    /// Part of the run that begins at `tap`: from the run's number `from` on, as many as `to` holds.
    fn run(&self, group: usize, at: Corner, tap: usize, (from, to): (usize, &mut [f32])) {
        if !self.joined() || self.window.kernel[1] == 1 {
            return match self.window.pixel(at, tap) {
                Some(pixel) => copy(&self.x[pixel * self.channels + group * self.k + from..], to),
                None => to.fill(0.0),
            };
        }
        let y = at.y + signed(tap / self.window.kernel[1] * self.window.dilation[0]);
        if y < 0 || y >= signed(self.window.h) {
            return to.fill(0.0);
        }
        // The run begins at column `at.x`; numbers of columns outside of 0..w are zeros.
        let c = signed(self.channels);
        let first = at.x * c + signed(from);
        let inside = |edge: isize| (edge - first).clamp(0, signed(to.len())).unsigned_abs();
        let (lo, hi) = (inside(0), inside(signed(self.window.w) * c));
        to[..lo].fill(0.0);
        to[hi..].fill(0.0);
        if lo < hi {
            let row =
                ((at.image + y) * signed(self.window.w) * c + first + signed(lo)).unsigned_abs();
            copy(&self.x[row..], &mut to[lo..hi]);
        }
    }

    fn gathers(&self) -> bool {
        self.k < GATHER_BELOW
    }
}

/// Copies as many numbers as `to` holds; mostly a few, for which a call would cost more than the copy.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    let from = &from[..to.len()];
    let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<4>(), to.as_chunks_mut::<4>());
    if to.len() > 8 {
        to.copy_from_slice(from);
    } else {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to = *from;
    }
}

impl Source for Image<'_> {
    fn stretch(&self) -> usize {
        if self.gathers() {
            self.window.taps() * self.k
        } else {
            self.k
        }
    }

    fn step(&self) -> usize {
        1
    }

    fn feed(&self, group: usize, rows: Range<usize>, k: Range<usize>, feed: &mut Feed) {
        if self.gathers() {
            (feed.segments, feed.length) = (1, k.len());
            self.gather(group, rows, k, (&mut feed.patch, PATCH));
            for row in 0..ROWS {
                feed.pointers[0][row] = feed.patch[row * PATCH..].as_ptr();
            }
            return;
        }
        let mut corners = [Corner {
            image: 0,
            y: 0,
            x: 0,
        }; ROWS];
        let mut inside = true;
        let count = rows.len();
        self.window.corners(rows, |row, corner| {
            corners[row] = corner;
            inside &= self.window.inside(corner);
        });
        let taps = k.start / self.k..k.end.div_ceil(self.k);
        feed.segments = taps.len();
        feed.length = k.len() / taps.len();
        assert!(
            feed.segments <= SEGMENTS && feed.length <= PATCH,
            "blocks of k fit a tile's segments"
        );
        let channel = group * self.k + k.start % self.k;
        let start = self.x[channel..].as_ptr();
        if inside {
            let pixels =
                corners.map(|at| ((at.image + at.y) * signed(self.window.w) + at.x).unsigned_abs());
            for (pointers, tap) in feed.pointers.iter_mut().zip(taps) {
                let [kh, kw] = [tap / self.window.kernel[1], tap % self.window.kernel[1]];
                let ahead =
                    kh * self.window.dilation[0] * self.window.w + kw * self.window.dilation[1];
                for row in 0..count {
                    pointers[row] = start.wrapping_add((pixels[row] + ahead) * self.channels);
                }
            }
            return;
        }
        for (pointers, tap) in feed.pointers.iter_mut().zip(taps) {
            for row in 0..count {
                pointers[row] = match self.window.pixel(corners[row], tap) {
                    Some(pixel) => start.wrapping_add(pixel * self.channels),
                    None => ZEROS.as_ptr(),
                };
            }
        }
    }
}
