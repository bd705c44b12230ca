//! The definition of the convolution and its gradients.

use super::Conv;
use crate::gemm_f32::scalar::finish;
use crate::gemm_f32::{Epilogue, Start};

/// `y = activation(conv(x, weight) + bias + residual)`, each sum over taps, then channels.
pub fn conv(g: &Conv, x: &[f32], weight: &[f32], epilogue: &Epilogue, y: &mut [f32]) {
    let mut sums = vec![0.0; g.output()];
    each_product(g, |x_at, w_at, y_at| sums[y_at] += x[x_at] * weight[w_at]);
    for (at, sum) in sums.into_iter().enumerate() {
        finish(epilogue, sum, at % g.out, (y, at));
    }
}

/// `dx` = what each input adds to the outputs times `dy`, or added to `dx`.
pub fn input_gradient(g: &Conv, weight: &[f32], dy: &[f32], dx: &mut [f32], start: Start) {
    if start == Start::Zero {
        dx.fill(0.0);
    }
    each_product(g, |x_at, w_at, y_at| dx[x_at] += weight[w_at] * dy[y_at]);
}

/// `dw +=` the sum over output pixels.
pub fn weight_gradient(g: &Conv, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    let mut sums = vec![0.0f64; dw.len()];
    each_product(g, |x_at, w_at, y_at| {
        sums[w_at] += f64::from(x[x_at]) * f64::from(dy[y_at])
    });
    for (dw, sum) in dw.iter_mut().zip(sums) {
        *dw += sum as f32;
    }
}

/// `db +=` the sum over output pixels.
pub fn bias_gradient(g: &Conv, dy: &[f32], db: &mut [f32]) {
    for (channel, db) in db.iter_mut().enumerate() {
        let column = dy[channel..].iter().step_by(g.out);
        *db += column.map(|&dy| f64::from(dy)).sum::<f64>() as f32;
    }
}

/// Calls `each` with the places in x `[n, h, w, c]`, weight `[out, c / groups, kh, kw]` and y `[n, out_h, out_w, out]` of every
/// product that the convolution adds up.
pub(crate) fn each_product(g: &Conv, mut each: impl FnMut(usize, usize, usize)) {
    let (k, n) = (g.c / g.groups, g.out / g.groups);
    let [kh, kw] = g.kernel;
    for pixel in 0..g.n * g.out_h() * g.out_w() {
        let (image, oy, ox) = (
            pixel / g.out_w() / g.out_h(),
            pixel / g.out_w() % g.out_h(),
            pixel % g.out_w(),
        );
        for tap in 0..kh * kw {
            let y = (oy * g.stride[0] + tap / kw * g.dilation[0]).checked_sub(g.padding[0]);
            let x = (ox * g.stride[1] + tap % kw * g.dilation[1]).checked_sub(g.padding[1]);
            let (Some(y), Some(x)) = (y.filter(|&y| y < g.h), x.filter(|&x| x < g.w)) else {
                continue;
            };
            for channel in 0..g.c {
                let group = channel / k;
                for out in group * n..(group + 1) * n {
                    let x_at = ((image * g.h + y) * g.w + x) * g.c + channel;
                    each(
                        x_at,
                        (out * k + channel % k) * kh * kw + tap,
                        pixel * g.out + out,
                    );
                }
            }
        }
    }
}
