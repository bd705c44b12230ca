//! Windows of 3 x 3 and 5 x 5 taps by the loops of images in numbers: products of bytes, and sums of as many, are whole numbers that
//! single precision holds exactly.

use super::pack::Channels;
use crate::depthwise::Depthwise;
use crate::depthwise::rows::{self, Layer};

/// What the loops need.
#[derive(Clone)]
pub(super) struct Rows {
    /// `[tap, c]`.
    pub weights: Vec<f32>,
    /// What a sum starts from.
    pub start: Vec<f32>,
    /// What lies outside the image.
    pub outside: Vec<u8>,
}

impl Rows {
    /// If they have the layer.
    pub fn of(channels: &Channels, geometry: &Depthwise, zero: u8) -> Option<Rows> {
        let (taps, c) = (geometry.taps(), geometry.c);
        let weight = |at: usize| f32::from(channels.weights[at % c * taps + at / c]);
        rows::has(geometry).then(|| Rows {
            weights: (0..taps * c).map(weight).collect(),
            start: channels.start.iter().map(|&start| start as f32).collect(),
            outside: vec![zero; rows::CHANNELS],
        })
    }

    /// The layer over these images.
    pub fn layer<'a>(&'a self, depthwise: &'a Depthwise, x: &'a [u8]) -> Layer<'a, u8> {
        Layer {
            depthwise,
            x,
            weights: &self.weights,
            outside: &self.outside,
            leaves_out: false,
        }
    }

    /// Bytes of all of it.
    pub fn bytes(&self) -> usize {
        4 * (self.weights.len() + self.start.len()) + self.outside.len()
    }
}
