//! Every tier against the definition, slopes against differences, special numbers.

use super::*;

/// Distance in units of the last place of the larger magnitude. Below 1e-36 an intermediate result is no normal number: there any
/// value as small will do.
fn ulps(a: f32, b: f32) -> f32 {
    if a == b || (a - b).abs() < 1e-36 {
        return 0.0;
    }
    let largest = a.abs().max(b.abs()).max(f32::MIN_POSITIVE);
    let ulp = f32::from_bits(largest.to_bits() + 1) - largest;
    ((f64::from(a) - f64::from(b)).abs() / f64::from(ulp)) as f32
}

fn inputs() -> Vec<f32> {
    let mut x: Vec<f32> = (-40_000..=40_000).map(|i| i as f32 * 0.000_501).collect();
    x.extend((1..2000).flat_map(|i| {
        [
            i as f32 * 1e-6,
            i as f32 * -1e-6,
            i as f32 * 0.06,
            i as f32 * -0.06,
        ]
    }));
    x
}

/// The largest error of each activation against its value in f64, in ulp.
#[track_caller]
fn check(activation: Activation, bound: f32, exact: fn(f64) -> f64) {
    check_beyond(activation, bound, 0.0, exact);
}

/// The same where differences up to `size` are not looked at.
#[track_caller]
fn check_beyond(activation: Activation, bound: f32, size: f32, exact: fn(f64) -> f64) {
    let x = inputs();
    for tier in Tier::here() {
        let mut y = vec![0.0; x.len()];
        slice_forward(tier, activation, &x, &mut y);
        let off = |y: f32, exact: f32| match (y - exact).abs() <= size {
            true => 0.0,
            false => ulps(y, exact),
        };
        let worst = (0..x.len())
            .map(|i| (off(y[i], exact(f64::from(x[i])) as f32), x[i]))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .expect("inputs are not empty");
        assert!(
            worst.0 <= bound,
            "{activation:?} {tier}: {} ulp at {}",
            worst.0,
            worst.1
        );
    }
}

#[test]
fn sigmoid() {
    check_beyond(Activation::Sigmoid, 3.0, 1e-7, |x| 1.0 / (1.0 + (-x).exp()));
}

#[test]
fn silu() {
    check_beyond(Activation::Silu, 3.0, 1e-7, |x| x / (1.0 + (-x).exp()));
}

#[test]
fn tanh() {
    check(Activation::Tanh, 3.0, f64::tanh);
}

#[test]
fn gelu() {
    // The definition itself is in f64 and checked against published values below.
    check_beyond(Activation::Gelu, 2.0, 1.1e-7, |x| {
        f64::from(scalar::apply(Activation::Gelu, x as f32))
    });
}

/// Values of `x / 2 erfc(-x / sqrt 2)` by mpmath with 30 digits.
#[test]
fn gelu_is_the_exact_one() {
    for (x, y) in [
        (1.0, 0.841_344_746_068_543),
        (-1.0, -0.158_655_253_931_457),
        (-3.5, -8.142_017_766_243_38e-4),
        (-8.0, -4.976_768_459_417_43e-15),
        (2.5, 2.484_475_836_671_16),
    ] {
        assert!(
            ulps(scalar::apply(Activation::Gelu, x), y as f32) <= 1.0,
            "gelu({x})"
        );
    }
}

#[test]
fn tiers_agree_with_the_definition_at_every_length() {
    for tier in Tier::here() {
        for activation in Activation::ALL {
            for len in [0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 100] {
                let x: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin() * 7.0).collect();
                let dy: Vec<f32> = (0..len).map(|i| (i as f32 * 0.71).cos()).collect();
                let (mut y, mut want) = (vec![0.0; len], vec![0.0; len]);
                slice_forward(tier, activation, &x, &mut y);
                scalar::forward(activation, &x, &mut want);
                // Polynomials of x lose about |x|^3 eps in the argument of the exponential.
                close(&y, &want, 2e-6, "forward");
                let mut same = x.clone();
                slice_forward_in_place(tier, activation, &mut same);
                assert_eq!(same, y);
                let (mut dx, mut want) = (vec![0.0; len], vec![0.0; len]);
                slice_backward(tier, activation, &x, &dy, &mut dx);
                scalar::backward(activation, &x, &dy, &mut want);
                close(&dx, &want, 2e-6, "backward");
                let mut same = dy.clone();
                slice_backward_in_place(tier, activation, &x, &mut same);
                close(&same, &dx, 1e-7, "backward in place");
                if activation.output_suffices() {
                    let mut d = dy.clone();
                    slice_backward_from_output(tier, activation, &y, &mut d);
                    close(&d, &dx, 2e-6, "backward from output");
                }
            }
        }
    }
}

