//! Pools, channels-last: largest, average, adaptive average, global average, mean and largest of the tokens that count; [`bytes`] of bytes.

pub mod bytes;
pub mod scalar;
mod vector;

use std::ops::Range;

use self::vector::max_forward as vector_max;
use crate::elementwise::{PASS, block_sums, each_rows, slice_scale};
use crate::vector::per_tier;
use crate::{Cpu, SharedMut, Tier, even};

pub use bytes::{average_forward_bytes, max_forward_bytes, mean_forward_bytes};

/// Windows over `[n, h, w, c]`; sizes and divisors as PyTorch has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// How many images.
    pub n: usize,
    /// Rows of the input.
    pub h: usize,
    /// Columns of the input.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// From one window to the next, down and across.
    pub stride: [usize; 2],
    /// Padding: top, left, bottom, right.
    pub padding: [usize; 4],
    /// How the number of windows is rounded.
    pub rounding: Rounding,
    /// What an average is divided by.
    pub divisor: Divisor,
}

/// How the number of windows is rounded when they do not fill the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// Windows that stick out are left away.
    #[default]
    Floor,
    /// A window that sticks out counts if it starts inside the input or its top or left padding (`ceil_mode`).
    Ceil,
}

/// What an average is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Divisor {
    /// The size of the window with padding (`count_include_pad`).
    #[default]
    WithPadding,
    /// The number of inputs in the window.
    InputsOnly,
}

impl Pool {
    /// Rows of the output.
    pub fn out_h(&self) -> usize {
        self.extent(self.h, 0)
    }

    /// Columns of the output.
    pub fn out_w(&self) -> usize {
        self.extent(self.w, 1)
    }

    /// How many numbers the input has.
    pub fn input(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// How many numbers the output has.
    pub fn output(&self) -> usize {
        self.n * self.out_h() * self.out_w() * self.c
    }

    fn extent(&self, size: usize, axis: usize) -> usize {
        let (before, after) = (self.padding[axis], self.padding[axis + 2]);
        let stride = self.stride[axis];
        let Some(free) = (size + before + after).checked_sub(self.kernel[axis]) else {
            return 0;
        };
        match self.rounding {
            Rounding::Floor => free / stride + 1,
            Rounding::Ceil => {
                let windows = free.div_ceil(stride) + 1;
                if (windows - 1) * stride >= size + before {
                    windows - 1
                } else {
                    windows
                }
            }
        }
    }
}

/// Adaptive averages: output `i` of `out` covers inputs `floor(i size / out)` to `ceil((i + 1) size / out)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adaptive {
    /// How many images.
    pub n: usize,
    /// Rows of the input.
    pub h: usize,
    /// Columns of the input.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Rows and columns of the output.
    pub out: [usize; 2],
}

/// Rows of channels that are pooled: all pixels of an image, or the tokens of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// How many images or sequences.
    pub n: usize,
    /// How many rows each has.
    pub rows: usize,
    /// Where the rows of each begin, and where the last one's end: `[n + 1]`; `None` where each has `rows`. Not for gradients.
    pub starts: Option<&'a [usize]>,
    /// Channels.
    pub c: usize,
    /// How many rows of each count: `[n]`. The mean and the largest of none are 0.
    pub lengths: Option<&'a [usize]>,
}

impl Rows<'_> {
    /// The first row of an image or sequence; that of `n` is the number of all rows.
    pub fn start(&self, n: usize) -> usize {
        self.starts.map_or(n * self.rows, |starts| starts[n])
    }

    /// How many rows count.
    pub fn length(&self, n: usize) -> usize {
        let rows = self.start(n + 1) - self.start(n);
        self.lengths.map_or(rows, |lengths| lengths[n].min(rows))
    }

    /// The rows of `x` that count.
    fn counted<'x>(&self, n: usize, x: &'x [f32]) -> &'x [f32] {
        &x[self.start(n) * self.c..][..self.length(n) * self.c]
    }
}

