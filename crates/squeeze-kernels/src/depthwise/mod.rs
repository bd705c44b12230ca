//! Depthwise convolution, channels-last: each channel has its own small kernel. One row of taps (`kh = 1`) serves tokens.

mod columns;
mod lines;
#[cfg(target_arch = "x86_64")]
mod row_pairs;
pub(crate) mod rows;
pub mod scalar;
mod vector;

use self::lines::Line;
use self::rows::{Layer, Strips, vector_strips};
use self::vector::{tap_sums as vector_tap_sums, weighted_sum as vector_weighted_sum};
use crate::activation::{Activation, slice_forward_in_place};
use crate::elementwise::{column_sums, column_sums_scratch, slice_add_in_place};
use crate::vector::per_tier;
use crate::{Cpu, SharedMut, Threads, Tier, even};

/// The shape of a depthwise convolution: `x` is `[n, h, w, c]`, `y` is `[n, out_h, out_w, c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depthwise {
    /// How many images.
    pub n: usize,
    /// Rows of the input.
    pub h: usize,
    /// Columns of the input.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// From one window to the next, down and across.
    pub stride: [usize; 2],
    /// From one tap to the next, down and across.
    pub dilation: [usize; 2],
    /// Zeros around the input: top, left, bottom, right.
    pub padding: [usize; 4],
}

impl Depthwise {
    /// Rows of the output.
    pub fn out_h(&self) -> usize {
        extent(
            self.h + self.padding[0] + self.padding[2],
            self.kernel[0],
            self.stride[0],
            self.dilation[0],
        )
    }

    /// Columns of the output.
    pub fn out_w(&self) -> usize {
        extent(
            self.w + self.padding[1] + self.padding[3],
            self.kernel[1],
            self.stride[1],
            self.dilation[1],
        )
    }

    /// How many taps a kernel has.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// How many numbers the input has.
    pub fn input(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// How many numbers the output has.
    pub fn output(&self) -> usize {
        self.n * self.out_h() * self.out_w() * self.c
    }

    /// Into how many partial sums the rows of the output are cut for gradients of weights: at most 16, of at least 8 rows each,
    /// whatever the number of threads.
    fn partials(&self) -> usize {
        (self.n * self.out_h() / 8).clamp(1, 16)
    }

    /// How many numbers of scratch [`backward_weights`] needs.
    pub fn weights_scratch(&self) -> usize {
        self.taps() * self.c * self.partials() + column_sums_scratch(self.output(), self.c)
    }
}

fn extent(padded: usize, kernel: usize, stride: usize, dilation: usize) -> usize {
    padded
        .checked_sub(dilation * (kernel - 1) + 1)
        .map_or(0, |free| free / stride + 1)
}

/// Packed weights, bias and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// Weights as [`pack`] lays them: `[tap, c]`.
    pub weights: &'a [f32],
    /// Added to each channel.
    pub bias: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

/// The gradients of weights and bias; added to.
#[derive(Debug)]
pub struct FilterGrads<'a> {
    /// In the layout of the network's file: `[c, 1, kh, kw]`.
    pub weights: &'a mut [f32],
    /// One number a channel.
    pub bias: Option<&'a mut [f32]>,
}

/// The rows of this family: name and tier.
pub const KERNELS: &[(&str, Tier)] = &[
    ("f32_depthwise_scalar", Tier::Scalar),
    ("f32_depthwise_avx2", Tier::Avx2),
    ("f32_depthwise_avx512", Tier::Avx512),
];

/// Lays weights `[c, 1, kh, kw]` out as `[tap, c]`.
pub fn pack(depthwise: &Depthwise, weights: &[f32], packed: &mut [f32]) {
    let taps = depthwise.taps();
    assert_eq!(weights.len(), taps * depthwise.c);
    assert_eq!(packed.len(), weights.len());
    for (tap, row) in packed.chunks_exact_mut(depthwise.c).enumerate() {
        for (c, to) in row.iter_mut().enumerate() {
            *to = weights[c * taps + tap];
        }
    }
}

/// `y = activation(conv(x) + bias)`.
///
/// # Panics
/// When the lengths do not fit.
pub fn forward(cpu: Cpu, depthwise: &Depthwise, x: &[f32], filter: Filter, y: &mut [f32]) {
    check(depthwise, x, y);
    assert_eq!(filter.weights.len(), depthwise.taps() * depthwise.c);
    assert!(filter.bias.is_none_or(|bias| bias.len() == depthwise.c));
    if depthwise.taps() > lines::MOST_TAPS {
        return scalar::forward(depthwise, x, filter, y);
    }
    let row_len = depthwise.out_w() * depthwise.c;
    let rows = depthwise.n * depthwise.out_h();
    // The clamp is free in registers; other activations are one more pass over a row that is in cache.
    let (clamp, after) = match filter.activation.limits() {
        Some((low, high)) => ([low, high], None),
        None => ([f32::NEG_INFINITY, f32::INFINITY], Some(filter.activation)),
    };
    let layer = rows::has(depthwise).then_some(Layer {
        depthwise,
        x,
        outside: &rows::ZEROS,
        leaves_out: true,
        unit: 1,
    });
    let end = Epilogue {
        bias: filter.bias,
        clamp,
    };
    let finish = |y: &mut [f32]| {
        if let Some(activation) = after {
            slice_forward_in_place(cpu.tier, activation, y);
        }
    };
    let shared = SharedMut::new(y);
    let alone = cpu.threads.count() == 1 || Threads::is_in_part();
    let by_columns = columns::has(depthwise, cpu.tier, alone);
    cpu.split(rows, depthwise.output() * depthwise.taps(), |range| {
        // SAFETY: each row of the output belongs to one range.
        let y = unsafe { shared.slice(range.start * row_len..range.end * row_len) };
        if by_columns {
            let from = (x, filter.weights);
            return columns::columns((depthwise, cpu.tier, alone), from, range, (end, after), y);
        }
        if let Some(layer) = &layer {
            return rows::strips(layer, range, y, |strips, y| {
                some_windows(cpu.tier, strips, filter.weights, end, y);
                strips.pieces(y, finish);
            });
        }
        for (row, y) in range.zip(y.chunks_exact_mut(row_len)) {
            lines::forward_row(depthwise, row, |line| {
                weighted_sum(cpu.tier, line, x, filter.weights, end, y);
            });
            finish(y);
        }
    });
}

