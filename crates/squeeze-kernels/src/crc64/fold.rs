//! Products without carries, in registers of 128, 256 and 512 bits.

use std::arch::x86_64::*;

use super::{Kernel, power, scalar};
use crate::slab::LINE;

pub(super) const NARROW: Kernel = Kernel {
    name: "crc64_pclmulqdq",
    is_present: || is_x86_feature_detected!("pclmulqdq"),
    update: narrow,
};

pub(super) const MIDDLE: Kernel = Kernel {
    name: "crc64_vpclmulqdq_256",
    is_present: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("vpclmulqdq"),
    update: middle,
};

pub(super) const WIDE: Kernel = Kernel {
    name: "crc64_vpclmulqdq_512",
    is_present: || is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("vpclmulqdq"),
    update: wide,
};

/// Registers of a block: enough that none waits for its own products.
const REGISTERS: usize = 8;

/// How far ahead bytes are asked for.
const AHEAD: usize = 2048;

/// A register of words. Its methods are instructions that may run only below a `#[target_feature]` function that has them.
trait Words: Copy {
    /// Its bytes.
    const BYTES: usize;
    /// Zeros behind a word.
    fn first(word: u64) -> Self;
    /// Two words again and again.
    fn pairs(low: i64, high: i64) -> Self;
    /// # Safety
    /// So many bytes can be read.
    unsafe fn load(from: *const u8) -> Self;
    /// # Safety
    /// So many bytes can be written.
    unsafe fn store(self, to: *mut u8);
    /// The sum of both.
    fn plus(self, other: Self) -> Self;
    /// The products of its pairs of words with the factors, and `next`, added up.
    fn fold(self, factors: Self, next: Self) -> Self;
}

/// What the low and the high word of 128 bits are multiplied by, to be added to those a block of so many bytes on.
const fn factors(bytes: usize) -> [i64; 2] {
    let bits = 8 * bytes as u64;
    // The low word stands 64 powers higher, and a product one lower than its place.
    let (low, high) = (power(bits + 63), power(bits - 1));
    [low.cast_signed(), high.cast_signed()]
}

/// Blocks of `BLOCK` bytes, which are `REGISTERS` registers.
#[inline(always)]
fn update<W: Words, const BLOCK: usize>(state: u64, bytes: &[u8]) -> u64 {
    const { assert!(BLOCK == W::BYTES * REGISTERS) };
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let Some((first, blocks)) = blocks.split_first() else {
        return scalar::update(state, bytes);
    };
    let [low, high] = const { factors(BLOCK) };
    let factors = W::pairs(low, high);
    let mut sums = [W::first(0); REGISTERS];
    for (at, sum) in sums.iter_mut().enumerate() {
        // SAFETY (of all blocks below): a block is as long as all registers.
        *sum = unsafe { W::load(first.as_ptr().add(at * W::BYTES)) };
    }
    sums[0] = sums[0].plus(W::first(state));
    for block in blocks {
        for line in (0..BLOCK).step_by(LINE) {
            // A hint, for any address: alone the CPU does not look beyond the page.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(block.as_ptr().wrapping_add(AHEAD + line).cast())
            };
        }
        for (at, sum) in sums.iter_mut().enumerate() {
            let next = unsafe { W::load(block.as_ptr().add(at * W::BYTES)) };
            *sum = sum.fold(factors, next);
        }
    }
    let mut last = [0; BLOCK];
    for (at, sum) in sums.into_iter().enumerate() {
        unsafe { sum.store(last.as_mut_ptr().add(at * W::BYTES)) };
    }
    scalar::update(scalar::update(0, &last), rest)
}

#[target_feature(enable = "avx512f,vpclmulqdq")]
fn wide(state: u64, bytes: &[u8]) -> u64 {
    update::<__m512i, 512>(state, bytes)
}

#[target_feature(enable = "avx2,vpclmulqdq")]
fn middle(state: u64, bytes: &[u8]) -> u64 {
    update::<__m256i, 256>(state, bytes)
}

#[target_feature(enable = "pclmulqdq")]
fn narrow(state: u64, bytes: &[u8]) -> u64 {
    update::<__m128i, 128>(state, bytes)
}

macro_rules! words {
    ($register:ident, $bytes:literal, $widened:expr, $pairs:expr, $load:ident, $store:ident, $sum:ident, $product:ident) => {
        // SAFETY (of all blocks): the instructions are there, as the trait demands; pointers are the caller's promise.
        impl Words for $register {
            const BYTES: usize = $bytes;
            #[inline(always)]
            fn first(word: u64) -> Self {
                unsafe { $widened(_mm_cvtsi64_si128(word.cast_signed())) }
            }
            #[inline(always)]
            fn pairs(low: i64, high: i64) -> Self {
                unsafe { $pairs(_mm_set_epi64x(high, low)) }
            }
            #[inline(always)]
            unsafe fn load(from: *const u8) -> Self {
                unsafe { $load(from.cast()) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut u8) {
                unsafe { $store(to.cast(), self) };
            }
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                unsafe { $sum(self, other) }
            }
            #[inline(always)]
            fn fold(self, factors: Self, next: Self) -> Self {
                let low = unsafe { $product::<0x00>(self, factors) };
                let high = unsafe { $product::<0x11>(self, factors) };
                low.plus(high).plus(next)
            }
        }
    };
}

words!(
    __m128i,
    16,
    std::convert::identity,
    std::convert::identity,
    _mm_loadu_si128,
    _mm_storeu_si128,
    _mm_xor_si128,
    _mm_clmulepi64_si128
);
words!(
    __m256i,
    32,
    _mm256_zextsi128_si256,
    _mm256_broadcastsi128_si256,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_xor_si256,
    _mm256_clmulepi64_epi128
);
words!(
    __m512i,
    64,
    _mm512_zextsi128_si512,
    _mm512_broadcast_i32x4,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_xor_si512,
    _mm512_clmulepi64_epi128
);
