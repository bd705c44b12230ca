//! The inner loop on the CPU's matrix registers: up to 32 rows by 32 columns of sums in four tiles.
//!
//! The compiler has no stable intrinsics for these instructions yet, so the loop is written in assembly.

use std::arch::asm;
use std::sync::OnceLock;

use super::Job;

/// Whether the CPU has matrix registers for bfloat16 and bytes and the system lets this process use them. Looked up once.
pub(crate) fn is_present() -> bool {
    static PRESENT: OnceLock<bool> = OnceLock::new();
    *PRESENT.get_or_init(|| {
        const BF16: u32 = 1 << 22;
        const TILE: u32 = 1 << 24;
        const INT8: u32 = 1 << 25;
        let needed = BF16 | TILE | INT8;
        let leaves = std::arch::x86_64::__cpuid(0).eax;
        leaves >= 7
            && std::arch::x86_64::__cpuid_count(7, 0).edx & needed == needed
            && may_use_tiles()
    })
}

/// Asks Linux for the room to save the registers of this process's threads.
#[cfg(all(target_os = "linux", not(miri)))]
fn may_use_tiles() -> bool {
    const ARCH_PRCTL: usize = 158;
    const REQUEST_PERMISSION: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let status: isize;
    // SAFETY: the call takes two numbers and touches no memory of ours; the kernel overwrites rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => status, in("rdi") REQUEST_PERMISSION, in("rsi") TILE_DATA,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    status == 0
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn may_use_tiles() -> bool {
    false
}

/// The shapes of the eight tiles.
#[repr(C, align(64))]
pub(crate) struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static WHOLE: Shapes = Shapes::WHOLE;

impl Shapes {
    /// 16 rows of 64 bytes each.
    pub const WHOLE: Shapes = Shapes {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };

    /// Gives a tile fewer rows or bytes a row.
    ///
    /// # Panics
    /// If it would have none, or more than 16 rows of 64 bytes.
    pub fn reshape(&mut self, tile: usize, rows: usize, bytes: usize) {
        assert!((1..=16).contains(&rows) && (1..=64).contains(&bytes));
        (self.rows[tile], self.row_bytes[tile]) = (rows as u8, bytes as u16);
    }
}

/// This thread's matrix registers, set up while it lives.
pub(crate) struct Registers(());

impl Registers {
    /// # Safety
    /// [`is_present`] holds.
    pub unsafe fn set_up() -> Registers {
        // SAFETY: the caller's promise.
        unsafe { Registers::of(&WHOLE) }
    }

    /// # Safety
    /// [`is_present`] holds.
    pub unsafe fn of(shapes: &Shapes) -> Registers {
        // SAFETY: the caller's promise; the shapes are a valid configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) shapes, options(nostack, readonly)) };
        Registers(())
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: the registers were set up.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

macro_rules! repeat {
    ($op:literal, $rounds:expr) => {
        // SAFETY: the caller's promise; tiles are numbers of any value.
        unsafe {
            asm!(
                "2:",
                concat!($op, " tmm0, tmm4, tmm6"),
                concat!($op, " tmm1, tmm4, tmm7"),
                concat!($op, " tmm2, tmm5, tmm6"),
                concat!($op, " tmm3, tmm5, tmm7"),
                "dec {rounds}",
                "jnz 2b",
                rounds = inout(reg) $rounds => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nostack, nomem),
            );
        }
    };
}

/// Multiplies the same tiles `rounds` times four times, for the machine's peak; how many multiply-adds of bfloat16 that was.
///
/// # Safety
/// [`is_present`] holds, and `rounds` is not zero.
pub(crate) unsafe fn repeat(rounds: usize) -> usize {
    // SAFETY: the caller's promise.
    let _registers = unsafe { Registers::set_up() };
    repeat!("tdpbf16ps", rounds);
    4 * rounds * 16 * 16 * 32
}

/// The same of bytes.
///
/// # Safety
/// As for [`repeat`].
pub(crate) unsafe fn repeat_bytes(rounds: usize) -> usize {
    // SAFETY: the caller's promise.
    let _registers = unsafe { Registers::set_up() };
    repeat!("tdpbusd", rounds);
    4 * rounds * 16 * 16 * 64
}

/// The left tiles at r12 and r13.
macro_rules! left {
    (1) => {
        "tileloadd tmm4, [r12 + r10]\n"
    };
    (2) => {
        "tileloadd tmm4, [r12 + r10]\n tileloadd tmm5, [r13 + r10]\n"
    };
}

/// The right tiles of one part.
macro_rules! right {
    (1, $part:literal) => {
        concat!("tileloadd tmm6, [rsi + rax + 1024*", $part, "]\n")
    };
    (2, $part:literal) => {
        concat!(
            "tileloadd tmm6, [rsi + rax + 2048*",
            $part,
            "]\n tileloadd tmm7, [rsi + rax + 2048*",
            $part,
            " + 1024]\n"
        )
    };
}

/// All products of the loaded tiles.
macro_rules! products {
    ($op:literal, 1, 1) => {
        concat!($op, " tmm0, tmm4, tmm6\n")
    };
    ($op:literal, 1, 2) => {
        concat!($op, " tmm0, tmm4, tmm6\n", $op, " tmm1, tmm4, tmm7\n")
    };
    ($op:literal, 2, 1) => {
        concat!($op, " tmm0, tmm4, tmm6\n", $op, " tmm2, tmm5, tmm6\n")
    };
    ($op:literal, 2, 2) => {
        concat!(
            products!($op, 1, 2),
            $op,
            " tmm2, tmm5, tmm6\n",
            $op,
            " tmm3, tmm5, tmm7\n"
        )
    };
}

/// The sums at r12, of the second rows at r13, moved by `$load` or `$store`.
macro_rules! sums {
    (load, $m:tt, $n:tt) => {
        concat!(
            "tileloadd tmm0, [r12 + rax]\n",
            sums!(@if2 $n "tileloadd tmm1, [r12 + rax + 64]\n"),
            sums!(@if2 $m "tileloadd tmm2, [r13 + rax]\n"),
            sums!(@if22 $m $n "tileloadd tmm3, [r13 + rax + 64]\n"),
        )
    };
    (store, $m:tt, $n:tt) => {
        concat!(
            "tilestored [r12 + rax], tmm0\n",
            sums!(@if2 $n "tilestored [r12 + rax + 64], tmm1\n"),
            sums!(@if2 $m "tilestored [r13 + rax], tmm2\n"),
            sums!(@if22 $m $n "tilestored [r13 + rax + 64], tmm3\n"),
        )
    };
    (@if2 1 $text:literal) => { "" };
    (@if2 2 $text:literal) => { $text };
    (@if22 2 2 $text:literal) => { $text };
    (@if22 $m:tt $n:tt $text:literal) => { "" };
}

/// One piece of a step: `left` loads the left tiles, a number the right tiles of that part, `mul` multiplies them, `up` and `down` go to
/// the next or last part of the left side.
macro_rules! piece {
    (left, $op:literal, $m:tt, $n:tt) => {
        left!($m)
    };
    (mul, $op:literal, $m:tt, $n:tt) => {
        products!($op, $m, $n)
    };
    (up, $op:literal, $m:tt, $n:tt) => {
        "add r12, r11\n add r13, r11\n"
    };
    (down, $op:literal, $m:tt, $n:tt) => {
        "sub r12, r11\n sub r13, r11\n"
    };
    ($part:literal, $op:literal, $m:tt, $n:tt) => {
        right!($n, $part)
    };
}

macro_rules! block {
    ($op:literal, $m:tt, $n:tt, $parts:literal, [$($piece:tt)*]) => {{
        /// # Safety
        /// The registers are set up, and the job's pointers hold what it says for these tiles.
        unsafe fn block(job: &Job) {
            // SAFETY: the caller's promise; every register that the loop writes is named.
            unsafe {
                asm!(
                    "mov r8, [rdi]",
                    "mov r9, [rdi + 8]",
                    "mov r10, [rdi + 16]",
                    "mov r11, [rdi + 24]",
                    "mov rcx, [rdi + 32]",
                    "mov rdx, [rdi + 40]",
                    "mov rsi, [rdi + 48]",
                    "mov r12, [rdi + 56]",
                    "mov r14, [rdi + 64]",
                    "mov r15, [rdi + 72]",
                    "lea r13, [r12 + 2048]",
                    "mov eax, 128",
                    "cmp byte ptr [rdi + 80], 0",
                    "je 2f",
                    sums!(load, $m, $n),
                    "jmp 3f",
                    "2:",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "3:",
                    "mov eax, 64",
                    "4:",
                    "mov r12, [rcx]",
                    "add rcx, 8",
                    "lea r13, [r9 + r12]",
                    "add r12, r8",
                    $(piece!($piece, $op, $m, $n),)*
                    concat!("add rsi, 1024*", $parts, "*", $n),
                    "mov r12, r15",
                    "test r12, r12",
                    "jz 6f",
                    "5:",
                    "prefetcht1 [r14]",
                    "add r14, 64",
                    "dec r12",
                    "jnz 5b",
                    "6:",
                    "dec rdx",
                    "jnz 4b",
                    "mov r12, [rdi + 56]",
                    "lea r13, [r12 + 2048]",
                    "mov eax, 128",
                    sums!(store, $m, $n),
                    in("rdi") job,
                    out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
                    out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
        block as super::Block
    }};
}

macro_rules! blocks {
    ($op:literal, $parts:literal, $pieces:tt) => {
        [
            [
                block!($op, 1, 1, $parts, $pieces),
                block!($op, 1, 2, $parts, $pieces),
            ],
            [
                block!($op, 2, 1, $parts, $pieces),
                block!($op, 2, 2, $parts, $pieces),
            ],
        ]
    };
}

/// The blocks, `[element][row tiles - 1][column tiles - 1]`. Small products are added before large ones.
pub(super) const BLOCKS: [super::OfElement; 3] = [
    blocks!("tdpbf16ps", 1, [left 0 mul]),
    blocks!("tdpbf16ps", 2, [left 1 mul 0 mul up left mul]),
    blocks!("tdpbf16ps", 3, [left 2 mul 1 mul up left mul 0 mul down left mul up up left mul]),
];
