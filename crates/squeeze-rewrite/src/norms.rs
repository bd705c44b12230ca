//! Batch norms, and scales without a norm, folded into the layer before them.
//!
//! `norm(W x + b) = (s W) x + (s b + shift)` with `s = scale / sqrt(variance + epsilon)` and
//! `shift = bias - s * mean`, computed in double precision and rounded once.

use std::collections::HashSet;

use squeeze_graph::{Builder, Graph, Node, NodeId, Op};
use squeeze_tensor::{Tensor, Weights};

use crate::check::{WeightsError, check_weights};

/// The network with each batch norm and each scale without a norm folded into the convolution or linear layer before it.
///
/// A norm stays where it follows something else, where its input has other users, or where weights are shared.
///
/// # Errors
/// When the weights are not those of the network.
///
/// # Panics
/// Never: the folded layer gives the shape it gave before.
pub fn fold_norms(graph: &Graph, weights: &Weights) -> Result<(Graph, Weights), WeightsError> {
    check_weights(graph, weights)?;
    let uses = graph.uses();
    let shared: HashSet<&str> = graph
        .nodes()
        .iter()
        .filter(|node| graph.shares(node))
        .map(|node| &*node.weights)
        .collect();
    let alone = |node: &Node| !shared.contains(&*node.weights);
    let mut folded = weights.clone();
    let mut b = Builder::new(graph.name());
    let mut place: Vec<NodeId> = vec![];
    for (id, node) in graph.ids().zip(graph.nodes()) {
        let inputs: Vec<_> = node.inputs.iter().map(|id| place[id.0]).collect();
        if folds(&node.op) && alone(node) {
            let (before, layer) = (node.inputs[0], graph.node(node.inputs[0]));
            if uses[before.0] == 1 && with_bias(&layer.op).is_some() && alone(layer) {
                fold(&mut folded, layer, node);
                place.push(inputs[0]);
                continue;
            }
        }
        let norm_follows = uses[id.0] == 1
            && alone(node)
            && graph
                .nodes()
                .iter()
                .any(|user| user.inputs.contains(&id) && folds(&user.op) && alone(user));
        let op = with_bias(&node.op).filter(|_| norm_follows);
        let op = op.unwrap_or_else(|| node.op.clone());
        let added = b.copy(node, op, &inputs);
        place.push(added.expect("a bias changes no shape"));
    }
    let outputs: Vec<_> = graph.outputs().iter().map(|id| place[id.0]).collect();
    let graph = b.finish(&outputs).expect("as many outputs as before");
    Ok((graph, folded))
}

/// The same layer with a bias; nothing for operators that have none.
fn with_bias(op: &Op) -> Option<Op> {
    let mut op = op.clone();
    match &mut op {
        Op::Conv2d(conv) => conv.bias = true,
        Op::Conv1d(conv) => conv.bias = true,
        Op::Linear(linear) => linear.bias = true,
        _ => return None,
    }
    Some(op)
}

/// Whether an operator scales and shifts channels at inference.
fn folds(op: &Op) -> bool {
    matches!(op, Op::BatchNorm(_) | Op::NoNorm(_))
}

fn fold(weights: &mut Weights, layer: &Node, norm: &Node) {
    let mut take = |suffix: &str| {
        let tensor = weights.remove(&format!("{}.{suffix}", norm.name));
        tensor.expect("weights were checked").floats()
    };
    let (scale, shift) = (take("weight"), take("bias"));
    let (mean, factors): (Vec<f32>, Vec<f64>) = match &norm.op {
        Op::BatchNorm(row) => {
            let (mean, variance) = (take("running_mean"), take("running_var"));
            let factor = |(&scale, &variance): (&f32, &f32)| {
                f64::from(scale) / (f64::from(variance) + row.epsilon).sqrt()
            };
            (mean, scale.iter().zip(&variance).map(factor).collect())
        }
        _ => (
            vec![0.0; scale.len()],
            scale.iter().map(|&scale| f64::from(scale)).collect(),
        ),
    };
    let name = |suffix: &str| format!("{}.{suffix}", layer.name);
    let weight = weights
        .remove(&name("weight"))
        .expect("weights were checked");
    let bias = weights.remove(&name("bias")).map(|bias| bias.floats());
    // weight is [out, ..]
    let mut values = weight.floats();
    let row_length = values.len() / factors.len();
    let bias: Vec<f32> = factors
        .iter()
        .enumerate()
        .map(|(out, &factor)| {
            for value in &mut values[out * row_length..][..row_length] {
                *value = (f64::from(*value) * factor) as f32;
            }
            let old = bias.as_ref().map_or(0.0, |bias| f64::from(bias[out]));
            ((old - f64::from(mean[out])) * factor + f64::from(shift[out])) as f32
        })
        .collect();
    weights.insert(name("weight"), Tensor::from_f32(weight.shape(), &values));
    weights.insert(name("bias"), Tensor::from_f32(&[bias.len()], &bias));
}

