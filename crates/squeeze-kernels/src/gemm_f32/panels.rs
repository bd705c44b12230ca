//! How the right side of a product is packed: group by group, in panels of whole registers, each `[k, width]` in the order of use, or
//! register by register, each `[k, lanes]`.

use std::ops::Range;

use super::PANEL;
use crate::elementwise::transpose::interleave;
use crate::vector::{Vector, per_tier};
use crate::{Tier, even};

/// The panels of one matrix `[k, n]` a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panels {
    /// Rows: the length of the sums.
    pub k: usize,
    /// Columns of one group.
    pub n: usize,
    lanes: usize,
    /// Registers across all columns of one group.
    across: usize,
    /// Panels of one group.
    pub count: usize,
    /// Whether the registers of a panel lie apart.
    apart: bool,
}

/// Where a matrix `[k, n]` lies in a slice: the steps from one k and from one column to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub data: &'a [f32],
    pub k_step: usize,
    pub n_step: usize,
}

/// What tiles ask for while they are computed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ahead {
    /// From the start of a block to the start of the next one.
    start: usize,
    each_k: usize,
    each_tile: usize,
    /// How many numbers of the next block lie side by side, and from their first one to the first of the next such piece.
    piece: (usize, usize),
}

impl Ahead {
    /// What a tile asks for: from the start of its block, and how far on for each k and for each tile behind it.
    pub(crate) fn of(&self, tile: usize) -> [usize; 3] {
        let (passed, (piece, apart)) = (tile * self.each_tile, self.piece);
        // Gradients of no rows are sums of nothing, which have no pieces.
        let piece = piece.max(1);
        let start = self.start + passed / piece * apart + passed % piece;
        [start, self.each_k, self.each_tile]
    }
}

impl Panels {
    /// As few panels as the widest tile, `most` registers of `lanes`, allows, and these as equal as whole registers can be.
    pub(crate) fn new((lanes, most): (usize, usize), k: usize, n: usize) -> Panels {
        let registers = n.div_ceil(lanes);
        Panels {
            k,
            n,
            lanes,
            across: registers,
            count: registers.div_ceil(most),
            apart: false,
        }
    }

    /// The same panels with the registers of each one behind the other: numbers of [`PANEL`] columns side by side are packed so, whole ones,
    /// for registers as wide. `None` for others.
    pub(crate) fn of_whole(self) -> Option<Panels> {
        let panel = self.registers(0).len() * self.lanes;
        let apart = self.lanes == PANEL;
        let fits = self.n.is_multiple_of(PANEL) && (apart || panel == PANEL);
        fits.then_some(Panels { apart, ..self })
    }

    /// From one register of a panel to the next, where they lie apart.
    pub(crate) fn apart(&self) -> Option<usize> {
        self.apart.then_some(self.lanes * self.k)
    }

    /// Where so much of k of panel `index` lies within its group: up to the end of the last register's, where they lie apart.
    pub(crate) fn block(&self, index: usize, k: Range<usize>) -> Range<usize> {
        let (start, width) = (self.start(index), self.width(index));
        match self.apart() {
            None => start + k.start * width..start + k.end * width,
            Some(apart) => {
                let last = start + (self.registers(index).len() - 1) * apart;
                start + k.start * self.lanes..last + k.end * self.lanes
            }
        }
    }

    /// The group and the panel within it of a panel that is counted over all groups.
    pub(crate) fn place(&self, panel: usize) -> (usize, usize) {
        match self.count {
            1 => (panel, 0),
            count => (panel / count, panel % count),
        }
    }

    /// The registers of panel `index`.
    pub(crate) fn registers(&self, index: usize) -> Range<usize> {
        match self.count {
            1 => 0..self.across,
            count => even(self.across, count, index),
        }
    }

    /// The columns of panel `index` that exist.
    pub(crate) fn columns(&self, index: usize) -> Range<usize> {
        let registers = self.registers(index);
        registers.start * self.lanes..(registers.end * self.lanes).min(self.n)
    }

    /// How wide panel `index` is with its padding.
    pub(crate) fn width(&self, index: usize) -> usize {
        self.registers(index).len() * self.lanes
    }

    /// Where panel `index` of a group starts within the group.
    pub(crate) fn start(&self, index: usize) -> usize {
        self.registers(index).start * self.lanes * self.k
    }

    /// What so many tiles ask for over that block: a part of the next one each.
    pub(crate) fn ahead(&self, index: usize, k: Range<usize>, tiles: usize) -> Ahead {
        let width = self.width(index);
        let (start, piece) = match self.apart() {
            None => (k.len() * width, (k.len() * width, k.len() * width)),
            Some(apart) => {
                let start = match k.end == self.k {
                    true => self.registers(index).len() * apart - k.start * self.lanes,
                    false => k.len() * self.lanes,
                };
                (start, (k.len() * self.lanes, apart))
            }
        };
        let each_k = width.div_ceil(tiles);
        Ahead {
            start,
            each_k,
            each_tile: each_k * k.len(),
            piece,
        }
    }

