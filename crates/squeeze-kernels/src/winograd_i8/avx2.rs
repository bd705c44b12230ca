//! The transforms and products in AVX2.
//!
//! Products: 6 x 16 tile: 12 sums, a pair of weights, a pair of the row and products on their way -> 15 registers; two instructions for 16
//! products of 16 bits.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Back, Kernel, PRODUCTS, Product, ROWS, There, WIDTH};
use crate::Tier;
use crate::gemm_f32::avx2::F32x8;
use crate::gemm_f32::tile::Register;

/// Bytes of the weights of two channels.
const PAIR_BYTES: usize = 4 * WIDTH;

/// The row of this tier.
pub(super) const KERNEL: Kernel = Kernel {
    name: "i8_winograd_2x2_avx2",
    tier: Tier::Avx2,
    there,
    product,
    back,
};

/// As [`super::scalar`]'s.
///
/// # Safety
/// As there; the CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn there(job: &There) {
    let zero = _mm256_set1_epi16(i16::from(job.zero));
    for channel in (0..job.channels).step_by(WIDTH) {
        let mut half = [[zero; 4]; 4];
        for j in 0..4 {
            let mut column = [zero; 4];
            for i in 0..4 {
                let (from, bits) = job.taps[i][j];
                // SAFETY (of both): the caller's promise.
                let bytes = unsafe { _mm_loadu_si128(from.add(channel & bits).cast()) };
                column[i] = _mm256_sub_epi16(_mm256_cvtepu8_epi16(bytes), zero);
            }
            let column = line_there(column);
            for i in 0..4 {
                half[i][j] = column[i];
            }
        }
        for i in 0..4 {
            let line = line_there(half[i]);
            for j in 0..4 {
                let to = job.to.wrapping_add((4 * i + j) * job.step + channel);
                unsafe { _mm256_storeu_si256(to.cast(), line[j]) };
            }
        }
    }
}

/// `B^T d` of one line.
#[inline]
#[target_feature(enable = "avx2")]
fn line_there(d: [__m256i; 4]) -> [__m256i; 4] {
    [
        _mm256_sub_epi16(d[0], d[2]),
        _mm256_add_epi16(d[1], d[2]),
        _mm256_sub_epi16(d[2], d[1]),
        _mm256_sub_epi16(d[1], d[3]),
    ]
}

/// As [`super::scalar`]'s.
///
/// # Safety
/// As there; the CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn product(job: &Product) {
    for product in 0..PRODUCTS {
        let panel = 4 * (job.k / 2) * WIDTH;
        let b = job.b.wrapping_add(product * panel);
        // The weights of the next product come near while this one is computed.
        let passed = (2 * PAIR_BYTES).div_ceil(job.tiles.div_ceil(ROWS));
        let mut ahead = b.wrapping_add(panel);
        for tile in (0..job.tiles).step_by(ROWS) {
            let a = job.a.wrapping_add(product * job.step + tile * job.row);
            let to = job.to.wrapping_add(product * job.to_step + tile * WIDTH);
            // SAFETY: the caller's promise.
            unsafe {
                match job.tiles - tile {
                    1 => rows::<1>((a, job.row), job.k, b, to, (ahead, passed)),
                    2 => rows::<2>((a, job.row), job.k, b, to, (ahead, passed)),
                    3 => rows::<3>((a, job.row), job.k, b, to, (ahead, passed)),
                    4 => rows::<4>((a, job.row), job.k, b, to, (ahead, passed)),
                    5 => rows::<5>((a, job.row), job.k, b, to, (ahead, passed)),
                    _ => rows::<ROWS>((a, job.row), job.k, b, to, (ahead, passed)),
                }
            }
            ahead = ahead.wrapping_add(job.k / 4 * passed);
        }
    }
}

