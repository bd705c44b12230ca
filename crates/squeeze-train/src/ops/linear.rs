//! Fully connected layers, dense or grouped, with a fused activation.

use std::sync::Arc;

use squeeze_graph::ops::Linear;
use squeeze_kernels::gemm_f32::{self, Epilogue, Geometry};

use super::{Call, Saved, before_activation};
use crate::Parameters;
use crate::backward::Sink;
use crate::pool::Buffer;
use crate::tape::Value;

pub(crate) fn forward(op: &Linear, call: &Call, x: &Value, parameters: &Parameters) -> Value {
    let geometry = geometry(op, call);
    let weight = call
        .weight(parameters, 0)
        .expect("a linear layer has a weight");
    let epilogue = Epilogue {
        bias: call.weight(parameters, 1),
        activation: call.activation,
        ..Epilogue::default()
    };
    let mut y = call.output();
    let scratch = &mut call.work.scratch();
    let operands = (x.numbers(), weight);
    gemm_f32::forward(
        &geometry,
        operands,
        &epilogue,
        &mut y,
        scratch,
        call.work.cpu,
    );
    y.into()
}

pub(crate) fn backward(
    op: &Linear,
    call: &Call,
    saved: &Saved,
    dy: Arc<Buffer>,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    let geometry = geometry(op, call);
    let cpu = call.work.cpu;
    let dy = before_activation(call, saved, dy);
    let scratch = &mut call.work.scratch();
    let dw = &mut parameters.gradients[call.places[0].clone()];
    gemm_f32::weight_gradient(&geometry, (&dy, saved.input(0)), dw, scratch, cpu);
    if let Some(bias) = call.places.get(1) {
        let db = &mut parameters.gradients[bias.clone()];
        gemm_f32::bias_gradient(&geometry, &dy, db, cpu);
    }
    if sink.wants(0) {
        let (mut dx, start) = sink.target(0, saved.input(0).len());
        let weight = call
            .weight(parameters, 0)
            .expect("a linear layer has a weight");
        gemm_f32::input_gradient(&geometry, (weight, &dy), &mut dx, start, scratch, cpu);
        sink.close(0, dx);
    }
}

fn geometry(op: &Linear, call: &Call) -> Geometry {
    let (inputs, outputs) = (call.inputs[0], call.shape);
    let rows = outputs[..outputs.len() - 1].iter().product();
    let (n, k) = (op.out / op.groups, inputs[inputs.len() - 1] / op.groups);
    Geometry::grouped(rows, n, k, op.groups)
}
