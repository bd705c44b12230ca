//! Activations, softmax, dropout, sums and products.

use std::sync::Arc;

use squeeze_graph::op::ActivationOp;
use squeeze_graph::ops::{Dropout, Scale};
use squeeze_kernels::activation::{self, Activation as Function};
use squeeze_kernels::elementwise::{self, Dropout as Mask, Gate};
use squeeze_kernels::pool::{self, Rows};
use squeeze_kernels::softmax::{self, Softmax};

use super::{Call, Saved, channels, function, own, rows_each};
use crate::backward::Sink;
use crate::pool::Buffer;
use crate::tape::Value;

pub(crate) fn activation_forward(op: &ActivationOp, call: &Call, inputs: Vec<Value>) -> Value {
    let kind = function(op.kind);
    match first(inputs).own() {
        Ok(mut x) => {
            activation::forward_in_place(call.work.cpu, kind, &mut x);
            x.into()
        }
        Err(x) => {
            let mut y = call.output();
            activation::forward(call.work.cpu, kind, x.numbers(), &mut y);
            y.into()
        }
    }
}

pub(crate) fn activation_backward(
    op: &ActivationOp,
    call: &Call,
    saved: &Saved,
    dy: Arc<Buffer>,
    sink: &mut Sink,
) {
    let kind = function(op.kind);
    let mut d = own(call.work, dy);
    if kind.output_suffices() {
        activation::backward_from_output(call.work.cpu, kind, saved.output(), &mut d);
    } else {
        activation::backward_in_place(call.work.cpu, kind, saved.input(0), &mut d);
    }
    sink.give(0, Arc::new(d));
}

pub(crate) fn softmax_forward(call: &Call, x: &Value) -> Value {
    let mut y = call.output();
    let rows = Softmax::whole(channels(call.shape));
    softmax::forward(call.work.cpu, &rows, x.numbers(), &mut y);
    y.into()
}

pub(crate) fn softmax_backward(call: &Call, saved: &Saved, dy: &Buffer, sink: &mut Sink) {
    let mut dx = call.like_input(0);
    let rows = Softmax::whole(channels(call.shape));
    softmax::backward(call.work.cpu, &rows, saved.output(), dy, &mut dx);
    sink.give(0, Arc::new(dx));
}

pub(crate) fn dropout_forward(op: &Dropout, call: &Call, inputs: Vec<Value>) -> Value {
    let x = first(inputs);
    let Some(mask) = mask(op, call) else {
        return x;
    };
    let mut y = call.output();
    elementwise::dropout(call.work.cpu, mask, x.numbers(), &mut y);
    y.into()
}

pub(crate) fn dropout_backward(op: &Dropout, call: &Call, dy: Arc<Buffer>, sink: &mut Sink) {
    let Some(mask) = mask(op, call) else {
        return sink.give(0, dy);
    };
    let mut dx = call.like_input(0);
    elementwise::dropout(call.work.cpu, mask, &dy, &mut dx);
    sink.give(0, Arc::new(dx));
}

/// The mask of this step, which follows from its seed; none in evaluation.
fn mask(op: &Dropout, call: &Call) -> Option<Mask> {
    let seed = call.seed()?.0;
    let keep = (1.0 - op.rate) as f32;
    (op.rate > 0.0).then_some(Mask { seed, keep })
}

pub(crate) fn add_forward(call: &Call, inputs: Vec<Value>) -> Value {
    let cpu = call.work.cpu;
    let mut rest = vec![];
    let mut sum: Option<Buffer> = None;
    // A buffer that nobody else reads takes the sum.
    for (index, value) in inputs.into_iter().enumerate() {
        let whole = call.inputs[index] == call.shape;
        match value.own() {
            Ok(buffer) if whole && sum.is_none() => sum = Some(buffer),
            Ok(buffer) => rest.push((index, Value::from(buffer))),
            Err(value) => rest.push((index, value)),
        }
    }
    let mut rest = rest.into_iter();
    let mut sum = sum.unwrap_or_else(|| {
        let (_, first) = rest.next().expect("the first input is whole");
        call.work.pool.copy(first.numbers())
    });
    for (index, value) in rest {
        if call.inputs[index] == call.shape {
            elementwise::add_in_place(cpu, value.numbers(), Function::Identity, &mut sum);
        } else {
            let rows = rows_each(call.shape);
            let gates = value.numbers().chunks_exact(channels(call.shape));
            for (chunk, gate) in sum.chunks_exact_mut(rows * channels(call.shape)).zip(gates) {
                elementwise::add_bias(cpu, gate, Function::Identity, chunk);
            }
        }
    }
    sum.into()
}

pub(crate) fn add_backward(call: &Call, dy: Arc<Buffer>, sink: &mut Sink) {
    for index in (0..call.inputs.len()).rev() {
        if call.inputs[index] == call.shape {
            sink.give(index, dy.clone());
        } else if sink.wants(index) {
            // The gradient of a row that was added everywhere is a sum: the mean times the rows.
            let rows = rows_each(call.shape);
            let mut gate = call.like_input(index);
            let mean = Rows {
                n: call.shape[0],
                rows,
                starts: None,
                c: channels(call.shape),
                lengths: None,
            };
            let mut scratch = vec![0.0; pool::mean_scratch(mean.n, mean.c)];
            pool::mean_forward(call.work.cpu, &mean, &dy, &mut gate, &mut scratch);
            elementwise::scale(call.work.cpu, rows as f32, &mut gate);
            sink.give(index, Arc::new(gate));
        }
    }
}

pub(crate) fn mul_forward(call: &Call, inputs: &[Value]) -> Value {
    let mut y = call.output();
    product(call, inputs[0].numbers(), inputs[1].numbers(), &mut y);
    y.into()
}

pub(crate) fn mul_backward(call: &Call, saved: &Saved, dy: &Buffer, sink: &mut Sink) {
    let cpu = call.work.cpu;
    if sink.wants(0) {
        let mut dx = call.like_input(0);
        product(call, dy, saved.input(1), &mut dx);
        sink.give(0, Arc::new(dx));
    }
    if sink.wants(1) {
        let mut gate = call.like_input(1);
        if call.inputs[1] == call.shape {
            elementwise::mul(cpu, saved.input(0), dy, &mut gate);
        } else {
            elementwise::gate_backward(cpu, gate_shape(call), saved.input(0), dy, &mut gate);
        }
        sink.give(1, Arc::new(gate));
    }
}

pub(crate) fn scale_forward(op: &Scale, call: &Call, inputs: Vec<Value>) -> Value {
    let mut y = match first(inputs).own() {
        Ok(x) => x,
        Err(x) => call.work.pool.copy(x.numbers()),
    };
    elementwise::scale(call.work.cpu, op.factor as f32, &mut y);
    y.into()
}

pub(crate) fn scale_backward(op: &Scale, call: &Call, dy: Arc<Buffer>, sink: &mut Sink) {
    let mut d = own(call.work, dy);
    elementwise::scale(call.work.cpu, op.factor as f32, &mut d);
    sink.give(0, Arc::new(d));
}

fn product(call: &Call, x: &[f32], by: &[f32], y: &mut [f32]) {
    if call.inputs[1] == call.shape {
        elementwise::mul(call.work.cpu, x, by, y);
    } else {
        elementwise::gate(call.work.cpu, gate_shape(call), x, by, y);
    }
}

fn gate_shape(call: &Call) -> Gate {
    Gate {
        rows: rows_each(call.shape),
        c: channels(call.shape),
    }
}

fn first(inputs: Vec<Value>) -> Value {
    let first = inputs.into_iter().next();
    first.expect("the graph checked that there is one input")
}
