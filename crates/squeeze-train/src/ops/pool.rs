//! Pools over windows, over whole images and over texts.

use std::sync::Arc;

use squeeze_graph::ops::{Pool, PoolKind};
use squeeze_kernels::pool::{self, Divisor, Pool as Geometry, Rounding, Rows};

use super::{Call, Saved, channels, image, rows_each};
use crate::backward::Sink;
use crate::pool::Buffer;
use crate::tape::{Kept, Value};

pub(crate) fn forward(op: &Pool, call: &Call, x: &Value) -> (Value, Kept) {
    let geometry = geometry(op, call);
    let (cpu, x) = (call.work.cpu, x.numbers());
    let mut y = call.output();
    match op.kind {
        PoolKind::Max if call.trains() => {
            let mut places = vec![0; y.len()];
            pool::max_forward_train(cpu, &geometry, x, &mut y, &mut places);
            return (y.into(), Kept::Indices(places));
        }
        PoolKind::Max => pool::max_forward(cpu, &geometry, x, &mut y),
        PoolKind::Average | PoolKind::AverageInside => {
            pool::average_forward(cpu, &geometry, x, &mut y);
        }
    }
    (y.into(), Kept::Nothing)
}

pub(crate) fn backward(op: &Pool, call: &Call, saved: &Saved, dy: &Buffer, sink: &mut Sink) {
    let geometry = geometry(op, call);
    let mut dx = call.like_input(0);
    match &saved.kept {
        Kept::Indices(places) => {
            pool::max_backward(call.work.cpu, &geometry, places, dy, &mut dx);
        }
        _ => pool::average_backward(call.work.cpu, &geometry, dy, &mut dx),
    }
    sink.give(0, Arc::new(dx));
}

fn geometry(op: &Pool, call: &Call) -> Geometry {
    let [n, c, h, w] = image(call.inputs[0]);
    Geometry {
        n,
        h,
        w,
        c,
        kernel: op.kernel,
        stride: op.stride,
        padding: op.padding,
        rounding: if op.ceil {
            Rounding::Ceil
        } else {
            Rounding::Floor
        },
        divisor: match op.kind {
            PoolKind::Max | PoolKind::Average => Divisor::WithPadding,
            PoolKind::AverageInside => Divisor::InputsOnly,
        },
    }
}

/// The mean of an image, or of the tokens inside a text's length.
pub(crate) fn mean_forward(call: &Call, inputs: &[Value]) -> (Value, Kept) {
    let lengths = inputs.get(1).map(|lengths| lengths.lengths());
    let mut y = call.output();
    let mean = rows(call, lengths.as_deref());
    let mut scratch = vec![0.0; pool::mean_scratch(mean.n, mean.c)];
    pool::mean_forward(
        call.work.cpu,
        &mean,
        inputs[0].numbers(),
        &mut y,
        &mut scratch,
    );
    (y.into(), Kept::Lengths(lengths.unwrap_or_default(), vec![]))
}

pub(crate) fn mean_backward(call: &Call, saved: &Saved, dy: &Buffer, sink: &mut Sink) {
    let Kept::Lengths(lengths, _) = &saved.kept else {
        unreachable!("forward keeps the lengths");
    };
    let mean = rows(call, (!lengths.is_empty()).then_some(&lengths[..]));
    let mut dx = call.like_input(0);
    pool::mean_backward(call.work.cpu, &mean, dy, &mut dx);
    sink.give(0, Arc::new(dx));
}

/// The largest of the tokens inside a text's length.
pub(crate) fn largest_forward(call: &Call, inputs: &[Value]) -> (Value, Kept) {
    let lengths = inputs[1].lengths();
    let rows = rows(call, Some(&lengths));
    let (cpu, x) = (call.work.cpu, inputs[0].numbers());
    let mut y = call.output();
    if !call.trains() {
        pool::largest_forward(cpu, &rows, x, &mut y);
        return (y.into(), Kept::Nothing);
    }
    let mut places = vec![0; y.len()];
    pool::largest_forward_train(cpu, &rows, x, &mut y, &mut places);
    (y.into(), Kept::Indices(places))
}

pub(crate) fn largest_backward(call: &Call, saved: &Saved, dy: &Buffer, sink: &mut Sink) {
    let Kept::Indices(places) = &saved.kept else {
        unreachable!("forward keeps the places");
    };
    let mut dx = call.like_input(0);
    pool::largest_backward(call.work.cpu, &rows(call, None), places, dy, &mut dx);
    sink.give(0, Arc::new(dx));
}

fn rows<'a>(call: &Call, lengths: Option<&'a [usize]>) -> Rows<'a> {
    Rows {
        n: call.inputs[0][0],
        rows: rows_each(call.inputs[0]),
        starts: None,
        c: channels(call.inputs[0]),
        lengths,
    }
}
