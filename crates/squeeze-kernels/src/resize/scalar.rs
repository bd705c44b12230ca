//! The definition of resizing; the tiers are the same loops over channels with wider instructions.

use super::{Mode, Resize};

/// The resized images, for the rows of the output from `first` on.
#[inline(always)]
pub fn forward(resize: &Resize, first: usize, x: &[f32], y: &mut [f32]) {
    let c = resize.c;
    for (at, y) in y.chunks_exact_mut(c).enumerate() {
        let [(a, p), (b, q), (d, r), (e, s)] = sources(resize, first * resize.out[1] + at);
        let [a, b, d, e] = [a, b, d, e].map(|pixel| &x[pixel * c..][..c]);
        match resize.mode {
            Mode::Nearest => y.copy_from_slice(a),
            Mode::Bilinear | Mode::BilinearCorners => {
                for i in 0..c {
                    y[i] = a[i] * p + b[i] * q + d[i] * r + e[i] * s;
                }
            }
        }
    }
}

/// `dx` of the resized images, for whole images.
#[inline(always)]
pub fn backward(resize: &Resize, dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    let c = resize.c;
    for (at, dy) in dy.chunks_exact(c).enumerate() {
        for (pixel, weight) in sources(resize, at) {
            if weight != 0.0 {
                for (dx, dy) in dx[pixel * c..][..c].iter_mut().zip(dy) {
                    *dx += dy * weight;
                }
            }
        }
    }
}

/// The four pixels that an output pixel lies between, all counted through all images, with their weights.
#[inline(always)]
fn sources(resize: &Resize, at: usize) -> [(usize, f32); 4] {
    let Resize {
        h, w, out, mode, ..
    } = *resize;
    let image = at / (out[0] * out[1]);
    let y = mode.place(at / out[1] % out[0], h, out[0]);
    let x = mode.place(at % out[1], w, out[1]);
    let pixel = |row: usize, column: usize| (image * h + row) * w + column;
    [
        (pixel(y.low, x.low), (1.0 - y.share) * (1.0 - x.share)),
        (pixel(y.low, x.high), (1.0 - y.share) * x.share),
        (pixel(y.high, x.low), y.share * (1.0 - x.share)),
        (pixel(y.high, x.high), y.share * x.share),
    ]
}
