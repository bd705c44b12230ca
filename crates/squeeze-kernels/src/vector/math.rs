//! Exponential, hyperbolic tangent, logistic function and the normal distribution on vectors.
//!
//! Errors against the correctly rounded value are bounded by tests in `activation`.

use super::Vector;

/// `c[0] + c[1] x + c[2] x^2 ..` by Horner's rule.
#[inline(always)]
fn polynomial<V: Vector, const N: usize>(x: V, coefficients: [f32; N]) -> V {
    let mut sum = V::splat(coefficients[N - 1]);
    for n in (0..N - 1).rev() {
        sum = sum.mul_add(x, V::splat(coefficients[n]));
    }
    sum
}

/// The same of four vectors, whose sums wait for each other's multiplications and not for their own.
#[inline(always)]
fn polynomials<V: Vector, const N: usize>(x: [V; 4], coefficients: [f32; N]) -> [V; 4] {
    let mut sums = [V::splat(coefficients[N - 1]); 4];
    for n in (0..N - 1).rev() {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = sum.mul_add(x, V::splat(coefficients[n]));
        }
        sums = V::in_step(sums);
    }
    sums
}

/// `e^x`, within 2 ulp; infinity above 88.73 and zero below -103.98, NaN stays. With AVX2 they begin at 88.37 and -87.68.
#[inline(always)]
pub(crate) fn exp<V: Vector>(x: V) -> V {
    // e^x = 2^n e^r with |r| <= ln(2) / 2; the polynomial is that of Cephes' expf (Moshier, 1992).
    let least = V::POWERS[0] * std::f32::consts::LN_2;
    let x = V::splat(89.0).min(V::splat(least).max(x));
    let n = (x * V::splat(std::f32::consts::LOG2_E)).round();
    let r = n.neg_mul_add(V::splat(0.693_359_4), x);
    let r = n.neg_mul_add(V::splat(-2.121_944_4e-4), r);
    let p = polynomial(r, EXP);
    p.mul_add(r * r, r + V::splat(1.0)).scale(n)
}

const EXP: [f32; 6] = [
    5e-1,
    1.666_666_5e-1,
    4.166_579_6e-2,
    8.333_452e-3,
    1.398_2e-3,
    1.987_569_1e-4,
];

/// `e^(cool x)` of the numbers up to zero.
#[derive(Clone, Copy)]
pub(crate) struct Cooled<V> {
    /// `cool` over the logarithm of 2, and what rounding took from it.
    factors: [V; 2],
    /// Where the results end in zero.
    least: V,
}

impl<V: Vector> Cooled<V> {
    /// For a positive `cool`.
    #[inline(always)]
    pub(crate) fn new(cool: f32) -> Self {
        let exact = f64::from(cool) * std::f64::consts::LOG2_E;
        let near = exact as f32;
        Self {
            factors: [V::splat(near), V::splat((exact - f64::from(near)) as f32)],
            least: V::splat((V::POWERS[0] / near).max(f32::MIN)),
        }
    }

    /// Within 3 ulp (2.4e-7 of its value); NaN stays.
    #[inline(always)]
    pub(crate) fn exp(self, x: V) -> V {
        let x = self.least.max(x);
        let [near, rest] = self.factors;
        let n = (x * near).round();
        let fraction = x.mul_add(rest, x.mul_add(near, V::splat(0.0) - n));
        polynomial(fraction, EXP2).scale(n)
    }
}

/// `2^x` for `x` within [`Vector::POWERS`], within 3 ulp and `|x|` times half an ulp for what rounding took from `x`.
#[inline(always)]
fn exp2<V: Vector>(x: V) -> V {
    let n = x.round();
    polynomial(x - n, EXP2).scale(n)
}

/// `2^x` for results that are as exact as bfloat16: within 1e-4 of itself for `x` of -126 and more, and next to nothing below.
#[inline(always)]
pub(crate) fn rough_exp2<V: Vector>(x: V) -> V {
    let x = V::splat(V::POWERS[0]).max(x);
    let n = x.round();
    polynomial(x - n, ROUGH_EXP2).scale(n)
}

/// The minimax polynomial of the relative error, which is 7.5e-5, by Lawson's algorithm.
const ROUGH_EXP2: [f32; 4] = [0.999_928_06, 0.693_260_97, 0.242_611_17, 0.055_171_69];

/// `1 + e^-x`, of which the logistic function is the inverse; of that the error is at most 1e-7 or 3 ulp.
#[inline(always)]
pub(crate) fn inverse_sigmoid<V: Vector>(x: V) -> V {
    let log = x * V::splat(-std::f32::consts::LOG2_E);
    let (least, largest) = (V::splat(V::POWERS[0]), V::splat(V::POWERS[1]));
    let log = least.max(largest.min(log));
    let n = log.round();
    polynomial(log - n, EXP2).scale_and_add(n, V::splat(1.0))
}

/// `1 / (1 + e^-x)`, within 1e-7 or 3 ulp.
#[inline(always)]
pub(crate) fn sigmoid<V: Vector>(x: V) -> V {
    V::splat(1.0) / inverse_sigmoid(x)
}

/// The hyperbolic tangent, within 3 ulp.
#[inline(always)]
pub(crate) fn tanh<V: Vector>(x: V) -> V {
    // Cephes' tanhf (Moshier, 1992): a polynomial near zero, the exponential elsewhere.
    let a = x.abs();
    let square = x * x;
    let near = (polynomial(square, TANH) * square).mul_add(x, x);
    let far = V::splat(1.0) - V::splat(2.0) / (exp(a + a) + V::splat(1.0));
    a.if_less(V::splat(0.625), near, far.copysign(x))
}

