//! CSV, TSV and JSON lines: rows of text, optional pair and label, each with its line.

use std::path::Path;

use serde_json::Value;

use super::{
    assemble::{self, Part},
    bytes,
    columns::{self, Places},
};
use crate::dataset::Problems;
use crate::open::{Columns, Parts};
use crate::{DataError, DataSet, OpenOptions};

/// Opens a table, or a folder with tables named after their part.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Option<DataSet>, DataError> {
    let mut problems = Problems::default();
    let names = super::entries(path)?;
    let find = |parts: &[&str]| {
        let named = |part: &str, ending: &str| {
            names.iter().find(|name| {
                let name = name.to_ascii_lowercase();
                name.strip_suffix(".gz").unwrap_or(&name) == format!("{part}.{ending}")
            })
        };
        let all = parts
            .iter()
            .flat_map(|part| Form::ENDINGS.iter().map(move |(e, _)| (part, e)));
        all.filter_map(|(part, ending)| named(part, ending))
            .next()
            .map(|name| path.join(name))
    };
    let files = if path.is_file() {
        [Form::of(path).map(|_| path.to_owned()), None, None]
    } else if let Some(alone) = alone(&names) {
        [Some(path.join(alone)), None, None]
    } else {
        [
            find(super::TRAIN),
            find(super::VALIDATION),
            find(super::TEST),
        ]
    };
    if files[0].is_none() {
        return Ok(None);
    }
    let mut parts = Vec::new();
    let mut places = [None; 3];
    for (place, file) in places.iter_mut().zip(&files) {
        let Some(file) = file else { continue };
        let form = Form::of(file).expect("only files with a known ending were found");
        let rows = match parse(&bytes::read(file)?, form, &options.columns, file) {
            // GLUE's test.tsv files have no labels.
            Err(DataError::MissingColumn { .. })
                if !parts.is_empty() && form != Form::JsonLines =>
            {
                problems.add(
                    "held-out file without the columns of train, not used",
                    file.display().to_string(),
                );
                continue;
            }
            rows => rows?,
        };
        *place = Some(parts.len());
        parts.push(Part {
            file: file.clone(),
            rows,
        });
    }
    let all = assemble::assemble(parts, options.answer, &mut problems)?;
    let mut examples: Vec<_> = all.examples.into_iter().map(Some).collect();
    let [train, validation, test] =
        places.map(|place| place.and_then(|place: usize| examples[place].take()));
    let parts = Parts {
        train: train.unwrap_or_default(),
        validation,
        test,
    };
    parts
        .finish(
            (&super::name_of(path), path),
            (all.task, all.labels),
            problems,
            options,
        )
        .map(Some)
}

/// The only table of a folder, whatever its name; a file of licence or notes beside it does not count.
fn alone(names: &[String]) -> Option<&String> {
    let mut tables = names
        .iter()
        .filter(|name| Form::of(Path::new(name)).is_some());
    tables.next().filter(|_| tables.next().is_none())
}

/// One row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The text, or the first of the pair.
    pub text: String,
    /// The second of the pair.
    pub pair: Option<String>,
    /// The answer as it is written.
    pub label: String,
    /// Where the row starts, from 1.
    pub line: usize,
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Commas and quotes, with a header.
    Csv,
    /// Tabs and no quotes, with a header (or GLUE's CoLA, which has none).
    Tsv,
    /// One JSON object a line.
    JsonLines,
}

impl Form {
    /// File name endings, each also with `.gz`.
    pub const ENDINGS: [(&'static str, Self); 4] = [
        ("csv", Self::Csv),
        ("tsv", Self::Tsv),
        ("jsonl", Self::JsonLines),
        ("ndjson", Self::JsonLines),
    ];

    /// The form that a file's name promises.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let (_, ending) = name.rsplit_once('.')?;
        Self::ENDINGS
            .iter()
            .find(|(known, _)| *known == ending)
            .map(|&(_, form)| form)
    }
}

/// Reads a table; `file` is for messages.
pub fn parse(
    contents: &[u8],
    form: Form,
    names: &Columns,
    file: &Path,
) -> Result<Vec<Row>, DataError> {
    let text = bytes::text(contents, file)?;
    match form {
        Form::Csv => separated(text, b',', names, file),
        Form::Tsv => separated(text, b'\t', names, file),
        Form::JsonLines => json_lines(text, names, file),
    }
}

