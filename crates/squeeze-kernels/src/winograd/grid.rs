//! Which tile covers which outputs and reads which inputs.

use super::Size;
use crate::conv_f32::Conv;

/// The tiles of all images. With dilation the pixels of one phase (row and column modulo the dilation) make an image of their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
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
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub image: usize,
    pub at: [usize; 2],
    pub exist: [usize; 2],
}

impl Grid {
    pub fn new(conv: &Conv, size: Size) -> Grid {
        let extent = [conv.out_h(), conv.out_w()];
        let of = |axis: usize| extent[axis].div_ceil(conv.dilation[axis]);
        Grid {
            size,
            images: conv.n,
            extent,
            dilation: conv.dilation,
            count: [0, 1].map(|axis| of(axis).div_ceil(size.out())),
            phases: [0, 1].map(|axis| conv.dilation[axis].min(extent[axis])),
        }
    }

    pub fn tiles(&self) -> usize {
        let all = self.count.iter().chain(&self.phases);
        all.product::<usize>() * self.images
    }

    pub fn place(&self, tile: usize) -> Place {
        let [down, across] = [0, 1].map(|axis| self.count[axis] * self.phases[axis]);
        let index = [tile / across % down, tile % across];
        let at = [0, 1].map(|axis| {
            let (phase, tile) = (index[axis] / self.count[axis], index[axis] % self.count[axis]);
            phase + tile * self.size.out() * self.dilation[axis]
        });
        // A later phase may be a pixel shorter than the first one, and its last tile then have none.
        let exist = [0, 1].map(|axis| {
            let left = self.extent[axis].saturating_sub(at[axis]);
            left.div_ceil(self.dilation[axis]).min(self.size.out())
        });
        Place {
            image: tile / across / down,
            at,
            exist,
        }
    }
}
