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
    let missing = |wanted: &str, role: &'static str| DataError::MissingColumn {
        file: file.to_owned(),
        wanted: wanted.to_owned(),
        role,
        found: header.join(", "),
    };
    let given = |name: &Option<String>, role: &'static str| match name {
        None => Ok(None),
        Some(name) => named(name.trim())
            .map(Some)
            .ok_or_else(|| missing(&format!("`{name}`"), role)),
    };
    let among = |names: &[&str], role: &'static str| {
        if let Some(place) = named(names[0]) {
            return Ok(place);
        }
        let found: Vec<usize> = names.iter().filter_map(|name| named(name)).collect();
        match found[..] {
            [] => Err(missing(role, role)),
            [place] => Ok(place),
            _ => Err(DataError::AmbiguousColumn {
                file: file.to_owned(),
                role,
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
        return distinct(Places { text, pair, label }, header, file);
    }
    let known = PAIRS
        .iter()
        .find_map(|[first, second]| Some((named(first)?, named(second)?)));
    let places = match (known, pair) {
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
    };
    distinct(places, header, file)
}

/// Refuses one column for two things: a label among the texts would be a lesson with its answer.
fn distinct(places: Places, header: &[String], file: &Path) -> Result<Places, DataError> {
    let Places { text, pair, label } = places;
    let all = [("text", Some(text)), ("pair", pair), ("label", Some(label))];
    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        let ((role, place), (other, same)) = (all[first], all[second]);
        if let Some(place) = place.filter(|_| place == same) {
            return Err(DataError::SameColumn {
                file: file.to_owned(),
                roles: [role, other],
                name: header[place].clone(),
            });
        }
    }
    Ok(places)
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

    #[track_caller]
    fn check_named(
        names: [Option<&str>; 3],
        expected: Result<(usize, Option<usize>, usize), &str>,
    ) {
        let header = ["id", "Body", "reply", "kind", "label"].map(str::to_owned);
        let [text, pair, label] = names.map(|name| name.map(str::to_owned));
        match (
            find(&header, &Columns { text, pair, label }, Path::new("t.csv")),
            expected,
        ) {
            (Ok(p), Ok(expected)) => assert_eq!((p.text, p.pair, p.label), expected),
            (Err(error), Err(message)) => assert_eq!(error.to_string(), message),
            (found, expected) => panic!("{found:?} where {expected:?} was expected"),
        }
    }

    #[test]
    fn names_that_are_given_win() {
        check_named([Some("body"), None, Some("kind")], Ok((1, None, 3)));
        check_named([Some("Body"), Some("reply"), None], Ok((1, Some(2), 4)));
    }
    #[test]
    fn a_given_name_that_is_not_there() {
        check_named(
            [Some("body"), None, Some("knid")],
            Err(
                "t.csv: no `knid` column; columns are id, Body, reply, kind, label: name one of them with --label-column",
            ),
        );
        check_named(
            [None, Some("reply"), None],
            Err(
                "t.csv: no text column; columns are id, Body, reply, kind, label: name one of them with --text-column",
            ),
        );
    }
    #[test]
    fn one_column_for_two_things() {
        check_named(
            [Some("kind"), None, Some("kind")],
            Err("t.csv: --text-column and --label-column name the same column `kind`: name two"),
        );
        check_named(
            [Some("label"), None, None],
            Err("t.csv: --text-column and --label-column name the same column `label`: name two"),
        );
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
