//! An activation on its way to bytes: sixteen parabolas, whose error is a fraction of a byte and whose time is that of a few
//! instructions, whatever the activation.

use super::{Activation, scalar};
use crate::Quantization;

/// How many parabolas there are: as many numbers as a register of AVX-512 holds, which looks them up by itself.
pub(crate) const PIECES: usize = 16;

/// What makes the low bits of `u + MIDDLE` the number of the piece that `u` lies in: pieces are one wide around whole numbers.
pub(crate) const MIDDLE: f32 = 12_582_912.0 + (PIECES / 2) as f32;
/// The bounds of that sum: what lies beyond belongs to the outermost pieces.
pub(crate) const FIRST: f32 = 12_582_912.0;
pub(crate) const LAST: f32 = 12_582_912.0 + (PIECES - 1) as f32;

/// What moves the ends of pieces to whole numbers, where the hard activations have their kinks.
pub(crate) const SHIFT: f32 = -0.5;

/// `byte(f(x))` before it is rounded and limited, as parabolas in `u = x * steps + SHIFT`. The outermost pieces are straight lines, which
/// the activations approach.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Curve {
    /// Of each piece the number that stays, that of `u`, and that of its square.
    pub parts: [[f32; PIECES]; 3],
}

impl Curve {
    /// The curve of an activation that is more than limits, and how many pieces its `x` passes from 0 to 1.
    pub fn of(activation: Activation, output: Quantization) -> (Curve, f32) {
        let steps: f64 = match activation {
            Activation::Gelu | Activation::GeluTanh | Activation::Tanh => 2.0,
            Activation::Silu
            | Activation::Sigmoid
            | Activation::HardSwish
            | Activation::HardSigmoid
            | Activation::Identity
            | Activation::Relu
            | Activation::Relu6 => 1.0,
        };
        let f = |u: f64| {
            f64::from(scalar::apply(
                activation,
                ((u - f64::from(SHIFT)) / steps) as f32,
            ))
        };
        let mut parts = [[0.0; PIECES]; 3];
        for piece in 0..PIECES {
            let left = piece as f64 - (PIECES / 2) as f64 - 0.5;
            let [c0, c1, c2] = match piece {
                0 | 15 => {
                    // Far out an activation is a line.
                    let far = 1e4 * left.signum();
                    let slope = f(far + 1.0) - f(far);
                    [f(far) - slope * far, slope, 0.0]
                }
                _ => parabola(left, f),
            };
            let scale = 1.0 / f64::from(output.scale);
            parts[0][piece] = (c0 * scale + f64::from(output.zero)) as f32;
            parts[1][piece] = (c1 * scale) as f32;
            parts[2][piece] = (c2 * scale) as f32;
        }
        (Curve { parts }, steps as f32)
    }

    /// The curve at `u`; the lowest piece's for NaN.
    #[expect(clippy::manual_clamp, reason = "NaN would stay")]
    pub fn at(&self, u: f32) -> f32 {
        let place = (u + MIDDLE).max(FIRST).min(LAST);
        let piece = place.to_bits() as usize % PIECES;
        let [c0, c1, c2] = [0, 1, 2].map(|part| self.parts[part][piece]);
        c2.mul_add(u, c1).mul_add(u, c0)
    }
}

/// The parabola that meets `f` at Chebyshev's points between `left` and one more.
fn parabola(left: f64, f: impl Fn(f64) -> f64) -> [f64; 3] {
    let away = 0.5 * (std::f64::consts::PI / 6.0).cos();
    let middle = left + 0.5;
    let [low, centre, high] = [f(middle - away), f(middle), f(middle + away)];
    let slope = (high - low) / (2.0 * away);
    let bend = (high - 2.0 * centre + low) / (2.0 * away * away);
    // centre + slope (u - middle) + bend (u - middle)^2
    [
        centre - slope * middle + bend * middle * middle,
        slope - 2.0 * bend * middle,
        bend,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_off_by_a_fraction_of_a_byte() {
        let reach = |activation| match activation {
            Activation::Sigmoid | Activation::HardSigmoid => (0.0, 1.0),
            Activation::Tanh => (-1.0, 1.0),
            _ => (-0.4, 6.0),
        };
        for activation in Activation::ALL {
            let output = {
                let (low, high) = reach(activation);
                Quantization::of(low, high)
            };
            let (curve, steps) = Curve::of(activation, output);
            for at in -4000..4000 {
                let x = at as f32 * 0.005;
                let exact = scalar::apply(activation, x) / output.scale + f32::from(output.zero);
                let off = (curve.at(x * steps + SHIFT) - exact).abs();
                let is_kink = matches!(activation, Activation::Relu | Activation::Relu6);
                assert!(is_kink || off < 0.35, "{activation:?} at {x}: {off} bytes");
            }
        }
    }
}