/// The rows of this family: name and tier.
pub const KERNELS: &[(&str, Tier)] = &[
    ("f32_pool_scalar", Tier::Scalar),
    ("f32_pool_avx2", Tier::Avx2),
    ("f32_pool_avx512", Tier::Avx512),
];

/// The rows of this family for bytes.
pub const BYTE_KERNELS: &[(&str, Tier)] = &[
    ("u8_pool_scalar", Tier::Scalar),
    ("u8_pool_avx2", Tier::Avx2),
    ("u8_pool_avx512", Tier::Avx512),
];

/// The largest input of each window; NaN when there is one.
///
/// # Panics
/// When the lengths do not fit.
pub fn max_forward(cpu: Cpu, pool: &Pool, x: &[f32], y: &mut [f32]) {
    check(pool, x, y);
    each_row_of_windows(cpu, pool, y, |rows, y| {
        rows_max(cpu.tier, pool, rows.start, x, y);
    });
}

/// Calls `part` with ranges of the rows of the output, each of whose numbers is had from a window.
fn each_row_of_windows(
    cpu: Cpu,
    pool: &Pool,
    y: &mut [f32],
    part: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let row = pool.out_w() * pool.c;
    if y.is_empty() {
        return;
    }
    let work = y.len() * pool.kernel[0] * pool.kernel[1];
    cpu.threads.run_rows(y, row, work, part);
}

/// [`max_forward`] that keeps in `places` which pixel (`row * w + column` of its image) was the first largest one.
///
/// # Panics
/// When the lengths do not fit.
pub fn max_forward_train(cpu: Cpu, pool: &Pool, x: &[f32], y: &mut [f32], places: &mut [u32]) {
    check(pool, x, y);
    assert_eq!(places.len(), y.len());
    if y.is_empty() {
        return;
    }
    let row = pool.out_w() * pool.c;
    let work = y.len() * PASS;
    cpu.threads
        .run_rows2((y, row), (places, row), work, |rows, y, places| {
            rows_max_places(cpu.tier, pool, rows.start, x, y, places);
        });
}

/// `dx` of [`max_forward_train`].
///
/// # Panics
/// When the lengths do not fit.
pub fn max_backward(cpu: Cpu, pool: &Pool, places: &[u32], dy: &[f32], dx: &mut [f32]) {
    check(pool, dx, dy);
    assert_eq!(places.len(), dy.len());
    let out = dy.len() / pool.n.max(1);
    each_rows(cpu, pool.h * pool.w * pool.c, dx, |images, dx| {
        let cut = images.start * out..images.end * out;
        scalar::max_backward(pool, &places[cut.clone()], &dy[cut], dx);
    });
}

/// The average of each window.
///
/// # Panics
/// When the lengths do not fit.
pub fn average_forward(cpu: Cpu, pool: &Pool, x: &[f32], y: &mut [f32]) {
    check(pool, x, y);
    each_row_of_windows(cpu, pool, y, |rows, y| {
        rows_average(cpu.tier, pool, rows.start, x, y);
    });
}

/// `dx` of [`average_forward`].
///
/// # Panics
/// When the lengths do not fit.
pub fn average_backward(cpu: Cpu, pool: &Pool, dy: &[f32], dx: &mut [f32]) {
    check(pool, dx, dy);
    let out = dy.len() / pool.n.max(1);
    each_rows(cpu, pool.h * pool.w * pool.c, dx, |images, dx| {
        images_average_backward(
            cpu.tier,
            pool,
            &dy[images.start * out..images.end * out],
            dx,
        );
    });
}

/// Adaptive averages: `x` is `[n, h, w, c]`, `y` is `[n, out[0], out[1], c]`.
///
/// # Panics
/// When the lengths do not fit.
pub fn adaptive_forward(cpu: Cpu, adaptive: &Adaptive, x: &[f32], y: &mut [f32]) {
    check_adaptive(adaptive, x, y);
    each_rows(cpu, adaptive.c, y, |pixels, y| {
        pixels_adaptive(cpu.tier, adaptive, pixels.start, x, y);
    });
}

