//! The order of the compiler's passes.

use std::borrow::Cow;

use squeeze_graph::Graph;
use squeeze_rewrite::{check_weights, drop_dropout, fold_norms};
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
    let mut graph = drop_dropout(graph);
    let mut weights = Cow::Borrowed(weights);
    check_weights(&graph, &weights)?;
    if graph.census().contains_key("batch_norm") {
        let (folded, new) = fold_norms(&graph, &weights)?;
        (graph, weights) = (folded, Cow::Owned(new));
    }
    let graph = passes::needed_rows(&graph);
    let mut program = lower::lower(&graph, &weights)?;
    passes::embed(&mut program);
    passes::fuse(&mut program);
    passes::shuffle(&mut program);
    passes::merge(&mut program);
    passes::join(&mut program);
    passes::settle(&mut program);
    passes::bands(&mut program);
    passes::in_place(&mut program);
    Ok(bind::bind(program, *target))
}
