//! Which column of a table is the text, which its pair and which the label.

use std::path::Path;

use crate::{DataError, open::Columns};

/// Names of two columns that together are a pair, the first that fits is taken.
const PAIRS: &[[&str; 2]] = &[
    ["text", "pair"],
    ["text", "text_pair"],
    ["text1", "text2"],
    ["sentence1", "sentence2"],
    ["question1", "question2"],
    ["premise", "hypothesis"],
    ["question", "sentence"],
    ["query", "passage"],
    ["#1 string", "#2 string"],
];

/// Names of a column that is a text by itself; `text` wins, of the others there must be only one.
const TEXTS: &[&str] = &[
    "text",
    "sentence",
    "utterance",
    "question",
    "query",
    "content",
    "review",
    "message",
    "comment",
    "email",
    "tweet",
    "title",
];

/// Names of a column that is the answer; `label` wins, of the others there must be only one.
const LABELS: &[&str] = &[
    "label",
    "labels",
    "category",
    "intent",
    "class",
    "target",
    "quality",
    "gold_label",
    "score",
    "similarity",
    "rating",
];

/// Places of the columns that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The text, or the first of the pair.
    pub text: usize,
    /// The second of the pair.
    pub pair: Option<usize>,
    /// The answer.
    pub label: usize,
}

/// Finds the columns by the names the user gave, or by the usual names.
pub fn find(header: &[String], wanted: &Columns, file: &Path) -> Result<Places, DataError> {
    let named = |name: &str| {
        header
            .iter()
            .position(|column| column.trim().eq_ignore_ascii_case(name))
    };
    let missing = |what: &str| DataError::MissingColumn {
        file: file.to_owned(),
        wanted: what.to_owned(),
        found: header.join(", "),
    };
    let given = |name: &Option<String>, what: &str| match name {
        None => Ok(None),
        Some(name) => named(name)
            .map(Some)
            .ok_or_else(|| missing(&format!("`{name}` ({what})"))),
    };
    let among = |names: &[&str], what: &str| {
        if let Some(place) = named(names[0]) {
            return Ok(place);
        }
        let found: Vec<usize> = names.iter().filter_map(|name| named(name)).collect();
        match found[..] {
            [] => Err(missing(what)),
            [place] => Ok(place),
            _ => Err(DataError::AmbiguousColumn {
                file: file.to_owned(),
                wanted: what.to_owned(),
                found: found
                    .iter()
                    .map(|&i| header[i].as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    };
    let label = match given(&wanted.label, "label")? {
        Some(place) => place,
        None => among(LABELS, "label")?,
    };
    let pair = given(&wanted.pair, "pair")?;
    if let Some(text) = given(&wanted.text, "text")? {
        return Ok(Places { text, pair, label });
    }
    let known = PAIRS
        .iter()
        .find_map(|[first, second]| Some((named(first)?, named(second)?)));
    Ok(match (known, pair) {
        (Some((text, second)), None) => Places {
            text,
            pair: Some(second),
            label,
        },
        _ => Places {
            text: among(TEXTS, "text")?,
            pair,
            label,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: Result<(usize, Option<usize>, usize), &str>) {
        let header: Vec<String> = header.split(',').map(str::to_owned).collect();
        let found = find(&header, &Columns::default(), Path::new("t.csv"));
        match (found, expected) {
            (Ok(p), Ok(expected)) => assert_eq!((p.text, p.pair, p.label), expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{found:?} where {expected:?} was expected"),
        }
    }

    #[test]
    fn banking77() {
        check("text,category", Ok((0, None, 1)));
    }
    #[test]
    fn rte() {
        check("index,sentence1,sentence2,label", Ok((1, Some(2), 3)));
    }
    #[test]
    fn qnli() {
        check("index,question,sentence,label", Ok((1, Some(2), 3)));
    }
    #[test]
    fn mrpc() {
        check(
            "Quality,#1 ID,#2 ID,#1 String,#2 String",
            Ok((3, Some(4), 0)),
        );
    }
    #[test]
    fn no_label() {
        check(
            "text,colour",
            Err("no label column; columns are text, colour"),
        );
    }
    #[test]
    fn two_labels() {
        check(
            "text,intent,category",
            Err("category, intent could each be the label"),
        );
    }
}