/// `dx` from the gradient `dy` of the sum before bias and activation; `packed` as [`pack`] lays it.
///
/// # Panics
/// When the lengths do not fit.
pub fn backward_input(cpu: Cpu, depthwise: &Depthwise, packed: &[f32], dy: &[f32], dx: &mut [f32]) {
    check(depthwise, dx, dy);
    assert_eq!(packed.len(), depthwise.taps() * depthwise.c);
    if depthwise.taps() > lines::MOST_TAPS {
        return scalar::backward_input(depthwise, packed, dy, dx);
    }
    let row_len = depthwise.w * depthwise.c;
    let shared = SharedMut::new(dx);
    cpu.split(
        depthwise.n * depthwise.h,
        depthwise.output() * depthwise.taps(),
        |range| {
            for row in range {
                // SAFETY: each row of the input belongs to one range.
                let dx = unsafe { shared.slice(row * row_len..(row + 1) * row_len) };
                lines::backward_row(depthwise, row, |line| {
                    weighted_sum(cpu.tier, line, dy, packed, Epilogue::NONE, dx);
                });
            }
        },
    );
}

/// The gradients of weights and bias; `scratch` holds at least [`Depthwise::weights_scratch`] numbers.
///
/// # Panics
/// When the lengths do not fit.
pub fn backward_weights(
    cpu: Cpu,
    depthwise: &Depthwise,
    x: &[f32],
    dy: &[f32],
    grads: FilterGrads,
    scratch: &mut [f32],
) {
    check(depthwise, x, dy);
    assert_eq!(grads.weights.len(), depthwise.taps() * depthwise.c);
    assert!(scratch.len() >= depthwise.weights_scratch());
    if depthwise.taps() > lines::MOST_TAPS {
        return scalar::backward_weights(depthwise, x, dy, grads);
    }
    let (c, taps, rows) = (
        depthwise.c,
        depthwise.taps(),
        depthwise.n * depthwise.out_h(),
    );
    let row_len = depthwise.out_w() * c;
    let partials = depthwise.partials();
    let (sums, scratch) = scratch.split_at_mut(partials * taps * c);
    let shared = SharedMut::new(sums);
    cpu.split(partials, depthwise.output() * taps, |range| {
        for partial in range {
            // SAFETY: each partial sum has its own place.
            let sums = unsafe { shared.slice(partial * taps * c..(partial + 1) * taps * c) };
            sums.fill(0.0);
            for row in even(rows, partials, partial) {
                let dy = &dy[row * row_len..][..row_len];
                lines::forward_row(depthwise, row, |line| {
                    tap_sums(cpu.tier, line, x, dy, sums);
                });
            }
        }
    });
    let (whole, others) = sums.split_at_mut(taps * c);
    for partial in others.chunks_exact(taps * c) {
        slice_add_in_place(cpu.tier, partial, Activation::Identity, whole);
    }
    for (i, d) in grads.weights.chunks_exact_mut(taps).enumerate() {
        for (tap, d) in d.iter_mut().enumerate() {
            *d += whole[tap * c + i];
        }
    }
    if let Some(bias) = grads.bias {
        column_sums(cpu, dy, bias, scratch);
    }
}

/// What follows a weighted sum.
#[derive(Clone, Copy)]
struct Epilogue<'a> {
    bias: Option<&'a [f32]>,
    clamp: [f32; 2],
}

impl Epilogue<'_> {
    const NONE: Self = Self {
        bias: None,
        clamp: [f32::NEG_INFINITY, f32::INFINITY],
    };

    /// A number limited; NaN stays.
    fn limited(&self, sum: f32) -> f32 {
        match self.clamp {
            [low, _] if sum < low => low,
            [_, high] if sum > high => high,
            _ => sum,
        }
    }
}

per_tier! {
    /// Windows of 3 x 3 or 5 x 5.
    fn some_windows(strips: &Strips<f32>, weights: &[f32], end: Epilogue, y: &mut [f32])
    { scalar: scalar::windows, vector: vector_strips }
}

per_tier! {
    /// The weighted sums of a line of pixels.
    fn weighted_sum(line: Line, x: &[f32], weights: &[f32], end: Epilogue, y: &mut [f32])
    { scalar: scalar::weighted_sum, vector: vector_weighted_sum }
}

per_tier! {
    /// Adds `x dy` over a line of pixels to the sum of each tap.
    fn tap_sums(line: Line, x: &[f32], dy: &[f32], sums: &mut [f32])
    { scalar: scalar::tap_sums, vector: vector_tap_sums }
}

fn check(depthwise: &Depthwise, x: &[f32], y: &[f32]) {
    assert_eq!(x.len(), depthwise.input(), "input of {depthwise:?}");
    assert_eq!(y.len(), depthwise.output(), "output of {depthwise:?}");
}

#[cfg(test)]
mod tests;
