//! Which tile covers which outputs and reads which inputs.

use super::Size;
use crate::conv_f32::Conv;

/// The tiles of all images. With dilation the pixels of one phase (row and column modulo the dilation) make an image of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub size: Size,
    /// Images, rows and columns of the output.
    images: usize,
    extent: [usize; 2],
    /// Pixels from one pixel of a tile to the next.
    dilation: [usize; 2],
    /// Tiles of one phase, down and across.
    count: [usize; 2],
    /// Phases that have pixels, down and across.
    phases: [usize; 2],
}

/// The first output pixel of a tile, and how many of its rows and columns exist.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub image: usize,
    pub at: [usize; 2],
    pub exist: [usize; 2],
}

impl Grid {
    pub fn new(conv: &Conv, size: Size) -> Grid {
        let extent = [conv.out_h(), conv.out_w()];
        let of = |axis: usize| extent[axis].div_ceil(conv.dilation[axis]);
        let grid = Grid {
            size,
            images: conv.n,
            extent,
            dilation: conv.dilation,
            count: [0, 1].map(|axis| of(axis).div_ceil(size.out())),
            phases: [0, 1].map(|axis| conv.dilation[axis].min(extent[axis])),
        };
        assert!(
            u32::try_from(grid.tiles() + conv.dilation[0].max(conv.dilation[1])).is_ok(),
            "{conv:?}: tiles are counted in 32 bits"
        );
        grid
    }

    pub fn tiles(&self) -> usize {
        let all = self.count.iter().chain(&self.phases);
        all.product::<usize>() * self.images
    }

    #[inline(always)]
    pub fn place(&self, tile: usize) -> Place {
        let [down, across] = [0, 1].map(|axis| self.count[axis] * self.phases[axis]);
        let (above, column) = divide(tile, across);
        let (image, row) = divide(above, down);
        let mut at = [row, column];
        let mut exist = [0; 2];
        for axis in 0..2 {
            let (dilation, out) = (self.dilation[axis], self.size.out());
            let (phase, tile) = match self.phases[axis] {
                1 => (0, at[axis]),
                _ => divide(at[axis], self.count[axis]),
            };
            at[axis] = phase + tile * out * dilation;
            // A later phase may be a pixel shorter than the first one, and its last tile then have none.
            let left = self.extent[axis].saturating_sub(at[axis]);
            exist[axis] = match left >= out * dilation {
                true => out,
                false => divide(left + dilation - 1, dilation).0,
            };
        }
        Place { image, at, exist }
    }
}

/// Quotient and rest of tile numbers, in 32 bits: half the time of 64.
#[inline(always)]
fn divide(number: usize, by: usize) -> (usize, usize) {
    let (number, by) = (number as u32, by as u32);
    ((number / by) as usize, (number % by) as usize)
}
