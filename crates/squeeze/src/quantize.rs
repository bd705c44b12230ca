//! Static quantization on the command line: what a model's images look like, and the ranges that they show.

use anyhow::{Context, Result, bail};
use squeeze_data::{Batch, BatchInput, DataSet, OpenOptions, Prepared};
use squeeze_formats::Meta;
use squeeze_graph::Graph;
use squeeze_infer::{Input, Target};
use squeeze_tensor::{Seed, Weights};

use crate::front::Front;

/// At most so many training images of some data, as the model takes them.
///
/// # Errors
/// When the data cannot be read, or the model takes no images.
pub fn images(data: &str, meta: &Meta, count: usize) -> Result<Vec<Vec<f32>>> {
    let front = Front::from_json(&meta.input)?;
    let Front::Image(preprocess) = front else {
        bail!("texts need no ranges: `--precision int8` makes bytes of each row as it comes");
    };
    let options = OpenOptions {
        // The split that the model learned from, or images of its test split would be seen.
        seed: Seed(meta.card["seed"].as_u64().unwrap_or_default()),
        ..OpenOptions::default()
    };
    let set = DataSet::open(data, &options)?;
    // Evenly many of all, since files may be in the order of their classes.
    let step = (set.train.len() / count).max(1);
    let some: Vec<_> = set.train.into_iter().step_by(step).take(count).collect();
    let split = Prepared::images(&some, &preprocess).with_context(|| data.to_string())?;
    let pixels = |batch: Batch| match batch.input {
        BatchInput::Images { pixels, .. } => pixels,
        BatchInput::Tokens { .. } => unreachable!("images were prepared"),
    };
    let images = split.once(1).map(|batch| Ok(pixels(batch?)));
    images.collect()
}

/// The weights with the ranges that these images show.
///
/// # Errors
/// When the network cannot be compiled, or takes other images.
pub fn calibrate(graph: &Graph, weights: &Weights, images: &[Vec<f32>]) -> Result<Weights> {
    let examples: Vec<Vec<Input>> = images
        .iter()
        .map(|image| vec![Input::Numbers(image)])
        .collect();
    let target = Target::here(1);
    let calibrated = squeeze_infer::calibrate(graph, weights, &target, &examples);
    calibrated.with_context(|| format!("cannot quantize {}", graph.name()))
}
