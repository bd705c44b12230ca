//! The definition of the optimisers' passes.

use super::{Adam, Look, Moments, Sgd};

/// One step of momentum.
pub fn sgd(sgd: &Sgd, gradient: &[f32], weights: &mut [f32], velocity: &mut [f32]) {
    for i in 0..weights.len() {
        let g = gradient[i] + sgd.decay * weights[i];
        velocity[i] = sgd.momentum * velocity[i] + g;
        let direction = match sgd.look {
            Look::Here => velocity[i],
            Look::Ahead => g + sgd.momentum * velocity[i],
        };
        weights[i] -= sgd.rate * direction;
    }
}

/// One step of AdamW.
pub fn adamw(adam: &Adam, gradient: &[f32], weights: &mut [f32], moments: Moments) {
    let [first, second] = adam.corrections();
    for i in 0..weights.len() {
        let [m, v] = moved(adam, gradient[i], [moments.first[i], moments.second[i]]);
        (moments.first[i], moments.second[i]) = (m, v);
        let root = v.sqrt() / second.sqrt() + adam.eps;
        weights[i] = weights[i] * (1.0 - adam.rate * adam.decay) - adam.rate / first * (m / root);
    }
}

/// The direction of LAMB before it is scaled.
pub fn lamb_direction(
    adam: &Adam,
    gradient: &[f32],
    weights: &[f32],
    moments: Moments,
    step: &mut [f32],
) {
    let [first, second] = adam.corrections();
    for i in 0..weights.len() {
        let [m, v] = moved(adam, gradient[i], [moments.first[i], moments.second[i]]);
        (moments.first[i], moments.second[i]) = (m, v);
        let root = v.sqrt() / second.sqrt() + adam.eps;
        step[i] = m / first / root + adam.decay * weights[i];
    }
}

fn moved(adam: &Adam, g: f32, [m, v]: [f32; 2]) -> [f32; 2] {
    [
        adam.betas[0] * m + (1.0 - adam.betas[0]) * g,
        adam.betas[1] * v + (1.0 - adam.betas[1]) * g * g,
    ]
}

/// `average = decay average + (1 - decay) weights`.
pub fn moving_average(decay: f32, weights: &[f32], average: &mut [f32]) {
    for i in 0..weights.len() {
        average[i] += (1.0 - decay) * (weights[i] - average[i]);
    }
}

/// The sum of squares.
pub fn norm_squared(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}
