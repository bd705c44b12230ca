//! Convolutions of 3 x 3 taps and stride 1 with fewer multiplications (Winograd; Lavin and Gray 2016, "Fast Algorithms for
//! Convolutional Neural Networks"): tiles of the image and the weight are transformed, so that 2 x 2 or 4 x 4 outputs come from 16
//! or 36 products where the definition has 36 or 144.
//!
//! Where we differ: the 4 x 4 transform evaluates at 0, 2/3, -2/3, 3/2 and -3/2 instead of 0, 1, -1, 2 and -2, which costs as much and
//! halves the error; with dilation every phase of the image is one of its own; a block of tiles is transformed, multiplied by the tiles
//! of [`gemm_f32`] and transformed back while it is in the second cache.
//!
//! A NaN or infinity makes NaN of all outputs of the tiles that read it, also of those whose window does not.
//!
//! [`gemm_f32`]: crate::gemm_f32

pub(crate) mod grid;
pub mod scalar;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod transform;

use std::sync::Arc;

use crate::conv_f32::Conv;
use crate::gemm_f32::gradients::pack_weight;
use crate::gemm_f32::panels::Panels;
use crate::gemm_f32::product::{Output, Product, Strided};
use crate::gemm_f32::{self, Epilogue, Geometry};
use crate::slab::{Block, Slab};
use crate::{Cpu, SharedMut, Threads, Tier};
use grid::Grid;
use scalar::Matrices;
use transform::{Back, There};

/// How many outputs a tile has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// 2 x 2 outputs from 4 x 4 inputs.
    Two,
    /// 4 x 4 outputs from 6 x 6 inputs.
    Four,
}

impl Size {
    /// Both.
    pub const ALL: [Size; 2] = [Size::Two, Size::Four];

    /// Outputs of a tile, down or across.
    pub fn out(self) -> usize {
        match self {
            Size::Two => 2,
            Size::Four => 4,
        }
    }

    /// Inputs of a tile, down or across.
    fn read(self) -> usize {
        self.out() + 2
    }

    /// Products of a tile: how many matrices of weights there are.
    pub fn products(self) -> usize {
        self.read() * self.read()
    }
}

/// The rows of this family: name, size of the tiles, and tier.
pub const KERNELS: &[(&str, Size, Tier)] = &[
    ("f32_winograd_2x2_scalar", Size::Two, Tier::Scalar),
    ("f32_winograd_4x4_scalar", Size::Four, Tier::Scalar),
    ("f32_winograd_2x2_avx2", Size::Two, Tier::Avx2),
    ("f32_winograd_4x4_avx2", Size::Four, Tier::Avx2),
    ("f32_winograd_2x2_avx512", Size::Two, Tier::Avx512),
    ("f32_winograd_4x4_avx512", Size::Four, Tier::Avx512),
];

/// Transformed input and output of a block of tiles fill about so much of the second cache.
const BLOCK_BYTES: usize = 448 << 10;
/// Blocks of fewer tiles would read the weights too often.
const FEWEST_TILES: usize = 32;
/// Weights of fewer bytes stay in the second cache beside a block, so that a part may have fewer tiles.
const NEAR_BYTES: usize = 1 << 20;

/// Whether this family computes such a convolution.
pub fn computes(conv: &Conv) -> bool {
    conv.kernel == [3, 3] && conv.stride == [1, 1]
}

/// How many tiles cover the output.
pub fn tiles(conv: &Conv, size: Size) -> usize {
    Grid::new(conv, size).tiles()
}

/// The weight of a convolution, transformed and packed once.
#[derive(Clone)]
pub struct Packed {
    conv: Conv,
    grid: Grid,
    matrices: Matrices,
    tier: Tier,
    kernel: &'static gemm_f32::Kernel,
    panels: Panels,
    data: Arc<Block<f32>>,
    /// From one pixel of the output to the next.
    stride: usize,
}

impl Packed {
    /// Transforms and packs `weight`, `[out, c / groups, 3, 3]`.
    ///
    /// # Panics
    /// If the weight's length or the geometry is wrong, or the family does not compute it.
    pub fn pack(weight: &[f32], conv: &Conv, size: Size, tier: Tier) -> Packed {
        Packed::pack_in(weight, conv, size, tier, &Slab::default())
    }

