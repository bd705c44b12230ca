//! Products without carries, in registers of 128 and of 512 bits.

use std::arch::x86_64::*;

use super::{Kernel, power, scalar};

pub(super) const NARROW: Kernel = Kernel {
    name: "crc64_pclmulqdq",
    is_present: || is_x86_feature_detected!("pclmulqdq"),
    update: narrow,
};

pub(super) const WIDE: Kernel = Kernel {
    name: "crc64_vpclmulqdq",
    is_present: || is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("vpclmulqdq"),
    update: wide,
};

/// Registers of a block: enough that none waits for its own products.
const REGISTERS: usize = 8;

/// What the low and the high word of 128 bits are multiplied by, to be added to those a block of so many bytes on.
const fn factors(bytes: u64) -> [i64; 2] {
    // The low word stands 64 powers higher, and a product one lower than its place.
    let (low, high) = (power(8 * bytes + 63), power(8 * bytes - 1));
    [low.cast_signed(), high.cast_signed()]
}

#[target_feature(enable = "avx512f,vpclmulqdq")]
fn wide(state: u64, bytes: &[u8]) -> u64 {
    const LINE: usize = 64;
    const BLOCK: usize = LINE * REGISTERS;
    const FACTORS: [i64; 2] = factors(BLOCK as u64);
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let Some((first, blocks)) = blocks.split_first() else {
        return scalar::update(state, bytes);
    };
    let load = |line: &[u8; LINE]| {
        // SAFETY: a line is as long as a register.
        unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
    };
    let [low, high] = FACTORS;
    let factors = _mm512_set4_epi64(high, low, high, low);
    let mut sums = [_mm512_setzero_si512(); REGISTERS];
    for (sum, line) in sums.iter_mut().zip(first.as_chunks().0) {
        *sum = load(line);
    }
    let state = _mm512_zextsi128_si512(_mm_cvtsi64_si128(state.cast_signed()));
    sums[0] = _mm512_xor_si512(sums[0], state);
    for block in blocks {
        for (sum, line) in sums.iter_mut().zip(block.as_chunks().0) {
            let low = _mm512_clmulepi64_epi128::<0x00>(*sum, factors);
            let high = _mm512_clmulepi64_epi128::<0x11>(*sum, factors);
            // Of three bits the sum without carries.
            *sum = _mm512_ternarylogic_epi64::<0x96>(low, high, load(line));
        }
    }
    let mut last = [0; BLOCK];
    for (line, sum) in last.as_chunks_mut::<LINE>().0.iter_mut().zip(sums) {
        // SAFETY: a line is as long as a register.
        unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), sum) };
    }
    scalar::update(scalar::update(0, &last), rest)
}

#[target_feature(enable = "pclmulqdq")]
fn narrow(state: u64, bytes: &[u8]) -> u64 {
    const WORDS: usize = 16;
    const BLOCK: usize = WORDS * REGISTERS;
    const FACTORS: [i64; 2] = factors(BLOCK as u64);
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let Some((first, blocks)) = blocks.split_first() else {
        return scalar::update(state, bytes);
    };
    let load = |words: &[u8; WORDS]| {
        // SAFETY: two words are as long as a register.
        unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
    };
    let [low, high] = FACTORS;
    let factors = _mm_set_epi64x(high, low);
    let mut sums = [_mm_setzero_si128(); REGISTERS];
    for (sum, words) in sums.iter_mut().zip(first.as_chunks().0) {
        *sum = load(words);
    }
    sums[0] = _mm_xor_si128(sums[0], _mm_cvtsi64_si128(state.cast_signed()));
    for block in blocks {
        for (sum, words) in sums.iter_mut().zip(block.as_chunks().0) {
            let low = _mm_clmulepi64_si128::<0x00>(*sum, factors);
            let high = _mm_clmulepi64_si128::<0x11>(*sum, factors);
            *sum = _mm_xor_si128(_mm_xor_si128(low, high), load(words));
        }
    }
    let mut last = [0; BLOCK];
    for (words, sum) in last.as_chunks_mut::<WORDS>().0.iter_mut().zip(sums) {
        // SAFETY: two words are as long as a register.
        unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), sum) };
    }
    scalar::update(scalar::update(0, &last), rest)
}
