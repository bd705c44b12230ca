//! Attention: the probabilities are kept for backward.

use std::sync::Arc;

use squeeze_graph::ops::Attention;
use squeeze_kernels::attention::{
    self, Attention as Geometry, AttentionOut, AttentionSaved, Qkv, QkvGrads, Sight,
};
use squeeze_kernels::elementwise::Dropout;

use super::{Call, Saved};
use crate::TrainError;
use crate::backward::Sink;
use crate::pool::Buffer;
use crate::tape::{Kept, Value};

pub(crate) fn forward(
    op: &Attention,
    call: &Call,
    inputs: &[Value],
) -> Result<(Value, Kept), TrainError> {
    if call.inputs[1] != call.inputs[2] {
        return Err(TrainError::Input {
            index: 2,
            network: call.name.into(),
            reason: format!(
                "key {:?} and value {:?} differ, but only those of one shape can be trained",
                call.inputs[1], call.inputs[2]
            ),
        });
    }
    let lengths = inputs.get(3).map(|lengths| lengths.lengths());
    let geometry = geometry(op, call, lengths.as_deref());
    let [q, k, v] = [&inputs[0], &inputs[1], &inputs[2]].map(Value::numbers);
    let qkv = Qkv::separate(&geometry, q, k, v);
    let cpu = call.work.cpu;
    let mut y = call.output();
    let mut scratch = call
        .work
        .pool
        .take(geometry.forward_scratch(cpu.threads.count()));
    if !call.trains() {
        attention::forward(cpu, &geometry, qkv, &mut y, &mut scratch);
        return Ok((y.into(), Kept::Nothing));
    }
    let mut probabilities = call.work.pool.take(geometry.probabilities());
    let out = AttentionOut {
        y: &mut y,
        probabilities: &mut probabilities,
        scratch: &mut scratch,
    };
    attention::forward_train(cpu, &geometry, qkv, Dropout::NONE, out);
    let lengths = lengths.unwrap_or_default();
    Ok((y.into(), Kept::Lengths(lengths, vec![probabilities])))
}

pub(crate) fn backward(op: &Attention, call: &Call, saved: &Saved, dy: &Buffer, sink: &mut Sink) {
    let Kept::Lengths(lengths, kept) = &saved.kept else {
        unreachable!("forward keeps lengths and probabilities");
    };
    let lengths = (!lengths.is_empty()).then_some(&lengths[..]);
    let geometry = geometry(op, call, lengths);
    let mut gradients = [0, 1, 2].map(|index| call.like_input(index));
    let cpu = call.work.cpu;
    let mut scratch = call
        .work
        .pool
        .take(geometry.backward_scratch(cpu.threads.count()));
    let read = AttentionSaved {
        qkv: Qkv::separate(&geometry, saved.input(0), saved.input(1), saved.input(2)),
        probabilities: &kept[0],
        dropout: Dropout::NONE,
    };
    let [dq, dk, dv] = &mut gradients;
    let grads = QkvGrads::Separate([dq, dk, dv]);
    attention::backward(cpu, &geometry, read, dy, grads, &mut scratch);
    for (index, gradient) in gradients.into_iter().enumerate() {
        sink.give(index, Arc::new(gradient));
    }
}

fn geometry<'a>(op: &Attention, call: &Call, lengths: Option<&'a [usize]>) -> Geometry<'a> {
    let &[n, tokens, channels] = call.inputs[0] else {
        unreachable!("the graph checked that this is text");
    };
    let dim = channels / op.heads;
    Geometry {
        n,
        tokens,
        sight: Sight::of(op.causal, tokens, call.inputs[1][1]),
        starts: None,
        heads: op.heads,
        dim,
        scale: 1.0 / (dim as f32).sqrt(),
        lengths,
        additive: None,
    }
}
