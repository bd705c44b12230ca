//! Small matrix products of one head: a packed right side, a strided left side.

use crate::Tier;
use crate::elementwise::transpose::interleave;
use crate::vector::{Vector, per_tier};

/// The left side of a product: element `(row, k)` is at `row * row_step + k * k_step`, so a transposed matrix is one too.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub data: &'a [f32],
    pub row_step: usize,
    pub k_step: usize,
}

/// Rows, columns and depth of a product.
#[derive(Clone, Copy)]
pub(super) struct Size {
    m: usize,
    n: usize,
    k: usize,
    /// Columns of a full panel of the packed right side.
    panel: usize,
}

impl Size {
    /// That of `m` x `k` times `k` x `n` on a tier.
    pub(super) fn new(tier: Tier, [m, n, k]: [usize; 3]) -> Size {
        Size {
            m,
            n,
            k,
            panel: panel(tier),
        }
    }

    /// The width of the panel that begins at a column.
    #[inline(always)]
    fn width(&self, column: usize) -> usize {
        self.panel.min(self.n.next_multiple_of(WIDTH) - column)
    }
}

/// How many columns a full panel has: those of the tier's widest register tile. Where a tile takes a part of a wider panel, its
/// lines lie apart, and many of them put each other out of the first cache.
pub(super) fn panel(tier: Tier) -> usize {
    match tier {
        Tier::Avx2 => 16,
        Tier::Scalar | Tier::Avx512 | Tier::Amx => 64,
    }
}

/// Columns are padded to whole vectors of the widest tier.
pub(super) const WIDTH: usize = 16;

/// How many numbers `k` rows of `n` columns are when packed.
pub(super) fn packed_len(n: usize, k: usize) -> usize {
    n.next_multiple_of(WIDTH) * k
}

per_tier! {
    /// Packs `k` rows of `n` numbers, `stride` apart: panels of columns, each `[k][width]`, padded with zeros.
    pub(super) fn pack_rows(from: &[f32], stride: usize, size: Size, packed: &mut [f32])
    { compiled: pack_rows_body }
}

#[inline(always)]
fn pack_rows_body(from: &[f32], stride: usize, size: Size, packed: &mut [f32]) {
    let Size { n, k, .. } = size;
    for column in (0..n).step_by(size.panel) {
        let width = size.width(column);
        let real = width.min(n - column);
        let panel = &mut packed[column * k..][..width * k];
        for (row, to) in panel.chunks_exact_mut(width).enumerate() {
            let from = &from[row * stride + column..][..real];
            // Of a known length they are moved by vectors, not by a call.
            let (whole, rest) = from.as_chunks::<WIDTH>();
            let mut places = to.chunks_exact_mut(WIDTH);
            for (from, to) in whole.iter().zip(&mut places) {
                to.copy_from_slice(from);
            }
            if let Some(to) = places.next() {
                to[..rest.len()].copy_from_slice(rest);
                to[rest.len()..].fill(0.0);
            }
        }
    }
}

per_tier! {
    /// Packs the transpose of `n` rows of `k` numbers, `stride` apart, as [`pack_rows`] would.
    pub(super) fn pack_transposed(from: &[f32], stride: usize, size: Size, packed: &mut [f32])
    { scalar: pack_transposed_scalar, vector: pack_transposed_vector }
}

fn pack_transposed_scalar(from: &[f32], stride: usize, size: Size, packed: &mut [f32]) {
    let Size { n, k, .. } = size;
    for column in (0..n).step_by(size.panel) {
        let width = size.width(column);
        let panel = &mut packed[column * k..][..width * k];
        for (row, to) in panel.chunks_exact_mut(width).enumerate() {
            for (i, to) in to.iter_mut().enumerate() {
                *to = if column + i < n {
                    from[(column + i) * stride + row]
                } else {
                    0.0
                };
            }
        }
    }
}

