//! What one thread of this machine can do at best: multiply-adds from registers, and numbers read from memory and copied.

use std::hint::black_box;
use std::time::Instant;

use crate::Tier;
#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::amx::Element;
use crate::gemm_i8;
use crate::vector::per_tier;

/// Billions of floating-point operations a second of one thread that only multiplies and adds in registers (a multiply-add is two),
/// the best of `tries`.
pub fn gflops(tier: Tier, tries: usize) -> f64 {
    const ROUNDS: usize = 20_000;
    let run = match tier.min(Tier::detect()) {
        Tier::Scalar => scalar_products,
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has this tier, by the line of the match.
        Tier::Avx2 => |rounds| unsafe { avx2_products(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has this tier, by the line of the match.
        Tier::Avx512 | Tier::Amx => |rounds| unsafe { avx512_products(rounds) },
        #[cfg(not(target_arch = "x86_64"))]
        Tier::Avx2 | Tier::Avx512 | Tier::Amx => scalar_products,
    };
    best(tries, || 2.0 * run(ROUNDS) as f64)
}

/// Billions of operations a second of one thread that multiplies and adds bytes from its first cache in vector registers, the best of
/// `tries`.
pub fn gemm_i8_gops(tier: Tier, tries: usize) -> f64 {
    const ROUNDS: usize = 20;
    best(tries, || 2.0 * (gemm_i8::repeat(tier, ROUNDS)) as f64)
}

/// Billions of operations a second of one thread that only multiplies and adds bfloat16 or half precision in vector registers, the best of
/// `tries`. `None` where the machine has no such instruction, and of other elements.
pub fn vector_gflops(element: Element, tries: usize) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if amx::AVX512.is_here(element) {
        const ROUNDS: usize = 20_000;
        let repeat: unsafe fn(usize) -> usize = match element {
            Element::Bf16 => amx::avx512::repeat,
            Element::F16 => amx::halves::repeat,
            Element::Bf16x3 | Element::Bf16x6 => return None,
        };
        // SAFETY: the machine runs this kernel for the element.
        return Some(best(tries, || 2.0 * unsafe { repeat(ROUNDS) } as f64));
    }
    let _ = (element, tries);
    None
}

/// Billions of operations a second of one thread that only multiplies and adds in matrix registers, of bfloat16 and of bytes; the best of
/// `tries`. `None` where the machine has none.
pub fn tile_gops(tries: usize) -> Option<[f64; 2]> {
    #[cfg(target_arch = "x86_64")]
    if Tier::Amx.is_present() {
        const ROUNDS: usize = 20_000;
        let repeats: [unsafe fn(usize) -> usize; 2] = [amx::repeat, amx::repeat_bytes];
        // SAFETY: the machine has the registers.
        let gops = |repeat: unsafe fn(usize) -> usize| 2.0 * unsafe { repeat(ROUNDS) } as f64;
        return Some(repeats.map(|repeat| best(tries, || gops(repeat))));
    }
    let _ = tries;
    None
}

/// Gigabytes a second that one thread reads from `bytes` of memory it has just written, the best of `tries`. Few bytes give a
/// cache's figure, hundreds of megabytes that of the memory.
pub fn read_gbytes(tier: Tier, bytes: usize, tries: usize) -> f64 {
    let data = vec![1.0f32; (bytes / 4).max(1024)];
    let passes = ((16 << 20) / (4 * data.len())).max(1);
    let sum = match tier.min(Tier::detect()) {
        Tier::Scalar => scalar_sum,
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has this tier, by the line of the match.
        Tier::Avx2 => |data: &[f32]| unsafe { avx2_sum(data) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has this tier, by the line of the match.
        Tier::Avx512 | Tier::Amx => |data: &[f32]| unsafe { avx512_sum(data) },
        #[cfg(not(target_arch = "x86_64"))]
        Tier::Avx2 | Tier::Avx512 | Tier::Amx => scalar_sum,
    };
    best(tries, || {
        for _ in 0..passes {
            black_box(sum(black_box(&data)));
        }
        (passes * data.len() * 4) as f64
    })
}

/// Gigabytes a second that one thread reads from one half of `bytes` of memory and writes to the other, both counted, the best of
/// `tries`.
pub fn copy_gbytes(tier: Tier, bytes: usize, tries: usize) -> f64 {
    let mut data = vec![1.0f32; (bytes / 4).max(1024)];
    let half = data.len() / 2;
    let passes = ((16 << 20) / (8 * half)).max(1);
    let (from, to) = data.split_at_mut(half);
    best(tries, || {
        for _ in 0..passes {
            copy(tier, black_box(from), black_box(&mut to[..half]));
        }
        (passes * half * 8) as f64
    })
}

per_tier! {
    /// Copies numbers, one added to each: else it would be a call that takes other ways.
    fn copy(from: &[f32], to: &mut [f32]) { compiled: copy_plainly }
}

#[inline(always)]
fn copy_plainly(from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from + 1.0;
    }
}

/// The best rate of `tries`, in billions of what `run` says it did, a second.
fn best(tries: usize, mut run: impl FnMut() -> f64) -> f64 {
    (0..tries.max(1)).fold(0.0, |best, _| {
        let start = Instant::now();
        let done = run();
        best.max(done * 1e-9 / start.elapsed().as_secs_f64())
    })
}

/// Twelve independent chains of multiply-adds; how many multiply-adds that was.
fn scalar_products(rounds: usize) -> usize {
    let (factor, addend) = (black_box(0.999f32), black_box(0.001f32));
    let mut sums = [[black_box(1.0f32); 4]; 12];
    for _ in 0..rounds {
        for sum in sums.as_flattened_mut() {
            *sum = *sum * factor + addend;
        }
    }
    black_box(sums);
    rounds * 48
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2_products(rounds: usize) -> usize {
    use std::arch::x86_64::*;
    let (factor, addend) = (
        _mm256_set1_ps(black_box(0.999)),
        _mm256_set1_ps(black_box(0.001)),
    );
    let mut sums = [_mm256_set1_ps(black_box(1.0)); 12];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, addend);
        }
    }
    black_box(sums);
    rounds * sums.len() * 8
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512_products(rounds: usize) -> usize {
    use std::arch::x86_64::*;
    let (factor, addend) = (
        _mm512_set1_ps(black_box(0.999)),
        _mm512_set1_ps(black_box(0.001)),
    );
    let mut sums = [_mm512_set1_ps(black_box(1.0)); 12];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, addend);
        }
    }
    black_box(sums);
    rounds * sums.len() * 16
}

