//! A space of networks: a graph with open slots, and what may fill each.
//!
//! One construct serves every search: Gumbel-softmax, evolution and random picks alike.

use crate::graph::{Graph, GraphError, Node, NodeId};
use crate::op::Op;
use crate::shape::Shape;
use crate::{Builder, Cost};

/// A network with slots.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    pub(crate) graph: Graph,
    pub(crate) slots: Vec<Slot>,
}

/// An open place and what may fill it.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub(crate) node: NodeId,
    pub(crate) choices: Vec<Choice>,
}

/// One way to fill a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    body: Graph,
}

/// A price for every choice: what a network costs is `fixed` plus one entry a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceTable {
    /// Price of everything outside the slots.
    pub fixed: f64,
    /// Price of each choice of each slot.
    pub slots: Vec<Vec<f64>>,
}

impl PriceTable {
    /// Price of the network with these picks.
    pub fn of(&self, picks: &[usize]) -> f64 {
        self.fixed
            + self
                .slots
                .iter()
                .zip(picks)
                .map(|(slot, &pick)| slot[pick])
                .sum::<f64>()
    }

    /// Price of the cheapest network.
    pub fn least(&self) -> f64 {
        let least = |slot: &Vec<f64>| slot.iter().copied().fold(f64::INFINITY, f64::min);
        self.fixed + self.slots.iter().map(least).sum::<f64>()
    }

    /// Price of the dearest network.
    pub fn most(&self) -> f64 {
        let most = |slot: &Vec<f64>| slot.iter().copied().fold(0.0, f64::max);
        self.fixed + self.slots.iter().map(most).sum::<f64>()
    }
}

impl Choice {
    /// A choice that computes `body`: its inputs are the slot's, in order, and its first output is
    /// the slot's result. A body that gives back its first input is a skip.
    pub fn new(body: Graph) -> Self {
        Self { body }
    }

    /// What it is called, e.g. `k3e6g1`.
    pub fn name(&self) -> &str {
        self.body.name()
    }

    /// What it computes.
    pub fn body(&self) -> &Graph {
        &self.body
    }

    /// What comes out.
    pub fn output_shape(&self) -> &[usize] {
        &self.body.node(self.body.outputs()[0]).shape
    }

    /// Whether it gives back its first input untouched.
    pub fn is_skip(&self) -> bool {
        self.body.outputs()[0] == NodeId(0)
    }
}

impl Slot {
    /// The node of the space's graph that it fills.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What may fill it.
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    pub(crate) fn check(&self, graph: &Graph) -> Result<(), GraphError> {
        let node = graph.node(self.node);
        let inputs = graph.input_shapes(node);
        for choice in &self.choices {
            let wrong = |reason: String| GraphError::Choice {
                slot: node.name.clone(),
                choice: choice.name().into(),
                reason,
            };
            let body = &choice.body;
            let takes = body.inputs();
            let taken: Vec<_> = takes
                .iter()
                .map(|&id| body.node(id).shape.as_slice())
                .collect();
            if taken != inputs {
                return Err(wrong(format!(
                    "it takes {taken:?}, the slot is given {inputs:?}"
                )));
            }
            if !takes.iter().copied().eq((0..takes.len()).map(NodeId)) {
                return Err(wrong("its inputs do not come first".into()));
            }
            if choice.output_shape() != node.shape {
                let gives = choice.output_shape();
                return Err(wrong(format!(
                    "it gives {gives:?}, the slot {:?}",
                    node.shape
                )));
            }
        }
        Ok(())
    }
}

impl Space {
    /// Name of the space.
    pub fn name(&self) -> &str {
        self.graph.name()
    }

    /// The network with its slots open.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The slots in running order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Name of a slot.
    pub fn slot_name(&self, slot: usize) -> &str {
        &self.graph.node(self.slots[slot].node).name
    }

    /// Number of networks in the space.
    pub fn size(&self) -> f64 {
        self.slots
            .iter()
            .map(|slot| slot.choices.len() as f64)
            .product()
    }

    /// The network with choice `picks[i]` in slot `i`. Its weights are named
    /// `slot.choice.node.weight`, as in the space, so that trained ones can be carried over.
    ///
    /// # Errors
    /// When there is not one valid pick a slot.
    pub fn resolve(&self, picks: &[usize]) -> Result<Graph, GraphError> {
        if picks.len() != self.slots.len() {
            let (wanted, found) = (self.slots.len(), picks.len());
            return Err(GraphError::Inputs {
                graph: self.name().into(),
                wanted,
                found,
            });
        }
        let mut b = Builder::new(self.name());
        let mut place: Vec<NodeId> = vec![];
        for (id, node) in self.graph.ids().zip(self.graph.nodes()) {
            let inputs: Vec<_> = node.inputs.iter().map(|id| place[id.0]).collect();
            let new = match self.slots.iter().position(|slot| slot.node == id) {
                Some(slot) => {
                    let choice = self.slots[slot].choices.get(picks[slot]).ok_or_else(|| {
                        let (slot, choice) = (node.name.clone(), format!("{}", picks[slot]));
                        GraphError::Choice {
                            slot,
                            choice,
                            reason: "no such choice".into(),
                        }
                    })?;
                    inline(&mut b, node, choice, &inputs)?
                }
                None => b.copy(node, node.op.clone(), &inputs)?,
            };
            place.push(new);
        }
        let outputs: Vec<_> = self.graph.outputs().iter().map(|id| place[id.0]).collect();
        b.finish(&outputs)
    }

    /// Short name of the network with these picks: the choices' names, joined.
    pub fn genotype(&self, picks: &[usize]) -> String {
        let names = self
            .slots
            .iter()
            .zip(picks)
            .map(|(slot, &pick)| slot.choices[pick].name());
        names.collect::<Vec<_>>().join(" ")
    }

