//! Eight bytes at a time from tables (Kounavis and Berry, 2008), for every machine.

use super::{Kernel, POLYNOMIAL};

pub(super) const KERNEL: Kernel = Kernel {
    name: "crc64_scalar",
    is_present: || true,
    update,
};

/// What each byte adds to the state that so many bytes later than the first follow.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut state = byte as u64;
        let mut table = 0;
        while table < 8 {
            let mut bit = 0;
            while bit < 8 {
                state = (state >> 1) ^ (POLYNOMIAL * (state & 1));
                bit += 1;
            }
            tables[table][byte] = state;
            table += 1;
        }
        byte += 1;
    }
    tables
}

pub(super) fn update(mut state: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    for &word in words {
        let word = (state ^ u64::from_le_bytes(word)).to_le_bytes();
        let of = |at: usize| TABLES[7 - at][usize::from(word[at])];
        state = (0..8).fold(0, |sum, at| sum ^ of(at));
    }
    for &byte in rest {
        let low = (state ^ u64::from(byte)).to_le_bytes()[0];
        state = (state >> 8) ^ TABLES[0][usize::from(low)];
    }
    state
}