/// The sums of some tiles.
///
/// # Safety
/// As for [`product`].
#[target_feature(enable = "avx2")]
unsafe fn rows<const M: usize>(
    (a, row): (*const i16, usize),
    k: usize,
    b: *const i8,
    to: *mut i32,
    (ahead, passed): (*const i8, usize),
) {
    let (mut a, mut b, mut ahead) = (a, b, ahead);
    let mut sums = [[_mm256_setzero_si256(); 2]; M];
    // SAFETY (of all): the caller's promise.
    unsafe {
        let mut rest = k / 4;
        // Most tiles take four pairs at once: what is between the products takes its share of what the CPU issues.
        while M == ROWS && rest >= 2 {
            add_pairs::<M, 0>(a, row, b, &mut sums);
            add_pairs::<M, 1>(a, row, b, &mut sums);
            add_pairs::<M, 2>(a, row, b, &mut sums);
            add_pairs::<M, 3>(a, row, b, &mut sums);
            a = a.add(8);
            b = b.add(4 * PAIR_BYTES);
            _mm_prefetch::<_MM_HINT_T1>(ahead);
            _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(passed));
            ahead = ahead.wrapping_add(2 * passed);
            rest -= 2;
        }
        for _ in 0..rest {
            add_pairs::<M, 0>(a, row, b, &mut sums);
            add_pairs::<M, 1>(a, row, b, &mut sums);
            a = a.add(4);
            b = b.add(2 * PAIR_BYTES);
            _mm_prefetch::<_MM_HINT_T1>(ahead);
            ahead = ahead.wrapping_add(passed);
        }
        for m in 0..M {
            for v in 0..2 {
                _mm256_storeu_si256(to.add(m * WIDTH + 8 * v).cast(), sums[m][v]);
            }
        }
    }
}

/// Adds the products of a pair of each row: that so many pairs on in the rows and behind `b`.
///
/// # Safety
/// As for [`product`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_pairs<const M: usize, const PAIR: usize>(
    a: *const i16,
    row: usize,
    b: *const i8,
    sums: &mut [[__m256i; 2]; M],
) {
    // SAFETY (of all): the caller's promise.
    let first = unsafe { _mm256_loadu_si256(b.add(PAIR * PAIR_BYTES).cast()) };
    for m in 0..M {
        let x =
            unsafe { _mm256_set1_epi32(a.add(2 * PAIR + m * row).cast::<i32>().read_unaligned()) };
        let [mut left, mut right] = sums[m];
        // The weights of the other half stay in memory; no load passes the end of a row, as in `gemm_i8`.
        unsafe {
            asm!(
                "vpmaddwd {products}, {x}, {first}",
                "vpmaddwd {x}, {x}, ymmword ptr [{b} + {second}]",
                "vpaddd {left}, {left}, {products}",
                "vpaddd {right}, {right}, {x}",
                products = out(ymm_reg) _,
                left = inout(ymm_reg) left,
                right = inout(ymm_reg) right,
                x = inout(ymm_reg) x => _,
                first = in(ymm_reg) first,
                b = in(reg) b,
                second = const PAIR * PAIR_BYTES + PAIR_BYTES / 2,
                options(pure, readonly, nostack, preserves_flags),
            );
            asm!("", options(nostack, preserves_flags));
        }
        sums[m] = [left, right];
    }
}

/// As [`super::scalar`]'s.
///
/// # Safety
/// As there; the CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn back(job: &Back) {
    let limits = F32x8::limits(job.limits.0, job.limits.1);
    let factor = F32x8::splat(job.factor);
    for column in (0..WIDTH).step_by(8) {
        let mut half = [[_mm256_setzero_si256(); 4]; 2];
        for j in 0..4 {
            let mut line = [_mm256_setzero_si256(); 4];
            for i in 0..4 {
                let from = job.sums.wrapping_add((4 * i + j) * job.step + column);
                // SAFETY (of all): the caller's promise.
                line[i] = unsafe { _mm256_loadu_si256(from.cast()) };
            }
            [half[0][j], half[1][j]] = line_back(line);
        }
        let (scale, bias) = unsafe {
            let bias = F32x8::load(job.bias.add(column));
            (F32x8::load(job.scales.add(column)), bias)
        };
        for i in 0..job.place.exist[0].min(2) {
            let line = line_back(half[i]);
            for j in 0..job.place.exist[1].min(2) {
                let at = i * job.next[0] + j * job.next[1] + column;
                let mut x = bias.add_product(F32x8(_mm256_cvtepi32_ps(line[j])), scale);
                unsafe {
                    if !job.residual.is_null() {
                        x = x.add_product(F32x8::load_bytes(job.residual.add(at)), factor);
                    }
                    x.store_bytes(limits, job.to.add(at));
                }
            }
        }
    }
}

/// `A^T m` of one line.
#[inline]
#[target_feature(enable = "avx2")]
fn line_back(m: [__m256i; 4]) -> [__m256i; 2] {
    [
        _mm256_add_epi32(_mm256_add_epi32(m[0], m[1]), m[2]),
        _mm256_sub_epi32(_mm256_sub_epi32(m[1], m[2]), m[3]),
    ]
}
