//! A row of pixels cut into lines whose pixels all have the same taps: borders pixel by pixel, the inside in one.
//!
//! The forward pass and both backward passes are sums over taps of such lines; only where taps lie differs.

use super::Depthwise;

/// Kernels with more taps run the definition.
pub(super) const MOST_TAPS: usize = 128;

/// Pixels, equally spaced, whose sums go over the same taps.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// Channels.
    pub c: usize,
    /// How many pixels.
    pub count: usize,
    /// Where the first pixel is written.
    pub to: usize,
    /// From one written pixel to the next.
    pub to_step: usize,
    /// From one read pixel to the next.
    pub from_step: usize,
    /// What each sum goes over.
    pub taps: &'a [Tap],
}

/// One tap of the first pixel of a line.
#[derive(Clone, Copy, Default)]
pub(super) struct Tap {
    /// Where its weights begin in `[tap, c]`.
    pub weight: usize,
    /// Where its pixel begins in what is read.
    pub from: usize,
}

impl Line<'_> {
    /// Whether everything is inside buffers of these lengths: weights, what is read, what is written.
    pub fn fits(&self, weights: usize, from: usize, to: usize) -> bool {
        let last = self.count.saturating_sub(1);
        let read = |tap: &Tap| tap.from + last * self.from_step + self.c <= from;
        self.to + last * self.to_step + self.c <= to
            && self
                .taps
                .iter()
                .all(|tap| tap.weight + self.c <= weights && read(tap))
    }
}

/// Calls `work` for the lines of a row of the output; reads are in `x`, writes in the row.
pub(super) fn forward_row(depthwise: &Depthwise, row: usize, mut work: impl FnMut(Line)) {
    let (image, y) = (row / depthwise.out_h(), row % depthwise.out_h());
    let [kh, _] = depthwise.kernel;
    let rows = (0..kh).filter_map(|ky| {
        let at = (y * depthwise.stride[0] + ky * depthwise.dilation[0])
            .checked_sub(depthwise.padding[0])?;
        (at < depthwise.h).then_some((ky, image * depthwise.h + at))
    });
    let across =
        |kx: usize| Some(signed(kx * depthwise.dilation[1]) - signed(depthwise.padding[1]));
    let phase = Phase {
        first: 0,
        step: 1,
        count: depthwise.out_w(),
        reach: depthwise.stride[1],
        size: depthwise.w,
    };
    phase.cut(depthwise, rows, across, &mut work);
}

/// Calls `work` for the lines of a row of the input; reads are in `dy`, writes in the row.
///
/// Pixels that are `stride` apart have the same taps, so each of the `stride` phases is a row of its own.
pub(super) fn backward_row(depthwise: &Depthwise, row: usize, mut work: impl FnMut(Line)) {
    let (image, y) = (row / depthwise.h, row % depthwise.h);
    let [kh, _] = depthwise.kernel;
    let [down, stride] = depthwise.stride;
    for first in 0..stride.min(depthwise.w) {
        let rows = (0..kh).filter_map(|ky| {
            let at = (y + depthwise.padding[0]).checked_sub(ky * depthwise.dilation[0])?;
            let inside = at % down == 0 && at / down < depthwise.out_h();
            inside.then_some((ky, image * depthwise.out_h() + at / down))
        });
        let across = |kx: usize| {
            let at = signed(first + depthwise.padding[1]) - signed(kx * depthwise.dilation[1]);
            (at.rem_euclid(signed(stride)) == 0).then_some(at.div_euclid(signed(stride)))
        };
        let count = (depthwise.w - first).div_ceil(stride);
        let phase = Phase {
            first,
            step: stride,
            count,
            reach: 1,
            size: depthwise.out_w(),
        };
        phase.cut(depthwise, rows, across, &mut work);
    }
}

fn signed(size: usize) -> isize {
    isize::try_from(size).expect("sizes fit, as the buffers do")
}

/// Pixels `first + j * step` that are written, which read pixels `base + j * reach` of `size`.
struct Phase {
    first: usize,
    step: usize,
    count: usize,
    reach: usize,
    size: usize,
}

impl Phase {
    fn cut(
        &self,
        depthwise: &Depthwise,
        rows: impl Iterator<Item = (usize, usize)> + Clone,
        across: impl Fn(usize) -> Option<isize>,
        work: &mut impl FnMut(Line),
    ) {
        let kw = depthwise.kernel[1];
        let c = depthwise.c;
        // Where all taps are inside: from the first pixel that the leftmost tap allows to the last that the rightmost does.
        let (mut start, mut end) = (0, self.count);
        for base in (0..kw).filter_map(&across) {
            let reach = signed(self.reach);
            let before = usize::try_from(-base).unwrap_or(0).div_ceil(self.reach);
            let last = (signed(self.size) - 1 - base).div_euclid(reach);
            start = start.max(before);
            end = end.min(usize::try_from(last + 1).unwrap_or(0));
        }
        let start = start.min(self.count);
        let end = end.clamp(start, self.count);
        let mut line = |from: usize, count: usize| {
            let mut taps = [Tap::default(); MOST_TAPS];
            let mut used = 0;
            for (ky, row) in rows.clone() {
                for kx in 0..kw {
                    let Some(base) = across(kx) else { continue };
                    let at = usize::try_from(base + signed(from * self.reach));
                    let Some(at) = at.ok().filter(|&at| at < self.size) else {
                        continue;
                    };
                    let weight = (ky * kw + kx) * c;
                    taps[used] = Tap {
                        weight,
                        from: (row * self.size + at) * c,
                    };
                    used += 1;
                }
            }
            let to = (self.first + from * self.step) * c;
            let (to_step, from_step) = (self.step * c, self.reach * c);
            work(Line {
                c,
                count,
                to,
                to_step,
                from_step,
                taps: &taps[..used],
            });
        };
        (0..start).for_each(|at| line(at, 1));
        if end > start {
            line(start, end - start);
        }
        (end..self.count).for_each(|at| line(at, 1));
    }
}
