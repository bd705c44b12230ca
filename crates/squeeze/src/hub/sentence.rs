//! Sentence encoders: models that `sentence-transformers` saved, whose `modules.json` says how a
//! text's vector is made (Reimers and Gurevych, 2019).

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use squeeze_tensor::Weights;
use squeeze_zoo::Pooling;

use super::place::{Place, is_path};

/// What makes vectors of a text's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub pooling: Pooling,
    /// Whether vectors are scaled to length 1.
    pub unit: bool,
    /// Most tokens of a text, where the model says it.
    pub longest: Option<usize>,
}

/// One step of `modules.json`.
#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Limits {
    max_seq_length: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Modes {
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
}

impl Sentence {
    /// What a model says of sentences; nothing when it is no sentence encoder.
    pub(super) fn read(place: &Place) -> Result<Option<Self>> {
        let Some(path) = place.optional("modules.json")? else {
            return Ok(None);
        };
        let modules: Vec<Module> = json(&path)?;
        let mut pooling = None;
        let mut unit = false;
        for Module { path: at, kind } in &modules {
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" if at.is_empty() => {}
                "Pooling" if is_path(at) => {
                    let path = place.file(&format!("{at}/config.json"))?;
                    pooling = Some(json::<Modes>(&path)?.pooling(&path)?);
                }
                "Normalize" => unit = true,
                _ => bail!(
                    "{}: `{kind}` at `{at}` is not known, Transformer, Pooling and Normalize are",
                    path.display()
                ),
            }
        }
        let Some(pooling) = pooling else {
            bail!("{}: there is no Pooling", path.display());
        };
        let longest = match place.optional("sentence_bert_config.json")? {
            Some(path) => json::<Limits>(&path)?.max_seq_length,
            None => None,
        };
        Ok(Some(Self {
            pooling,
            unit,
            longest: longest.filter(|&longest| longest > 0),
        }))
    }
}

impl Modes {
    fn pooling(&self, path: &Path) -> Result<Pooling> {
        let others = self.pooling_mode_mean_sqrt_len_tokens
            || self.pooling_mode_weightedmean_tokens
            || self.pooling_mode_lasttoken;
        let known = [
            (self.pooling_mode_cls_token, Pooling::First),
            (self.pooling_mode_mean_tokens, Pooling::Mean),
            (self.pooling_mode_max_tokens, Pooling::Max),
        ];
        let mut chosen = known.iter().filter(|(is, _)| *is);
        match (chosen.next(), chosen.next(), others) {
            (Some(&(_, pooling)), None, false) => Ok(pooling),
            _ => bail!(
                "{}: one of the first token, the mean and the largest is known",
                path.display()
            ),
        }
    }
}

/// Takes out what encoders are saved with that plays no part in a sentence's vector.
pub(super) fn without_pooler(weights: &mut Weights) {
    let is_pooler = |name: &str| name.starts_with("pooler.") || name.contains(".pooler.");
    let names: Vec<String> = weights
        .iter()
        .map(|(name, _)| name.to_owned())
        .filter(|name| is_pooler(name))
        .collect();
    for name in names {
        weights.remove(&name);
    }
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
