//! The order of the compiler's passes.

use squeeze_graph::{Graph, Node, Op};
use squeeze_kernels::Tier;
use squeeze_rewrite::{check_weights, drop_dropout, fold_norms};
use squeeze_tensor::Weights;

use crate::error::CompileError;
use crate::plan::Plan;
use crate::program::Program;
use crate::target::{Precision, Target};
use crate::texts::Texts;
use crate::{bind, lower, passes};

/// The texts whose rows are packed. Windows over tokens that are computed in tiles or bytes take texts that lie evenly.
fn texts(graph: &Graph, target: &Target) -> Option<Texts> {
    let is_window = |node: &Node| matches!(&node.op, Op::Conv1d(row) if row.kernel > 1);
    let texts = Texts::of(graph)?;
    let tiles_or_bytes = target.tiles().is_none_or(|kernel| match kernel.tier {
        Tier::Scalar => false,
        Tier::Amx => true,
        _ => target.precision != Precision::F32,
    });
    let even = tiles_or_bytes && graph.nodes().iter().any(is_window);
    (!even).then_some(texts)
}

/// Compiles a network for a target.
///
/// # Errors
/// When the weights are not those of the network, or a node has no kernel; the message names it.
pub fn compile(graph: &Graph, weights: &Weights, target: &Target) -> Result<Plan, CompileError> {
    compile_owned(graph, weights.clone(), target)
}

/// The same of weights that nobody else uses: each one's memory, or the pages of its file, go as soon as it is packed.
///
/// # Errors
/// As for [`compile`].
pub fn compile_owned(
    graph: &Graph,
    mut weights: Weights,
    target: &Target,
) -> Result<Plan, CompileError> {
    let mut graph = drop_dropout(graph);
    check_weights(&graph, &weights)?;
    if graph.census().contains_key("batch_norm") {
        (graph, weights) = fold_norms(&graph, &weights)?;
    }
    let mut program = fused(&graph, &weights, target)?;
    drop(weights);
    passes::bands(&mut program, *target);
    passes::pools(&mut program, *target);
    passes::gates(&mut program, *target);
    passes::in_place(&mut program);
    Ok(bind::bind(program, *target))
}

/// The steps of a network without norms that fold, each with its weights, fused, and in bytes or numbers.
pub(crate) fn fused(
    graph: &Graph,
    weights: &Weights,
    target: &Target,
) -> Result<Program, CompileError> {
    let graph = passes::needed_rows(graph);
    let mut program = lower::lower(&graph, weights, texts(&graph, target))?;
    passes::embed(&mut program);
    passes::fuse(&mut program);
    passes::shuffle(&mut program);
    passes::heads(&mut program, *target);
    passes::merge(&mut program);
    passes::join(&mut program);
    passes::settle(&mut program);
    passes::bytes(&mut program, *target);
    Ok(program)
}
