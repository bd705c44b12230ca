//! Convolutions of 3 x 3 taps and stride 1 over images in bytes with fewer multiplications (Winograd; Lavin and Gray 2016, "Fast Algorithms
//! for Convolutional Neural Networks"): tiles of the image and the weight are transformed, so that 2 x 2 outputs come from 16 products where
//! the definition has 36.
//!
//! Where we differ: all of it is in whole numbers. A transformed input is a sum of four bytes, a transformed weight, four times as large as in
//! the paper, one of nine at most: both fit into 16 bits, and a quarter of the sum of their products is the very sum that [`conv_i8`] computes,
//! so that both families write the same bytes. A block of tiles is transformed and stays in the second cache; then each panel of columns is
//! multiplied and transformed back while its sums are in the first.
//!
//! [`conv_i8`]: crate::conv_i8

#[cfg(target_arch = "x86_64")]
mod avx2;
mod scalar;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use crate::conv_f32::Conv;
use crate::gemm_i8::codes::{Fixed, ToBytes};
use crate::slab::{Block, Slab};
use crate::winograd::grid::{Grid, Place};
use crate::winograd::transform::{pixels, written};
use crate::winograd::{self, Size};
use crate::{SharedMut, Threads, Tier, Weight};

/// Products of a tile.
const PRODUCTS: usize = 16;
/// Columns of a panel, and channels that are transformed together.
const WIDTH: usize = 16;
/// Rows of the largest tile of a product.
const ROWS: usize = 6;
/// Transformed inputs of a block fill about so much of the second cache.
const BLOCK_BYTES: usize = 384 << 10;
/// The most tiles of a block.
const MOST_TILES: usize = 20 * ROWS;
/// The most channels of a sum: four times the sum fits into 32 bits.
const MOST_CHANNELS: usize = 1792;

/// A row of the family table.
pub struct Kernel {
    /// The name that tables show.
    pub name: &'static str,
    /// The instructions it needs.
    pub tier: Tier,
    there: unsafe fn(&There),
    product: unsafe fn(&Product),
    back: unsafe fn(&Back),
}

/// The kernels of this family, in rising order of tiers. None is written for wider vectors, where windows as they are gain more.
#[cfg(target_arch = "x86_64")]
pub const KERNELS: &[Kernel] = &[scalar::KERNEL, avx2::KERNEL];
/// The kernels of this family, in rising order of tiers.
#[cfg(not(target_arch = "x86_64"))]
pub const KERNELS: &[Kernel] = &[scalar::KERNEL];

/// Where a tile's inputs lie: of each tap the first channel, or for padding channels of zero; and which bits of a channel's number count.
type Taps = [[(*const u8, usize); 4]; 4];

/// The input's transform of a tile: `[products]`, `step` numbers apart, each of all channels.
struct There {
    taps: Taps,
    channels: usize,
    zero: u8,
    to: *mut i16,
    step: usize,
}

/// The products of one panel: sums `[products][tiles][WIDTH]` of transformed inputs `[products][tiles]`, in which tiles lie `row` and products
/// `step` numbers apart, and weights `[products][k / 2][WIDTH][2]`.
struct Product {
    tiles: usize,
    k: usize,
    a: *const i16,
    row: usize,
    step: usize,
    b: *const i8,
    to: *mut i32,
    /// From one product's sums to the next.
    to_step: usize,
}

/// The transform back of one tile of a panel.
struct Back<'a> {
    sums: *const i32,
    step: usize,
    /// Of the panel's columns.
    scales: *const f32,
    bias: *const f32,
    limits: (f32, f32),
    factor: f32,
    place: &'a Place,
    /// The first pixel's bytes of the panel's columns, and from one pixel to the next, down and across.
    to: *mut u8,
    next: [usize; 2],
    /// As `to`, or null.
    residual: *const u8,
}

