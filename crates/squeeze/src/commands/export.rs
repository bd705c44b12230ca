//! `squeeze export`: a model's weights in a form that other programs read.

use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;

use crate::error::Outcome;
use crate::out;
use crate::source::{Sizes, Source};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A .squeeze or .onnx file
    model: String,
    /// The form
    #[arg(long, value_enum)]
    to: Form,
    /// Where it goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Weights by PyTorch's names, as Python's `safetensors` reads them
    Safetensors,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let source = Source::open(&args.model, &Sizes::default())?;
    let Some(weights) = source.weights else {
        bail!(
            "{} has no weights: give a model file, or import published weights first",
            args.model
        );
    };
    match args.to {
        Form::Safetensors => squeeze_formats::safetensors::save(&args.output, &weights)?,
    }
    out::print(&args.output.display().to_string())?;
    Ok(Outcome::Done)
}
