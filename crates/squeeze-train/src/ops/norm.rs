//! Batch norm with a fused activation, layer norm with a fused residual, and scales without a norm.

use std::sync::Arc;

use squeeze_graph::ops::{BatchNorm, LayerNorm};
use squeeze_kernels::norm::batch::{self, BatchNorm as BatchGeometry};
use squeeze_kernels::norm::layer::{self, LayerNorm as LayerGeometry};
use squeeze_kernels::norm::{
    Affine, BatchNormGrads, BatchNormOut, BatchNormSaved, LayerNormGrads, LayerNormOut,
    LayerNormSaved, Running,
};

use super::{Call, Saved, channels};
use crate::Parameters;
use crate::backward::Sink;
use crate::pool::Buffer;
use crate::tape::{Kept, Value};

pub(crate) fn batch_forward(
    op: &BatchNorm,
    call: &Call,
    x: &Value,
    parameters: &mut Parameters,
) -> (Value, Kept) {
    let geometry = batch_geometry(op, call);
    let mut y = call.output();
    let Parameters {
        values, statistics, ..
    } = parameters;
    let affine = Affine {
        gamma: &values[call.places[0].clone()],
        beta: &values[call.places[1].clone()],
    };
    let ranges = [call.places[2].clone(), call.places[3].clone()];
    let [mean, variance] = disjoint(statistics, ranges);
    let cpu = call.work.cpu;
    if !call.trains() {
        batch::forward_eval(
            cpu,
            &geometry,
            x.numbers(),
            affine,
            (mean, variance),
            &mut y,
        );
        return (y.into(), Kept::Nothing);
    }
    let rows = y.len() / geometry.channels;
    let mut stats = call.work.pool.take(2 * geometry.channels);
    let mut scratch = call.work.pool.take(geometry.scratch(rows));
    let out = BatchNormOut {
        y: &mut y,
        stats: &mut stats,
        scratch: &mut scratch,
    };
    let running = Running { mean, variance };
    batch::forward_train(cpu, &geometry, x.numbers(), affine, running, out);
    (y.into(), Kept::Floats(vec![stats]))
}

pub(crate) fn batch_backward(
    op: &BatchNorm,
    call: &Call,
    saved: &Saved,
    dy: &Buffer,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    let Kept::Floats(kept) = &saved.kept else {
        unreachable!("forward keeps the batch's statistics");
    };
    let geometry = batch_geometry(op, call);
    let dx = gradients((&geometry, call, saved), (&kept[0], false), dy, parameters);
    sink.give(0, Arc::new(dx));
}

/// The gradient of the input of rows scaled by these statistics; those of factors and addends are added to.
fn gradients(
    (geometry, call, saved): (&BatchGeometry, &Call, &Saved),
    (stats, fixed): (&[f32], bool),
    dy: &Buffer,
    parameters: &mut Parameters,
) -> Buffer {
    let mut dx = call.like_input(0);
    let rows = dx.len() / geometry.channels;
    let mut scratch = call.work.pool.take(geometry.scratch(rows));
    let Parameters {
        values, gradients, ..
    } = parameters;
    let ranges = [call.places[0].clone(), call.places[1].clone()];
    let [dgamma, dbeta] = disjoint(gradients, ranges);
    let read = BatchNormSaved {
        x: saved.input(0),
        stats,
        fixed,
        affine: Affine {
            gamma: &values[call.places[0].clone()],
            beta: &values[call.places[1].clone()],
        },
    };
    let grads = BatchNormGrads {
        dx: &mut dx,
        dgamma,
        dbeta,
    };
    batch::backward(call.work.cpu, geometry, read, dy, grads, &mut scratch);
    dx
}

/// A scale without a norm is a batch norm whose mean is always 0 and whose deviation is always 1.
pub(crate) fn scale_forward(call: &Call, x: &Value, parameters: &Parameters) -> (Value, Kept) {
    let geometry = scale_geometry(call);
    let affine = Affine {
        gamma: &parameters.values[call.places[0].clone()],
        beta: &parameters.values[call.places[1].clone()],
    };
    let (zeros, ones) = (vec![0.0; geometry.channels], vec![1.0; geometry.channels]);
    let mut y = call.output();
    let cpu = call.work.cpu;
    batch::forward_eval(cpu, &geometry, x.numbers(), affine, (&zeros, &ones), &mut y);
    (y.into(), Kept::Nothing)
}

