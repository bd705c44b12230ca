//! The inner loop in half precision, for CPUs that multiply it in vector registers (AVX512-FP16): up to 32 rows by 32 columns of
//! sums, 8 rows at a time.
//!
//! A register holds two halves of each of 16 columns, neighbours in the sum: one sum of those with even places and one of those
//! with odd places. 8 x 32 columns: 16 registers, 2 loads of right tiles, 1 broadcast of a left pair -> 19 of 32 registers. Every
//! [`FOLD`] steps the sums go over into single precision, in the first cache.

use std::arch::x86_64::*;

use super::Job;
use super::half::FOLD;

/// Rows whose sums are in registers.
const ROWS: usize = 8;
/// Numbers of a row of a strip's sums.
const COLUMNS: usize = 32;

/// Whether the CPU multiplies half precision.
pub(super) fn is_present() -> bool {
    is_x86_feature_detected!("avx512fp16")
}

/// `M` and `N` count tiles.
///
/// # Safety
/// The CPU has AVX512-FP16, and the job's pointers hold what it says for these tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512fp16")]
unsafe fn block<const M: usize, const N: usize>(job: &Job) {
    for first in (0..16 * M).step_by(ROWS) {
        // SAFETY: the caller's promise.
        unsafe { rows::<N>(job, first) };
    }
}

/// How far rows of a strip are apart. Distances that an address cannot have as a factor are at hand: computed anew for every row they
/// would take additions from the products.
#[derive(Clone, Copy)]
struct Apart {
    one: usize,
    three: usize,
    five: usize,
    seven: usize,
}

impl Apart {
    fn of(job: &Job) -> Self {
        let [one, three, five, seven] =
            [1, 3, 5, 7].map(|rows| std::hint::black_box(rows * job.stride));
        Self {
            one,
            three,
            five,
            seven,
        }
    }

    /// The same place some rows further, at most seven.
    #[inline(always)]
    fn row(self, from: *const u8, rows: usize) -> *const u8 {
        from.wrapping_add(match rows {
            0 => 0,
            1 | 2 | 4 => rows * self.one,
            3 | 6 => rows / 3 * self.three,
            5 => self.five,
            _ => self.seven,
        })
    }
}

/// Sums in single precision: of the even places and of the odd ones, `[row][tile][half of the columns][16]`.
type Folded<const N: usize> = [[[__m512; 2]; N]; ROWS];

/// Eight rows of sums.
///
/// # Safety
/// As for [`block`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512fp16")]
unsafe fn rows<const N: usize>(job: &Job, first: usize) {
    let start = if first < 16 { job.a0 } else { job.a1 };
    let start = start.wrapping_add(first % 16 * job.stride);
    let apart = Apart::of(job);
    let mut folded: Folded<N> = [[[_mm512_setzero_ps(); 2]; N]; ROWS];
    let mut next = job.prefetch;
    for step in (0..job.steps).step_by(FOLD) {
        let mut sums = [[_mm512_setzero_ph(); N]; ROWS];
        for step in step..job.steps.min(step + FOLD) {
            if first == 0 {
                for _ in 0..job.lines {
                    _mm_prefetch::<_MM_HINT_T1>(next.cast());
                    next = next.wrapping_add(64);
                }
            }
            // SAFETY (of all blocks below): the caller's promise.
            let offset = unsafe { *job.offsets.add(step) };
            let a = start.wrapping_add(offset);
            let b = job.b.wrapping_add(step * N * 1024);
            for word in 0..16 {
                let mut columns = [_mm512_setzero_ph(); N];
                for n in 0..N {
                    let from = b.wrapping_add(1024 * n + 64 * word);
                    columns[n] = _mm512_castsi512_ph(unsafe { _mm512_loadu_si512(from.cast()) });
                }
                let a = a.wrapping_add(4 * word);
                for row in 0..ROWS {
                    let from = apart.row(a, row);
                    let x = unsafe { from.cast::<i32>().read_unaligned() };
                    let x = _mm512_castsi512_ph(_mm512_set1_epi32(x));
                    for n in 0..N {
                        sums[row][n] = _mm512_fmadd_ph(x, columns[n], sums[row][n]);
                    }
                }
            }
        }
        // By way of the first cache: from a register, half of it must be brought to its place first. What leaves is a copy, so that
        // the sums themselves stay in registers.
        let mut near = [[_mm512_setzero_ph(); N]; ROWS];
        for row in 0..ROWS {
            for n in 0..N {
                near[row][n] = sums[row][n];
            }
        }
        let near = std::hint::black_box(&near);
        for row in 0..ROWS {
            for n in 0..N {
                let from = (&raw const near[row][n]).cast::<__m256i>();
                for (at, folded) in folded[row][n].iter_mut().enumerate() {
                    let halves = unsafe { _mm256_loadu_si256(from.add(at)) };
                    *folded = _mm512_add_ps(*folded, _mm512_cvtxph_ps(_mm256_castsi256_ph(halves)));
                }
            }
        }
    }
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for row in 0..ROWS {
        for n in 0..N {
            let [before, behind] = folded[row][n];
            let sum = _mm512_add_ps(
                _mm512_permutex2var_ps(before, even, behind),
                _mm512_permutex2var_ps(before, odd, behind),
            );
            let to = job.c.wrapping_add((first + row) * COLUMNS + 16 * n);
            // SAFETY: the caller's promise.
            unsafe {
                let sum = match job.add {
                    true => _mm512_add_ps(_mm512_loadu_ps(to), sum),
                    false => sum,
                };
                _mm512_storeu_ps(to, sum);
            }
        }
    }
}

/// Adds the same products `rounds` times to 16 registers, for the machine's peak; how many multiply-adds that was.
///
/// # Safety
/// The CPU has AVX512-FP16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512fp16")]
pub(crate) unsafe fn repeat(rounds: usize) -> usize {
    let half = std::hint::black_box(_mm512_castsi512_ph(_mm512_set1_epi16(0x3800)));
    let mut sums = [half; 16];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ph(*sum, half, half);
        }
    }
    std::hint::black_box(sums);
    rounds * 16 * 32
}

/// The blocks, `[row tiles - 1][column tiles - 1]`.
pub(super) const BLOCKS: super::OfElement = [
    [block::<1, 1>, block::<1, 2>],
    [block::<2, 1>, block::<2, 2>],
];