/// `dx` of [`adaptive_forward`].
///
/// # Panics
/// When the lengths do not fit.
pub fn adaptive_backward(cpu: Cpu, adaptive: &Adaptive, dy: &[f32], dx: &mut [f32]) {
    check_adaptive(adaptive, dx, dy);
    let out = dy.len() / adaptive.n.max(1);
    each_rows(
        cpu,
        adaptive.h * adaptive.w * adaptive.c,
        dx,
        |images, dx| {
            let dy = &dy[images.start * out..images.end * out];
            images_adaptive_backward(cpu.tier, adaptive, dy, dx);
        },
    );
}

/// A mean is had from the sums of at most so many blocks of rows, which threads share: each adds what it wrote itself, mostly.
const MEAN_BLOCKS: usize = 8;
/// Fewer rows are no block.
const BLOCK_ROWS: usize = 32;

/// How many numbers [`mean_forward`] of `n` images or sequences works in.
pub fn mean_scratch(n: usize, c: usize) -> usize {
    n * MEAN_BLOCKS * c
}

/// The mean over the rows that count: `x` is all rows of `c`, `y` is `[n, c]`. Global average pool and masked token mean.
///
/// # Panics
/// When the lengths do not fit, or the scratch is shorter than [`mean_scratch`].
pub fn mean_forward(cpu: Cpu, rows: &Rows, x: &[f32], y: &mut [f32], scratch: &mut [f32]) {
    check_rows(rows, x, y);
    let c = rows.c;
    let sums = SharedMut::new(&mut scratch[..mean_scratch(rows.n, c)]);
    let blocks = |n: usize| (rows.length(n) / BLOCK_ROWS).clamp(1, MEAN_BLOCKS);
    cpu.split(rows.n * MEAN_BLOCKS, x.len() * PASS, |range| {
        for at in range {
            let (n, block) = (at / MEAN_BLOCKS, at % MEAN_BLOCKS);
            if block < blocks(n) {
                let own = even(rows.length(n), blocks(n), block);
                let x = &rows.counted(n, x)[own.start * c..own.end * c];
                // SAFETY: each block has its own sums.
                block_sums(cpu.tier, x, unsafe { sums.slice(at * c..(at + 1) * c) });
            }
        }
    });
    for (n, y) in y.chunks_exact_mut(c).enumerate() {
        let sums = &scratch[n * MEAN_BLOCKS * c..][..blocks(n) * c];
        block_sums(cpu.tier, sums, y);
        slice_scale(cpu.tier, 1.0 / rows.length(n).max(1) as f32, y);
    }
}

/// `dx` of [`mean_forward`]; rows that do not count get 0.
///
/// # Panics
/// When the lengths do not fit.
pub fn mean_backward(cpu: Cpu, rows: &Rows, dy: &[f32], dx: &mut [f32]) {
    check_rows(rows, dx, dy);
    assert!(rows.starts.is_none(), "training keeps its padding");
    each_rows(cpu, rows.rows * rows.c, dx, |range, dx| {
        for (n, dx) in range.zip(dx.chunks_exact_mut(rows.rows * rows.c)) {
            let length = rows.length(n);
            slice_mean_backward(cpu.tier, length, &dy[n * rows.c..][..rows.c], dx);
        }
    });
}

/// The largest of the rows that count, NaN when there is one: `x` is all rows of `c`, `y` is `[n, c]`.
///
/// # Panics
/// When the lengths do not fit.
pub fn largest_forward(cpu: Cpu, rows: &Rows, x: &[f32], y: &mut [f32]) {
    check_rows(rows, x, y);
    let shared = SharedMut::new(y);
    cpu.split(rows.n, x.len() * PASS, |range| {
        for n in range {
            // SAFETY: each sequence has its own largest row.
            let y = unsafe { shared.slice(n * rows.c..(n + 1) * rows.c) };
            slice_largest(cpu.tier, rows.counted(n, x), y);
        }
    });
}

