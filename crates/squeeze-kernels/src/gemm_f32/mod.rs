//! The product of every fully connected layer, dense or grouped, and of its gradients.
//!
//! All groups are one parallel region of one kernel, so the time of a grouped layer is proportional to its FLOPs. Weights are
//! packed in panels (`Packed` at compile time, [`Scratch`] in training), activations are read where they lie.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod gradients;
pub(crate) mod panels;
pub(crate) mod product;
pub mod scalar;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod tile;

pub use gradients::{Scratch, bias_gradient, forward, input_gradient, weight_gradient};

use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::activation::Activation;
use crate::elementwise::{PASS, slice_scale_rows};
use crate::slab::{LINE, Slab};
use crate::{Cpu, SharedMut, Threads, Tier};
use panels::Panels;
use product::{Output, Product, Strided};
use tile::Tile;

/// A product `c[m, groups * n] = a[m, groups * k] w^T`: group `j` reads columns `j * k ..` of `a` and writes columns `j * n ..` of
/// `c`. The weight is `[groups * n, k]`, as PyTorch has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Rows: batch times tokens or pixels.
    pub m: usize,
    /// Columns of the output of one group.
    pub n: usize,
    /// Columns of the input of one group.
    pub k: usize,
    /// Groups; 1 is a dense layer.
    pub groups: usize,
    /// From one row of the input to the next, at least `groups * k`.
    pub lda: usize,
    /// From one row of the output (and the residual) to the next, at least `groups * n`.
    pub ldc: usize,
}

impl Geometry {
    /// A dense product of contiguous rows.
    pub fn dense(m: usize, n: usize, k: usize) -> Geometry {
        Geometry::grouped(m, n, k, 1)
    }

    /// A grouped product of contiguous rows; `n` and `k` are those of one group.
    pub fn grouped(m: usize, n: usize, k: usize, groups: usize) -> Geometry {
        Geometry {
            m,
            n,
            k,
            groups,
            lda: groups * k,
            ldc: groups * n,
        }
    }

    /// Multiply-adds.
    pub fn macs(&self) -> usize {
        self.m * self.n * self.k * self.groups
    }

    /// # Panics
    /// If a size is zero (other than `m`), rows overlap, or a slice does not hold what the geometry says.
    pub(crate) fn check(&self, input: usize, output: usize, weight: usize) {
        assert!(
            self.n > 0 && self.k > 0 && self.groups > 0,
            "{self:?} has an empty side"
        );
        assert!(
            self.lda >= self.groups * self.k,
            "{self:?}: rows of the input overlap"
        );
        assert!(
            self.ldc >= self.groups * self.n,
            "{self:?}: rows of the output overlap"
        );
        let needed =
            |step: usize, width: usize| self.m.checked_sub(1).map_or(0, |m| m * step + width);
        assert!(
            input >= needed(self.lda, self.groups * self.k),
            "{self:?}: {input} inputs are too few"
        );
        assert!(
            output >= needed(self.ldc, self.groups * self.n),
            "{self:?}: {output} outputs are too few"
        );
        assert_eq!(
            weight,
            self.groups * self.n * self.k,
            "{self:?}: weights are [groups * n, k]"
        );
    }
}

/// Whether a result replaces what is there or is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// It replaces it.
    #[default]
    Zero,
    /// It is added.
    Add,
}

/// What is added besides the bias, before the activation.
#[derive(Debug, Clone, Copy)]
pub struct Residual<'a> {
    /// A tensor that lies like the output.
    pub values: &'a [f32],
    /// What it is multiplied by: one number for each of `groups * n` columns.
    pub factors: Option<&'a [f32]>,
}

impl<'a> Residual<'a> {
    /// A tensor as it is.
    pub fn plain(values: &'a [f32]) -> Self {
        Residual {
            values,
            factors: None,
        }
    }
}

/// What happens to a tile before it leaves the first cache.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Whether the output is overwritten or, before bias and activation, added to.
    pub start: Start,
    /// One number for each of `groups * n` columns.
    pub bias: Option<&'a [f32]>,
    /// The layer's activation.
    pub activation: Activation,
    /// What is added before the activation.
    pub residual: Option<Residual<'a>>,
}

