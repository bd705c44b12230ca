//! The table of the family's kernels, and how a kernel computes tiles: in vectors, or from sums of matrix registers.

use std::mem::MaybeUninit;

use super::tile::{Bytes, Numbers, Segment, Tile};
use super::{Line, scalar};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512};
use crate::Tier;
use crate::gemm_f32::tile::{COLUMNS, Tile as Output};

/// One row of the table of kernels.
#[derive(Debug)]
pub struct Kernel {
    /// What logs and tables show.
    pub name: &'static str,
    /// The instructions it needs.
    pub tier: Tier,
    /// Whether the machine has what it needs beyond its tier.
    pub(super) is_present: fn() -> bool,
    /// What runs weights whose pairs do not fit into 16 bits, where its own instructions would add them there. Its panels are the same.
    pub wide: Option<&'static Kernel>,
    /// Numbers in a register of sums.
    pub(super) lanes: usize,
    /// Writes bytes as numbers of 16 bits, if rows enter so ([`super::tile::Sums::WIDE`]).
    pub(super) widen: Option<Widen>,
    /// As [`super::tile::Sums::SHORT`].
    pub(super) short: usize,
    /// What adds the sums of more rows than the largest tile has, if anything.
    pub(super) matrix: Option<&'static Matrix>,
    /// By what they write.
    pub(super) tiles: [&'static [&'static [TileFn]]; 2],
}

/// Computes some tiles.
///
/// # Safety
/// As for [`super::tile::compute`].
pub(super) type TileFn = unsafe fn(&Tile);

/// As [`Kernel::tiles`].
pub(super) type Table = [&'static [&'static [TileFn]]; 2];

/// Tiles of so many rows as tiles of fewer, the most of them first.
///
/// # Safety
/// As for [`super::tile::compute`].
#[inline(never)]
pub(super) unsafe fn all_parts(t: &Tile, rows: usize, tables: &[(usize, TileFn)]) {
    let mut next = Tile { count: 1, ..*t };
    for _ in 0..t.count {
        let mut rest = rows;
        for &(rows, run) in tables {
            if rows <= rest {
                // SAFETY: the caller's promise.
                unsafe { run(&next) };
                next.pass(rows);
                rest -= rows;
            }
        }
    }
}

/// What adds the sums of the first tile on matrix registers, and what follows, which writes numbers or bytes.
#[derive(Debug)]
pub(super) struct Matrix {
    /// The sums of [`MATRIX_ROWS`] rows of so many registers of columns, without what they start from, where the first row lies and what will be
    /// needed next: these change from tile to tile, and what has just been written in memory would wait for all that was before it.
    ///
    /// # Safety
    /// The registers are set up ([`super::right::Right::set_up`]); as for [`super::tile::compute`] for so many rows, and there is room for the sums.
    pub sums: unsafe fn(&Tile, Moving, registers: usize, to: *mut i32),
    /// What follows for [`BATCH`] rows and more, `[what][registers - 1]`.
    pub finish: [[FinishFn; 3]; 2],
}

/// The first row of a tile, and what will be needed next.
pub(super) type Moving = (*const u8, *const i8);

/// Writes the sums of so many rows out, and lets the tile go on to those behind them.
///
/// # Safety
/// As for [`super::tile::compute`] of so many rows; the sums are valid for all of them.
pub(super) type FinishFn = unsafe fn(&mut Tile, *const i32, rows: usize);

/// Rows whose sums matrix registers add at once.
pub(crate) const MATRIX_ROWS: usize = 16;
/// So many rows of them are written out at a time.
pub(super) const BATCH: usize = 4;

/// Which of the rows whose sums matrix registers add are a tile's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runs {
    /// How many runs of the tile's rows there are, which are all rows of the output without a gap.
    pub count: usize,
    /// From the first row of a run to that of the next.
    pub apart: usize,
}

impl Runs {
    /// The first rows.
    pub const ONE: Runs = Runs { count: 1, apart: 0 };
}

/// Room for them.
#[repr(align(64))]
struct MatrixSums(
    #[expect(dead_code, reason = "only its size counts")] [i32; MATRIX_ROWS * COLUMNS],
);

/// Writes some bytes as numbers of 16 bits, from the first one on: they may be the last half of their place.
///
/// # Safety
/// The CPU has the tier of the kernel; both are valid for so many.
pub(super) type Widen = unsafe fn(from: *const u8, count: usize, to: *mut u16);

/// The kernels of this family, in rising order of tiers.
#[cfg(target_arch = "x86_64")]
pub const KERNELS: &[Kernel] = &[scalar::KERNEL, avx2::KERNEL, avx512::KERNEL, amx::KERNEL];
/// The kernels of this family, in rising order of tiers.
#[cfg(not(target_arch = "x86_64"))]
pub const KERNELS: &[Kernel] = &[scalar::KERNEL];

impl Kernel {
    /// Whether this machine can run it.
    pub fn is_here(&self) -> bool {
        self.tier.is_present() && (self.is_present)()
    }

