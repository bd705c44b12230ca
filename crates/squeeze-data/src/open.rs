//! Opens a data set by name or path, recognising its form.

use std::path::Path;

use squeeze_tensor::Seed;

use crate::dataset::{DataSet, Example, Problems, SplitOrigin};
use crate::{DataError, Task, embedded, read, split};

/// How a data set is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Names of columns, where the usual names do not fit.
    pub columns: Columns,
    /// Whether a label is a class or a number.
    pub answer: Answer,
    /// The share of the training examples that is kept for validation when none is given.
    pub validation: f32,
    /// The share of all examples that is kept for the test when none is given.
    pub test: f32,
    /// The seed of splits that are made here.
    pub seed: Seed,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            columns: Columns::default(),
            answer: Answer::Guess,
            validation: 0.1,
            test: 0.2,
            seed: Seed(0),
        }
    }
}

/// Names of the columns of a table; the usual names are found without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// The text, or the first of the pair.
    pub text: Option<String>,
    /// The second of the pair.
    pub pair: Option<String>,
    /// The answer.
    pub label: Option<String>,
}

/// Whether a label is a class or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// A number when every label is one and some have a fraction.
    #[default]
    Guess,
    /// A class.
    Class,
    /// A number.
    Number,
}

impl DataSet {
    /// Opens an embedded set by name, or a folder or file by its path.
    pub fn open(name: &str, options: &OpenOptions) -> Result<Self, DataError> {
        if let Some(set) = embedded::open(name, options) {
            return set;
        }
        let path = Path::new(name);
        if !path.exists() {
            let names: Vec<&str> = embedded::SETS.iter().map(|(name, _)| *name).collect();
            return Err(DataError::Unknown {
                name: name.to_owned(),
                embedded: names.join(", "),
            });
        }
        read::open(path, options)
    }
}

/// What a reader found, before splits that were not given are made.
#[derive(Debug, Default)]
pub struct Parts {
    /// To learn from.
    pub train: Vec<Example>,
    /// To decide on, when given.
    pub validation: Option<Vec<Example>>,
    /// To report on, when given.
    pub test: Option<Vec<Example>>,
}

impl Parts {
    /// Makes the splits that are not given and refuses what cannot be learned from.
    ///
    /// A single held-out part is the test, whatever its name: decisions must not be made on what is reported.
    pub fn finish(
        self,
        name: &str,
        (task, labels): (Task, Vec<String>),
        problems: Problems,
        options: &OpenOptions,
    ) -> Result<DataSet, DataError> {
        let Self {
            mut train,
            mut validation,
            mut test,
        } = self;
        if train.is_empty() {
            return Err(DataError::Empty {
                place: name.to_owned(),
                skipped: problems.suffix(),
            });
        }
        if task.is_classification() {
            let first = train[0].label;
            if train.iter().all(|example| example.label == first) {
                let class = labels[first.class()].clone();
                return Err(DataError::OneClass {
                    place: name.to_owned(),
                    class,
                });
            }
        }
        let made = |share: f32| {
            format!(
                "{:.0} % of train, stratified, seed {}",
                100.0 * share,
                options.seed.0
            )
        };
        let given = "given".to_owned();
        let mut origin = SplitOrigin {
            test: given.clone(),
            validation: given.clone(),
        };
        if test.as_ref().is_none_or(Vec::is_empty) {
            test = validation.take().filter(|part| !part.is_empty());
            if test.is_some() {
                origin.test = "given as validation".to_owned();
            }
        }
        if test.is_none() {
            let (rest, taken) = split::take_share(train, options.test, options.seed.child("test"));
            (train, test) = (rest, Some(taken));
            origin.test = made(options.test);
        }
        if validation.as_ref().is_none_or(Vec::is_empty) {
            let seed = options.seed.child("validation");
            let (rest, taken) = split::take_share(train, options.validation, seed);
            (train, validation) = (rest, Some(taken));
            origin.validation = made(options.validation);
        }
        Ok(DataSet {
            name: name.to_owned(),
            task,
            labels,
            train,
            validation: validation.unwrap_or_default(),
            test: test.unwrap_or_default(),
            origin,
            problems: problems.into_vec(),
        })
    }
}
