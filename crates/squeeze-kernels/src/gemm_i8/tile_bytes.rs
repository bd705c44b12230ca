//! How the sums of a tile become bytes: whole tiles two rows at a time where a tier does that ([`Sums::UNROLLED`]), others register by register.

use std::mem::MaybeUninit;

use super::tile::{Bytes, Sums, Tile, is_whole};
use crate::gemm_f32::tile::{ROWS, Register};

/// What sums go through before they are bytes, as a constant: nothing, a sum with a residual, or a curve.
pub(super) const PLAIN: u8 = 0;
pub(super) const RESIDUAL: u8 = 1;
const CURVE: u8 = 2;

/// Writes the sums out as bytes: with bias and residual, limited.
///
/// # Safety
/// As for [`super::tile::compute`].
#[inline(always)]
pub(super) unsafe fn finish_bytes<S: Sums, const M: usize, const V: usize>(
    t: &Tile,
    sum: [[S; V]; M],
    is_full: bool,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (t.bytes.curve.is_null(), t.bytes.residual.is_null()) {
            (false, _) => finish_through::<S, M, V, CURVE>(t, sum, is_full),
            (true, true) => finish_through::<S, M, V, PLAIN>(t, sum, is_full),
            (true, false) => finish_through::<S, M, V, RESIDUAL>(t, sum, is_full),
        }
    }
}

/// The same where it is known what sums go through.
///
/// # Safety
/// As for [`super::tile::compute`].
#[inline(always)]
unsafe fn finish_through<S: Sums, const M: usize, const V: usize, const THROUGH: u8>(
    t: &Tile,
    sum: [[S; V]; M],
    is_full: bool,
) {
    // SAFETY (of both): the caller's promise.
    match is_whole::<S, M, V>() {
        true => unsafe { S::store_whole::<M, V, THROUGH>(t, &sum) },
        false => unsafe { store_bytes::<S, M, V, THROUGH>(t, sum, is_full) },
    }
}

/// Writes a whole tile of two registers of columns out as bytes, two rows at a time, from register to memory.
///
/// # Safety
/// As for [`super::tile::compute`].
#[inline(always)]
pub(super) unsafe fn store_pairs<S: Sums, const M: usize, const V: usize, const THROUGH: u8>(
    t: &Tile,
    sum: &[[S; V]; M],
) {
    const { assert!(S::UNROLLED <= 6) }
    // SAFETY: the caller's promise.
    unsafe {
        store_pair::<S, M, V, THROUGH>(t, sum, 0);
        if M > 2 {
            store_pair::<S, M, V, THROUGH>(t, sum, 2);
        }
        if M > 4 {
            store_pair::<S, M, V, THROUGH>(t, sum, 4);
        }
    }
}

/// The same of two rows.
///
/// # Safety
/// As for [`super::tile::compute`].
#[inline(always)]
unsafe fn store_pair<S: Sums, const M: usize, const V: usize, const THROUGH: u8>(
    t: &Tile,
    sum: &[[S; V]; M],
    row: usize,
) {
    let lanes = S::Floats::LANES;
    let limits = S::Floats::limits(t.output.limits.0, t.output.limits.1);
    let (to, step) = t.bytes.to;
    let mut two = [[S::Floats::splat(0.0); 2]; 2];
    for next in 0..2 {
        for v in 0..2 {
            // SAFETY (of both): the caller's promise.
            let (bias, scale) = unsafe {
                let bias = S::Floats::load(t.output.bias.add(v * lanes));
                (bias, S::Floats::load(t.scales.add(v * lanes)))
            };
            let x = bias.add_product(sum[row + next][v].floats(), scale);
            let at = (row + next) * step + v * lanes;
            two[next][v] = unsafe { through::<S, THROUGH>(&t.bytes, x, at) };
            if THROUGH == CURVE {
                // Parabolas stay in memory: in registers they would put sums there.
                S::end_row();
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        S::Floats::store_two_rows_of_bytes(two, limits, (to.wrapping_add(row * step), step));
    }
}

/// Room for the bytes of a register of every row.
type Room = [[u8; WIDEST]; ROWS];

/// The most lanes of a register.
const WIDEST: usize = 16;

/// The same of any tile. Whole registers only: where the last one has fewer columns, it takes a way round.
///
/// # Safety
/// As for [`super::tile::compute`].
#[inline(always)]
unsafe fn store_bytes<S: Sums, const M: usize, const V: usize, const THROUGH: u8>(
    t: &Tile,
    sum: [[S; V]; M],
    is_full: bool,
) {
    let lanes = S::Floats::LANES;
    let limits = S::Floats::limits(t.output.limits.0, t.output.limits.1);
    let (out, apart) = t.bytes.to;
    let mut room = [MaybeUninit::<Room>::uninit(); 2];
    let [own, others] = room.each_mut().map(|room| room.as_mut_ptr().cast::<u8>());
    for v in 0..V {
        let is_part = !is_full && v + 1 == V;
        let mask = S::Floats::first(t.output.columns - v * lanes);
        let out = out.wrapping_add(v * lanes);
        let mut bytes = Bytes {
            to: (out, apart),
            residual: t.bytes.residual.wrapping_add(v * lanes),
            ..t.bytes
        };
        if is_part {
            bytes.to = (own, WIDEST);
            if THROUGH == RESIDUAL {
                // SAFETY (of all blocks below): the mask ends where the columns do, and room is for all rows.
                unsafe {
                    others.write_bytes(0, size_of::<Room>());
                    for row in 0..M {
                        let from = bytes.residual.wrapping_add(row * apart);
                        S::Floats::copy_some_bytes(from, others.add(row * WIDEST), mask);
                    }
                }
                bytes.residual = others;
            }
        }
        // SAFETY (of all blocks below): bias and scales lie as whole panels do.
        let (bias, scale) = unsafe {
            let bias = S::Floats::load(t.output.bias.add(v * lanes));
            (bias, S::Floats::load(t.scales.add(v * lanes)))
        };
        let (to, step) = bytes.to;
        let mut row = 0;
        while row + 4 <= M {
            let mut four = [bias; 4];
            for next in 0..4 {
                let x = bias.add_product(sum[row + next][v].floats(), scale);
                four[next] = unsafe { through::<S, THROUGH>(&bytes, x, (row + next) * step) };
            }
            let to = (to.wrapping_add(row * step), step);
            unsafe { Register::store_four_of_bytes(four, limits, to) };
            row += 4;
        }
        while row < M {
            let x = bias.add_product(sum[row][v].floats(), scale);
            unsafe {
                let x = through::<S, THROUGH>(&bytes, x, row * step);
                x.store_bytes(limits, to.wrapping_add(row * step));
            }
            row += 1;
        }
        if is_part {
            for row in 0..M {
                let to = out.wrapping_add(row * apart);
                unsafe { S::Floats::copy_some_bytes(own.add(row * WIDEST), to, mask) };
            }
        }
    }
}

/// What a register of sums with bias becomes whose bytes go `at` bytes behind the tile's first.
///
/// # Safety
/// As for [`store_bytes`].
#[inline(always)]
unsafe fn through<S: Sums, const THROUGH: u8>(bytes: &Bytes, x: S::Floats, at: usize) -> S::Floats {
    // SAFETY: the caller's promise.
    unsafe {
        match THROUGH {
            CURVE => x.curve(&*bytes.curve),
            RESIDUAL => {
                let residual = S::Floats::load_bytes(bytes.residual.wrapping_add(at));
                x.add_product(residual, S::Floats::splat(bytes.factor))
            }
            _ => x,
        }
    }
}
