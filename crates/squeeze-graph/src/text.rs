//! The text form: TOML with one `[[node]]` a node, which round-trips; the same structure as JSON
//! goes into model files.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::builder::Builder;
use crate::graph::{Graph, GraphError, NodeId};
use crate::op::Op;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    outputs: Vec<String>,
    node: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    /// The node whose weights it has too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weights: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<String>,
    #[serde(flatten)]
    op: Op,
}

impl Graph {
    /// The network as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(&File::from(self)).expect("every row has a text form")
    }

    /// Reads a network from TOML.
    ///
    /// # Errors
    /// When the text is no network, or an operator cannot take its inputs.
    pub fn from_toml(text: &str) -> Result<Self, GraphError> {
        let file: File = toml::from_str(text).map_err(|error| GraphError::Text {
            reason: error.to_string(),
        })?;
        file.graph()
    }
}

impl From<&Graph> for File {
    fn from(graph: &Graph) -> Self {
        let names = |ids: &[NodeId]| ids.iter().map(|&id| graph.node(id).name.clone()).collect();
        let row = |node: &crate::Node| Row {
            name: node.name.clone(),
            weights: graph.shares(node).then(|| node.weights.clone()),
            inputs: names(&node.inputs),
            op: node.op.clone(),
        };
        Self {
            name: graph.name.clone(),
            outputs: names(&graph.outputs),
            node: graph.nodes.iter().map(row).collect(),
        }
    }
}

impl File {
    fn graph(self) -> Result<Graph, GraphError> {
        let mut places: HashMap<String, NodeId> = HashMap::new();
        let find = |places: &HashMap<String, NodeId>, node: &str, input: &String| {
            let missing = || GraphError::Missing {
                node: node.into(),
                input: input.clone(),
            };
            places.get(input).copied().ok_or_else(missing)
        };
        let mut b = Builder::new(self.name);
        for row in self.node {
            let inputs: Result<Vec<_>, _> = row
                .inputs
                .iter()
                .map(|input| find(&places, &row.name, input))
                .collect();
            let weights = row.weights.unwrap_or_else(|| row.name.clone());
            let id = b.place([row.name.clone(), weights], row.op, &inputs?)?;
            places.insert(row.name, id);
        }
        let outputs: Result<Vec<_>, _> = self
            .outputs
            .iter()
            .map(|output| find(&places, "outputs", output))
            .collect();
        b.finish(&outputs?)
    }
}

impl Serialize for Graph {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        File::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Graph {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        File::deserialize(deserializer)?
            .graph()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Element;
    use crate::ops::{Activation, BatchNorm, Conv2d, GlobalAverage, LayerNorm, Linear};

    fn graph() -> Graph {
        let mut b = Builder::new("tiny");
        let x = b
            .input("image", &[1, 3, 8, 8], Element::Number)
            .expect("fits");
        let conv = Conv2d {
            stride: [2; 2],
            ..Conv2d::square(8, 3)
        };
        let x = b.add("conv", conv, &[x]).expect("fits");
        let x = b.add("norm", BatchNorm::default(), &[x]).expect("fits");
        let x = b.add("act", Activation::HardSwish, &[x]).expect("fits");
        let x = b.add("pool", GlobalAverage {}, &[x]).expect("fits");
        let x = b.add("ln", LayerNorm::default(), &[x]).expect("fits");
        let x = b.add("head", Linear::grouped(4, 2), &[x]).expect("fits");
        b.finish(&[x]).expect("one output")
    }

    #[test]
    fn round_trips() {
        let graph = graph();
        assert_eq!(Graph::from_toml(&graph.to_toml()).expect("own text"), graph);
    }

    #[test]
    fn errors_say_where() {
        let text = graph()
            .to_toml()
            .replace("inputs = [\"norm\"]", "inputs = [\"nrm\"]");
        let error = Graph::from_toml(&text).expect_err("no such node");
        assert_eq!(error.to_string(), "act: there is no earlier node `nrm`");
        let text = graph().to_toml().replace("hard_swish", "hard_swosh");
        assert!(
            Graph::from_toml(&text)
                .expect_err("no such kind")
                .to_string()
                .contains("line")
        );
    }
}
