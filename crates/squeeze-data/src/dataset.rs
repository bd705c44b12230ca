//! A data set: examples in three splits, with a task and names of classes.

use std::fmt;
use std::path::PathBuf;

use crate::{DataError, Image, Task};

/// Examples in three splits, with a task and names of classes.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// The embedded name, or the name of the file or folder.
    pub name: String,
    /// What is asked about an example.
    pub task: Task,
    /// Names of the classes, in the order of their numbers; empty when the answer is a number.
    pub labels: Vec<String>,
    /// What a network learns from.
    pub train: Vec<Example>,
    /// What decisions are made on.
    pub validation: Vec<Example>,
    /// What the result is reported on.
    pub test: Vec<Example>,
    /// Where the splits come from.
    pub origin: SplitOrigin,
    /// What was wrong and could be passed over.
    pub problems: Vec<Problem>,
}

impl DataSet {
    /// The number of classes, or 1 when the answer is a number.
    pub fn outputs(&self) -> usize {
        self.labels.len().max(1)
    }

    /// The three splits with their names.
    pub fn splits(&self) -> [(&'static str, &[Example]); 3] {
        [
            ("train", &self.train),
            ("validation", &self.validation),
            ("test", &self.test),
        ]
    }
}

/// One example and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What the network sees.
    pub input: Input,
    /// What it should answer.
    pub label: Label,
}

/// What a network sees.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A text, or a pair of texts.
    Text {
        /// The text, or the first of the pair.
        text: String,
        /// The second of the pair.
        pair: Option<String>,
    },
    /// An image.
    Image(Picture),
}

/// The right answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Label {
    /// The number of a class.
    Class(usize),
    /// A number.
    Value(f32),
}

impl Label {
    /// The number of the class.
    ///
    /// # Panics
    /// When the answer is a number.
    pub fn class(self) -> usize {
        match self {
            Self::Class(class) => class,
            Self::Value(value) => panic!("{value} is a number, not a class"),
        }
    }

    /// The answer as a number: a class counts as its number.
    pub fn value(self) -> f32 {
        match self {
            Self::Class(class) => class as f32,
            Self::Value(value) => value,
        }
    }
}

/// An image in memory, or still in its file.
#[derive(Clone, Debug, PartialEq)]
pub enum Picture {
    /// Decoded.
    Pixels(Image),
    /// Decoded when it is needed; its header was read and is sound.
    File(PathBuf),
}

impl Picture {
    /// The decoded image.
    pub fn image(&self) -> Result<std::borrow::Cow<'_, Image>, DataError> {
        Ok(match self {
            Self::Pixels(image) => std::borrow::Cow::Borrowed(image),
            Self::File(path) => std::borrow::Cow::Owned(Image::open(path)?),
        })
    }
}

/// Where the splits come from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SplitOrigin {
    /// Where the test split comes from.
    pub test: String,
    /// Where the validation split comes from.
    pub validation: String,
}

/// Something wrong that could be passed over.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// What is wrong, e.g. `empty text, skipped`.
    pub what: String,
    /// How many times.
    pub count: usize,
    /// The first places, as `file:line` or a file's name.
    pub places: Vec<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.count)?;
        if !self.places.is_empty() {
            write!(f, " ({}", self.places.join(", "))?;
            if self.count > self.places.len() {
                f.write_str(", ..")?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// Collects problems while a data set is read: a count for each kind, and its first places.
#[derive(Clone, Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    const PLACES: usize = 5;

    /// Counts one problem at a place.
    pub fn add(&mut self, what: &str, place: impl Into<String>) {
        let problem = match self.0.iter().position(|problem| problem.what == what) {
            Some(index) => &mut self.0[index],
            None => {
                self.0.push(Problem {
                    what: what.to_owned(),
                    count: 0,
                    places: Vec::new(),
                });
                self.0.last_mut().expect("one was pushed")
            }
        };
        problem.count += 1;
        if problem.places.len() < Self::PLACES {
            problem.places.push(place.into());
        }
    }

    /// All of them, in the order in which each kind was first seen.
    pub fn into_vec(self) -> Vec<Problem> {
        self.0
    }

    /// For the end of a message: `, 3 skipped (empty text: 3 (a.csv:2, ..))`, or nothing.
    pub fn suffix(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let all: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        format!(", skipped: {}", all.join("; "))
    }
}
