//! What a network costs, answered without running anything.

use std::ops::AddAssign;

use crate::graph::{Element, Graph, Node};
use crate::op::Op;
use crate::param::Role;
use crate::placement::{Interval, Placement, place};
use crate::shape::elements;

/// Cost of a node or a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-adds.
    pub macs: u64,
    /// Trained numbers.
    pub params: u64,
    /// Bytes of all weights and statistics in `f32`.
    pub weight_bytes: u64,
    /// Bytes written as activations.
    pub activation_bytes: u64,
}

impl Cost {
    /// Floating-point operations: two for each multiply-add.
    pub fn flops(&self) -> u64 {
        2 * self.macs
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.macs += other.macs;
        self.params += other.params;
        self.weight_bytes += other.weight_bytes;
        self.activation_bytes += other.activation_bytes;
    }
}

impl Graph {
    /// Cost of one node.
    pub fn cost_of(&self, node: &Node) -> Cost {
        // Shared weights are the earlier node's.
        let params = match self.shares(node) {
            true => vec![],
            false => self.params_of(node),
        };
        let count = |statistics: bool| -> u64 {
            let wanted = params
                .iter()
                .filter(|p| (p.role == Role::Statistic) == statistics);
            wanted.map(|p| elements(&p.shape) as u64).sum()
        };
        Cost {
            macs: node.op.macs(&self.input_shapes(node), &node.shape),
            params: count(false),
            weight_bytes: 4 * (count(false) + count(true)),
            activation_bytes: 4 * elements(&node.shape) as u64,
        }
    }

    /// Cost of the whole network.
    pub fn cost(&self) -> Cost {
        let mut total = Cost::default();
        self.nodes
            .iter()
            .for_each(|node| total += self.cost_of(node));
        total
    }

    /// Where each node's result lies in one arena: results whose lives do not overlap share bytes,
    /// and element-wise operators overwrite an input that nobody else needs.
    ///
    /// Gives the place of each node, and the arena's size: the peak working memory.
    pub fn placement(&self) -> Placement {
        let mut last: Vec<usize> = (0..self.nodes.len()).collect();
        for (at, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|id| last[id.0] = at);
        }
        self.outputs
            .iter()
            .for_each(|id| last[id.0] = self.nodes.len());
        // A node that works in place continues the life of its first input.
        let mut owner: Vec<usize> = (0..self.nodes.len()).collect();
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(first) = node.inputs.first().map(|id| owner[id.0]) else {
                continue;
            };
            let bytes = |at: usize| elements(&self.nodes[at].shape);
            let input_is_free = !matches!(self.nodes[first].op, Op::Input(_))
                && self.nodes[first].element == Element::Number;
            let dies_here = last[node.inputs[0].0] == at && last[first] == at;
            if node.op.works_in_place() && input_is_free && dies_here && bytes(first) == bytes(at) {
                owner[at] = first;
                last[first] = last[at];
            }
        }
        let owners: Vec<usize> = (0..owner.len()).filter(|&at| owner[at] == at).collect();
        let interval = |&at: &usize| Interval {
            bytes: 4 * elements(&self.nodes[at].shape),
            first: at,
            last: last[at],
        };
        let placed = place(&owners.iter().map(interval).collect::<Vec<_>>());
        let place_of = |at: usize| {
            let index = owners
                .binary_search(&owner[at])
                .expect("every owner is listed");
            placed.offsets[index]
        };
        Placement {
            offsets: (0..owner.len()).map(place_of).collect(),
            bytes: placed.bytes,
        }
    }
}
