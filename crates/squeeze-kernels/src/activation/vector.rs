//! Activations and slopes on vectors of any tier.

use super::Activation;
use crate::vector::{
    GELU, SILU, Vector, gelu_parts, inverse_sigmoid, normal_tail, normal_tails, rough_gelu,
    sigmoid, tail_end, tanh,
};

const SQRT_8_OVER_PI: f32 = 1.595_769;
const CUBE: f32 = 0.044_715;

/// `f(x)` in registers.
#[inline(always)]
pub(crate) fn apply<V: Vector>(activation: Activation, x: V) -> V {
    let zero = V::splat(0.0);
    let six = V::splat(6.0);
    match activation {
        Activation::Identity => x,
        // `min` and `max` give the right operand for NaN: so NaN stays.
        Activation::Relu => zero.max(x),
        Activation::Relu6 => six.min(zero.max(x)),
        Activation::Gelu if V::LOOKS_UP_LONG => GELU.taken(x),
        Activation::Gelu => {
            let a = tail_end::<V>().min(x.abs());
            // x for positive x less |x| tail(|x|): no cancellation.
            a.neg_mul_add(normal_tail(a), zero.max(x))
        }
        Activation::GeluTanh => x / inverse_sigmoid(gelu_tanh_argument(x)),
        Activation::Silu if V::LOOKS_UP_LONG => SILU.taken(x),
        Activation::Silu => x / inverse_sigmoid(x),
        Activation::HardSwish => x * hard_sigmoid(x),
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => tanh(x),
    }
}

/// GELU of four vectors in step, by the exponential: one alone is a long chain of multiplications.
#[inline(always)]
pub(crate) fn gelu_four<V: Vector>(x: [V; 4]) -> [V; 4] {
    let mut sizes = x;
    for size in &mut sizes {
        *size = tail_end::<V>().min(size.abs());
    }
    let mut y = x;
    for (y, (a, tail)) in y.iter_mut().zip(sizes.into_iter().zip(normal_tails(sizes))) {
        *y = a.neg_mul_add(tail, V::splat(0.0).max(*y));
    }
    y
}

/// [`apply`] for results that are as exact as bytes: GELU within 7e-5.
#[inline(always)]
pub(crate) fn apply_roughly<V: Vector>(activation: Activation, x: V) -> V {
    match activation {
        Activation::Gelu => rough_gelu(x),
        exact => apply(exact, x),
    }
}

// A function of its own: were `apply` recursive, it would not be inlined, and its operations would be calls.
#[inline(always)]
fn hard_sigmoid<V: Vector>(x: V) -> V {
    V::splat(6.0).min(V::splat(0.0).max(x + V::splat(3.0))) * V::splat(1.0 / 6.0)
}

/// `f'(x)` in registers.
#[inline(always)]
pub(crate) fn slope<V: Vector>(activation: Activation, x: V) -> V {
    let zero = V::splat(0.0);
    let one = V::splat(1.0);
    match activation {
        Activation::Identity => one,
        Activation::Relu | Activation::Relu6 => slope_from_output(activation, x),
        Activation::Gelu => {
            let (tail, bell) = gelu_parts(x);
            let distribution = x.if_less(zero, tail, one - tail);
            let near = V::splat(14.5).min(V::splat(-14.5).max(x));
            (near * V::splat(0.398_942_3)).mul_add(bell, distribution)
        }
        Activation::GeluTanh => {
            let s = sigmoid(gelu_tanh_argument(x));
            let inner = (x * x).mul_add(
                V::splat(3.0 * CUBE * SQRT_8_OVER_PI),
                V::splat(SQRT_8_OVER_PI),
            );
            (x * s * (one - s)).mul_add(inner, s)
        }
        Activation::Silu => {
            let s = sigmoid(x);
            (x * s).mul_add(one - s, s)
        }
        Activation::HardSwish => {
            let middle = x.mul_add(V::splat(1.0 / 3.0), V::splat(0.5));
            let high = V::splat(3.0)
                .max(x)
                .if_less(V::splat(3.000_000_2), one, one);
            let upper = x.if_less(V::splat(3.0), middle, high);
            V::splat(-3.0).if_less(x, upper, zero)
        }
        Activation::HardSigmoid => {
            let inside = x.if_less(V::splat(3.0), V::splat(1.0 / 6.0), zero);
            V::splat(-3.0).if_less(x, inside, zero)
        }
        Activation::Sigmoid | Activation::Tanh => {
            slope_from_output(activation, apply(activation, x))
        }
    }
}

/// `f'(x)` from `y = f(x)` in registers.
#[inline(always)]
pub(crate) fn slope_from_output<V: Vector>(activation: Activation, y: V) -> V {
    let zero = V::splat(0.0);
    let one = V::splat(1.0);
    match activation {
        Activation::Identity => one,
        Activation::Relu => zero.if_less(y, one, zero),
        Activation::Relu6 => zero.if_less(y, y.if_less(V::splat(6.0), one, zero), zero),
        Activation::HardSigmoid => zero.if_less(y, y.if_less(one, V::splat(1.0 / 6.0), zero), zero),
        Activation::Sigmoid => y.neg_mul_add(y, y),
        Activation::Tanh => y.neg_mul_add(y, one),
        Activation::Gelu | Activation::GeluTanh | Activation::Silu | Activation::HardSwish => {
            panic!("the slope of {activation:?} needs its input")
        }
    }
}

#[inline(always)]
fn gelu_tanh_argument<V: Vector>(x: V) -> V {
    x * (x * x).mul_add(V::splat(CUBE * SQRT_8_OVER_PI), V::splat(SQRT_8_OVER_PI))
}

