//! The definition of the grouped product and its gradients, and the tiles of a machine without vectors.

use super::tile::{Register, tiles};
use super::{Epilogue, Geometry, Kernel, Residual, Start};
use crate::Tier;
use crate::activation::{self, Activation, curve::Curve};

/// The row of this tier.
pub(crate) const KERNEL: Kernel = Kernel {
    name: "f32_gemm_4x8_scalar",
    tier: Tier::Scalar,
    lanes: 8,
    depth: 256,
    tiles: tiles!(Eight, [], [1 2 3 4] x [1]),
};

/// `c = activation(a w^T + bias + residual)`, group by group, each sum in the order of k.
pub fn product(g: &Geometry, a: &[f32], weight: &[f32], epilogue: &Epilogue, c: &mut [f32]) {
    for row in 0..g.m {
        for column in 0..g.groups * g.n {
            let group = column / g.n;
            let mut sum = 0.0;
            for k in 0..g.k {
                sum += a[row * g.lda + group * g.k + k] * weight[column * g.k + k];
            }
            finish(epilogue, sum, column, (c, row * g.ldc + column));
        }
    }
}

/// What follows the sum of one element of `c`.
pub(crate) fn finish(epilogue: &Epilogue, sum: f32, column: usize, (c, at): (&mut [f32], usize)) {
    let before = match epilogue.start {
        Start::Zero => sum,
        Start::Add => c[at] + sum,
    };
    let y = &mut c[at..=at];
    y[0] = before + epilogue.bias.map_or(0.0, |bias| bias[column]);
    if let Some(Residual { values, factors }) = epilogue.residual {
        y[0] += values[at] * factors.map_or(1.0, |factors| factors[column]);
    }
    activation::scalar::forward_in_place(epilogue.activation, y);
}

/// `dx = dy w` or `dx += dy w`.
pub fn input_gradient(g: &Geometry, weight: &[f32], dy: &[f32], dx: &mut [f32], start: Start) {
    for row in 0..g.m {
        for column in 0..g.groups * g.k {
            let (group, k) = (column / g.k, column % g.k);
            let mut sum = 0.0;
            for n in group * g.n..(group + 1) * g.n {
                sum += dy[row * g.ldc + n] * weight[n * g.k + k];
            }
            let to = &mut dx[row * g.lda + column];
            *to = if start == Start::Add { *to + sum } else { sum };
        }
    }
}

/// `dw += dy^T x`.
pub fn weight_gradient(g: &Geometry, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    for column in 0..g.groups * g.n {
        let group = column / g.n;
        for k in 0..g.k {
            let of_row = |row: usize| {
                f64::from(dy[row * g.ldc + column]) * f64::from(x[row * g.lda + group * g.k + k])
            };
            // A plain f32 sum over many rows would be the least exact of all.
            dw[column * g.k + k] += (0..g.m).map(of_row).sum::<f64>() as f32;
        }
    }
}

/// `db +=` the sum of the rows of `dy`.
pub fn bias_gradient(g: &Geometry, dy: &[f32], db: &mut [f32]) {
    for (column, db) in db.iter_mut().enumerate() {
        *db += (0..g.m)
            .map(|row| f64::from(dy[row * g.ldc + column]))
            .sum::<f64>() as f32;
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Eight(pub(crate) [f32; 8]);

// SAFETY (of every block below): by the contract of `Register` pointers are valid for what is touched.
impl Register for Eight {
    const LANES: usize = 8;
    type Mask = usize;
    type Limits = (f32, f32);

    #[inline(always)]
    fn first(count: usize) -> usize {
        count.min(8)
    }
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize) -> Self {
        Self(std::array::from_fn(|lane| {
            if lane < count {
                unsafe { *from.add(lane) }
            } else {
                0.0
            }
        }))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_some(self, to: *mut f32, count: usize) {
        for lane in 0..count {
            unsafe { *to.add(lane) = self.0[lane] }
        }
    }
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|lane| {
            self.0[lane] + a.0[lane] * b.0[lane]
        }))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
    #[inline(always)]
    fn clamp(self, low: Self, high: Self) -> Self {
        let limit = |x: f32, low: f32, high: f32| {
            if x < low {
                low
            } else if x > high {
                high
            } else {
                x
            }
        };
        Self(std::array::from_fn(|lane| {
            limit(self.0[lane], low.0[lane], high.0[lane])
        }))
    }
    #[inline(always)]
    fn limits(low: f32, high: f32) -> (f32, f32) {
        (low, high)
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        Self(unsafe { from.cast::<[u8; 8]>().read_unaligned() }.map(f32::from))
    }
    #[inline(always)]
    unsafe fn store_bytes(self, (low, high): (f32, f32), to: *mut u8) {
        for lane in 0..8 {
            // NaN is no number here, so that the lower limit stays.
            let x = self.0[lane].max(low).min(high);
            unsafe { *to.add(lane) = x.round_ties_even() as u8 }
        }
    }
    #[inline(always)]
    unsafe fn copy_some_bytes(from: *const u8, to: *mut u8, count: usize) {
        unsafe { from.copy_to_nonoverlapping(to, count) };
    }
    #[inline(always)]
    fn curve(self, curve: &Curve) -> Self {
        Self(self.0.map(|u| curve.at(u)))
    }
    #[inline(always)]
    fn gelu(self) -> Self {
        Self(
            self.0
                .map(|x| activation::scalar::apply(Activation::Gelu, x)),
        )
    }
    #[inline(always)]
    fn hard_swish(self) -> Self {
        Self(
            self.0
                .map(|x| activation::scalar::apply(Activation::HardSwish, x)),
        )
    }
    #[inline(always)]
    fn prefetch(_: *const f32) {}
}
