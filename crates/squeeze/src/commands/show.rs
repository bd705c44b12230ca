//! `squeeze show`: a network node by node, as a picture, rewritten, or as the steps of its plan on this machine.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;
use squeeze_graph::Graph;
use squeeze_infer::compile;
use squeeze_tensor::Weights;

use super::device::DeviceArgs;
use crate::diagram;
use crate::error::Outcome;
use crate::out::{self, Columns};
use crate::running::Running;
use crate::source::{Sizes, Source};
use crate::units::{show_count, show_size};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name from `squeeze list models`, or a file
    model: String,
    #[command(flatten)]
    sizes: Sizes,
    /// Which form of the network
    #[arg(long, value_enum, default_value_t = Stage::Graph)]
    stage: Stage,
    /// The network as TOML, which `squeeze` reads back
    #[arg(long, conflicts_with = "json")]
    toml: bool,
    /// Draw the network into this file instead: layers from top to bottom, with shapes and costs
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "toml"])]
    svg: Option<PathBuf>,
    #[command(flatten)]
    running: Running,
    #[command(flatten)]
    device: DeviceArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// What the network is
    Graph,
    /// Dropout dropped, batch norms folded into weights
    Rewritten,
    /// What runs on this machine
    Plan,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let source = Source::open(&args.model, &args.sizes)?;
    match args.stage {
        Stage::Graph => nodes(&source.graph, source.weights.as_ref(), args)?,
        Stage::Rewritten => {
            let graph = squeeze_rewrite::drop_dropout(&source.graph);
            let (graph, weights) = squeeze_rewrite::fold_norms(&graph, &source.weights())?;
            nodes(&graph, source.weights.is_some().then_some(&weights), args)?;
        }
        Stage::Plan if args.svg.is_some() => {
            anyhow::bail!("a plan has no picture: leave out --svg, or draw --stage rewritten")
        }
        Stage::Plan if args.toml => {
            anyhow::bail!("a plan has no TOML: it is for this machine only; leave out --toml")
        }
        Stage::Plan => steps(&source, args)?,
    }
    Ok(Outcome::Done)
}

fn nodes(graph: &Graph, weights: Option<&Weights>, args: &Args) -> anyhow::Result<()> {
    if let Some(path) = &args.svg {
        squeeze_formats::write(path, diagram::svg(graph).as_bytes())?;
        return out::print(&format!("{} is drawn in {}", graph.name(), path.display()));
    }
    if args.toml {
        return out::print(graph.to_toml().trim_end());
    }
    let mut table = Columns::new(&[
        "node",
        "kind",
        "inputs",
        "output",
        "parameters>",
        "in",
        "multiply-adds>",
    ]);
    for node in graph.nodes() {
        let weight = weights.and_then(|weights| weights.get(&format!("{}.weight", node.weights)));
        let held = weight.map(|weight| weight.dtype().name().to_lowercase());
        let inputs: Vec<&str> = node
            .inputs
            .iter()
            .map(|&id| graph.node(id).name.as_str())
            .collect();
        let cost = graph.cost_of(node);
        if args.json {
            out::json(&json!({
                "node": node.name, "kind": node.op.name(), "inputs": inputs, "output": node.shape,
                "params": cost.params, "weight": held, "macs": cost.macs,
            }))?;
        }
        table.row([
            node.name.clone(),
            node.op.name().into(),
            inputs.join(" "),
            format!("{:?}", node.shape),
            show_count(cost.params),
            held.unwrap_or_default(),
            show_count(cost.macs),
        ]);
    }
    if args.json { Ok(()) } else { table.print() }
}

fn steps(source: &Source, args: &Args) -> anyhow::Result<()> {
    let weights = source.weights();
    let target = args.device.target(args.running.threads)?;
    let target = target.made_for(&weights, args.running.precision);
    let plan = compile(&source.graph, &weights, &target)?;
    let mut table = Columns::new(&[
        "step",
        "kind",
        "kernel",
        "output",
        "multiply-adds>",
        "scratch>",
    ]);
    for step in plan.steps() {
        if args.json {
            out::json(&json!({
                "step": step.name, "kind": step.kind, "kernel": step.kernel, "inputs": step.inputs,
                "output": step.output, "macs": step.macs, "scratch_bytes": step.scratch_bytes,
            }))?;
        }
        table.row([
            step.name.into(),
            step.kind.into(),
            step.kernel.into(),
            format!("{:?}", step.output),
            show_count(step.macs),
            show_size(step.scratch_bytes as u64),
        ]);
    }
    if args.json {
        return Ok(());
    }
    table.print()?;
    let (steps, peak) = (plan.steps().count(), show_size(plan.peak_bytes() as u64));
    let (weights, tier) = (show_size(plan.weight_bytes() as u64), plan.target().tier);
    let precision = plan.target().precision.name();
    out::print(&format!(
        "{steps} steps for {tier} in {precision}, {peak} working memory, {weights} packed weights"
    ))
}
