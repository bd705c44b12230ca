//! A network: nodes in running order, every shape checked once, when the graph is made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::op::{Input, Op};
use crate::param::Param;
use crate::shape::{Shape, ShapeError};

/// What an activation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Element {
    /// `f32` numbers.
    Number,
    /// `i32` indices: tokens, positions, lengths.
    Index,
}

/// A node's place in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// An operator with its name and its place in the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique name: `encoder.layer.0.output.dense`.
    pub name: String,
    /// Path of its weights: its name, or that of an earlier node that has the same ones.
    pub weights: String,
    /// What it computes.
    pub op: Op,
    /// Where its inputs come from; always earlier nodes.
    pub inputs: Vec<NodeId>,
    /// What comes out.
    pub shape: Shape,
    /// What the output holds.
    pub element: Element,
}

/// A network, made by a [`Builder`](crate::Builder) and never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: Vec<NodeId>,
}

/// Why a network cannot be made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GraphError {
    /// An operator cannot take its inputs.
    #[error("{node}: {source}")]
    Shape {
        /// Name of the node.
        node: String,
        /// What is wrong.
        source: ShapeError,
    },
    /// Two nodes have one name.
    #[error("{node}: this name is taken; every node needs its own")]
    Name {
        /// The name.
        node: String,
    },
    /// A node refers to one that does not come before it.
    #[error("{node}: there is no earlier node `{input}`")]
    Missing {
        /// Name of the node.
        node: String,
        /// What it refers to.
        input: String,
    },
    /// The network gives nothing.
    #[error("network `{graph}` has no output")]
    NoOutput {
        /// Name of the network.
        graph: String,
    },
    /// A node would share weights that are not as its own would be.
    #[error("{node}: its weights are not those of `{owner}`")]
    Shared {
        /// Name of the node.
        node: String,
        /// The node that has the weights.
        owner: String,
    },
    /// Another number of input shapes than the network has inputs.
    #[error("network `{graph}` takes {wanted} inputs, {found} are given")]
    Inputs {
        /// Name of the network.
        graph: String,
        /// Inputs it has.
        wanted: usize,
        /// Inputs given.
        found: usize,
    },
    /// A choice that does not fit its slot.
    #[error("slot {slot}, choice {choice}: {reason}")]
    Choice {
        /// Name of the slot.
        slot: String,
        /// Name of the choice.
        choice: String,
        /// What does not fit.
        reason: String,
    },
    /// The text form cannot be read.
    #[error("network file: {reason}")]
    Text {
        /// What the reader says, with the line.
        reason: String,
    },
}

/// What the name of a node's range ends with, behind the node's.
pub const RANGE: &str = ".range";

impl Graph {
    /// Name of the network.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All nodes in running order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of this number.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Numbers of all nodes in running order.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// What the network gives, in order.
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }

    /// What the network takes, in order.
    pub fn inputs(&self) -> Vec<NodeId> {
        let is_input = |id: &NodeId| matches!(self.node(*id).op, Op::Input(_));
        self.ids().filter(is_input).collect()
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes
            .iter()
            .position(|node| node.name == name)
            .map(NodeId)
    }

    /// The node whose result's range a tensor of this name holds: `NODE.range`, two numbers, the smallest and the largest that bytes
    /// should stand for. Weights may hold such tensors beside the network's own.
    pub fn node_of_range(&self, name: &str) -> Option<NodeId> {
        self.find(name.strip_suffix(RANGE)?)
    }

    /// Shapes of a node's inputs.
    pub fn input_shapes(&self, node: &Node) -> Vec<&[usize]> {
        node.inputs
            .iter()
            .map(|&id| self.node(id).shape.as_slice())
            .collect()
    }

    /// Whether a node has the weights of an earlier one.
    pub fn shares(&self, node: &Node) -> bool {
        node.weights != node.name
    }

    /// The weights of one node, its own or shared.
    pub fn params_of(&self, node: &Node) -> Vec<Param> {
        node.op.params(&self.input_shapes(node))
    }

    /// Every weight once: full name and what it is, in running order.
    pub fn params(&self) -> Vec<(String, Param)> {
        let named = |node: &Node, param: Param| (format!("{}.{}", node.name, param.suffix), param);
        let of = |node| {
            self.params_of(node)
                .into_iter()
                .map(move |param| named(node, param))
        };
        let owners = self.nodes.iter().filter(|node| !self.shares(node));
        owners.flat_map(of).collect()
    }

    /// How many nodes use each node's result; an output counts as a use.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        let inputs = self.nodes.iter().flat_map(|node| &node.inputs);
        inputs.chain(&self.outputs).for_each(|id| uses[id.0] += 1);
        uses
    }

    /// The same network with another name.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// The same network for inputs of other shapes: another batch, length or image size.
    ///
    /// # Errors
    /// When a node cannot take what it gets then.
    pub fn with_inputs(&self, shapes: &[Shape]) -> Result<Self, GraphError> {
        let wanted = self.inputs().len();
        if wanted != shapes.len() {
            let graph = self.name.clone();
            return Err(GraphError::Inputs {
                graph,
                wanted,
                found: shapes.len(),
            });
        }
        let mut graph = self.clone();
        let mut shapes = shapes.iter();
        for at in 0..graph.nodes.len() {
            if let Op::Input(input) = &mut graph.nodes[at].op {
                input.shape = shapes.next().expect("counted above").clone();
            }
            let node = &graph.nodes[at];
            let shape = node.op.shape(&graph.input_shapes(node)).map_err(|source| {
                let node = node.name.clone();
                GraphError::Shape { node, source }
            })?;
            graph.nodes[at].shape = shape;
        }
        Ok(graph)
    }

    /// The same network for `n` examples at once.
    ///
    /// # Errors
    /// When a node fixes its batch.
    pub fn with_batch(&self, n: usize) -> Result<Self, GraphError> {
        let rebatched = |id: &NodeId| {
            let mut shape = self.node(*id).shape.clone();
            shape[0] = n;
            shape
        };
        self.with_inputs(&self.inputs().iter().map(rebatched).collect::<Vec<_>>())
    }

    /// The same network for text of `s` tokens: the second axis of every index input `[n, s]`.
    ///
    /// # Errors
    /// When the network has too few places for them.
    pub fn with_length(&self, s: usize) -> Result<Self, GraphError> {
        let stretched = |id: &NodeId| {
            let node = self.node(*id);
            let mut shape = node.shape.clone();
            if node.element == Element::Index && shape.len() == 2 {
                shape[1] = s;
            }
            shape
        };
        self.with_inputs(&self.inputs().iter().map(stretched).collect::<Vec<_>>())
    }

    /// The same network for images of this height and width.
    ///
    /// # Errors
    /// When a window no longer fits.
    pub fn with_image(&self, size: [usize; 2]) -> Result<Self, GraphError> {
        let resized = |id: &NodeId| {
            let mut shape = self.node(*id).shape.clone();
            if shape.len() == 4 {
                shape[2..].copy_from_slice(&size);
            }
            shape
        };
        self.with_inputs(&self.inputs().iter().map(resized).collect::<Vec<_>>())
    }

    /// Nodes counted by operator.
    pub fn census(&self) -> BTreeMap<&'static str, usize> {
        let mut census = BTreeMap::new();
        for node in &self.nodes {
            *census.entry(node.op.name()).or_default() += 1;
        }
        census
    }
}

impl Input {
    /// An image `[n, c, h, w]`, a text of indices `[n, s]`, or lengths `[n]`.
    pub fn new(shape: &[usize], element: Element) -> Self {
        Self {
            shape: shape.to_vec(),
            element,
        }
    }
}
