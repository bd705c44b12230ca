//! Optimisers as single passes over flat buffers: momentum, AdamW, LAMB, moving averages, norms.

pub mod scalar;

use crate::elementwise::{PASS, add_scaled, each_rows, scale};
use crate::vector::per_tier;
use crate::{Cpu, SharedMut, Tier, even};

/// Gradient descent with momentum, as PyTorch's `SGD` without dampening.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// The learning rate.
    pub rate: f32,
    /// What is kept of the velocity.
    pub momentum: f32,
    /// Which velocity the weights follow.
    pub look: Look,
    /// Weight decay, added to the gradient.
    pub decay: f32,
}

/// Which velocity the weights follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// That of this step.
    #[default]
    Here,
    /// That which the next step would have (Nesterov, 1983).
    Ahead,
}

/// AdamW (Loshchilov and Hutter, 2019) and LAMB (You et al., 2020): the step with running moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// The learning rate.
    pub rate: f32,
    /// What is kept of the first and of the second moment.
    pub betas: [f32; 2],
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Weight decay, apart from the moments.
    pub decay: f32,
    /// The number of this step, from 1.
    pub step: u32,
}

impl Adam {
    /// `1 - beta^step` for both moments, in f64.
    pub(crate) fn corrections(&self) -> [f32; 2] {
        let step = self.step.min(i32::MAX as u32) as i32;
        self.betas
            .map(|beta| (1.0 - f64::from(beta).powi(step)) as f32)
    }
}

/// The running moments of a gradient.
#[derive(Debug)]
pub struct Moments<'a> {
    /// The mean.
    pub first: &'a mut [f32],
    /// The mean of the squares.
    pub second: &'a mut [f32],
}

/// The rows of this family: name and tier.
pub const KERNELS: &[(&str, Tier)] = &[
    ("f32_optimizer_scalar", Tier::Scalar),
    ("f32_optimizer_avx2", Tier::Avx2),
    ("f32_optimizer_avx512", Tier::Avx512),
];

/// One step of momentum: `v = momentum v + (g + decay w)`, then `w -= rate v`, or with [`Look::Ahead`] `w -= rate (g + momentum v)`.
///
/// # Panics
/// When the lengths differ.
pub fn sgd(cpu: Cpu, sgd: &Sgd, gradient: &[f32], weights: &mut [f32], velocity: &mut [f32]) {
    assert_eq!(gradient.len(), weights.len());
    assert_eq!(velocity.len(), weights.len());
    let (weights, velocity) = (SharedMut::new(weights), SharedMut::new(velocity));
    cpu.split(gradient.len(), gradient.len() * PASS, |range| {
        // SAFETY: ranges of one split are disjoint.
        let (w, v) = unsafe { (weights.slice(range.clone()), velocity.slice(range.clone())) };
        slice_sgd(cpu.tier, sgd, &gradient[range], w, v);
    });
}

/// One step of AdamW.
///
/// # Panics
/// When the lengths differ.
pub fn adamw(cpu: Cpu, adam: &Adam, gradient: &[f32], weights: &mut [f32], moments: Moments) {
    check(gradient, weights, &moments);
    let weights = SharedMut::new(weights);
    let (first, second) = (
        SharedMut::new(moments.first),
        SharedMut::new(moments.second),
    );
    cpu.split(gradient.len(), gradient.len() * PASS, |range| {
        // SAFETY: ranges of one split are disjoint.
        let w = unsafe { weights.slice(range.clone()) };
        // SAFETY: as above.
        let (m, v) = unsafe { (first.slice(range.clone()), second.slice(range.clone())) };
        slice_adamw(
            cpu.tier,
            adam,
            &gradient[range],
            w,
            Moments {
                first: m,
                second: v,
            },
        );
    });
}

