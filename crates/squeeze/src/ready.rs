//! The data as trainings need it: opened, tokenised or resized, in three splits.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use squeeze_data::{
    Augment, DataSet, Example, Input, Label, OpenOptions, Prepared, Preprocess, Tokenizer,
};
use squeeze_graph::{Graph, Space};
use squeeze_zoo::{ImageSpace, TextSpace};

use crate::front::Front;

/// A data set ready for training.
#[derive(Debug)]
pub struct Ready {
    /// The examples and labels.
    pub set: DataSet,
    /// What networks learn from.
    pub train: Prepared,
    /// What decisions are made on.
    pub validation: Prepared,
    /// What the result is reported on.
    pub test: Prepared,
    /// What stands before the network.
    pub front: Front,
}

/// What is decided about the data once, and kept when a design is resumed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decided {
    /// The tokenizer as JSON, for text.
    pub tokenizer: Option<String>,
    /// Most tokens that the network takes, for text.
    pub length: Option<usize>,
    /// The image's size and normalisation, for images.
    pub preprocess: Option<Preprocess>,
}

/// Tokens that a network takes at most, however long the texts are.
const LONGEST: usize = 512;

impl Ready {
    /// Opens the data; what was `decided` before is kept.
    ///
    /// # Errors
    /// When the data cannot be read or learned from.
    pub fn open(
        data: &str,
        options: &OpenOptions,
        decided: Option<Decided>,
    ) -> Result<(Self, Decided)> {
        let set = DataSet::open(data, options)?;
        let decided = match decided {
            Some(decided) => decided,
            None => Decided::about(&set)?,
        };
        let front = decided.front()?;
        Ok((Self::new(set, front)?, decided))
    }

    /// The data read as `front` says.
    ///
    /// # Errors
    /// When it does not fit the data.
    pub fn new(set: DataSet, front: Front) -> Result<Self> {
        let prepare = |examples: &[Example]| match &front {
            Front::Text { tokenizer, length } => Prepared::texts(examples, tokenizer, *length),
            Front::Image(preprocess) => Prepared::images(examples, preprocess),
        };
        let (train, validation) = (prepare(&set.train)?, prepare(&set.validation)?);
        let test = prepare(&set.test)?;
        Ok(Self {
            train,
            validation,
            test,
            set,
            front,
        })
    }

    /// The spaces on offer for this data, the smallest first.
    pub fn spaces(&self) -> Vec<Family> {
        let classes = self.set.outputs();
        match &self.front {
            Front::Text { tokenizer, length } => {
                let rows = TextSpace::presets(tokenizer.vocabulary(), *length, classes);
                let pair = self.set.task.is_pair();
                rows.into_iter()
                    .map(|row| Family::Text(TextSpace { pair, ..row }))
                    .collect()
            }
            Front::Image(preprocess) => {
                let size = preprocess.size[0];
                let rows = ImageSpace::presets(preprocess.channels, size, classes);
                rows.into_iter().map(Family::Image).collect()
            }
        }
    }

    /// Random changes that suit the examples.
    pub fn augment(&self) -> Augment {
        match &self.front {
            Front::Text { .. } => Augment::texts(),
            Front::Image(preprocess) => Augment::suited(preprocess),
        }
    }
}

impl Decided {
    /// What suits the training split.
    ///
    /// # Errors
    /// When its images cannot be read or its texts have no words.
    pub fn about(set: &DataSet) -> Result<Self> {
        if set.task.is_image() {
            let preprocess = Preprocess::fit(&set.train, None)?;
            return Ok(Self {
                tokenizer: None,
                length: None,
                preprocess: Some(preprocess),
            });
        }
        let mut texts: Vec<&str> = vec![];
        for example in &set.train {
            if let Input::Text { text, pair } = &example.input {
                texts.push(text);
                texts.extend(pair.as_deref());
            }
        }
        let tokenizer = Tokenizer::train(texts.iter().copied(), None)?;
        let mut lengths = Prepared::texts(&set.train, &tokenizer, LONGEST)?.lengths();
        lengths.sort_unstable();
        let most_texts = lengths[(lengths.len() - 1) * 98 / 100];
        let length = most_texts.next_multiple_of(8).clamp(16, LONGEST);
        let tokenizer = Some(tokenizer.to_json()?);
        Ok(Self {
            tokenizer,
            length: Some(length),
            preprocess: None,
        })
    }

    /// As what stands before a network.
    ///
    /// # Errors
    /// When it is for neither texts nor images.
    pub fn front(&self) -> Result<Front> {
        Ok(match (&self.tokenizer, self.length, &self.preprocess) {
            (Some(json), Some(length), _) => Front::Text {
                tokenizer: Box::new(Tokenizer::from_json(json)?),
                length,
            },
            (_, _, Some(preprocess)) => Front::Image(preprocess.clone()),
            _ => bail!("inspect.json says neither how texts nor how images are read"),
        })
    }
}

/// A row that a space is built from.
#[derive(Clone, Debug, PartialEq)]
pub enum Family {
    /// Encoders.
    Text(TextSpace),
    /// Chains of convolution blocks.
    Image(ImageSpace),
}

impl Family {
    /// The space.
    ///
    /// # Errors
    /// When the data's sizes do not fit the row.
    pub fn space(&self) -> Result<Space> {
        Ok(match self {
            Self::Text(row) => squeeze_zoo::text(row)?,
            Self::Image(row) => squeeze_zoo::image(row)?,
        })
    }

    /// Hand-designed networks of the same family.
    ///
    /// # Errors
    /// When the data's sizes do not fit the row.
    pub fn references(&self) -> Result<Vec<Graph>> {
        Ok(match self {
            Self::Text(row) => squeeze_zoo::text_references(row)?,
            Self::Image(row) => squeeze_zoo::image_references(row)?,
        })
    }
}

/// Gives the examples the model's numbers for their classes.
///
/// # Errors
/// When the data has a class that the model does not know.
pub fn renumber(examples: &mut [Example], data: &[String], model: &[String]) -> Result<()> {
    for example in examples {
        if let Label::Class(class) = &mut example.label {
            let name = &data[*class];
            match model.iter().position(|known| known == name) {
                Some(number) => *class = number,
                None => bail!(
                    "the data has a class `{name}`, the model knows {}",
                    model.join(", ")
                ),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_matched_by_name() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        let input = Input::Text {
            text: "x".into(),
            pair: None,
        };
        let examples = vec![Example {
            input,
            label: Label::Class(0),
        }];
        let (data, model) = (names(&["ham"]), names(&["spam", "ham"]));
        let mut matched = examples.clone();
        renumber(&mut matched, &data, &model).expect("known");
        assert_eq!(matched[0].label, Label::Class(1));
        let mut examples = examples;
        let error = renumber(&mut examples, &data, &names(&["cat", "dog"])).expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "the data has a class `ham`, the model knows cat, dog"
        );
    }
}
