//! Computes only the tokens that are read: what selects one token moves before the layers that
//! treat each token alone.

use std::collections::HashMap;

use squeeze_graph::ops::Select;
use squeeze_graph::{Builder, Graph, Node, NodeId, Op};

/// The same network with every selection of a token as early as it can be.
pub(crate) fn needed_rows(graph: &Graph) -> Graph {
    let only = only_rows(graph);
    let mut b = Builder::new(graph.name());
    let mut place: Vec<NodeId> = vec![];
    let mut picked: HashMap<(NodeId, usize), NodeId> = HashMap::new();
    for (id, node) in graph.ids().zip(graph.nodes()) {
        if let Op::Select(_) = node.op
            && only.contains_key(&node.inputs[0])
        {
            place.push(place[node.inputs[0].0]);
            continue;
        }
        let mut inputs = vec![];
        for &input in &node.inputs {
            let whole = place[input.0];
            inputs.push(match only.get(&id) {
                Some(&index)
                    if graph.node(input).shape.len() == 3 && !only.contains_key(&input) =>
                {
                    *picked.entry((input, index)).or_insert_with(|| {
                        let name = format!("{}.token{index}", graph.node(input).name);
                        b.add(name, Select { axis: 1, index }, &[whole])
                            .expect("the token is there")
                    })
                }
                _ => whole,
            });
        }
        place.push(
            b.copy(node, node.op.clone(), &inputs)
                .expect("rows are treated alike"),
        );
    }
    let outputs: Vec<_> = graph.outputs().iter().map(|id| place[id.0]).collect();
    b.finish(&outputs).expect("as many outputs as before")
}

/// The nodes of which one token is read, however often, with the token.
fn only_rows(graph: &Graph) -> HashMap<NodeId, usize> {
    let mut only = HashMap::new();
    let mut wanted = vec![Wanted::Nothing; graph.nodes().len()];
    for output in graph.outputs() {
        wanted[output.0] = Wanted::Whole;
    }
    for (at, node) in graph.nodes().iter().enumerate().rev() {
        let passes_on = node.shape.len() == 3 && treats_rows_alike(node);
        let own = match (&node.op, wanted[at]) {
            (_, Wanted::Nothing) => continue,
            (Op::Select(select), _) if select.axis == 1 => Wanted::Token(select.index),
            (_, Wanted::Token(index)) if passes_on => {
                only.insert(NodeId(at), index);
                Wanted::Token(index)
            }
            _ => Wanted::Whole,
        };
        for input in &node.inputs {
            let all = &mut wanted[input.0];
            *all = match *all == Wanted::Nothing || *all == own {
                true => own,
                false => Wanted::Whole,
            };
        }
    }
    only
}

/// What of a node's result is read by those behind it that were looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Nothing,
    Token(usize),
    Whole,
}

/// Whether each token's result follows from that token alone.
fn treats_rows_alike(node: &Node) -> bool {
    matches!(
        node.op,
        Op::Linear(_)
            | Op::LayerNorm(_)
            | Op::BatchNorm(_)
            | Op::NoNorm(_)
            | Op::Activation(_)
            | Op::Add(_)
            | Op::Mul(_)
            | Op::Scale(_)
            | Op::Softmax(_)
            | Op::ChannelShuffle(_)
            | Op::Dropout(_)
    )
}

#[cfg(test)]
mod tests {
    use squeeze_graph::Element;
    use squeeze_graph::ops::{Activation, Add, LayerNorm, Linear};

    use super::*;

    #[test]
    fn a_selection_moves_before_layers() {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[2, 5, 4], Element::Number).expect("fits");
        let up = b.add("up", Linear::dense(8), &[x]).expect("fits");
        let act = b.add("act", Activation::Gelu, &[up]).expect("fits");
        let down = b.add("down", Linear::dense(4), &[act]).expect("fits");
        let sum = b.add("sum", Add {}, &[down, x]).expect("fits");
        let norm = b.add("norm", LayerNorm::default(), &[sum]).expect("fits");
        let first = b
            .add("first", Select { axis: 1, index: 0 }, &[norm])
            .expect("fits");
        let head = b.add("head", Linear::dense(3), &[first]).expect("fits");
        let graph = needed_rows(&b.finish(&[head]).expect("one output"));
        let names: Vec<_> = graph.nodes().iter().map(|node| &node.name[..]).collect();
        let wanted = ["x", "x.token0", "up", "act", "down", "sum", "norm", "head"];
        assert_eq!(names, wanted);
        assert_eq!(graph.cost().macs, 2 * (4 * 8 * 2 + 4 * 3));
    }

    #[test]
    fn a_selection_moves_before_what_is_read_twice() {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[2, 5, 4], Element::Number).expect("fits");
        let norm = b.add("norm", LayerNorm::default(), &[x]).expect("fits");
        let up = b.add("up", Linear::dense(4), &[norm]).expect("fits");
        let sum = b.add("sum", Add {}, &[up, norm]).expect("fits");
        let select = Select { axis: 1, index: 2 };
        let [sum, again] = [sum, norm].map(|of| {
            let name = format!("third of {}", of.0);
            b.add(name, select.clone(), &[of]).expect("fits")
        });
        let graph = needed_rows(&b.finish(&[sum, again]).expect("two outputs"));
        let names: Vec<_> = graph.nodes().iter().map(|node| &node.name[..]).collect();
        assert_eq!(names, ["x", "x.token2", "norm", "up", "sum"]);
    }

    #[test]
    fn what_others_read_stays_whole() {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 5, 4], Element::Number).expect("fits");
        let up = b.add("up", Linear::dense(8), &[x]).expect("fits");
        let first = b
            .add("first", Select { axis: 1, index: 0 }, &[up])
            .expect("fits");
        let graph = b.finish(&[first, up]).expect("two outputs");
        assert_eq!(needed_rows(&graph), graph);
    }
}
