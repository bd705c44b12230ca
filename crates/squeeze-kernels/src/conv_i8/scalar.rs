//! The definition of the convolution in bytes.

use crate::conv_f32::Conv;
use crate::conv_f32::scalar::{conv as conv_f32, each_product};
use crate::gemm_f32::Epilogue;
use crate::gemm_f32::scalar::finish;
use crate::gemm_i8::codes::Fixed;
use crate::gemm_i8::quantize::around_zero;
use crate::gemm_i8::scalar::Numbers;
use crate::gemm_i8::weights;

/// `y = activation(conv(x, weight) + bias + residual)` with every image of `x`, and all weights of an output channel, in bytes of
/// a scale.
pub fn conv(g: &Conv, x: &[f32], weight: &[f32], epilogue: &Epilogue, y: &mut [f32]) {
    let (mut left, mut right) = (vec![0; g.input()], vec![0; g.weight()]);
    let image = (g.input() / g.n.max(1)).max(1);
    let images = x.chunks_exact(image).zip(left.chunks_exact_mut(image));
    let images: Vec<f32> = images.map(|(x, to)| around_zero(x, to)).collect();
    let rows = weight
        .chunks_exact(g.sum())
        .zip(right.chunks_exact_mut(g.sum()));
    let channels: Vec<f32> = rows
        .map(|(x, to)| weights::to_bytes(x, g.taps(), to))
        .collect();
    let mut sums = vec![0i32; g.output()];
    each_product(g, |x_at, w_at, y_at| {
        sums[y_at] += i32::from(left[x_at]) * i32::from(right[w_at]);
    });
    for (at, sum) in sums.into_iter().enumerate() {
        let image = at / (g.out_h() * g.out_w() * g.out);
        let sum = sum as f32 * (images[image] * channels[at % g.out]);
        finish(epilogue, sum, at % g.out, (y, at));
    }
}

/// The convolution of the numbers that bytes stand for, in bytes; the weights' numbers are those of their bytes too.
///
/// # Panics
/// If `fixed` writes numbers.
pub fn conv_of_bytes(
    g: &Conv,
    (x, weight): (&[u8], &[f32]),
    fixed: &Fixed,
    residual: Option<&[u8]>,
    y: &mut [u8],
) {
    let numbers = Numbers::of(fixed, x, (weight, g.sum(), g.taps()), residual);
    let mut out = vec![0.0; y.len()];
    conv_f32(
        g,
        &numbers.x,
        &numbers.weight,
        &numbers.epilogue(fixed),
        &mut out,
    );
    numbers.write(&out, y);
}
