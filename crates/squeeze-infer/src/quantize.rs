//! Which weights become bytes, once and for all machines: those that plans in bytes read as bytes.

use std::collections::BTreeMap;

use squeeze_graph::{Graph, Node, NodeId, Op};
use squeeze_kernels::{Tier, Weight};
use squeeze_rewrite::{drop_dropout, fold_norms};
use squeeze_tensor::{Tensor, Weights};

use crate::bind::target_of;
use crate::compile::fused;
use crate::error::CompileError;
use crate::input::Input;
use crate::kernel::multiplies_bytes;
use crate::program::{Draft, Layer, Program, Work};
use crate::ranges::{Observed, observe};
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

/// [`quantize`] with the ranges that examples show ([`calibrate`](crate::calibrate)), and with biases that take back by how much rounded weights shift a
/// channel in the mean over the examples: by the error of each weight times the mean of what it multiplies (Nagel, van Baalen,
/// Blankevoort and Welling 2019, "Data-free quantization through weight equalization and bias correction", whose means are those of
/// batch norms; these are seen).
///
/// # Errors
/// When the weights are not those of the network, or a node has no kernel.
///
/// # Panics
/// When an example does not fit the network's inputs.
pub fn quantize_for(
    graph: &Graph,
    weights: &Weights,
    target: &Target,
    examples: &[Vec<Input>],
) -> Result<(Graph, Weights), CompileError> {
    let Observed { weights, means } = observe(graph, weights, target, examples)?;
    let (graph, mut quantized) = quantize(graph, &weights)?;
    let (_, numbers) = fold_norms(&graph, &weights)?;
    for node in graph.nodes().iter().filter(|node| !graph.shares(node)) {
        let [weight, bias] = ["weight", "bias"].map(|name| format!("{}.{name}", node.weights));
        let sides = [numbers.get(&weight), quantized.get(&weight)];
        if matches!(node.op, Op::Conv2d(_) | Op::Conv1d(_) | Op::Linear(_))
            && let [Some(before), Some(after)] = sides
            && after.scaled().is_some()
            && let Some(own) = quantized.get(&bias)
            && let Some(means) = means.get(&graph.node(node.inputs[0]).name)
            && let Some(lost) = lost([before, after], means, &read(&graph, node))
        {
            let pairs = own.floats().into_iter().zip(lost);
            let numbers: Vec<f32> = pairs.map(|(bias, lost)| bias + lost as f32).collect();
            let corrected = Tensor::from_f32(own.shape(), &numbers);
            quantized.insert(bias, corrected);
        }
    }
    Ok((graph, quantized))
}

/// What share of a layer's outputs each tap of its window reads from the image; the others read padding.
fn read(graph: &Graph, node: &Node) -> Vec<f64> {
    let Op::Conv2d(conv) = &node.op else {
        return match &node.op {
            Op::Conv1d(conv) => vec![1.0; conv.kernel],
            _ => vec![1.0],
        };
    };
    let x = &graph.node(node.inputs[0]).shape;
    let axis = |axis: usize| -> Vec<f64> {
        let (size, out) = (x[2 + axis], node.shape[2 + axis]);
        let inside = |at: usize| {
            at.checked_sub(conv.padding[axis])
                .is_some_and(|at| at < size)
        };
        let share = |tap: usize| {
            let places = (0..out).map(|at| at * conv.stride[axis] + tap * conv.dilation[axis]);
            places.filter(|&at| inside(at)).count() as f64 / out as f64
        };
        (0..conv.kernel[axis]).map(share).collect()
    };
    let [rows, columns] = [axis(0), axis(1)];
    let taps = rows
        .iter()
        .flat_map(|row| columns.iter().map(move |column| row * column));
    taps.collect()
}

/// What each output of a layer, `[out, in, ..]`, loses in the mean by another weight, where its inputs have these means and each tap reads
/// this share of them; nothing where those are not of its inputs or not finite.
fn lost([before, after]: [&Tensor; 2], means: &[f64], read: &[f64]) -> Option<Vec<f64>> {
    let &[out, inputs, ..] = before.shape() else {
        return None;
    };
    let groups = means.len() / inputs;
    if groups * inputs != means.len() || groups == 0 || out % groups != 0 {
        return None;
    }
    let (before, after) = (before.numbers(), after.numbers());
    let row = |(at, [before, after]): (usize, [&[f32]; 2])| -> f64 {
        let seen = &means[at / (out / groups) * inputs..][..inputs];
        let seen = seen
            .iter()
            .flat_map(|mean| read.iter().map(move |share| mean * share));
        let pairs = before.iter().zip(after);
        let errors = pairs.map(|(&before, &after)| f64::from(before) - f64::from(after));
        errors.zip(seen).map(|(error, mean)| error * mean).sum()
    };
    let size = inputs * read.len();
    let rows = before.chunks(size).zip(after.chunks(size));
    let rows = rows.map(|(before, after)| [before, after]);
    let lost: Vec<f64> = rows.enumerate().map(row).collect();
    lost.iter().all(|lost| lost.is_finite()).then_some(lost)
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