/// Whether this family computes such a convolution.
pub fn computes(conv: &Conv) -> bool {
    let of_group = [conv.c, conv.out].map(|all| all / conv.groups);
    winograd::computes(conv)
        && of_group.iter().all(|count| count.is_multiple_of(WIDTH))
        && of_group[0] <= MOST_CHANNELS
}

/// The weight of a convolution, transformed and packed once.
#[derive(Clone)]
pub struct Packed {
    conv: Conv,
    grid: Grid,
    kernel: &'static Kernel,
    /// The byte of zero of the image.
    zero: u8,
    /// `[panels][products][k / 2][WIDTH]`, each two numbers of 16 bits.
    data: Arc<Block<[i8; 4]>>,
    scales: Arc<[f32]>,
    to_bytes: ToBytes,
    /// From one pixel of the output to the next.
    stride: usize,
}

impl Packed {
    /// Transforms and packs `weight`, `[out, c / groups, 3, 3]`, in a slab.
    ///
    /// # Panics
    /// If the weight's length or the geometry is wrong, the family does not compute it, numbers go out, or the activation is more than limits.
    pub fn pack_fixed(
        weight: Weight,
        conv: &Conv,
        fixed: &Fixed,
        tier: Tier,
        slab: &Slab,
    ) -> Packed {
        conv.check(usize::MAX, usize::MAX, weight.len());
        assert!(computes(conv), "{conv:?}: of another family");
        let output = fixed.codes.output.expect("bytes go out");
        let bias = fixed
            .bias
            .map_or_else(|| vec![0.0; conv.out], |bias| bias[..conv.out].to_vec());
        let (to_bytes, scale) = ToBytes::new(bias, fixed, output);
        assert!(to_bytes.curve.is_none(), "{:?}", fixed.activation);
        let (bytes, mut scales) = weight.in_rows(conv.out, 9);
        for row in &mut scales {
            *row = *row * (fixed.codes.input.scale * scale) / 4.0;
        }
        let k = conv.c / conv.groups;
        let mut data: Block<[i8; 4]> = slab.block(conv.out * PRODUCTS * k / 2);
        for (out, row) in bytes.chunks_exact(9 * k).enumerate() {
            let panel = out / WIDTH * PRODUCTS;
            for (channel, taps) in row.as_chunks().0.iter().enumerate() {
                for (product, value) in transformed(taps).into_iter().enumerate() {
                    let pair = ((panel + product) * (k / 2) + channel / 2) * WIDTH + out % WIDTH;
                    let half = 2 * (channel % 2);
                    data[pair][half..half + 2]
                        .copy_from_slice(&value.to_le_bytes().map(|b| b as i8));
                }
            }
        }
        let fits = |kernel: &&Kernel| kernel.tier <= tier && kernel.tier.is_present();
        let kernel = KERNELS.iter().rev().find(fits);
        Packed {
            conv: *conv,
            grid: Grid::new(conv, Size::Two),
            kernel: kernel.expect("the scalar kernel runs everywhere"),
            zero: fixed.codes.input.zero,
            data: Arc::new(data),
            scales: scales.into(),
            to_bytes,
            stride: conv.out,
        }
    }

    /// The same for an output whose pixels lie `stride` bytes apart: part of a wider image.
    ///
    /// # Panics
    /// If pixels would overlap.
    pub fn with_stride(self, stride: usize) -> Packed {
        assert!(stride >= self.conv.out, "{:?}: pixels overlap", self.conv);
        Packed { stride, ..self }
    }

    /// The kernel that runs it.
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// Bytes of the packed weight with its scales.
    pub fn bytes(&self) -> usize {
        4 * self.data.len() + 4 * self.scales.len() + self.to_bytes.bytes()
    }

    /// How many numbers a run on so many threads works in.
    pub fn scratch(&self, threads: usize) -> usize {
        let [outer, inner] = self.share(threads);
        outer * PRODUCTS * (self.step() / 2 + inner.min(self.panels()) * self.sums_step())
    }

