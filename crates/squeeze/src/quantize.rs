//! Bytes on the command line: what a model's images look like, the ranges that they show, and weights in bytes.

use anyhow::{Context, Result, bail};
use squeeze_data::{Batch, BatchInput, DataSet, Example, OpenOptions, Prepared};
use squeeze_formats::Meta;
use squeeze_graph::Graph;
use squeeze_infer::{Input, Target};
use squeeze_tensor::{Seed, Weights};

use crate::front::Front;

/// What a network has its ranges from: at most so many training images of some data, as the model takes them; none for texts.
///
/// # Errors
/// When the data cannot be read, is missing, or the model takes no images.
pub fn images(
    graph: &Graph,
    data: Option<&str>,
    meta: &Meta,
    count: usize,
) -> Result<Vec<Vec<f32>>> {
    let takes_images = graph
        .inputs()
        .iter()
        .any(|&id| graph.node(id).shape.len() == 4);
    let data = match (data, takes_images) {
        (Some(data), true) => data,
        (None, false) => return Ok(vec![]),
        (None, true) => bail!(
            "images need ranges to stay in bytes: name the data whose training images show them with --data"
        ),
        (Some(_), false) => {
            bail!("texts need no ranges, each row becomes bytes as it comes: leave out --data")
        }
    };
    let front = Front::from_json(&meta.input)?;
    if !matches!(front, Front::Image(_)) {
        bail!("the network takes images, and the model says that it takes texts");
    }
    let options = OpenOptions {
        // The split that the model learned from, or images of its test split would be seen.
        seed: Seed(meta.card["seed"].as_u64().unwrap_or_default()),
        ..OpenOptions::default()
    };
    let set = DataSet::open(data, &options)?;
    sample(&set.train, &front, count).with_context(|| data.to_string())
}

/// At most so many images of these examples, as a network behind `front` takes them; none for texts.
///
/// # Errors
/// When one cannot be read.
pub fn sample(examples: &[Example], front: &Front, count: usize) -> Result<Vec<Vec<f32>>> {
    let Front::Image(preprocess) = front else {
        return Ok(vec![]);
    };
    // Evenly many of all, since files may be in the order of their classes.
    let step = (examples.len() / count).max(1);
    let some: Vec<_> = examples.iter().step_by(step).take(count).cloned().collect();
    let split = Prepared::images(&some, preprocess)?;
    let pixels = |batch: Batch| match batch.input {
        BatchInput::Images { pixels, .. } => pixels,
        BatchInput::Tokens { .. } => unreachable!("images were prepared"),
    };
    split.once(1).map(|batch| Ok(pixels(batch?))).collect()
}

/// The network with its weights in bytes, and with the ranges that these images show, if there are any.
///
/// # Errors
/// When the network cannot be compiled, or takes other images.
pub fn apply(
    (graph, weights): (&Graph, &Weights),
    images: &[Vec<f32>],
) -> Result<(Graph, Weights)> {
    let quantized = || {
        if images.is_empty() {
            return squeeze_infer::quantize(graph, weights);
        }
        let examples = images.iter().map(|image| vec![Input::Numbers(image)]);
        let examples: Vec<Vec<Input>> = examples.collect();
        let target = Target::here(1);
        squeeze_infer::quantize_for(graph, weights, &target, &examples)
    };
    quantized().with_context(|| format!("cannot quantize {}", graph.name()))
}
