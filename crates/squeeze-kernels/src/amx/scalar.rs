//! The definition of a block: the same tiles, one product after the other.

use super::half::{self, FOLD};
use super::{Element, Job};

/// A bfloat16.
#[inline(always)]
fn wide(bits: &[u8]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes([bits[0], bits[1]])) << 16)
}

/// Which part of the left side is multiplied with which of the right one, small products first.
pub(super) fn pairs(element: Element) -> &'static [(usize, usize)] {
    match element {
        Element::Bf16 | Element::F16 => &[(0, 0)],
        Element::Bf16x3 => &[(0, 1), (0, 0), (1, 0)],
        Element::Bf16x6 => &[(0, 2), (0, 1), (1, 1), (1, 0), (0, 0), (2, 0)],
    }
}

/// `E` counts as [`Element::ALL`] does, `M` and `N` count tiles.
///
/// # Safety
/// The job's pointers hold what it says for these tiles.
unsafe fn block<const E: usize, const M: usize, const N: usize>(job: &Job) {
    let element = Element::ALL[E];
    let parts = element.parts();
    // SAFETY (of all blocks below): the caller's promise.
    let offsets = unsafe { std::slice::from_raw_parts(job.offsets, job.steps) };
    let sums = unsafe { std::slice::from_raw_parts_mut(job.c, M * 16 * 32) };
    if !job.add {
        for row in sums.chunks_exact_mut(32) {
            row[..16 * N].fill(0.0);
        }
    }
    for (step, offset) in offsets.iter().enumerate() {
        for &(left, right) in pairs(element) {
            for row in 0..16 * M {
                let start = [job.a0, job.a1][row / 16];
                let a = unsafe {
                    let at = start.wrapping_add(
                        offset.wrapping_add(left * job.plane + row % 16 * job.stride),
                    );
                    std::slice::from_raw_parts(at, 64)
                };
                for column in 0..16 * N {
                    let tile = (step * parts + right) * N + column / 16;
                    // SAFETY: as above.
                    let b = unsafe { std::slice::from_raw_parts(job.b.add(1024 * tile), 1024) };
                    let sum = &mut sums[row * 32 + column];
                    *sum = couples(*sum, a, &b[column % 16 * 4..]);
                }
            }
        }
    }
}

/// Adds 32 products of bfloat16, rounded once; the right ones come in twos, 64 bytes from one two to the next.
fn couples(sum: f32, a: &[u8], b: &[u8]) -> f32 {
    let product = |at: usize| {
        let (a, b) = (wide(&a[2 * at..]), wide(&b[at / 2 * 64 + at % 2 * 2..]));
        f64::from(a * b)
    };
    (f64::from(sum) + (0..32).map(product).sum::<f64>()) as f32
}

/// The blocks of one element.
macro_rules! blocks {
    ($e:literal) => {
        [
            [block::<$e, 1, 1>, block::<$e, 1, 2>],
            [block::<$e, 2, 1>, block::<$e, 2, 2>],
        ]
    };
}

/// Half precision: in each column products with even places and those with odd ones are added up on their own.
///
/// # Safety
/// As for [`block`].
unsafe fn halves<const M: usize, const N: usize>(job: &Job) {
    // SAFETY (of all blocks below): the caller's promise.
    let offsets = unsafe { std::slice::from_raw_parts(job.offsets, job.steps) };
    for row in 0..16 * M {
        let start = [job.a0, job.a1][row / 16].wrapping_add(row % 16 * job.stride);
        for column in 0..16 * N {
            let mut folded = [0.0; 2];
            for (steps, block) in offsets.chunks(FOLD).enumerate() {
                let mut sums = [0.0; 2];
                for (step, offset) in block.iter().enumerate() {
                    let tile = (steps * FOLD + step) * N + column / 16;
                    let (a, b) = unsafe {
                        let a = std::slice::from_raw_parts(start.wrapping_add(*offset), 64);
                        (a, std::slice::from_raw_parts(job.b.add(1024 * tile), 1024))
                    };
                    let b = &b[column % 16 * 4..];
                    for at in 0..32 {
                        let half =
                            |bytes: &[u8]| half::wide(u16::from_le_bytes([bytes[0], bytes[1]]));
                        let (a, b) = (half(&a[2 * at..]), half(&b[at / 2 * 64 + at % 2 * 2..]));
                        sums[at % 2] = half::add_product(sums[at % 2], a, b);
                    }
                }
                folded = [folded[0] + sums[0], folded[1] + sums[1]];
            }
            // SAFETY: as above.
            let sum = unsafe { &mut *job.c.add(row * 32 + column) };
            *sum = folded[0] + folded[1] + if job.add { *sum } else { 0.0 };
        }
    }
}

/// The blocks, `[element][row tiles - 1][column tiles - 1]`.
pub(super) const BLOCKS: [super::OfElement; 4] = [
    blocks!(0),
    blocks!(1),
    blocks!(2),
    [
        [halves::<1, 1>, halves::<1, 2>],
        [halves::<2, 1>, halves::<2, 2>],
    ],
];
