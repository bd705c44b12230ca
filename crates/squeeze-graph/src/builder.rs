//! Builds a [`Graph`] node by node, each checked as it is added.

use std::collections::HashMap;
use std::ops::Range;

use crate::graph::{Element, Graph, GraphError, Node, NodeId};
use crate::op::{Input, Op, SlotOp};
use crate::param::Param;
use crate::shape::ShapeError;
use crate::space::{Choice, Slot, Space};

/// A network in the making.
///
/// ```
/// use squeeze_graph::{Builder, Element, ops::{Activation, Linear}};
/// let mut b = Builder::new("two_layers");
/// let x = b.input("x", &[1, 8], Element::Number)?;
/// let x = b.add("hidden", Linear::dense(32), &[x])?;
/// let x = b.add("relu", Activation::Relu, &[x])?;
/// let x = b.add("head", Linear::dense(2), &[x])?;
/// let graph = b.finish(&[x])?;
/// assert_eq!(graph.cost().macs, 8 * 32 + 32 * 2);
/// # Ok::<(), squeeze_graph::GraphError>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
    /// Nodes by their names.
    names: HashMap<String, usize>,
    slots: Vec<Slot>,
}

impl Builder {
    /// An empty network.
    pub fn new(name: impl Into<String>) -> Self {
        let graph = Graph {
            name: name.into(),
            nodes: vec![],
            outputs: vec![],
        };
        Self {
            graph,
            names: HashMap::new(),
            slots: vec![],
        }
    }

    /// Adds an input of the network.
    ///
    /// # Errors
    /// When the name is taken or the shape is empty.
    pub fn input(
        &mut self,
        name: &str,
        shape: &[usize],
        element: Element,
    ) -> Result<NodeId, GraphError> {
        self.add(name, Input::new(shape, element), &[])
    }