#[track_caller]
fn close(a: &[f32], b: &[f32], bound: f32, what: &str) {
    for i in 0..a.len() {
        let far = (a[i] - b[i]).abs() / b[i].abs().max(1.0);
        assert!(far <= bound, "{what} at {i}: {} instead of {}", a[i], b[i]);
    }
}

#[test]
fn slopes_are_differences() {
    for activation in Activation::ALL {
        // Away from the kinks; h^2 and eps / h are both about 1e-5.
        for x in [-5.3, -2.1, -0.7, 0.4, 1.7, 2.2, 4.5, 7.5_f32] {
            let h = 1.0 / 256.0;
            let rise = scalar::apply(activation, x + h) - scalar::apply(activation, x - h);
            let slope = scalar::slope(activation, x);
            assert!(
                (rise / (2.0 * h) - slope).abs() < 2e-4,
                "{activation:?} at {x}"
            );
        }
    }
}

#[test]
fn nan_stays_and_infinity_has_its_limit() {
    for tier in Tier::here() {
        for activation in Activation::ALL {
            let mut y = [0.0; 3];
            slice_forward(tier, activation, &[f32::NAN, f32::INFINITY, -1e30], &mut y);
            assert!(y[0].is_nan(), "{activation:?} {tier}");
            let limit = match activation {
                Activation::Relu6 => 6.0,
                Activation::HardSigmoid | Activation::Sigmoid | Activation::Tanh => 1.0,
                Activation::Identity
                | Activation::Relu
                | Activation::Gelu
                | Activation::GeluTanh
                | Activation::Silu
                | Activation::HardSwish => f32::INFINITY,
            };
            assert_eq!(y[1], limit, "{activation:?} {tier}");
            let low = match activation {
                Activation::Identity => -1e30,
                Activation::Tanh => -1.0,
                _ => 0.0,
            };
            assert_eq!(y[2], low, "{activation:?} {tier}");
            let mut dx = [0.0];
            slice_backward(tier, activation, &[f32::NAN], &[1.0], &mut dx);
            let flat = matches!(
                activation,
                Activation::Identity
                    | Activation::Relu
                    | Activation::Relu6
                    | Activation::HardSigmoid
                    | Activation::HardSwish
            );
            assert!(dx[0].is_nan() || flat, "{activation:?} {tier}");
        }
    }
}

#[test]
fn threads_give_the_same_bits() {
    let x = inputs();
    let dy: Vec<f32> = x.iter().map(|x| x * 0.25 + 1.0).collect();
    let run = |threads: &crate::Threads| {
        let cpu = Cpu {
            tier: Tier::detect(),
            threads,
        };
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        forward(cpu, Activation::Gelu, &x, &mut y);
        forward_in_place(cpu, Activation::Tanh, &mut y);
        backward(cpu, Activation::Gelu, &x, &dy, &mut dx);
        backward_in_place(cpu, Activation::Silu, &x, &mut dx);
        backward_from_output(cpu, Activation::Tanh, &y, &mut dx);
        dx.iter().map(|d| d.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(run(&crate::Threads::new(1)), run(&crate::Threads::new(3)));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn rough_gelu_is_off_by_less_than_bytes_are() {
    use crate::vector::{Vector, per_tier};

    fn vector_rough<V: Vector>(x: &mut [f32]) {
        for x in x.chunks_mut(V::LANES) {
            vector::apply_roughly(Activation::Gelu, V::load_part(x)).store_part(x);
        }
    }
    fn scalar_rough(x: &mut [f32]) {
        slice_forward_in_place(Tier::Scalar, Activation::Gelu, x);
    }
    per_tier! {
        fn rough(x: &mut [f32]) { scalar: scalar_rough, vector: vector_rough }
    }
    for tier in Tier::here() {
        let x = inputs();
        let (mut got, mut want) = (x.clone(), x.clone());
        rough(tier, &mut got);
        scalar_rough(&mut want);
        for ((x, got), want) in x.iter().zip(&got).zip(&want) {
            assert!(
                (got - want).abs() <= 7e-5,
                "{tier} {x}: {got} where {want} is right"
            );
        }
        let mut odd = [f32::NAN, f32::INFINITY, 1e30, -1e30];
        rough(tier, &mut odd);
        assert!(odd[0].is_nan() && !odd[1].is_finite());
        assert_eq!(odd[2..], [1e30, 0.0]);
    }
}
