//! A split ready for batches: images as bytes at the network's size, or texts as numbers.

use rayon::prelude::*;

use crate::batch::{Batching, Epoch, Labels};
use crate::dataset::{Example, Input, Label, Picture};
use crate::{DataError, Preprocess, Tokenizer};

/// A split ready for batches: images as bytes at the network's size, or texts as numbers.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) inputs: Inputs,
    pub(crate) labels: Labels,
}

/// What the examples became.
#[derive(Debug)]
pub(crate) enum Inputs {
    /// `[n, h, w, c]` bytes.
    Pixels {
        preprocess: Preprocess,
        bytes: Vec<u8>,
    },
    /// Images that are read again for each batch, since all of them are too many for memory.
    Files {
        preprocess: Preprocess,
        pictures: Vec<Picture>,
    },
    /// Numbers of all texts one after the other.
    Tokens {
        ids: Vec<i32>,
        type_ids: Vec<i32>,
        ends: Vec<usize>,
        pad: i32,
        unknown: i32,
        /// No batch is wider.
        longest: usize,
    },
}

/// Bytes of images that are kept in memory at most.
const MEMORY: usize = 1 << 30;

impl Prepared {
    /// Decodes and resizes images on all threads.
    pub fn images(examples: &[Example], preprocess: &Preprocess) -> Result<Self, DataError> {
        let picture = |example: &Example| match &example.input {
            Input::Image(picture) => Ok(picture.clone()),
            Input::Text { .. } => Err(DataError::Mismatch(
                "a text where an image was expected".to_owned(),
            )),
        };
        let preprocess = preprocess.clone();
        let inputs = if examples.len().saturating_mul(preprocess.len()) > MEMORY {
            let pictures = examples.iter().map(picture).collect::<Result<_, _>>()?;
            Inputs::Files {
                preprocess,
                pictures,
            }
        } else {
            let mut bytes = vec![0; examples.len() * preprocess.len()];
            let slots = bytes.par_chunks_mut(preprocess.len().max(1));
            slots.zip(examples).try_for_each(|(slot, example)| {
                let picture = picture(example)?;
                slot.copy_from_slice(&preprocess.bytes(&*picture.image()?));
                Ok::<_, DataError>(())
            })?;
            Inputs::Pixels { preprocess, bytes }
        };
        Ok(Self {
            inputs,
            labels: labels(examples),
        })
    }

    /// Tokenises texts, each to at most `longest` numbers.
    pub fn texts(
        examples: &[Example],
        tokenizer: &Tokenizer,
        longest: usize,
    ) -> Result<Self, DataError> {
        let texts: Vec<(&str, Option<&str>)> = examples
            .iter()
            .map(|example| match &example.input {
                Input::Text { text, pair } => Ok((text.as_str(), pair.as_deref())),
                Input::Image(_) => Err(DataError::Mismatch(
                    "an image where a text was expected".to_owned(),
                )),
            })
            .collect::<Result<_, _>>()?;
        let (mut ids, mut type_ids, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for encoded in tokenizer.encode_all(&texts, longest)? {
            ids.extend(encoded.ids);
            type_ids.extend(encoded.type_ids);
            ends.push(ids.len());
        }
        let inputs = Inputs::Tokens {
            ids,
            type_ids,
            ends,
            pad: tokenizer.pad(),
            unknown: tokenizer.unknown(),
            longest,
        };
        Ok(Self {
            inputs,
            labels: labels(examples),
        })
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The right answers, in order.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The length of each text in pieces; nothing for images.
    pub fn lengths(&self) -> Vec<usize> {
        match &self.inputs {
            Inputs::Pixels { .. } | Inputs::Files { .. } => Vec::new(),
            Inputs::Tokens { ends, .. } => {
                (0..ends.len()).map(|row| span(ends, row).len()).collect()
            }
        }
    }

    /// The batches of one epoch of training, in seeded order.
    pub fn epoch<'a>(&'a self, batching: &'a Batching, epoch: u64) -> Epoch<'a> {
        Epoch::shuffled(self, batching, epoch)
    }

    /// All examples once without augmentation, for evaluation; texts of like length are together, `rows` tells which.
    pub fn once(&self, batch: usize) -> Epoch<'_> {
        Epoch::ordered(self, batch)
    }
}

/// Where the numbers of one text lie.
pub(crate) fn span(ends: &[usize], row: usize) -> std::ops::Range<usize> {
    let start = if row == 0 { 0 } else { ends[row - 1] };
    start..ends[row]
}

fn labels(examples: &[Example]) -> Labels {
    if examples
        .iter()
        .any(|example| matches!(example.label, Label::Value(_)))
    {
        Labels::Values(
            examples
                .iter()
                .map(|example| example.label.value())
                .collect(),
        )
    } else {
        Labels::Classes(
            examples
                .iter()
                .map(|example| example.label.class())
                .collect(),
        )
    }
}
