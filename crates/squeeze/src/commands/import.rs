//! `squeeze import`: a network or published weights of other programs as a Squeeze model file.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;
use squeeze_data::{Preprocess, Resize, Task};
use squeeze_formats::tflite::Pixel;
use squeeze_formats::{Meta, ModelFile};
use squeeze_graph::Graph;
use squeeze_tensor::{Tensor, Weights};
use squeeze_zoo::names::{Layout, added, is_beside, layout, published};

use crate::error::Outcome;
use crate::front::Front;
use crate::out;
use crate::source::{Sizes, Source};
use crate::units::show_count;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An ONNX or TFLite file, or weights as safetensors or of PyTorch
    file: PathBuf,
    /// The network that the weights belong to: a name from `squeeze list models`
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    #[command(flatten)]
    sizes: Sizes,
    #[command(flatten)]
    about: About,
    /// Where the model file goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// What files of others do not say.
#[derive(Debug, clap::Args)]
struct About {
    /// Names of the classes, one a line: the model then classifies images
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// What is taken off pixels between 0 and 1: a number, or one for each channel
    #[arg(long, requires = "std", value_delimiter = ',', value_name = "NUMBERS", value_parser = finite)]
    mean: Vec<f32>,
    /// What they are divided by then
    #[arg(long, requires = "mean", value_delimiter = ',', value_name = "NUMBERS", value_parser = deviation)]
    std: Vec<f32>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let file = args.file.display().to_string();
    let mut pixel = None;
    let (graph, weights) = match form(&args.file)? {
        Form::Tflite => {
            let tflite = squeeze_formats::tflite::import(&args.file)?;
            for note in &tflite.notes {
                eprintln!("{note}");
            }
            pixel = tflite.pixel;
            (tflite.graph, tflite.weights)
        }
        Form::Onnx => {
            let Source { graph, weights, .. } = Source::open(&file, &args.sizes)?;
            (graph, weights.context("an ONNX file has weights")?)
        }
        weights @ (Form::Safetensors | Form::Torch) => {
            let Some(model) = &args.model else {
                bail!(
                    "{file} holds weights only: name their network with --model, e.g. --model squeezebert"
                );
            };
            let graph = Source::open(model, &args.sizes)?.graph;
            let all = match weights {
                Form::Safetensors => squeeze_formats::safetensors::load(&args.file)?,
                _ => squeeze_formats::torch::load(&args.file)?,
            };
            let weights = matched(&graph, &all).with_context(|| format!("{file} as {model}"))?;
            (graph, weights)
        }
    };
    let meta = Meta {
        card: json!({ "imported_from": name_of(&args.file) }),
        ..meta(&graph, &args.about, pixel)?
    };
    let params = graph.cost().params;
    squeeze_formats::model::save(
        &args.output,
        &ModelFile {
            graph,
            weights,
            meta,
        },
    )?;
    eprintln!("{} parameters", show_count(params));
    out::print(&args.output.display().to_string())?;
    Ok(Outcome::Done)
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Tflite,
    Onnx,
    Safetensors,
    Torch,
}

/// What a file is, by its first bytes where they say so, else by its name.
fn form(path: &Path) -> anyhow::Result<Form> {
    let shown = path.display();
    if !path.exists() {
        bail!("there is no file {shown}");
    }
    let mut head = vec![];
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    let read = file.take(8).read_to_end(&mut head);
    read.with_context(|| format!("cannot read {shown}"))?;
    Ok(match path.extension().and_then(|ending| ending.to_str()) {
        _ if squeeze_formats::tflite::is_tflite(&head) => Form::Tflite,
        Some("tflite") => bail!("{shown}: no TFLite file, it does not say TFL3 at byte 4"),
        Some("onnx") => Form::Onnx,
        Some("safetensors") => Form::Safetensors,
        Some("pt" | "pth" | "bin") => Form::Torch,
        _ => bail!(
            "{shown}: cannot tell its form; it must end in .onnx, .tflite, .safetensors, .pt, .pth or .bin"
        ),
    })
}

