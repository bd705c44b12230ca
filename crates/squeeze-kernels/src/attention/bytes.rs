//! Attention of one head in bytes, by the instructions that add up products of bytes (VNNI): scores of some queries with all keys,
//! their softmax, and its product with the values. What is computed is defined in `bytes_scalar.rs`, to the bit.
//!
//! Bytes of keys are unsigned, 128 too large: that adds the same to all scores of a query, which softmax does not see.

use std::arch::x86_64::*;
use std::f32::consts::LOG2_E;

use super::blocks::Head;
use super::bytes_scalar::{LEAST, LOG2_TOP, ROUGH_EXP2};
use super::{Attention, Qkv, Rows};
use crate::elementwise::transpose::interleave;
use crate::vector::F32x16;
use crate::{SharedMut, Tier};

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
    let a = head.attention;
    assert!(fits(a), "the machine adds up products of bytes");
    let length = a.length(head.sequence);
    if length == 0 {
        for row in 0..a.rows(head.sequence) {
            let start = (a.start(head.sequence) + row) * a.channels() + head.head * a.dim;
            // SAFETY: each head of each sequence has its own part of the output.
            unsafe { y.slice(start..start + a.dim) }.fill(0.0);
        }
        return;
    }
    let aligned = scratch.as_ptr().align_offset(LINE);
    let places = Places::new(a);
    let base = scratch[aligned..][..places.end / 4]
        .as_mut_ptr()
        .cast::<u8>();
    let work = Work {
        head,
        places,
        length,
        qkv,
        y,
        base,
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

/// Keys or values of the head: the first number, from one row to the next, and their marks.
#[derive(Clone, Copy)]
struct Side {
    from: *const f32,
    stride: usize,
    marks: Marks,
}

impl Side {
    /// Sixteen channels of a row.
    fn at(self, key: usize, column: usize) -> *const f32 {
        self.from.wrapping_add(key * self.stride + column * LANES)
    }
}

/// What makes each channel of all keys or values bytes, and back: a register of each for every sixteen channels.
#[derive(Clone, Copy)]
struct Marks(*mut f32);

impl Marks {
    const COUNT: usize = 4;
    const FACTOR: usize = 0;
    const SHIFT: usize = 1;
    const STEP: usize = 2;
    const MIDDLE: usize = 3;
    /// Of keys, whose middles do not count.
    const QUERY: usize = 3;

    /// # Safety
    /// The marks of this register of channels are written, and the CPU has AVX-512.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn get(self, column: usize, what: usize) -> __m512 {
        let at = self.0.wrapping_add((column * Self::COUNT + what) * LANES);
        // SAFETY: the caller's promise.
        unsafe { _mm512_load_ps(at) }
    }

    /// # Safety
    /// There is room for the marks of this register of channels, and the CPU has AVX-512.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn set(self, column: usize, what: usize, mark: __m512) {
        let at = self.0.wrapping_add((column * Self::COUNT + what) * LANES);
        // SAFETY: the caller's promise.
        unsafe { _mm512_store_ps(at, mark) };
    }
}

/// Four registers of whole numbers as signed bytes: dword `4 i + j` of them has four bytes of register `j`, from its lane `4 i` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn to_bytes([a, b, c, d]: [__m512i; 4]) -> __m512i {
    _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d))
}

