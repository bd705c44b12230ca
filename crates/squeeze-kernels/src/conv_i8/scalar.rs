//! The definition of the convolution in bytes.

use crate::conv_f32::Conv;
use crate::conv_f32::scalar::{conv as conv_f32, each_product};
use crate::gemm_f32::Epilogue;
use crate::gemm_f32::scalar::finish;
use crate::gemm_i8::codes::Fixed;
use crate::gemm_i8::quantize;
use crate::gemm_i8::scalar::Numbers;

/// `y = activation(conv(x, weight) + bias + residual)` with every image of `x`, and all weights of an output channel, in bytes of
/// a scale.
pub fn conv(g: &Conv, x: &[f32], weight: &[f32], epilogue: &Epilogue, y: &mut [f32]) {
    let (mut left, mut right) = (vec![0; g.input()], vec![0; g.weight()]);
    let scales = |x: &[f32], to: &mut [i8], parts: usize| -> Vec<f32> {
        let len = x.len() / parts.max(1);
        let parts = x
            .chunks_exact(len.max(1))
            .zip(to.chunks_exact_mut(len.max(1)));
        parts.map(|(x, to)| quantize::weights(x, to)).collect()
    };
    let images = scales(x, &mut left, g.n);
    let channels = scales(weight, &mut right, g.out);
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
    let numbers = Numbers::of(fixed, x, (weight, g.sum()), residual);
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
