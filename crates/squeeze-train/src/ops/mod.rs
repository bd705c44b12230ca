//! One file an operator family: forward, and backward with the gradients of inputs and weights.

pub(crate) mod attention;
pub(crate) mod class_token;
pub(crate) mod conv2d;
pub(crate) mod embedding;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod pointwise;
pub(crate) mod pool;
pub(crate) mod rearrange;
pub(crate) mod resize;
pub(crate) mod slot;

use std::ops::Range;
use std::sync::Arc;

use squeeze_graph::{Op, Shape, ops::Activation};
use squeeze_kernels::activation::{self, Activation as Function};
use squeeze_tensor::Seed;

use crate::backward::Sink;
use crate::engine::{Mode, Work};
use crate::pool::Buffer;
use crate::tape::{Kept, Value};
use crate::{Network, Parameters, TrainError};

/// One node at work: its operator, what was fused into it, and the shapes of this batch.
pub(crate) struct Call<'a> {
    /// Name of the node.
    pub(crate) name: &'a str,
    /// The operator; when an activation was fused to it, that before the activation.
    pub(crate) op: &'a Op,
    /// The activation that follows.
    pub(crate) activation: Function,
    /// Shapes of the inputs.
    pub(crate) inputs: Vec<&'a [usize]>,
    /// Shape of the output.
    pub(crate) shape: &'a [usize],
    /// The operator's weights.
    pub(crate) places: &'a [Range<usize>],
    /// Threads, buffers and mode.
    pub(crate) work: Work<'a>,
    prefix: &'a str,
}

/// What backward reads of a forward pass.
pub(crate) struct Saved {
    pub(crate) inputs: Vec<Option<Value>>,
    pub(crate) output: Option<Value>,
    pub(crate) kept: Kept,
}

/// What an operator's backward reads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keeps {
    pub(crate) input: bool,
    pub(crate) output: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        network: &'a Network,
        at: usize,
        shapes: &'a [Shape],
        work: Work<'a>,
    ) -> Self {
        let node = &network.graph.nodes()[at];
        let (main, activation) = match (&node.op, network.absorbs[at]) {
            (Op::Activation(outer), Some(inner)) => (inner, function(outer.kind)),
            _ => (at, Function::Identity),
        };
        Self {
            name: &node.name,
            op: &network.graph.nodes()[main].op,
            activation,
            inputs: network.inputs[at]
                .iter()
                .map(|id| &shapes[id.0][..])
                .collect(),
            shape: &shapes[at],
            places: &network.places[main],
            work,
            prefix: &network.prefix,
        }
    }

    /// The seed of this node in this step.
    pub(crate) fn seed(&self) -> Option<Seed> {
        match self.work.mode {
            Mode::Train(seed) => Some(seed.child(self.prefix).child(self.name)),
            Mode::Eval => None,
        }
    }

    /// Whether backward will come.
    pub(crate) fn trains(&self) -> bool {
        matches!(self.work.mode, Mode::Train(_))
    }

    /// A buffer for the output.
    pub(crate) fn output(&self) -> Buffer {
        self.work.pool.take(self.shape.iter().product())
    }

    /// The elements of a weight.
    pub(crate) fn weight<'p>(&self, parameters: &'p Parameters, index: usize) -> Option<&'p [f32]> {
        Some(&parameters.values[self.places.get(index)?.clone()])
    }

    /// A buffer like input `index`.
    pub(crate) fn like_input(&self, index: usize) -> Buffer {
        self.work.pool.take(self.inputs[index].iter().product())
    }
}

impl Saved {
    pub(crate) fn input(&self, index: usize) -> &[f32] {
        let value = self.inputs[index].as_ref();
        value.expect("kept, as `keeps` says").numbers()
    }

    pub(crate) fn output(&self) -> &[f32] {
        self.output
            .as_ref()
            .expect("kept, as `keeps` says")
            .numbers()
    }
}

/// The gradient before a fused activation, whose slope follows from its output.
pub(crate) fn before_activation(call: &Call, saved: &Saved, dy: Arc<Buffer>) -> Arc<Buffer> {
    if call.activation == Function::Identity {
        return dy;
    }
    let mut d = own(call.work, dy);
    activation::backward_from_output(call.work.cpu, call.activation, saved.output(), &mut d);
    Arc::new(d)
}

