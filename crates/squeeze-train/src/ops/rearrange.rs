//! Operators that move elements: the graph's axes are translated to the order in memory.

use std::sync::Arc;

use squeeze_graph::ops::{ChannelShuffle, Concat, Select, Slice, Transpose};
use squeeze_kernels::elementwise::{self, Block, Shuffle, Transpose as Matrices};

use super::{Call, channels};
use crate::backward::Sink;
use crate::pool::Buffer;
use crate::tape::Value;

/// The order in memory of a shape's axes: images are channels-last.
fn memory_axes(rank: usize) -> Vec<usize> {
    if rank == 4 {
        vec![0, 2, 3, 1]
    } else {
        (0..rank).collect()
    }
}

/// Elements before, along and after an axis in memory.
fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    let order = memory_axes(shape.len());
    let at = order
        .iter()
        .position(|&a| a == axis)
        .expect("an axis of the shape");
    let product = |axes: &[usize]| axes.iter().map(|&a| shape[a]).product::<usize>();
    [
        product(&order[..at]),
        shape[axis],
        product(&order[at + 1..]),
    ]
}

pub(crate) fn concat_forward(op: &Concat, call: &Call, inputs: &[Value]) -> Value {
    let [outer, whole, inner] = around(call.shape, op.axis);
    let mut y = call.output();
    let mut at = 0;
    for (index, x) in inputs.iter().enumerate() {
        let columns = call.inputs[index][op.axis] * inner;
        let block = Block {
            rows: outer,
            columns,
            from_stride: columns,
            to_stride: whole * inner,
        };
        elementwise::copy_block(call.work.cpu, &block, x.numbers(), &mut y[at..]);
        at += columns;
    }
    y.into()
}

pub(crate) fn concat_backward(op: &Concat, call: &Call, dy: &Buffer, sink: &mut Sink) {
    let [outer, whole, inner] = around(call.shape, op.axis);
    let mut at = 0;
    for index in 0..call.inputs.len() {
        let columns = call.inputs[index][op.axis] * inner;
        if sink.wants(index) {
            let block = Block {
                rows: outer,
                columns,
                from_stride: whole * inner,
                to_stride: columns,
            };
            let mut dx = call.like_input(index);
            elementwise::copy_block(call.work.cpu, &block, &dy[at..], &mut dx);
            sink.give(index, Arc::new(dx));
        }
        at += columns;
    }
}

/// A range of an axis.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    axis: usize,
    start: usize,
    len: usize,
}

impl Part {
    pub(crate) fn slice(op: &Slice) -> Self {
        Self {
            axis: op.axis,
            start: op.start,
            len: op.end - op.start,
        }
    }

    pub(crate) fn select(op: &Select) -> Self {
        Self {
            axis: op.axis,
            start: op.index,
            len: 1,
        }
    }
}

/// Copies a range. An image that loses an axis leaves the channels-last order for that of a text.
pub(crate) fn part_forward(part: Part, call: &Call, x: &Value) -> Value {
    let mut y = call.output();
    let ((block, start), x) = (part_block(part, call), x.numbers());
    if loses_image(call) {
        let mut kept = call.work.pool.take(y.len());
        elementwise::copy_block(call.work.cpu, &block, &x[start..], &mut kept);
        let narrow = part_shape(part, call);
        return reordered(call, &narrow, Order::ToPlain, &kept).into();
    }
    elementwise::copy_block(call.work.cpu, &block, &x[start..], &mut y);
    y.into()
}

pub(crate) fn part_backward(part: Part, call: &Call, dy: &Buffer, sink: &mut Sink) {
    let (block, start) = part_block(part, call);
    let back = Block {
        from_stride: block.to_stride,
        to_stride: block.from_stride,
        ..block
    };
    let mut dx = call.like_input(0);
    dx.fill(0.0);
    if loses_image(call) {
        let narrow = part_shape(part, call);
        let last = reordered(call, &narrow, Order::ToMemory, dy);
        elementwise::copy_block(call.work.cpu, &back, &last, &mut dx[start..]);
    } else {
        elementwise::copy_block(call.work.cpu, &back, dy, &mut dx[start..]);
    }
    sink.give(0, Arc::new(dx));
}

fn loses_image(call: &Call) -> bool {
    call.inputs[0].len() == 4 && call.shape.len() != 4
}

fn part_shape(part: Part, call: &Call) -> Vec<usize> {
    let mut shape = call.inputs[0].to_vec();
    shape[part.axis] = part.len;
    shape
}

