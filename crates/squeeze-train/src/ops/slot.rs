//! A slot of a space: each choice runs once, on the examples that take it.

use std::sync::Arc;

use squeeze_graph::Shape;
use squeeze_kernels::elementwise;

use super::Call;
use crate::backward::{self, Sink};
use crate::forward;
use crate::mixture::Part;
use crate::network::Body;
use crate::pool::Buffer;
use crate::tape::{Tape, Value};
use crate::{Parameters, TrainError};

/// What the choices of a slot left.
#[derive(Debug)]
pub(crate) struct SlotRun {
    parts: usize,
    taken: Vec<Taken>,
}

/// One choice at work on its examples.
#[derive(Debug)]
struct Taken {
    choice: usize,
    rows: Vec<Row>,
    /// What the choice gave: one row a part.
    output: Value,
    /// Absent for a skip.
    tape: Option<Tape>,
}

/// One part of the mixture.
#[derive(Clone, Copy, Debug)]
struct Row {
    part: usize,
    example: usize,
    weight: f32,
}

impl Body {
    /// What the choice gives for inputs of these shapes.
    pub(crate) fn shape(&self, inputs: &[&[usize]]) -> Result<Shape, TrainError> {
        match self {
            Self::Skip => Ok(inputs[0].to_vec()),
            Self::Network(network) => forward::output_shape(network, inputs),
        }
    }
}

pub(crate) fn forward(
    bodies: &[Body],
    call: &Call,
    inputs: Vec<Value>,
    parts: &[Part],
    parameters: &mut Parameters,
) -> Result<(Value, crate::tape::Kept), TrainError> {
    let n = call.shape[0];
    let mut taken = vec![];
    for (choice, rows) in by_choice(bodies.len(), call, parts)?
        .into_iter()
        .enumerate()
    {
        if rows.is_empty() {
            continue;
        }
        let given = inputs.iter().enumerate().map(|(index, value)| {
            let mut shape = call.inputs[index].to_vec();
            shape[0] = rows.len();
            (shape, gather(call, value, &rows, n))
        });
        let mut given: Vec<_> = given.collect();
        let (output, tape) = match &bodies[choice] {
            Body::Skip => (given.swap_remove(0).1, None),
            Body::Network(network) => {
                let tape = forward::walk(network, parameters, given, None, call.work)?;
                let output = tape.values[tape.outputs[0]].clone();
                (output.expect("outputs are kept"), Some(tape))
            }
        };
        taken.push(Taken {
            choice,
            rows,
            output,
            tape,
        });
    }
    // One choice for everybody, whole: its result is the slot's.
    if let [only] = &taken[..]
        && is_everybody(&only.rows, n)
        && only.rows.iter().all(|row| row.weight == 1.0)
    {
        let value = only.output.clone();
        return Ok((value, kept(call, parts, taken)));
    }
    let mut y = call.work.pool.zeros(call.shape.iter().product());
    let len = y.len() / n;
    for one in &taken {
        for (row, from) in one.rows.iter().zip(one.output.numbers().chunks_exact(len)) {
            let to = &mut y[row.example * len..][..len];
            elementwise::add_scaled(call.work.cpu, row.weight, from, to);
        }
    }
    Ok((y.into(), kept(call, parts, taken)))
}

fn kept(call: &Call, parts: &[Part], taken: Vec<Taken>) -> crate::tape::Kept {
    if !call.trains() {
        return crate::tape::Kept::Nothing;
    }
    crate::tape::Kept::Slot(Box::new(SlotRun {
        parts: parts.len(),
        taken,
    }))
}

