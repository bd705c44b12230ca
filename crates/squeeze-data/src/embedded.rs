//! The data sets that are part of the program: `spam` and `digits` (licences in data/LICENSES.md).

use std::path::Path;

use crate::dataset::{DataSet, Problems};
use crate::open::{OpenOptions, Parts};
use crate::read::{assemble, assemble::Part, bytes, idx, table, table::Form};
use crate::{DataError, Task};

/// Name and one line about each embedded set.
pub const SETS: &[(&str, &str)] = &[
    (
        "spam",
        "e-mails, ham or spam (from the SpamAssassin public corpus)",
    ),
    ("digits", "handwritten digits, 28x28 grey (from MNIST)"),
];

macro_rules! data {
    ($name:literal) => {
        (&include_bytes!(concat!("../../../data/", $name))[..], $name)
    };
}

/// The embedded set of this name, or nothing.
pub fn open(name: &str, options: &OpenOptions) -> Option<Result<DataSet, DataError>> {
    match name {
        "spam" => Some(known(name, options).and_then(|()| spam(options))),
        "digits" => Some(known(name, options).and_then(|()| digits(options))),
        _ => None,
    }
}

/// What the columns of an embedded set are called is no question.
fn known(name: &str, options: &OpenOptions) -> Result<(), DataError> {
    options.columns.refuse(name)
}

fn spam(options: &OpenOptions) -> Result<DataSet, DataError> {
    let mut problems = Problems::default();
    let part = |(packed, name): (&[u8], &str)| {
        let file = Path::new(name);
        let rows = table::parse(
            &bytes::unpack(packed, file)?,
            Form::Tsv,
            &Default::default(),
            file,
        )?;
        Ok(Part {
            file: file.to_owned(),
            rows,
        })
    };
    let parts = vec![
        part(data!("spam/train.tsv.gz"))?,
        part(data!("spam/test.tsv.gz"))?,
    ];
    let all = assemble::assemble(parts, options.answer, &mut problems)?;
    let [train, test] = all.examples.try_into().expect("two parts went in");
    Parts {
        train,
        validation: None,
        test: Some(test),
    }
    .finish(
        ("spam", Path::new("spam")),
        (all.task, all.labels),
        problems,
        options,
    )
}

fn digits(options: &OpenOptions) -> Result<DataSet, DataError> {
    let part = |images: (&[u8], &str), labels: (&[u8], &str)| {
        let (image_path, label_path) = (Path::new(images.1), Path::new(labels.1));
        idx::examples(
            (&bytes::unpack(images.0, image_path)?, image_path),
            (&bytes::unpack(labels.0, label_path)?, label_path),
        )
    };
    let train = part(
        data!("digits/train-images-idx3-ubyte.gz"),
        data!("digits/train-labels-idx1-ubyte.gz"),
    )?;
    let test = part(
        data!("digits/test-images-idx3-ubyte.gz"),
        data!("digits/test-labels-idx1-ubyte.gz"),
    )?;
    let labels = (0..10).map(|digit| digit.to_string()).collect();
    Parts {
        train,
        validation: None,
        test: Some(test),
    }
    .finish(
        ("digits", Path::new("digits")),
        (Task::ClassifyImage, labels),
        Problems::default(),
        options,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn have_their_sizes() {
        let sizes = |name: &str| {
            let set = open(name, &OpenOptions::default()).unwrap().unwrap();
            (
                set.labels,
                set.train.len(),
                set.validation.len(),
                set.test.len(),
            )
        };
        let (labels, train, validation, test) = sizes("spam");
        assert_eq!(labels, ["ham", "spam"]);
        assert_eq!((train + validation, test), (4154, 1039));
        let (labels, train, validation, test) = sizes("digits");
        assert_eq!(labels.len(), 10);
        assert_eq!((train + validation, test), (12_000, 2_000));
    }
}
