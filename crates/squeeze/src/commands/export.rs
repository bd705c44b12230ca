//! `squeeze export`: a model in a form that other programs read.

use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;
use serde_json::Value;
use squeeze_formats::Meta;

use crate::error::Outcome;
use crate::out;
use crate::source::{Sizes, Source};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A .squeeze or .onnx file, or a name from `squeeze list models`
    model: String,
    /// The form
    #[arg(long, value_enum)]
    to: Form,
    #[command(flatten)]
    sizes: Sizes,
    /// Where it goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Weights by PyTorch's names, as Python's `safetensors` reads them
    Safetensors,
    /// The network with its weights, as ONNX Runtime and other engines run it
    Onnx,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let source = Source::open(&args.model, &args.sizes)?;
    match (args.to, &source.weights) {
        (Form::Safetensors, None) => bail!(
            "{} has no weights: give a model file, or import published weights first",
            args.model
        ),
        (Form::Safetensors, Some(weights)) => {
            squeeze_formats::safetensors::save(&args.output, weights)?;
        }
        (Form::Onnx, weights) => {
            if weights.is_none() {
                eprintln!("{} has no weights: they are random in the file", args.model);
            }
            let notes = source.meta.as_ref().map(notes).unwrap_or_default();
            squeeze_formats::onnx::export(&args.output, &source.graph, &source.weights(), &notes)?;
        }
    }
    out::print(&args.output.display().to_string())?;
    Ok(Outcome::Done)
}

/// What a model file says about its network, as JSON by name.
fn notes(meta: &Meta) -> Vec<(String, String)> {
    let labels = Value::from(meta.labels.clone());
    let facts = [
        ("task", &meta.task),
        ("labels", &labels),
        ("input", &meta.input),
        ("card", &meta.card),
    ];
    let is_there =
        |(_, value): &(&str, &Value)| !value.is_null() && *value != &Value::Array(vec![]);
    let named = |(name, value): (&str, &Value)| (name.to_owned(), value.to_string());
    facts.into_iter().filter(is_there).map(named).collect()
}
