//! Opens a data set by name or path, recognising its form.

use std::path::Path;

use serde::{Deserialize, Serialize};
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    /// The text, or the first of the pair.
    pub text: Option<String>,
    /// The second of the pair.
    pub pair: Option<String>,
    /// The answer.
    pub label: Option<String>,
}

impl Columns {
    /// The columns that are named, each with the option that names it.
    pub fn named(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("--text-column", &self.text),
            ("--pair-column", &self.pair),
            ("--label-column", &self.label),
        ];
        let named = all
            .into_iter()
            .filter_map(|(option, name)| Some((option, name.as_deref()?)));
        named.collect()
    }

    /// Refuses names of columns for data that is no table.
    pub(crate) fn refuse(&self, place: impl Into<String>) -> Result<(), DataError> {
        let options: Vec<&str> = self.named().into_iter().map(|(option, _)| option).collect();
        if options.is_empty() {
            return Ok(());
        }
        Err(DataError::NoColumns {
            place: place.into(),
            options: options.join(" and "),
        })
    }
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
        (name, place): (&str, &Path),
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
                place: place.display().to_string(),
                skipped: problems.suffix(),
            });
        }
        if task.is_classification() {
            let first = train[0].label;
            if train.iter().all(|example| example.label == first) {
                let class = labels[first.class()].clone();
                return Err(DataError::OneClass {
                    place: place.display().to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(name: &str) -> OpenOptions {
        let label = Some(name.to_owned());
        OpenOptions {
            columns: Columns {
                label,
                ..Columns::default()
            },
            ..OpenOptions::default()
        }
    }

    #[test]
    fn a_table_is_read_by_the_names_that_are_given() {
        let file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
        let rows = "text,kind,label\na,x,1\nb,y,1\nc,x,1\nd,y,1\n";
        std::fs::write(file.path(), rows).unwrap();
        let set = DataSet::open(file.path().to_str().unwrap(), &labelled("kind")).unwrap();
        assert_eq!(set.labels, ["x", "y"]);
    }

    #[test]
    fn what_is_no_table_has_no_columns() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["spam", "digits", folder.path().to_str().unwrap()] {
            let error = DataSet::open(name, &labelled("kind")).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{name}: no table, so no columns can be named: leave out --label-column")
            );
        }
    }
}