/// [`largest_forward`] that keeps in `places` which row was the first largest one; [`NO_ROW`] where
/// none counts.
///
/// # Panics
/// When the lengths do not fit.
pub fn largest_forward_train(cpu: Cpu, rows: &Rows, x: &[f32], y: &mut [f32], places: &mut [u32]) {
    check_rows(rows, x, y);
    assert_eq!(places.len(), y.len());
    if y.is_empty() {
        return;
    }
    let work = x.len() * PASS;
    cpu.threads
        .run_rows2((y, rows.c), (places, rows.c), work, |range, y, places| {
            let each = y.chunks_exact_mut(rows.c);
            for ((n, y), places) in range.zip(each).zip(places.chunks_exact_mut(rows.c)) {
                slice_largest_places(cpu.tier, rows.counted(n, x), y, places);
            }
        });
}

/// `dx` of [`largest_forward_train`].
///
/// # Panics
/// When the lengths do not fit.
pub fn largest_backward(cpu: Cpu, rows: &Rows, places: &[u32], dy: &[f32], dx: &mut [f32]) {
    check_rows(rows, dx, dy);
    assert!(rows.starts.is_none(), "training keeps its padding");
    assert_eq!(places.len(), dy.len());
    each_rows(cpu, rows.rows * rows.c, dx, |range, dx| {
        for (n, dx) in range.zip(dx.chunks_exact_mut(rows.rows * rows.c)) {
            let cut = n * rows.c..(n + 1) * rows.c;
            scalar::largest_backward(&places[cut.clone()], &dy[cut], dx);
        }
    });
}

/// The place of the largest of no rows.
pub const NO_ROW: u32 = u32::MAX;

fn check(pool: &Pool, x: &[f32], y: &[f32]) {
    assert_eq!(x.len(), pool.input(), "input of {pool:?}");
    assert_eq!(y.len(), pool.output(), "output of {pool:?}");
}

fn check_adaptive(adaptive: &Adaptive, x: &[f32], y: &[f32]) {
    assert_eq!(x.len(), adaptive.n * adaptive.h * adaptive.w * adaptive.c);
    assert_eq!(
        y.len(),
        adaptive.n * adaptive.out[0] * adaptive.out[1] * adaptive.c
    );
}

fn check_rows(rows: &Rows, x: &[f32], y: &[f32]) {
    assert!(rows.starts.is_none_or(|starts| starts.len() == rows.n + 1));
    assert_eq!(x.len(), rows.start(rows.n) * rows.c);
    assert_eq!(y.len(), rows.n * rows.c);
}

per_tier! {
    /// Rows of the output from the `first` of all images on.
    fn rows_max(pool: &Pool, first: usize, x: &[f32], y: &mut [f32])
    { scalar: scalar::max_forward, vector: vector_max }
}

per_tier! {
    /// Rows of the output from the `first` of all images on.
    fn rows_max_places(pool: &Pool, first: usize, x: &[f32], y: &mut [f32], places: &mut [u32])
    { compiled: scalar::max_forward_places }
}

per_tier! {
    /// Rows of the output from the `first` of all images on.
    fn rows_average(pool: &Pool, first: usize, x: &[f32], y: &mut [f32])
    { compiled: scalar::average_forward }
}

per_tier! {
    fn images_average_backward(pool: &Pool, dy: &[f32], dx: &mut [f32])
    { compiled: scalar::average_backward }
}

per_tier! {
    /// Pixels of the output from the `first` of all images on.
    fn pixels_adaptive(adaptive: &Adaptive, first: usize, x: &[f32], y: &mut [f32])
    { compiled: scalar::adaptive_forward }
}

per_tier! {
    fn images_adaptive_backward(adaptive: &Adaptive, dy: &[f32], dx: &mut [f32])
    { compiled: scalar::adaptive_backward }
}

per_tier! {
    fn slice_largest(x: &[f32], y: &mut [f32])
    { compiled: scalar::largest_forward }
}

per_tier! {
    fn slice_largest_places(x: &[f32], y: &mut [f32], places: &mut [u32])
    { compiled: scalar::largest_forward_places }
}

per_tier! {
    fn slice_mean_backward(length: usize, dy: &[f32], dx: &mut [f32])
    { compiled: scalar::mean_backward }
}

#[cfg(test)]
mod tests;
