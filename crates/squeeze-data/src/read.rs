//! Readers, one file a form of data, and the recognition of the form.

use std::path::Path;

use crate::{DataError, DataSet, OpenOptions};

pub mod assemble;
pub mod bytes;
pub mod cifar;
pub mod columns;
pub mod folder;
pub mod idx;
pub mod json;
pub mod table;

type Reader = fn(&Path, &OpenOptions) -> Result<Option<DataSet>, DataError>;

/// The forms in the order in which they are tried; a reader gives nothing when the form is another.
const FORMS: &[(&str, Reader)] = &[
    (
        "a .csv, .tsv or .jsonl file, or a folder with train.csv, train.tsv or train.jsonl, or with only one such file",
        table::open,
    ),
    (
        "IDX files (train-images-idx3-ubyte, train-labels-idx1-ubyte)",
        idx::open,
    ),
    (
        "a .json file of parts (train, val, test) with [text, label]",
        json::open,
    ),
    (
        "CIFAR's binary batches (data_batch_1.bin .. or train.bin, test.bin)",
        cifar::open_binary,
    ),
    (
        "PNG sheets of one image a row with labels.txt",
        cifar::open_sheets,
    ),
    (
        "a folder of image folders (png, jpg), a class each, perhaps inside train, val and test",
        folder::open,
    ),
];

/// Opens a folder or file that exists.
pub fn open(path: &Path, options: &OpenOptions) -> Result<DataSet, DataError> {
    for (at, (_, reader)) in FORMS.iter().enumerate() {
        // Only the first form has columns to name.
        if at == 1 {
            options.columns.refuse(path.display().to_string())?;
        }
        if let Some(set) = reader(path, options)? {
            return Ok(set);
        }
    }
    let forms: Vec<&str> = FORMS.iter().map(|(form, _)| *form).collect();
    Err(DataError::Unrecognised {
        path: path.to_owned(),
        looked_for: forms.join("; "),
    })
}

/// The names of the entries of a folder, sorted, without hidden ones; empty for a file.
fn entries(path: &Path) -> Result<Vec<String>, DataError> {
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(DataError::unreadable(path))? {
        let entry = entry.map_err(DataError::unreadable(path))?;
        match entry.file_name().into_string() {
            Ok(name) if !name.starts_with('.') => names.push(name),
            _ => {}
        }
    }
    names.sort();
    Ok(names)
}

/// The name of a data set at this path.
fn name_of(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    full.file_name().map_or_else(
        || "data".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// What a part of a data set is called in file and folder names.
const TRAIN: &[&str] = &["train", "training"];
const VALIDATION: &[&str] = &["validation", "valid", "val", "dev"];
const TEST: &[&str] = &["test", "testing"];