/// What the model is for, as far as it is known.
fn meta(graph: &Graph, about: &About, pixel: Option<Pixel>) -> anyhow::Result<Meta> {
    let mut meta = Meta::default();
    if let Some(preprocess) = preprocess(graph, about, pixel)? {
        meta.input = Front::Image(preprocess).to_json()?;
    }
    if let Some(path) = &about.labels {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        meta.labels = text.lines().map(str::to_owned).collect();
        let outputs = &graph.node(graph.outputs()[0]).shape;
        let (path, found) = (path.display(), meta.labels.len());
        if outputs.len() != 2 || outputs[1] != found {
            bail!("{path} has {found} names, the network gives {outputs:?} for one image");
        }
        if meta.input.is_null() {
            bail!(
                "the file does not say how pixels become its numbers: give --mean and --std with --labels"
            );
        }
        meta.task = serde_json::to_value(Task::ClassifyImage)?;
    }
    Ok(meta)
}

/// How an image becomes the network's input.
fn preprocess(
    graph: &Graph,
    about: &About,
    pixel: Option<Pixel>,
) -> anyhow::Result<Option<Preprocess>> {
    let inputs = graph.inputs();
    let shapes: Vec<&[usize]> = inputs.iter().map(|&id| &*graph.node(id).shape).collect();
    let size = match *shapes {
        [&[_, channels @ (1 | 3), height, width]] => Some((channels, [height, width])),
        _ => None,
    };
    let (mean, std) = match (&*about.mean, &*about.std, pixel) {
        ([], _, None) => return Ok(None),
        ([], _, Some(Pixel { scale, zero })) => (vec![zero / 255.0], vec![1.0 / (255.0 * scale)]),
        (mean, std, _) => (mean.to_vec(), std.to_vec()),
    };
    let Some((channels, size)) = size else {
        if about.mean.is_empty() {
            return Ok(None);
        }
        bail!(
            "the network takes {shapes:?}, no image of 1 or 3 channels: leave out --mean and --std"
        );
    };
    let each = |numbers: Vec<f32>| match *numbers {
        [one] => Ok(vec![one; channels]),
        _ if numbers.len() == channels => Ok(numbers),
        _ => bail!(
            "--mean and --std take one number or {channels}, one for each channel; {} are given",
            numbers.len()
        ),
    };
    Ok(Some(Preprocess {
        size,
        channels,
        mean: each(mean)?,
        std: each(std)?,
        resize: Resize::default(),
    }))
}

fn finite(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|number: &f32| number.is_finite());
    number.ok_or_else(|| "a number is needed".into())
}