#[inline(always)]
fn pack_transposed_vector<V: Vector>(from: &[f32], stride: usize, size: Size, packed: &mut [f32]) {
    match V::LANES {
        16 => pack_squares::<V, 16>(from, stride, size, packed),
        _ => pack_squares::<V, 8>(from, stride, size, packed),
    }
}

/// In squares of `P` rows and columns, which are the lanes of a vector.
#[inline(always)]
fn pack_squares<V: Vector, const P: usize>(
    from: &[f32],
    stride: usize,
    size: Size,
    packed: &mut [f32],
) {
    let Size { n, k, .. } = size;
    for column in (0..n).step_by(size.panel) {
        let width = size.width(column);
        let panel = &mut packed[column * k..][..width * k];
        for strip in (0..width).step_by(P) {
            let first = column + strip;
            for row in (0..k).step_by(P) {
                let height = P.min(k - row);
                let mut square = [V::splat(0.0); P];
                for (i, to) in square.iter_mut().enumerate().take(n.saturating_sub(first)) {
                    *to = V::load_part(&from[(first + i) * stride + row..][..height]);
                }
                interleave(&mut square);
                for (i, line) in square.into_iter().enumerate().take(height) {
                    line.store(&mut panel[(row + i) * width + strip..]);
                }
            }
        }
    }
}

per_tier! {
    /// `out = a b`: `b` is packed, rows of `out` are `out_step` numbers apart.
    pub(super) fn product(a: Left, b: &[f32], size: Size, out: &mut [f32], out_step: usize)
    { scalar: product_scalar, vector: product_vector }
}

fn product_scalar(a: Left, b: &[f32], size: Size, out: &mut [f32], out_step: usize) {
    for row in 0..size.m {
        for column in 0..size.n {
            let panel = column / size.panel * size.panel;
            let width = size.width(panel);
            let mut sum = 0.0;
            for k in 0..size.k {
                sum += a.data[row * a.row_step + k * a.k_step]
                    * b[panel * size.k + k * width + column - panel];
            }
            out[row * out_step + column] = sum;
        }
    }
}

#[inline(always)]
fn product_vector<V: Vector>(a: Left, b: &[f32], size: Size, out: &mut [f32], out_step: usize) {
    let Size { m, n, k, .. } = size;
    if m == 0 || n == 0 {
        return;
    }
    // Everything the tiles read and write is inside: they are pointer code.
    assert!(k == 0 || (m - 1) * a.row_step + (k - 1) * a.k_step < a.data.len());
    assert!(packed_len(n, k) <= b.len());
    assert!((m - 1) * out_step + n <= out.len());
    for column in (0..n).step_by(size.panel) {
        let width = size.width(column);
        // 6 rows x 4 vectors (AVX-512: 24 accumulators of 32 registers) or 6 x 2 (AVX2: 12 of 16).
        let step = V::LANES * if V::LANES == 16 { 4 } else { 2 };
        for strip in (0..width).step_by(step) {
            let real = (n - column).saturating_sub(strip);
            if real == 0 {
                break;
            }
            // SAFETY: the panel begins inside `b`, `strip` is inside its width.
            let b = unsafe { b.as_ptr().add(column * k + strip) };
            let tile = Tile {
                a,
                b,
                width,
                k,
                out_step,
                real,
            };
            let out = &mut out[column + strip..];
            match real.min(step).div_ceil(V::LANES) {
                1 => rows::<V, 1>(tile, m, out),
                2 => rows::<V, 2>(tile, m, out),
                3 if V::LANES == 16 => rows::<V, 3>(tile, m, out),
                _ if V::LANES == 16 => rows::<V, 4>(tile, m, out),
                _ => unreachable!("a strip has two vectors of the narrow tier"),
            }
        }
    }
}

