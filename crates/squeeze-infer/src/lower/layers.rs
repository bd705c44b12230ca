//! Operators with weights.

use squeeze_graph::Node;
use squeeze_graph::ops::{
    BatchNorm, Conv1d, Conv2d, Embedding, LayerNorm as Norm, Linear, Scale as ByNumber,
};
use squeeze_kernels::activation::Activation;
use squeeze_tensor::Tensor;

use super::{Lowering, Place, refuse};
use crate::error::CompileError;
use crate::numbers::{Rows, Table};
use crate::program::{Draft, Home, Layer, LayerNorm, Scale, Source, ValueId, Window, Work};
use crate::unread::Unread;

impl Lowering<'_> {
    pub(super) fn conv2d(&self, node: &Node, row: &Conv2d, x: ValueId) -> Work {
        let x = &self.program.values[x].shape;
        let window = Window {
            size: [x[0], x[2], x[3]],
            kernel: row.kernel,
            stride: row.stride,
            dilation: row.dilation,
            padding: row.padding,
        };
        self.layer(node, [row.out, row.groups], row.bias, window)
    }

    /// What a convolution over tokens reads: zeros beyond each text's length, if it has lengths.
    pub(super) fn inside(&mut self, node: &Node, row: &Conv1d, inputs: &[ValueId]) -> ValueId {
        let (x, Some(&lengths)) = (inputs[0], inputs.get(1)) else {
            return inputs[0];
        };
        let shape = self.program.values[x].shape.clone();
        self.limit(lengths, 1, shape[1]);
        // Packed rows have nothing beyond.
        if row.kernel == 1 || self.program.is_packed(x) {
            return x;
        }
        let output = self.program.fresh(&shape);
        self.program.steps.push(Draft {
            name: format!("{}.inside", node.name),
            kind: "mask",
            work: Work::Inside,
            inputs: vec![x, lengths],
            output,
            macs: 0,
        });
        output
    }

    pub(super) fn conv1d(&self, node: &Node, row: &Conv1d, x: ValueId) -> Work {
        let x = &self.program.values[x].shape;
        let window = Window {
            size: [x[0], 1, x[1]],
            kernel: [1, row.kernel],
            stride: [1; 2],
            dilation: [1, row.dilation],
            padding: [0, row.padding(), 0, row.padding()],
        };
        self.layer(node, [row.out, row.groups], row.bias, window)
    }

    pub(super) fn linear(&self, node: &Node, row: &Linear, x: ValueId) -> Work {
        let window = Window::rows(self.program.values[x].rows());
        self.layer(node, [row.out, row.groups], row.bias, window)
    }

    fn layer(&self, node: &Node, [out, groups]: [usize; 2], bias: bool, window: Window) -> Work {
        Work::Layer(Layer {
            weight: Rows::of(
                format!("{}.weight", node.weights),
                self.weight(node, "weight"),
            ),
            bias: bias.then(|| self.floats(node, "bias")),
            factors: None,
            out,
            groups,
            window,
            activation: Activation::Identity,
        })
    }

    pub(super) fn batch_norm(&self, node: &Node, row: &BatchNorm) -> Work {
        let (scale, shift) = (self.floats(node, "weight"), self.floats(node, "bias"));
        let mean = self.floats(node, "running_mean");
        let variance = self.floats(node, "running_var");
        let of = |c: usize| f64::from(scale[c]) / (f64::from(variance[c]) + row.epsilon).sqrt();
        let addend = |c: usize| (f64::from(shift[c]) - of(c) * f64::from(mean[c])) as f32;
        let channels = 0..scale.len();
        scaled(
            channels.clone().map(|c| of(c) as f32).collect(),
            channels.map(addend).collect(),
        )
    }

    pub(super) fn no_norm(&self, node: &Node) -> Work {
        scaled(self.floats(node, "weight"), self.floats(node, "bias"))
    }

    pub(super) fn scale(&self, node: &Node, row: &ByNumber) -> Work {
        let channels = node.shape[squeeze_graph::channel_axis(&node.shape)];
        scaled(vec![row.factor as f32; channels], vec![0.0; channels])
    }

    pub(super) fn layer_norm(&self, node: &Node, row: &Norm) -> Work {
        Work::LayerNorm(LayerNorm {
            gamma: self.floats(node, "weight"),
            beta: self.floats(node, "bias"),
            epsilon: row.epsilon as f32,
        })
    }

    pub(super) fn embedding(
        &mut self,
        node: &Node,
        row: &Embedding,
    ) -> Result<Place, CompileError> {
        let weight = self.weight(node, "weight").clone();
        let (work, inputs) = match self.places[node.inputs[0].0] {
            Place::Value(ids) => {
                let table = Table::from(&weight);
                self.limit(ids, 0, row.rows - 1);
                let input = match self.program.values[ids].home.source {
                    Source::Input(at) => at,
                    _ => unreachable!("indices are inputs"),
                };
                let name = format!("{}.weight", node.weights);
                let unread = Unread::of(input, name, &weight);
                self.program.unread.extend(unread);
                (Work::Gather { table }, vec![ids])
            }
            Place::Positions { first } => {
                let tokens = node.shape[1];
                let numbers = weight.numbers();
                let rows = numbers.get(first * row.width..(first + tokens) * row.width);
                let rows = rows.ok_or_else(|| {
                    let end = first + tokens;
                    let reason = format!("positions {first}..{end} of {} rows", row.rows);
                    refuse(node, &reason)
                })?;
                let home = Home {
                    source: Source::Positions,
                    offset: 0,
                    stride: tokens,
                };
                let positions = self.program.value(&node.shape[..2], home);
                let table = Table::from(&Tensor::from_f32(&[rows.len()], rows));
                (Work::Gather { table }, vec![positions])
            }
        };
        Ok(Place::Value(self.step(node, work, &inputs)))
    }
}

/// A factor and an addend for each channel.
fn scaled(factor: Vec<f32>, addend: Vec<f32>) -> Work {
    Work::Scale(Scale {
        mean: vec![0.0; factor.len()],
        variance: vec![1.0; factor.len()],
        factor,
        addend,
        activation: Activation::Identity,
    })
}
