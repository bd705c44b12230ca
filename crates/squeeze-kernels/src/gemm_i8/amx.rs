//! Sums of 16 rows and 48 columns on matrix registers (Intel AMX). What follows sums is that of the vector tiles, and so are panels and
//! the tiles of fewer rows.
//!
//! Weights lie as matrix registers read them: 16 quads by 16 columns, the quads a panel's width apart; so do rows of bytes, 16 rows by 16
//! quads. Three sums take each product, and the registers of the last quads of a segment are as short as these, so nothing is padded.

use std::arch::asm;

use super::avx512;
use super::avx512::I32x16;
use super::kernel::{BATCH, Kernel, MATRIX_ROWS, Matrix, Moving};
use super::tile::{self, IN_BYTES, IN_NUMBERS, Sums, Tile};
use crate::Tier;
use crate::amx::{self, Registers};

/// The row of this tier.
pub(crate) const KERNEL: Kernel = Kernel {
    name: "i8_gemm_16x48_amx",
    tier: Tier::Amx,
    is_present: || (avx512::KERNEL.is_present)() && amx::is_present(),
    matrix: Some(&Matrix {
        sums,
        finish: [
            [
                finish::<IN_NUMBERS, 1>,
                finish::<IN_NUMBERS, 2>,
                finish::<IN_NUMBERS, 3>,
            ],
            [
                finish::<IN_BYTES, 1>,
                finish::<IN_BYTES, 2>,
                finish::<IN_BYTES, 3>,
            ],
        ],
    }),
    ..avx512::KERNEL
};

/// Quads of a step.
const STEP: usize = 16;

/// Sums of a register of vectors.
const LANES: usize = KERNEL.lanes;

/// Sets matrix registers up for segments of so many quads.
///
/// # Safety
/// The machine has matrix registers.
pub(super) unsafe fn set_up(quads: usize) -> Registers {
    let rest = match quads % STEP {
        0 => STEP,
        rest => rest,
    };
    let mut shapes = amx::Shapes::WHOLE;
    shapes.reshape(5, MATRIX_ROWS, 4 * rest);
    shapes.reshape(6, rest, 64);
    // SAFETY: the caller's promise; no register has over 16 rows of 64 bytes.
    unsafe { Registers::of(&shapes) }
}

/// What the sums are computed from. Its order is known to the assembly.
#[repr(C)]
struct Job {
    a: *const u8,
    row: usize,
    segments: *const tile::Segment,
    count: usize,
    b: *const i8,
    steps: usize,
    segment_bytes: usize,
    prefetch: *const i8,
    /// Lines to ask for in each step.
    lines: usize,
    to: *mut i32,
    rest: usize,
}

/// The products of the left tile at r12 with the right ones at r13.
macro_rules! products {
    ($left:literal, [$($sum:literal $right:literal $at:literal),*]) => {
        concat!(
            "tileloadd ", $left, ", [r12 + r9]\n",
            $("tileloadd ", $right, ", [r13 + rax + ", $at, "]\n tdpbusd ", $sum, ", ", $left, ", ", $right, "\n",)*
        )
    };
}

