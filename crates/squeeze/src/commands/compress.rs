//! `squeeze compress`: a model with less in it, as a model file: zeros among its weights, bytes instead of numbers.

use std::path::PathBuf;

use anyhow::bail;
use serde_json::json;
use squeeze_formats::ModelFile;
use squeeze_rewrite::Pruned;

use crate::error::Outcome;
use crate::out::{self, Columns};
use crate::pruning::{self, Block};
use crate::quantize;
use crate::source::{Sizes, Source};
use crate::units::{show_count, show_size};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A .squeeze or .onnx file
    model: String,
    /// Make this fraction of each layer's weights zero, the smallest ones; the first convolution, depthwise ones, embeddings and the last
    /// layer stay as they are
    #[arg(long, value_name = "FRACTION", value_parser = pruning::fraction, required_unless_present = "int8")]
    prune: Option<f64>,
    /// Output channels x inputs that are zero together: 1x1, 4x1 or 16x1. Whole blocks are quicker, single weights more accurate
    #[arg(long, value_name = "BLOCK", default_value = "1x1", value_parser = pruning::block)]
    block: Block,
    /// Weights in bytes, a quarter of the file, which then runs in bytes; images stay in bytes between layers in the ranges that those of
    /// --data show (static quantization)
    #[arg(long)]
    int8: bool,
    /// Where a network of images has the ranges from, its training images: a name from `squeeze list data`, a folder or a file
    #[arg(long, requires = "int8")]
    data: Option<String>,
    /// How many of them are looked at
    #[arg(long, value_name = "IMAGES", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    examples: u16,
    /// Where the model file goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let source = Source::open(&args.model, &Sizes::default())?;
    let Some(weights) = &source.weights else {
        bail!(
            "{} has no weights: give a model file, or import published weights first",
            args.model
        );
    };
    let mut meta = source.meta.unwrap_or_default();
    if meta.card.is_null() {
        meta.card = json!({});
    }
    let (mut graph, mut weights, mut layers) = (source.graph, weights.clone(), vec![]);
    if let Some(fraction) = args.prune {
        if weights.has_bytes() {
            bail!(
                "the weights of {} are bytes: prune the model that it was made from, with --int8 in the same command",
                args.model
            );
        }
        (graph, weights, layers) = pruning::apply((&graph, &weights), fraction, args.block)?;
        meta.card["pruned"] = json!({ "fraction": fraction, "block": args.block.to_string() });
    }
    let macs = [graph.cost().macs, pruning::macs(&graph, &layers)];
    let bytes = weights.bytes();
    if args.int8 {
        let data = args.data.as_deref();
        let images = quantize::images(&graph, data, &meta, usize::from(args.examples))?;
        (graph, weights) = quantize::apply((&graph, &weights), &images)?;
        if !weights.has_bytes() {
            bail!(
                "no weight of {} gains in bytes: its layers are too small",
                args.model
            );
        }
        meta.card["int8"] = json!({ "data": data, "examples": images.len() });
        if let Some(data) = data {
            eprintln!("ranges seen on {} images of {data}", images.len());
        }
        let sizes = [bytes, weights.bytes()].map(|bytes| show_size(bytes as u64));
        eprintln!("{} of weights became {}", sizes[0], sizes[1]);
    }
    let bytes = weights.bytes();
    let file = ModelFile {
        graph,
        weights,
        meta,
    };
    squeeze_formats::model::save(&args.output, &file)?;
    if args.prune.is_some() {
        tell_zeros(args, &layers, macs, bytes)?;
    } else if args.json {
        out::json(&json!({ "model": args.output, "weight_bytes": bytes }))?;
    }
    if !args.json {
        out::print(&args.output.display().to_string())?;
    }
    Ok(Outcome::Done)
}

/// Says which weights are zero.
fn tell_zeros(args: &Args, layers: &[Pruned], macs: [u64; 2], bytes: usize) -> anyhow::Result<()> {
    let sum = |of: fn(&Pruned) -> usize| layers.iter().map(of).sum::<usize>();
    let (all, zeros) = (sum(|layer| layer.weights), sum(|layer| layer.zeros));
    if args.json {
        for layer in layers {
            out::json(&json!({
                "layer": layer.name, "weights": layer.weights, "zeros": layer.zeros, "kept": layer.kept,
            }))?;
        }
        out::json(&json!({
            "model": args.output, "weights": all, "zeros": zeros, "macs": macs[1], "dense_macs": macs[0],
            "weight_bytes": bytes,
        }))?;
        return Ok(());
    }
    let mut table = Columns::new(&["layer", "weights>", "zeros>", "kept as"]);
    let share = |zeros: usize, all: usize| format!("{:.1} %", 100.0 * zeros as f64 / all as f64);
    for layer in layers {
        table.row([
            layer.name.clone(),
            show_count(layer.weights as u64),
            share(layer.zeros, layer.weights),
            layer.kept.unwrap_or_default().into(),
        ]);
    }
    table.print()?;
    eprintln!(
        "{} of {} weights are zero ({}); {} of {} multiply-adds are left",
        show_count(zeros as u64),
        show_count(all as u64),
        share(zeros, all.max(1)),
        show_count(macs[1]),
        show_count(macs[0])
    );
    Ok(())
}