/// The buffer of a gradient, to be changed; a copy when others read it.
pub(crate) fn own(work: Work, gradient: Arc<Buffer>) -> Buffer {
    Arc::try_unwrap(gradient).unwrap_or_else(|shared| work.pool.copy(&shared))
}

/// Height times width of an image, tokens of a text, 1 of a vector: rows of channels an example has.
pub(crate) fn rows_each(shape: &[usize]) -> usize {
    match shape {
        [_, _, h, w] => h * w,
        [_, s, _] => *s,
        _ => 1,
    }
}

/// The channels of a shape.
pub(crate) fn channels(shape: &[usize]) -> usize {
    shape[squeeze_graph::channel_axis(shape)]
}

/// The sizes of an image.
pub(crate) fn image(shape: &[usize]) -> [usize; 4] {
    <[usize; 4]>::try_from(shape).expect("the graph checked that this is an image")
}

/// The kernel of an activation.
pub(crate) fn function(kind: Activation) -> Function {
    match kind {
        Activation::Relu => Function::Relu,
        Activation::Relu6 => Function::Relu6,
        Activation::Gelu => Function::Gelu,
        Activation::GeluTanh => Function::GeluTanh,
        Activation::Silu => Function::Silu,
        Activation::HardSwish => Function::HardSwish,
        Activation::HardSigmoid => Function::HardSigmoid,
        Activation::Sigmoid => Function::Sigmoid,
        Activation::Tanh => Function::Tanh,
    }
}

/// Whether an activation can be computed with the operator before it and undone from the output
/// alone, or from what the operator keeps anyway.
pub(crate) fn fuses(before: &Op, kind: Activation) -> bool {
    match before {
        Op::BatchNorm(_) => true,
        Op::Conv2d(_) | Op::Conv1d(_) | Op::Linear(_) => function(kind).output_suffices(),
        _ => false,
    }
}

