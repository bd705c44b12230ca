//! Which weights become bytes, once and for all machines: those that plans in bytes read as bytes.

use std::collections::BTreeMap;

use squeeze_graph::{Graph, Node, NodeId, Op};
use squeeze_kernels::{Tier, Weight};
use squeeze_rewrite::{drop_dropout, fold_norms};
use squeeze_tensor::{Tensor, Weights};

use crate::bind::target_of;
use crate::compile::fused;
use crate::error::CompileError;
use crate::kernel::multiplies_bytes;
use crate::program::{Draft, Layer, Program, Work};
use crate::target::{Precision, Target};

/// The network with its norms folded and, in bytes with a scale for each row, the weights that plans in [`Precision::Int8`] read so on
/// CPUs without matrix registers, and tables of words. Packed kernels are the same to the bit as those of the numbers. What is in
/// bytes stays as it is; a weight with numbers that are not finite stays in numbers.
///
/// # Errors
/// When the weights are not those of the network, or a node has no kernel.
pub fn quantize(graph: &Graph, weights: &Weights) -> Result<(Graph, Weights), CompileError> {
    let (graph, mut weights) = fold_norms(graph, weights)?;
    let target = Target::here(1).at(Tier::Scalar);
    let target = target.with_precision(Precision::Int8);
    let program = fused(&drop_dropout(&graph), &weights, &target)?;
    let mut layers = BTreeMap::new();
    for (step, is_head) in program.steps.iter().zip(program.heads()) {
        if let Work::Layer(layer) = &step.work
            && reads_bytes(&program, (step, layer), target_of(is_head, target))
        {
            let orders = layer.weight.orders();
            layers.extend(orders.map(|(name, order)| (name.clone(), order.map(Vec::from))));
        }
    }
    drop(program);
    for (name, order) in &layers {
        let in_bytes = |weight: &Tensor| match order {
            None => layer_in_bytes(weight),
            // As plans multiply it: which columns are neighbours counts.
            Some(order) => {
                let mut back = vec![0; order.len()];
                order
                    .iter()
                    .enumerate()
                    .for_each(|(at, &from)| back[from] = at);
                let in_bytes = layer_in_bytes(&weight.columns_in(order))?;
                Some(in_bytes.columns_in(&back))
            }
        };
        replace(&mut weights, name, in_bytes);
    }
    let tables = graph
        .nodes()
        .iter()
        .filter(|node| is_large_table(&graph, node));
    for table in tables {
        let name = format!("{}.weight", table.weights);
        replace(&mut weights, &name, |weight| in_bytes(weight, 0));
    }
    Ok((graph, weights))
}

/// Whether a node reads a table of words. Those of positions and of few rows stay numbers: they are small, and their errors would be as
/// large as those of the words that they are added to.
fn is_large_table(graph: &Graph, node: &Node) -> bool {
    const FEWEST_ROWS: usize = 256;
    let is_position = |id: &NodeId| matches!(graph.node(*id).op, Op::Position(_));
    matches!(&node.op, Op::Embedding(row) if row.rows >= FEWEST_ROWS)
        && !node.inputs.iter().any(is_position)
}

/// Whether a layer's weight is packed in bytes.
fn reads_bytes(program: &Program, (step, layer): (&Draft, &Layer), target: Target) -> bool {
    let value = |id: usize| &program.values[id];
    let mut sides = step.inputs.iter().chain([&step.output]);
    sides.any(|&id| value(id).code.is_some())
        || multiplies_bytes(layer, [value(step.inputs[0]), value(step.output)], &target)
}

/// Puts what a weight of numbers becomes in its place, if anything.
fn replace(weights: &mut Weights, name: &str, becomes: impl Fn(&Tensor) -> Option<Tensor>) {
    let weight = weights.get(name).expect("weights were checked");
    if weight.scaled().is_none()
        && let Some(next) = becomes(weight)
    {
        weights.insert(name.to_owned(), next);
    }
}

/// The weight of a layer in bytes, `[out, in, ..]`, if all of its numbers are finite.
fn layer_in_bytes(weight: &Tensor) -> Option<Tensor> {
    let apart = match weight.shape() {
        [_, _, taps @ ..] => taps.iter().product(),
        _ => 0,
    };
    in_bytes(weight, apart)
}

/// A weight in bytes whose neighbours lie so far apart, if all of its numbers are finite.
fn in_bytes(weight: &Tensor, apart: usize) -> Option<Tensor> {
    let numbers = weight.numbers();
    let (bytes, scales) = Weight::Numbers(&numbers).in_rows(weight.shape()[0], apart);
    let bytes = Tensor::from_i8(weight.shape(), &bytes);
    bytes.with_scales(&scales).ok()
}