fn part_block(part: Part, call: &Call) -> (Block, usize) {
    let [outer, whole, inner] = around(call.inputs[0], part.axis);
    let columns = part.len * inner;
    let block = Block {
        rows: outer,
        columns,
        from_stride: whole * inner,
        to_stride: columns,
    };
    (block, part.start * inner)
}

/// Which way between memory order and the graph's order of axes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    ToPlain,
    ToMemory,
}

/// Elements of `shape` in the other order; only images have two.
fn reordered(call: &Call, shape: &[usize], order: Order, x: &[f32]) -> Buffer {
    let &[n, c, h, w] = shape else {
        return call.work.pool.copy(x);
    };
    if c == 1 || h * w == 1 {
        return call.work.pool.copy(x);
    }
    let (rows, columns) = match order {
        Order::ToPlain => (h * w, c),
        Order::ToMemory => (c, h * w),
    };
    let mut y = call.work.pool.take(x.len());
    elementwise::transpose(call.work.cpu, Matrices { n, rows, columns }, x, &mut y);
    y
}

/// Whether memory order and the graph's order of axes are one for both shapes.
fn is_plain(shape: &[usize]) -> bool {
    match shape {
        [_, c, h, w] => *c == 1 || h * w == 1,
        _ => true,
    }
}

pub(crate) fn reshape_forward(call: &Call, mut inputs: Vec<Value>) -> Value {
    let x = inputs.swap_remove(0);
    if is_plain(call.inputs[0]) && is_plain(call.shape) {
        return x;
    }
    let plain = reordered(call, call.inputs[0], Order::ToPlain, x.numbers());
    reordered(call, call.shape, Order::ToMemory, &plain).into()
}

pub(crate) fn reshape_backward(call: &Call, dy: Arc<Buffer>, sink: &mut Sink) {
    if is_plain(call.inputs[0]) && is_plain(call.shape) {
        return sink.give(0, dy);
    }
    let plain = reordered(call, call.shape, Order::ToPlain, &dy);
    let dx = reordered(call, call.inputs[0], Order::ToMemory, &plain);
    sink.give(0, Arc::new(dx));
}

pub(crate) fn transpose_forward(op: &Transpose, call: &Call, x: &Value) -> Value {
    let mut y = call.output();
    permute(call.inputs[0], &op.order, x.numbers(), &mut y);
    y.into()
}

pub(crate) fn transpose_backward(op: &Transpose, call: &Call, dy: &Buffer, sink: &mut Sink) {
    let mut inverse = vec![0; op.order.len()];
    op.order
        .iter()
        .enumerate()
        .for_each(|(to, &from)| inverse[from] = to);
    let mut dx = call.like_input(0);
    permute(call.shape, &inverse, dy, &mut dx);
    sink.give(0, Arc::new(dx));
}

/// `y` is `x` of `shape` with axis `order[i]` as axis `i`, both in memory order.
fn permute(shape: &[usize], order: &[usize], x: &[f32], y: &mut [f32]) {
    let rank = shape.len();
    let memory = memory_axes(rank);
    let mut strides = vec![0; rank];
    let mut stride = 1;
    for &axis in memory.iter().rev() {
        strides[axis] = stride;
        stride *= shape[axis];
    }
    // For each axis of `y` in memory order: its size, and how far apart its elements are in `x`.
    let walk: Vec<_> = memory
        .iter()
        .map(|&to| (shape[order[to]], strides[order[to]]))
        .collect();
    let mut index = vec![0; rank];
    let mut from = 0;
    for y in y {
        *y = x[from];
        for axis in (0..rank).rev() {
            index[axis] += 1;
            from += walk[axis].1;
            if index[axis] < walk[axis].0 {
                break;
            }
            from -= index[axis] * walk[axis].1;
            index[axis] = 0;
        }
    }
}

pub(crate) fn shuffle_forward(op: &ChannelShuffle, call: &Call, x: &Value) -> Value {
    let mut y = call.output();
    elementwise::shuffle(call.work.cpu, shuffle(op, call), x.numbers(), &mut y);
    y.into()
}

pub(crate) fn shuffle_backward(op: &ChannelShuffle, call: &Call, dy: &Buffer, sink: &mut Sink) {
    let mut dx = call.like_input(0);
    elementwise::shuffle(call.work.cpu, shuffle(op, call).inverse(), dy, &mut dx);
    sink.give(0, Arc::new(dx));
}

fn shuffle(op: &ChannelShuffle, call: &Call) -> Shuffle {
    Shuffle {
        c: channels(call.shape),
        groups: op.groups,
    }
}
