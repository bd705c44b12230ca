//! The inner loop, written once for every tier: a tile of `M` rows and `V` registers of columns, all of it in registers.

use super::tile_bytes::{finish_bytes, store_pairs};
use crate::activation::curve::Curve;
use crate::gemm_f32::tile::{Register, Tile as Output, WithBias, store};

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// One register of 32-bit sums. Its methods are few instructions of a tier and may run only below a `#[target_feature]`
/// function of that tier.
pub(crate) trait Sums: Copy {
    /// The sums in single precision.
    type Floats: Register;
    /// Neighbours of one row for every lane, as [`Sums::add_dot`] takes them.
    type Left: Copy;
    /// As many weights for each lane.
    type Weights: Copy;
    /// Whether rows enter the products as numbers of 16 bits, two neighbours at a time, else as bytes, four at a time.
    const WIDE: bool;
    /// How many rows tiles have that have a short way to numbers; none where 0.
    const SHORT: usize;
    /// How many rows tiles have that take four quads, or halves of quads, a step: what is between the products takes its share of what the CPU
    /// issues. None where 0. With two registers of columns they have all of them, and two rows become bytes together.
    const UNROLLED: usize = 0;
    /// Whether only the first of two registers of weights is loaded before the products.
    const IN_MEMORY: bool = false;

