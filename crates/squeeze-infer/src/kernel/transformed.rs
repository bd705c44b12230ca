//! Windows over images of bytes in single precision, transformed (Winograd): where the machine's products of bytes gain less than the
//! transforms save.

use squeeze_kernels::elementwise::Block;
use squeeze_kernels::gemm_f32::{Epilogue, Residual};
use squeeze_kernels::{Cpu, Quantization, Slab, elementwise, winograd};

use super::bytes::{Rest, rows};
use super::family::LayerFacts;
use super::layer::conv_geometry;
use crate::program::{self, Value};
use crate::target::Target;

/// A layer that reads and writes bytes, and how many numbers it reads and writes.
#[derive(Clone, Debug)]
pub(super) struct Transformed {
    packed: winograd::Packed,
    inputs: usize,
    outputs: usize,
    /// Of the residual.
    others: usize,
    /// From the sums to the output, which may be part of wider rows.
    home: Block,
}

/// Bytes and what they stand for.
type Coded<'a> = (&'a [u8], Quantization);

impl Transformed {
    /// The layer, if this is its quickest way.
    pub fn pick(
        row: &program::Layer,
        [x, y]: [&Value; 2],
        has_residual: bool,
        target: Target,
        slab: &Slab,
    ) -> Option<Self> {
        let size = LayerFacts::of(row, [x, y]).transforms_beat_bytes(&target)?;
        y.code?;
        let conv = conv_geometry(row, x.columns());
        // What bytes stand for, as elsewhere where images are bytes, so that every form of the weights gives the same.
        let held = row.weight.held();
        let (bytes, scales) = held.weight().in_rows(row.out, conv.taps());
        let taps = bytes.len() / row.out;
        let weight: Vec<f32> = (bytes.chunks_exact(taps).zip(&*scales))
            .flat_map(|(row, scale)| row.iter().map(move |&w| scale * f32::from(w)))
            .collect();
        let outputs = y.rows() * y.columns();
        Some(Self {
            packed: winograd::Packed::pack_in(&weight, &conv, size, target.tier, slab),
            inputs: x.rows() * x.columns(),
            outputs,
            others: if has_residual { outputs } else { 0 },
            home: Block {
                rows: y.rows(),
                columns: y.columns(),
                from_stride: y.columns(),
                to_stride: y.home.stride,
            },
        })
    }

    /// How many numbers it works in: those of both sides and of the residual, and what the transforms take.
    pub fn scratch(&self, threads: usize) -> usize {
        self.inputs + self.outputs + self.others + self.packed.scratch(threads)
    }

    /// Computes the layer.
    pub fn run(
        &self,
        cpu: Cpu,
        x: Coded,
        residual: Option<Coded>,
        rest: &Rest,
        (y, code): (&mut [u8], Quantization),
        scratch: &mut [f32],
    ) {
        let (numbers, scratch) = scratch.split_at_mut(self.inputs);
        let (sums, scratch) = scratch.split_at_mut(self.outputs);
        let (other, scratch) = scratch.split_at_mut(self.others);
        elementwise::dequantize(cpu, x.1, &x.0[..self.inputs], numbers);
        if let Some((bytes, code)) = residual {
            elementwise::dequantize(cpu, code, &bytes[..self.others], other);
        }
        let epilogue = Epilogue {
            bias: rest.bias.as_deref(),
            activation: rest.activation,
            residual: residual.map(|_| Residual::plain(other)),
            ..Epilogue::default()
        };
        self.packed
            .run(numbers, &epilogue, sums, scratch, cpu.threads);
        rows(&self.home, sums, y, |sums, y| {
            elementwise::quantize(cpu, code, sums, y);
        });
    }

    /// Bytes of its weights.
    pub fn bytes(&self) -> usize {
        self.packed.bytes()
    }

    /// The name that tables show.
    pub fn name(&self) -> &'static str {
        self.packed.name()
    }
}