/// What backward of an operator reads; `activation` is what was fused to it.
pub(crate) fn keeps(op: &Op, activation: Option<Activation>) -> Keeps {
    let (input, output) = match op {
        Op::Conv2d(_) | Op::Conv1d(_) | Op::Linear(_) => (true, activation.is_some()),
        Op::BatchNorm(_) | Op::NoNorm(_) | Op::Attention(_) | Op::Mul(_) | Op::Slot(_) => {
            (true, false)
        }
        Op::Embedding(_) => (true, false),
        // With a residual it keeps the sum instead; the node then has two inputs.
        Op::LayerNorm(_) => (true, false),
        Op::Activation(op) => {
            let output = function(op.kind).output_suffices();
            (!output, output)
        }
        Op::Softmax(_) => (false, true),
        Op::Input(_)
        | Op::Pool(_)
        | Op::GlobalAverage(_)
        | Op::TokenMax(_)
        | Op::TokenMean(_)
        | Op::Add(_)
        | Op::Scale(_)
        | Op::Concat(_)
        | Op::Position(_)
        | Op::ClassToken(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::ChannelShuffle(_)
        | Op::Slice(_)
        | Op::Select(_)
        | Op::Resize(_)
        | Op::Dropout(_) => (false, false),
    };
    Keeps { input, output }
}

/// Runs one node.
pub(crate) fn forward(
    call: &Call,
    inputs: Vec<Value>,
    parameters: &mut Parameters,
) -> Result<(Value, Kept), TrainError> {
    let plain = |value: Value| (value, Kept::Nothing);
    Ok(match call.op {
        Op::Input(_) | Op::Slot(_) => unreachable!("the walk handles inputs and slots"),
        Op::Conv2d(op) => plain(conv2d::forward(op, call, &inputs[0], parameters)),
        Op::Conv1d(op) => plain(conv2d::forward_1d(op, call, &inputs, parameters)),
        Op::Linear(op) => plain(linear::forward(op, call, &inputs[0], parameters)),
        Op::BatchNorm(op) => norm::batch_forward(op, call, &inputs[0], parameters),
        Op::NoNorm(_) => norm::scale_forward(call, &inputs[0], parameters),
        Op::LayerNorm(op) => norm::layer_forward(op, call, &inputs, parameters),
        Op::Activation(op) => plain(pointwise::activation_forward(op, call, inputs)),
        Op::Softmax(_) => plain(pointwise::softmax_forward(call, &inputs[0])),
        Op::Dropout(op) => plain(pointwise::dropout_forward(op, call, inputs)),
        Op::Add(_) => plain(pointwise::add_forward(call, inputs)),
        Op::Mul(_) => plain(pointwise::mul_forward(call, &inputs)),
        Op::Scale(op) => plain(pointwise::scale_forward(op, call, inputs)),
        Op::Pool(op) => pool::forward(op, call, &inputs[0]),
        Op::GlobalAverage(_) => pool::mean_forward(call, &inputs),
        Op::TokenMax(_) => pool::largest_forward(call, &inputs),
        Op::TokenMean(_) => pool::mean_forward(call, &inputs),
        Op::Concat(op) => plain(rearrange::concat_forward(op, call, &inputs)),
        Op::Embedding(op) => plain(embedding::forward(op, call, &inputs[0], parameters)?),
        Op::Position(op) => plain(embedding::positions(op, call)),
        Op::ClassToken(_) => plain(class_token::forward(call, &inputs[0], parameters)),
        Op::Attention(op) => attention::forward(op, call, &inputs)?,
        Op::Reshape(_) => plain(rearrange::reshape_forward(call, inputs)),
        Op::Transpose(op) => plain(rearrange::transpose_forward(op, call, &inputs[0])),
        Op::ChannelShuffle(op) => plain(rearrange::shuffle_forward(op, call, &inputs[0])),
        Op::Slice(op) => {
            let part = rearrange::Part::slice(op);
            plain(rearrange::part_forward(part, call, &inputs[0]))
        }
        Op::Select(op) => {
            let part = rearrange::Part::select(op);
            plain(rearrange::part_forward(part, call, &inputs[0]))
        }
        Op::Resize(op) => plain(resize::forward(op, call, &inputs[0])),
    })
}

/// Runs one node backward.
pub(crate) fn backward(
    call: &Call,
    saved: Saved,
    dy: Arc<Buffer>,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    match call.op {
        Op::Input(_) | Op::Slot(_) => unreachable!("the walk handles inputs and slots"),
        Op::Conv2d(op) => conv2d::backward(op, call, &saved, dy, sink, parameters),
        Op::Conv1d(op) => conv2d::backward_1d(op, call, &saved, dy, sink, parameters),
        Op::Linear(op) => linear::backward(op, call, &saved, dy, sink, parameters),
        Op::BatchNorm(op) => norm::batch_backward(op, call, &saved, &dy, sink, parameters),
        Op::NoNorm(_) => norm::scale_backward(call, &saved, &dy, sink, parameters),
        Op::LayerNorm(op) => norm::layer_backward(op, call, &saved, &dy, sink, parameters),
        Op::Activation(op) => pointwise::activation_backward(op, call, &saved, dy, sink),
        Op::Softmax(_) => pointwise::softmax_backward(call, &saved, &dy, sink),
        Op::Dropout(op) => pointwise::dropout_backward(op, call, dy, sink),
        Op::Add(_) => pointwise::add_backward(call, dy, sink),
        Op::Mul(_) => pointwise::mul_backward(call, &saved, &dy, sink),
        Op::Scale(op) => pointwise::scale_backward(op, call, dy, sink),
        Op::Pool(op) => pool::backward(op, call, &saved, &dy, sink),
        Op::TokenMax(_) => pool::largest_backward(call, &saved, &dy, sink),
        Op::GlobalAverage(_) | Op::TokenMean(_) => pool::mean_backward(call, &saved, &dy, sink),
        Op::Concat(op) => rearrange::concat_backward(op, call, &dy, sink),
        Op::Embedding(op) => embedding::backward(op, call, &saved, &dy, parameters),
        Op::Position(_) => unreachable!("positions have no gradient"),
        Op::ClassToken(_) => class_token::backward(call, &dy, sink, parameters),
        Op::Attention(op) => attention::backward(op, call, &saved, &dy, sink),
        Op::Reshape(_) => rearrange::reshape_backward(call, dy, sink),
        Op::Transpose(op) => rearrange::transpose_backward(op, call, &dy, sink),
        Op::ChannelShuffle(op) => rearrange::shuffle_backward(op, call, &dy, sink),
        Op::Slice(op) => rearrange::part_backward(rearrange::Part::slice(op), call, &dy, sink),
        Op::Select(op) => rearrange::part_backward(rearrange::Part::select(op), call, &dy, sink),
        Op::Resize(op) => resize::backward(op, call, &dy, sink),
    }
}
