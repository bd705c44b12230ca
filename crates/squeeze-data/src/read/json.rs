//! One JSON file with parts by name, each a list of `[text, label]` (CLINC150's form).

use std::path::Path;

use serde_json::Value;

use super::assemble::{self, Part};
use super::{bytes, table::Row};
use crate::dataset::Problems;
use crate::open::Parts;
use crate::{DataError, DataSet, OpenOptions};

/// Opens a `.json` file, or a folder with only one, with `train`, perhaps `val` and `test`, each a list of `[text, label]`.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Option<DataSet>, DataError> {
    let is_json = |path: &Path| path.extension().is_some_and(|ending| ending == "json");
    let names = super::entries(path)?;
    let mut inside = names
        .iter()
        .map(|name| path.join(name))
        .filter(|file| is_json(file));
    let (first, second) = (inside.next(), inside.next());
    let file = match (first, second) {
        (None, _) if path.is_file() && is_json(path) => path.to_owned(),
        (Some(file), None) => file,
        _ => return Ok(None),
    };
    parts_of(&file, options, (&super::name_of(path), path))
}

fn parts_of(
    path: &Path,
    options: &OpenOptions,
    place: (&str, &Path),
) -> Result<Option<DataSet>, DataError> {
    let contents = bytes::read(path)?;
    let value: Value = serde_json::from_str(bytes::text(&contents, path)?)
        .map_err(|error| DataError::line(path, error.line(), format!("not JSON: {error}")))?;
    let Value::Object(parts) = value else {
        return Ok(None);
    };
    let mut problems = Problems::default();
    let known = [super::TRAIN, super::VALIDATION, super::TEST];
    let mut found = [const { None }; 3];
    for (name, rows) in parts {
        match known
            .iter()
            .position(|words| words.contains(&name.as_str()))
        {
            Some(place) => {
                found[place] = Some(Part {
                    file: path.to_owned(),
                    rows: list(&name, &rows, path)?,
                })
            }
            None => problems.add("part with an unknown name, not used", name),
        }
    }
    if found[0].is_none() {
        return Ok(None);
    }
    let given = found.each_ref().map(Option::is_some);
    let all = assemble::assemble(
        found.into_iter().flatten().collect(),
        options.answer,
        &mut problems,
    )?;
    let mut examples = all.examples.into_iter();
    let [train, validation, test] =
        given.map(|given| given.then(|| examples.next().unwrap_or_default()));
    let parts = Parts {
        train: train.unwrap_or_default(),
        validation,
        test,
    };
    parts
        .finish(place, (all.task, all.labels), problems, options)
        .map(Some)
}

fn list(part: &str, rows: &Value, path: &Path) -> Result<Vec<Row>, DataError> {
    let bad = |index: usize| {
        DataError::corrupt(
            path,
            format!("{part}[{index}] is not [text, label], both strings"),
        )
    };
    let rows = rows.as_array().ok_or_else(|| bad(0))?;
    rows.iter()
        .enumerate()
        .map(|(index, row)| match row.as_array().map(Vec::as_slice) {
            Some([Value::String(text), Value::String(label)]) => Ok(Row {
                text: text.trim().to_owned(),
                pair: None,
                label: label.trim().to_owned(),
                line: index + 1,
            }),
            _ => Err(bad(index)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clinc150() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("data.json");
        let text =
            r#"{"train": [["hi", "a"], ["ho", "b"]], "test": [["he", "a"]], "oos_train": []}"#;
        std::fs::write(&file, text).unwrap();
        let set = DataSet::open(file.to_str().unwrap(), &OpenOptions::default()).unwrap();
        assert_eq!((set.train.len(), set.test.len()), (2, 1));
        assert_eq!(
            set.problems[0].to_string(),
            "part with an unknown name, not used: 1 (oos_train)"
        );
        let folder = DataSet::open(root.path().to_str().unwrap(), &OpenOptions::default()).unwrap();
        assert_eq!(folder.train, set.train);
        std::fs::write(&file, r#"{"train": [["hi"]]}"#).unwrap();
        assert!(DataSet::open(file.to_str().unwrap(), &OpenOptions::default()).is_err());
    }
}