/// One step of LAMB for one tensor: the step of AdamW, scaled by `|w| / |step|` (1 when either is 0). `step` holds as many
/// numbers as the tensor.
///
/// # Panics
/// When the lengths differ.
pub fn lamb(
    cpu: Cpu,
    adam: &Adam,
    gradient: &[f32],
    weights: &mut [f32],
    moments: Moments,
    step: &mut [f32],
) {
    check(gradient, weights, &moments);
    assert_eq!(step.len(), weights.len());
    let (first, second) = (
        SharedMut::new(moments.first),
        SharedMut::new(moments.second),
    );
    let shared = SharedMut::new(step);
    let now = &*weights;
    cpu.split(gradient.len(), gradient.len() * PASS, |range| {
        // SAFETY: ranges of one split are disjoint.
        let step = unsafe { shared.slice(range.clone()) };
        // SAFETY: as above.
        let (m, v) = unsafe { (first.slice(range.clone()), second.slice(range.clone())) };
        let moments = Moments {
            first: m,
            second: v,
        };
        slice_lamb(
            cpu.tier,
            adam,
            &gradient[range.clone()],
            &now[range],
            moments,
            step,
        );
    });
    let (weight, direction) = (
        norm_squared(cpu, weights).sqrt(),
        norm_squared(cpu, step).sqrt(),
    );
    let trust = if weight > 0.0 && direction > 0.0 {
        weight / direction
    } else {
        1.0
    };
    add_scaled(cpu, -adam.rate * trust as f32, step, weights);
}

/// `average = decay average + (1 - decay) weights`.
///
/// # Panics
/// When the lengths differ.
pub fn moving_average(cpu: Cpu, decay: f32, weights: &[f32], average: &mut [f32]) {
    assert_eq!(weights.len(), average.len());
    each_rows(cpu, 1, average, |range, average| {
        slice_moving_average(cpu.tier, decay, &weights[range], average);
    });
}

/// The sum of squares, in 64 even parts: each in blocks of 4096 numbers in 32 lanes of f32; blocks and parts in order in f64.
pub fn norm_squared(cpu: Cpu, x: &[f32]) -> f64 {
    const PARTS: usize = 64;
    let mut sums = [0.0; PARTS];
    let shared = SharedMut::new(&mut sums);
    cpu.split(PARTS, x.len() * PASS, |range| {
        for part in range {
            // SAFETY: each part has its own sum.
            let sum = unsafe { &mut shared.slice(part..part + 1)[0] };
            *sum = slice_norm_squared(cpu.tier, &x[even(x.len(), PARTS, part)]);
        }
    });
    sums.iter().sum()
}

/// Scales a gradient down to a norm, and gives the norm it had. A norm that is no number leaves it as it is.
pub fn clip(cpu: Cpu, largest: f32, gradient: &mut [f32]) -> f32 {
    let norm = norm_squared(cpu, gradient).sqrt() as f32;
    if norm > largest && norm.is_finite() {
        scale(cpu, largest / norm, gradient);
    }
    norm
}

fn check(gradient: &[f32], weights: &[f32], moments: &Moments) {
    assert_eq!(gradient.len(), weights.len());
    assert_eq!(moments.first.len(), weights.len());
    assert_eq!(moments.second.len(), weights.len());
}

per_tier! {
    fn slice_sgd(sgd: &Sgd, gradient: &[f32], weights: &mut [f32], velocity: &mut [f32])
    { compiled: scalar::sgd }
}

per_tier! {
    fn slice_adamw(adam: &Adam, gradient: &[f32], weights: &mut [f32], moments: Moments)
    { compiled: scalar::adamw }
}

per_tier! {
    fn slice_lamb(adam: &Adam, gradient: &[f32], weights: &[f32], moments: Moments, step: &mut [f32])
    { compiled: scalar::lamb_direction }
}

per_tier! {
    fn slice_moving_average(decay: f32, weights: &[f32], average: &mut [f32])
    { compiled: scalar::moving_average }
}

per_tier! {
    fn slice_norm_squared(x: &[f32]) -> f64
    { compiled: scalar::norm_squared }
}

#[cfg(test)]
mod tests;
