//! Embeddings: rows gathered forward, added up backward; and token positions.

use std::sync::Arc;

use squeeze_graph::ops::{Embedding, Position};
use squeeze_kernels::{Weight, embedding};

use super::{Call, Saved};
use crate::pool::Buffer;
use crate::tape::Value;
use crate::{Parameters, TrainError};

pub(crate) fn forward(
    op: &Embedding,
    call: &Call,
    ids: &Value,
    parameters: &Parameters,
) -> Result<Value, TrainError> {
    let ids = ids.indices();
    let inside = |&&id: &&i32| usize::try_from(id).is_ok_and(|id| id < op.rows);
    if let Some(&index) = ids.iter().find(|id| !inside(id)) {
        let node = call.name.into();
        let rows = op.rows;
        return Err(TrainError::Index { node, index, rows });
    }
    let table = call
        .weight(parameters, 0)
        .expect("an embedding has a table");
    let mut y = call.output();
    embedding::gather(call.work.cpu, op.width, Weight::Numbers(table), ids, &mut y);
    Ok(y.into())
}

pub(crate) fn backward(
    op: &Embedding,
    call: &Call,
    saved: &Saved,
    dy: &Buffer,
    parameters: &mut Parameters,
) {
    let ids = saved.inputs[0]
        .as_ref()
        .expect("kept, as `keeps` says")
        .indices();
    let table = &mut parameters.gradients[call.places[0].clone()];
    embedding::scatter_add(call.work.cpu, op.width, ids, dy, table);
}

pub(crate) fn positions(op: &Position, call: &Call) -> Value {
    let (n, s) = (call.shape[0], call.shape[1]);
    let row = || (op.first..op.first + s).map(|place| place as i32);
    Value::Indices(Arc::new((0..n).flat_map(|_| row()).collect()))
}
