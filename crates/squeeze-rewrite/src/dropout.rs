//! The form a network has at inference: without dropout.

use squeeze_graph::{Builder, Graph, NodeId, Op};

/// The network without its dropout nodes.
///
/// # Panics
/// Never: a node that took a dropout's output takes its input, which is of the same shape.
pub fn drop_dropout(graph: &Graph) -> Graph {
    let mut b = Builder::new(graph.name());
    let mut place: Vec<NodeId> = vec![];
    for node in graph.nodes() {
        let inputs: Vec<_> = node.inputs.iter().map(|id| place[id.0]).collect();
        place.push(match node.op {
            Op::Dropout(_) => inputs[0],
            _ => b
                .copy(node, node.op.clone(), &inputs)
                .expect("the same node fitted before"),
        });
    }
    let outputs: Vec<_> = graph.outputs().iter().map(|id| place[id.0]).collect();
    b.finish(&outputs).expect("as many outputs as before")
}

#[cfg(test)]
mod tests {
    use squeeze_graph::Element;
    use squeeze_graph::ops::{Dropout, Linear};

    use super::*;

    #[test]
    fn users_take_what_dropout_took() {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 4], Element::Number).expect("fits");
        let y = b.add("drop", Dropout { rate: 0.1 }, &[x]).expect("fits");
        let y = b.add("head", Linear::dense(2), &[y]).expect("fits");
        let y = b.add("last", Dropout { rate: 0.1 }, &[y]).expect("fits");
        let graph = drop_dropout(&b.finish(&[y]).expect("one output"));
        let names: Vec<_> = graph.nodes().iter().map(|node| &node.name).collect();
        assert_eq!(names, ["x", "head"]);
        assert_eq!(graph.outputs(), [NodeId(1)]);
    }
}