fn separated(text: &str, comma: u8, names: &Columns, file: &Path) -> Result<Vec<Row>, DataError> {
    let quoted = comma == b',';
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(comma)
        .quoting(quoted)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut records: Vec<csv::StringRecord> = Vec::new();
    for record in reader.records() {
        // The text is UTF-8 and in memory, so that nothing is left that could fail.
        records.push(record.map_err(|error| DataError::line(file, 1, error.to_string()))?);
    }
    let starts = starts(text, &records);
    if quoted {
        check_quotes(text, &starts, file)?;
    }
    let Some(first) = records.first() else {
        return Ok(Vec::new());
    };
    let header: Vec<String> = first.iter().map(str::to_owned).collect();
    let (places, skip) = match columns::find(&header, names, file) {
        Ok(places) => (places, 1),
        Err(_) if !quoted && names.named().is_empty() && is_cola(&header) => (
            Places {
                text: 3,
                pair: None,
                label: 1,
            },
            0,
        ),
        Err(error) => return Err(error),
    };
    records.iter().zip(starts).skip(skip).map(|(record, (_, line))| {
        if record.len() != header.len() {
            let (have, want) = (record.len(), header.len());
            return Err(DataError::line(file, line, format!(
                "{have} columns where the first line has {want}: quote a text that has the separator in it"
            )));
        }
        Ok(Row {
            text: record[places.text].trim().to_owned(),
            pair: places.pair.map(|pair| record[pair].trim().to_owned()),
            label: record[places.label].trim().to_owned(),
            line,
        })
    }).collect()
}

/// GLUE's CoLA has no header: source, label, the author's star, sentence.
fn is_cola(first: &[String]) -> bool {
    first.len() == 4
        && ["0", "1"].contains(&first[1].as_str())
        && ["", "*"].contains(&first[2].as_str())
}

/// Where each record starts, after blank lines: byte and line. (The reader's own count leaves out blank lines.)
fn starts(text: &str, records: &[csv::StringRecord]) -> Vec<(usize, usize)> {
    let (mut counted, mut line) = (0, 1);
    let start = |record: &csv::StringRecord| {
        let byte = record
            .position()
            .map_or(0, |position| position.byte() as usize);
        let rest = &text.as_bytes()[byte..];
        let blank = rest.iter().take_while(|b| b"\r\n".contains(b)).count();
        let byte = byte + blank;
        line += newlines(&text.as_bytes()[counted..byte]);
        counted = byte;
        (byte, line)
    };
    records.iter().map(start).collect()
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

/// The reader takes any quoting; a lost quote would silently swallow rows, so it is looked for here.
fn check_quotes(text: &str, starts: &[(usize, usize)], file: &Path) -> Result<(), DataError> {
    for (index, &(start, line)) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(text.len(), |next| next.0);
        let record = &text.as_bytes()[start..end];
        if let Some((offset, reason)) = quote_fault(record) {
            let line = line + newlines(&record[..offset]);
            return Err(DataError::line(file, line, reason));
        }
    }
    Ok(())
}

/// The place of the first opening quote whose field does not end well, with what is wrong.
fn quote_fault(record: &[u8]) -> Option<(usize, &'static str)> {
    let mut at = 0;
    while at < record.len() {
        let start = at;
        if record[at] == b'"' {
            at += 1;
            loop {
                let Some(step) = record[at..].iter().position(|&b| b == b'"') else {
                    return Some((
                        start,
                        "a quote is opened here and never closed: close it, or put the text in quotes and double the quotes in it",
                    ));
                };
                at += step + 1;
                match record.get(at) {
                    Some(b'"') => at += 1,
                    None | Some(b',' | b'\r' | b'\n') => break,
                    Some(_) => {
                        return Some((
                            start,
                            "text after the closing quote of this field: double the quotes inside it",
                        ));
                    }
                }
            }
        }
        at += record[at..].iter().position(|&b| b == b',')? + 1;
    }
    None
}