    /// Sums of nothing.
    fn zero() -> Self;
    /// All lanes from `from`.
    ///
    /// # Safety
    /// `from` is valid for reading a register of numbers.
    unsafe fn load(from: *const i32) -> Self;
    /// The neighbours at `from`: four bytes, or two numbers of 16 bits.
    ///
    /// # Safety
    /// `from` is valid for reading four bytes.
    unsafe fn left(from: *const u8) -> Self::Left;
    /// The weights at `from`.
    ///
    /// # Safety
    /// `from` is valid for reading a byte for each neighbour of each lane.
    unsafe fn weights(from: *const i8) -> Self::Weights;
    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self` and in each lane the products of the neighbours.
    fn add_dot(self, a: Self::Left, b: Self::Weights) -> Self;
    /// [`Sums::add_dot`] of two registers, the second one's weights still in memory: behind `first`, and both behind `STEP` quads from `b` on.
    ///
    /// # Safety
    /// As for [`Sums::weights`].
    #[inline(always)]
    unsafe fn add_dots<const STEP: usize>(
        two: [Self; 2],
        a: Self::Left,
        first: Self::Weights,
        b: *const i8,
    ) -> [Self; 2] {
        let second = (2 * STEP + 1) * register::<Self>();
        // SAFETY: the caller's promise.
        let second = unsafe { Self::weights(b.add(second)) };
        [two[0].add_dot(a, first), two[1].add_dot(a, second)]
    }
    /// Between the products of one row and of the next.
    #[inline(always)]
    fn end_row() {}
    /// Writes a whole tile of two registers of columns out as bytes.
    ///
    /// # Safety
    /// As for [`compute`].
    #[inline(always)]
    unsafe fn store_whole<const M: usize, const V: usize, const THROUGH: u8>(
        t: &Tile,
        sum: &[[Self; V]; M],
    ) {
        // SAFETY: the caller's promise.
        unsafe { store_pairs::<Self, M, V, THROUGH>(t, sum) }
    }
    /// In single precision.
    fn floats(self) -> Self::Floats;
}

/// A part of the sums whose activations are neighbours in every row. Its order is known to assembly.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Segment {
    /// Where they lie from a row's beginning, in bytes.
    pub at: usize,
    /// Which of the weight's segments it meets.
    pub index: usize,
}

/// What tiles compute: `c = clamp((start + a b) * row_scale * scale + middle * sum + bias + residual)`.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// How many there are: the rows of each follow those of the one before.
    pub count: usize,
    /// The first row, of bytes or of numbers of 16 bits, and from one row to the next in bytes.
    pub a: (*const u8, usize),
    /// The segments that are added up, and how many.
    pub segments: (*const Segment, usize),
    /// Quads of each.
    pub quads: usize,
    /// `[segments, quads, V * LANES, 4]`, or `[segments, quads, 2, V * LANES, 2]` where rows enter as numbers of 16 bits.
    pub b: *const i8,
    /// What will be needed next, and how far to advance in it for each quad.
    pub prefetch: (*const i8, usize),
    /// What each segment's sum of each of `V * LANES` columns starts from, and from one segment to the next.
    pub start: (*const i32, usize),
    /// The scale of each of `V * LANES` columns.
    pub scales: *const f32,
    /// The scale of the first row, and from one row to the next.
    pub row_scales: (*const f32, usize),
    /// What the bytes of the first row are counted from, and from one row to the next.
    pub middles: (*const f32, usize),
    /// The sum of the weights of each of `V * LANES` columns.
    pub sums: *const f32,
    /// Where it goes, and what is added to it.
    pub output: Output,
    /// What numbers go through.
    pub numbers: Numbers,
    /// Where it goes as bytes instead, if anywhere.
    pub bytes: Bytes,
}

/// What sums go through before they are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Whatever the output asks for.
    Any,
    /// Nothing: the output asks for a bias only. A short way for whole tiles, see [`Sums::SHORT`].
    Plain,
    /// The same, and GELU: for no other tiles.
    Gelu,
}

/// Where a tile of bytes goes: `byte(limited(curve(sum * scale + bias + residual * factor)))`; rows have no scales of their own.
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    /// First byte of the tile, and from one row to the next; null where numbers go out.
    pub to: (*mut u8, usize),
    /// As `to`, or null.
    pub residual: *const u8,
    /// What bytes of the residual are multiplied by.
    pub factor: f32,
    /// What is done to the sums last, or null.
    pub curve: *const Curve,
    /// Bounds of the bytes, or null where numbers go out.
    pub limits: *const Limits,
}

/// The least and the most of a result in bytes, in every byte of two registers.
pub(crate) type Limits = [[u8; 32]; 2];

impl Bytes {
    /// A tile of numbers.
    pub const NONE: Bytes = Bytes {
        to: (std::ptr::null_mut(), 0),
        residual: std::ptr::null(),
        factor: 0.0,
        curve: std::ptr::null(),
        limits: std::ptr::null(),
    };
}

impl Tile {
    /// How far it advances in what will be needed next.
    #[inline(always)]
    pub fn ahead(&self) -> usize {
        self.prefetch.1 * self.quads * self.segments.1
    }

    /// Goes on to the rows behind these, in place: a copy of a tile takes longer than what few rows need.
    #[inline(always)]
    pub fn pass(&mut self, rows: usize) {
        self.a.0 = self.a.0.wrapping_add(rows * self.a.1);
        self.prefetch.0 = self.prefetch.0.wrapping_add(self.ahead());
        self.row_scales.0 = self.row_scales.0.wrapping_add(rows * self.row_scales.1);
        self.middles.0 = self.middles.0.wrapping_add(rows * self.middles.1);
        self.output.pass(rows);
        let bytes = &mut self.bytes;
        if !bytes.residual.is_null() {
            bytes.residual = bytes.residual.wrapping_add(rows * bytes.to.1);
        }
        bytes.to.0 = bytes.to.0.wrapping_add(rows * bytes.to.1);
    }
}

/// What tiles write, as a constant and as their place in the table of a tier: numbers or bytes. Each has functions of its own, because
/// sums stay in registers only where every loop over them is unrolled.
pub(crate) const IN_NUMBERS: usize = 0;
pub(crate) const IN_BYTES: usize = 1;

/// Bytes of a register of weights.
const fn register<S: Sums>() -> usize {
    if S::WIDE {
        2 * S::Floats::LANES
    } else {
        4 * S::Floats::LANES
    }
}

/// Whether tiles of so many rows and registers of columns always have all of them.
#[inline(always)]
pub(super) const fn is_whole<S: Sums, const M: usize, const V: usize>() -> bool {
    M == S::UNROLLED && V == 2
}

/// Computes some tiles.
///
/// # Safety
/// The CPU has the tier of `S`; `a`, `row_scales` and `middles` are valid for `count * M` rows, of `quads` quads for each of the
/// segments, `b`, `start`, `scales` and `sums` for `V * LANES` columns of them, and `output` is as `gemm_f32::tile` asks for so
/// many rows, or `bytes` is for its columns, with its limits in 0..=255.
#[inline(always)]
pub(crate) unsafe fn compute<S: Sums, const WHAT: usize, const M: usize, const V: usize>(t: &Tile) {
    let mut t = *t;
    let is_full = t.output.columns == V * S::Floats::LANES;
    debug_assert!(is_full || !is_whole::<S, M, V>());
    let is_full = is_full || is_whole::<S, M, V>();
    // SAFETY (of all blocks below): the caller's promise.
    let start = unsafe { start::<S, V>(&t) };
    if t.segments.1 == 0 {
        t.segments = (&Segment { at: 0, index: 0 }, 1);
        t.quads = 0;
    }
    for _ in 0..t.count {
        unsafe {
            let sum = sums::<S, M, V>(&t, start);
            write::<S, WHAT, M, V>(&t, sum, (is_full, M == S::SHORT));
        }
        t.pass(M);
    }
}

/// Writes the sums of a tile out: whether all columns are there, and whether there is a short way for [`Numbers`] that have one.
///
/// # Safety
/// As for [`compute`].
#[inline(always)]
pub(super) unsafe fn write<S: Sums, const WHAT: usize, const M: usize, const V: usize>(
    t: &Tile,
    sum: [[S; V]; M],
    (is_full, is_short): (bool, bool),
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (WHAT, is_full) {
            (IN_BYTES, _) => finish_bytes::<S, M, V>(t, sum, is_full),
            (_, true) if is_short && t.numbers != Numbers::Any => {
                match t.numbers == Numbers::Gelu {
                    true => store_plain::<S, M, V, true>(t, &Scaled { t, sum }),
                    false => store_plain::<S, M, V, false>(t, &Scaled { t, sum }),
                }
            }
            _ => store::<S::Floats, M, V>(&t.output, Scaled { t, sum }, is_full),
        }
    }
}

/// What the sums of all rows start from.
///
/// # Safety
/// As for [`compute`].
#[inline(always)]
pub(super) unsafe fn start<S: Sums, const V: usize>(t: &Tile) -> [S; V] {
    let mut start = [S::zero(); V];
    for segment in 0..t.segments.1 {
        // SAFETY (of all blocks below): the caller's promise.
        let index = unsafe { (*t.segments.0.add(segment)).index };
        for v in 0..V {
            let at = index * t.start.1 + v * S::Floats::LANES;
            start[v] = start[v].add(unsafe { S::load(t.start.0.add(at)) });
        }
    }
    start
}

/// The sums of a tile.
///
/// # Safety
/// As for [`compute`].
#[inline(always)]
unsafe fn sums<S: Sums, const M: usize, const V: usize>(t: &Tile, start: [S; V]) -> [[S; V]; M] {
    let lanes = S::Floats::LANES;
    // SAFETY (of all blocks below): the caller's promise.
    let mut sum = [start; M];
    let mut next = t.prefetch.0;
    // All of a quad at once, or its halves.
    let parts = if S::WIDE { 2 } else { 1 };
    let (part, ahead) = (4 * V * lanes / parts, t.prefetch.1 / parts);
    // Else sums would be set up twice.
    unsafe { std::hint::assert_unchecked(t.segments.1 > 0) };
    for segment in 0..t.segments.1 {
        let Segment { at, index } = unsafe { *t.segments.0.add(segment) };
        let mut b = t.b.wrapping_add(index * t.quads * parts * part);
        // A pointer for each row and one place for all: so an instruction reads a quad and nothing is added up for it.
        let first = t.a.0.wrapping_add(at);
        let rows: [*const u8; M] = std::array::from_fn(|row| first.wrapping_add(row * t.a.1));
        let (mut at, mut rest) = (0, t.quads * parts);
        if M == S::UNROLLED && 4 * ahead <= LINE {
            for _ in 0..rest / 4 {
                S::Floats::prefetch(next.cast());
                next = next.wrapping_add(4 * ahead);
                unsafe {
                    add_parts::<S, M, V, 0>(&rows, at, b, &mut sum);
                    add_parts::<S, M, V, 1>(&rows, at, b, &mut sum);
                    add_parts::<S, M, V, 2>(&rows, at, b, &mut sum);
                    add_parts::<S, M, V, 3>(&rows, at, b, &mut sum);
                }
                b = b.wrapping_add(4 * part);
                at += 16;
            }
            rest %= 4;
        }
        for _ in 0..rest {
            S::Floats::prefetch(next.cast());
            next = next.wrapping_add(ahead);
            unsafe { add_parts::<S, M, V, 0>(&rows, at, b, &mut sum) };
            b = b.wrapping_add(part);
            at += 4;
        }
    }
    let mut out = [[S::zero(); V]; M];
    for row in 0..M {
        for v in 0..V {
            out[row][v] = sum[row][v];
        }
    }
    out
}

/// Adds the products of a quad of each row, or of half a quad where it has numbers of 16 bits: of those so many `STEP`s behind the place in
/// the rows and behind `b`.
///
/// # Safety
/// As for [`compute`].
#[inline(always)]
unsafe fn add_parts<S: Sums, const M: usize, const V: usize, const STEP: usize>(
    rows: &[*const u8; M],
    at: usize,
    b: *const i8,
    sum: &mut [[S; V]; M],
) {
    let register = register::<S>();
    let first = b.wrapping_add(STEP * V * register);
    if S::IN_MEMORY && V == 2 {
        // SAFETY (of all): the caller's promise.
        let first = unsafe { S::weights(first) };
        for row in 0..M {
            let x = unsafe { S::left(rows[row].add(at + 4 * STEP)) };
            let two = [sum[row][0], sum[row][1]];
            let two = unsafe { S::add_dots::<STEP>(two, x, first, b) };
            (sum[row][0], sum[row][1]) = (two[0], two[1]);
            S::end_row();
        }
        return;
    }
    // SAFETY (of both): the caller's promise.
    let column: [S::Weights; V] =
        std::array::from_fn(|v| unsafe { S::weights(first.add(v * register)) });
    for row in 0..M {
        let x = unsafe { S::left(rows[row].add(at + 4 * STEP)) };
        for v in 0..V {
            sum[row][v] = sum[row][v].add_dot(x, column[v]);
        }
        S::end_row();
    }
}

/// The numbers that the sums of a tile stand for.
struct Scaled<'a, S, const M: usize, const V: usize> {
    t: &'a Tile,
    sum: [[S; V]; M],
}

impl<S: Sums, const M: usize, const V: usize> WithBias<S::Floats> for Scaled<'_, S, M, V> {
    #[inline(always)]
    fn with_bias(&self, bias: S::Floats, row: usize, v: usize) -> S::Floats {
        let (t, lanes) = (self.t, S::Floats::LANES);
        // SAFETY: scales, middles and sums are valid for all rows and columns, as `compute` demands.
        let [middle, sums, row_scale, scale] = unsafe {
            [
                S::Floats::splat(*t.middles.0.add(row * t.middles.1)),
                S::Floats::load(t.sums.add(v * lanes)),
                S::Floats::splat(*t.row_scales.0.add(row * t.row_scales.1)),
                S::Floats::load(t.scales.add(v * lanes)),
            ]
        };
        let own = S::Floats::splat(0.0).add_product(self.sum[row][v].floats(), scale);
        bias.add_product(middle, sums).add_product(own, row_scale)
    }
}

/// Writes whole registers of sums out with a bias, and through GELU if asked; written out as `gemm_f32::tile::store` is.
///
/// # Safety
/// As for [`compute`].
#[inline(always)]
unsafe fn store_plain<S: Sums, const M: usize, const V: usize, const GELU: bool>(
    t: &Tile,
    sums: &Scaled<S, M, V>,
) {
    const { assert!(V <= 3) }
    // SAFETY: the caller's promise.
    unsafe {
        plain_column::<S, M, V, GELU>(t, sums, 0);
        if V > 1 {
            plain_column::<S, M, V, GELU>(t, sums, 1);
        }
        if V > 2 {
            plain_column::<S, M, V, GELU>(t, sums, 2);
        }
    }
}

/// The same of one register of every row.
///
/// # Safety
/// As for [`compute`].
#[inline(always)]
unsafe fn plain_column<S: Sums, const M: usize, const V: usize, const GELU: bool>(
    t: &Tile,
    sums: &Scaled<S, M, V>,
    v: usize,
) {
    let at = v * S::Floats::LANES;
    // SAFETY (of both blocks): the caller's promise.
    let bias = match t.output.bias.is_null() {
        true => S::Floats::splat(0.0),
        false => unsafe { S::Floats::load(t.output.bias.add(at)) },
    };
    let (to, step) = t.output.to;
    for row in 0..M {
        let mut x = sums.with_bias(bias, row, v);
        if GELU {
            x = x.gelu();
        }
        unsafe { x.store(to.add(row * step + at)) };
    }
}

/// The tables of one tier's tiles, `[what][rows - 1][registers - 1]`, each under the tier's features.
macro_rules! tiles {
    ($register:ty, $features:tt, $rows:tt x $columns:tt) => {
        [
            $crate::gemm_i8::tile::tiles!(@table $register, $features, 0, $rows, $columns),
            $crate::gemm_i8::tile::tiles!(@table $register, $features, 1, $rows, $columns),
        ]
    };
    (@table $register:ty, $features:tt, $what:literal, [$($rows:literal)*], $columns:tt) => {
        &[$($crate::gemm_i8::tile::tiles!(@row $register, $features, $what, $rows, $columns)),*]
    };
    (@row $register:ty, $features:tt, $what:literal, $rows:literal, [$($columns:literal)*]) => {
        &[$($crate::gemm_i8::tile::tiles!(@one $register, $features, $what, $rows, $columns)),*]
    };
    (@one $register:ty, [$($features:literal)?], $what:literal, $rows:literal, $columns:literal) => {{
        $(#[target_feature(enable = $features)])?
        unsafe fn one(t: &$crate::gemm_i8::tile::Tile) {
            // SAFETY: the caller's promise, passed on.
            unsafe { $crate::gemm_i8::tile::compute::<$register, $what, $rows, $columns>(t) }
        }
        one as unsafe fn(&$crate::gemm_i8::tile::Tile)
    }};
}
pub(crate) use tiles;
