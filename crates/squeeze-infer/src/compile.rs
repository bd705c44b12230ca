//! The order of the compiler's passes.

use squeeze_graph::Graph;
use squeeze_rewrite::{drop_dropout, fold_norms};
use squeeze_tensor::Weights;

use crate::error::CompileError;
use crate::plan::Plan;
use crate::target::Target;
use crate::{bind, lower, passes};

/// Compiles a network for a target.
///
/// # Errors
/// When the weights are not those of the network, or a node has no kernel; the message names it.
pub fn compile(graph: &Graph, weights: &Weights, target: &Target) -> Result<Plan, CompileError> {
    let graph = drop_dropout(graph);
    let (graph, weights) = fold_norms(&graph, weights)?;
    let graph = passes::needed_rows(&graph);
    let mut program = lower::lower(&graph, &weights)?;
    passes::embed(&mut program);
    passes::fuse(&mut program);
    passes::shuffle(&mut program);
    passes::merge(&mut program);
    passes::join(&mut program);
    passes::settle(&mut program);
    passes::in_place(&mut program);
    Ok(bind::bind(program, *target))
}
