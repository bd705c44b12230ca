//! Windows over images of bytes in single precision, transformed (Winograd): where the machine's products of bytes gain less than the
//! transforms save.

use squeeze_kernels::gemm_f32::{Epilogue, Residual};
use squeeze_kernels::{Cpu, Quantization, Slab, elementwise, winograd};

use super::bytes::Rest;
use super::family::LayerFacts;
use super::layer::conv_geometry;
use crate::program::{self, Value};
use crate::target::Target;

/// A layer that reads and writes bytes, and how many numbers it makes of those it reads.
#[derive(Clone, Debug)]
pub(super) struct Transformed {
    packed: winograd::Packed,
    inputs: usize,
    /// Of the residual, which lies as the output does.
    others: usize,
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
        let packed = winograd::Packed::pack_in(&weight, &conv, size, target.tier, slab);
        Some(Self {
            packed: packed.with_stride(y.home.stride),
            inputs: x.rows() * x.columns(),
            others: if has_residual { y.span() } else { 0 },
        })
    }

    /// How many numbers it works in: those of its inputs, and what the transforms take.
    pub fn scratch(&self, threads: usize) -> usize {
        self.inputs + self.others + self.packed.scratch(threads)
    }

    /// Computes the layer.
    pub fn run(
        &self,
        cpu: Cpu,
        x: Coded,
        residual: Option<Coded>,
        rest: &Rest,
        y: (&mut [u8], Quantization),
        scratch: &mut [f32],
    ) {
        let (numbers, scratch) = scratch.split_at_mut(self.inputs);
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
            .run_to_bytes(numbers, &epilogue, y, scratch, cpu.threads);
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
