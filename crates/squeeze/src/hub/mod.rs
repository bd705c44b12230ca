//! Models of the Hugging Face Hub: `hf:org/name` or `hf:org/name@revision` in the place of a file.
//!
//! Files come into the cache that other programs share (`HF_HUB_CACHE`, `HF_HOME`) and are taken from there afterwards; with
//! `HF_HUB_OFFLINE` from there alone. `HF_ENDPOINT` and `HF_TOKEN` mean what they mean elsewhere.

mod config;
mod fetch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
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
use fetch::Hub;

/// What names of the Hub begin with.
const PREFIX: &str = "hf:";

/// A model on the Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `org/name`, or the bare name of an old model.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

/// How many texts a model judges at once, which the Hub does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// One.
    One,
    /// Two.
    Pair,
}

/// Whether a MODEL argument means the Hub.
pub fn is_name(model: &str) -> bool {
    model.starts_with(PREFIX)
}

impl Name {
    /// The model that `hf:org/name[@revision]` means.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(model: &str) -> Result<Self> {
        let name = model.strip_prefix(PREFIX).unwrap_or(model);
        let (repository, revision) = name.split_once('@').unwrap_or((name, "main"));
        let parts = repository.split('/').count();
        if parts > 2 || !is_path(repository) || !is_path(revision) {
            bail!("{model}: a model of the Hub is called hf:ORG/NAME or hf:ORG/NAME@REVISION");
        }
        Ok(Self {
            repository: repository.into(),
            revision: revision.into(),
        })
    }
}

/// Whether a text is a path that leads nowhere but down.
fn is_path(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.split('/')
        .all(|part| !part.is_empty() && part.chars().all(fits) && part.chars().any(|c| c != '.'))
}

/// The network that a model's configuration describes, without its weights.
///
/// # Errors
/// When there is no such model, or its network is not known.
pub fn graph(model: &str, sizes: &Sizes) -> Result<Graph> {
    let (name, hub) = (Name::parse(model)?, Hub::from_env()?);
    let config = Config::read(&hub.file(&name, "config.json")?)?;
    config
        .graph(&name.repository, &options(sizes, &config, None))
        .with_context(|| model.to_owned())
}

/// A model of the Hub that classifies or continues texts: configuration, tokenizer and weights.
///
/// # Errors
/// When there is no such model, its network is not known, or it does neither.
pub fn model_file(model: &str, sizes: &Sizes, texts: Texts) -> Result<ModelFile> {
    let (name, hub) = (Name::parse(model)?, Hub::from_env()?);
    let config = Config::read(&hub.file(&name, "config.json")?)?;
    let options = options(sizes, &config, Some(config.longest()));
    let graph = config
        .graph(&name.repository, &options)
        .with_context(|| model.to_owned())?;
    let all = weights(&hub, &name)?;
    let weights = matched(&graph, &all).with_context(|| {
        let does = match config.is_language() {
            true => "continues",
            false => "classifies",
        };
        format!("{model} as a {} that {does} texts", config.model_type())
    })?;
    let fits = |pieces: usize| match pieces > config.vocabulary() {
        true => {
            let rows = config.vocabulary();
            Err(anyhow!(
                "{model}: its tokenizer has {pieces} pieces, its network a table of {rows}"
            ))
        }
        false => Ok(()),
    };
    if config.is_language() {
        if texts == Texts::Pair {
            bail!("{model} continues one text: leave out --pair");
        }
        let path = hub.file(&name, "tokenizer.json")?;
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| path.display().to_string())?;
        let pieces = BytePieces::from_json(&text).with_context(|| path.display().to_string())?;
        fits(pieces.vocabulary())?;
        let meta = Meta {
            card: card(&name),
            ..language::meta(&pieces, options.length.unwrap_or(config.longest()))?
        };
        return Ok(ModelFile {
            graph,
            weights,
            meta,
        });
    }
    let tokenizer = match hub.optional(&name, "tokenizer.json")? {
        Some(path) => Tokenizer::open(&path)?,
        None => Tokenizer::open(&hub.file(&name, "vocab.txt")?)?,
    };
    fits(tokenizer.vocabulary())?;
    let front = Front::Text {
        tokenizer: Box::new(tokenizer),
        length: options.length.unwrap_or(config.longest()),
    };
    let pair = texts == Texts::Pair;
    let task = match config.is_regression() {
        true => Task::RegressText { pair },
        false => Task::ClassifyText { pair },
    };
    let meta = Meta {
        task: serde_json::to_value(task)?,
        labels: if config.is_regression() {
            vec![]
        } else {
            config.labels()
        },
        input: front.to_json()?,
        card: card(&name),
    };
    Ok(ModelFile {
        graph,
        weights,
        meta,
    })
}

/// What a model file says of where it is from.
fn card(name: &Name) -> serde_json::Value {
    let Name {
        repository,
        revision,
    } = name;
    json!({ "imported_from": format!("{PREFIX}{repository}@{revision}") })
}

fn options(sizes: &Sizes, config: &Config, length: Option<usize>) -> Options {
    Options {
        classes: Some(config.classes()),
        length: sizes.length().or(length),
        ..Options::default()
    }
}

/// An index of weights that lie in several files.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The weights, in whatever form the model has them.
fn weights(hub: &Hub, name: &Name) -> Result<Weights> {
    for whole in ["model.safetensors", "pytorch_model.bin"] {
        if let Some(path) = hub.optional(name, whole)? {
            return load(&path, whole);
        }
        let index = format!("{whole}.index.json");
        if let Some(path) = hub.optional(name, &index)? {
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
                for (weight, tensor) in load(&hub.file(name, &part)?, &part)?.iter() {
                    all.insert(weight, tensor.clone());
                }
            }
            return Ok(all);
        }
    }
    hub.file(name, "model.safetensors")
        .map(|_| Weights::default())
}

fn load(path: &Path, name: &str) -> Result<Weights> {
    Ok(match name.ends_with(".safetensors") {
        true => squeeze_formats::safetensors::load(path)?,
        false => squeeze_formats::torch::load(path)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_revision_or_none() {
        let of = |model: &str| {
            let Name {
                repository,
                revision,
            } = Name::parse(model).expect("a name");
            [repository, revision]
        };
        assert_eq!(of("hf:org/name"), ["org/name", "main"]);
        assert_eq!(of("hf:org/na.me-2@refs/pr/1"), ["org/na.me-2", "refs/pr/1"]);
        assert_eq!(of("hf:name@v1.0"), ["name", "v1.0"]);
        for wrong in [
            "hf:",
            "hf:a/b/c",
            "hf:a/..",
            "hf:a/b@",
            "hf:a/b@..",
            "hf:/b",
            "hf:a b",
            "hf:a/b@x/../y",
        ] {
            assert!(Name::parse(wrong).is_err(), "{wrong}");
        }
        assert!(is_name("hf:x") && !is_name("hf.squeeze"));
    }
}
