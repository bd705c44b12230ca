//! Builds a [`Graph`] node by node, each checked as it is added.

use std::collections::HashSet;

use crate::graph::{Element, Graph, GraphError, Node, NodeId};
use crate::op::{Input, Op, SlotOp};
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
    names: HashSet<String>,
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
            names: HashSet::new(),
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
        let (name, op) = (name.into(), op.into());
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
            let wanted = op.takes(index);
            if nodes[id.0].element != wanted && !matches!(op, Op::Slot(_)) {
                return Err(wrong(ShapeError::Element { index, wanted }));
            }
        }
        let shapes: Vec<_> = inputs
            .iter()
            .map(|id| nodes[id.0].shape.as_slice())
            .collect();
        let shape = op.shape(&shapes).map_err(wrong)?;
        if !self.names.insert(name.clone()) {
            return Err(GraphError::Name { node: name });
        }
        let element = op.gives();
        self.graph.nodes.push(Node {
            name,
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
    use crate::ops::{Conv2d, Embedding, Linear};

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