    /// How many matrices `[k, width]` a group is made of: panels, or their registers where these lie apart.
    pub(crate) fn pieces(&self) -> usize {
        if self.apart { self.across } else { self.count }
    }

    /// Where one of them lies within its group, and its width.
    pub(crate) fn piece(&self, index: usize) -> (Range<usize>, usize) {
        let (start, width) = match self.apart {
            true => (index * self.lanes * self.k, self.lanes),
            false => (self.start(index), self.width(index)),
        };
        (start..start + width * self.k, width)
    }

    /// How many numbers one group takes.
    pub(crate) fn group_len(&self) -> usize {
        self.across * self.lanes * self.k
    }

    /// Whether parts should share `rows` rows, the busiest `most` of them, each with the panels of all groups, or else the panels, each
    /// with all rows: what is preferred, unless the other way the busiest part has a tenth less to do.
    pub(crate) fn split_by_rows(
        &self,
        (rows, most): (usize, usize),
        (groups, parts): (usize, usize),
        prefer_rows: bool,
    ) -> bool {
        let columns = |unit: usize| match self.place(unit) {
            (group, 0) => group * self.n,
            (group, index) => group * self.n + self.columns(index).start,
        };
        let units = (0..parts).map(|part| even(groups * self.count, parts, part));
        let busiest = units.map(|units| columns(units.end) - columns(units.start));
        let by_rows = most * groups * self.n;
        let by_columns = rows * busiest.max().unwrap_or(0);
        match prefer_rows {
            true => 9 * by_rows <= 10 * by_columns,
            false => 10 * by_rows < 9 * by_columns,
        }
    }

    /// Packs rows `rows` of panel `index` into its place within the group's slice; columns that do not exist become zeros. The
    /// view begins at the first of these rows and at column 0.
    pub(crate) fn pack(
        &self,
        (panel, index): (&mut [f32], usize),
        rows: Range<usize>,
        view: View,
        tier: Tier,
    ) {
        let (columns, width) = (self.columns(index), self.width(index));
        let panel = &mut panel[rows.start * width..rows.end * width];
        let from = columns.start * view.n_step;
        if view.n_step == 1 {
            for (k, to) in panel.chunks_exact_mut(width).enumerate() {
                let (used, padding) = to.split_at_mut(columns.len());
                used.copy_from_slice(&view.data[k * view.k_step + from..][..columns.len()]);
                padding.fill(0.0);
            }
            return;
        }
        let view = View {
            data: &view.data[from..],
            ..view
        };
        turn(tier, view, columns.len(), (panel, width));
    }
}

per_tier! {
    /// Writes columns that lie `n_step` apart side by side, and zeros up to the width of the panel.
    pub(crate) fn turn(view: View, columns: usize, panel: (&mut [f32], usize))
    { scalar: scalar_turn, vector: vector_turn }
}

fn scalar_turn(view: View, columns: usize, (panel, width): (&mut [f32], usize)) {
    // Sixteen rows at a time: the lines of the panel stay near while each column's are read.
    for (block, panel) in panel.chunks_mut(16 * width).enumerate() {
        if columns < width {
            panel.fill(0.0);
        }
        for column in 0..columns {
            let from = &view.data[column * view.n_step + block * 16 * view.k_step..];
            for (k, to) in panel.chunks_exact_mut(width).enumerate() {
                to[column] = from[k * view.k_step];
            }
        }
    }
}

/// Squares of a vector each way where k lies side by side: a register a column of the panel, transposed.
#[inline(always)]
fn vector_turn<V: Vector>(view: View, columns: usize, (panel, width): (&mut [f32], usize)) {
    if view.k_step != 1 || !width.is_multiple_of(V::LANES) {
        return scalar_turn(view, columns, (panel, width));
    }
    // A trait's constant cannot be the length of an array: 16 lanes are AVX-512, 8 are AVX2.
    match V::LANES {
        16 => squares::<V, 16>(view, columns, (panel, width)),
        _ => squares::<V, 8>(view, columns, (panel, width)),
    }
}

#[inline(always)]
fn squares<V: Vector, const L: usize>(
    view: View,
    columns: usize,
    (panel, width): (&mut [f32], usize),
) {
    let rows = panel.len() / width;
    for left in (0..width).step_by(L) {
        let used = columns.saturating_sub(left).min(L);
        for k in (0..rows).step_by(L) {
            let height = L.min(rows - k);
            let mut registers = [V::splat(0.0); L];
            for (column, register) in registers.iter_mut().enumerate().take(used) {
                let from = &view.data[(left + column) * view.n_step + k..];
                *register = V::load_part(&from[..height]);
                // As many streams are more than the CPU looks ahead for: the next columns' numbers lie behind these.
                V::prefetch(from.as_ptr().wrapping_add(L * view.n_step));
            }
            interleave(&mut registers);
            for (row, register) in registers.into_iter().enumerate().take(height) {
                register.store(&mut panel[(k + row) * width + left..]);
            }
        }
    }
}
