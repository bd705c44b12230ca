//! CRC-64 with the ECMA-182 polynomial, reflected, as in XZ files: finds every flipped bit and
//! every burst of up to 64.

use std::ops::Range;

use crc64fast::Digest;

/// The polynomial without its highest power; the highest bit is `x^0`.
const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

/// The checksum of pieces one after the other, computed on so many threads: sixteen hexadecimal digits.
pub(crate) fn crc64<P: AsRef<[u8]> + Sync>(pieces: &[P], threads: usize) -> String {
    let total: usize = pieces.iter().map(|piece| piece.as_ref().len()).sum();
    let cut = |part: usize| (total as u128 * part as u128 / threads as u128) as usize;
    let parts = (0..threads).map(|part| cut(part)..cut(part + 1));
    let sums: Vec<(u64, usize)> = std::thread::scope(|scope| {
        // The caller computes the last part itself.
        let mut parts: Vec<Range<usize>> = parts.collect();
        let last = parts.pop().unwrap_or(0..total);
        let spawn = |part: Range<usize>| scope.spawn(move || of_part(pieces, part));
        let others: Vec<_> = parts.into_iter().map(spawn).collect();
        let last = of_part(pieces, last);
        let join = others
            .into_iter()
            .map(|one| one.join().expect("it only adds"));
        join.chain([last]).collect()
    });
    let sums = sums.into_iter();
    let whole = sums.reduce(|(before, at), (behind, length)| {
        (
            times(before, power(8 * length as u64)) ^ behind,
            at + length,
        )
    });
    format!("{:016x}", whole.map_or(0, |(sum, _)| sum))
}

/// The checksum of some bytes of all pieces, and how many they are.
fn of_part<P: AsRef<[u8]>>(pieces: &[P], part: Range<usize>) -> (u64, usize) {
    let mut digest = Digest::new();
    let mut at = 0;
    for piece in pieces {
        let piece = piece.as_ref();
        let inside = |place: usize| place.saturating_sub(at).min(piece.len());
        digest.write(&piece[inside(part.start)..inside(part.end)]);
        at += piece.len();
    }
    (digest.sum64(), part.len())
}

/// The product of two polynomials.
fn times(a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    for bit in (0..64).rev() {
        product ^= b * (a >> bit & 1);
        b = (b >> 1) ^ (POLYNOMIAL * (b & 1));
    }
    product
}

/// `x^exponent`.
fn power(mut exponent: u64) -> u64 {
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

    /// The check value of CRC-64/XZ in the catalogue of parametrised CRC algorithms.
    #[test]
    fn check_value() {
        assert_eq!(crc64(&["1234", "56789"], 1), "995dc9bbdf1939fa");
        assert_eq!(crc64::<&str>(&[], 1), "0000000000000000");
    }

    #[test]
    fn threads_find_the_same() {
        let bytes: Vec<u8> = (0..5000u32).map(|at| (at * at % 251) as u8).collect();
        let whole = crc64(&[&bytes], 1);
        for threads in 2..8 {
            for cut in [0, 1, 700, 4999] {
                let pieces = [&bytes[..cut], &[], &bytes[cut..]];
                assert_eq!(crc64(&pieces, threads), whole, "{threads} {cut}");
            }
        }
        assert_eq!(crc64(&["123456789"], 20), "995dc9bbdf1939fa");
    }
}
