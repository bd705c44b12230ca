//! What a network is asked to do with one example.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a network is asked to do with one example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// One class for an image.
    ClassifyImage,
    /// Classes and places of the objects in an image. No data set asks for this.
    Detect,
    /// One class for a text, or for a pair of texts.
    ClassifyText {
        /// Whether an example is two texts.
        pair: bool,
    },
    /// One number for a text, or for a pair of texts.
    RegressText {
        /// Whether an example is two texts.
        pair: bool,
    },
    /// A vector for a text; texts that mean the same have vectors of one direction.
    EmbedText {
        /// Whether the vector is scaled to length 1.
        unit: bool,
    },
    /// The tokens that follow a text. No data set asks for this.
    ContinueText,
}

impl Task {
    /// What a model file says of its task; nothing when it says nothing that is known.
    pub fn of(task: &Value) -> Option<Self> {
        Self::deserialize(task).ok()
    }

    /// Whether an example is an image.
    pub fn is_image(self) -> bool {
        match self {
            Self::ClassifyImage | Self::Detect => true,
            Self::ClassifyText { .. } | Self::RegressText { .. } => false,
            Self::EmbedText { .. } | Self::ContinueText => false,
        }
    }

    /// Whether an example is two texts.
    pub fn is_pair(self) -> bool {
        match self {
            Self::ClassifyImage | Self::Detect => false,
            Self::EmbedText { .. } | Self::ContinueText => false,
            Self::ClassifyText { pair } | Self::RegressText { pair } => pair,
        }
    }

    /// The same for two texts instead of one.
    pub fn of_pairs(self) -> Self {
        match self {
            Self::ClassifyImage | Self::Detect => self,
            Self::EmbedText { .. } | Self::ContinueText => self,
            Self::ClassifyText { .. } => Self::ClassifyText { pair: true },
            Self::RegressText { .. } => Self::RegressText { pair: true },
        }
    }

    /// Whether the answer is a class; otherwise it is a number, a vector, tokens or boxes.
    pub fn is_classification(self) -> bool {
        match self {
            Self::ClassifyImage | Self::ClassifyText { .. } => true,
            Self::RegressText { .. } | Self::EmbedText { .. } => false,
            Self::ContinueText | Self::Detect => false,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClassifyImage => "classify an image",
            Self::Detect => "detect objects in an image",
            Self::ClassifyText { pair: false } => "classify a text",
            Self::ClassifyText { pair: true } => "classify a pair of texts",
            Self::RegressText { pair: false } => "rate a text",
            Self::RegressText { pair: true } => "rate a pair of texts",
            Self::EmbedText { .. } => "turn a text into a vector",
            Self::ContinueText => "go on with a text",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_a_stable_form_in_files() {
        let json = serde_json::to_string(&Task::ClassifyText { pair: true }).unwrap();
        assert_eq!(json, r#"{"kind":"classify_text","pair":true}"#);
        assert_eq!(
            serde_json::from_str::<Task>(&json).unwrap(),
            Task::ClassifyText { pair: true }
        );
    }
}
