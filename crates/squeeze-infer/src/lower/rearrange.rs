//! Operators that move elements: views where the rows stay rows, copies elsewhere.

use squeeze_graph::ops::{Select, Slice, Transpose};
use squeeze_graph::{Node, NodeId, Op, elements};
use squeeze_kernels::elementwise::Block;

use super::{Lowering, refuse};
use crate::error::CompileError;
use crate::program::{BlockCopy, Home, ValueId, Work, memory_shape};

/// Axes of the network in the order of memory: axis `i` of memory is axis `result[i]`.
fn memory_order(rank: usize) -> Vec<usize> {
    match rank {
        4 => vec![0, 2, 3, 1],
        _ => (0..rank).collect(),
    }
}

/// The axis of memory that an axis of the network is.
fn memory_axis(rank: usize, axis: usize) -> usize {
    let order = memory_order(rank);
    order
        .iter()
        .position(|&of| of == axis)
        .expect("the shape was checked")
}

impl Lowering<'_> {
    pub(super) fn concat(&mut self, node: &Node, axis: usize, inputs: &[ValueId]) -> ValueId {
        let output = self.program.fresh(&node.shape);
        let shape = memory_shape(&node.shape);
        let axis = memory_axis(shape.len(), axis);
        let outer = elements(&shape[..axis]);
        let inner = elements(&shape[axis..]);
        let mut at = 0;
        for &input in inputs {
            let part = self.program.values[input].clone();
            let columns = elements(&part.memory_shape()[axis..]);
            if axis == shape.len() - 1 || outer == 1 {
                let home = self.program.values[output].home;
                let home = Home { offset: at, ..home };
                let place = self.program.value(&part.shape, home);
                self.step_to(node, Work::Move, &[input], place);
            } else {
                let block = Block {
                    rows: outer,
                    columns,
                    from_stride: columns,
                    to_stride: inner,
                };
                let copy = BlockCopy {
                    block,
                    from: 0,
                    to: at,
                };
                self.step_to(node, Work::Block(copy), &[input], output);
            }
            at += columns;
        }
        output
    }

    pub(super) fn slice(&mut self, node: &Node, row: &Slice, x: ValueId) -> ValueId {
        let value = self.program.values[x].clone();
        let shape = value.memory_shape();
        let axis = memory_axis(shape.len(), row.axis);
        let (outer, inner) = (elements(&shape[..axis]), elements(&shape[axis + 1..]));
        if axis == shape.len() - 1 {
            let offset = value.home.offset + row.start;
            let home = Home {
                offset,
                ..value.home
            };
            return self.program.value(&node.shape, home);
        }
        // Rows of channels before the first one that stays.
        let channels = value.columns();
        let skipped = row.start * inner / channels;
        let one_row = (row.end - row.start) * inner == channels;
        if outer == 1 || one_row {
            let rows = shape[axis] * inner / channels;
            let step = if one_row && outer > 1 { rows } else { 1 };
            let home = Home {
                offset: value.home.offset + skipped * value.home.stride,
                stride: value.home.stride * step,
                ..value.home
            };
            return self.program.value(&node.shape, home);
        }
        let columns = (row.end - row.start) * inner;
        let block = Block {
            rows: outer,
            columns,
            from_stride: shape[axis] * inner,
            to_stride: columns,
        };
        let copy = BlockCopy {
            block,
            from: row.start * inner,
            to: 0,
        };
        self.step(node, Work::Block(copy), &[x])
    }

    pub(super) fn select(&mut self, node: &Node, row: &Select, x: ValueId) -> ValueId {
        let value = self.program.values[x].clone();
        let shape = value.memory_shape();
        let axis = memory_axis(shape.len(), row.axis);
        let (outer, inner) = (elements(&shape[..axis]), elements(&shape[axis + 1..]));
        if self.program.is_packed(x) && shape[0] > 1 {
            return self.step(node, Work::First, &[x]);
        }
        // Text's second axis: every so many rows.
        if shape.len() == 3 && axis == 1 {
            let home = Home {
                offset: value.home.offset + row.index * value.home.stride,
                stride: value.home.stride * shape[1],
                ..value.home
            };
            return self.program.value(&node.shape, home);
        }
        let block = Block {
            rows: outer,
            columns: inner,
            from_stride: shape[axis] * inner,
            to_stride: inner,
        };
        let copy = BlockCopy {
            block,
            from: row.index * inner,
            to: 0,
        };
        // What is left of an image's row or column is [n, w, c] in memory and [n, c, w] in the network.
        if shape.len() == 4 && axis < 3 {
            let (n, w, c) = (shape[0], shape[3 - axis], shape[3]);
            let picked = self.program.fresh(&[n, w, c]);
            self.step_to(node, Work::Block(copy), &[x], picked);
            let work = Work::Permute {
                shape: [1, n, w, c],
                order: [0, 1, 3, 2],
            };
            return self.step(node, work, &[picked]);
        }
        self.step(node, Work::Block(copy), &[x])
    }

    pub(super) fn reshape(&mut self, node: &Node, x: ValueId) -> ValueId {
        let from = self.graph.node(node.inputs[0]);
        let x = match &from.op {
            Op::Transpose(row) if self.is_view(row, node.inputs[0]) => x,
            _ => self.in_network_order(node, x, &from.shape),
        };
        if !is_image(&node.shape) {
            return self.same_numbers(node, x, &node.shape);
        }
        // From the network's order to channels-last.
        let [n, c, h, w] = [0, 1, 2, 3].map(|axis| node.shape[axis]);
        let x = self.same_numbers(node, x, &[n, c, h * w]);
        let work = Work::Permute {
            shape: [1, n, c, h * w],
            order: [0, 1, 3, 2],
        };
        self.step(node, work, &[x])
    }

    /// Whether a transpose puts channels last, as memory has them, and is read by nothing but reshapes: then its numbers are those of
    /// its input as they lie.
    pub(super) fn is_view(&self, row: &Transpose, id: NodeId) -> bool {
        let mut readers = self.graph.nodes().iter();
        row.order == [0, 2, 3, 1]
            && !self.graph.outputs().contains(&id)
            && readers.all(|node| !node.inputs.contains(&id) || matches!(node.op, Op::Reshape(_)))
    }

    /// The numbers of `x` in the network's order of axes.
    fn in_network_order(&mut self, node: &Node, x: ValueId, shape: &[usize]) -> ValueId {
        if !is_image(shape) {
            return x;
        }
        let [n, c, h, w] = [0, 1, 2, 3].map(|axis| shape[axis]);
        let flat = self.program.fresh(&[n, c, h * w]);
        let work = Work::Permute {
            shape: [1, n, h * w, c],
            order: [0, 1, 3, 2],
        };
        self.step_to(node, work, &[x], flat);
        flat
    }

    /// A dense value under another shape.
    fn same_numbers(&mut self, node: &Node, x: ValueId, shape: &[usize]) -> ValueId {
        let mut x = x;
        if !self.program.values[x].is_dense() {
            let from = self.program.values[x].shape.clone();
            let dense = self.program.fresh(&from);
            self.step_to(node, Work::Move, &[x], dense);
            x = dense;
        }
        let home = Home {
            stride: shape[squeeze_graph::channel_axis(shape)],
            ..self.program.values[x].home
        };
        self.program.value(shape, home)
    }

    pub(super) fn transpose(
        &mut self,
        node: &Node,
        order: &[usize],
        x: ValueId,
    ) -> Result<ValueId, CompileError> {
        let rank = order.len();
        let from = self.program.values[x].memory_shape();
        let Some(free) = 4usize.checked_sub(rank) else {
            return Err(refuse(node, "at most four axes can change places"));
        };
        let (mut shape, mut axes) = ([1; 4], [0, 1, 2, 3]);
        shape[free..].copy_from_slice(&from);
        for (at, axis) in memory_order(rank).into_iter().enumerate() {
            axes[free + at] = free + memory_axis(rank, order[axis]);
        }
        let work = Work::Permute { shape, order: axes };
        Ok(self.step(node, work, &[x]))
    }
}

/// Whether memory holds the axes in another order than the network.
fn is_image(shape: &[usize]) -> bool {
    matches!(*shape, [_, c, h, w] if c > 1 && h * w > 1)
}
