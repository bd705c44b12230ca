//! The walk forward: every node in running order, each value freed when nothing needs it any more.

use std::sync::Arc;

use squeeze_graph::{Element, Op, Shape};

use crate::engine::{Mode, Work};
use crate::feed::Data;
use crate::ops::{self, Call};
use crate::tape::{Kept, Tape, Value};
use crate::{Feed, Mixture, Network, Parameters, TrainError};

/// Runs a network on what comes from outside.
pub(crate) fn run(
    network: &Network,
    parameters: &mut Parameters,
    feeds: &[Feed],
    mixture: Option<&Mixture>,
    work: Work,
) -> Result<Tape, TrainError> {
    let ids = network.graph.inputs();
    if ids.len() != feeds.len() {
        return Err(squeeze_graph::GraphError::Inputs {
            graph: network.graph.name().into(),
            wanted: ids.len(),
            found: feeds.len(),
        }
        .into());
    }
    let mut given = vec![];
    for (index, (feed, id)) in feeds.iter().zip(ids).enumerate() {
        let input = |reason: String| TrainError::Input {
            index,
            network: network.graph.name().into(),
            reason,
        };
        let node = network.graph.node(id);
        let (len, product) = (feed.len(), feed.shape.iter().product::<usize>());
        if len != product || len == 0 || feed.shape.len() != node.shape.len() {
            let shape = feed.shape;
            let wanted = &node.shape;
            return Err(input(format!(
                "{len} elements of shape {shape:?} where a shape like {wanted:?} is taken"
            )));
        }
        let value = match (feed.data, node.element) {
            (Data::Numbers(x), Element::Number) => work.pool.copy(x).into(),
            (Data::Indices(x), Element::Index) => Value::Indices(Arc::new(x.to_vec())),
            (_, element) => return Err(input(format!("it must hold {element:?} elements"))),
        };
        given.push((feed.shape.to_vec(), value));
    }
    walk(network, parameters, given, mixture, work)
}

/// Runs a network on values.
pub(crate) fn walk(
    network: &Network,
    parameters: &mut Parameters,
    given: Vec<(Shape, Value)>,
    mixture: Option<&Mixture>,
    work: Work,
) -> Result<Tape, TrainError> {
    // Comparing the layouts of a large space takes long, and this is walked for each of its choices.
    let (held, bound) = (parameters.layout(), &network.layout);
    assert!(
        Arc::ptr_eq(held, bound) || held == bound,
        "a network runs with the parameters it was bound to"
    );
    let graph = &network.graph;
    let count = graph.nodes().len();
    let mut tape = Tape {
        mode: work.mode,
        shapes: Vec::with_capacity(count),
        values: (0..count).map(|_| None).collect(),
        kept: (0..count).map(|_| Kept::Nothing).collect(),
        outputs: graph.outputs().iter().map(|id| id.0).collect(),
    };
    let mut left = network.uses.clone();
    let mut given = given.into_iter();
    for (at, node) in graph.nodes().iter().enumerate() {
        if matches!(node.op, Op::Input(_)) {
            let (shape, value) = given.next().expect("one value an input");
            tape.shapes.push(shape);
            tape.values[at] = Some(value);
            continue;
        }
        let shape = shape_of(network, at, &tape, mixture)?;
        tape.shapes.push(shape);
        if network.absorbed[at] {
            continue;
        }
        let mut inputs = vec![];
        for id in &network.inputs[at] {
            left[id.0] -= 1;
            let keep = matches!(work.mode, Mode::Train(_)) && network.needed[id.0];
            let value = &mut tape.values[id.0];
            let value = if left[id.0] == 0 && !keep {
                value.take()
            } else {
                value.clone()
            };
            inputs.push(value.expect("its last use frees a value"));
        }
        let call = Call::new(network, at, &tape.shapes, work);
        let (value, kept) = match network.slot_of[at] {
            Some(slot) => {
                let parts = mixture.and_then(|mixture| mixture.slots.get(slot));
                let parts = parts.ok_or_else(|| TrainError::Open {
                    slot: node.name.clone(),
                })?;
                ops::slot::forward(&network.slots[slot], &call, inputs, parts, parameters)?
            }
            None => ops::forward(&call, inputs, parameters)?,
        };
        tape.values[at] = Some(value);
        if matches!(work.mode, Mode::Train(_)) {
            tape.kept[at] = kept;
        }
    }
    Ok(tape)
}

/// The shape that a node gives for the shapes before it.
fn shape_of(
    network: &Network,
    at: usize,
    tape: &Tape,
    mixture: Option<&Mixture>,
) -> Result<Shape, TrainError> {
    let node = &network.graph.nodes()[at];
    let inputs: Vec<&[usize]> = node
        .inputs
        .iter()
        .map(|id| &tape.shapes[id.0][..])
        .collect();
    if let Some(slot) = network.slot_of[at] {
        let parts = mixture.and_then(|mixture| mixture.slots.get(slot));
        let choice = parts
            .and_then(|parts| parts.first())
            .map(|part| part.choice);
        let body = choice.and_then(|choice| network.slots[slot].get(choice));
        let body = body.ok_or_else(|| TrainError::Mixture {
            slot: node.name.clone(),
            reason: "no part of the mixture names one of its choices".into(),
        })?;
        return body.shape(&inputs);
    }
    let shape = node.op.shape(&inputs);
    Ok(shape.map_err(|source| squeeze_graph::GraphError::Shape {
        node: node.name.clone(),
        source,
    })?)
}

/// The shape of a network's first output for inputs of these shapes.
pub(crate) fn output_shape(network: &Network, inputs: &[&[usize]]) -> Result<Shape, TrainError> {
    let mut shapes: Vec<Shape> = vec![];
    let mut inputs = inputs.iter();
    for node in network.graph.nodes() {
        if matches!(node.op, Op::Input(_)) {
            shapes.push(inputs.next().expect("one shape an input").to_vec());
            continue;
        }
        let given: Vec<&[usize]> = node.inputs.iter().map(|id| &shapes[id.0][..]).collect();
        let shape = node.op.shape(&given);
        shapes.push(shape.map_err(|source| squeeze_graph::GraphError::Shape {
            node: node.name.clone(),
            source,
        })?);
    }
    Ok(shapes.swap_remove(network.graph.outputs()[0].0))
}