fn json_lines(text: &str, names: &Columns, file: &Path) -> Result<Vec<Row>, DataError> {
    let mut rows = Vec::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let bad = |reason: String| DataError::line(file, index + 1, reason);
        let value: Value = serde_json::from_str(line)
            .map_err(|error| bad(format!("not JSON: {error}: one object a line is expected")))?;
        let Value::Object(object) = value else {
            return Err(bad(
                "not a JSON object: one object a line is expected".to_owned()
            ));
        };
        let header: Vec<String> = object.keys().cloned().collect();
        let place = format!("{}:{}", file.display(), index + 1);
        let places = columns::find(&header, names, Path::new(&place))?;
        let field = |place: usize| match &object[&header[place]] {
            Value::String(text) => Ok(text.trim().to_owned()),
            Value::Null => Ok(String::new()),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
            Value::Array(_) | Value::Object(_) => Err(bad(format!(
                "`{}` is a list or an object: a text or a number is expected",
                header[place]
            ))),
        };
        rows.push(Row {
            text: field(places.text)?,
            pair: places.pair.map(field).transpose()?,
            label: field(places.label)?,
            line: index + 1,
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(form: Form, text: &str, expected: Result<&[(&str, &str, usize)], &str>) {
        match (
            parse(text.as_bytes(), form, &Columns::default(), Path::new("t")),
            expected,
        ) {
            (Ok(rows), Ok(expected)) => {
                let found: Vec<_> = rows
                    .iter()
                    .map(|r| (&r.text[..], &r.label[..], r.line))
                    .collect();
                assert_eq!(found, expected);
            }
            (Err(error), Err(start)) => assert!(error.to_string().starts_with(start), "{error}"),
            (found, expected) => panic!("{found:?} where {expected:?} was expected"),
        }
    }

    #[test]
    fn csv_quotes_and_lines() {
        let text = "text,label\n\"a, \"\"b\"\"\nc\",x\r\n\nd,y\n";
        check(
            Form::Csv,
            text,
            Ok(&[("a, \"b\"\nc", "x", 2), ("d", "y", 5)]),
        );
    }
    #[test]
    fn a_lost_quote_has_its_line() {
        check(
            Form::Csv,
            "text,label\na,x\nb,\"y\nc,z\n",
            Err("t:3: a quote is opened here"),
        );
        check(
            Form::Csv,
            "text,label\na,x\n\"b\" c,y\n",
            Err("t:3: text after the closing quote"),
        );
    }
    #[test]
    fn a_quote_in_the_middle_is_text() {
        check(
            Form::Csv,
            "label,text\nx,5\" nails\n",
            Ok(&[("5\" nails", "x", 2)]),
        );
    }
    #[test]
    fn a_comma_too_many_has_its_line() {
        check(
            Form::Csv,
            "text,label\na,x\nb,b,y\n",
            Err("t:3: 3 columns where the first line has 2"),
        );
    }
    #[test]
    fn tsv_takes_quotes_as_they_are() {
        check(Form::Tsv, "label\ttext\n1\t\"a\n", Ok(&[("\"a", "1", 2)]));
    }
    #[test]
    fn cola_without_header() {
        check(
            Form::Tsv,
            "gj04\t1\t\tA b.\nks08\t0\t*\tC d.\n",
            Ok(&[("A b.", "1", 1), ("C d.", "0", 2)]),
        );
    }
    #[test]
    fn json_lines_with_numbers_and_faults() {
        let good = "{\"text\": \"a\\nb\", \"label\": 1}\n\n{\"label\": \"x\", \"text\": \"c\"}\n";
        check(
            Form::JsonLines,
            good,
            Ok(&[("a\nb", "1", 1), ("c", "x", 3)]),
        );
        check(
            Form::JsonLines,
            "{\"text\": \"a\", \"label\": 1}\n{\"text\"",
            Err("t:2: not JSON"),
        );
        check(Form::JsonLines, "{\"text\": \"a\"}", Err("t:1: "));
    }
    #[test]
    fn no_rows() {
        check(Form::Csv, "", Ok(&[]));
        check(Form::Csv, "text,label\n", Ok(&[]));
    }
}