    /// Adds a node.
    ///
    /// # Errors
    /// When the name is taken or the operator cannot take these inputs.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: &[NodeId],
    ) -> Result<NodeId, GraphError> {
        let name = name.into();
        self.place([name.clone(), name], op.into(), inputs)
    }

    /// Adds a node of another network under its name, with its weights and perhaps another operator.
    ///
    /// # Errors
    /// As [`Builder::add`], or when the node that it shares weights with is not there.
    pub fn copy(
        &mut self,
        node: &Node,
        op: impl Into<Op>,
        inputs: &[NodeId],
    ) -> Result<NodeId, GraphError> {
        let names = [node.name.clone(), node.weights.clone()];
        self.place(names, op.into(), inputs)
    }

    /// Adds a node with the weights of an earlier one, which may be another operator: a layer whose rows are those of a table.
    ///
    /// # Errors
    /// When the name is taken, the operator cannot take these inputs, or its weights are not as the other's.
    pub fn tied(
        &mut self,
        name: impl Into<String>,
        owner: NodeId,
        op: impl Into<Op>,
        inputs: &[NodeId],
    ) -> Result<NodeId, GraphError> {
        let weights = self.graph.node(owner).weights.clone();
        self.place([name.into(), weights], op.into(), inputs)
    }

    /// Adds `nodes` again, with the same weights and `suffix` behind their names; what took `from` takes `to` there. Gives the last.
    ///
    /// # Errors
    /// When a name is taken or a node cannot take what it gets then.
    ///
    /// # Panics
    /// When there are no nodes.
    pub fn repeat(
        &mut self,
        nodes: Range<usize>,
        suffix: &str,
        [from, to]: [NodeId; 2],
    ) -> Result<NodeId, GraphError> {
        let (start, mut last) = (nodes.start, None);
        let first = self.graph.nodes.len();
        for at in nodes {
            let node = self.graph.nodes[at].clone();
            let moved = |&id: &NodeId| match id.0.checked_sub(start) {
                _ if id == from => to,
                Some(offset) if id.0 < at => NodeId(first + offset),
                _ => id,
            };
            let inputs: Vec<_> = node.inputs.iter().map(moved).collect();
            let names = [format!("{}{suffix}", node.name), node.weights];
            last = Some(self.place(names, node.op, &inputs)?);
        }
        Ok(last.expect("there is a node to repeat"))
    }

    /// Adds a node of this name and path of weights.
    pub(crate) fn place(
        &mut self,
        [name, weights]: [String; 2],
        op: Op,
        inputs: &[NodeId],
    ) -> Result<NodeId, GraphError> {
        let nodes = &self.graph.nodes;
        if let Some(id) = inputs.iter().find(|id| id.0 >= nodes.len()) {
            return Err(GraphError::Missing {
                node: name,
                input: format!("number {}", id.0),
            });
        }
        let wrong = |source| GraphError::Shape {
            node: name.clone(),
            source,
        };
        for (index, &id) in inputs.iter().enumerate() {
            if let Some(wanted) = op.takes(index)
                && nodes[id.0].element != wanted
            {
                return Err(wrong(ShapeError::Element { index, wanted }));
            }
        }
        let shapes: Vec<_> = inputs
            .iter()
            .map(|id| nodes[id.0].shape.as_slice())
            .collect();
        let shape = op.shape(&shapes).map_err(wrong)?;
        if weights != name {
            let named = self.names.get(&weights).map(|&at| &nodes[at]);
            let Some(owner) = named.filter(|node| node.weights == weights) else {
                return Err(GraphError::Missing {
                    node: name,
                    input: weights,
                });
            };
            let form = |params: Vec<Param>| -> Vec<_> {
                let of = |param: Param| (param.suffix, param.shape);
                params.into_iter().map(of).collect()
            };
            if form(self.graph.params_of(owner)) != form(op.params(&shapes)) {
                return Err(GraphError::Shared {
                    node: name,
                    owner: weights,
                });
            }
        }
        if self.names.contains_key(&name) {
            return Err(GraphError::Name { node: name });
        }
        self.names.insert(name.clone(), nodes.len());
        let element = op.gives();
        self.graph.nodes.push(Node {
            name,
            weights,
            op,
            inputs: inputs.to_vec(),
            shape,
            element,
        });
        Ok(NodeId(self.graph.nodes.len() - 1))
    }

    /// Shape of a node added before.
    pub fn shape(&self, id: NodeId) -> &[usize] {
        &self.graph.nodes[id.0].shape
    }

    /// Channels of a node added before.
    pub fn channels(&self, id: NodeId) -> usize {
        let shape = self.shape(id);
        shape[crate::channel_axis(shape)]
    }

    /// Starts the body of a choice that takes `inputs` of this network.
    ///
    /// # Errors
    /// Never for nodes of this network.
    pub fn body(&self, name: &str, inputs: &[NodeId]) -> Result<(Self, Vec<NodeId>), GraphError> {
        let mut body = Self::new(name);
        let mut ids = vec![];
        for (index, &id) in inputs.iter().enumerate() {
            let node = self.graph.node(id);
            ids.push(body.input(&format!("input{index}"), &node.shape, node.element)?);
        }
        Ok((body, ids))
    }

    /// Adds a slot that one of `choices` will fill.
    ///
    /// # Errors
    /// When there is no choice, or the choices do not all take `inputs` and give one shape.
    pub fn slot(
        &mut self,
        name: &str,
        inputs: &[NodeId],
        choices: Vec<Choice>,
    ) -> Result<NodeId, GraphError> {
        let shape = choices.first().map(|choice| choice.output_shape().to_vec());
        let Some(shape) = shape else {
            let source = ShapeError::Zero {
                what: "the number of choices",
            };
            return Err(GraphError::Shape {
                node: name.into(),
                source,
            });
        };
        let node = self.add(name, Op::Slot(SlotOp { shape }), inputs)?;
        let slot = Slot { node, choices };
        slot.check(&self.graph)?;
        self.slots.push(slot);
        Ok(node)
    }

    /// The network with these outputs.
    ///
    /// # Errors
    /// When there is no output, or slots are still open: those make a [`Space`].
    pub fn finish(self, outputs: &[NodeId]) -> Result<Graph, GraphError> {
        if let Some(slot) = self.slots.first() {
            let (slot, choice) = (self.graph.node(slot.node).name.clone(), "none".into());
            return Err(GraphError::Choice {
                slot,
                choice,
                reason: "the slot is open".into(),
            });
        }
        Ok(self.finish_space(outputs)?.graph)
    }

    /// The space of networks with these outputs.
    ///
    /// # Errors
    /// When there is no output.
    pub fn finish_space(mut self, outputs: &[NodeId]) -> Result<Space, GraphError> {
        if outputs.is_empty() {
            return Err(GraphError::NoOutput {
                graph: self.graph.name,
            });
        }
        self.graph.outputs = outputs.to_vec();
        Ok(Space {
            graph: self.graph,
            slots: self.slots,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Add, Conv2d, Embedding, Linear};

    #[test]
    fn errors_name_the_node() {
        let mut b = Builder::new("test");
        let x = b.input("x", &[1, 64, 8, 8], Element::Number).expect("fits");
        let conv = Conv2d {
            groups: 3,
            ..Conv2d::square(6, 1)
        };
        let error = b
            .add("features.3.squeeze", conv, &[x])
            .expect_err("3 groups");
        assert_eq!(
            error.to_string(),
            "features.3.squeeze: 64 channels do not divide into 3 groups"
        );
        let error = b.add("x", Conv2d::square(6, 1), &[x]).expect_err("taken");
        assert_eq!(
            error.to_string(),
            "x: this name is taken; every node needs its own"
        );
    }

    #[test]
    fn repeated_nodes_share_their_weights() {
        let mut b = Builder::new("test");
        let x = b.input("x", &[1, 8], Element::Number).expect("fits");
        let y = b.add("layer", Linear::dense(8), &[x]).expect("fits");
        let y = b.add("sum", Add {}, &[y, x]).expect("fits");
        let y = b.repeat(1..3, ".1", [x, y]).expect("it fits again");
        let y = b.repeat(1..3, ".2", [x, y]).expect("and again");
        let graph = b.finish(&[y]).expect("one output");
        let once = 8 * 8 + 8;
        assert_eq!(graph.params().len(), 2);
        assert_eq!((graph.cost().params, graph.cost().macs), (once, 3 * 64));
        let sum = &graph.nodes()[graph.find("sum.2").expect("repeated").0];
        let inputs = sum.inputs.iter().map(|&id| &*graph.node(id).name);
        assert_eq!(inputs.collect::<Vec<_>>(), ["layer.2", "sum.1"]);
        assert_eq!(Graph::from_toml(&graph.to_toml()), Ok(graph));
    }

    #[test]
    fn a_table_is_a_layer_too() {
        let mut b = Builder::new("test");
        let ids = b.input("ids", &[1, 4], Element::Index).expect("fits");
        let table = b.add("table", Embedding { rows: 9, width: 3 }, &[ids]);
        let table = table.expect("fits");
        let bare = |out| Linear {
            bias: false,
            ..Linear::dense(out)
        };
        assert!(b.tied("few", table, bare(8), &[table]).is_err());
        assert!(b.tied("biased", table, Linear::dense(9), &[table]).is_err());
        let head = b.tied("head", table, bare(9), &[table]).expect("fits");
        let graph = b.finish(&[head]).expect("one output");
        let names: Vec<_> = graph.params().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["table.weight"]);
        assert_eq!((graph.cost().params, graph.cost().macs), (27, 4 * 27));
        assert_eq!(Graph::from_toml(&graph.to_toml()), Ok(graph));
    }

    #[test]
    fn weights_that_differ_are_not_shared() {
        let mut b = Builder::new("test");
        let x = b.input("x", &[1, 8], Element::Number).expect("fits");
        let y = b.add("layer", Linear::dense(4), &[x]).expect("fits");
        let error = b.repeat(1..2, ".1", [x, y]).expect_err("4 channels, not 8");
        assert_eq!(
            error.to_string(),
            "layer.1: its weights are not those of `layer`"
        );
    }

    #[test]
    fn indices_are_not_numbers() {
        let mut b = Builder::new("test");
        let ids = b.input("ids", &[1, 4], Element::Index).expect("fits");
        assert!(b.add("linear", Linear::dense(3), &[ids]).is_err());
        assert!(
            b.add("embedding", Embedding { rows: 9, width: 3 }, &[ids])
                .is_ok()
        );
    }
}
