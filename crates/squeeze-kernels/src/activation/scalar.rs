//! The definition of every activation and its slope.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::Activation;

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

/// `f(x)`.
pub fn apply(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Identity => x,
        // Comparisons are written so that NaN stays NaN.
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::Relu6 => clamp(x, 6.0),
        Activation::Gelu => (f64::from(x) * normal(f64::from(x))) as f32,
        Activation::GeluTanh => x * sigmoid(2.0 * SQRT_2_OVER_PI * (x + CUBE * x * x * x)),
        Activation::Silu => x * sigmoid(x),
        Activation::HardSwish => x * (clamp(x + 3.0, 6.0) / 6.0),
        Activation::HardSigmoid => clamp(x + 3.0, 6.0) / 6.0,
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => x.tanh(),
    }
}

/// `f'(x)`. At a kink it is the slope that PyTorch takes: zero for the limits of relu, relu6 and the hard functions.
pub fn slope(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Identity => 1.0,
        Activation::Relu => {
            if x <= 0.0 {
                0.0
            } else {
                1.0
            }
        }
        Activation::Relu6 => {
            if x <= 0.0 || x >= 6.0 {
                0.0
            } else {
                1.0
            }
        }
        Activation::Gelu => {
            let x = f64::from(x);
            (normal(x) + x * (-0.5 * x * x).exp() / (2.0 * PI).sqrt()) as f32
        }
        Activation::GeluTanh => {
            let s = sigmoid(2.0 * SQRT_2_OVER_PI * (x + CUBE * x * x * x));
            s + x * s * (1.0 - s) * (2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBE * x * x))
        }
        Activation::Silu => {
            let s = sigmoid(x);
            s + x * s * (1.0 - s)
        }
        Activation::HardSwish => {
            if x <= -3.0 {
                0.0
            } else if x >= 3.0 {
                1.0
            } else {
                x / 3.0 + 0.5
            }
        }
        Activation::HardSigmoid => {
            if x <= -3.0 || x >= 3.0 {
                0.0
            } else {
                1.0 / 6.0
            }
        }
        Activation::Sigmoid => {
            let s = sigmoid(x);
            s * (1.0 - s)
        }
        Activation::Tanh => {
            let t = x.tanh();
            1.0 - t * t
        }
    }
}

/// `f'(x)` from `y = f(x)`.
///
/// # Panics
/// When the output does not say enough (see [`Activation::output_suffices`]).
pub fn slope_from_output(activation: Activation, y: f32) -> f32 {
    match activation {
        Activation::Identity => 1.0,
        Activation::Relu => {
            if y <= 0.0 {
                0.0
            } else {
                1.0
            }
        }
        Activation::Relu6 => {
            if y <= 0.0 || y >= 6.0 {
                0.0
            } else {
                1.0
            }
        }
        Activation::HardSigmoid => {
            if y <= 0.0 || y >= 1.0 {
                0.0
            } else {
                1.0 / 6.0
            }
        }
        Activation::Sigmoid => y * (1.0 - y),
        Activation::Tanh => 1.0 - y * y,
        Activation::Gelu | Activation::GeluTanh | Activation::Silu | Activation::HardSwish => {
            panic!("the slope of {activation:?} needs its input")
        }
    }
}

/// `y = f(x)`.
pub fn forward(activation: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    for (y, &x) in y.iter_mut().zip(x) {
        *y = apply(activation, x);
    }
}

/// `x = f(x)`.
pub fn forward_in_place(activation: Activation, x: &mut [f32]) {
    for x in x {
        *x = apply(activation, *x);
    }
}

/// `dx = dy f'(x)`.
pub fn backward(activation: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(x.len(), dx.len());
    assert_eq!(dy.len(), dx.len());
    for i in 0..dx.len() {
        dx[i] = dy[i] * slope(activation, x[i]);
    }
}

/// `d = d f'(x)`.
pub fn backward_in_place(activation: Activation, x: &[f32], d: &mut [f32]) {
    assert_eq!(x.len(), d.len());
    for (d, &x) in d.iter_mut().zip(x) {
        *d *= slope(activation, x);
    }
}

/// `d = d f'(x)` from `y = f(x)`.
pub fn backward_from_output(activation: Activation, y: &[f32], d: &mut [f32]) {
    assert_eq!(y.len(), d.len());
    for (d, &y) in d.iter_mut().zip(y) {
        *d *= slope_from_output(activation, y);
    }
}

fn clamp(x: f32, high: f32) -> f32 {
    if x < 0.0 {
        0.0
    } else if x > high {
        high
    } else {
        x
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The normal distribution function.
fn normal(x: f64) -> f64 {
    0.5 * erfc(-x * FRAC_1_SQRT_2)
}

/// The complementary error function with a relative error below 1e-12, far beyond f32.
fn erfc(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let a = x.abs();
    let positive = if a < 2.5 {
        // The series of erf: 2 / sqrt(pi) e^(-a^2) sum of 2^n a^(2n + 1) / (2n + 1)!!.
        let mut term = a;
        let mut sum = a;
        for n in 1..80 {
            term *= 2.0 * a * a / f64::from(2 * n + 1);
            sum += term;
        }
        1.0 - 2.0 / PI.sqrt() * (-a * a).exp() * sum
    } else {
        // The continued fraction of Laplace, from its 60th term backwards.
        let mut fraction = a;
        for n in (1..60).rev() {
            fraction = a + 0.5 * f64::from(n) / fraction;
        }
        (-a * a).exp() / (PI.sqrt() * fraction)
    };
    if x < 0.0 { 2.0 - positive } else { positive }
}
