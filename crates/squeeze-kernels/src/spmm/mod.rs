//! The product of fully connected layers whose weights are mostly zeros, dense or grouped, in single precision and in bytes.
//!
//! A block is 1, 4 or 16 output channels with one input. Blocks of zeros are neither stored nor multiplied. Lanes are rows of
//! activations (Elsen et al., "Fast Sparse ConvNets", 2020): a tile of rows is turned to `[k][rows]` once, then each block of
//! outputs walks the inputs that it has. Differences: results go back to rows of channels, and bytes come in quads of inputs.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod finish;
mod lists;
mod product;
mod quads;
pub mod scalar;
#[cfg(test)]
mod tests;
mod tile;
mod turn;

use std::sync::Arc;

use crate::gemm_f32::{Epilogue, Geometry};
use crate::{Threads, Tier, Weight};
use lists::Lists;
use tile::Tile;

/// How many neighbouring output channels have their zeros in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Block {
    /// Each weight is by itself: unstructured sparsity.
    One,
    /// Four output channels.
    Four,
    /// Sixteen output channels.
    Sixteen,
}

impl Block {
    /// Every block, in rising order.
    pub const ALL: [Block; 3] = [Block::One, Block::Four, Block::Sixteen];

    /// Output channels of a block.
    pub fn outputs(self) -> usize {
        match self {
            Block::One => 1,
            Block::Four => 4,
            Block::Sixteen => 16,
        }
    }
}

/// What is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// Single precision.
    F32,
    /// Bytes: weights with a scale an output channel, activations with a scale for each row of each group.
    I8,
}

impl Element {
    /// Every element.
    pub const ALL: [Element; 2] = [Element::F32, Element::I8];
}

/// One row of the table of kernels.
#[derive(Debug)]
pub struct Kernel {
    /// What logs and tables show, for each block.
    pub names: [&'static str; 3],
    /// What it multiplies.
    pub element: Element,
    /// The instructions it needs.
    pub tier: Tier,
    /// Whether the machine has what it needs beyond its tier.
    is_present: fn() -> bool,
    /// Numbers in a register.
    lanes: usize,
    /// What is added to a signed byte of activations: 128 where products take unsigned ones.
    offset: u8,
    /// The tiles for each block.
    tiles: [Tiles; 3],
}

/// Tiles of so many outputs and 1, 2, .. registers of rows.
#[derive(Debug)]
struct Tiles {
    outputs: usize,
    by_registers: &'static [TileFn],
}

/// Computes one tile.
///
/// # Safety
/// As for [`tile::tile`] or [`quads::tile`].
type TileFn = unsafe fn(&Tile);

/// The kernels of this family, in rising order of tiers.
#[cfg(target_arch = "x86_64")]
pub const KERNELS: &[Kernel] = &[
    scalar::F32,
    scalar::I8,
    avx2::F32,
    avx2::I8,
    avx512::F32,
    avx512::I8,
];
/// The kernels of this family, in rising order of tiers.
#[cfg(not(target_arch = "x86_64"))]
pub const KERNELS: &[Kernel] = &[scalar::F32, scalar::I8];

impl Kernel {
    /// Whether this machine can run it.
    pub fn is_here(&self) -> bool {
        self.tier.is_present() && (self.is_present)()
    }

    /// The best kernel for this element of at most this tier that this machine can run.
    pub fn of(tier: Tier, element: Element) -> &'static Kernel {
        let fits =
            |kernel: &&Kernel| kernel.element == element && kernel.tier <= tier && kernel.is_here();
        KERNELS
            .iter()
            .rev()
            .find(fits)
            .expect("the scalar kernels run everywhere")
    }
}

/// How many weights each [`Block`] stores, those of blocks that are not all zeros: multiplications for each row of activations.
///
/// # Panics
/// If the weight's length or the geometry is wrong.
pub fn stored<T: Copy + Default + PartialEq>(weight: &[T], geometry: &Geometry) -> [usize; 3] {
    geometry.check(usize::MAX, usize::MAX, weight.len());
    let Geometry { n, k, .. } = *geometry;
    let mut counts = [0; 3];
    // For each input, which of sixteen outputs have a weight.
    let mut masks = vec![0u16; k];
    let sixteens = weight.chunks(n * k).flat_map(|group| group.chunks(16 * k));
    for rows in sixteens {
        masks.fill(0);
        for (bit, row) in rows.chunks_exact(k).enumerate() {
            for (mask, &weight) in masks.iter_mut().zip(row) {
                *mask |= u16::from(weight != T::default()) << bit;
            }
        }
        for mask in &masks {
            counts[0] += mask.count_ones() as usize;
            let fours = (mask | mask >> 1 | mask >> 2 | mask >> 3) & 0x1111;
            counts[1] += 4 * fours.count_ones() as usize;
            counts[2] += 16 * usize::from(*mask != 0);
        }
    }
    counts
}

/// The weight of a layer without its blocks of zeros, packed once for the kernel that will run it.
#[derive(Clone)]
pub struct Packed {
    geometry: Geometry,
    kernel: &'static Kernel,
    block: Block,
    lists: Arc<Lists>,
}

impl Packed {
    /// Packs `weight`, `[groups * n, k]`.
    ///
    /// # Panics
    /// If the weight's length or the geometry is wrong, k is over [`crate::gemm_i8::LONGEST`] for bytes, or bytes are given where numbers
    /// are multiplied.
    pub fn pack(
        weight: Weight,
        geometry: &Geometry,
        block: Block,
        element: Element,
        tier: Tier,
    ) -> Packed {
        geometry.check(usize::MAX, usize::MAX, weight.len());
        assert!(
            element == Element::F32 || geometry.k <= crate::gemm_i8::LONGEST,
            "{geometry:?}: too long a sum"
        );
        let kernel = Kernel::of(tier, element);
        let lists = match (element, weight) {
            (Element::F32, Weight::Numbers(numbers)) => Lists::of_numbers(numbers, geometry, block),
            (Element::F32, Weight::Bytes(..)) => panic!("{geometry:?}: bytes of numbers"),
            (Element::I8, _) => Lists::of_bytes(weight, geometry, block, kernel.offset),
        };
        Packed {
            geometry: *geometry,
            kernel,
            block,
            lists: Arc::new(lists),
        }
    }

    /// The same weight for another number of rows; allocates nothing.
    pub fn with_rows(&self, m: usize) -> Packed {
        let geometry = Geometry { m, ..self.geometry };
        Packed {
            geometry,
            ..self.clone()
        }
    }

    /// The name that tables show.
    pub fn name(&self) -> &'static str {
        self.kernel.names[self.block as usize]
    }

    /// Bytes of the packed weight with its lists and scales.
    pub fn bytes(&self) -> usize {
        self.lists.bytes()
    }

    /// Multiply-adds of the dense product that it leaves out.
    pub fn left_out(&self) -> usize {
        self.geometry.m * self.lists.left_out
    }

    /// How many numbers [`Packed::run`] works in on so many threads.
    pub fn scratch(&self, threads: usize) -> usize {
        threads * self.room()
    }

    /// `c = activation(a w^T + bias + residual)`, in which a block of zeros adds nothing, whatever it would be multiplied by; allocates
    /// nothing.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry or [`Packed::scratch`] says, or the epilogue adds to the output.
    pub fn run(
        &self,
        a: &[f32],
        epilogue: &Epilogue,
        c: &mut [f32],
        scratch: &mut [f32],
        threads: &Threads,
    ) {
        self.product(a, epilogue, (c, scratch), threads);
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({:?}, {})", self.geometry, self.name())
    }
}