fn deviation(text: &str) -> Result<f32, String> {
    let number = finite(text).ok().filter(|&number| number > 0.0);
    number.ok_or_else(|| "a number above 0 is needed".into())
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The network's weights, each found in the file under one of the names it is published by.
fn matched(graph: &Graph, file: &Weights) -> anyhow::Result<Weights> {
    let find = |name: &str| {
        let names = published(name);
        let known = names.into_iter().find(|known| file.get(known).is_some())?;
        let tensor = file.get(&known).expect("it was just found");
        Some((known, tensor))
    };
    let mut weights = Weights::default();
    let mut missing = vec![];
    let mut used = HashSet::new();
    for (name, param) in graph.params() {
        let Some((known, tensor)) = find(&name) else {
            missing.push(name);
            continue;
        };
        used.insert(known);
        let Some(layout) = layout(&param.shape, tensor.shape()) else {
            bail!(
                "{name} is {:?} in the file, the network asks for {:?}",
                tensor.shape(),
                param.shape
            );
        };
        let mut values = tensor.floats();
        if layout == Layout::Neighbours {
            values = windows(&values, &param.shape);
        }
        if let Some(table) = added(&name) {
            let Some((known, tensor)) = find(table) else {
                missing.push(table.into());
                continue;
            };
            used.insert(known);
            let (row, width) = (tensor.floats(), param.shape[1]);
            if row.len() != width {
                let found = tensor.shape();
                bail!("{table} is {found:?} in the file, one row of {width} is asked for");
            }
            for values in values.chunks_mut(width) {
                let pairs = values.iter_mut().zip(&row);
                pairs.for_each(|(value, more)| *value += more);
            }
        }
        weights.insert(name, Tensor::from_f32(&param.shape, &values));
    }
    let left: Vec<_> = file
        .iter()
        .map(|(name, _)| name.to_owned())
        .filter(|name| !used.contains(name) && !is_beside(graph.name(), name))
        .collect();
    let shown = |names: &[String]| names[..names.len().min(3)].join(", ");
    let lacks = format!(
        "{} of the network's weights are not in the file, the first are {}",
        missing.len(),
        shown(&missing)
    );
    let holds = format!(
        "{} of the file's tensors are not in the network, the first are {}",
        left.len(),
        shown(&left)
    );
    match (missing.is_empty(), left.is_empty()) {
        (true, true) => Ok(weights),
        (false, true) => bail!(lacks),
        (true, false) => bail!(holds),
        (false, false) => bail!("{lacks}; {holds}"),
    }
}

/// A window `[out, channels, taps]` from a layer `[out, taps * channels]`, the last tap first.
fn windows(layer: &[f32], shape: &[usize]) -> Vec<f32> {
    let (channels, taps) = (shape[1], shape[2]);
    let rows = layer.chunks(channels * taps);
    let of_row = |row: &[f32]| -> Vec<f32> {
        let at = |index: usize| row[(taps - 1 - index % taps) * channels + index / taps];
        (0..row.len()).map(at).collect()
    };
    rows.flat_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use squeeze_tensor::Seed;
    use squeeze_zoo::Options;

    use super::*;

    #[test]
    fn a_missing_weight_is_named() {
        let graph = squeeze_zoo::build("squeezenet1_1", &Options::default()).expect("a known name");
        let mut file = squeeze_rewrite::fresh(&graph, Seed(1));
        assert_eq!(matched(&graph, &file).expect("all there"), file);
        let (name, _) = graph.params().remove(3);
        file.remove(&name);
        let error = matched(&graph, &file)
            .expect_err("one is missing")
            .to_string();
        assert!(error.contains(&name), "{error}");
    }

    #[test]
    fn a_tensor_that_is_left_over_is_named() {
        let graph = squeeze_zoo::build("squeezenet1_1", &Options::default()).expect("a known name");
        let mut file = squeeze_rewrite::fresh(&graph, Seed(1));
        let counter = Tensor::from_f32(&[1], &[7.0]);
        file.insert("features.0.num_batches_tracked", counter.clone());
        matched(&graph, &file).expect("counters are no weights");
        file.insert("features.99.weight", counter);
        let (name, _) = graph.params().remove(3);
        file.remove(&name);
        let error = matched(&graph, &file).expect_err("one is missing, one is left");
        let error = error.to_string();
        assert!(
            error.contains(&name) && error.contains("features.99.weight"),
            "{error}"
        );
    }

    #[test]
    fn neighbours_become_a_window() {
        // Two outputs of two channels and three taps; in the layer the next token comes first.
        let layer = [
            5.0, 6.0, 3.0, 4.0, 1.0, 2.0, 11.0, 12.0, 9.0, 10.0, 7.0, 8.0,
        ];
        let wanted = [
            1.0, 3.0, 5.0, 2.0, 4.0, 6.0, 7.0, 9.0, 11.0, 8.0, 10.0, 12.0,
        ];
        assert_eq!(windows(&layer, &[2, 2, 3]), wanted);
    }
}
