//! Models of the Hugging Face Hub: `hf:org/name` or `hf:org/name@revision` in the place of a file, or a folder that holds the
//! same files.
//!
//! Files come into the cache that other programs share (`HF_HUB_CACHE`, `HF_HOME`) and are taken from there afterwards; with
//! `HF_HUB_OFFLINE` from there alone. `HF_ENDPOINT` and `HF_TOKEN` mean what they mean elsewhere.

mod config;
mod fetch;
mod place;
mod sentence;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;
use squeeze_data::{BytePieces, Task, Tokenizer};
use squeeze_formats::{Meta, ModelFile};
use squeeze_graph::Graph;
use squeeze_tensor::Weights;
use squeeze_zoo::Options;

use crate::front::Front;
use crate::language;
use crate::published::matched;
use crate::source::Sizes;
use config::Config;
use place::{CONFIG, Place, is_path};
use sentence::Sentence;

pub use place::{Name, is_name};

/// How many texts a model judges at once, which the Hub does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// One.
    One,
    /// Two.
    Pair,
}

/// The network that a model's configuration describes, without its weights.
///
/// # Errors
/// When there is no such model, or its network is not known.
pub fn graph(model: &str, sizes: &Sizes) -> Result<Graph> {
    About::read(model)?
        .graph(sizes.length())
        .with_context(|| model.to_owned())
}

/// What a model says of itself, but for its weights and its tokenizer.
struct About {
    place: Place,
    config: Config,
    sentence: Option<Sentence>,
}

impl About {
    fn read(model: &str) -> Result<Self> {
        let place = Place::of(model)?;
        let config = Config::read(&place.file(CONFIG)?)?;
        let sentence = Sentence::read(&place)?;
        Ok(Self {
            place,
            config,
            sentence,
        })
    }

    /// The network for texts of so many tokens, or of the zoo's usual length.
    fn graph(&self, length: Option<usize>) -> Result<Graph> {
        let options = Options {
            classes: Some(self.config.classes()),
            length,
            ..Options::default()
        };
        let pooling = self.sentence.map(|sentence| sentence.pooling);
        self.config.graph(&self.place.name(), &options, pooling)
    }

    /// Most tokens that a text has.
    fn longest(&self) -> usize {
        let limit = self.sentence.and_then(|sentence| sentence.longest);
        let longest = self.config.longest();
        limit.map_or(longest, |limit| limit.min(longest))
    }

    /// Refuses a tokenizer of more pieces than the network has rows.
    fn check_pieces(&self, pieces: usize) -> Result<()> {
        let rows = self.config.vocabulary();
        if pieces > rows {
            bail!("its tokenizer has {pieces} pieces, its network a table of {rows}");
        }
        Ok(())
    }

    /// What a model file says beside its network.
    fn meta(&self, texts: Texts, length: usize) -> Result<Meta> {
        let (place, config) = (&self.place, &self.config);
        let card = json!({ "imported_from": place.origin() });
        let tokenizer = place.optional("tokenizer.json")?;
        if config.is_language() {
            if texts == Texts::Pair {
                bail!("it continues one text: leave out --pair");
            }
            let path = tokenizer.context("there is no tokenizer.json")?;
            let text = std::fs::read_to_string(&path);
            let text = text.with_context(|| path.display().to_string())?;
            let pieces =
                BytePieces::from_json(&text).with_context(|| path.display().to_string())?;
            self.check_pieces(pieces.vocabulary())?;
            let meta = language::meta(&pieces, length)?;
            return Ok(Meta { card, ..meta });
        }
        let tokenizer = match tokenizer {
            Some(path) => Tokenizer::open(&path)?,
            None => Tokenizer::open(&place.file("vocab.txt")?)?,
        };
        self.check_pieces(tokenizer.vocabulary())?;
        if self.sentence.is_some() && texts == Texts::Pair {
            bail!("it makes a vector of each text: leave out --pair");
        }
        let task = self.task(texts);
        let front = Front::Text {
            tokenizer: Box::new(tokenizer),
            length,
        };
        Ok(Meta {
            task: serde_json::to_value(task)?,
            labels: match task.is_classification() {
                true => config.labels(),
                false => vec![],
            },
            input: front.to_json()?,
            card,
        })
    }

    /// The kind of model and what it does, for errors.
    fn what(&self) -> String {
        let does = match (self.config.is_language(), self.sentence) {
            (true, _) => "continues texts",
            (false, Some(_)) => "makes vectors of texts",
            (false, None) => "classifies texts",
        };
        format!("{} that {does}", self.config.model_type())
    }

    fn task(&self, texts: Texts) -> Task {
        let pair = texts == Texts::Pair;
        match (self.sentence, self.config.is_regression()) {
            (Some(Sentence { unit, .. }), _) => Task::EmbedText { unit },
            (None, true) => Task::RegressText { pair },
            (None, false) => Task::ClassifyText { pair },
        }
    }
}

/// A model of the Hub that classifies or continues texts, or makes vectors of them: configuration, tokenizer and weights.
///
/// # Errors
/// When there is no such model, its network is not known, or it does something else.
pub fn model_file(model: &str, sizes: &Sizes, texts: Texts) -> Result<ModelFile> {
    let about = About::read(model)?;
    let length = sizes.length().unwrap_or(about.longest());
    let graph = about.graph(Some(length));
    let graph = graph.with_context(|| model.to_owned())?;
    let meta = about.meta(texts, length);
    let meta = meta.with_context(|| model.to_owned())?;
    let mut all = weights(&about.place)?;
    if about.sentence.is_some() {
        sentence::without_pooler(&mut all);
    }
    let weights =
        matched(&graph, &all).with_context(|| format!("{model} as a {}", about.what()))?;
    Ok(ModelFile {
        graph,
        weights,
        meta,
    })
}

/// An index of weights that lie in several files.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The weights, in whatever form the model has them.
fn weights(place: &Place) -> Result<Weights> {
    for whole in ["model.safetensors", "pytorch_model.bin"] {
        if let Some(path) = place.optional(whole)? {
            return load(&path, whole);
        }
        let index = format!("{whole}.index.json");
        if let Some(path) = place.optional(&index)? {
            let text = std::fs::read_to_string(&path);
            let text = text.with_context(|| path.display().to_string())?;
            let index: Index =
                serde_json::from_str(&text).with_context(|| path.display().to_string())?;
            let parts: BTreeSet<String> = index.weight_map.into_values().collect();
            let mut all = Weights::default();
            for part in parts {
                if !is_path(&part) {
                    bail!("{}: `{part}` is no file of the model", path.display());
                }
                for (weight, tensor) in load(&place.file(&part)?, &part)?.iter() {
                    all.insert(weight, tensor.clone());
                }
            }
            return Ok(all);
        }
    }
    place.file("model.safetensors").map(|_| Weights::default())
}

fn load(path: &Path, name: &str) -> Result<Weights> {
    Ok(match name.ends_with(".safetensors") {
        true => squeeze_formats::safetensors::load(path)?,
        false => squeeze_formats::torch::load(path)?,
    })
}
