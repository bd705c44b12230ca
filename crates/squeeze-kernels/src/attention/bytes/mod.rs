//! Attention of one head in bytes, by the instructions that add up products of bytes (VNNI): scores of some queries with all keys,
//! their softmax, and its product with the values. What is computed is defined in `bytes_scalar.rs`, to the bit.
//!
//! Bytes of keys are unsigned, 128 too large: that adds the same to all scores of a query, which softmax does not see.

mod pack;
mod softmax;

use std::arch::x86_64::*;

use super::blocks::{Head, lines};
use super::{Attention, Qkv, Rows};
use crate::{SharedMut, Tier};
use pack::{Marks, Side};

/// Lanes of a register.
const LANES: usize = 16;
/// Bytes of a register: four of each lane's.
const LINE: usize = 64;
/// Queries that pass together: whole numbers of the rows of tiles.
const QUERIES: usize = 24;
/// The most keys and channels of a head.
const MOST: usize = 4096;

/// Whether the CPU has the instructions.
pub(super) fn is_present() -> bool {
    Tier::detect() >= Tier::Avx512 && is_x86_feature_detected!("avx512vnni")
}

/// Whether the CPU has the instructions, a head is small enough, and all keys are seen by all queries.
pub(super) fn fits(attention: &Attention) -> bool {
    is_present()
        && attention.additive.is_none()
        && attention.sight != super::Sight::Causal
        && attention.keys().max(attention.dim) <= MOST
}

/// Where everything lies in the scratch of one thread, in bytes.
struct Places {
    /// Registers of numbers that a row of channels takes.
    columns: usize,
    /// Quads of channels and of keys.
    channel_quads: usize,
    key_quads: usize,
    /// Bytes of a row of queries, of scores and of probabilities.
    query: usize,
    score: usize,
    probability: usize,
    key_marks: usize,
    value_marks: usize,
    keys: usize,
    values: usize,
    queries: usize,
    scores: usize,
    probabilities: usize,
    end: usize,
}

impl Places {
    fn new(attention: &Attention) -> Places {
        let (keys, dim) = (attention.keys(), attention.dim);
        let columns = dim.div_ceil(LANES);
        let (channel_quads, key_quads) = (dim.div_ceil(4), keys.div_ceil(LINE) * LANES);
        let query = LINE * dim.div_ceil(LINE);
        // Odd numbers of lines, so that rows spread over a cache.
        let score = LINE * (keys.div_ceil(LANES) | 1);
        let probability = LINE * (keys.div_ceil(LINE) | 1);
        let key_marks = 0;
        let value_marks = key_marks + Marks::COUNT * columns * LINE;
        let keys_at = value_marks + Marks::COUNT * columns * LINE;
        let values = keys_at + keys.div_ceil(LANES) * channel_quads * LINE;
        let queries = values + columns * key_quads * LINE;
        let scores = queries + QUERIES * query;
        let probabilities = scores + QUERIES * score;
        Places {
            columns,
            channel_quads,
            key_quads,
            query,
            score,
            probability,
            key_marks,
            value_marks,
            keys: keys_at,
            values,
            queries,
            scores,
            probabilities,
            end: probabilities + QUERIES * probability,
        }
    }
}

/// How many numbers of scratch one thread needs, with room to begin at a line.
pub(super) fn scratch(attention: &Attention) -> usize {
    Places::new(attention).end / 4 + LANES
}

/// One head.
///
/// # Panics
/// If the head does not fit, or the scratch is too short.
pub(super) fn head(head: Head, qkv: Qkv, y: &SharedMut<f32>, scratch: &mut [f32]) {
    let (a, length) = (head.attention, head.length());
    assert!(fits(a), "the machine adds up products of bytes");
    if length == 0 {
        return head.write_zeros(y);
    }
    let places = Places::new(a);
    let work = Work {
        head,
        base: lines(scratch, places.end),
        places,
        length,
        qkv,
        y,
    };
    // SAFETY: the machine has the instructions; the scratch holds all places.
    unsafe { work.run() };
}

