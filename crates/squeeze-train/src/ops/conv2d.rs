//! Convolutions over images, and over tokens as images of one row, with a fused activation.

use std::sync::Arc;

use squeeze_graph::ops::{Conv1d, Conv2d};
use squeeze_kernels::conv_f32::{self, Conv};
use squeeze_kernels::depthwise::{self, Depthwise, Filter, FilterGrads};
use squeeze_kernels::gemm_f32::Epilogue;

use super::{Call, Saved, before_activation, image, own};
use crate::Parameters;
use crate::backward::Sink;
use crate::pool::Buffer;
use crate::tape::Value;

pub(crate) fn forward(op: &Conv2d, call: &Call, x: &Value, parameters: &Parameters) -> Value {
    convolve(&geometry(op, call), call, x.numbers(), parameters).into()
}

pub(crate) fn backward(
    op: &Conv2d,
    call: &Call,
    saved: &Saved,
    dy: Arc<Buffer>,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    let x = saved.input(0);
    undo(&geometry(op, call), (call, saved, x), dy, sink, parameters);
}

pub(crate) fn forward_1d(
    op: &Conv1d,
    call: &Call,
    inputs: &[Value],
    parameters: &Parameters,
) -> Value {
    let geometry = geometry_1d(op, call);
    let x = inputs[0].numbers();
    match inputs.get(1) {
        None => convolve(&geometry, call, x, parameters),
        Some(lengths) => {
            let mut x = call.work.pool.copy(x);
            clear_padding(&geometry, &lengths.lengths(), &mut x);
            convolve(&geometry, call, &x, parameters)
        }
    }
    .into()
}

pub(crate) fn backward_1d(
    op: &Conv1d,
    call: &Call,
    saved: &Saved,
    dy: Arc<Buffer>,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    let geometry = geometry_1d(op, call);
    let x = saved.input(0);
    let Some(Some(lengths)) = saved.inputs.get(1) else {
        return undo(&geometry, (call, saved, x), dy, sink, parameters);
    };
    let lengths = lengths.lengths();
    let mut x = call.work.pool.copy(x);
    clear_padding(&geometry, &lengths, &mut x);
    let known = sink.take(0);
    undo(&geometry, (call, saved, &x), dy, sink, parameters);
    // What the convolution does not read has no gradient from it.
    if let Some(dx) = sink.take(0) {
        let mut dx = own(call.work, dx);
        clear_padding(&geometry, &lengths, &mut dx);
        sink.give(0, Arc::new(dx));
    }
    if let Some(known) = known {
        sink.give(0, known);
    }
}

/// Makes what lies beyond the end of each text zero.
fn clear_padding(conv: &Conv, lengths: &[usize], x: &mut [f32]) {
    let texts = x.chunks_exact_mut(conv.w * conv.c);
    for (text, &length) in texts.zip(lengths) {
        text[length.min(conv.w) * conv.c..].fill(0.0);
    }
}

fn geometry(op: &Conv2d, call: &Call) -> Conv {
    let [n, c, h, w] = image(call.inputs[0]);
    Conv {
        n,
        h,
        w,
        c,
        out: op.out,
        kernel: op.kernel,
        stride: op.stride,
        dilation: op.dilation,
        padding: op.padding,
        groups: op.groups,
    }
}

fn geometry_1d(op: &Conv1d, call: &Call) -> Conv {
    let &[n, w, c] = call.inputs[0] else {
        unreachable!("the graph checked that this is text");
    };
    Conv {
        n,
        h: 1,
        w,
        c,
        out: op.out,
        kernel: [1, op.kernel],
        stride: [1; 2],
        dilation: [1, op.dilation],
        padding: [0, op.padding(), 0, op.padding()],
        groups: op.groups,
    }
}

/// The depthwise family's geometry, when each channel has its own window.
fn as_depthwise(conv: &Conv) -> Option<Depthwise> {
    (conv.groups == conv.c && conv.c == conv.out).then_some(Depthwise {
        n: conv.n,
        h: conv.h,
        w: conv.w,
        c: conv.c,
        kernel: conv.kernel,
        stride: conv.stride,
        dilation: conv.dilation,
        padding: conv.padding,
    })
}

fn convolve(conv: &Conv, call: &Call, x: &[f32], parameters: &Parameters) -> Buffer {
    let weight = call
        .weight(parameters, 0)
        .expect("a convolution has a weight");
    let bias = call.weight(parameters, 1);
    let (cpu, activation) = (call.work.cpu, call.activation);
    let mut y = call.output();
    if let Some(depthwise) = as_depthwise(conv) {
        let packed = packed(call, &depthwise, weight);
        let filter = Filter {
            weights: &packed,
            bias,
            activation,
        };
        depthwise::forward(cpu, &depthwise, x, filter, &mut y);
        return y;
    }
    let epilogue = Epilogue {
        bias,
        activation,
        ..Epilogue::default()
    };
    let scratch = &mut call.work.scratch();
    conv_f32::forward(conv, (x, weight), &epilogue, &mut y, scratch, cpu);
    y
}

fn undo(
    conv: &Conv,
    (call, saved, x): (&Call, &Saved, &[f32]),
    dy: Arc<Buffer>,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    let cpu = call.work.cpu;
    let dy = before_activation(call, saved, dy);
    if let Some(depthwise) = as_depthwise(conv) {
        return depthwise_backward(&depthwise, (call, x), &dy, sink, parameters);
    }
    let scratch = &mut call.work.scratch();
    if let Some(bias) = call.places.get(1) {
        let db = &mut parameters.gradients[bias.clone()];
        conv_f32::bias_gradient(conv, &dy, db, cpu);
    }
    let dw = &mut parameters.gradients[call.places[0].clone()];
    conv_f32::weight_gradient(conv, (&dy, x), dw, scratch, cpu);
    if sink.wants(0) {
        let (mut dx, start) = sink.target(0, x.len());
        let weight = call
            .weight(parameters, 0)
            .expect("a convolution has a weight");
        conv_f32::input_gradient(conv, (weight, &dy), &mut dx, start, scratch, cpu);
        sink.close(0, dx);
    }
}

fn packed(call: &Call, depthwise: &Depthwise, weight: &[f32]) -> Buffer {
    let mut packed = call.work.pool.take(weight.len());
    depthwise::pack(depthwise, weight, &mut packed);
    packed
}

fn depthwise_backward(
    depthwise: &Depthwise,
    (call, x): (&Call, &[f32]),
    dy: &Buffer,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    let cpu = call.work.cpu;
    let mut scratch = call.work.pool.take(depthwise.weights_scratch());
    if sink.wants(0) {
        let weight = call
            .weight(parameters, 0)
            .expect("a convolution has a weight");
        let packed = packed(call, depthwise, weight);
        let mut dx = call.like_input(0);
        depthwise::backward_input(cpu, depthwise, &packed, dy, &mut dx);
        sink.give(0, Arc::new(dx));
    }
    let gradients = &mut parameters.gradients;
    let grads = match call.places {
        [weight, bias] => {
            let parts = gradients.get_disjoint_mut([weight.clone(), bias.clone()]);
            let [weights, bias] = parts.expect("weights lie apart");
            FilterGrads {
                weights,
                bias: Some(bias),
            }
        }
        _ => FilterGrads {
            weights: &mut gradients[call.places[0].clone()],
            bias: None,
        },
    };
    depthwise::backward_weights(cpu, depthwise, x, dy, grads, &mut scratch);
}
