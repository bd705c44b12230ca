//! Scores of queries as probabilities in bytes.

use std::arch::x86_64::*;

use super::pack::in_order;
use super::{LANES, LINE, Work, lanes};
use crate::attention::bytes_scalar::{LOG2_TOP, ROUGH_EXP2};

impl Work<'_> {
    /// The exponentials of the scores of two queries as bytes, in lines of keys, and their sums: two, since each waits for what rounding
    /// took from the last one.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    pub(super) unsafe fn softmax(&self, row: usize, cool: f32) -> [i32; 2] {
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
}

/// What the exponentials of a query's scores are counted from, and what rounding took from the last of them.
#[derive(Clone, Copy)]
struct Powers {
    cool: __m512,
    below: __m512,
    carry: __m512,
}

/// `2^x` as `bytes_scalar.rs` has it.
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
