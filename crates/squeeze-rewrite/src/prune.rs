//! The smallest weights of each layer become zero (Han et al., "Learning both Weights and Connections for Efficient Neural Networks",
//! 2015).
//!
//! Each layer loses the same fraction, at once and without training between; a block of neighbouring output channels of one input
//! counts by its L2 norm over its size, so that the last, smaller block of a group is not the first to go. Batch norms are folded
//! first, since a channel's scale is part of its weights. What stays dense: the first convolution of an image and the layers that an
//! output follows from without further weights, where few weights do much; depthwise convolutions and embeddings, which no product
//! reads.

use squeeze_graph::{Graph, NodeId, Op};
use squeeze_tensor::{Tensor, Weights};

use crate::check::WeightsError;
use crate::norms::fold_norms;

/// What to make zero in each layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prune {
    /// The fraction of blocks, at least 0 and below 1; rounded down to whole blocks.
    pub fraction: f64,
    /// Neighbouring output channels of a group that are zero together; one is unstructured.
    pub block: usize,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Name of the layer.
    pub name: String,
    /// How many weights it has.
    pub weights: usize,
    /// How many of them are zero.
    pub zeros: usize,
    /// Why it stays as it was, if it does.
    pub kept: Option<&'static str>,
}

/// The network with its batch norms folded and the smallest blocks of its weights zero, and what became of each layer.
///
/// # Errors
/// When the weights are not those of the network.
///
/// # Panics
/// When the fraction is not in `0..1` or the block is zero.
pub fn prune(
    graph: &Graph,
    weights: &Weights,
    prune: &Prune,
) -> Result<(Graph, Weights, Vec<Pruned>), WeightsError> {
    assert!((0.0..1.0).contains(&prune.fraction) && prune.block > 0);
    let (graph, mut weights) = fold_norms(graph, weights)?;
    let last = last_layers(&graph);
    let first = graph
        .ids()
        .find(|&id| matches!(graph.node(id).op, Op::Conv2d(_)));
    let mut layers = vec![];
    for id in graph.ids() {
        let node = graph.node(id);
        let Some(groups) = groups(&node.op) else {
            continue;
        };
        if graph.shares(node) {
            continue;
        }
        let path = format!("{}.weight", node.name);
        let weight = weights.get(&path).expect("weights were checked");
        let (shape, mut values) = (weight.shape().to_vec(), weight.floats());
        let kept = if first == Some(id) {
            Some("first convolution")
        } else if last.contains(&id) {
            Some("last layer")
        } else if groups > 1 && shape[1] == 1 {
            Some("depthwise")
        } else {
            None
        };
        if kept.is_none() {
            clear(&mut values, (shape[0] / groups, groups), prune);
            weights.insert(path, Tensor::from_f32(&shape, &values));
        }
        layers.push(Pruned {
            name: node.name.clone(),
            weights: values.len(),
            zeros: values.iter().filter(|&&value| value == 0.0).count(),
            kept,
        });
    }
    Ok((graph, weights, layers))
}

/// The groups of a layer whose weights are those of a product.
fn groups(op: &Op) -> Option<usize> {
    match op {
        Op::Linear(layer) => Some(layer.groups),
        Op::Conv1d(layer) => Some(layer.groups),
        Op::Conv2d(layer) => Some(layer.groups),
        _ => None,
    }
}

/// The layers that an output follows from without further weights.
fn last_layers(graph: &Graph) -> Vec<NodeId> {
    let (mut last, mut open) = (vec![], graph.outputs().to_vec());
    while let Some(id) = open.pop() {
        let node = graph.node(id);
        if groups(&node.op).is_some() {
            last.push(id);
        } else if graph.params_of(node).is_empty() {
            open.extend(&node.inputs);
        }
    }
    last
}

/// Clears the smallest blocks of a weight `[groups * n, inputs]`.
fn clear(values: &mut [f32], (n, groups): (usize, usize), prune: &Prune) {
    let inputs = values.len() / (n * groups);
    let mut blocks = vec![];
    for group in 0..groups {
        for start in (0..n).step_by(prune.block) {
            let rows = prune.block.min(n - start);
            for input in 0..inputs {
                let at = (group * n + start) * inputs + input;
                let column = values[at..].iter().step_by(inputs).take(rows);
                let square: f64 = column.map(|&value| f64::from(value).powi(2)).sum();
                blocks.push((square / rows as f64, at, rows));
            }
        }
    }
    let count = (prune.fraction * blocks.len() as f64) as usize;
    // Equal norms go in the order of the weights.
    blocks.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    for &(_, at, rows) in &blocks[..count] {
        let column = values[at..].iter_mut().step_by(inputs).take(rows);
        column.for_each(|value| *value = 0.0);
    }
}

#[cfg(test)]
mod tests {
    use squeeze_graph::ops::{Activation, BatchNorm, ClassToken, Conv2d, GlobalAverage, Linear};
    use squeeze_graph::{Builder, Element};
    use squeeze_tensor::Seed;

    use super::*;