    /// The best kernel of at most this tier that this machine can run.
    pub fn of(tier: Tier) -> &'static Kernel {
        let fits = |kernel: &&Kernel| kernel.tier <= tier && kernel.is_here();
        KERNELS
            .iter()
            .rev()
            .find(fits)
            .expect("the scalar kernel runs everywhere")
    }

    /// The same for sums of so many quads.
    pub(crate) fn of_sums(tier: Tier, quads: usize) -> &'static Kernel {
        /// Quads of the shortest sums that matrix registers add: what they have added passes through memory.
        const SHORTEST: usize = 12;
        let kernel = Self::of(tier);
        match kernel.matrix {
            Some(_) if quads < SHORTEST => Self::of(Tier::Avx512),
            _ => kernel,
        }
    }

    /// How many bytes tiles read for an activation.
    pub(crate) fn unit(&self) -> usize {
        if self.widen.is_some() { 2 } else { 1 }
    }

    /// Writes bytes as tiles read them.
    ///
    /// # Panics
    /// If `to` is not [`Kernel::unit`] times as long.
    pub(crate) fn place(&self, from: &[u8], to: &mut [u8]) {
        assert_eq!(to.len(), self.unit() * from.len());
        match self.widen {
            None => to.copy_from_slice(from),
            // SAFETY: the machine has the kernel's tier (`Kernel::of`), both are so long.
            Some(widen) => unsafe { widen(from.as_ptr(), from.len(), to.as_mut_ptr().cast()) },
        }
    }

    /// Lets `write` write bytes, and makes of them what tiles read: `to`, [`Kernel::unit`] times as long.
    pub(crate) fn write(&self, to: &mut [u8], write: impl FnOnce(&mut [u8])) {
        let count = to.len() / self.unit();
        let bytes = to.len() - count;
        write(&mut to[bytes..]);
        if let Some(widen) = self.widen {
            let to = to.as_mut_ptr();
            // SAFETY: as above. A number of 16 bits ends where the next byte begins, or before.
            unsafe { widen(to.add(bytes), count, to.cast()) };
        }
    }

    /// Computes tiles of so many rows and registers of columns, which write numbers or bytes: [`super::tile::IN_NUMBERS`], [`super::tile::IN_BYTES`].
    /// On matrix registers each has runs of so many rows.
    ///
    /// # Safety
    /// As for [`super::tile::compute`]; on matrix registers as for [`Matrix::sums`].
    pub(super) unsafe fn compute(
        &self,
        tiles: &Tile,
        what: usize,
        on_matrix: Option<Runs>,
        [rows, registers]: [usize; 2],
    ) {
        let (Some(matrix), Some(runs)) = (self.matrix, on_matrix) else {
            // SAFETY: the caller's promise.
            return unsafe { self.tiles[what][rows - 1][registers - 1](tiles) };
        };
        let mut sums = MaybeUninit::<MatrixSums>::uninit();
        let sums = sums.as_mut_ptr().cast::<i32>();
        let mut tile = *tiles;
        let (mut a, mut prefetch) = (tiles.a.0, tiles.prefetch.0);
        for _ in 0..tiles.count {
            // SAFETY (of both): the caller's promise; there is room for all columns of all rows.
            unsafe { (matrix.sums)(tiles, (a, prefetch), registers, sums) };
            for run in 0..runs.count {
                let sums = sums.wrapping_add(run * runs.apart * registers * self.lanes);
                unsafe { matrix.finish[what][registers - 1](&mut tile, sums, rows) };
            }
            a = a.wrapping_add(rows * tiles.a.1);
            prefetch = prefetch.wrapping_add(tiles.ahead());
        }
    }

    /// Writes the same byte again and again as tiles read it.
    pub(crate) fn fill(&self, byte: u8, to: &mut [u8]) {
        match self.widen {
            None => to.fill(byte),
            Some(_) => to.as_chunks_mut().0.fill(u16::from(byte).to_le_bytes()),
        }
    }
}

/// Computes one full tile of zeros again and again, for the machine's peak; how many multiply-adds that was. Its sums are so long that
/// what becomes of them does not count.
pub(crate) fn repeat(tier: Tier, rounds: usize) -> usize {
    const QUADS: usize = 64;
    const SEGMENTS: usize = 32;
    let kernel = Kernel::of(tier);
    let rows = kernel.tiles[0].len();
    let width = kernel.lanes * kernel.tiles[0][0].len();
    let (a, b) = (
        vec![0; rows * QUADS * 4],
        vec![Line([0; 64]); QUADS * width * 4 / 64],
    );
    let (start, scales) = (vec![0; width], vec![0.0; width.max(rows)]);
    let mut c = vec![0.0; rows * width];
    // The same numbers again and again, which stay in the first cache.
    let segments = [Segment::default(); SEGMENTS];
    let tile = Tile {
        count: 1,
        a: (a.as_ptr(), QUADS * 4),
        segments: (segments.as_ptr(), SEGMENTS),
        quads: QUADS,
        b: b.as_ptr().cast(),
        prefetch: (b.as_ptr().cast(), 0),
        start: (start.as_ptr(), 0),
        scales: scales.as_ptr(),
        row_scales: (scales.as_ptr(), 1),
        middles: (scales.as_ptr(), 1),
        sums: scales.as_ptr(),
        output: Output {
            to: (c.as_mut_ptr(), width),
            columns: width,
            limits: (f32::NEG_INFINITY, f32::INFINITY),
            ..Output::EMPTY
        },
        numbers: Numbers::Any,
        bytes: Bytes::NONE,
    };
    let run = kernel.tiles[0][rows - 1][kernel.tiles[0][0].len() - 1];
    for _ in 0..rounds {
        // SAFETY: the machine has what the kernel needs (`Kernel::of`), and all buffers hold a full tile.
        unsafe { run(std::hint::black_box(&tile)) };
    }
    rounds * rows * width * SEGMENTS * QUADS * 4
}
