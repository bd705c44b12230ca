//! The inner loop in vector registers, for CPUs with AVX-512 that multiply bfloat16 (BF16) and bytes (VNNI) but have no matrix
//! registers (half precision is in `halves.rs`): up to 32 rows by 32 columns of sums, 8 rows at a time.
//!
//! 8 x 32 sums: 16 registers, 2 loads of right tiles, 1 broadcast of a left pair or quad -> 19 of 32 registers, and 2 for what bytes
//! owe. The instruction for bytes takes unsigned left ones: they come 128 too large, so 128 times the sum of the right ones is taken
//! off again; that sum is added up beside the first 8 rows and serves all others.

use std::arch::x86_64::*;

use super::scalar::pairs;
use super::{Element, Job, halves};

/// Rows whose sums are in registers.
const ROWS: usize = 8;
/// Numbers of a row of a strip's sums.
const COLUMNS: usize = 32;

/// Whether the CPU, which has AVX-512, multiplies an element.
pub(super) fn is_present(element: Element) -> bool {
    match element {
        Element::F16 => halves::is_present(),
        _ => is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512vnni"),
    }
}

/// `E` counts as [`Element::ALL`] does, `M` and `N` count tiles.
///
/// # Safety
/// The CPU has what [`is_present`] asks for all elements but half precision, and the job's pointers hold what it says for these tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni")]
unsafe fn block<const E: usize, const M: usize, const N: usize>(job: &Job) {
    let mut owed = [_mm512_setzero_si512(); N];
    for first in (0..16 * M).step_by(ROWS) {
        // SAFETY: the caller's promise.
        unsafe {
            match first {
                0 => rows::<E, N, true>(job, first, &mut owed),
                _ => rows::<E, N, false>(job, first, &mut owed),
            }
        }
    }
}

/// Eight rows of sums; `OWES` where what bytes owe is found out and what is wanted next is asked for.
///
/// # Safety
/// As for [`block`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni")]
unsafe fn rows<const E: usize, const N: usize, const OWES: bool>(
    job: &Job,
    first: usize,
    owed: &mut [__m512i; N],
) {
    let element = Element::ALL[E];
    let step_bytes = element.parts() * N * 1024;
    let start = if first < 16 { job.a0 } else { job.a1 };
    let start = start.wrapping_add(first % 16 * job.stride);
    let c = job.c.wrapping_add(first * COLUMNS);
    let mut sums = [[_mm512_setzero_si512(); N]; ROWS];
    let mut owes = *owed;
    let mut next = job.prefetch;
    for step in 0..job.steps {
        // SAFETY (of all blocks below): the caller's promise.
        let offset = unsafe { *job.offsets.add(step) };
        let b = job.b.wrapping_add(step * step_bytes);
        if OWES {
            for _ in 0..job.lines {
                _mm_prefetch::<_MM_HINT_T1>(next.cast());
                next = next.wrapping_add(64);
            }
        }
        for &(left, right) in pairs(element) {
            let a = start.wrapping_add(offset.wrapping_add(left * job.plane));
            let b = b.wrapping_add(right * N * 1024);
            for word in 0..16 {
                let mut columns = [_mm512_setzero_si512(); N];
                for n in 0..N {
                    let from = b.wrapping_add(1024 * n + 64 * word);
                    columns[n] = unsafe { _mm512_loadu_si512(from.cast()) };
                    if OWES && element == Element::I8 {
                        let most = _mm512_set1_epi8(i8::MIN);
                        owes[n] = _mm512_dpbusd_epi32(owes[n], most, columns[n]);
                    }
                }
                for row in 0..ROWS {
                    let from = a.wrapping_add(row * job.stride + 4 * word);
                    let x = unsafe { from.cast::<i32>().read_unaligned() };
                    let x = _mm512_set1_epi32(x);
                    for n in 0..N {
                        sums[row][n] = add::<E>(sums[row][n], x, columns[n]);
                    }
                }
            }
        }
    }
    *owed = owes;
    for row in 0..ROWS {
        for n in 0..N {
            let to = c.wrapping_add(row * COLUMNS + 16 * n);
            // SAFETY: the caller's promise.
            unsafe {
                let before = match job.add {
                    true => _mm512_loadu_si512(to.cast()),
                    false => _mm512_setzero_si512(),
                };
                let sum = match element {
                    Element::I8 => {
                        let own = _mm512_sub_epi32(sums[row][n], owes[n]);
                        _mm512_add_epi32(before, own)
                    }
                    _ => {
                        let own = _mm512_castsi512_ps(sums[row][n]);
                        _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(before), own))
                    }
                };
                _mm512_storeu_si512(to.cast(), sum);
            }
        }
    }
}

/// Adds two products of bfloat16 or four of bytes to each sum.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni")]
fn add<const E: usize>(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    match Element::ALL[E] {
        Element::I8 => {
            let above = _mm512_xor_si512(a, _mm512_set1_epi8(i8::MIN));
            _mm512_dpbusd_epi32(sum, above, b)
        }
        _ => {
            // SAFETY: both are 512 bits of any value.
            let [a, b]: [__m512bh; 2] = unsafe { std::mem::transmute([a, b]) };
            _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum), a, b))
        }
    }
}

/// Adds the same products `rounds` times to 16 registers, for the machine's peak; how many multiply-adds of bfloat16 that was.
///
/// # Safety
/// The CPU has what [`is_present`] asks for.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni")]
pub(crate) unsafe fn repeat(rounds: usize) -> usize {
    let one = std::hint::black_box(_mm512_set1_epi32(0x3f80_3f80));
    let mut sums: [__m512i; 16] = std::array::from_fn(|at| _mm512_set1_epi32(at as i32));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = add::<0>(*sum, one, one);
        }
    }
    std::hint::black_box(sums);
    rounds * 16 * 32
}

/// The blocks of one element.
macro_rules! blocks {
    ($e:literal) => {
        [
            [block::<$e, 1, 1>, block::<$e, 1, 2>],
            [block::<$e, 2, 1>, block::<$e, 2, 2>],
        ]
    };
}

/// The blocks, `[element][row tiles - 1][column tiles - 1]`.
pub(super) const BLOCKS: [super::OfElement; 5] = [
    blocks!(0),
    blocks!(1),
    blocks!(2),
    blocks!(3),
    halves::BLOCKS,
];
