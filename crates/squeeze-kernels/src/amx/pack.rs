//! The weight of a layer, split and laid out in tiles once.

use super::finish::COLUMNS;
use super::left::Left;
use super::{Element, Kernel, Line, Packed, STRIP, split};
use crate::Tier;
use crate::conv_f32::{Conv, by_tap};
use crate::gemm_i8::quantize;

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
            kernel: Kernel::of(tier),
            n,
            data: [].into(),
            scales: [].into(),
            offsets: offsets.into(),
        };
        let mut data = vec![Line([0; 64]); conv.groups * packed.group_bytes() / 64];
        let mut scales = match element {
            Element::I8 => vec![0.0; conv.groups * panels * COLUMNS],
            Element::Bf16 | Element::Bf16x3 | Element::Bf16x6 => vec![],
        };
        let by_tap = by_tap(conv, weight);
        let sum = weight.len() / conv.out;
        let mut column = vec![0.0; sum];
        for (out, weight) in by_tap.chunks_exact(sum).enumerate() {
            column.copy_from_slice(weight);
            let to = (&mut data[..], &mut scales[..]);
            packed.pack_column((out / n, out % n), &mut column, to);
        }
        (packed.data, packed.scales) = (data.into(), scales.into());
        packed
    }

    /// Splits the weights of one column, taps first, and puts them into their tiles.
    fn pack_column(
        &self,
        (group, at): (usize, usize),
        weight: &mut [f32],
        (data, scales): (&mut [Line], &mut [f32]),
    ) {
        let (parts, line) = (self.element.parts(), self.element.line());
        let conv = &self.left.conv;
        let k = conv.c / conv.groups;
        let lines = k.div_ceil(line);
        let panel = at / COLUMNS;
        let tiles = self.column_tiles(panel);
        let start = group * self.group_bytes() + panel * self.panel_bytes(2);
        let (tile, column) = (at % COLUMNS / STRIP, at % STRIP);
        let mut bytes = vec![0; weight.len()];
        if self.element == Element::I8 {
            let place = (group * self.n.div_ceil(COLUMNS) + panel) * COLUMNS + at % COLUMNS;
            scales[place] = quantize::weights(weight, &mut bytes);
        }
        // Numbers of a line that are neighbours of one column: 4 bytes.
        let neighbours = line / 16;
        for part in 0..parts {
            for (index, weight) in weight.iter_mut().enumerate() {
                let (tap, channel) = (index / k, index % k);
                let step = tap * lines + channel / line;
                let within = channel % line;
                let place = (within / neighbours) * 64
                    + column * 4
                    + within % neighbours * (4 / neighbours);
                let to = start + ((step * parts + part) * tiles + tile) * 1024 + place;
                let line = &mut data[to / 64].0[to % 64..];
                if self.element == Element::I8 {
                    line[0] = bytes[index] as u8;
                } else {
                    let (near, bits) = split::nearest(*weight);
                    line[..2].copy_from_slice(&bits.to_le_bytes());
                    *weight -= near;
                }
            }
        }
    }
}
