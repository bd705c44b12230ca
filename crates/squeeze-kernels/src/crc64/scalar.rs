//! Eight bytes at a time from tables (Kounavis and Berry, 2008), for every machine.

use std::sync::LazyLock;

use super::{Kernel, POLYNOMIAL};

pub(super) const KERNEL: Kernel = Kernel {
    name: "crc64_scalar",
    is_present: || true,
    update,
};

/// What each byte adds to the state that so many bytes later than the first follow. Made when first used: they would be 16 kB of each
/// program.
static TABLES: LazyLock<Box<[[u64; 256]; 8]>> = LazyLock::new(tables);

fn tables() -> Box<[[u64; 256]; 8]> {
    let mut tables = Box::new([[0; 256]; 8]);
    for byte in 0..256 {
        let mut state = byte as u64;
        for table in tables.iter_mut() {
            for _ in 0..8 {
                state = (state >> 1) ^ (POLYNOMIAL * (state & 1));
            }
            table[byte] = state;
        }
    }
    tables
}

pub(super) fn update(mut state: u64, bytes: &[u8]) -> u64 {
    let tables = &**TABLES;
    let (words, rest) = bytes.as_chunks();
    for &word in words {
        let word = (state ^ u64::from_le_bytes(word)).to_le_bytes();
        let of = |at: usize| tables[7 - at][usize::from(word[at])];
        state = (0..8).fold(0, |sum, at| sum ^ of(at));
    }
    for &byte in rest {
        let low = (state ^ u64::from(byte)).to_le_bytes()[0];
        state = (state >> 8) ^ tables[0][usize::from(low)];
    }
    state
}
