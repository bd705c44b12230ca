//! The definition of the product in bytes, and the tiles of a machine without vectors.

use super::Kernel;
use super::codes::Fixed;
use super::quantize::{self, Mark, Stretch};
use super::tile::{Sums, tiles};
use super::weights;
use crate::gemm_f32::scalar::{Eight, finish};
use crate::gemm_f32::{self, Epilogue, Geometry, Residual};
use crate::{Quantization, Tier};

/// The row of this tier: tiles of one row, which take little room, where hardly a machine is without vectors.
pub(crate) const KERNEL: Kernel = Kernel {
    #[cfg(target_arch = "x86_64")]
    name: "i8_gemm_1x8_scalar",
    #[cfg(not(target_arch = "x86_64"))]
    name: "i8_gemm_4x8_scalar",
    tier: Tier::Scalar,
    is_present: || true,
    wide: None,
    lanes: 8,
    widen: None,
    short: I32Eight::SHORT,
    matrix: None,
    #[cfg(target_arch = "x86_64")]
    tiles: tiles!(I32Eight, [], [1] x [1]),
    #[cfg(not(target_arch = "x86_64"))]
    tiles: tiles!(I32Eight, [], [1 2 3 4] x [1]),
};

/// `c = activation(a w^T + bias + residual)` with every row of `a` in every group in bytes of a scale around a middle, and every row
/// of `w` in bytes of a scale.
pub fn product(g: &Geometry, a: &[f32], weight: &[f32], epilogue: &Epilogue, c: &mut [f32]) {
    let rows = Stretch { k: g.k, step: g.k };
    let mut bytes = vec![0; g.k.next_multiple_of(4)];
    let row = |x: &[f32], to: &mut [i8]| {
        let mut mark = [[0.0; 2]];
        quantize::quantize_rows(Tier::Scalar, x, rows, &mut bytes, &mut mark);
        for (to, &byte) in to.iter_mut().zip(&bytes) {
            *to = (byte ^ quantize::ZERO) as i8;
        }
        mark[0]
    };
    marked_product(g, (a, weight), row, epilogue, c);
}

/// The same with the middle at zero, as families have it whose tiles do not know of middles.
pub fn product_around_zero(
    g: &Geometry,
    a: &[f32],
    weight: &[f32],
    epilogue: &Epilogue,
    c: &mut [f32],
) {
    let row = |x: &[f32], to: &mut [i8]| [quantize::around_zero(x, to), 0.0];
    marked_product(g, (a, weight), row, epilogue, c);
}

/// `row` brings a row of `a` to bytes.
fn marked_product(
    g: &Geometry,
    (a, weight): (&[f32], &[f32]),
    mut row: impl FnMut(&[f32], &mut [i8]) -> Mark,
    epilogue: &Epilogue,
    c: &mut [f32],
) {
    let (mut left, mut right) = (vec![0; g.k], vec![0; g.k]);
    for at in 0..g.m {
        for column in 0..g.groups * g.n {
            let group = column / g.n;
            let [x, middle] = row(&a[at * g.lda + group * g.k..][..g.k], &mut left);
            let w = weights::to_bytes(&weight[column * g.k..][..g.k], 1, &mut right);
            let products = left.iter().zip(&right);
            let sum: i32 = products.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
            let weights: i32 = right.iter().map(|&w| i32::from(w)).sum();
            let sum = sum as f32 * (x * w) + middle * (w * weights as f32);
            finish(epilogue, sum, column, (c, at * g.ldc + column));
        }
    }
}

/// The product of the numbers that bytes stand for, in bytes; the weights' numbers are those of their bytes too.
///
/// # Panics
/// If `fixed` writes numbers.
pub fn product_of_bytes(
    g: &Geometry,
    (a, weight): (&[u8], &[f32]),
    fixed: &Fixed,
    residual: Option<&[u8]>,
    c: &mut [u8],
) {
    let numbers = Numbers::of(fixed, a, (weight, g.k, 1), residual);
    let mut out = vec![0.0; c.len()];
    gemm_f32::scalar::product(
        g,
        &numbers.x,
        &numbers.weight,
        &numbers.epilogue(fixed),
        &mut out,
    );
    for row in 0..g.m {
        let own = row * g.ldc..row * g.ldc + g.groups * g.n;
        numbers.write(&out[own.clone()], &mut c[own]);
    }
}

/// What the bytes of a layer stand for.
pub(crate) struct Numbers {
    pub x: Vec<f32>,
    pub weight: Vec<f32>,
    residual: Option<Vec<f32>>,
    output: Quantization,
}

impl Numbers {
    /// Of weights with so many numbers an output channel, whose neighbours lie so far apart.
    pub fn of(
        fixed: &Fixed,
        x: &[u8],
        (weight, k, apart): (&[f32], usize, usize),
        residual: Option<&[u8]>,
    ) -> Self {
        let of = |code: Quantization, bytes: &[u8]| -> Vec<f32> {
            bytes.iter().map(|&byte| code.number(byte)).collect()
        };
        let mut bytes = vec![0; k];
        let rows = weight.chunks_exact(k).flat_map(|row| {
            let scale = weights::to_bytes(row, apart, &mut bytes);
            let row: Vec<f32> = bytes.iter().map(|&w| scale * f32::from(w)).collect();
            row
        });
        let codes = &fixed.codes;
        Self {
            x: of(codes.input, x),
            weight: rows.collect(),
            residual: residual.map(|bytes| of(codes.residual.expect("a residual's"), bytes)),
            output: codes.output.expect("the layer writes bytes"),
        }
    }

    pub fn epilogue<'a>(&'a self, fixed: &'a Fixed) -> Epilogue<'a> {
        Epilogue {
            bias: fixed.bias,
            activation: fixed.activation,
            residual: self.residual.as_deref().map(Residual::plain),
            ..Epilogue::default()
        }
    }

    pub fn write(&self, from: &[f32], to: &mut [u8]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = self.output.byte(*from);
        }
    }
}

#[derive(Clone, Copy)]
struct I32Eight([i32; 8]);

// SAFETY (of every block below): by the contract of `Sums` pointers are valid for what is touched.
impl Sums for I32Eight {
    type Floats = Eight;
    type Left = [i32; 4];
    type Weights = [[i8; 4]; 8];
    const WIDE: bool = false;
    const SHORT: usize = 0;

    #[inline(always)]
    fn zero() -> Self {
        Self([0; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        Self(unsafe { from.cast::<[i32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn left(from: *const u8) -> [i32; 4] {
        unsafe { from.cast::<[u8; 4]>().read_unaligned() }.map(i32::from)
    }
    #[inline(always)]
    unsafe fn weights(from: *const i8) -> [[i8; 4]; 8] {
        unsafe { from.cast::<[[i8; 4]; 8]>().read_unaligned() }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
    #[inline(always)]
    fn add_dot(self, a: [i32; 4], b: [[i8; 4]; 8]) -> Self {
        Self(std::array::from_fn(|lane| {
            let products = a.iter().zip(&b[lane]);
            self.0[lane] + products.map(|(a, &b)| a * i32::from(b)).sum::<i32>()
        }))
    }
    #[inline(always)]
    fn floats(self) -> Eight {
        Eight(self.0.map(|sum| sum as f32))
    }
}
