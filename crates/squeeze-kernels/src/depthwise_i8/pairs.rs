//! Windows of 3 x 3 and 5 x 5 taps whose pixels come as pairs of 16 bits, of which an instruction adds the products up exactly: two rows of
//! taps together, column by column, and of an odd row that is left two neighbours.

use super::pack::Channels;
use crate::depthwise::Depthwise;
use crate::depthwise::rows::{self, Layer};

/// Channels that are computed together.
pub(super) const TOGETHER: usize = 16;
/// Windows that are computed together.
pub(super) const WINDOWS: usize = 4;

/// Numbers of 32 bits in a register of eight.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Eight(pub [i32; 8]);

/// Before the weights of some channels: what sums start from, factors and offsets, in two registers each.
pub(super) const CONSTANTS: usize = 6;

/// What the loops need.
#[derive(Clone)]
pub(super) struct Pairs {
    /// Of each [`TOGETHER`] channels, the last of which begin earlier rather than end behind the layer's, the constants and weights.
    table: Vec<Eight>,
    each: usize,
    /// What lies outside the image.
    outside: Vec<u8>,
}

/// How many pairs of neighbours the taps of a row are, wherever the first pair begins.
pub(super) const fn neighbours(taps: usize) -> usize {
    taps.div_ceil(2)
}

impl Pairs {
    /// If there are loops for the layer.
    pub fn of(channels: &Channels, geometry: &Depthwise, zero: u8) -> Option<Pairs> {
        if !rows::has(geometry) {
            return None;
        }
        let mut table = vec![];
        for first in (0..geometry.c).step_by(TOGETHER) {
            fill(
                channels,
                geometry,
                first.min(geometry.c - TOGETHER),
                &mut table,
            );
        }
        Some(Pairs {
            each: table.len() / geometry.c.div_ceil(TOGETHER),
            table,
            outside: vec![zero; rows::CHANNELS],
        })
    }

    /// Constants and weights of the channels from this one on.
    pub fn from(&self, channel: usize) -> &[Eight] {
        &self.table[channel.div_ceil(TOGETHER) * self.each..][..self.each]
    }

    /// The layer over these images.
    pub fn layer<'a>(&'a self, depthwise: &'a Depthwise, x: &'a [u8]) -> Layer<'a, u8> {
        Layer {
            depthwise,
            x,
            outside: &self.outside,
            leaves_out: false,
            unit: WINDOWS,
        }
    }

    /// Bytes of all of it.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.table) + self.outside.len()
    }
}

/// Constants and weights of the channels from `first` on: for each two rows of taps `[kx][half]`, for a row that is left
/// `[whether windows begin with the second of two columns][pair][half]`.
fn fill(channels: &Channels, geometry: &Depthwise, first: usize, table: &mut Vec<Eight>) {
    // The order in which bytes become pairs.
    let of = |half: usize, lane: usize| first + lane / 4 * 8 + half * 4 + lane % 4;
    let mut push = |number: &dyn Fn(usize) -> i32| {
        for half in 0..2 {
            table.push(Eight(std::array::from_fn(|lane| number(of(half, lane)))));
        }
    };
    push(&|channel| channels.start[channel]);
    push(&|channel| channels.factor[channel].to_bits().cast_signed());
    push(&|channel| channels.offset[channel].to_bits().cast_signed());
    let [down, across] = geometry.kernel;
    let weight = |channel: usize, ky: usize, kx: usize| {
        i32::from(channels.weights[(channel * down + ky) * across + kx])
    };
    let pair = |low: i32, high: i32| high << 16 | low & 0xffff;
    for ky in (0..down - down % 2).step_by(2) {
        for kx in 0..across {
            push(&|channel| pair(weight(channel, ky, kx), weight(channel, ky + 1, kx)));
        }
    }
    if down % 2 == 1 {
        // Windows begin with the first of two columns where they lie two columns apart.
        for late in 0..3 - geometry.stride[1] {
            for at in 0..neighbours(across) {
                let tap = |channel: usize, kx: usize| match kx.checked_sub(late) {
                    Some(kx) if kx < across => weight(channel, down - 1, kx),
                    _ => 0,
                };
                push(&|channel| pair(tap(channel, 2 * at), tap(channel, 2 * at + 1)));
            }
        }
    }
}
