//! Resizing of channels-last images: nearest and bilinear, places as PyTorch has them.

pub mod bytes;
mod enlarge;
pub mod scalar;

use crate::elementwise::each_rows;
use crate::vector::{Vector, per_tier};
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

per_tier! {
    /// Rows of the output from the `first` of all images on.
    fn rows_forward(resize: &Resize, first: usize, x: &[f32], y: &mut [f32])
    { scalar: scalar::forward, vector: vector_forward }
}

/// As [`scalar::forward`]; what pixels of one row share is looked up once.
#[inline(always)]
fn vector_forward<V: Vector>(resize: &Resize, first: usize, x: &[f32], y: &mut [f32]) {
    if enlarge::has(resize) {
        return enlarge::vector_forward::<V>(resize, first, x, y);
    }
    let Resize {
        h, w, c, out, mode, ..
    } = *resize;
    for (at, y) in y.chunks_exact_mut(out[1] * c).enumerate() {
        let (image, row) = ((first + at) / out[0], (first + at) % out[0]);
        let down = mode.place(row, h, out[0]);
        let [low, high] = [down.low, down.high].map(|row| &x[(image * h + row) * w * c..][..w * c]);
        let [upper, lower] = [V::splat(1.0 - down.share), V::splat(down.share)];
        for (column, y) in y.chunks_exact_mut(c).enumerate() {
            let across = mode.place(column, w, out[1]);
            let [left, right] = [across.low * c, across.high * c];
            if mode == Mode::Nearest {
                y.copy_from_slice(&low[left..][..c]);
                continue;
            }
            let [before, after] = [V::splat(1.0 - across.share), V::splat(across.share)];
            let (a, b) = (&low[left..][..c], &low[right..][..c]);
            let (d, e) = (&high[left..][..c], &high[right..][..c]);
            let (p, q) = (upper * before, upper * after);
            let (r, s) = (lower * before, lower * after);
            let blend = |a: V, b: V, d: V, e: V| e.mul_add(s, d.mul_add(r, b.mul_add(q, a * p)));
            if c < V::LANES {
                let (a, b) = (V::load_part(a), V::load_part(b));
                blend(a, b, V::load_part(d), V::load_part(e)).store_part(y);
                continue;
            }
            for at in (0..c).step_by(V::LANES) {
                // The last vector begins earlier rather than be masked, which costs some CPUs much.
                let at = at.min(c - V::LANES);
                let (upper, lower) = ((&a[at..], &b[at..]), (&d[at..], &e[at..]));
                let (a, b) = (V::load(upper.0), V::load(upper.1));
                blend(a, b, V::load(lower.0), V::load(lower.1)).store(&mut y[at..]);
            }
        }
    }
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
