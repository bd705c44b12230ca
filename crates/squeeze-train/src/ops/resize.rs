//! Resizing of feature maps.

use std::sync::Arc;

use squeeze_graph::ops::{Resize, ResizeMode};
use squeeze_kernels::resize::{self, Mode, Resize as Geometry};

use super::{Call, image};
use crate::backward::Sink;
use crate::pool::Buffer;
use crate::tape::Value;

pub(crate) fn forward(op: &Resize, call: &Call, x: &Value) -> Value {
    let mut y = call.output();
    resize::forward(call.work.cpu, &geometry(op, call), x.numbers(), &mut y);
    y.into()
}

pub(crate) fn backward(op: &Resize, call: &Call, dy: &Buffer, sink: &mut Sink) {
    let mut dx = call.like_input(0);
    resize::backward(call.work.cpu, &geometry(op, call), dy, &mut dx);
    sink.give(0, Arc::new(dx));
}

fn geometry(op: &Resize, call: &Call) -> Geometry {
    let [n, c, h, w] = image(call.inputs[0]);
    let [_, _, height, width] = image(call.shape);
    Geometry {
        n,
        h,
        w,
        c,
        out: [height, width],
        mode: match op.mode {
            ResizeMode::Nearest => Mode::Nearest,
            ResizeMode::Bilinear => Mode::Bilinear,
            ResizeMode::BilinearCorners => Mode::BilinearCorners,
        },
    }
}
