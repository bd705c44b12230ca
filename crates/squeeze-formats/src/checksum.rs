//! The checksum of a file's pieces, on several threads.

use std::ops::Range;

use squeeze_kernels::crc64::{Crc64, join};

/// The CRC-64/XZ of pieces one after the other, computed on so many threads: sixteen hexadecimal digits.
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
    let whole = sums.into_iter().reduce(|(before, at), (behind, length)| {
        let sum = join(before, behind, length);
        (sum, at + length)
    });
    format!("{:016x}", whole.map_or(0, |(sum, _)| sum))
}

/// The checksum of some bytes of all pieces, and how many they are.
fn of_part<P: AsRef<[u8]>>(pieces: &[P], part: Range<usize>) -> (u64, usize) {
    let mut crc = Crc64::default();
    let mut at = 0;
    for piece in pieces {
        let piece = piece.as_ref();
        let inside = |place: usize| place.saturating_sub(at).min(piece.len());
        crc.add(&piece[inside(part.start)..inside(part.end)]);
        at += piece.len();
    }
    (crc.sum(), part.len())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(crc64::<&str>(&[], 1), "0000000000000000");
        assert_eq!(crc64(&["123456789"], 20), "995dc9bbdf1939fa");
    }
}
