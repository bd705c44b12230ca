//! The definition of the optimisers' passes; the tiers are the same loops with wider instructions.

use super::{Adam, Look, Moments, Sgd};

/// One step of momentum.
#[inline(always)]
pub fn sgd(sgd: &Sgd, gradient: &[f32], weights: &mut [f32], velocity: &mut [f32]) {
    // What a step takes of the gradient beside the velocity, and of the velocity.
    let (of_gradient, of_velocity) = match sgd.look {
        Look::Here => (0.0, 1.0),
        Look::Ahead => (1.0, sgd.momentum),
    };
    let rows = gradient.iter().zip(weights).zip(velocity);
    for ((g, w), v) in rows {
        let g = g + sgd.decay * *w;
        *v = sgd.momentum * *v + g;
        *w -= sgd.rate * (of_gradient * g + of_velocity * *v);
    }
}

/// One step of AdamW.
#[inline(always)]
pub fn adamw(adam: &Adam, gradient: &[f32], weights: &mut [f32], moments: Moments) {
    let step = Step::of(adam);
    let shrink = 1.0 - adam.rate * adam.decay;
    let rows = gradient
        .iter()
        .zip(weights)
        .zip(moments.first)
        .zip(moments.second);
    for (((g, w), m), v) in rows {
        *w = *w * shrink - adam.rate * step.direction(*g, m, v);
    }
}

/// The direction of LAMB before it is scaled.
#[inline(always)]
pub fn lamb_direction(
    adam: &Adam,
    gradient: &[f32],
    weights: &[f32],
    moments: Moments,
    step: &mut [f32],
) {
    let constants = Step::of(adam);
    let rows = gradient
        .iter()
        .zip(weights)
        .zip(moments.first)
        .zip(moments.second)
        .zip(step);
    for ((((g, w), m), v), to) in rows {
        *to = constants.direction(*g, m, v) + adam.decay * w;
    }
}

/// The constants of a step.
struct Step {
    betas: [f32; 2],
    first: f32,
    root: f32,
    eps: f32,
}

impl Step {
    #[inline(always)]
    fn of(adam: &Adam) -> Self {
        let [first, second] = adam.corrections();
        Self {
            betas: adam.betas,
            first: 1.0 / first,
            root: 1.0 / second.sqrt(),
            eps: adam.eps,
        }
    }

    /// Moves the moments and gives the corrected mean over the corrected root.
    #[inline(always)]
    fn direction(&self, g: f32, m: &mut f32, v: &mut f32) -> f32 {
        *m = self.betas[0] * *m + (1.0 - self.betas[0]) * g;
        *v = self.betas[1] * *v + (1.0 - self.betas[1]) * g * g;
        *m * self.first / (v.sqrt() * self.root + self.eps)
    }
}

/// `average = decay average + (1 - decay) weights`.
#[inline(always)]
pub fn moving_average(decay: f32, weights: &[f32], average: &mut [f32]) {
    for (average, w) in average.iter_mut().zip(weights) {
        *average += (1.0 - decay) * (w - *average);
    }
}

/// The sum of squares, in blocks of 4096 numbers in 32 lanes.
#[inline(always)]
pub fn norm_squared(x: &[f32]) -> f64 {
    let mut sum = 0.0;
    for block in x.chunks(4096) {
        let mut lanes = [0.0f32; 32];
        let (whole, rest) = block.as_chunks::<32>();
        for x in whole {
            for lane in 0..32 {
                lanes[lane] += x[lane] * x[lane];
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += x * x;
        }
        sum += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
    }
    sum
}