    /// The same with the packed weight in a slab.
    ///
    /// # Panics
    /// As for [`Packed::pack`].
    pub fn pack_in(weight: &[f32], conv: &Conv, size: Size, tier: Tier, slab: &Slab) -> Packed {
        conv.check(usize::MAX, usize::MAX, weight.len());
        assert!(computes(conv), "{conv:?}: not 3 x 3 taps at stride 1");
        let matrices = Matrices::new(size);
        let mut transformed = vec![0.0; size.products() * weight.len() / 9];
        let step = weight.len() / 9;
        for (at, taps) in weight.as_chunks::<9>().0.iter().enumerate() {
            for (product, value) in matrices.weight(taps).enumerate() {
                transformed[product * step + at] = value;
            }
        }
        let kernel = gemm_f32::Kernel::of(tier);
        let (k, n) = (conv.c / conv.groups, conv.out / conv.groups);
        let g = Geometry::grouped(1, n, k, size.products() * conv.groups);
        let panels = Panels::new(kernel.width(), k, n);
        let mut data = slab.block(g.groups * panels.group_len());
        let cpu = Cpu {
            tier,
            threads: &Threads::new(1),
        };
        pack_weight(&g, &transformed, &panels, (&mut data, cpu));
        Packed {
            conv: *conv,
            grid: Grid::new(conv, size),
            matrices,
            tier,
            kernel,
            panels,
            data: Arc::new(data),
            stride: conv.out,
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

    /// The name that tables show.
    pub fn name(&self) -> &'static str {
        let fits = |row: &&(&str, Size, Tier)| row.1 == self.grid.size && row.2 <= self.tier;
        let row = KERNELS.iter().rev().find(fits);
        row.expect("the scalar row is always there").0
    }

    /// Bytes of the packed weight.
    pub fn bytes(&self) -> usize {
        size_of_val::<[f32]>(&self.data)
    }

    /// How many numbers a run on so many threads works in.
    pub fn scratch(&self, threads: usize) -> usize {
        self.most_parts().min(threads.max(1)) * self.room()
    }

    /// `y = activation(conv(x, weight) + bias + residual)`; allocates nothing.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry says, or `scratch` than [`Packed::scratch`].
    pub fn run(
        &self,
        x: &[f32],
        epilogue: &Epilogue,
        y: &mut [f32],
        scratch: &mut [f32],
        threads: &Threads,
    ) {
        if self.conv.output() == 0 {
            return;
        }
        self.check(x, epilogue, y);
        let (tiles, rows, room) = (self.grid.tiles(), self.kernel.rows(), self.room());
        let parts = threads.parts(self.conv.macs() / 2, self.most_parts());
        assert!(
            scratch.len() >= parts * room,
            "{self:?}: too little scratch"
        );
        let (y, scratch) = (SharedMut::new(y), SharedMut::new(scratch));
        let least = self.block().div_ceil(rows);
        threads.share(tiles.div_ceil(rows), (parts, least), &|part, own| {
            // SAFETY: each part has its own room.
            let room = unsafe { scratch.slice(part * room..(part + 1) * room) };
            let own = own.start * rows..(own.end * rows).min(tiles);
            for first in own.clone().step_by(self.block()) {
                let block = first..(first + self.block()).min(own.end);
                self.run_block(block, x, (epilogue, &y), room, threads);
            }
        });
    }

    /// Some tiles: there, products, back. Threads share each of the three where one block is all there is.
    fn run_block(
        &self,
        tiles: std::ops::Range<usize>,
        x: &[f32],
        (epilogue, y): (&Epilogue, &SharedMut<f32>),
        room: &mut [f32],
        threads: &Threads,
    ) {
        let Packed { conv, grid, .. } = self;
        let (k, n) = (self.panels.k, self.panels.n);
        let [there, back] = self.steps();
        let matrices = grid.size.products() * conv.groups;
        let (inputs, sums) = room.split_at_mut(matrices * there);
        let count = tiles.len();
        let share = |work: usize, each: &(dyn Fn(std::ops::Range<usize>) + Sync)| {
            let parts = match Threads::is_in_part() {
                true => 1,
                false => threads.parts(work, count),
            };
            let least = threads.least(work, count);
            threads.share(count, (parts, least), &|_, own| {
                each(tiles.start + own.start..tiles.start + own.end);
            });
        };
        let to = SharedMut::new(inputs);
        share(4 * matrices * k * count, &|own| {
            let job = There {
                conv,
                grid,
                matrices: &self.matrices,
                x,
                first: tiles.start,
                step: there,
            };
            transform::there(self.tier, &job, own, &to);
        });
        let source = Strided {
            data: inputs,
            row: k,
            group: there,
            k,
        };
        let product = Product {
            kernel: self.kernel,
            m: count,
            groups: matrices,
            panels: self.panels,
            source: &source,
            b: &self.data,
            output: Output {
                row: n,
                group: back,
            },
            epilogue: Epilogue::default(),
        };
        product.run(sums, threads);
        let sums = &*sums;
        share(4 * matrices * n * count, &|own| {
            let job = Back {
                conv,
                grid,
                matrices: &self.matrices,
                sums,
                first: tiles.start,
                step: back,
                stride: self.stride,
                epilogue,
            };
            transform::back(self.tier, &job, own, y);
        });
    }

    /// Tiles that pass at a time: whole tiles of the product, as many as stay in the second cache.
    fn block(&self) -> usize {
        let rows = self.kernel.rows();
        let bytes = 4 * self.grid.size.products() * (self.conv.c + self.conv.out);
        let most = (BLOCK_BYTES / bytes).max(FEWEST_TILES) / rows * rows;
        most.max(rows).min(self.grid.tiles().next_multiple_of(rows))
    }

    /// Parts that are worth a pass over the weights of their own.
    fn most_parts(&self) -> usize {
        let fewest = match self.bytes() <= NEAR_BYTES {
            true => FEWEST_TILES / 4 * 3,
            false => FEWEST_TILES,
        };
        (self.grid.tiles() / fewest).max(1)
    }

    /// From one matrix of transformed inputs to the next, and the same of sums. The line between keeps the matrices from falling on the
    /// same sets of the cache.
    fn steps(&self) -> [usize; 2] {
        [self.panels.k, self.panels.n].map(|width| {
            let step = (self.block() * width).next_multiple_of(16);
            if (step / 16).is_multiple_of(2) {
                step + 16
            } else {
                step
            }
        })
    }

    /// Numbers that one part works in.
    fn room(&self) -> usize {
        let [there, back] = self.steps();
        self.grid.size.products() * self.conv.groups * (there + back)
    }

    fn check(&self, x: &[f32], epilogue: &Epilogue, y: &[f32]) {
        let conv = &self.conv;
        conv.check(x.len(), usize::MAX, conv.weight());
        let needed = (conv.pixels() - 1) * self.stride + conv.out;
        assert!(
            y.len() >= needed,
            "{conv:?}: {} outputs are too few",
            y.len()
        );
        epilogue.check(conv.out, needed);
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({:?}, {})", self.conv, self.name())
    }
}
