//! An activation on its way to bytes: parabolas, whose error is a fraction of a byte and whose time is that of a few instructions, whatever
//! the activation.
//!
//! Activations are half of a line and a function of what is far from zero, the same on both sides (SiLU, GELU, hard-swish), or they are turned
//! about their middle (sigmoid, tanh). So eight parabolas of `|x|` do, which any tier looks up in one register.

use super::{Activation, scalar};
use crate::Quantization;

/// How many parabolas there are.
pub(crate) const PIECES: usize = 8;

/// What makes the low bits of `|u| + MIDDLE` the number of the piece that `u` lies in: pieces are one wide around whole numbers.
pub(crate) const MIDDLE: f32 = 12_582_912.0;
/// The largest such sum: what lies beyond belongs to the last piece.
pub(crate) const LAST: f32 = MIDDLE + (PIECES - 1) as f32;

/// `byte(f(x))` before it is rounded and limited, in `u = x * steps`: `straight * u + middle`, and parabolas of `|u|`, of which the last is a
/// line.
#[derive(Clone, Debug)]
#[repr(C, align(32))]
pub(crate) struct Curve {
    /// Of each piece the number that stays, that of `|u|`, and that of its square.
    pub parts: [[f32; PIECES]; 3],
    pub straight: f32,
    pub middle: f32,
    /// The bits of `u` that turn those of the parabola: that of its sign, where the activation is turned about its middle.
    pub turns: u32,
}

impl Curve {
    /// The curve of an activation that is more than limits, and how many pieces its `x` passes from 0 to 1: so many that the last piece begins
    /// where a line is near enough, and kinks lie between two.
    pub fn of(activation: Activation, output: Quantization) -> (Curve, f32) {
        let steps: f32 = match activation {
            Activation::Gelu | Activation::GeluTanh => 2.0,
            Activation::Tanh => 1.875,
            Activation::Silu | Activation::Sigmoid => 0.8,
            Activation::HardSwish | Activation::HardSigmoid => 3.5 / 3.0,
            Activation::Identity | Activation::Relu | Activation::Relu6 => {
                unreachable!("{activation:?} is limits only")
            }
        };
        let is_turned = matches!(
            activation,
            Activation::Sigmoid | Activation::HardSigmoid | Activation::Tanh
        );
        let f = |x: f64| f64::from(scalar::apply(activation, x as f32));
        let h = |t: f64| {
            let x = t / f64::from(steps);
            match is_turned {
                true => (f(x) - f(-x)) / 2.0,
                false => (f(x) + f(-x)) / 2.0,
            }
        };
        let straight = if is_turned {
            0.0
        } else {
            0.5 / f64::from(steps)
        };
        let scale = 1.0 / f64::from(output.scale);
        let zero = f64::from(output.zero);
        let mut parts = [[0.0; PIECES]; 3];
        for piece in 0..PIECES {
            let [c0, c1, c2] = match piece + 1 {
                // Far out all that is not turned is zero on one side and a line on the other.
                PIECES if is_turned => [h(FAR), 0.0, 0.0],
                PIECES => [0.0, straight, 0.0],
                1 => parabola([0.0, 0.5], h),
                _ => parabola([piece as f64 - 0.5, piece as f64 + 0.5], h),
            };
            parts[0][piece] = (c0 * scale) as f32;
            parts[1][piece] = (c1 * scale) as f32;
            parts[2][piece] = (c2 * scale) as f32;
        }
        let curve = Curve {
            parts,
            straight: (straight * scale) as f32,
            middle: (if is_turned { f(0.0) * scale } else { 0.0 } + zero) as f32,
            turns: if is_turned { 1 << 31 } else { 0 },
        };
        (curve, steps)
    }

    /// The curve at `u`.
    pub fn at(&self, u: f32) -> f32 {
        let t = u.abs();
        let piece = (t + MIDDLE).min(LAST).to_bits() as usize % PIECES;
        let [c0, c1, c2] = [0, 1, 2].map(|part| self.parts[part][piece]);
        let value = c2.mul_add(t, c1).mul_add(t, c0);
        let value = f32::from_bits(value.to_bits() ^ (u.to_bits() & self.turns));
        self.straight.mul_add(u, self.middle) + value
    }
}

/// Where activations have their last values.
const FAR: f64 = 1e4;

/// The parabola that meets `f` at Chebyshev's points between two places.
fn parabola([left, right]: [f64; 2], f: impl Fn(f64) -> f64) -> [f64; 3] {
    let away = 0.5 * (right - left) * (std::f64::consts::PI / 6.0).cos();
    let middle = 0.5 * (left + right);
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
            if activation.limits().is_some() {
                continue;
            }
            let output = {
                let (low, high) = reach(activation);
                Quantization::of(low, high)
            };
            let (curve, steps) = Curve::of(activation, output);
            for at in -4000..4000 {
                let x = at as f32 * 0.005;
                let exact = scalar::apply(activation, x) / output.scale + f32::from(output.zero);
                let off = (curve.at(x * steps) - exact).abs();
                assert!(off < 0.35, "{activation:?} at {x}: {off} bytes");
            }
        }
    }
}