macro_rules! sums {
    ($job:expr, $width:literal, [$($sum:literal $at:literal),*], $whole:tt, $rest:tt) => {
        // SAFETY: the caller's promise; every register that the loop writes is named.
        unsafe {
            asm!(
                "mov r8, [rdi]",
                "mov r9, [rdi + 8]",
                "mov r10, [rdi + 16]",
                "mov r11, [rdi + 24]",
                "mov r14, [rdi + 56]",
                "mov r15, [rdi + 64]",
                concat!("mov eax, 64*", $width),
                $(concat!("tilezero ", $sum),)*
                "test r11, r11",
                "jz 8f",
                "2:",
                "mov r12, [r10]",
                "add r12, r8",
                "mov r13, [r10 + 8]",
                "imul r13, [rdi + 48]",
                "add r13, [rdi + 32]",
                "add r10, 16",
                "mov rdx, [rdi + 40]",
                "test rdx, rdx",
                "jz 6f",
                "3:",
                products!("tmm3", $whole),
                "add r12, 64",
                concat!("add r13, 1024*", $width),
                "mov rcx, r15",
                "test rcx, rcx",
                "jz 5f",
                "4:",
                "prefetcht1 [r14]",
                "add r14, 64",
                "dec rcx",
                "jnz 4b",
                "5:",
                "dec rdx",
                "jnz 3b",
                "6:",
                "cmp qword ptr [rdi + 80], 0",
                "je 7f",
                products!("tmm5", $rest),
                "7:",
                "dec r11",
                "jnz 2b",
                "8:",
                "mov r12, [rdi + 72]",
                $(concat!("tilestored [r12 + rax + ", $at, "], ", $sum),)*
                in("rdi") &$job,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
                out("rax") _, out("rcx") _, out("rdx") _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    };
}

/// The sums of 16 rows of a tile of so many registers of columns, without what they start from: `[16][registers * 16]`.
///
/// # Safety
/// The registers are set up for the tile's quads; as for [`tile::compute`] for 16 rows, and `to` is valid for the sums.
unsafe fn sums(t: &Tile, (a, prefetch): Moving, registers: usize, to: *mut i32) {
    let job = Job {
        a,
        row: t.a.1,
        segments: t.segments.0,
        count: t.segments.1,
        b: t.b,
        steps: t.quads / STEP,
        segment_bytes: t.quads * registers * 64,
        prefetch,
        lines: (t.prefetch.1 * STEP).div_ceil(64),
        to,
        rest: t.quads % STEP,
    };
    match registers {
        1 => sums!(job, 1, ["tmm0" 0], ["tmm0" "tmm4" 0], ["tmm0" "tmm6" 0]),
        2 => {
            sums!(job, 2, ["tmm0" 0, "tmm1" 64], ["tmm0" "tmm4" 0, "tmm1" "tmm7" 64], ["tmm0" "tmm6" 0, "tmm1" "tmm6" 64])
        }
        _ => sums!(job, 3, ["tmm0" 0, "tmm1" 64, "tmm2" 128],
            ["tmm0" "tmm4" 0, "tmm1" "tmm7" 64, "tmm2" "tmm4" 128],
            ["tmm0" "tmm6" 0, "tmm1" "tmm6" 64, "tmm2" "tmm6" 128]),
    }
}

/// Writes the sums of so many rows out, [`BATCH`] or more, that lie in memory without what they start from, `[rows, V, 16]`; the tile goes on to
/// the rows behind them.
///
/// # Safety
/// As for [`tile::compute`] of so many rows; the sums are valid for all of them, and the CPU has AVX-512 with VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn finish<const WHAT: usize, const V: usize>(
    t: &mut Tile,
    mut sums: *const i32,
    mut rows: usize,
) {
    // SAFETY (of all): the caller's promise.
    let start = unsafe { tile::start::<I32x16, V>(t) };
    // The last batch begins with rows that are there already, if fewer are left: they are written twice.
    while rows > 0 {
        unsafe { finish_batch::<WHAT, V>(t, sums, start) };
        let step = if rows > BATCH {
            BATCH.min(rows - BATCH)
        } else {
            BATCH
        };
        t.pass(step);
        sums = sums.wrapping_add(step * V * LANES);
        rows -= step;
    }
}

/// The same of [`BATCH`] rows, without going on.
///
/// # Safety
/// As for [`finish`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn finish_batch<const WHAT: usize, const V: usize>(
    t: &Tile,
    sums: *const i32,
    start: [I32x16; V],
) {
    let mut sum = [start; BATCH];
    for row in 0..BATCH {
        for v in 0..V {
            // SAFETY (of both): the caller's promise.
            let own = unsafe { I32x16::load(sums.wrapping_add((row * V + v) * LANES)) };
            sum[row][v] = start[v].add(own);
        }
    }
    let is_full = t.output.columns == V * LANES;
    unsafe { tile::write::<I32x16, WHAT, BATCH, V>(t, sum, (is_full, true)) };
}
