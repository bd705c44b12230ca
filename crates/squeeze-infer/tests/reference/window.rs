//! Convolutions, linear layers, pools and resizing.

use squeeze_graph::ops::{Conv1d, Conv2d, Linear, Pool, PoolKind, ResizeMode};

use super::Array;

pub fn conv2d(row: &Conv2d, x: &Array, weight: &[f64], bias: Option<Vec<f64>>) -> Array {
    let shape = row.shape(&x.shape).expect("fits");
    let [n, out, out_h, out_w] = [shape[0], shape[1], shape[2], shape[3]];
    let [c, h, w] = [x.shape[1], x.shape[2], x.shape[3]];
    let (into, each) = (c / row.groups, out / row.groups);
    let [kh, kw] = row.kernel;
    let mut data = vec![];
    for at in 0..n * out * out_h * out_w {
        let (oy, ox) = (at / out_w % out_h, at % out_w);
        let (image, o) = (at / (out * out_h * out_w), at / (out_h * out_w) % out);
        let mut sum = bias.as_ref().map_or(0.0, |bias| bias[o]);
        for tap in 0..into * kh * kw {
            let (i, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
            let y = (oy * row.stride[0] + ky * row.dilation[0]).checked_sub(row.padding[0]);
            let z = (ox * row.stride[1] + kx * row.dilation[1]).checked_sub(row.padding[1]);
            if let (Some(y), Some(z)) = (y.filter(|&y| y < h), z.filter(|&z| z < w)) {
                let from = ((image * c + o / each * into + i) * h + y) * w + z;
                sum += weight[o * into * kh * kw + tap] * x.data[from];
            }
        }
        data.push(sum);
    }
    Array::new(&shape, data)
}

pub fn conv1d(
    row: &Conv1d,
    (x, lengths): (&Array, Option<&[f64]>),
    weight: &[f64],
    bias: Option<Vec<f64>>,
) -> Array {
    let [n, s, c] = [x.shape[0], x.shape[1], x.shape[2]];
    let (into, each) = (c / row.groups, row.out / row.groups);
    let mut data = vec![];
    for at in 0..n * s * row.out {
        let (text, token, o) = (at / (s * row.out), at / row.out % s, at % row.out);
        let mut sum = bias.as_ref().map_or(0.0, |bias| bias[o]);
        for tap in 0..into * row.kernel {
            let (i, k) = (tap / row.kernel, tap % row.kernel);
            let from = (token + k * row.dilation).checked_sub(row.padding());
            let length = lengths.map_or(s, |lengths| lengths[text] as usize);
            if let Some(from) = from.filter(|&from| from < length) {
                let value = x.data[(text * s + from) * c + o / each * into + i];
                sum += weight[o * into * row.kernel + tap] * value;
            }
        }
        data.push(sum);
    }
    Array::new(&[n, s, row.out], data)
}

pub fn linear(row: &Linear, x: &Array, weight: &[f64], bias: Option<Vec<f64>>) -> Array {
    let shape = row.shape(&x.shape).expect("fits");
    let c = x.shape[x.shape.len() - 1];
    let (into, each) = (c / row.groups, row.out / row.groups);
    let mut data = vec![];
    for x in x.data.chunks(c) {
        for o in 0..row.out {
            let products = (0..into).map(|i| weight[o * into + i] * x[o / each * into + i]);
            data.push(products.sum::<f64>() + bias.as_ref().map_or(0.0, |bias| bias[o]));
        }
    }
    Array::new(&shape, data)
}

pub fn pool(row: &Pool, x: &Array, shape: &[usize]) -> Array {
    let [h, w] = [x.shape[2], x.shape[3]];
    let [out_h, out_w] = [shape[2], shape[3]];
    let [top, left, bottom, right] = row.padding;
    let mut data = vec![];
    for image in x.data.chunks(h * w) {
        for at in 0..out_h * out_w {
            let (y, z) = (at / out_w * row.stride[0], at % out_w * row.stride[1]);
            let mut inside = vec![];
            let mut with_padding = 0;
            for (ky, kx) in
                (0..row.kernel[0]).flat_map(|ky| (0..row.kernel[1]).map(move |kx| (ky, kx)))
            {
                let (y, z) = (y + ky, z + kx);
                // A window that hangs over counts padding, but not what lies behind it.
                with_padding += usize::from(y < h + top + bottom && z < w + left + right);
                let (y, z) = (y.checked_sub(top), z.checked_sub(left));
                if let (Some(y), Some(z)) = (y.filter(|&y| y < h), z.filter(|&z| z < w)) {
                    inside.push(image[y * w + z]);
                }
            }
            data.push(match row.kind {
                PoolKind::Max => inside.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                PoolKind::Average => inside.iter().sum::<f64>() / with_padding as f64,
                PoolKind::AverageInside => inside.iter().sum::<f64>() / inside.len() as f64,
            });
        }
    }
    Array::new(shape, data)
}

pub fn resize(mode: ResizeMode, x: &Array, shape: &[usize]) -> Array {
    let [h, w] = [x.shape[2], x.shape[3]];
    let [out_h, out_w] = [shape[2], shape[3]];
    let between = |to: usize, size: usize, out: usize| -> (usize, usize, f64) {
        let place = match mode {
            ResizeMode::Nearest => (to * size / out) as f64,
            ResizeMode::Bilinear => {
                ((to as f64 + 0.5) * size as f64 / out as f64 - 0.5).clamp(0.0, (size - 1) as f64)
            }
            ResizeMode::BilinearCorners if out > 1 => {
                to as f64 * (size - 1) as f64 / (out - 1) as f64
            }
            ResizeMode::BilinearCorners => 0.0,
        };
        let low = (place as usize).min(size - 1);
        (low, (low + 1).min(size - 1), place - low as f64)
    };
    let mut data = vec![];
    for image in x.data.chunks(h * w) {
        for at in 0..out_h * out_w {
            let (y0, y1, down) = between(at / out_w, h, out_h);
            let (x0, x1, across) = between(at % out_w, w, out_w);
            let row = |y: usize| image[y * w + x0] * (1.0 - across) + image[y * w + x1] * across;
            data.push(row(y0) * (1.0 - down) + row(y1) * down);
        }
    }
    Array::new(shape, data)
}