    /// How many parts have blocks of their own, and how many share the panels of a block: so many threads do the one where there are enough
    /// blocks, else the other.
    fn share(&self, threads: usize) -> [usize; 2] {
        let threads = threads.max(1);
        match self.grid.tiles() / MOST_TILES >= threads {
            true => [threads, 1],
            false => [1, threads],
        }
    }

    fn panels(&self) -> usize {
        self.conv.out / WIDTH
    }

    /// The most tiles that pass together.
    fn block(&self) -> usize {
        let most = BLOCK_BYTES / (2 * PRODUCTS * self.conv.c) / ROWS * ROWS;
        let most = most.clamp(ROWS, MOST_TILES);
        // As many in every block.
        self.grid
            .tiles()
            .div_ceil(self.grid.tiles().div_ceil(most).max(1))
    }

    /// From one product's inputs to the next, in numbers of 16 bits. The line between keeps them from falling on the same sets of the cache.
    fn step(&self) -> usize {
        self.block() * self.conv.c + 32
    }

    /// The same of the sums of a panel, in numbers of 32 bits.
    fn sums_step(&self) -> usize {
        self.block() * WIDTH + 16
    }

    /// `y = byte(activation(conv(x, weight) + bias + residual))`; allocates nothing.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry or [`Packed::scratch`] says, or there is no residual where one was packed for.
    pub fn run_bytes(
        &self,
        x: &[u8],
        y: &mut [u8],
        residual: Option<&[u8]>,
        scratch: &mut [f32],
        threads: &Threads,
    ) {
        let conv = &self.conv;
        if conv.output() == 0 {
            return;
        }
        let needed = (conv.pixels() - 1) * self.stride + conv.out;
        assert!(x.len() >= conv.input() && y.len() >= needed, "{conv:?}");
        assert_eq!(
            residual.is_some(),
            self.to_bytes.factor.is_some(),
            "a residual"
        );
        assert!(residual.is_none_or(|residual| residual.len() >= needed));
        let scratch = &mut scratch[..self.scratch(threads.count())];
        let [parts, inner] = self.share(threads.count());
        let room = scratch.len() / parts;
        let (y, rooms) = (&SharedMut::new(y), SharedMut::new(scratch));
        threads.share(self.grid.tiles(), (parts, self.block()), &|part, tiles| {
            // SAFETY: each part has its own room.
            let room = unsafe { rooms.slice(part * room..(part + 1) * room) };
            self.blocks(tiles, x, (y, residual), room, (threads, inner));
        });
    }

    /// Computes some tiles, block by block, each in so many parts at most.
    fn blocks(
        &self,
        tiles: Range<usize>,
        x: &[u8],
        to: (&SharedMut<u8>, Option<&[u8]>),
        room: &mut [f32],
        (threads, most): (&Threads, usize),
    ) {
        let conv = &self.conv;
        let (inputs, sums) = room.split_at_mut(PRODUCTS * self.step() / 2);
        let (inputs, sums) = (&SharedMut::new(inputs), &SharedMut::new(sums));
        for first in tiles.clone().step_by(self.block()) {
            let block = first..(first + self.block()).min(tiles.end);
            let transforms = block.len() * PRODUCTS * conv.c;
            let count = threads.parts(transforms / 4, most.min(block.len()));
            let least = threads.least(transforms / 4, block.len());
            threads.share(block.len(), (count, least), &|_, own| {
                let own = first + own.start..first + own.end;
                self.there(x, own, first, inputs);
            });
            let macs = block.len() * PRODUCTS * conv.out * (conv.c / conv.groups);
            // Products of 16 bits take about half of the time of those of single precision.
            let count = threads.parts(macs / 2, most.min(self.panels()));
            let room = PRODUCTS * self.sums_step();
            let least = threads.least(macs / 2, self.panels());
            threads.share(self.panels(), (count, least), &|part, own| {
                // SAFETY: each part has its own room.
                let room = unsafe { sums.slice(part * room..(part + 1) * room) };
                self.part(own, &block, inputs, room.as_mut_ptr().cast(), to);
            });
        }
    }

