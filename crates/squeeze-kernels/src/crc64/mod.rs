//! CRC-64 with the ECMA-182 polynomial, reflected, as in XZ files: finds every flipped bit and every burst of up to 64.
//!
//! A word stands for a polynomial over bits whose highest bit is `x^0`. Kernels fold: a block of bytes is multiplied by the power of
//! x that lies between it and the next one and added to it, without carries (Gopal et al., Fast CRC Computation for Generic
//! Polynomials Using PCLMULQDQ Instruction, 2009). Blocks here are whole cache lines, and the last one goes through the tables.

#[cfg(target_arch = "x86_64")]
mod fold;
mod scalar;

/// The polynomial without its highest power.
const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

/// One row of the table of kernels.
pub struct Kernel {
    /// What logs and tables show.
    pub name: &'static str,
    /// Whether this machine can run it.
    is_present: fn() -> bool,
    update: Update,
}

/// The state after some bytes, of the state before them.
///
/// # Safety
/// The machine must have the kernel's instructions.
type Update = unsafe fn(u64, &[u8]) -> u64;

/// The kernels of this family, in rising order of speed.
#[cfg(target_arch = "x86_64")]
pub const KERNELS: &[Kernel] = &[scalar::KERNEL, fold::NARROW, fold::MIDDLE, fold::WIDE];
/// The kernels of this family, in rising order of speed.
#[cfg(not(target_arch = "x86_64"))]
pub const KERNELS: &[Kernel] = &[scalar::KERNEL];

/// A checksum that grows with the bytes that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc64 {
    state: u64,
}

impl Default for Crc64 {
    fn default() -> Crc64 {
        Crc64 { state: !0 }
    }
}

impl Crc64 {
    /// Takes more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut rows = KERNELS.iter().rev();
        let kernel = rows.find(|kernel| (kernel.is_present)());
        let kernel = kernel.expect("the scalar kernel runs everywhere");
        // SAFETY: the machine runs this kernel.
        self.state = unsafe { (kernel.update)(self.state, bytes) };
    }

    /// The checksum of all bytes so far.
    pub fn sum(&self) -> u64 {
        !self.state
    }
}

/// The checksum of these bytes.
pub fn sum(bytes: &[u8]) -> u64 {
    let mut crc = Crc64::default();
    crc.add(bytes);
    crc.sum()
}

/// The checksum of bytes with the checksum `before`, and behind them `length` bytes with the checksum `behind`.
pub fn join(before: u64, behind: u64, length: usize) -> u64 {
    times(before, power(8 * length as u64)) ^ behind
}

/// The product of two polynomials.
const fn times(a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    let mut bit = 64;
    while bit > 0 {
        bit -= 1;
        product ^= b * (a >> bit & 1);
        b = (b >> 1) ^ (POLYNOMIAL * (b & 1));
    }
    product
}

/// `x^exponent`.
const fn power(mut exponent: u64) -> u64 {
    let (mut result, mut square) = (1 << 63, 1 << 62);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = times(result, square);
        }
        square = times(square, square);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, bit by bit.
    fn bitwise(mut state: u64, bytes: &[u8]) -> u64 {
        for &byte in bytes {
            state ^= u64::from(byte);
            for _ in 0..8 {
                state = (state >> 1) ^ (POLYNOMIAL * (state & 1));
            }
        }
        state
    }

    fn bytes(len: usize) -> Vec<u8> {
        let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> 13) as u8;
        (0..len).map(byte).collect()
    }

    /// The check value of CRC-64/XZ in the catalogue of parametrised CRC algorithms.
    #[test]
    fn check_value() {
        let mut crc = Crc64::default();
        assert_eq!(crc.sum(), 0);
        crc.add(b"1234");
        crc.add(b"56789");
        assert_eq!(crc.sum(), 0x995D_C9BB_DF19_39FA);
    }

    #[test]
    fn every_kernel_computes_the_definition() {
        let all = bytes(3000);
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_present)()) {
            for len in (0..130).chain(500..1030).chain(2040..2060) {
                for start in [0, 1, 7] {
                    let bytes = &all[start..start + len];
                    // SAFETY: the machine runs this kernel.
                    let found = unsafe { (kernel.update)(!3, bytes) };
                    assert_eq!(found, bitwise(!3, bytes), "{} {len} {start}", kernel.name);
                }
            }
        }
    }

    #[test]
    fn parts_join() {
        let all = bytes(1000);
        for cut in [0, 1, 8, 513, 999, 1000] {
            let (before, behind) = all.split_at(cut);
            let joined = join(sum(before), sum(behind), behind.len());
            assert_eq!(joined, sum(&all), "{cut}");
        }
    }
}
