//! Class tokens: learned rows copied in front of each text forward, their gradients added up over the texts backward.

use std::sync::Arc;

use squeeze_kernels::activation::Activation;
use squeeze_kernels::elementwise::{self, Block};

use super::Call;
use crate::Parameters;
use crate::backward::Sink;
use crate::pool::Buffer;
use crate::tape::Value;

pub(crate) fn forward(call: &Call, x: &Value, parameters: &Parameters) -> Value {
    let rows = call.weight(parameters, 0).expect("class tokens have rows");
    let mut y = call.output();
    let text = text(call);
    for text in y.chunks_mut(text.to_stride) {
        text[..rows.len()].copy_from_slice(rows);
    }
    elementwise::copy_block(call.work.cpu, &text, x.numbers(), &mut y[rows.len()..]);
    y.into()
}

pub(crate) fn backward(call: &Call, dy: &Buffer, sink: &mut Sink, parameters: &mut Parameters) {
    let text = text(call);
    let drows = &mut parameters.gradients[call.places[0].clone()];
    for dy in dy.chunks(text.to_stride) {
        let dy = &dy[..drows.len()];
        elementwise::add_in_place(call.work.cpu, dy, Activation::Identity, drows);
    }
    if sink.wants(0) {
        let back = Block {
            from_stride: text.to_stride,
            to_stride: text.from_stride,
            ..text
        };
        let mut dx = call.like_input(0);
        let start = call.places[0].len();
        elementwise::copy_block(call.work.cpu, &back, &dy[start..], &mut dx);
        sink.give(0, Arc::new(dx));
    }
}

/// The tokens of the texts, from where they come to where they stand behind their class tokens.
fn text(call: &Call) -> Block {
    let each = |shape: &[usize]| shape[1] * shape[2];
    let columns = each(call.inputs[0]);
    Block {
        rows: call.shape[0],
        columns,
        from_stride: columns,
        to_stride: each(call.shape),
    }
}
