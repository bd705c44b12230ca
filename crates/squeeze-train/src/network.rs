//! A network bound to its parameters: for each node its weights' places, and what backward needs.

use std::ops::Range;
use std::sync::Arc;

use squeeze_graph::{Element, Graph, NodeId, Op, Param, Role, Space};

use crate::TrainError;
use crate::ops::{Keeps, fuses, keeps};
use crate::parameters::{Entry, Layout, Parameters};

/// A graph, or a space of graphs, bound to the layout of its parameters. It serves every batch size,
/// length and image size: shapes follow from what comes in.
#[derive(Debug)]
pub struct Network {
    pub(crate) graph: Graph,
    pub(crate) layout: Arc<Layout>,
    /// For each node its weights, in the order of [`Op::params`].
    pub(crate) places: Vec<Vec<Range<usize>>>,
    /// What stands before the names of the weights.
    pub(crate) prefix: String,
    /// For each node the nodes it reads; of a node that absorbed another, what that one reads.
    pub(crate) inputs: Vec<Vec<NodeId>>,
    /// For each node the one before it that it computes as well.
    pub(crate) absorbs: Vec<Option<usize>>,
    /// Whether a later node computes this one as well.
    pub(crate) absorbed: Vec<bool>,
    /// Whether a gradient for the node's output leads anywhere.
    pub(crate) learns: Vec<bool>,
    /// Whether backward needs the node's output.
    pub(crate) needed: Vec<bool>,
    /// How many nodes and outputs use each node.
    pub(crate) uses: Vec<usize>,
    /// For each slot, its choices.
    pub(crate) slots: Vec<Vec<Body>>,
    /// For each node, which slot it is.
    pub(crate) slot_of: Vec<Option<usize>>,
}

/// What a choice computes.
#[derive(Debug)]
pub(crate) enum Body {
    /// It gives back its first input.
    Skip,
    /// It runs a network.
    Network(Box<Network>),
}

/// Whether gradients of a network's inputs are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// They are data.
    Data,
    /// They are computed, so that their gradients are wanted.
    Learned,
}

impl Network {
    /// Binds a graph to parameters that hold its weights under the graph's names.
    ///
    /// # Errors
    /// When a weight is missing or has another shape, or a slot is open.
    pub fn new(graph: &Graph, parameters: &Parameters) -> Result<Self, TrainError> {
        Self::with_inputs(graph, parameters, Inputs::Data)
    }

    /// Like [`Network::new`], with a say in whether gradients of the inputs are wanted.
    ///
    /// # Errors
    /// When a weight is missing or has another shape, or a slot is open.
    pub fn with_inputs(
        graph: &Graph,
        parameters: &Parameters,
        inputs: Inputs,
    ) -> Result<Self, TrainError> {
        if let Some(node) = graph.nodes().iter().find(|n| matches!(n.op, Op::Slot(_))) {
            let slot = node.name.clone();
            return Err(TrainError::Open { slot });
        }
        Self::bind(graph, "", parameters.layout(), inputs)
    }

    /// Binds a space to parameters that hold the weights of all its choices.
    ///
    /// # Errors
    /// When a weight is missing or has another shape.
    pub fn of_space(space: &Space, parameters: &Parameters) -> Result<Self, TrainError> {
        let layout = parameters.layout();
        let mut network = Self::bind(space.graph(), "", layout, Inputs::Data)?;
        for (at, slot) in space.slots().iter().enumerate() {
            let mut bodies = vec![];
            for choice in slot.choices() {
                let prefix = format!("{}.{}.", space.slot_name(at), choice.name());
                bodies.push(if choice.is_skip() {
                    Body::Skip
                } else {
                    let body = Self::bind(choice.body(), &prefix, layout, Inputs::Learned)?;
                    Body::Network(Box::new(body))
                });
            }
            network.slot_of[slot.node().0] = Some(at);
            network.slots.push(bodies);
        }
        Ok(network)
    }

