//! What stands before a network: how a user's text or image becomes its input. Model files hold it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use squeeze_data::{BatchInput, Image, Preprocess, Tokenizer};
use squeeze_graph::Graph;

/// What turns a user's example into a network's input.
#[derive(Clone)]
pub enum Front {
    /// Tokens, at most `length` of them.
    Text {
        /// Words to numbers.
        tokenizer: Box<Tokenizer>,
        /// Most tokens that the network takes; longer texts are cut.
        length: usize,
    },
    /// Pixels.
    Image(Preprocess),
}

/// The form in files.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Stored {
    Text { tokenizer: String, length: usize },
    Image { preprocess: Preprocess },
}

impl Front {
    /// As JSON, for a model file's `input`.
    ///
    /// # Errors
    /// When the tokenizer cannot be written.
    pub fn to_json(&self) -> Result<Value> {
        let stored = match self {
            Self::Text { tokenizer, length } => Stored::Text {
                tokenizer: tokenizer.to_json()?,
                length: *length,
            },
            Self::Image(preprocess) => Stored::Image {
                preprocess: preprocess.clone(),
            },
        };
        Ok(serde_json::to_value(stored)?)
    }

    /// From a model file's `input`.
    ///
    /// # Errors
    /// When it is nothing that this version knows.
    pub fn from_json(value: &Value) -> Result<Self> {
        let stored = serde_json::from_value(value.clone())
            .context("the model does not say how its input is made")?;
        Ok(match stored {
            Stored::Text { tokenizer, length } => Self::Text {
                tokenizer: Box::new(Tokenizer::from_json(&tokenizer)?),
                length,
            },
            Stored::Image { preprocess } => Self::Image(preprocess),
        })
    }

    /// One text, or a pair of texts, as a batch of one at its own length.
    ///
    /// # Errors
    /// When the network takes images.
    pub fn text(&self, text: &str, pair: Option<&str>) -> Result<BatchInput> {
        let Self::Text { tokenizer, length } = self else {
            anyhow::bail!("the model takes images: give it one with --image");
        };
        let encoded = tokenizer.encode(text, pair, *length)?;
        let s = encoded.ids.len();
        Ok(BatchInput::Tokens {
            ids: encoded.ids,
            type_ids: encoded.type_ids,
            lengths: vec![s],
            size: [1, s],
        })
    }

    /// One image as a batch of one.
    ///
    /// # Errors
    /// When the network takes text.
    pub fn image(&self, image: &Image) -> Result<BatchInput> {
        let Self::Image(preprocess) = self else {
            anyhow::bail!("the model takes text: give it one with --text");
        };
        let [height, width] = preprocess.size;
        let size = [1, height, width, preprocess.channels];
        Ok(BatchInput::Images {
            pixels: preprocess.apply(image),
            size,
        })
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text { length, .. } => write!(f, "Text of at most {length} tokens"),
            Self::Image(preprocess) => write!(f, "Image {:?}", preprocess.size),
        }
    }
}

/// The network for the batch size and length of `input`.
///
/// # Errors
/// When it cannot take them.
pub fn fitted(graph: &Graph, input: &BatchInput) -> Result<Graph> {
    Ok(match input {
        BatchInput::Images {
            size: [n, height, width, _],
            ..
        } => graph.with_batch(*n)?.with_image([*height, *width])?,
        BatchInput::Tokens { size: [n, s], .. } => graph.with_batch(*n)?.with_length(*s)?,
    })
}
