//! Texts to numbers and back to a file: WordPiece as BERT's, trained on the data or read from a file.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use crate::{DataError, normalizer, wordpiece};

/// A text, or a pair of texts, as numbers: `[CLS] x [SEP]` or `[CLS] x [SEP] y [SEP]`; RoBERTa's `<s> x </s></s> y </s>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Numbers of the pieces.
    pub ids: Vec<i32>,
    /// 0 for the first text with its marks, 1 for the second.
    pub type_ids: Vec<i32>,
}

/// The parts of a `tokenizer.json` that the tokenizers crate takes for well-formed: it panics where they are not.
#[derive(Deserialize)]
struct Trusted {
    #[serde(default)]
    normalizer: Value,
    /// Read for its syntax alone.
    #[serde(default, rename = "decoder")]
    _decoder: Value,
}

/// Texts to numbers.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pad: i32,
    unknown: i32,
    start: i32,
    end: i32,
    /// How many ends stand between the texts of a pair.
    between: usize,
}

impl Tokenizer {
    /// Trains a WordPiece vocabulary on texts, in lower case and without accents, of `size` pieces at most.
    ///
    /// Without a size it follows from the data: as many pieces as there are words seen twice, between 512 and 8192.
    pub fn train<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        size: Option<usize>,
    ) -> Result<Self, DataError> {
        let empty = Self::from_pieces(&wordpiece::SPECIALS.map(str::to_owned), true)?;
        let mut words: BTreeMap<String, u64> = BTreeMap::new();
        for text in texts {
            for word in empty.words(text)? {
                *words.entry(word).or_default() += 1;
            }
        }
        let twice = words.values().filter(|&&count| count > 1).count();
        let size = size.unwrap_or_else(|| twice.clamp(512, 8192));
        Self::from_pieces(&wordpiece::vocabulary(&words, size), true)
    }

    /// A WordPiece tokeniser of these pieces, in the order of their numbers (the lines of BERT's `vocab.txt`).
    pub fn from_pieces(pieces: &[String], lowercase: bool) -> Result<Self, DataError> {
        let vocabulary: serde_json::Map<_, _> = pieces
            .iter()
            .enumerate()
            .map(|(number, piece)| (piece.clone(), number.into()))
            .collect();
        let specials = wordpiece::SPECIALS.iter().filter_map(|&special| {
            let number = pieces.iter().position(|piece| piece == special)?;
            Some(json!({
                "id": number, "content": special, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true
            }))
        });
        let whole = json!({
            "version": "1.0",
            "added_tokens": specials.collect::<Vec<_>>(),
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": lowercase
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocabulary
            }
        });
        Self::from_json(&whole.to_string())
    }

    /// Reads the contents of a `tokenizer.json`.
    pub fn from_json(json: &str) -> Result<Self, DataError> {
        let inner = read(json)?;
        let find = |names: &[&str]| {
            let number = names.iter().find_map(|name| inner.token_to_id(name));
            number
                .and_then(|number| i32::try_from(number).ok())
                .ok_or_else(|| {
                    DataError::Tokenizer(format!(
                        "no {} in the vocabulary: add it",
                        names.join(" or ")
                    ))
                })
        };
        let (pad, unknown, start, end) = (
            find(&["[PAD]", "<pad>"])?,
            find(&["[UNK]", "<unk>"])?,
            find(&["[CLS]", "<s>"])?,
            find(&["[SEP]", "</s>"])?,
        );
        let has_bert_marks = inner.token_to_id("[CLS]").is_some();
        Ok(Self {
            inner,
            pad,
            unknown,
            start,
            end,
            between: if has_bert_marks { 1 } else { 2 },
        })
    }

    /// Reads a `tokenizer.json`, or a `vocab.txt` of pieces (taken as lower case when no piece has a capital).
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let text = std::fs::read_to_string(path).map_err(DataError::unreadable(path))?;
        if path.extension().is_some_and(|ending| ending == "json") {
            return Self::from_json(&text);
        }
        let pieces: Vec<String> = text.lines().map(str::to_owned).collect();
        let plain = |piece: &&String| !piece.starts_with('[');
        let lowercase = !pieces
            .iter()
            .filter(plain)
            .any(|piece| piece.chars().any(char::is_uppercase));
        Self::from_pieces(&pieces, lowercase)
    }

    /// The tokeniser as text, the same bytes for the same tokeniser; for the model file.
    pub fn to_json(&self) -> Result<String, DataError> {
        self.inner
            .to_string(false)
            .map_err(|error| DataError::Tokenizer(error.to_string()))
    }

    /// Pieces in the vocabulary: numbers are below.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The number that fills the ends of short rows of a batch.
    pub fn pad(&self) -> i32 {
        self.pad
    }

    /// The number of whatever is in no vocabulary.
    pub fn unknown(&self) -> i32 {
        self.unknown
    }

    /// A text or a pair of texts as at most `longest` numbers; of a pair, the longer text is cut first.
    pub fn encode(
        &self,
        text: &str,
        pair: Option<&str>,
        longest: usize,
    ) -> Result<Encoded, DataError> {
        let mut first = self.pieces(text)?;
        let mut second = pair.map(|pair| self.pieces(pair)).transpose()?;
        let marks = match second {
            Some(_) => 2 + self.between,
            None => 2,
        };
        let room = longest.saturating_sub(marks);
        if let Some(second) = &mut second {
            // Half each, and what the one does not need goes to the other.
            let kept = first
                .len()
                .min((room - room / 2).max(room.saturating_sub(second.len())));
            first.truncate(kept);
            second.truncate(room - kept);
        } else {
            first.truncate(room);
        }
        let mut ids = Vec::with_capacity(
            longest.min(first.len() + second.as_ref().map_or(0, Vec::len) + marks),
        );
        ids.push(self.start);
        ids.extend(first);
        ids.push(self.end);
        let mut type_ids = vec![0; ids.len()];
        if let Some(second) = second {
            ids.resize(ids.len() + self.between - 1, self.end);
            type_ids.resize(ids.len(), 0);
            ids.extend(second);
            ids.push(self.end);
            type_ids.resize(ids.len(), 1);
        }
        Ok(Encoded { ids, type_ids })
    }

    /// Many texts at once, on all threads.
    pub fn encode_all(
        &self,
        texts: &[(&str, Option<&str>)],
        longest: usize,
    ) -> Result<Vec<Encoded>, DataError> {
        texts
            .par_iter()
            .map(|(text, pair)| self.encode(text, *pair, longest))
            .collect()
    }

    fn pieces(&self, text: &str) -> Result<Vec<i32>, DataError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| DataError::Tokenizer(error.to_string()))?;
        Ok(encoding
            .get_ids()
            .iter()
            .map(|&id| id.cast_signed())
            .collect())
    }

    /// The words that pieces are made of.
    fn words(&self, text: &str) -> Result<Vec<String>, DataError> {
        let fault = |error: tokenizers::Error| DataError::Tokenizer(error.to_string());
        let mut normal = NormalizedString::from(text);
        if let Some(normalizer) = self.inner.get_normalizer() {
            normalizer.normalize(&mut normal).map_err(fault)?;
        }
        let mut parts = PreTokenizedString::from(normal);
        if let Some(splitter) = self.inner.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut parts).map_err(fault)?;
        }
        let splits = parts.get_splits(OffsetReferential::Original, OffsetType::Byte);
        Ok(splits
            .into_iter()
            .map(|(word, ..)| word.to_owned())
            .collect())
    }
}

