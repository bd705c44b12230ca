//! Keys, values and queries of a head as bytes, and what they are counted in.

use std::arch::x86_64::*;
use std::f32::consts::LOG2_E;

use super::{LANES, LINE, Work, lanes};
use crate::attention::bytes_scalar::LEAST;
use crate::elementwise::transpose::interleave;
use crate::vector::F32x16;

/// Keys, values or queries of the head: the first number, from one row to the next, and their marks.
#[derive(Clone, Copy)]
pub(super) struct Side {
    pub from: *const f32,
    pub stride: usize,
    pub marks: Marks,
}

impl Side {
    /// Sixteen channels of a row.
    fn at(self, key: usize, column: usize) -> *const f32 {
        self.from.wrapping_add(key * self.stride + column * LANES)
    }
}

/// What makes each channel of all keys or values bytes, and back: a register of each for every sixteen channels.
#[derive(Clone, Copy)]
pub(super) struct Marks(pub *mut f32);

impl Marks {
    pub const COUNT: usize = 4;
    const FACTOR: usize = 0;
    const SHIFT: usize = 1;
    pub const STEP: usize = 2;
    pub const MIDDLE: usize = 3;
    /// Of keys, whose middles do not count.
    const QUERY: usize = 3;

    /// # Safety
    /// The marks of this register of channels are written, and the CPU has AVX-512.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub unsafe fn get(self, column: usize, what: usize) -> __m512 {
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
pub(super) fn in_order(bytes: __m512i) -> __m512i {
    let places = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(places, bytes)
}

impl Work<'_> {
    /// The lanes that are channels in register `v` of `V`: all but in the last one.
    #[inline(always)]
    pub(super) fn channels<const V: usize>(&self, first: usize, v: usize) -> __mmask16 {
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
    pub(super) unsafe fn mark(&self, side: Side) {
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
    pub(super) unsafe fn pack_keys(&self, side: Side) {
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
    pub(super) unsafe fn pack_values(&self, side: Side) {
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
    pub(super) unsafe fn mark_queries(&self, queries: Side) -> f32 {
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
    pub(super) unsafe fn pack_query(&self, queries: Side, query: usize, row: usize) {
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
}