const TANH: [f32; 5] = [
    -3.333_328e-1,
    1.333_144_2e-1,
    -5.373_972e-2,
    2.063_909e-2,
    -5.704_988_7e-3,
];

/// Of the standard normal distribution: the probability beyond `|x|`, and `e^(-x^2 / 2)`.
///
/// The probability is within 7 ulp wherever it is a normal number, in the far tail too.
#[inline(always)]
pub(crate) fn gelu_parts<V: Vector>(x: V) -> (V, V) {
    // The tail is e^(-a^2 / 2) h(a), where h is smooth in q = (a - 3) / (a + 3); its polynomial of degree 9 has a
    // relative error of 1e-8 for a in 0..14.5. The idea is that of Shepherd and Laframboise (1981) for erfc.
    let a = V::splat(14.5).min(x.abs());
    let q = (a - V::splat(3.0)) / (a + V::splat(3.0));
    let h = polynomial(q, TAIL);
    // e^(-a^2 / 2) needs the rounding error of the square: relative errors in it are absolute ones of the exponent.
    let half = V::splat(0.5) * a;
    let square = half * a;
    let lost = half.neg_mul_add(a, square);
    let bell = exp(V::splat(0.0) - square);
    let bell = bell.mul_add(lost, bell);
    (bell * h, bell)
}

const TAIL: [f32; 10] = [
    1.215_139_5e-1,
    -2.064_026_1e-1,
    1.232_250_4e-1,
    -4.621_326e-2,
    6.131_942_5e-3,
    2.904_387_3e-3,
    -9.832_887e-4,
    -3.390_121e-4,
    1.150_140_6e-4,
    5.316_125e-5,
];

/// Of the standard normal distribution: the probability beyond `a`, for `a` from 0 to [`tail_end`].
///
/// The error of `a` times it is at most 1.1e-7, which is all that GELU needs: no exponential, no division. Its logarithm to base 2
/// is a polynomial, weighted for the error of the product and only roughly right beyond 6, where the product is below 6e-9; both
/// polynomials are minimax ones found by Lawson's algorithm (1961).
#[inline(always)]
pub(crate) fn normal_tail<V: Vector>(a: V) -> V {
    exp2(polynomial(a, LOG2_TAIL))
}

/// [`normal_tail`] of four vectors in step.
#[inline(always)]
pub(crate) fn normal_tails<V: Vector>(a: [V; 4]) -> [V; 4] {
    let logs = polynomials(a, LOG2_TAIL);
    let (mut powers, mut fractions) = (logs, logs);
    for ((power, fraction), log) in powers.iter_mut().zip(&mut fractions).zip(logs) {
        *power = log.round();
        *fraction = log - *power;
    }
    let mut tails = polynomials(fractions, EXP2);
    for (tail, power) in tails.iter_mut().zip(powers) {
        *tail = tail.scale(power);
    }
    tails
}

/// Where [`normal_tail`] is zero: its logarithm there is the least power.
#[inline(always)]
pub(crate) fn tail_end<V: Vector>() -> V {
    V::splat(if V::POWERS[0] < -150.0 { 14.5 } else { 13.1 })
}

const LOG2_TAIL: [f32; 11] = [
    -0.999_995_7,
    -1.151_164_3,
    -0.458_944_07,
    -5.303_942e-2,
    7.650_911_2e-3,
    -4.869_845_2e-4,
    -7.415_641_6e-5,
    2.313_169e-5,
    -2.682_279_4e-6,
    1.527_274_4e-7,
    -3.466_791_4e-9,
];

/// `2^x` for `x` in -0.5..=0.5, within 7.5e-8 of its value.
const EXP2: [f32; 6] = [
    1.000_000_1,
    0.693_146_94,
    0.240_221_2,
    5.550_713e-2,
    9.675_541e-3,
    1.327_647_1e-3,
];

/// GELU for results that are as exact as bytes: within 7e-5; infinity becomes NaN.
#[inline(always)]
pub(crate) fn rough_gelu<V: Vector>(x: V) -> V {
    // Half of a line and what is the same on both sides, of which a polynomial is known around each of eight places.
    let size = x.abs();
    let place = size.mul_add(V::splat(PLACES), V::splat(WHOLE));
    let place = V::splat(WHOLE + 7.0).min(place);
    let mut even = place.look_up(&GELU_CUBICS[3]);
    for part in (0..3).rev() {
        even = even.mul_add(size, place.look_up(&GELU_CUBICS[part]));
    }
    x.mul_add(V::splat(0.5), even)
}

/// From it on a number has no fraction: its low bits count.
pub(super) const WHOLE: f32 = 12_582_912.0;

/// How many places there are from 0 to 1; polynomials meet halfway between them.
const PLACES: f32 = 1.55;

/// Minimax cubics of GELU less half of a line (`golden/rough_gelu.py`), the last what it comes near to: off by at most 5.8e-5.
const GELU_CUBICS: [[f32; 8]; 4] = [
    [
        5.266157e-06,
        0.003_863_395,
        -0.048_884_16,
        -0.375_610_8,
        -0.589_495_5,
        -0.379_833_5,
        -0.123_223_6,
        0.0,
    ],
    [
        -0.000_528_041_9,
        -0.030_682_61,
        0.109_471_7,
        0.718_928_3,
        1.020_538,
        0.807_52,
        0.587_673_6,
        0.5,
    ],
    [
        0.407_219_7,
        0.489_459_2,
        0.367_180_5,
        -0.014_118_55,
        -0.155_975_8,
        -0.083_737_74,
        -0.020_876_95,
        0.0,
    ],
    [
        -0.041_703_25,
        -0.121_237_1,
        -0.086_413_76,
        -0.006_411_088,
        0.015_838_39,
        0.007_661_427,
        0.001_663_018,
        0.0,
    ],
];
