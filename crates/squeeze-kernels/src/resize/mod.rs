//! Resizing of channels-last images: nearest and bilinear, places as PyTorch has them.

mod bilinear;
pub mod bytes;
pub mod scalar;

use self::bilinear::vector_bilinear;
use crate::elementwise::each_rows;
use crate::vector::per_tier;
use crate::{Cpu, Tier};

pub use bytes::forward_bytes;

/// From `[n, h, w, c]` to `[n, out[0], out[1], c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
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
    /// How a value between pixels is found.
    pub mode: Mode,
}

/// How a value between pixels is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The pixel at `floor(i in / out)`.
    Nearest,
    /// Between four pixels; pixel centres are at halves (`align_corners=False`).
    Bilinear,
    /// Between four pixels; the corners' centres fall together (`align_corners=True`).
    BilinearCorners,
}

/// Two neighbours along one axis and the share of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Between {
    pub low: usize,
    pub high: usize,
    pub share: f32,
}

impl Mode {
    /// Where output `i` of `out` lies among `size` inputs.
    pub(crate) fn place(self, i: usize, size: usize, out: usize) -> Between {
        let at = match self {
            Mode::Nearest => {
                let low = (i * size / out).min(size - 1);
                return Between {
                    low,
                    high: low,
                    share: 0.0,
                };
            }
            Mode::Bilinear => ((i as f32 + 0.5) * (size as f32 / out as f32) - 0.5).max(0.0),
            Mode::BilinearCorners if out > 1 => i as f32 * ((size - 1) as f32 / (out - 1) as f32),
            Mode::BilinearCorners => 0.0,
        };
        let low = (at as usize).min(size - 1);
        Between {
            low,
            high: (low + 1).min(size - 1),
            share: (at - low as f32).clamp(0.0, 1.0),
        }
    }
}

/// The rows of this family: name and tier.
pub const KERNELS: &[(&str, Tier)] = &[
    ("f32_resize_scalar", Tier::Scalar),
    ("f32_resize_avx2", Tier::Avx2),
    ("f32_resize_avx512", Tier::Avx512),
];

/// The rows of this family for bytes.
pub const BYTE_KERNELS: &[(&str, Tier)] = &[
    ("u8_resize_scalar", Tier::Scalar),
    ("u8_resize_avx2", Tier::Avx2),
    ("u8_resize_avx512", Tier::Avx512),
];

/// The resized images.
///
/// # Panics
/// When the lengths do not fit.
pub fn forward(cpu: Cpu, resize: &Resize, x: &[f32], y: &mut [f32]) {
    check(resize, x, y);
    each_rows(cpu, resize.out[1] * resize.c, y, |rows, y| {
        rows_forward(cpu.tier, resize, rows.start, x, y);
    });
}

/// `dx` of [`forward`].
///
/// # Panics
/// When the lengths do not fit.
pub fn backward(cpu: Cpu, resize: &Resize, dy: &[f32], dx: &mut [f32]) {
    check(resize, dx, dy);
    let out = dy.len() / resize.n.max(1);
    each_rows(cpu, resize.h * resize.w * resize.c, dx, |images, dx| {
        images_backward(
            cpu.tier,
            resize,
            &dy[images.start * out..images.end * out],
            dx,
        );
    });
}

/// Rows of the output from the `first` of all images on.
fn rows_forward(tier: Tier, resize: &Resize, first: usize, x: &[f32], y: &mut [f32]) {
    match resize.mode {
        Mode::Nearest => nearest(resize, first, x, y),
        _ if bilinear::has(resize) => bilinear_rows(tier, resize, first, x, y),
        _ => scalar::forward(resize, first, x, y),
    }
}

/// As [`scalar::forward`]; what pixels of one row share is looked up once.
fn nearest(resize: &Resize, first: usize, x: &[f32], y: &mut [f32]) {
    let Resize { h, w, c, out, .. } = *resize;
    for (at, y) in y.chunks_exact_mut(out[1] * c).enumerate() {
        let (image, row) = ((first + at) / out[0], (first + at) % out[0]);
        let line = image * h + Mode::Nearest.place(row, h, out[0]).low;
        for (column, y) in y.chunks_exact_mut(c).enumerate() {
            let pixel = line * w + Mode::Nearest.place(column, w, out[1]).low;
            y.copy_from_slice(&x[pixel * c..][..c]);
        }
    }
}

per_tier! {
    /// Rows of the output from the `first` of all images on.
    fn bilinear_rows(resize: &Resize, first: usize, x: &[f32], y: &mut [f32])
    { scalar: scalar::forward, vector: vector_bilinear }
}

per_tier! {
    fn images_backward(resize: &Resize, dy: &[f32], dx: &mut [f32])
    { compiled: scalar::backward }
}

fn check(resize: &Resize, x: &[f32], y: &[f32]) {
    assert_eq!(x.len(), resize.n * resize.h * resize.w * resize.c);
    assert_eq!(y.len(), resize.n * resize.out[0] * resize.out[1] * resize.c);
}

#[cfg(test)]
mod tests;