/// The sum, in 16 chains.
fn scalar_sum(data: &[f32]) -> f32 {
    let (blocks, rest) = data.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum += x;
        }
    }
    sums.iter().chain(rest).sum()
}

/// The sum of whole blocks, in eight registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2_sum(data: &[f32]) -> f32 {
    use std::arch::x86_64::*;
    let mut sums = [_mm256_setzero_ps(); 8];
    for block in data.as_chunks::<64>().0 {
        for (at, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the block holds eight registers.
            *sum = _mm256_add_ps(*sum, unsafe { _mm256_loadu_ps(block.as_ptr().add(8 * at)) });
        }
    }
    let all = sums.into_iter().reduce(|sum, x| _mm256_add_ps(sum, x));
    let all = all.expect("there are eight");
    let half = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all));
    let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
    _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
}

/// The sum of whole blocks, in eight registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512_sum(data: &[f32]) -> f32 {
    use std::arch::x86_64::*;
    let mut sums = [_mm512_setzero_ps(); 8];
    for block in data.as_chunks::<128>().0 {
        for (at, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the block holds eight registers.
            *sum = _mm512_add_ps(*sum, unsafe {
                _mm512_loadu_ps(block.as_ptr().add(16 * at))
            });
        }
    }
    let all = sums.into_iter().reduce(|sum, x| _mm512_add_ps(sum, x));
    _mm512_reduce_add_ps(all.expect("there are eight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_gives_a_figure() {
        for tier in Tier::here() {
            assert!(gflops(tier, 1) > 0.0);
            assert!(read_gbytes(tier, 1 << 16, 1) > 0.0);
            assert!(copy_gbytes(tier, 1 << 16, 1) > 0.0);
            assert!(gemm_i8_gops(tier, 1) > 0.0);
        }
    }

    #[test]
    fn sums_read_every_number() {
        let data: Vec<f32> = (0..512).map(|x| x as f32).collect();
        assert_eq!(scalar_sum(&data), 511.0 * 256.0);
        #[cfg(target_arch = "x86_64")]
        {
            if Tier::Avx2.is_present() {
                // SAFETY: the machine has the tier.
                assert_eq!(unsafe { avx2_sum(&data) }, 511.0 * 256.0);
            }
            if Tier::Avx512.is_present() {
                // SAFETY: the machine has the tier.
                assert_eq!(unsafe { avx512_sum(&data) }, 511.0 * 256.0);
            }
        }
    }

    #[test]
    fn copies_reach_every_number() {
        let from: Vec<f32> = (0..531).map(|x| x as f32).collect();
        for tier in Tier::here() {
            let mut to = vec![0.0; from.len()];
            copy(tier, &from, &mut to);
            assert!(to.iter().zip(&from).all(|(to, from)| *to == from + 1.0));
        }
    }

    #[test]
    fn matrix_registers_give_a_figure_where_they_are() {
        let gops = tile_gops(1);
        assert_eq!(gops.is_some(), Tier::Amx.is_present());
        assert!(gops.is_none_or(|gops| gops.iter().all(|&gops| gops > 0.0)));
        for element in Element::ALL {
            assert!(vector_gflops(element, 1).is_none_or(|gflops| gflops > 0.0));
        }
    }
}
