//! `squeeze cost`: parameters, multiply-adds and memory, without running anything.

use serde_json::json;
use squeeze_tensor::Weights;

use crate::error::Outcome;
use crate::out::{self, Columns};
use crate::source::{Sizes, Source};
use crate::units::{show_count, show_size};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name from `squeeze list models`, or a file
    model: String,
    #[command(flatten)]
    sizes: Sizes,
    /// One line for each node that costs something
    #[arg(long)]
    per_layer: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let source = Source::open(&args.model, &args.sizes)?;
    let (name, graph) = (source.name, source.graph);
    let mut cost = graph.cost();
    // The graph counts numbers; what a file has in bytes is known of its weights alone.
    if let Some(weights) = source.weights.filter(Weights::has_bytes) {
        cost.weight_bytes = weights.bytes() as u64;
    }
    let peak = graph.placement().bytes;
    if args.per_layer {
        layers(&graph, args.json)?;
    }
    if args.json {
        out::json(&json!({
            "model": name, "params": cost.params, "macs": cost.macs, "weight_bytes": cost.weight_bytes,
            "activation_bytes": cost.activation_bytes, "peak_bytes": peak,
        }))?;
        return Ok(Outcome::Done);
    }
    let mut table = Columns::new(&[
        "model",
        "parameters>",
        "multiply-adds>",
        "weights>",
        "activations>",
        "peak>",
    ]);
    table.row([
        name,
        show_count(cost.params),
        show_count(cost.macs),
        show_size(cost.weight_bytes),
        show_size(cost.activation_bytes),
        show_size(peak as u64),
    ]);
    table.print()?;
    Ok(Outcome::Done)
}

fn layers(graph: &squeeze_graph::Graph, as_json: bool) -> anyhow::Result<()> {
    let mut table = Columns::new(&[
        "node",
        "kind",
        "output",
        "parameters>",
        "multiply-adds>",
        "share>",
    ]);
    let all = graph.cost().macs.max(1) as f64;
    for node in graph.nodes() {
        let cost = graph.cost_of(node);
        if cost.macs == 0 && cost.params == 0 {
            continue;
        }
        if as_json {
            out::json(&json!({
                "node": node.name, "kind": node.op.name(), "output": node.shape, "params": cost.params,
                "macs": cost.macs, "weight_bytes": cost.weight_bytes, "activation_bytes": cost.activation_bytes,
            }))?;
        }
        table.row([
            node.name.clone(),
            node.op.name().into(),
            format!("{:?}", node.shape),
            show_count(cost.params),
            show_count(cost.macs),
            format!("{:.1} %", 100.0 * cost.macs as f64 / all),
        ]);
    }
    if as_json { Ok(()) } else { table.print() }
}
