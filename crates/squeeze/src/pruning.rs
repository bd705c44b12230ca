//! Pruning on the command line: its arguments, and what is left of a network's multiply-adds.

use anyhow::Context;
use squeeze_graph::Graph;
use squeeze_rewrite::{Prune, Pruned, prune};
use squeeze_tensor::Weights;

/// The shapes that `--block` takes.
const BLOCKS: [(&str, usize); 3] = [("1x1", 1), ("4x1", 4), ("16x1", 16)];

/// Neighbouring output channels that are zero together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block(pub usize);

/// Reads a fraction of at least 0 and below 1: `0.9`.
///
/// # Errors
/// When it is not a number there.
pub fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(fraction) if (0.0..1.0).contains(&fraction) => Ok(fraction),
        _ => Err("a fraction of the weights: at least 0 and below 1, e.g. 0.9".into()),
    }
}

/// Reads a block: output channels x inputs.
///
/// # Errors
/// When no kernel leaves out such blocks.
pub fn block(text: &str) -> Result<Block, String> {
    let found = BLOCKS.iter().find(|(name, _)| *name == text);
    found.map(|(_, outputs)| Block(*outputs)).ok_or_else(|| {
        "output channels x inputs that are zero together: 1x1, 4x1 or 16x1".to_string()
    })
}

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x1", self.0)
    }
}

/// Prunes a network.
///
/// # Errors
/// When the weights are not the network's.
pub fn apply(
    (graph, weights): (&Graph, &Weights),
    fraction: f64,
    block: Block,
) -> anyhow::Result<(Graph, Weights, Vec<Pruned>)> {
    let how = Prune {
        fraction,
        block: block.0,
    };
    prune(graph, weights, &how).with_context(|| format!("cannot prune {}", graph.name()))
}

/// Multiply-adds of a network without those of weights that are zero.
pub fn macs(graph: &Graph, layers: &[Pruned]) -> u64 {
    let of = |node: &squeeze_graph::Node| {
        let macs = graph.cost_of(node).macs;
        match layers.iter().find(|layer| layer.name == node.name) {
            Some(layer) => macs / layer.weights as u64 * (layer.weights - layer.zeros) as u64,
            None => macs,
        }
    };
    graph.nodes().iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        assert_eq!(fraction("0.9"), Ok(0.9));
        for text in ["1", "-0.1", "90", "nan", "x", ""] {
            assert!(fraction(text).is_err(), "{text}");
        }
        for (text, outputs) in BLOCKS {
            assert_eq!(block(text), Ok(Block(outputs)));
            assert_eq!(Block(outputs).to_string(), text);
        }
        assert!(block("1x4").is_err());
    }

    #[test]
    fn zeros_are_not_counted() {
        let options = squeeze_zoo::Options::default();
        let graph = squeeze_zoo::build("squeezenet1_1", &options).expect("a known name");
        let weights = squeeze_rewrite::fresh(&graph, squeeze_tensor::Seed(0));
        let (graph, _, layers) = apply((&graph, &weights), 0.75, Block(1)).expect("its own");
        let dense: u64 = graph.cost().macs;
        let kept = |layer: &&Pruned| layer.kept.is_some();
        let kept: u64 = layers
            .iter()
            .filter(kept)
            .map(|layer| {
                let node = graph.find(&layer.name).expect("a layer");
                graph.cost_of(graph.node(node)).macs
            })
            .sum();
        // All of its layers have a number of weights that four divides.
        assert_eq!(macs(&graph, &layers), kept + (dense - kept) / 4);
    }
}