#[cfg(test)]
mod tests {
    use squeeze_graph::Element;
    use squeeze_graph::ops::{Activation, BatchNorm, Conv2d, NoNorm};

    use super::*;

    fn graph(between: bool) -> Graph {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 4, 1, 1], Element::Number).expect("fits");
        let mut y = b
            .add(
                "conv",
                Conv2d {
                    groups: 2,
                    ..Conv2d::square(2, 1)
                },
                &[x],
            )
            .expect("fits");
        if between {
            y = b.add("relu", Activation::Relu, &[y]).expect("fits");
        }
        let y = b.add("norm", BatchNorm::default(), &[y]).expect("fits");
        b.finish(&[y]).expect("one output")
    }

    fn weights() -> Weights {
        let tensor = |shape: &[usize], values: &[f32]| Tensor::from_f32(shape, values);
        let rows = [
            ("conv.weight", tensor(&[2, 2, 1, 1], &[1.0, 2.0, -3.0, 0.5])),
            ("norm.weight", tensor(&[2], &[2.0, 0.5])),
            ("norm.bias", tensor(&[2], &[0.25, -1.0])),
            ("norm.running_mean", tensor(&[2], &[3.0, -1.0])),
            ("norm.running_var", tensor(&[2], &[4.0, 0.25])),
        ];
        rows.into_iter()
            .map(|(name, tensor)| (name.to_string(), tensor))
            .collect()
    }

    #[test]
    fn folded_numbers() {
        let (graph, weights) = fold_norms(&graph(false), &weights()).expect("weights fit");
        assert_eq!(graph.nodes().len(), 2);
        check_weights(&graph, &weights).expect("the bias is there");
        let factors = [2.0 / 4.00001_f64.sqrt(), 0.5 / 0.25001_f64.sqrt()];
        let wanted = [1.0, 2.0, -3.0, 0.5].map(f64::from);
        let found = weights.get("conv.weight").expect("kept").floats();
        for at in 0..4 {
            assert_eq!(found[at], (wanted[at] * factors[at / 2]) as f32);
        }
        let bias = weights.get("conv.bias").expect("added").floats();
        assert_eq!(bias[0], (-3.0 * factors[0] + 0.25) as f32);
        assert_eq!(bias[1], (factors[1] - 1.0) as f32);
    }

    #[test]
    fn a_scale_without_a_norm_is_folded() {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 4, 1, 1], Element::Number).expect("fits");
        let conv = Conv2d {
            groups: 2,
            ..Conv2d::square(2, 1)
        };
        let y = b.add("conv", conv, &[x]).expect("fits");
        let y = b.add("norm", NoNorm {}, &[y]).expect("fits");
        let graph = b.finish(&[y]).expect("one output");
        let mut weights = weights();
        for statistic in ["running_mean", "running_var"] {
            weights.remove(&format!("norm.{statistic}"));
        }
        let (graph, weights) = fold_norms(&graph, &weights).expect("weights fit");
        assert_eq!(graph.nodes().len(), 2);
        let floats = |name: &str| weights.get(name).expect("kept").floats();
        assert_eq!(floats("conv.weight"), [2.0, 4.0, -1.5, 0.25]);
        assert_eq!(floats("conv.bias"), [0.25, -1.0]);
    }

    #[test]
    fn norms_of_shared_layers_stay() {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 2, 1, 1], Element::Number).expect("fits");
        let y = b.add("conv", Conv2d::square(2, 1), &[x]).expect("fits");
        let y = b.add("norm", BatchNorm::default(), &[y]).expect("fits");
        let y = b.repeat(1..3, ".1", [x, y]).expect("fits again");
        let before = b.finish(&[y]).expect("one output");
        let (after, weights) = fold_norms(&before, &weights()).expect("weights fit");
        assert_eq!(after, before);
        check_weights(&after, &weights).expect("nothing changed");
    }

    #[test]
    fn a_norm_after_something_else_stays() {
        let before = graph(true);
        let (after, weights) = fold_norms(&before, &weights()).expect("weights fit");
        assert_eq!(after, before);
        check_weights(&after, &weights).expect("nothing changed");
    }

    #[test]
    fn foreign_weights_are_refused() {
        assert!(fold_norms(&graph(true), &Weights::default()).is_err());
    }
}
