//! Convolutions over images, and over tokens as images of one row, with a fused activation.

use std::sync::Arc;

use squeeze_graph::ops::{Conv1d, Conv2d};
use squeeze_kernels::conv_f32::{self, Conv};
use squeeze_kernels::depthwise::{self, Depthwise, Filter, FilterGrads};
use squeeze_kernels::gemm_f32::Epilogue;

use super::{Call, Saved, before_activation, image};
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
    undo(&geometry(op, call), (call, saved), dy, sink, parameters);
}

pub(crate) fn forward_1d(op: &Conv1d, call: &Call, x: &Value, parameters: &Parameters) -> Value {
    convolve(&geometry_1d(op, call), call, x.numbers(), parameters).into()
}

pub(crate) fn backward_1d(
    op: &Conv1d,
    call: &Call,
    saved: &Saved,
    dy: Arc<Buffer>,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    undo(&geometry_1d(op, call), (call, saved), dy, sink, parameters);
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
    (call, saved): (&Call, &Saved),
    dy: Arc<Buffer>,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    let cpu = call.work.cpu;
    let dy = before_activation(call, saved, dy);
    let x = saved.input(0);
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