impl Epilogue<'_> {
    /// # Panics
    /// If bias, residual or factors are shorter than so many columns, and so many numbers from the output's first to its last.
    pub(crate) fn check(&self, columns: usize, outputs: usize) {
        let holds =
            |numbers: Option<&[f32]>| numbers.is_none_or(|numbers| numbers.len() >= columns);
        assert!(holds(self.bias), "the bias is too short");
        if let Some(Residual { values, factors }) = self.residual {
            assert!(
                values.len() >= outputs,
                "the residual is shorter than the output"
            );
            assert!(holds(factors), "too few factors of the residual");
        }
    }

    /// Bias and factors of some columns, zeros and ones where there are none or no more columns.
    pub(crate) fn of_columns<const N: usize>(&self, columns: Range<usize>) -> [[f32; N]; 2] {
        let factors = self.residual.and_then(|residual| residual.factors);
        [(self.bias, 0.0), (factors, 1.0)].map(|(from, other)| {
            let mut all = [other; N];
            if let Some(from) = from {
                all[..columns.len()].copy_from_slice(&from[columns.clone()]);
            }
            all
        })
    }
}

/// One row of the table of kernels.
#[derive(Debug)]
pub struct Kernel {
    /// What logs and tables show.
    pub name: &'static str,
    /// The instructions it needs.
    pub tier: Tier,
    /// Numbers in a register.
    lanes: usize,
    /// The longest block of k at its widest tile: b's part then stays in the first cache.
    depth: usize,
    tiles: &'static [&'static [TileFn]],
}

/// Computes one tile.
///
/// # Safety
/// As for [`tile::tile`].
type TileFn = unsafe fn(&Tile);

/// The kernels of this family, in rising order of tiers.
#[cfg(target_arch = "x86_64")]
pub const KERNELS: &[Kernel] = &[scalar::KERNEL, avx2::KERNEL, avx512::KERNEL];
/// The kernels of this family, in rising order of tiers.
#[cfg(not(target_arch = "x86_64"))]
pub const KERNELS: &[Kernel] = &[scalar::KERNEL];

impl Kernel {
    /// The best kernel of at most this tier that this machine can run.
    pub fn of(tier: Tier) -> &'static Kernel {
        let fits = |kernel: &&Kernel| kernel.tier <= tier && kernel.tier.is_present();
        KERNELS
            .iter()
            .rev()
            .find(fits)
            .expect("the scalar kernel runs everywhere")
    }

    /// Rows of the largest tile.
    pub(crate) fn rows(&self) -> usize {
        self.tiles.len()
    }

    /// Registers across the widest tile.
    pub(crate) fn registers(&self) -> usize {
        self.tiles[0].len()
    }

    /// The width of panels: numbers in a register, and most registers.
    pub(crate) fn width(&self) -> (usize, usize) {
        (self.lanes, self.registers())
    }
}

/// Columns of the panels of [`Packed::of_panels`].
pub const PANEL: usize = 16;

/// Numbers that something else keeps where they are.
pub type Kept = Arc<dyn Deref<Target = [f32]> + Send + Sync>;

/// The weight of a layer, packed once for the kernel that will run it.
#[derive(Clone)]
pub struct Packed {
    geometry: Geometry,
    kernel: &'static Kernel,
    panels: Panels,
    data: Kept,
}

impl Packed {
    /// Packs `weight`, `[groups * n, k]`.
    ///
    /// # Panics
    /// If the weight's length or the geometry is wrong.
    pub fn pack(weight: &[f32], geometry: &Geometry, tier: Tier) -> Packed {
        Packed::pack_in(weight, geometry, tier, &Slab::default())
    }

    /// The same with the packed weight in a slab.
    ///
    /// # Panics
    /// As for [`Packed::pack`].
    pub fn pack_in(weight: &[f32], geometry: &Geometry, tier: Tier, slab: &Slab) -> Packed {
        geometry.check(usize::MAX, usize::MAX, weight.len());
        let kernel = Kernel::of(tier);
        let panels = Panels::new(kernel.width(), geometry.k, geometry.n);
        let mut data = slab.block(geometry.groups * panels.group_len());
        let cpu = Cpu {
            tier,
            threads: &Threads::new(1),
        };
        gradients::pack_weight(geometry, weight, &panels, (&mut data, cpu));
        Packed {
            geometry: *geometry,
            kernel,
            panels,
            data: Arc::new(data),
        }
    }