/// Gives the gradient of each part's weight; gradients of inputs go to the sink.
pub(crate) fn backward(
    bodies: &[Body],
    call: &Call,
    run: SlotRun,
    dy: &Arc<Buffer>,
    sink: &mut Sink,
    parameters: &mut Parameters,
) -> Vec<f32> {
    let n = call.shape[0];
    let len = dy.len() / n;
    let mut of_weights = vec![0.0; run.parts];
    for one in run.taken {
        let mut inner = call.work.pool.take(one.rows.len() * len);
        let outputs = one.output.numbers().chunks_exact(len);
        for ((row, output), inner) in one
            .rows
            .iter()
            .zip(outputs)
            .zip(inner.chunks_exact_mut(len))
        {
            let dy = &dy[row.example * len..][..len];
            of_weights[row.part] = dot(dy, output);
            inner
                .iter_mut()
                .zip(dy)
                .for_each(|(inner, dy)| *inner = row.weight * dy);
        }
        let inner = Arc::new(inner);
        match (&bodies[one.choice], one.tape) {
            (Body::Network(network), Some(tape)) => {
                drop(one.output);
                let gradients = backward::walk(network, parameters, tape, inner, call.work);
                for (index, gradient) in gradients.inputs.into_iter().enumerate() {
                    if let Some(gradient) = gradient {
                        scatter(call, index, gradient, &one.rows, sink);
                    }
                }
            }
            _ => scatter(call, 0, inner, &one.rows, sink),
        }
    }
    of_weights
}

/// The parts of each choice, in the order of the mixture.
fn by_choice(choices: usize, call: &Call, parts: &[Part]) -> Result<Vec<Vec<Row>>, TrainError> {
    let n = call.shape[0];
    let wrong = |reason| TrainError::Mixture {
        slot: call.name.into(),
        reason,
    };
    let mut by_choice = vec![vec![]; choices];
    let mut seen = vec![false; n];
    for (
        part,
        &Part {
            example,
            choice,
            weight,
        },
    ) in parts.iter().enumerate()
    {
        if example >= n || choice >= choices {
            return Err(wrong(format!(
                "example {example} takes choice {choice}, there are {n} examples and {choices} choices"
            )));
        }
        seen[example] = true;
        by_choice[choice].push(Row {
            part,
            example,
            weight,
        });
    }
    match seen.iter().position(|seen| !seen) {
        Some(example) => Err(wrong(format!("example {example} takes no choice"))),
        None => Ok(by_choice),
    }
}

fn is_everybody(rows: &[Row], n: usize) -> bool {
    rows.len() == n && rows.iter().enumerate().all(|(at, row)| row.example == at)
}

/// The rows of the examples that take a choice.
fn gather(call: &Call, value: &Value, rows: &[Row], n: usize) -> Value {
    if is_everybody(rows, n) {
        return value.clone();
    }
    match value {
        Value::Numbers(x) => {
            let len = x.len() / n;
            let mut out = call.work.pool.take(rows.len() * len);
            for (row, to) in rows.iter().zip(out.chunks_exact_mut(len)) {
                to.copy_from_slice(&x[row.example * len..][..len]);
            }
            out.into()
        }
        Value::Indices(x) => {
            let len = x.len() / n;
            let of = |row: &Row| x[row.example * len..][..len].to_vec();
            Value::Indices(Arc::new(rows.iter().flat_map(of).collect()))
        }
    }
}

/// Adds rows of a gradient to those of their examples.
fn scatter(call: &Call, index: usize, from: Arc<Buffer>, rows: &[Row], sink: &mut Sink) {
    if !sink.wants(index) {
        return;
    }
    let n = call.shape[0];
    if is_everybody(rows, n) {
        return sink.give(index, from);
    }
    let mut into = sink.open(index, call.inputs[index].iter().product());
    let len = into.len() / n;
    for (row, from) in rows.iter().zip(from.chunks_exact(len)) {
        let to = &mut into[row.example * len..][..len];
        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
    }
    sink.close(index, into);
}

/// The product of two rows, in blocks of 64 elements with a running sum in f64.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let block = |(a, b): (&[f32], &[f32])| {
        let mut lanes = [0.0f32; 16];
        for (a, b) in a.chunks(16).zip(b.chunks(16)) {
            for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                *lane += a * b;
            }
        }
        f64::from(lanes.iter().sum::<f32>())
    };
    a.chunks(64).zip(b.chunks(64)).map(block).sum::<f64>() as f32
}