    fn image() -> Graph {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 3, 8, 8], Element::Number).expect("fits");
        let mut y = b.add("first", Conv2d::square(16, 3), &[x]).expect("fits");
        let deep = Conv2d {
            groups: 16,
            ..Conv2d::square(16, 3)
        };
        let point = Conv2d {
            groups: 2,
            ..Conv2d::square(20, 1)
        };
        for (name, conv) in [("deep", deep), ("point", point)] {
            y = b.add(name, conv, &[y]).expect("fits");
            let norm = format!("{name}_norm");
            y = b.add(norm, BatchNorm::default(), &[y]).expect("fits");
        }
        let y = b.add("pool", GlobalAverage {}, &[y]).expect("fits");
        let y = b.add("hidden", Linear::dense(32), &[y]).expect("fits");
        let y = b.add("head", Linear::dense(2), &[y]).expect("fits");
        let y = b.add("act", Activation::Tanh, &[y]).expect("fits");
        b.finish(&[y]).expect("one output")
    }

    #[track_caller]
    fn check(fraction: f64, block: usize, wanted: [usize; 2]) {
        let graph = image();
        let weights = crate::fresh(&graph, Seed(1));
        let how = Prune { fraction, block };
        let (folded, pruned, layers) = prune(&graph, &weights, &how).expect("its own weights");
        assert_eq!(folded.census().get("batch_norm"), None);
        let of = |layer: &Pruned| (layer.name.clone(), layer.zeros, layer.kept);
        let found: Vec<_> = layers.iter().map(of).collect();
        let [point, hidden] = wanted;
        let wanted = [
            ("first", 0, Some("first convolution")),
            ("deep", 0, Some("depthwise")),
            ("point", point, None),
            ("hidden", hidden, None),
            ("head", 0, Some("last layer")),
        ];
        assert_eq!(
            found,
            wanted.map(|(name, n, why)| (name.to_string(), n, why))
        );
        for (name, tensor) in pruned.iter() {
            let zeros = tensor.floats().iter().filter(|&&v| v == 0.0).count();
            let layer = layers
                .iter()
                .find(|layer| name == format!("{}.weight", layer.name));
            assert!(layer.is_none_or(|layer| layer.zeros == zeros), "{name}");
        }
    }

    #[test]
    fn fractions_of_each_layer() {
        // The point layer has 20 x 8 weights, the hidden one 32 x 20.
        check(0.0, 1, [0, 0]);
        check(0.5, 1, [80, 320]);
        check(0.9, 1, [144, 576]);
        check(0.999, 1, [159, 639]);
    }

    #[test]
    fn rows_in_front_of_tokens_stay() {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 4, 8], Element::Number).expect("fits");
        let y = b.add("up", Linear::dense(8), &[x]).expect("fits");
        let y = b.add("class", ClassToken { tokens: 2 }, &[y]);
        let y = b.add("down", Linear::dense(8), &[y.expect("fits")]);
        let y = b.add("head", Linear::dense(3), &[y.expect("fits")]);
        let graph = b.finish(&[y.expect("fits")]).expect("one output");
        let weights = crate::fresh(&graph, Seed(1));
        let how = Prune {
            fraction: 0.5,
            block: 1,
        };
        let (_, pruned, layers) = prune(&graph, &weights, &how).expect("its own weights");
        let zeros: Vec<_> = layers
            .iter()
            .map(|layer| (&*layer.name, layer.zeros))
            .collect();
        assert_eq!(zeros, [("up", 32), ("down", 32), ("head", 0)]);
        assert_eq!(pruned.get("class.weight"), weights.get("class.weight"));
    }

    #[test]
    fn blocks_end_with_their_group() {
        // Each of the point layer's groups has 10 outputs: blocks of 4, 4 and 2; all norms are different, so the zeros depend on them.
        let graph = image();
        let weights = crate::fresh(&graph, Seed(1));
        let how = Prune {
            fraction: 0.5,
            block: 4,
        };
        let (_, pruned, layers) = prune(&graph, &weights, &how).expect("its own weights");
        let point = pruned.get("point.weight").expect("a layer").floats();
        let mut cleared = 0;
        for (group, start) in [0, 1].into_iter().flat_map(|g| [0, 4, 8].map(|s| (g, s))) {
            for k in 0..8 {
                let rows =
                    (start..(start + 4).min(10)).map(|row| point[(group * 10 + row) * 8 + k]);
                let zeros = rows.clone().filter(|&v| v == 0.0).count();
                assert!(zeros == 0 || zeros == rows.len());
                cleared += usize::from(zeros > 0);
            }
        }
        assert_eq!(cleared, 24, "half of 2 x 3 x 8 blocks");
        assert_eq!(layers[3].zeros, 320, "half of 8 x 20 blocks of 4");
    }

    #[test]
    fn the_smallest_go() {
        // Blocks of two rows: norms 5, 0.5 (of 1 and 0), 3 and 1.
        let mut values = [5.0, 1.0, 3.0, -1.0, -5.0, 0.0, 3.0, 1.0];
        let how = Prune {
            fraction: 0.5,
            block: 2,
        };
        clear(&mut values, (2, 1), &how);
        assert_eq!(values, [5.0, 0.0, 3.0, 0.0, -5.0, 0.0, 3.0, 0.0]);
        let mut values = [0.5, -2.0, 1.0, -0.25];
        let one = Prune { block: 1, ..how };
        clear(&mut values, (2, 1), &one);
        assert_eq!(values, [0.0, -2.0, 1.0, 0.0]);
    }
}
