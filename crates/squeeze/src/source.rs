//! What a MODEL argument may be: a published network's name, a Squeeze model file, an ONNX file, a network as TOML, or a model of the
//! Hugging Face Hub, of which the configuration is read.

use std::path::Path;

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use squeeze_formats::Meta;
use squeeze_graph::{Element, Graph};
use squeeze_tensor::{Seed, Weights};
use squeeze_zoo::Options;

use crate::front::Front;
use crate::hub;

/// A network with what is known about it.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name it was asked for by.
    pub name: String,
    /// What it is.
    pub graph: Graph,
    /// Its weights, when it comes from a file that has them.
    pub weights: Option<Weights>,
    /// What it is for, when it comes from a model file.
    pub meta: Option<Meta>,
}

/// Sizes of the input, where they are not the network's own.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sizes {
    /// Height and width of the image
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..))]
    image: Option<u16>,
    /// Tokens of the text
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u16).range(1..))]
    seq: Option<u16>,
    /// Factor on the channels of a MobileNet
    #[arg(long, value_name = "FACTOR")]
    width: Option<f64>,
    /// Classes of a published network
    #[arg(skip)]
    #[serde(skip)]
    classes: Option<usize>,
}

impl Sizes {
    /// With the sizes of what stands before the network, where these say nothing.
    pub fn or(self, front: &Front) -> Self {
        let size = |size: usize| u16::try_from(size).ok();
        match front {
            Front::Text { length, .. } => Self {
                seq: self.seq.or(size(*length)),
                ..self
            },
            Front::Image(preprocess) => Self {
                image: self.image.or(size(preprocess.size[0])),
                ..self
            },
        }
    }

    /// For a published network that tells so many classes apart.
    pub fn with_classes(self, classes: usize) -> Self {
        let classes = Some(classes);
        Self { classes, ..self }
    }

    /// Height and width of the image.
    pub fn image(&self) -> Option<usize> {
        self.image.map(usize::from)
    }

    /// Tokens of the text.
    pub fn length(&self) -> Option<usize> {
        self.seq.map(usize::from)
    }
}

impl Source {
    /// Opens the network that MODEL stands for.
    ///
    /// # Errors
    /// When there is no such network or file, the file is damaged, or the sizes do not fit.
    pub fn open(model: &str, sizes: &Sizes) -> anyhow::Result<Self> {
        let path = Path::new(model);
        let ending = path
            .extension()
            .and_then(|ending| ending.to_str())
            .unwrap_or_default();
        let name = model.to_string();
        if sizes.width.is_some() && (hub::is_name(model) || path.is_file()) {
            bail!("{model}: --width is for published networks, this one is as wide as it is");
        }
        if hub::is_name(model) {
            let graph = hub::graph(model, sizes)?;
            return Ok(Self {
                name,
                graph,
                weights: None,
                meta: None,
            });
        }
        let source = match ending {
            "squeeze" => {
                let file = squeeze_formats::model::load(path)?;
                let (weights, meta) = (Some(file.weights), Some(file.meta));
                Self {
                    name,
                    graph: file.graph,
                    weights,
                    meta,
                }
            }
            "onnx" => {
                let open = squeeze_formats::onnx::Sizes {
                    length: sizes.length(),
                    image: sizes.image().map(|size| [size; 2]),
                };
                let (graph, weights) = squeeze_formats::onnx::import(path, &open)?;
                Self {
                    name,
                    graph,
                    weights: Some(weights),
                    meta: None,
                }
            }
            "toml" => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {model}"))?;
                let graph = Graph::from_toml(&text).with_context(|| model.to_string())?;
                Self {
                    name,
                    graph,
                    weights: None,
                    meta: None,
                }
            }
            _ if path.is_dir() => bail!("{model} is a folder: give the model file in it"),
            _ if path.is_file() => {
                bail!("{model}: not a .squeeze, .onnx or .toml file; `squeeze import` reads others")
            }
            _ => {
                let (image, length) = (sizes.image(), sizes.length());
                let options = Options {
                    image,
                    length,
                    classes: sizes.classes,
                    width: sizes.width,
                };
                let graph = squeeze_zoo::build(model, &options)?;
                return Ok(Self {
                    name,
                    graph,
                    weights: None,
                    meta: None,
                });
            }
        };
        source.resized(sizes)
    }

    /// The weights, or fresh ones: time and memory do not depend on their values.
    pub fn weights(&self) -> Weights {
        match &self.weights {
            Some(weights) => weights.clone(),
            None => squeeze_rewrite::fresh(&self.graph, Seed(0)),
        }
    }

    fn resized(mut self, sizes: &Sizes) -> anyhow::Result<Self> {
        let has = |graph: &Graph, rank, element| {
            let fits = |id: &squeeze_graph::NodeId| {
                let node = graph.node(*id);
                node.shape.len() == rank && node.element == element
            };
            graph.inputs().iter().any(fits)
        };
        if let Some(size) = sizes.image() {
            if !has(&self.graph, 4, Element::Number) {
                bail!("{} takes no image: leave out --image", self.name);
            }
            self.graph = self.graph.with_image([size; 2])?;
        }
        if let Some(length) = sizes.length() {
            if !has(&self.graph, 2, Element::Index) {
                bail!("{} takes no text: leave out --seq", self.name);
            }
            self.graph = self.graph.with_length(length)?;
        }
        Ok(self)
    }
}
