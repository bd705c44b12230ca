//! Depthwise convolution, channels-last: each channel has its own small kernel. One row of taps (`kh = 1`) serves tokens.

pub mod scalar;

use crate::activation::Activation;
use crate::{Cpu, Tier};

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

    /// How many numbers of scratch [`backward_weights`] needs.
    pub fn weights_scratch(&self) -> usize {
        (self.taps() + 1) * self.c * (self.n * self.out_h()).clamp(1, PARTIALS)
    }
}

/// Into how many partial sums the rows of the output are cut for gradients of weights, whatever the number of threads.
pub(crate) const PARTIALS: usize = 16;

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
pub fn forward(cpu: Cpu, depthwise: &Depthwise, x: &[f32], filter: Filter, y: &mut [f32]) {
    let _ = cpu;
    check(depthwise, x, y);
    assert_eq!(filter.weights.len(), depthwise.taps() * depthwise.c);
    scalar::forward(depthwise, x, filter, y);
}

/// `dx` from the gradient `dy` of the sum before bias and activation; `packed` as [`pack`] lays it.
pub fn backward_input(cpu: Cpu, depthwise: &Depthwise, packed: &[f32], dy: &[f32], dx: &mut [f32]) {
    let _ = cpu;
    check(depthwise, dx, dy);
    assert_eq!(packed.len(), depthwise.taps() * depthwise.c);
    scalar::backward_input(depthwise, packed, dy, dx);
}

/// The gradients of weights and bias; `scratch` holds at least [`Depthwise::weights_scratch`] numbers.
pub fn backward_weights(
    cpu: Cpu,
    depthwise: &Depthwise,
    x: &[f32],
    dy: &[f32],
    grads: FilterGrads,
    scratch: &mut [f32],
) {
    let _ = cpu;
    check(depthwise, x, dy);
    assert_eq!(grads.weights.len(), depthwise.taps() * depthwise.c);
    assert!(scratch.len() >= depthwise.weights_scratch());
    scalar::backward_weights(depthwise, x, dy, grads);
}

fn check(depthwise: &Depthwise, x: &[f32], y: &[f32]) {
    assert_eq!(x.len(), depthwise.input(), "input of {depthwise:?}");
    assert_eq!(y.len(), depthwise.output(), "output of {depthwise:?}");
}