pub(crate) fn scale_backward(
    call: &Call,
    saved: &Saved,
    dy: &Buffer,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    let geometry = scale_geometry(call);
    let c = geometry.channels;
    let stats: Vec<f32> = (0..2 * c)
        .map(|at| if at < c { 0.0 } else { 1.0 })
        .collect();
    let dx = gradients((&geometry, call, saved), (&stats, true), dy, parameters);
    sink.give(0, Arc::new(dx));
}

fn scale_geometry(call: &Call) -> BatchGeometry {
    BatchGeometry {
        channels: channels(call.shape),
        eps: 0.0,
        momentum: 0.0,
        activation: call.activation,
    }
}

pub(crate) fn layer_forward(
    op: &LayerNorm,
    call: &Call,
    inputs: &[Value],
    parameters: &Parameters,
) -> (Value, Kept) {
    let geometry = layer_geometry(op, call);
    let cpu = call.work.cpu;
    let affine = Affine {
        gamma: &parameters.values[call.places[0].clone()],
        beta: &parameters.values[call.places[1].clone()],
    };
    let x = inputs[0].numbers();
    let residual = inputs.get(1).map(Value::numbers);
    let mut y = call.output();
    if !call.trains() {
        layer::forward(cpu, &geometry, Some(x), residual, affine, &mut y);
        return (y.into(), Kept::Nothing);
    }
    let rows = y.len() / geometry.channels;
    let mut stats = call.work.pool.take(2 * rows);
    let mut sum = call.work.pool.take(residual.map_or(0, <[f32]>::len));
    let out = LayerNormOut {
        y: &mut y,
        sum: &mut sum,
        stats: &mut stats,
    };
    layer::forward_train(cpu, &geometry, x, residual, affine, out);
    (y.into(), Kept::Floats(vec![stats, sum]))
}

pub(crate) fn layer_backward(
    op: &LayerNorm,
    call: &Call,
    saved: &Saved,
    dy: &Buffer,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    let geometry = layer_geometry(op, call);
    let Kept::Floats(kept) = &saved.kept else {
        unreachable!("forward keeps the rows' statistics");
    };
    let has_residual = call.inputs.len() == 2;
    let mut dx = call.like_input(0);
    let rows = dx.len() / geometry.channels;
    let mut scratch = call.work.pool.take(geometry.backward_scratch(rows));
    let Parameters {
        values, gradients, ..
    } = parameters;
    let ranges = [call.places[0].clone(), call.places[1].clone()];
    let [dgamma, dbeta] = disjoint(gradients, ranges);
    let read = LayerNormSaved {
        x: if has_residual {
            &kept[1]
        } else {
            saved.input(0)
        },
        stats: &kept[0],
        gamma: &values[call.places[0].clone()],
    };
    let grads = LayerNormGrads {
        dx: &mut dx,
        dgamma,
        dbeta,
    };
    layer::backward(call.work.cpu, &geometry, read, dy, grads, &mut scratch);
    let dx = Arc::new(dx);
    if has_residual {
        sink.give(1, dx.clone());
    }
    sink.give(0, dx);
}

fn batch_geometry(op: &BatchNorm, call: &Call) -> BatchGeometry {
    BatchGeometry {
        channels: channels(call.shape),
        eps: op.epsilon as f32,
        momentum: op.momentum as f32,
        activation: call.activation,
    }
}

fn layer_geometry(op: &LayerNorm, call: &Call) -> LayerGeometry {
    LayerGeometry {
        channels: channels(call.shape),
        eps: op.epsilon as f32,
    }
}

fn disjoint(buffer: &mut [f32], ranges: [std::ops::Range<usize>; 2]) -> [&mut [f32]; 2] {
    let parts = buffer.get_disjoint_mut(ranges);
    parts.expect("weights lie apart")
}