/// Runs `$loop` with the activation as a constant, so that the choice is made once and not in every vector.
macro_rules! with_constant {
    ($activation:expr, $constant:ident => $loop:expr) => {
        match $activation {
            Activation::Identity => with_constant!(@ Identity, $constant, $loop),
            Activation::Relu => with_constant!(@ Relu, $constant, $loop),
            Activation::Relu6 => with_constant!(@ Relu6, $constant, $loop),
            Activation::Gelu => with_constant!(@ Gelu, $constant, $loop),
            Activation::GeluTanh => with_constant!(@ GeluTanh, $constant, $loop),
            Activation::Silu => with_constant!(@ Silu, $constant, $loop),
            Activation::HardSwish => with_constant!(@ HardSwish, $constant, $loop),
            Activation::HardSigmoid => with_constant!(@ HardSigmoid, $constant, $loop),
            Activation::Sigmoid => with_constant!(@ Sigmoid, $constant, $loop),
            Activation::Tanh => with_constant!(@ Tanh, $constant, $loop),
        }
    };
    (@ $variant:ident, $constant:ident, $loop:expr) => {{
        const $constant: Activation = Activation::$variant;
        $loop
    }};
}

pub(crate) use with_constant;

/// `y = f(x)`.
#[inline(always)]
pub(super) fn forward<V: Vector>(activation: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    with_constant!(activation, F => map::<V>(F, x, y));
}

/// `x = f(x)`.
#[inline(always)]
pub(super) fn forward_in_place<V: Vector>(activation: Activation, x: &mut [f32]) {
    with_constant!(activation, F => map_in_place::<V>(F, x));
}

/// `dx = dy f'(x)`.
#[inline(always)]
pub(super) fn backward<V: Vector>(activation: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(x.len(), dx.len());
    assert_eq!(dy.len(), dx.len());
    with_constant!(activation, F => {
        for ((x, dy), dx) in x.chunks(V::LANES).zip(dy.chunks(V::LANES)).zip(dx.chunks_mut(V::LANES)) {
            (V::load_part(dy) * slope(F, V::load_part(x))).store_part(dx);
        }
    });
}

/// `d = d f'(x)`.
#[inline(always)]
pub(super) fn backward_in_place<V: Vector>(activation: Activation, x: &[f32], d: &mut [f32]) {
    assert_eq!(x.len(), d.len());
    with_constant!(activation, F => map_onto::<V>(x, d, |x| slope(F, x)));
}

/// `d = d f'(x)` from `y = f(x)`.
#[inline(always)]
pub(super) fn backward_from_output<V: Vector>(activation: Activation, y: &[f32], d: &mut [f32]) {
    assert_eq!(y.len(), d.len());
    assert!(
        activation.output_suffices(),
        "the slope of {activation:?} needs its input"
    );
    map_onto::<V>(y, d, |y| slope_from_output(activation, y));
}

#[inline(always)]
fn map<V: Vector>(activation: Activation, x: &[f32], y: &mut [f32]) {
    let (mut x, mut y) = (x, y);
    if activation == Activation::Gelu && !V::LOOKS_UP_LONG {
        let (fours, rest) = x.split_at(x.len() - x.len() % (4 * V::LANES));
        let (to, y_rest) = y.split_at_mut(fours.len());
        for (x, y) in fours
            .chunks_exact(4 * V::LANES)
            .zip(to.chunks_exact_mut(4 * V::LANES))
        {
            store_four(gelu_four(load_four::<V>(x)), y);
        }
        (x, y) = (rest, y_rest);
    }
    let mut to = y.chunks_exact_mut(V::LANES);
    let from = x.chunks_exact(V::LANES);
    let rest = from.remainder();
    for (x, y) in from.zip(&mut to) {
        apply(activation, V::load(x)).store(y);
    }
    if !rest.is_empty() {
        apply(activation, V::load_part(rest)).store_part(to.into_remainder());
    }
}

#[inline(always)]
fn map_in_place<V: Vector>(activation: Activation, x: &mut [f32]) {
    let mut x = x;
    if activation == Activation::Gelu && !V::LOOKS_UP_LONG {
        let (fours, rest) = x.split_at_mut(x.len() - x.len() % (4 * V::LANES));
        for x in fours.chunks_exact_mut(4 * V::LANES) {
            store_four(gelu_four(load_four::<V>(x)), x);
        }
        x = rest;
    }
    let mut all = x.chunks_exact_mut(V::LANES);
    for x in &mut all {
        apply(activation, V::load(x)).store(x);
    }
    let rest = all.into_remainder();
    if !rest.is_empty() {
        apply(activation, V::load_part(rest)).store_part(rest);
    }
}

#[inline(always)]
fn load_four<V: Vector>(from: &[f32]) -> [V; 4] {
    let mut four = [V::splat(0.0); 4];
    for (one, from) in four.iter_mut().zip(from.chunks_exact(V::LANES)) {
        *one = V::load(from);
    }
    four
}

#[inline(always)]
fn store_four<V: Vector>(four: [V; 4], to: &mut [f32]) {
    for (to, one) in to.chunks_exact_mut(V::LANES).zip(four) {
        one.store(to);
    }
}

#[inline(always)]
fn map_onto<V: Vector>(x: &[f32], d: &mut [f32], f: impl Fn(V) -> V) {
    for (x, d) in x.chunks(V::LANES).zip(d.chunks_mut(V::LANES)) {
        (V::load_part(d) * f(V::load_part(x))).store_part(d);
    }
}
