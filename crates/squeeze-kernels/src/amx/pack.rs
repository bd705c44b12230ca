//! The weight of a layer, split and laid out in tiles once.

use std::borrow::Cow;
use std::sync::Arc;

use super::finish::COLUMNS;
use super::left::Left;
use super::{Element, Kernel, Line, Packed, STRIP, half, split};
use crate::Tier;
use crate::conv_f32::{Conv, by_tap};
use crate::gemm_f32::panels::{self, View};
use crate::slab::{Block, Slab};

impl Packed {
    /// Packs `weight`, `[out, c / groups, kh, kw]`, for pixels that lie `lda` and `ldc` numbers apart.
    ///
    /// # Panics
    /// If the weight's length or the geometry is wrong, or a window has more than [`MOST_TAPS`](super::MOST_TAPS) taps.
    pub fn pack(
        weight: &[f32],
        conv: &Conv,
        (lda, ldc): (usize, usize),
        element: Element,
        tier: Tier,
    ) -> Packed {
        Packed::pack_in(weight, conv, (lda, ldc), (element, tier), &Slab::default())
    }

    /// The same with the packed weight in a slab.
    ///
    /// # Panics
    /// As for [`Packed::pack`].
    pub fn pack_in(
        weight: &[f32],
        conv: &Conv,
        (lda, ldc): (usize, usize),
        (element, tier): (Element, Tier),
        slab: &Slab,
    ) -> Packed {
        conv.check(usize::MAX, usize::MAX, weight.len());
        assert!(lda >= conv.c && ldc >= conv.out, "{conv:?}: pixels overlap");
        let left = Left::new(conv, lda, element);
        let offsets = left.offsets();
        let n = conv.out / conv.groups;
        let panels = n.div_ceil(COLUMNS);
        let mut packed = Packed {
            left,
            ldc,
            element,
            kernel: Kernel::of(tier, element),
            n,
            data: Arc::new(slab.block(0)),
            scales: [].into(),
            offsets: offsets.into(),
        };
        let mut data: Block<Line> = slab.block(conv.groups * packed.group_bytes() / 64);
        let mut scales = match element.is_scaled() {
            true => vec![0.0; conv.groups * panels * COLUMNS],
            false => vec![],
        };
        let by_tap = match packed.offsets.len() > packed.left.tap_lines() {
            true => Cow::Owned(by_tap(conv, weight)),
            false => Cow::Borrowed(weight),
        };
        let sum = weight.len() / conv.out;
        let step_bytes = 64 * element.parts();
        let each = packed.offsets.len() * step_bytes;
        let mut lines = vec![Line([0; 64]); STRIP * each / 64];
        for group in 0..conv.groups {
            for first in (0..n).step_by(STRIP) {
                let columns = first..(first + STRIP).min(n);
                let of_columns = Line::bytes_mut(&mut lines).chunks_exact_mut(each);
                for (line, at) in of_columns.zip(columns.clone()) {
                    let weight = &by_tap[(group * n + at) * sum..][..sum];
                    let scale = packed.split_column(weight, line);
                    if let Some(to) = scales.get_mut(group * panels * COLUMNS + at) {
                        *to = scale;
                    }
                }
                let panel = first / COLUMNS;
                let start = group * packed.group_bytes() + panel * packed.panel_bytes(2);
                let to =
                    &mut data[start / 64..][..packed.panel_bytes(packed.column_tiles(panel)) / 64];
                packed.deal(&lines, columns.len(), first % COLUMNS / STRIP, to);
            }
        }
        (packed.data, packed.scales) = (Arc::new(data), scales.into());
        packed
    }

    /// Splits the weights of one column, taps first, into lines `[parts][steps][64]`; gives their scale.
    fn split_column(&self, weight: &[f32], lines: &mut [u8]) -> f32 {
        let conv = &self.left.conv;
        let (k, tap_lines) = (conv.c / conv.groups, self.left.tap_lines());
        let taps = weight.len() / k;
        if !self.element.is_scaled() {
            let rows = split::Rows {
                lda: k,
                groups: 1,
                k,
                lines: tap_lines,
                pixel: 64 * tap_lines,
                plane: 64 * self.offsets.len(),
                parts: self.element.parts(),
            };
            assert_eq!(lines.len(), rows.parts * rows.plane);
            // SAFETY: the lines are ours, and hold all parts of all taps.
            unsafe { rows.split(Tier::detect(), weight, taps, lines.as_mut_ptr()) };
            return 1.0;
        }
        let tier = Tier::detect();
        let scale = half::scale(split::largest(tier, weight), half::RIGHT);
        let taps = lines
            .chunks_exact_mut(64 * tap_lines)
            .zip(weight.chunks_exact(k));
        for (line, weight) in taps {
            split::halves(tier, weight, split::factor(scale), line);
        }
        scale
    }

    /// Deals the lines of up to 16 columns out to one column of tiles of a panel: four bytes of each column in turn.
    fn deal(&self, lines: &[Line], columns: usize, tile: usize, to: &mut [Line]) {
        let (steps, parts) = (self.offsets.len(), self.element.parts());
        let tiles = to.len() / (16 * steps * parts);
        for step in 0..steps {
            for part in 0..parts {
                let to = &mut to[16 * ((step * parts + part) * tiles + tile)..][..16];
                let words = View {
                    data: Line::words(&lines[part * steps + step..]),
                    k_step: 1,
                    n_step: 16 * parts * steps,
                };
                let to = (Line::words_mut(to), STRIP);
                panels::turn(self.kernel.tier, words, columns, to);
            }
        }
    }
}

impl Line {
    fn bytes_mut(lines: &mut [Line]) -> &mut [u8] {
        // SAFETY: a line is 64 bytes, of which any are.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), 64 * lines.len()) }
    }

    /// Four bytes each, as numbers that are only moved.
    fn words(lines: &[Line]) -> &[f32] {
        // SAFETY: a line is 16 times four bytes and aligned to them; any four bytes are a number.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), 16 * lines.len()) }
    }

    fn words_mut(lines: &mut [Line]) -> &mut [f32] {
        // SAFETY: as in `words`, and the lines are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), 16 * lines.len()) }
    }
}