/// The tokenizers crate's own from a `tokenizer.json`, without what it would put around texts.
pub(crate) fn read(json: &str) -> Result<tokenizers::Tokenizer, DataError> {
    let fault = |reason: &dyn std::fmt::Display| {
        DataError::Tokenizer(format!("not a tokenizer.json: {reason}"))
    };
    let parts: Trusted = serde_json::from_str(json).map_err(|error| fault(&error))?;
    normalizer::check(&parts.normalizer).map_err(|reason| fault(&reason))?;
    let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(|error| fault(&error))?;
    // Marks, truncation and padding are put in here, the same for every tokeniser.
    inner.with_padding(None);
    inner
        .with_truncation(None)
        .map_err(|error| DataError::Tokenizer(error.to_string()))?;
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained() -> Tokenizer {
        let texts = [
            "The cat sat on the mat.",
            "the CAT sat",
            "a caf\u{e9}, a cat",
        ];
        Tokenizer::train(texts, Some(60)).unwrap()
    }

    #[test]
    fn trains_encodes_and_survives_its_file() {
        let tokenizer = trained();
        let encoded = tokenizer.encode("The cat!", None, 16).unwrap();
        let back = Tokenizer::from_json(&tokenizer.to_json().unwrap()).unwrap();
        assert_eq!(back.encode("The cat!", None, 16).unwrap(), encoded);
        assert_eq!(back.to_json().unwrap(), tokenizer.to_json().unwrap());
        assert_eq!(trained().to_json().unwrap(), tokenizer.to_json().unwrap());
        // [CLS] the cat [UNK] [SEP]: the mark `!` was never seen.
        assert_eq!(
            (
                encoded.ids.len(),
                encoded.ids[0],
                encoded.ids[3],
                encoded.ids[4]
            ),
            (5, 2, 1, 3)
        );
    }

    /// What `RobertaTokenizer` puts between the texts of a pair.
    #[test]
    fn pairs_of_roberta_have_two_ends_between() {
        let whole = json!({
            "version": "1.0",
            "pre_tokenizer": { "type": "Whitespace" },
            "model": {
                "type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                "vocab": { "<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "cat": 4, "mat": 5 }
            }
        });
        let tokenizer = Tokenizer::from_json(&whole.to_string()).unwrap();
        let pair = tokenizer.encode("cat", Some("mat mat mat"), 8).unwrap();
        assert_eq!(pair.ids, [0, 4, 2, 2, 5, 5, 5, 2]);
        assert_eq!(pair.type_ids, [0, 0, 0, 0, 1, 1, 1, 1]);
        let cut = tokenizer.encode("cat", Some("mat mat mat"), 7).unwrap();
        assert_eq!(cut.ids, [0, 4, 2, 2, 5, 5, 2]);
        assert_eq!(tokenizer.encode("cat", None, 8).unwrap().ids, [0, 4, 2]);
    }

    /// The tokenizers crate trusts these parts: fuzzing found the broken decoders and the patterns, reading the rules.
    #[test]
    fn broken_parts_are_refused() {
        for json in [
            r#"{"version":"1.0","decoder":{"type" "Fuse"}}"#,
            r#"{"version":"1.0","decoder":{"a":"#,
            r#"{"version":"1.0","normalizer":{"type":"Precompiled","precompiled_charsmap":"?"}}"#,
            r#"{"version":"1.0","normalizer":{"type":"Precompiled"}}"#,
            r#"{"version":"1.0","normalizer":{"type":"Replace","pattern":{"Regex":" {0,}"},"content":" "}}"#,
        ] {
            let error = Tokenizer::from_json(json).err().expect("it is broken");
            assert!(
                error.to_string().contains("not a tokenizer.json"),
                "{error}"
            );
        }
    }

    #[track_caller]
    fn check(text: &str, pair: Option<&str>, longest: usize, types: &[i32]) {
        let encoded = trained().encode(text, pair, longest).unwrap();
        assert_eq!(encoded.type_ids, types);
        assert_eq!(encoded.ids.len(), types.len());
    }

    #[test]
    fn cuts_a_long_text() {
        check("cat cat cat cat", None, 4, &[0; 4]);
    }
    #[test]
    fn cuts_the_longer_of_a_pair() {
        check(
            "cat cat cat cat cat",
            Some("the"),
            7,
            &[0, 0, 0, 0, 0, 1, 1],
        );
        check(
            "the",
            Some("cat cat cat cat cat"),
            7,
            &[0, 0, 0, 1, 1, 1, 1],
        );
        check(
            "cat cat cat",
            Some("cat cat cat"),
            7,
            &[0, 0, 0, 0, 1, 1, 1],
        );
    }

    /// The pieces that BERT's own tokeniser gives for this vocabulary.
    #[test]
    fn reads_a_vocabulary_of_pieces() {
        let pieces = [
            "[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "want",
        ]
        .map(str::to_owned);
        let tokenizer = Tokenizer::from_pieces(&pieces, true).unwrap();
        assert_eq!(
            tokenizer.encode("UNaffable wanted", None, 9).unwrap().ids,
            [2, 4, 5, 6, 1, 3]
        );
        assert!(Tokenizer::from_pieces(&pieces[..3], true).is_err());
    }
}
