//! From rows of tables to examples: the task, the names of the classes, what is skipped.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::table::Row;
use crate::dataset::{Example, Input, Label, Problems};
use crate::{DataError, Task, open::Answer};

/// The rows of one file.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where they come from.
    pub file: PathBuf,
    /// The rows.
    pub rows: Vec<Row>,
}

/// Examples of each part, in its order, with the task and the names of the classes.
#[derive(Debug)]
pub struct Assembled {
    /// What is asked.
    pub task: Task,
    /// Names of classes.
    pub labels: Vec<String>,
    /// Examples, one list a part.
    pub examples: Vec<Vec<Example>>,
}

/// Makes examples; rows with an empty text or label are skipped and counted.
pub fn assemble(
    parts: Vec<Part>,
    answer: Answer,
    problems: &mut Problems,
) -> Result<Assembled, DataError> {
    let mut kept: Vec<(PathBuf, Vec<Row>)> = Vec::new();
    for Part { file, rows } in parts {
        let mut sound = Vec::with_capacity(rows.len());
        for row in rows {
            let place = || format!("{}:{}", file.display(), row.line);
            if row.text.is_empty() || row.pair.as_ref().is_some_and(String::is_empty) {
                problems.add("empty text, skipped", place());
            } else if row.label.is_empty() {
                problems.add("empty label, skipped", place());
            } else {
                sound.push(row);
            }
        }
        kept.push((file, sound));
    }
    let pair = kept
        .iter()
        .flat_map(|(_, rows)| rows)
        .any(|row| row.pair.is_some());
    let written: BTreeSet<&str> = kept
        .iter()
        .flat_map(|(_, rows)| rows)
        .map(|row| row.label.as_str())
        .collect();
    let numbers: Option<Vec<f32>> = written
        .iter()
        .map(|label| label.parse::<f32>().ok())
        .collect();
    let regression = match answer {
        Answer::Class => false,
        Answer::Number => true,
        Answer::Guess => numbers
            .as_ref()
            .is_some_and(|all| all.iter().any(|value| value.fract() != 0.0)),
    };
    if regression {
        let examples =
            kept.into_iter().map(|(file, rows)| {
                rows.into_iter()
                    .map(|row| {
                        let value = row
                            .label
                            .parse::<f32>()
                            .ok()
                            .filter(|value| value.is_finite());
                        let value = value.ok_or_else(|| DataError::line(&file, row.line, format!(
                    "the label `{}` is not a number: correct it, or classify instead", row.label
                )))?;
                        Ok(example(row, Label::Value(value)))
                    })
                    .collect()
            });
        return Ok(Assembled {
            task: Task::RegressText { pair },
            labels: Vec::new(),
            examples: examples.collect::<Result<_, DataError>>()?,
        });
    }
    let mut labels: Vec<String> = written.into_iter().map(str::to_owned).collect();
    if numbers.is_some() {
        // By value: 2 before 10.
        let value = |label: &String| label.parse::<f32>().unwrap_or(f32::NAN);
        labels.sort_by(|a, b| value(a).total_cmp(&value(b)));
    }
    let number = |label: &str| {
        labels
            .iter()
            .position(|known| known == label)
            .expect("every label was collected")
    };
    let numbers: std::collections::HashMap<String, usize> = labels
        .iter()
        .map(|label| (label.clone(), number(label)))
        .collect();
    let examples = kept.into_iter().map(|(_, rows)| {
        rows.into_iter()
            .map(|row| {
                let class = Label::Class(numbers[&row.label]);
                example(row, class)
            })
            .collect()
    });
    Ok(Assembled {
        task: Task::ClassifyText { pair },
        examples: examples.collect(),
        labels,
    })
}

fn example(row: Row, label: Label) -> Example {
    Example {
        input: Input::Text {
            text: row.text,
            pair: row.pair,
        },
        label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(rows: &[(&str, &str)]) -> Part {
        let rows = rows.iter().enumerate().map(|(i, (text, label))| Row {
            text: (*text).to_owned(),
            pair: None,
            label: (*label).to_owned(),
            line: i + 2,
        });
        Part {
            file: "t.csv".into(),
            rows: rows.collect(),
        }
    }

    #[test]
    fn numbers_are_sorted_by_value_and_empty_texts_skipped() {
        let mut problems = Problems::default();
        let parts = vec![
            part(&[("a", "10"), ("", "2"), ("b", "2")]),
            part(&[("c", "2")]),
        ];
        let all = assemble(parts, Answer::Guess, &mut problems).unwrap();
        assert_eq!(all.labels, ["2", "10"]);
        assert_eq!(all.examples[0][0].label, Label::Class(1));
        assert_eq!(
            problems.into_vec()[0].to_string(),
            "empty text, skipped: 1 (t.csv:3)"
        );
    }

    #[test]
    fn fractions_are_a_regression() {
        let all = assemble(
            vec![part(&[("a", "4.75"), ("b", "5.000")])],
            Answer::Guess,
            &mut Problems::default(),
        );
        assert_eq!(all.unwrap().examples[0][1].label, Label::Value(5.0));
        let all = assemble(
            vec![part(&[("a", "x")])],
            Answer::Number,
            &mut Problems::default(),
        );
        assert!(
            all.unwrap_err()
                .to_string()
                .starts_with("t.csv:2: the label `x` is not a number")
        );
    }
}