    /// Transforms the inputs of some tiles of the block that begins with `first`.
    fn there(&self, x: &[u8], tiles: Range<usize>, first: usize, inputs: &SharedMut<f32>) {
        let conv = &self.conv;
        let zeros = [self.zero; WIDTH];
        for tile in tiles {
            let job = There {
                taps: pixels(conv, &self.grid.place(tile), x, &zeros),
                channels: conv.c,
                zero: self.zero,
                to: inputs
                    .pointer()
                    .cast::<i16>()
                    .wrapping_add((tile - first) * conv.c),
                step: self.step(),
            };
            // SAFETY: the machine has the kernel's tier; taps are pixels of `c` bytes or `WIDTH` zeros, the scratch has room for all tiles of a
            // block, and no other part has this one.
            unsafe { (self.kernel.there)(&job) };
        }
    }

    /// Computes some panels of a block of tiles whose inputs are transformed.
    fn part(
        &self,
        panels: Range<usize>,
        tiles: &Range<usize>,
        inputs: &SharedMut<f32>,
        sums: *mut i32,
        (y, residual): (&SharedMut<u8>, Option<&[u8]>),
    ) {
        let conv = &self.conv;
        let k = conv.c / conv.groups;
        let mut places = [Place::default(); MOST_TILES];
        for (place, tile) in places.iter_mut().zip(tiles.clone()) {
            *place = self.grid.place(tile);
        }
        for panel in panels {
            let column = panel * WIDTH;
            let group = column / (conv.out / conv.groups);
            let product = Product {
                tiles: tiles.len(),
                k,
                a: inputs.pointer().cast::<i16>().wrapping_add(group * k),
                row: conv.c,
                step: self.step(),
                b: self.data[panel * PRODUCTS * (k / 2) * WIDTH..]
                    .as_ptr()
                    .cast(),
                to: sums,
                to_step: self.sums_step(),
            };
            // SAFETY: the machine has the kernel's tier; inputs of all tiles are there, and the room is for the sums of all.
            unsafe { (self.kernel.product)(&product) };
            for (tile, place) in places[..tiles.len()].iter().enumerate() {
                let at = written(conv, place, [0, 0]) * self.stride + column;
                let next = [conv.dilation[0] * conv.out_w(), conv.dilation[1]];
                let back = Back {
                    sums: sums.wrapping_add(tile * WIDTH),
                    step: self.sums_step(),
                    scales: self.scales[column..].as_ptr(),
                    bias: self.to_bytes.bias[column..].as_ptr(),
                    limits: self.to_bytes.limits,
                    factor: self.to_bytes.factor.unwrap_or(0.0),
                    place,
                    to: y.pointer().wrapping_add(at),
                    next: next.map(|pixels| pixels * self.stride),
                    residual: residual
                        .map_or(std::ptr::null(), |from| from.as_ptr().wrapping_add(at)),
                };
                // SAFETY: `run_bytes` saw that output and residual hold all pixels; no other part has these columns.
                unsafe { (self.kernel.back)(&back) };
            }
        }
    }
}

/// Four times the transformed weight of one input channel of one output channel.
fn transformed(taps: &[i8; 9]) -> [i16; PRODUCTS] {
    let line = |[a, b, c]: [i16; 3]| [2 * a, a + b + c, a - b + c, 2 * c];
    let taps = taps.map(i16::from);
    let columns = [0, 1, 2].map(|x| line([taps[x], taps[3 + x], taps[6 + x]]));
    let mut all = [0; PRODUCTS];
    for (i, to) in all.chunks_exact_mut(4).enumerate() {
        to.copy_from_slice(&line(columns.map(|column| column[i])));
    }
    all
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({:?}, {})", self.conv, self.kernel.name)
    }
}