    /// The table of a price that is a sum over nodes.
    pub fn prices(&self, price: impl Fn(&Graph, &Node) -> f64) -> PriceTable {
        let sum = |graph: &Graph| graph.nodes().iter().map(|node| price(graph, node)).sum();
        let slots = self.slots.iter();
        PriceTable {
            fixed: sum(&self.graph),
            slots: slots
                .map(|slot| slot.choices.iter().map(|c| sum(&c.body)).collect())
                .collect(),
        }
    }

    /// Multiply-adds and parameters as a table: `fixed` costs, and a cost a choice.
    pub fn costs(&self) -> (Cost, Vec<Vec<Cost>>) {
        let of = |slot: &Slot| {
            slot.choices
                .iter()
                .map(|choice| choice.body.cost())
                .collect()
        };
        (self.graph.cost(), self.slots.iter().map(of).collect())
    }

    /// The same space for inputs of other shapes.
    ///
    /// # Errors
    /// When a node cannot take what it gets then.
    pub fn with_inputs(&self, shapes: &[Shape]) -> Result<Self, GraphError> {
        let mut space = self.clone();
        let mut shapes = shapes.iter();
        for at in 0..space.graph.nodes.len() {
            let id = NodeId(at);
            if let Op::Input(input) = &mut space.graph.nodes[at].op
                && let Some(shape) = shapes.next()
            {
                input.shape.clone_from(shape);
            }
            if let Some(slot) = space.slots.iter_mut().find(|slot| slot.node == id) {
                let node = &space.graph.nodes[at];
                let given: Vec<Shape> = node
                    .inputs
                    .iter()
                    .map(|&id| space.graph.node(id).shape.clone())
                    .collect();
                for choice in &mut slot.choices {
                    choice.body = choice.body.with_inputs(&given)?;
                }
                let shape = slot.choices[0].output_shape().to_vec();
                if let Op::Slot(op) = &mut space.graph.nodes[at].op {
                    op.shape = shape;
                }
            }
            let node = &space.graph.nodes[at];
            let shape = node
                .op
                .shape(&space.graph.input_shapes(node))
                .map_err(|source| {
                    let node = node.name.clone();
                    GraphError::Shape { node, source }
                })?;
            space.graph.nodes[at].shape = shape;
        }
        Ok(space)
    }
}

fn inline(
    b: &mut Builder,
    slot: &Node,
    choice: &Choice,
    inputs: &[NodeId],
) -> Result<NodeId, GraphError> {
    let body = &choice.body;
    let mut place = inputs.to_vec();
    for node in &body.nodes()[inputs.len()..] {
        let inputs: Vec<_> = node.inputs.iter().map(|id| place[id.0]).collect();
        let prefixed = |path: &str| format!("{}.{}.{path}", slot.name, choice.name());
        let names = [prefixed(&node.name), prefixed(&node.weights)];
        place.push(b.place(names, node.op.clone(), &inputs)?);
    }
    Ok(place[body.outputs()[0].0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Element;
    use crate::ops::{Activation, Linear};

    fn space() -> Space {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 8], Element::Number).expect("fits");
        let mut slot_input = x;
        for slot in 0..2 {
            let mut choices = vec![];
            for groups in [1, 2, 4] {
                let (mut body, ids) = b.body(&format!("g{groups}"), &[slot_input]).expect("fits");
                let y = body
                    .add("linear", Linear::grouped(8, groups), &ids)
                    .expect("fits");
                let y = body.add("relu", Activation::Relu, &[y]).expect("fits");
                choices.push(Choice::new(body.finish(&[y]).expect("one output")));
            }
            let (body, ids) = b.body("skip", &[slot_input]).expect("fits");
            choices.push(Choice::new(body.finish(&ids).expect("one output")));
            slot_input = b
                .slot(&format!("slot{slot}"), &[slot_input], choices)
                .expect("fits");
        }
        let y = b
            .add("head", Linear::dense(2), &[slot_input])
            .expect("fits");
        b.finish_space(&[y]).expect("one output")
    }

    #[test]
    fn prices_add_up_to_the_resolved_cost() {
        let space = space();
        let table = space.prices(|graph, node| graph.cost_of(node).macs as f64);
        for picks in [[0, 0], [1, 2], [3, 3], [2, 3]] {
            let graph = space.resolve(&picks).expect("valid picks");
            assert_eq!(table.of(&picks), graph.cost().macs as f64, "{picks:?}");
        }
        assert_eq!((table.least(), table.most()), (16.0, 64.0 + 64.0 + 16.0));
        assert_eq!(space.size(), 16.0);
    }

    #[test]
    fn weights_keep_their_names() {
        let graph = space().resolve(&[1, 3]).expect("valid picks");
        let names: Vec<_> = graph.params().into_iter().map(|(name, _)| name).collect();
        let wanted = [
            "slot0.g2.linear.weight",
            "slot0.g2.linear.bias",
            "head.weight",
            "head.bias",
        ];
        assert_eq!(names, wanted);
    }

    #[test]
    fn another_batch_reaches_the_bodies() {
        let space = space().with_inputs(&[vec![5, 8]]).expect("any batch");
        assert_eq!(space.slots()[1].choices()[0].output_shape(), [5, 8]);
        assert_eq!(
            space.resolve(&[0, 3]).expect("valid picks").nodes()[0].shape,
            [5, 8]
        );
    }

    #[test]
    fn wrong_picks_are_errors() {
        assert!(space().resolve(&[0]).is_err());
        assert!(space().resolve(&[0, 9]).is_err());
    }
}
