//! Weights in bytes: channel by channel for the definition, as quads of rows in the order of registers for the others.

use super::strip::StripFn;
use super::{Filter, Kernel};
use crate::depthwise::Depthwise;

/// What each channel is computed with.
#[derive(Clone)]
pub(super) struct Channels {
    /// `[c, kh, kw]`.
    pub weights: Vec<i8>,
    /// What a sum starts from: so that the byte of zero counts as nothing.
    pub start: Vec<i32>,
    /// What a sum is multiplied with; until the finish is known, what it counts in numbers.
    pub factor: Vec<f32>,
    /// What is added then; until the finish is known, the bias.
    pub offset: Vec<f32>,
}

impl Channels {
    /// Brings weights to bytes.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn of(filter: &Filter, geometry: &Depthwise) -> Channels {
        let (c, taps) = (geometry.c, geometry.taps());
        assert_eq!(filter.weights.len(), taps * c);
        assert!(filter.bias.is_none_or(|bias| bias.len() == c));
        let input = filter.codes.input;
        let mut channels = Channels {
            weights: vec![0; taps * c],
            start: vec![0; c],
            factor: vec![0.0; c],
            offset: vec![0.0; c],
        };
        let rows = channels.weights.chunks_exact_mut(taps).enumerate();
        for (i, to) in rows {
            let scale = filter.weights.row(i, 0, to);
            let bias = filter.bias.map_or(0.0, |bias| bias[i]);
            if !(scale * input.scale).is_finite() || !bias.is_finite() {
                to.fill(0);
                continue;
            }
            let sum: i32 = to.iter().map(|&weight| i32::from(weight)).sum();
            channels.start[i] = -i32::from(input.zero) * sum;
            channels.factor[i] = scale * input.scale;
            channels.offset[i] = bias;
        }
        channels
    }

    /// Bytes of all of it.
    pub fn bytes(&self) -> usize {
        self.weights.len() + 12 * self.start.len()
    }
}

/// Sixteen numbers of 32 bits that begin on a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([i32; 16]);

/// The channels in strips as wide as registers. The block of a strip is, in registers of four bytes a number: starts, factors and
/// offsets (four each), and for each of the four `[taps, rows]` of quads of weights.
#[derive(Clone)]
pub(super) struct Table {
    lines: Vec<Line>,
    /// The strips.
    pub blocks: Vec<Block>,
}

/// One strip.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Its first channel.
    pub first: usize,
    /// How many channels there are of as many as it is wide.
    pub channels: usize,
    /// What computes it.
    pub run: StripFn,
    /// Where it begins in the table.
    at: usize,
}

impl Table {
    /// For kernels that compute `rows` rows together.
    pub fn of(channels: &Channels, geometry: &Depthwise, kernel: &Kernel, rows: usize) -> Table {
        let (mut words, mut blocks) = (vec![], vec![]);
        let c = geometry.c;
        let mut done = 0;
        while done < c {
            let rest = c - done;
            // The narrowest that holds the rest, else the widest; where the last is not full it begins earlier.
            let fits = kernel.strips.iter().rev().find(|(width, _)| *width >= rest);
            let &(width, run) = fits.unwrap_or(&kernel.strips[0]);
            let first = done.min(c.saturating_sub(width));
            done = (first + width).min(c);
            blocks.push(Block {
                first,
                channels: done - first,
                run,
                at: words.len() / 16,
            });
            let strip = Order { first, width, c };
            strip.fill(channels, (geometry, rows, kernel.widened), &mut words);
            words.resize(words.len().next_multiple_of(16), 0);
        }
        let lines = words.as_chunks::<16>().0.iter().map(|&line| Line(line));
        Table {
            lines: lines.collect(),
            blocks,
        }
    }

    /// Where the block of a strip begins.
    pub fn pointer(&self, block: &Block) -> *const u8 {
        self.lines[block.at..].as_ptr().cast()
    }

    /// Bytes of all of it.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }
}

/// The order of a strip's channels in registers: interleaving bytes leaves four neighbours in each 16 bytes of a register.
struct Order {
    first: usize,
    width: usize,
    c: usize,
}

impl Order {
    /// The channels of one of the four registers.
    fn of(&self, register: usize) -> impl Iterator<Item = Option<usize>> + Clone {
        let (first, c) = (self.first, self.c);
        (0..self.width / 4).map(move |lane| {
            let channel = first + lane / 4 * 16 + register * 4 + lane % 4;
            (channel < c).then_some(channel)
        })
    }

    fn fill(
        &self,
        channels: &Channels,
        (geometry, rows, widened): (&Depthwise, usize, bool),
        words: &mut Vec<i32>,
    ) {
        let bits = |numbers: &[f32], at: usize| numbers[at].to_bits().cast_signed();
        for register in 0..4 {
            words.extend(
                self.of(register)
                    .map(|at| at.map_or(0, |at| channels.start[at])),
            );
        }
        for numbers in [&channels.factor, &channels.offset] {
            for register in 0..4 {
                words.extend(
                    self.of(register)
                        .map(|at| at.map_or(0, |at| bits(numbers, at))),
                );
            }
        }
        let [kh, kw] = geometry.kernel;
        let groups = ((rows - 1) * geometry.stride[0] + kh).div_ceil(4);
        for register in 0..4 {
            for (group, kx, row) in taps(groups, kw, rows) {
                // Row `row` of the output reads rows from `row * stride` on of those that are read together.
                let weight = |channel: usize, at: usize| {
                    let ky = (group * 4 + at).checked_sub(row * geometry.stride[0]);
                    let ky = ky.filter(|&ky| ky < kh);
                    ky.map_or(0, |ky| channels.weights[(channel * kh + ky) * kw + kx])
                };
                let quads = self.of(register).map(|channel| {
                    channel.map_or([0; 4], |channel| [0, 1, 2, 3].map(|at| weight(channel, at)))
                });
                match widened {
                    false => words
                        .extend(quads.map(|quad| i32::from_le_bytes(quad.map(i8::cast_unsigned)))),
                    true => {
                        let pair = |a: i8, b: i8| i32::from(b) << 16 | i32::from(a) & 0xffff;
                        words.extend(quads.clone().map(|quad| pair(quad[0], quad[2])));
                        words.extend(quads.map(|quad| pair(quad[1], quad[3])));
                    }
                }
            }
        }
    }
}

/// Groups of four rows, columns of taps and rows of the output, in the order of the sums.
fn taps(groups: usize, kw: usize, rows: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..groups).flat_map(move |group| {
        (0..kw).flat_map(move |kx| (0..rows).map(move |row| (group, kx, row)))
    })
}
