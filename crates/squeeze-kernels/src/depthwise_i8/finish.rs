//! From the sum of a channel to a byte.

use std::sync::Arc;

use super::Filter;
use super::pack::Channels;
use crate::activation::curve::Curve;

/// What follows the sums: a multiply-add, and then this.
#[derive(Clone, Debug)]
pub(super) struct Finish {
    /// What is done then, if the activation is more than limits.
    pub curve: Option<Arc<Curve>>,
    /// Bounds of the result, in bytes.
    pub limits: [u8; 2],
    /// Whether there may be places before the limits that no whole number of 32 bits is near.
    pub is_large: bool,
}

/// Places that are this large or larger are not brought to whole numbers without a look.
const LARGEST: f32 = (1 << 30) as f32;

impl Finish {
    /// That of a layer, and its channels with the factors and offsets of the multiply-add.
    pub fn of(filter: &Filter, mut channels: Channels, taps: usize) -> (Finish, Channels) {
        let output = filter.codes.output;
        let (curve, limits) = match filter.activation.limits() {
            Some((low, high)) => (None, [low, high].map(|bound| output.byte(bound))),
            None => (Some(Curve::of(filter.activation, output)), [0, 255]),
        };
        let numbers = channels.factor.iter_mut().zip(&mut channels.offset);
        let most = (taps * 255 * 127) as f32;
        let mut is_large = false;
        for (factor, offset) in numbers {
            // No activation is farther from zero than its input, or one.
            is_large |= (*factor * most + offset.abs() + 1.0) / output.scale >= LARGEST;
            match &curve {
                Some((_, steps)) => {
                    *factor *= steps;
                    *offset *= steps;
                }
                None => {
                    *factor /= output.scale;
                    *offset = *offset / output.scale + f32::from(output.zero);
                }
            }
        }
        let finish = Finish {
            curve: curve.map(|(curve, _)| Arc::new(curve)),
            limits,
            is_large,
        };
        (finish, channels)
    }

    /// The byte that a number behind the multiply-add becomes.
    pub fn byte(&self, place: f32) -> u8 {
        let place = match &self.curve {
            Some(curve) => curve.at(place),
            None => place,
        };
        // NaN, of an infinity times zero, becomes the lowest byte.
        let byte = place.clamp(0.0, 255.0).round_ties_even() as u8;
        byte.clamp(self.limits[0], self.limits[1])
    }
}
