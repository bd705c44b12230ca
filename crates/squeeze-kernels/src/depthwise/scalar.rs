//! The definition of depthwise convolution.

use super::lines::Line;
use super::rows::Strips;
use super::{Depthwise, Epilogue, Filter, FilterGrads};
use crate::activation::scalar::apply;

/// `y = activation(conv(x) + bias)`.
pub fn forward(depthwise: &Depthwise, x: &[f32], filter: Filter, y: &mut [f32]) {
    match filter.bias {
        Some(bias) => y
            .chunks_exact_mut(depthwise.c)
            .for_each(|y| y.copy_from_slice(bias)),
        None => y.fill(0.0),
    }
    let c = depthwise.c;
    each_tap(depthwise, |tap, from, to| {
        for i in 0..c {
            y[to + i] += filter.weights[tap * c + i] * x[from + i];
        }
    });
    for y in y {
        *y = apply(filter.activation, *y);
    }
}

/// `dx` from `dy`.
pub fn backward_input(depthwise: &Depthwise, packed: &[f32], dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    let c = depthwise.c;
    each_tap(depthwise, |tap, from, to| {
        for i in 0..c {
            dx[from + i] += packed[tap * c + i] * dy[to + i];
        }
    });
}

/// Gradients of weights and bias; added to.
pub fn backward_weights(depthwise: &Depthwise, x: &[f32], dy: &[f32], grads: FilterGrads) {
    let (c, taps) = (depthwise.c, depthwise.taps());
    each_tap(depthwise, |tap, from, to| {
        for i in 0..c {
            grads.weights[i * taps + tap] += x[from + i] * dy[to + i];
        }
    });
    if let Some(bias) = grads.bias {
        for (i, d) in bias.iter_mut().enumerate() {
            *d += dy[i.min(dy.len())..]
                .iter()
                .step_by(c)
                .map(|&d| f64::from(d))
                .sum::<f64>() as f32;
        }
    }
}

/// Some windows of a row.
pub(super) fn windows(strips: &Strips<f32>, weights: &[f32], end: Epilogue, y: &mut [f32]) {
    for (window, y) in y.chunks_mut(strips.step).enumerate() {
        for (channel, y) in y[..strips.channels].iter_mut().enumerate() {
            let start = end.bias.map_or(0.0, |bias| bias[strips.first + channel]);
            let terms = strips.terms(weights, window, channel);
            *y = end.limited(terms.fold(start, |sum, (x, weight)| sum + x * weight));
        }
    }
}

/// The weighted sums of a line of pixels.
pub(super) fn weighted_sum(line: Line, x: &[f32], weights: &[f32], end: Epilogue, y: &mut [f32]) {
    for at in 0..line.count {
        for i in 0..line.c {
            let mut sum = end.bias.map_or(0.0, |bias| bias[i]);
            for tap in line.taps {
                sum += x[tap.from + at * line.from_step + i] * weights[tap.weight + i];
            }
            y[line.to + at * line.to_step + i] = end.limited(sum);
        }
    }
}

/// Adds `x dy` over a line of pixels to the sum of each tap.
pub(super) fn tap_sums(line: Line, x: &[f32], dy: &[f32], sums: &mut [f32]) {
    for tap in line.taps {
        for at in 0..line.count {
            let (from, to) = (tap.from + at * line.from_step, line.to + at * line.to_step);
            for i in 0..line.c {
                sums[tap.weight + i] += x[from + i] * dy[to + i];
            }
        }
    }
}

/// Calls `work(tap, place in x, place in y)` for each tap of each output pixel that lies inside the input.
fn each_tap(depthwise: &Depthwise, mut work: impl FnMut(usize, usize, usize)) {
    let Depthwise {
        n,
        h,
        w,
        c,
        kernel,
        stride,
        dilation,
        padding,
    } = *depthwise;
    let (out_h, out_w) = (depthwise.out_h(), depthwise.out_w());
    for image in 0..n {
        for oy in 0..out_h {
            for ox in 0..out_w {
                let to = ((image * out_h + oy) * out_w + ox) * c;
                for ky in 0..kernel[0] {
                    let Some(iy) = inside(oy * stride[0] + ky * dilation[0], padding[0], h) else {
                        continue;
                    };
                    for kx in 0..kernel[1] {
                        let Some(ix) = inside(ox * stride[1] + kx * dilation[1], padding[1], w)
                        else {
                            continue;
                        };
                        work(ky * kernel[1] + kx, ((image * h + iy) * w + ix) * c, to);
                    }
                }
            }
        }
    }
}

/// The place without padding, if it is inside.
fn inside(padded: usize, padding: usize, size: usize) -> Option<usize> {
    padded.checked_sub(padding).filter(|&at| at < size)
}
