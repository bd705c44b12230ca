//! The inner loop in vector registers, for CPUs with AVX-512 that multiply bfloat16 (BF16) but have no matrix registers (half precision
//! is in `halves.rs`): up to 32 rows by 32 columns of sums, 8 rows at a time.
//!
//! 8 x 32 sums: 16 registers, 2 loads of right tiles, 1 broadcast of a left pair -> 19 of 32 registers.

use std::arch::x86_64::*;

use super::{Element, Job, halves};

/// Rows whose sums are in registers.
const ROWS: usize = 8;
/// Numbers of a row of a strip's sums.
const COLUMNS: usize = 32;

/// Whether the CPU, which has AVX-512, multiplies an element.
pub(super) fn is_present(element: Element) -> bool {
    match element {
        Element::F16 => halves::is_present(),
        Element::Bf16 | Element::Bf16x3 | Element::Bf16x6 => is_x86_feature_detected!("avx512bf16"),
    }
}

/// `M` and `N` count tiles.
///
/// # Safety
/// The CPU has what [`is_present`] asks for bfloat16, and the job's pointers hold what it says for these tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn block<const M: usize, const N: usize>(job: &Job) {
    for first in (0..16 * M).step_by(ROWS) {
        // SAFETY: the caller's promise.
        unsafe {
            match first {
                0 => rows::<N, true>(job, first),
                _ => rows::<N, false>(job, first),
            }
        }
    }
}

/// Eight rows of sums; `ASKS` where what is wanted next is asked for.
///
/// # Safety
/// As for [`block`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn rows<const N: usize, const ASKS: bool>(job: &Job, first: usize) {
    let start = if first < 16 { job.a0 } else { job.a1 };
    let start = start.wrapping_add(first % 16 * job.stride);
    let c = job.c.wrapping_add(first * COLUMNS);
    let mut sums = [[_mm512_setzero_ps(); N]; ROWS];
    let mut next = job.prefetch;
    for step in 0..job.steps {
        // SAFETY (of all blocks below): the caller's promise.
        let offset = unsafe { *job.offsets.add(step) };
        let b = job.b.wrapping_add(step * N * 1024);
        if ASKS {
            for _ in 0..job.lines {
                _mm_prefetch::<_MM_HINT_T1>(next.cast());
                next = next.wrapping_add(64);
            }
        }
        let a = start.wrapping_add(offset);
        for word in 0..16 {
            let mut columns = [_mm512_setzero_si512(); N];
            for n in 0..N {
                let from = b.wrapping_add(1024 * n + 64 * word);
                columns[n] = unsafe { _mm512_loadu_si512(from.cast()) };
            }
            for row in 0..ROWS {
                let from = a.wrapping_add(row * job.stride + 4 * word);
                let x = unsafe { from.cast::<i32>().read_unaligned() };
                let x = _mm512_set1_epi32(x);
                for n in 0..N {
                    sums[row][n] = add(sums[row][n], x, columns[n]);
                }
            }
        }
    }
    for row in 0..ROWS {
        for n in 0..N {
            let to = c.wrapping_add(row * COLUMNS + 16 * n);
            // SAFETY: the caller's promise.
            unsafe {
                let before = match job.add {
                    true => _mm512_loadu_ps(to),
                    false => _mm512_setzero_ps(),
                };
                _mm512_storeu_ps(to, _mm512_add_ps(before, sums[row][n]));
            }
        }
    }
}

/// Adds two products of bfloat16 to each sum.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn add(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
    // SAFETY: both are 512 bits of any value.
    let [a, b]: [__m512bh; 2] = unsafe { std::mem::transmute([a, b]) };
    _mm512_dpbf16_ps(sum, a, b)
}

/// Adds the same products `rounds` times to 16 registers, for the machine's peak; how many multiply-adds of bfloat16 that was.
///
/// # Safety
/// The CPU has what [`is_present`] asks for.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(crate) unsafe fn repeat(rounds: usize) -> usize {
    let one = std::hint::black_box(_mm512_set1_epi32(0x3f80_3f80));
    let mut sums: [__m512; 16] = std::array::from_fn(|at| _mm512_set1_ps(at as f32));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = add(*sum, one, one);
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