    /// Takes a weight that lies in panels already, `[groups * n / PANEL, k, PANEL]`, of whole panels in each group: where it lies, if that is
    /// one piece that starts on a cache line, else copied to the slab. `None` if the kernel reads no such panels.
    ///
    /// # Panics
    /// If the weight's length or the geometry is wrong.
    pub fn of_panels(
        mut pieces: Vec<Kept>,
        geometry: &Geometry,
        tier: Tier,
        slab: &Slab,
    ) -> Option<Packed> {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        geometry.check(usize::MAX, usize::MAX, len);
        let kernel = Kernel::of(tier);
        let panels = Panels::new(kernel.width(), geometry.k, geometry.n).of_whole()?;
        let starts_on_line = |piece: &Kept| (piece.as_ptr() as usize).is_multiple_of(LINE);
        let one = pieces.pop_if(|last| last.len() == len && starts_on_line(last));
        let copied = || -> Kept {
            let (mut block, mut end) = (slab.block(len), 0);
            for piece in &pieces {
                let start = end;
                end += piece.len();
                block[start..end].copy_from_slice(piece);
            }
            Arc::new(block)
        };
        Some(Packed {
            geometry: *geometry,
            kernel,
            panels,
            data: one.unwrap_or_else(copied),
        })
    }

    /// The geometry it was packed for.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The same weight for another number of rows, which packing does not depend on.
    pub fn set_rows(&mut self, m: usize) {
        self.geometry.m = m;
    }

    /// The kernel that runs it.
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// Bytes of the packed weight.
    pub fn bytes(&self) -> usize {
        size_of_val::<[f32]>(&self.data)
    }

    /// `c = activation(a w^T + bias + residual)`; allocates nothing.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry says.
    pub fn run(&self, a: &[f32], epilogue: &Epilogue, c: &mut [f32], threads: &Threads) {
        self.run_rows(self.geometry.m, a, epilogue, c, threads);
    }

    /// The same with so many rows instead of the geometry's.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry says.
    pub fn run_rows(
        &self,
        m: usize,
        a: &[f32],
        epilogue: &Epilogue,
        c: &mut [f32],
        threads: &Threads,
    ) {
        self.product(m, (a, &self.data), epilogue, (c, threads));
    }

    /// `c = activation((a * gate) w^T + bias + residual)` with a factor for each of the `k` inputs of all rows: the weight is multiplied by
    /// them, which pays where there are more rows than columns. Works in as many numbers as the weight has; allocates nothing.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry says, or there are several groups.
    pub fn run_gated(
        &self,
        (a, gate): (&[f32], &[f32]),
        epilogue: &Epilogue,
        c: &mut [f32],
        scratch: &mut [f32],
        cpu: Cpu,
    ) {
        let g = &self.geometry;
        assert!(
            g.groups == 1 && gate.len() == g.k,
            "{g:?}: {} factors",
            gate.len()
        );
        let to = SharedMut::new(&mut scratch[..self.data.len()]);
        cpu.split(self.panels.pieces(), self.data.len() * PASS, |own| {
            for piece in own {
                let (own, width) = self.panels.piece(piece);
                // SAFETY: each piece is written by one thread.
                let to = unsafe { to.slice(own.clone()) };
                slice_scale_rows(cpu.tier, gate, &self.data[own], width, to);
            }
        });
        self.product(g.m, (a, scratch), epilogue, (c, cpu.threads));
    }

    fn product(
        &self,
        m: usize,
        (a, b): (&[f32], &[f32]),
        epilogue: &Epilogue,
        (c, threads): (&mut [f32], &Threads),
    ) {
        let g = Geometry { m, ..self.geometry };
        g.check(a.len(), c.len(), g.groups * g.n * g.k);
        let source = Strided {
            data: a,
            row: g.lda,
            group: g.k,
            k: g.k,
        };
        let product = Product {
            kernel: self.kernel,
            m: g.m,
            groups: g.groups,
            panels: self.panels,
            source: &source,
            b,
            output: Output {
                row: g.ldc,
                group: g.n,
            },
            epilogue: *epilogue,
        };
        product.run(c, threads);
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({:?}, {})", self.geometry, self.kernel.name)
    }
}
