//! Weights without their blocks of zeros: for each block of outputs the inputs that it has, and their weights.

use super::Block;
use crate::Weight;
use crate::gemm_f32::Geometry;

/// The stored blocks of all groups, block of outputs by block of outputs.
#[derive(Debug)]
pub(super) struct Lists {
    /// Where the inputs of each block of outputs begin, and where the last ones end.
    pub starts: Vec<u32>,
    /// The input of each stored block; in bytes whole quads of them.
    pub places: Vec<u32>,
    pub values: Values,
    /// Weights in blocks that are not stored.
    pub left_out: usize,
}

/// The weights of stored blocks.
#[derive(Debug)]
pub(super) enum Values {
    /// `[block][outputs]`.
    F32(Vec<f32>),
    /// `[quad of blocks][outputs][4]`; the scale of each output, and what its sums start from, both with the outputs that the last
    /// block of a group lacks.
    I8 {
        bytes: Vec<i8>,
        scales: Vec<f32>,
        start: Vec<i32>,
    },
}

impl Lists {
    pub fn of_numbers(weight: &[f32], g: &Geometry, block: Block) -> Lists {
        let (mut starts, mut places, mut values) = (vec![0], vec![], vec![]);
        let mut left_out = weight.len();
        for rows in blocks(weight, g, block) {
            for k in 0..g.k {
                let column = || rows.iter().skip(k).step_by(g.k);
                if column().any(|&w| w != 0.0) {
                    places.push(k as u32);
                    values.extend(column());
                    values.resize(places.len() * block.outputs(), 0.0);
                    left_out -= rows.len() / g.k;
                }
            }
            starts.push(places.len() as u32);
        }
        let values = Values::F32(values);
        Lists {
            starts,
            places,
            values,
            left_out,
        }
    }

    pub fn of_bytes(weight: Weight, g: &Geometry, block: Block, offset: u8) -> Lists {
        let outputs = block.outputs();
        let (mut starts, mut places) = (vec![0], vec![]);
        let (mut bytes, mut scales, mut start) = (vec![], vec![], vec![]);
        let mut rows = vec![0; outputs * g.k];
        let mut left_out = weight.len();
        let firsts = (0..g.groups).flat_map(|group| {
            let starts = (0..g.n).step_by(outputs);
            starts.map(move |start| (group * g.n + start, outputs.min(g.n - start)))
        });
        for (first, filled) in firsts {
            rows.fill(0);
            for (at, to) in rows.chunks_mut(g.k).take(filled).enumerate() {
                scales.push(weight.row(first + at, 1, to));
                let sum: i32 = to.iter().map(|&w| i32::from(w)).sum();
                start.push(-i32::from(offset) * sum);
            }
            scales.resize(scales.len() + outputs - filled, 0.0);
            start.resize(start.len() + outputs - filled, 0);
            let is_stored = |&k: &usize| rows.iter().skip(k).step_by(g.k).any(|&w| w != 0);
            let inputs: Vec<usize> = (0..g.k).filter(is_stored).collect();
            left_out -= filled * inputs.len();
            for quad in inputs.chunks(4) {
                // A quad that is not full reads its first input again, with weights of zero.
                places.extend((0..4).map(|at| *quad.get(at).unwrap_or(&quad[0]) as u32));
                for row in rows.chunks(g.k) {
                    bytes.extend((0..4).map(|at| quad.get(at).map_or(0, |&k| row[k])));
                }
            }
            starts.push(places.len() as u32);
        }
        let values = Values::I8 {
            bytes,
            scales,
            start,
        };
        Lists {
            starts,
            places,
            values,
            left_out,
        }
    }

    pub fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::F32(values) => 4 * values.len(),
            Values::I8 {
                bytes,
                scales,
                start,
            } => bytes.len() + 4 * (scales.len() + start.len()),
        };
        4 * (self.starts.len() + self.places.len()) + values
    }
}

/// The weights of each block of outputs, group by group; the last block of a group may have fewer rows.
fn blocks<'a>(weight: &'a [f32], g: &Geometry, block: Block) -> impl Iterator<Item = &'a [f32]> {
    let len = g.k * block.outputs();
    weight
        .chunks(g.n * g.k)
        .flat_map(move |group| group.chunks(len))
}
