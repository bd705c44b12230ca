//! `squeeze import`: a network or published weights of other programs as a Squeeze model file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;
use squeeze_data::{Preprocess, Resize, SingleShot, Task};
use squeeze_formats::tflite::Pixel;
use squeeze_formats::{Meta, ModelFile};
use squeeze_graph::Graph;
use squeeze_zoo::Entry;

use crate::detector;
use crate::error::Outcome;
use crate::front::Front;
use crate::hub::{self, Texts};
use crate::out;
use crate::published::matched;
use crate::source::{Sizes, Source};
use crate::units::show_count;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An ONNX or TFLite file, weights as safetensors or of PyTorch, or a model of the Hugging Face Hub, hf:ORG/NAME
    file: PathBuf,
    /// The network that the weights belong to: a name from `squeeze list models`
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    #[command(flatten)]
    sizes: Sizes,
    #[command(flatten)]
    about: About,
    /// The Hub's model judges two texts at once
    #[arg(long)]
    pair: bool,
    /// Where the model file goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// What files of others do not say.
#[derive(Debug, clap::Args)]
struct About {
    /// Names of the classes, one a line: the model then classifies images, or finds objects in them
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// What is taken off pixels between 0 and 1: a number, or one for each channel
    #[arg(long, requires = "std", value_delimiter = ',', value_name = "NUMBERS", value_parser = finite)]
    mean: Vec<f32>,
    /// What they are divided by then
    #[arg(long, requires = "mean", value_delimiter = ',', value_name = "NUMBERS", value_parser = deviation)]
    std: Vec<f32>,
}

impl About {
    fn is_given(&self) -> bool {
        self.labels.is_some() || !self.mean.is_empty()
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let file = args.file.display().to_string();
    if hub::is_name(&file) {
        if args.about.is_given() || args.model.is_some() {
            bail!("{file} says itself what it is: leave out --model, --labels, --mean and --std");
        }
        let texts = if args.pair { Texts::Pair } else { Texts::One };
        return save(&args.output, &hub::model_file(&file, &args.sizes, texts)?);
    }
    if args.pair {
        bail!("--pair is for models of the Hub, {file} is a file");
    }
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
    let model = ModelFile {
        graph,
        weights,
        meta,
    };
    save(&args.output, &model)
}

fn save(path: &Path, model: &ModelFile) -> anyhow::Result<Outcome> {
    squeeze_formats::model::save(path, model)?;
    eprintln!("{} parameters", show_count(model.graph.cost().params));
    out::print(&path.display().to_string())?;
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
    let shot = SingleShot::ssdlite();
    let classes = detector::classes(graph, &shot);
    let is_published = is_published_detector(graph);
    let scales = match pixel {
        Some(Pixel { scale, zero }) => Some([zero / 255.0, 1.0 / (255.0 * scale)]),
        None => is_published.then_some(SSDLITE),
    };
    if let Some(mut preprocess) = preprocess(graph, about, scales)? {
        if classes.is_some() {
            preprocess.resize = Resize::Interpolate;
        }
        meta.input = Front::Image(preprocess).to_json()?;
    }
    let names = match &about.labels {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            text.with_context(|| format!("cannot read {}", path.display()))?
        }
        None if is_published && classes == Some(COCO.lines().count()) => COCO.to_owned(),
        None => return Ok(meta),
    };
    meta.labels = names.lines().map(str::to_owned).collect();
    let outputs = &graph.node(graph.outputs()[0]).shape;
    let found = meta.labels.len();
    if classes != Some(found) && (outputs.len() != 2 || outputs[1] != found) {
        let path = about.labels.as_deref().unwrap_or(Path::new("COCO"));
        let path = path.display();
        bail!("{path} has {found} names, the network gives {outputs:?} for one image");
    }
    if meta.input.is_null() {
        bail!(
            "the file does not say how pixels become its numbers: give --mean and --std with --labels"
        );
    }
    meta.task = match classes {
        Some(_) => detector::task(&shot)?,
        None => serde_json::to_value(Task::ClassifyImage)?,
    };
    Ok(meta)
}

/// Names of COCO's classes, one a line, in the order of their numbers.
const COCO: &str = include_str!("../../../../data/coco/labels.txt");

/// Mean and deviation that torchvision's SSDLite has pixels in.
const SSDLITE: [f32; 2] = [0.5; 2];

/// Whether a network is one of the list that finds objects.
fn is_published_detector(graph: &Graph) -> bool {
    let named = |entry: &&Entry| entry.name == graph.name();
    let entry = squeeze_zoo::list().iter().find(named);
    entry.is_some_and(|entry| entry.task == squeeze_zoo::Task::Detection)
}

/// How an image becomes the network's input; `scales` are the mean and the deviation of pixels that the file speaks of.
fn preprocess(
    graph: &Graph,
    about: &About,
    scales: Option<[f32; 2]>,
) -> anyhow::Result<Option<Preprocess>> {
    let inputs = graph.inputs();
    let shapes: Vec<&[usize]> = inputs.iter().map(|&id| &*graph.node(id).shape).collect();
    let size = match *shapes {
        [&[_, channels @ (1 | 3), height, width]] => Some((channels, [height, width])),
        _ => None,
    };
    let (mean, std) = match (&*about.mean, &*about.std, scales) {
        ([], _, None) => return Ok(None),
        ([], _, Some([mean, std])) => (vec![mean], vec![std]),
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