/// The dwords of [`to_bytes`] in the order of the registers; it undoes itself.
#[inline]
#[target_feature(enable = "avx512f")]
fn in_order(bytes: __m512i) -> __m512i {
    let places = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(places, bytes)
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
            };
            unsafe { self.product::<true>(&scores, first, &[0.0; QUERIES]) };
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
            };
            unsafe { self.product::<false>(&sums, first, &shares) };
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

    /// The lanes that are channels in register `v` of `V`: all but in the last one.
    #[inline(always)]
    fn channels<const V: usize>(&self, first: usize, v: usize) -> __mmask16 {
        match v + 1 < V {
            true => 0xffff,
            false => lanes(self.head.attention.dim - (first + v) * LANES),
        }
    }

    /// Finds the marks of all channels of keys or values. A channel with a number that is not finite has the middle and step NaN.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn mark(&self, side: Side) {
        for first in (0..self.places.columns).step_by(4) {
            // SAFETY: the caller's promise.
            unsafe {
                match self.places.columns - first {
                    1 => self.mark_columns::<1>(side, first),
                    2 => self.mark_columns::<2>(side, first),
                    3 => self.mark_columns::<3>(side, first),
                    _ => self.mark_columns::<4>(side, first),
                }
            }
        }
    }

    /// The same for `V` registers of channels.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn mark_columns<const V: usize>(&self, side: Side, first: usize) {
        let (zero, half) = (_mm512_setzero_ps(), _mm512_set1_ps(0.5));
        let mut low = [_mm512_set1_ps(f32::INFINITY); V];
        let mut high = [_mm512_set1_ps(f32::NEG_INFINITY); V];
        let mut odd = [zero; V];
        let last = self.channels::<V>(first, V - 1);
        for key in 0..self.length {
            for v in 0..V {
                let mask = if v + 1 < V { 0xffff } else { last };
                // SAFETY: the row has so many numbers left.
                let x = unsafe { _mm512_maskz_loadu_ps(mask, side.at(key, first + v)) };
                low[v] = _mm512_min_ps(x, low[v]);
                high[v] = _mm512_max_ps(x, high[v]);
                // Nothing times zero is zero but a finite number.
                odd[v] = _mm512_fmadd_ps(x, zero, odd[v]);
            }
        }
        for v in 0..V {
            let (low, high) = (_mm512_mul_ps(low[v], half), _mm512_mul_ps(high[v], half));
            let middle = _mm512_add_ps(_mm512_add_ps(high, low), odd[v]);
            let span = _mm512_sub_ps(high, low);
            let is_some = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(span, _mm512_set1_ps(LEAST));
            let factor = _mm512_maskz_div_ps(is_some, _mm512_set1_ps(127.0), span);
            let step = _mm512_fmadd_ps(span, _mm512_set1_ps(1.0 / 127.0), odd[v]);
            let shift = _mm512_sub_ps(zero, _mm512_mul_ps(middle, factor));
            // SAFETY: the caller's promise.
            unsafe {
                side.marks.set(first + v, Marks::FACTOR, factor);
                side.marks.set(first + v, Marks::SHIFT, shift);
                side.marks.set(first + v, Marks::STEP, step);
                side.marks.set(first + v, Marks::MIDDLE, middle);
            }
        }
    }

    /// Sixteen channels of a key or value as whole numbers.
    ///
    /// # Safety
    /// As for [`Work::run`], and the row is inside.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn whole(side: Side, key: usize, column: usize, mask: __mmask16) -> __m512i {
        // SAFETY: the row has so many numbers left, and the marks are written.
        unsafe {
            let x = _mm512_maskz_loadu_ps(mask, side.at(key, column));
            let factor = side.marks.get(column, Marks::FACTOR);
            let shift = side.marks.get(column, Marks::SHIFT);
            _mm512_cvtps_epi32(_mm512_fmadd_ps(x, factor, shift))
        }
    }

    /// The keys, `[tile of 16][quad of channels][16 keys][4]`, 128 too large.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn pack_keys(&self, side: Side) {
        for tile in 0..self.length.div_ceil(LANES) {
            for first in (0..self.places.columns).step_by(4) {
                // SAFETY: the caller's promise.
                unsafe {
                    match self.places.columns - first {
                        1 => self.pack_tile::<1>(side, tile, first),
                        2 => self.pack_tile::<2>(side, tile, first),
                        3 => self.pack_tile::<3>(side, tile, first),
                        _ => self.pack_tile::<4>(side, tile, first),
                    }
                }
            }
        }
    }

    /// `V` registers of channels of sixteen keys.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn pack_tile<const V: usize>(&self, side: Side, tile: usize, first: usize) {
        let p = &self.places;
        let mut rows = [F32x16(_mm512_setzero_ps()); LANES];
        let keys = (self.length - tile * LANES).min(LANES);
        let last = self.channels::<V>(first, V - 1);
        for (at, row) in rows.iter_mut().enumerate().take(keys) {
            let mut four = [_mm512_setzero_si512(); 4];
            for v in 0..V {
                // SAFETY: the caller's promise.
                four[v] = unsafe {
                    let mask = if v + 1 < V { 0xffff } else { last };
                    Self::whole(side, tile * LANES + at, first + v, mask)
                };
            }
            let bytes = _mm512_xor_si512(to_bytes(four), _mm512_set1_epi8(-128));
            *row = F32x16(_mm512_castsi512_ps(bytes));
        }
        interleave(&mut rows);
        for (at, row) in rows.into_iter().enumerate() {
            let quad = first * 4 + at % 4 * 4 + at / 4;
            if quad < p.channel_quads {
                let to = p.keys + (tile * p.channel_quads + quad) * LINE;
                // SAFETY: the caller's promise.
                unsafe { _mm512_store_ps(self.base.wrapping_add(to).cast(), row.0) };
            }
        }
    }

    /// The values, `[16 channels at a time][quad of keys][16 channels][4 keys]`.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn pack_values(&self, side: Side) {
        let p = &self.places;
        // In each part of a register four bytes of four keys become four keys of four channels.
        let turned = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let turned = _mm512_broadcast_i32x4(turned);
        for quad in 0..self.length.div_ceil(4) {
            let keys = (self.length - 4 * quad).min(4);
            for column in 0..p.columns {
                let mask = self.channels::<1>(column, 0);
                let mut four = [_mm512_setzero_si512(); 4];
                for (at, four) in four.iter_mut().enumerate().take(keys) {
                    // SAFETY: the caller's promise.
                    *four = unsafe { Self::whole(side, 4 * quad + at, column, mask) };
                }
                let bytes = _mm512_shuffle_epi8(to_bytes(four), turned);
                let to = p.values + (column * p.key_quads + quad) * LINE;
                // SAFETY: the caller's promise.
                unsafe { _mm512_store_si512(self.base.wrapping_add(to).cast(), bytes) };
            }
        }
    }

    /// What makes all queries of the head signed bytes, a factor for each channel, where the middles of the keys were; and what scores
    /// are multiplied by to be powers of two.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn mark_queries(&self, queries: Side) -> f32 {
        let rows = self.head.attention.rows(self.head.sequence);
        let columns = self.places.columns;
        let mut most = _mm512_setzero_si512();
        for first in (0..columns).step_by(4) {
            // SAFETY: the caller's promise.
            let size = unsafe {
                match columns - first {
                    1 => self.size::<1>(queries, rows, first),
                    2 => self.size::<2>(queries, rows, first),
                    3 => self.size::<3>(queries, rows, first),
                    _ => self.size::<4>(queries, rows, first),
                }
            };
            most = _mm512_max_epu32(most, size);
        }
        let most = f32::from_bits(_mm512_reduce_max_epu32(most));
        let factor = if most < LEAST { 0.0 } else { 127.0 / most };
        for column in 0..columns {
            // SAFETY: the marks are written, and there is room for this one.
            unsafe {
                let step = queries.marks.get(column, Marks::STEP);
                let factor = _mm512_mul_ps(step, _mm512_set1_ps(factor));
                queries.marks.set(column, Marks::QUERY, factor);
            }
        }
        most * (1.0 / 127.0) * (self.head.attention.scale * LOG2_E)
    }

    /// The largest of `V` registers of channels of all queries, times the steps of the keys' channels, in each lane without their signs:
    /// they come in the order of their bits, NaN above infinity.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn size<const V: usize>(&self, queries: Side, rows: usize, first: usize) -> __m512i {
        let last = self.channels::<V>(first, V - 1);
        let mut most = [_mm512_setzero_si512(); V];
        for row in 0..rows {
            for v in 0..V {
                let mask = if v + 1 < V { 0xffff } else { last };
                // SAFETY: the row has so many numbers left, and the marks are written.
                let x = unsafe {
                    let x = _mm512_maskz_loadu_ps(mask, queries.at(row, first + v));
                    _mm512_mul_ps(x, queries.marks.get(first + v, Marks::STEP))
                };
                most[v] = _mm512_max_epu32(most[v], _mm512_castps_si512(_mm512_abs_ps(x)));
            }
        }
        for v in 1..V {
            most[0] = _mm512_max_epu32(most[0], most[v]);
        }
        most[0]
    }

    /// A query as signed bytes at the place of a row.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn pack_query(&self, queries: Side, query: usize, row: usize) {
        let p = &self.places;
        for first in (0..p.columns).step_by(4) {
            let to = p.queries + row * p.query + first * LANES;
            // SAFETY: the caller's promise.
            unsafe {
                let bytes = match p.columns - first {
                    1 => self.query::<1>(queries, query, first),
                    2 => self.query::<2>(queries, query, first),
                    3 => self.query::<3>(queries, query, first),
                    _ => self.query::<4>(queries, query, first),
                };
                _mm512_store_si512(self.base.wrapping_add(to).cast(), bytes);
            }
        }
    }

    /// `V` registers of channels of a query as bytes.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn query<const V: usize>(&self, queries: Side, query: usize, first: usize) -> __m512i {
        let mut four = [_mm512_setzero_si512(); 4];
        for v in 0..V {
            let mask = self.channels::<V>(first, v);
            // SAFETY: the row has so many numbers left, and the marks are written.
            four[v] = unsafe {
                let x = _mm512_maskz_loadu_ps(mask, queries.at(query, first + v));
                let factor = queries.marks.get(first + v, Marks::QUERY);
                _mm512_cvtps_epi32(_mm512_mul_ps(x, factor))
            };
        }
        in_order(to_bytes(four))
    }

    /// The exponentials of the scores of two queries as bytes, in lines of keys, and their sums: two, since each waits for what rounding
    /// took from the last one.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn softmax(&self, row: usize, cool: f32) -> [i32; 2] {
        let p = &self.places;
        let from = [row, row + 1].map(|row| {
            let from = self.base.wrapping_add(p.scores + row * p.score);
            from.cast::<i32>().cast_const()
        });
        let mut most = [_mm512_set1_epi32(i32::MIN); 2];
        let (whole, rest) = (self.length / LANES, lanes(self.length % LANES));
        for at in 0..whole {
            for row in 0..2 {
                // SAFETY (of all blocks below): the caller's promise.
                let score = unsafe { _mm512_load_si512(from[row].wrapping_add(at * LANES).cast()) };
                most[row] = _mm512_max_epi32(most[row], score);
            }
        }
        let zero = _mm512_setzero_ps();
        let none = Powers {
            cool: _mm512_set1_ps(cool),
            below: zero,
            carry: zero,
        };
        let mut powers = [none; 2];
        for row in 0..2 {
            let from = from[row].wrapping_add(whole * LANES);
            let score = unsafe { _mm512_maskz_load_epi32(rest, from) };
            let most = _mm512_mask_max_epi32(most[row], rest, most[row], score);
            let most = _mm512_reduce_max_epi32(most) as f32;
            powers[row] = Powers {
                below: _mm512_set1_ps(LOG2_TOP - most * cool),
                ..powers[row]
            };
        }
        let to = [row, row + 1].map(|row| {
            self.base
                .wrapping_add(p.probabilities + row * p.probability)
        });
        let mut sum = [_mm512_setzero_si512(); 2];
        for line in 0..self.length.div_ceil(LINE) {
            let from = from.map(|from| from.wrapping_add(line * LINE));
            let left = self.length - line * LINE;
            let bytes = unsafe {
                match left >= LINE {
                    true => Powers::line::<true>(&mut powers, from, left),
                    false => Powers::line::<false>(&mut powers, from, left),
                }
            };
            for row in 0..2 {
                sum[row] = _mm512_dpbusd_epi32(sum[row], bytes[row], _mm512_set1_epi8(1));
                let to = to[row].wrapping_add(line * LINE).cast();
                unsafe { _mm512_store_si512(to, bytes[row]) };
            }
        }
        [
            _mm512_reduce_add_epi32(sum[0]),
            _mm512_reduce_add_epi32(sum[1]),
        ]
    }

    /// A product's tiles, as many rows at a time as there are registers for; `SCORES` where its right side are keys.
    ///
    /// # Safety
    /// As for [`Work::run`]; `at` is the first query, `factors` are those of its rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn product<const SCORES: bool>(
        &self,
        product: &Product,
        at: usize,
        factors: &[f32; QUERIES],
    ) {
        for tile in (0..product.tiles).step_by(4) {
            // SAFETY: the caller's promise.
            unsafe {
                match product.tiles - tile {
                    1 => self.tiles::<SCORES, 12, 1>(product, tile, at, factors),
                    2 => self.tiles::<SCORES, 12, 2>(product, tile, at, factors),
                    3 => self.tiles::<SCORES, 6, 3>(product, tile, at, factors),
                    _ => self.tiles::<SCORES, 6, 4>(product, tile, at, factors),
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
        at: usize,
        factors: &[f32; QUERIES],
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
                if row < product.rows {
                    // SAFETY: the caller's promise.
                    unsafe {
                        match SCORES {
                            true => self.write_scores(sums, row, tile),
                            false => self.write_sums(sums, (at + row, factors[row]), tile),
                        }
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

/// What the exponentials of a query's scores are counted from, and what rounding took from the last of them.
#[derive(Clone, Copy)]
struct Powers {
    cool: __m512,
    below: __m512,
    carry: __m512,
}

/// `2^x` as [`super::bytes_scalar`] has it.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn rough_exp2(x: __m512) -> __m512 {
    let [c0, c1, c2] = ROUGH_EXP2.map(|c| _mm512_set1_ps(c));
    // What is above the whole number below.
    let above = _mm512_reduce_ps::<{ _MM_FROUND_TO_NEG_INF }>(x);
    let p = _mm512_fmadd_ps(_mm512_fmadd_ps(c2, above, c1), above, c0);
    _mm512_scalef_ps(p, x)
}

impl Powers {
    /// The exponentials of the next 64 scores, or of those that are `left`, as bytes: of two queries.
    ///
    /// # Safety
    /// The CPU has the features, and `from` is valid for so many scores of each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn line<const FULL: bool>(
        rows: &mut [Powers; 2],
        from: [*const i32; 2],
        left: usize,
    ) -> [__m512i; 2] {
        let mut four = [[_mm512_setzero_si512(); 4]; 2];
        for at in 0..4 {
            let mask = match FULL {
                true => 0xffff,
                false => lanes(left.saturating_sub(at * LANES)),
            };
            for row in 0..2 {
                let Powers { cool, below, carry } = rows[row];
                let from = from[row].wrapping_add(at * LANES);
                // SAFETY: the caller's promise.
                let score = unsafe { _mm512_maskz_load_epi32(mask, from) };
                let power = rough_exp2(_mm512_fmadd_ps(_mm512_cvtepi32_ps(score), cool, below));
                let exact = match FULL {
                    true => _mm512_add_ps(power, carry),
                    false => _mm512_mask_add_ps(carry, mask, power, carry),
                };
                let whole = _mm512_cvtps_epi32(exact);
                rows[row].carry = _mm512_sub_ps(exact, _mm512_cvtepi32_ps(whole));
                four[row][at] = whole;
            }
        }
        // Of 0 to 255, so signed words and unsigned bytes lose nothing.
        let bytes = |[a, b, c, d]: [__m512i; 4]| {
            in_order(_mm512_packus_epi16(
                _mm512_packs_epi32(a, b),
                _mm512_packs_epi32(c, d),
            ))
        };
        [bytes(four[0]), bytes(four[1])]
    }
}