    fn bind(
        graph: &Graph,
        prefix: &str,
        layout: &Arc<Layout>,
        inputs: Inputs,
    ) -> Result<Self, TrainError> {
        let count = graph.nodes().len();
        let (mut places, mut learns) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for node in graph.nodes() {
            let own = graph.params_of(node).into_iter();
            let own = own.map(|param| place(layout, format!("{prefix}{}", node.weights), param));
            let own = own.collect::<Result<Vec<_>, _>>()?;
            let trained = own.iter().any(|entry| entry.role != Role::Statistic);
            places.push(own.into_iter().map(|entry| entry.range.clone()).collect());
            let from_inputs = node.inputs.iter().any(|id| learns[id.0]);
            let is_learned_input = matches!(node.op, Op::Input(_)) && inputs == Inputs::Learned;
            let is_slot = matches!(node.op, Op::Slot(_));
            let can = node.element == Element::Number;
            learns.push(can && (trained || from_inputs || is_learned_input || is_slot));
        }
        let mut network = Self {
            graph: graph.clone(),
            layout: layout.clone(),
            places,
            prefix: prefix.into(),
            inputs: graph
                .nodes()
                .iter()
                .map(|node| node.inputs.clone())
                .collect(),
            absorbs: vec![None; count],
            absorbed: vec![false; count],
            learns,
            needed: vec![false; count],
            uses: vec![0; count],
            slots: vec![],
            slot_of: vec![None; count],
        };
        network.fuse();
        network.count_uses();
        Ok(network)
    }

    /// Finds pairs of nodes that are computed as one: an activation after a product or a batch
    /// norm, a layer norm after the sum of two.
    fn fuse(&mut self) {
        let graph = &self.graph;
        let uses = graph.uses();
        for (at, node) in graph.nodes().iter().enumerate() {
            let Some(&before) = node.inputs.first() else {
                continue;
            };
            let inner = graph.node(before);
            let fits = match &node.op {
                Op::Activation(op) => fuses(&inner.op, op.kind),
                Op::LayerNorm(_) => {
                    let alike = |id: &NodeId| graph.node(*id).shape == inner.shape;
                    let is_add = matches!(inner.op, Op::Add(_));
                    is_add && inner.inputs.len() == 2 && inner.inputs.iter().all(alike)
                }
                _ => false,
            };
            if fits && uses[before.0] == 1 {
                self.absorbs[at] = Some(before.0);
                self.absorbed[before.0] = true;
                self.inputs[at] = std::mem::take(&mut self.inputs[before.0]);
            }
        }
    }

    fn count_uses(&mut self) {
        for (at, node) in self.graph.nodes().iter().enumerate() {
            if self.absorbed[at] {
                continue;
            }
            self.inputs[at].iter().for_each(|id| self.uses[id.0] += 1);
            let kind = match (&node.op, self.absorbs[at]) {
                (Op::Activation(op), Some(_)) => Some(op.kind),
                _ => None,
            };
            let main = if kind.is_some() {
                self.absorbs[at].unwrap_or(at)
            } else {
                at
            };
            let Keeps { input, output } = keeps(&self.graph.nodes()[main].op, kind);
            self.needed[at] |= output;
            // A layer norm with a residual keeps the sum instead of its inputs.
            let keeps_sum = matches!(node.op, Op::LayerNorm(_)) && self.absorbs[at].is_some();
            if input && !keeps_sum {
                self.inputs[at]
                    .iter()
                    .for_each(|id| self.needed[id.0] = true);
            }
        }
        self.graph
            .outputs()
            .iter()
            .for_each(|id| self.uses[id.0] += 1);
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// For each slot the number of its choices; empty for a plain graph.
    pub fn choices(&self) -> Vec<usize> {
        self.slots.iter().map(Vec::len).collect()
    }
}

fn place(layout: &Layout, node: String, param: Param) -> Result<&Entry, TrainError> {
    let name = format!("{node}.{}", param.suffix);
    match layout.find(&name) {
        None => Err(TrainError::Missing { name }),
        Some(entry) if entry.shape == param.shape => Ok(entry),
        Some(entry) => Err(TrainError::Shape {
            name,
            found: entry.shape.clone(),
            wanted: param.shape,
        }),
    }
}
