//! Functions of bytes as tables of all 256 of them: an activation between two quantizations.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::{Activation, scalar::apply};
use crate::{Cpu, Quantization, SharedMut, Tier};

/// What each byte becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub struct Table([u8; 256]);

/// The kernels for tables: name and tier. The last one also asks for VBMI.
pub const TABLE_KERNELS: &[(&str, Tier)] = &[
    ("u8_table_scalar", Tier::Scalar),
    ("u8_table_avx2", Tier::Avx2),
    ("u8_table_avx512_vbmi", Tier::Avx512),
];

impl Table {
    /// An activation of the numbers that bytes of `from` stand for, as bytes of `to`.
    pub fn of(activation: Activation, from: Quantization, to: Quantization) -> Self {
        let mut bytes = [0; 256];
        for (byte, y) in (0..=255).zip(&mut bytes) {
            *y = to.byte(apply(activation, from.number(byte)));
        }
        Self(bytes)
    }

    /// What a byte becomes.
    pub fn at(&self, byte: u8) -> u8 {
        self.0[usize::from(byte)]
    }

    /// `y[i] = table[x[i]]`.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn apply(&self, cpu: Cpu, x: &[u8], y: &mut [u8]) {
        assert_eq!(x.len(), y.len());
        let shared = SharedMut::new(y);
        cpu.split(x.len(), x.len(), |range| {
            // SAFETY: ranges of one split are disjoint.
            let y = unsafe { shared.slice(range.clone()) };
            // SAFETY: both slices hold that many bytes.
            unsafe { look_up(cpu.tier, self, x[range].as_ptr(), y.as_mut_ptr(), y.len()) };
        });
    }
}

/// Looks up `len` bytes, on one thread.
///
/// # Safety
/// The pointers are valid for reading and writing `len` bytes; they are the same, or their bytes do not overlap.
unsafe fn look_up(tier: Tier, table: &Table, from: *const u8, to: *mut u8, len: usize) {
    // SAFETY (of every block): the caller's promise, and the machine has what the line asks for.
    #[cfg(target_arch = "x86_64")]
    match tier.min(Tier::detect()) {
        Tier::Scalar => unsafe { scalar(table, from, to, len) },
        Tier::Avx512 | Tier::Amx if is_x86_feature_detected!("avx512vbmi") => unsafe {
            avx512(table, from, to, len)
        },
        Tier::Avx2 | Tier::Avx512 | Tier::Amx => unsafe { avx2(table, from, to, len) },
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = tier;
        // SAFETY: the caller's promise.
        unsafe { scalar(table, from, to, len) }
    }
}

/// # Safety
/// As [`look_up`].
#[inline(always)]
unsafe fn scalar(table: &Table, from: *const u8, to: *mut u8, len: usize) {
    for at in 0..len {
        // SAFETY: inside of `len` bytes.
        unsafe { *to.add(at) = table.at(*from.add(at)) };
    }
}

/// A shuffle looks up sixteen bytes of the table: those of one high half byte. It gives zero for bytes of 128 and more, which is what
/// all others become.
///
/// # Safety
/// As [`look_up`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(table: &Table, from: *const u8, to: *mut u8, len: usize) {
    let whole = len / 32 * 32;
    for at in (0..whole).step_by(32) {
        // SAFETY: inside of `len` bytes.
        let x = unsafe { _mm256_loadu_si256(from.add(at).cast()) };
        let mut y = _mm256_setzero_si256();
        for (high, sixteen) in table.0.as_chunks::<16>().0.iter().enumerate() {
            // SAFETY: sixteen bytes.
            let sixteen = unsafe { _mm_loadu_si128(sixteen.as_ptr().cast()) };
            let low = _mm256_xor_si256(x, _mm256_set1_epi8((high << 4) as i8));
            let place = _mm256_adds_epu8(low, _mm256_set1_epi8(0x70));
            let found = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(sixteen), place);
            y = _mm256_or_si256(y, found);
        }
        // SAFETY: inside of `len` bytes.
        unsafe { _mm256_storeu_si256(to.add(at).cast(), y) };
    }
    // SAFETY: the rest of `len` bytes.
    unsafe { scalar(table, from.add(whole), to.add(whole), len - whole) };
}

/// Four registers hold the table; two of them are looked up at once.
///
/// # Safety
/// As [`look_up`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn avx512(table: &Table, from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: four times 64 bytes of 256.
    let [a, b, c, d] =
        [0, 64, 128, 192].map(|at| unsafe { _mm512_loadu_si512(table.0[at..].as_ptr().cast()) });
    for at in (0..len).step_by(64) {
        let rest = u64::MAX >> (64 - (len - at).min(64));
        // SAFETY: the mask ends with `len`.
        let x = unsafe { _mm512_maskz_loadu_epi8(rest, from.add(at).cast()) };
        let low = _mm512_permutex2var_epi8(a, x, b);
        let high = _mm512_permutex2var_epi8(c, x, d);
        let y = _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
        // SAFETY: the mask ends with `len`.
        unsafe { _mm512_mask_storeu_epi8(to.add(at).cast(), rest, y) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Threads;

    #[test]
    fn every_length_and_byte() {
        let (from, to) = (Quantization::of(-5.0, 7.0), Quantization::of(-1.0, 3.0));
        for activation in Activation::ALL {
            let table = Table::of(activation, from, to);
            for tier in Tier::here() {
                let threads = Threads::new(3);
                let cpu = Cpu {
                    tier,
                    threads: &threads,
                };
                for len in [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 256, 400_001] {
                    // Each byte stands in every lane somewhere.
                    let x: Vec<u8> = (0..len).map(|i| (i * 7 + i / 256) as u8).collect();
                    let want: Vec<u8> = (x.iter())
                        .map(|&x| to.byte(apply(activation, from.number(x))))
                        .collect();
                    // Bytes behind the end must stay as they are.
                    let mut y = vec![77; len + 70];
                    table.apply(cpu, &x, &mut y[..len]);
                    assert!(y[..len] == want, "{activation:?} {tier} {len}");
                    assert!(y[len..].iter().all(|&y| y == 77), "{tier} {len}");
                }
            }
        }
    }

    #[test]
    fn identity_of_one_quantization_is_identity() {
        for (low, high) in [(-1.0, 2.0), (0.0, 6.0), (-3e-5, 1e-9), (-1e30, 1e38)] {
            let q = Quantization::of(low, high);
            let table = Table::of(Activation::Identity, q, q);
            assert!((0..=255).all(|byte| table.at(byte) == byte), "{q:?}");
        }
    }
}