struct Work<'a> {
    head: Head<'a>,
    places: Places,
    length: usize,
    qkv: Qkv<'a>,
    y: &'a SharedMut<'a, f32>,
    base: *mut u8,
}

/// The first lanes.
fn lanes(count: usize) -> __mmask16 {
    match count {
        LANES.. => 0xffff,
        _ => (1 << count) - 1,
    }
}

/// Products of some rows of quads with registers of quads.
struct Product {
    /// The first row, and from one to the next.
    a: (*const u8, usize),
    rows: usize,
    /// Registers of the first tile of columns, one for each quad, and from one tile to the next.
    b: (*const u8, usize),
    tiles: usize,
    quads: usize,
    /// Of sums of values the first query, and what the sums of each row are multiplied by.
    shares: Option<(usize, [f32; QUERIES])>,
}

impl Work<'_> {
    /// # Safety
    /// The CPU has the features, and `base` is valid for all places.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn run(&self) {
        let (p, a) = (&self.places, self.head.attention);
        // SAFETY (of all blocks below): the caller's promise.
        unsafe {
            let seen = (a.key_start(self.head.sequence), self.length);
            let keys = self.side(self.qkv.k, seen, p.key_marks);
            let values = self.side(self.qkv.v, seen, p.value_marks);
            self.mark(keys);
            self.mark(values);
            self.pack_keys(keys);
            self.pack_values(values);
        }
        let rows = a.rows(self.head.sequence);
        if rows == 0 {
            return;
        }
        let first = a.start(self.head.sequence);
        let queries = self.side(self.qkv.q, (first, rows), p.key_marks);
        let cool = unsafe { self.mark_queries(queries) };
        for first in (0..rows).step_by(QUERIES) {
            let count = QUERIES.min(rows - first);
            for row in 0..count {
                unsafe { self.pack_query(queries, first + row, row) };
            }
            let scores = Product {
                a: (self.base.wrapping_add(p.queries), p.query),
                rows: count,
                b: (self.base.wrapping_add(p.keys), p.channel_quads * LINE),
                tiles: self.length.div_ceil(LANES),
                quads: p.channel_quads,
                shares: None,
            };
            unsafe { self.product(&scores) };
            let mut shares = [0.0; QUERIES];
            for row in (0..count).step_by(2) {
                let sums = unsafe { self.softmax(row, cool) };
                shares[row] = 1.0 / sums[0] as f32;
                shares[row + 1] = 1.0 / sums[1] as f32;
            }
            let sums = Product {
                a: (self.base.wrapping_add(p.probabilities), p.probability),
                rows: count,
                b: (self.base.wrapping_add(p.values), p.key_quads * LINE),
                tiles: p.columns,
                quads: self.length.div_ceil(4),
                shares: Some((first, shares)),
            };
            unsafe { self.product(&sums) };
        }
    }

    /// So many rows of this head from a row on, whose marks are at a place.
    fn side(&self, rows: Rows, (first, count): (usize, usize), marks: usize) -> Side {
        let (a, at) = (self.head.attention, self.head.head * rows.head);
        // The last one is looked up too: all of them are inside.
        assert!((first + count - 1) * rows.stride + at + a.dim <= rows.data.len());
        Side {
            from: rows.data[first * rows.stride + at..].as_ptr(),
            stride: rows.stride,
            marks: Marks(self.base.wrapping_add(marks).cast()),
        }
    }

    /// A product: scores, whose right side are keys, or sums of values.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn product(&self, product: &Product) {
        // SAFETY: the caller's promise.
        unsafe {
            match product.shares {
                None => self.all_tiles::<true>(product),
                Some(_) => self.all_tiles::<false>(product),
            }
        }
    }

    /// Its tiles, as many rows at a time as there are registers for.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn all_tiles<const SCORES: bool>(&self, product: &Product) {
        for tile in (0..product.tiles).step_by(4) {
            // SAFETY: the caller's promise.
            unsafe {
                match product.tiles - tile {
                    1 => self.tiles::<SCORES, 12, 1>(product, tile),
                    2 => self.tiles::<SCORES, 12, 2>(product, tile),
                    3 => self.tiles::<SCORES, 6, 3>(product, tile),
                    _ => self.tiles::<SCORES, 6, 4>(product, tile),
                }
            }
        }
    }

    /// `V` registers of columns of all rows, `M` rows at a time.
    ///
    /// # Safety
    /// As for [`Work::product`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn tiles<const SCORES: bool, const M: usize, const V: usize>(
        &self,
        product: &Product,
        tile: usize,
    ) {
        let (left, right) = (product.a.1, product.b.1);
        for first in (0..product.rows).step_by(M) {
            let mut sums = [[_mm512_setzero_si512(); V]; M];
            let mut a = product.a.0.wrapping_add(first * left);
            let mut b = product.b.0.wrapping_add(tile * right);
            for _ in 0..product.quads {
                let mut column = [_mm512_setzero_si512(); V];
                for (v, column) in column.iter_mut().enumerate() {
                    // SAFETY: the tile has a register for each quad.
                    *column = unsafe { _mm512_load_si512(b.wrapping_add(v * right).cast()) };
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: there is room for whole numbers of `M` rows, each of so many quads.
                    let quad = unsafe { a.wrapping_add(row * left).cast::<i32>().read() };
                    let quad = _mm512_set1_epi32(quad);
                    for (sum, &column) in sums.iter_mut().zip(&column) {
                        *sum = match SCORES {
                            true => _mm512_dpbusd_epi32(*sum, column, quad),
                            false => _mm512_dpbusd_epi32(*sum, quad, column),
                        };
                    }
                }
                a = a.wrapping_add(4);
                b = b.wrapping_add(LINE);
            }
            for (next, sums) in sums.into_iter().enumerate() {
                let row = first + next;
                if row >= product.rows {
                    continue;
                }
                // SAFETY: the caller's promise.
                unsafe {
                    match &product.shares {
                        Some((at, shares)) if !SCORES => {
                            self.write_sums(sums, (at + row, shares[row]), tile);
                        }
                        _ => self.write_scores(sums, row, tile),
                    }
                }
            }
        }
    }

    /// # Safety
    /// As for [`Work::product`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn write_scores<const V: usize>(&self, sums: [__m512i; V], row: usize, tile: usize) {
        let p = &self.places;
        let to = p.scores + row * p.score + tile * LINE;
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_store_si512(self.base.wrapping_add(to + v * LINE).cast(), sum) };
        }
    }

    /// Makes sums of values numbers, and writes them out.
    ///
    /// # Safety
    /// As for [`Work::product`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn write_sums<const V: usize>(
        &self,
        sums: [__m512i; V],
        (query, share): (usize, f32),
        tile: usize,
    ) {
        let a = self.head.attention;
        let marks = Marks(self.base.wrapping_add(self.places.value_marks).cast());
        let row = (a.start(self.head.sequence) + query) * a.channels() + self.head.head * a.dim;
        let share = _mm512_set1_ps(share);
        for (v, sum) in sums.into_iter().enumerate() {
            let column = tile + v;
            let start = row + column * LANES;
            let end = (start + LANES).min(row + a.dim);
            // SAFETY: each head of each sequence has its own part of the output, and the marks are written.
            unsafe {
                let factor = _mm512_mul_ps(share, marks.get(column, Marks::STEP));
                let middle = marks.get(column, Marks::MIDDLE);
                let y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, middle);
                let to = self.y.slice(start..end).as_mut_ptr();
                _mm512_mask_storeu_ps(to, self.channels::<V>(tile, v), y);
            }
        }
    }
}