/// What the register tiles of one strip of columns share.
#[derive(Clone, Copy)]
struct Tile<'a> {
    a: Left<'a>,
    /// The first number of the strip.
    b: *const f32,
    /// From one `k` of `b` to the next.
    width: usize,
    k: usize,
    out_step: usize,
    /// How many columns from the strip's first one on are real.
    real: usize,
}

#[inline(always)]
fn rows<V: Vector, const C: usize>(tile: Tile, m: usize, out: &mut [f32]) {
    let mut row = 0;
    // One vector of columns alone leaves registers for 12 rows, and needs them to hide the latency.
    while C == 1 && m - row >= 12 {
        registers::<V, 12, C>(tile, row, out);
        row += 12;
    }
    while m - row >= 6 {
        registers::<V, 6, C>(tile, row, out);
        row += 6;
    }
    if m - row >= 4 {
        registers::<V, 4, C>(tile, row, out);
        row += 4;
    }
    if m - row >= 2 {
        registers::<V, 2, C>(tile, row, out);
        row += 2;
    }
    if m - row >= 1 {
        registers::<V, 1, C>(tile, row, out);
    }
}

/// Adds the products of one `k`.
///
/// # Safety
/// Each row is valid `at` numbers on, and `b` for `C` vectors.
#[inline(always)]
unsafe fn add_step<V: Vector, const R: usize, const C: usize>(
    a: &[*const f32; R],
    at: usize,
    b: *const f32,
    sums: &mut [[V; C]; R],
) {
    let mut columns = [V::splat(0.0); C];
    for (c, column) in columns.iter_mut().enumerate() {
        // SAFETY (of both): the caller's promise.
        *column = unsafe { V::load_ptr(b.add(c * V::LANES)) };
    }
    for (r, sums) in sums.iter_mut().enumerate() {
        let a = V::splat(unsafe { *a[r].add(at) });
        for (sum, column) in sums.iter_mut().zip(columns) {
            *sum = a.mul_add(column, *sum);
        }
    }
}

/// An `R x C` tile of sums in registers.
#[inline(always)]
fn registers<V: Vector, const R: usize, const C: usize>(tile: Tile, row: usize, out: &mut [f32]) {
    let mut sums = [[V::splat(0.0); C]; R];
    let first = tile.a.data[row * tile.a.row_step..].as_ptr();
    // A pointer for each row and one place for all: so an instruction reads a number and nothing is added up for it.
    let a: [*const f32; R] = std::array::from_fn(|r| first.wrapping_add(r * tile.a.row_step));
    let (mut at, mut b, mut rest) = (0, tile.b, tile.k);
    // Four steps at once: beside a neighbour on the core, what is between the products counts.
    if V::LANES == 8 && R * C == 12 && tile.a.k_step == 1 {
        for _ in 0..tile.k / 4 {
            for step in 0..4 {
                // SAFETY: rows, `k` and the strip are inside, as `product_vector` asserts.
                unsafe { add_step(&a, at + step, b, &mut sums) };
                b = b.wrapping_add(tile.width);
            }
            at += 4;
        }
        rest %= 4;
    }
    for _ in 0..rest {
        // SAFETY: as above.
        unsafe { add_step(&a, at, b, &mut sums) };
        at += tile.a.k_step;
        b = b.wrapping_add(tile.width);
    }
    if tile.real >= C * V::LANES {
        for (r, sums) in sums.into_iter().enumerate() {
            let out = &mut out[(row + r) * tile.out_step..][..C * V::LANES];
            for (c, sum) in sums.into_iter().enumerate() {
                sum.store(&mut out[c * V::LANES..]);
            }
        }
        return;
    }
    for (r, sums) in sums.into_iter().enumerate() {
        let out = &mut out[(row + r) * tile.out_step..];
        for (c, sum) in sums.into_iter().enumerate() {
            let left = tile.real - (c * V::LANES).min(tile.real);
            let len = left.min(V::LANES);
            sum.store_part(&mut out[c * V::LANES..][..len]);
        }
    }
}
