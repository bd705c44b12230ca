//! Texts to numbers and back by pieces of bytes (byte-level BPE; Radford et al., 2019), as language models have them.

use serde_json::Value;

use crate::DataError;
use crate::tokenizer::read;

/// Texts to numbers of pieces, and back; no marks are put in.
#[derive(Clone)]
pub struct BytePieces {
    inner: tokenizers::Tokenizer,
    /// The number of the piece that ends a text.
    end: Option<i32>,
}

impl BytePieces {
    /// Reads the contents of a `tokenizer.json`.
    ///
    /// # Errors
    /// When it is damaged, or its pieces are not made of bytes.
    pub fn from_json(json: &str) -> Result<Self, DataError> {
        let inner = read(json)?;
        let whole: Value = serde_json::from_str(json).unwrap_or_default();
        let kinds = [&whole["model"]["type"], &whole["decoder"]["type"]];
        if kinds.map(Value::as_str) != [Some("BPE"), Some("ByteLevel")] {
            return Err(DataError::Tokenizer(format!(
                "a tokenizer.json of {} and {}: a language model needs BPE and ByteLevel",
                kinds[0], kinds[1]
            )));
        }
        let end = inner.token_to_id("<|endoftext|>").map(u32::cast_signed);
        Ok(Self { inner, end })
    }

    /// The tokeniser as text, for the model file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn to_json(&self) -> Result<String, DataError> {
        let text = self.inner.to_string(false);
        text.map_err(|error| DataError::Tokenizer(error.to_string()))
    }

    /// Pieces in the vocabulary: numbers are below.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The number of the piece that ends a text, if there is one.
    pub fn end(&self) -> Option<i32> {
        self.end
    }

    /// A text as numbers.
    ///
    /// # Errors
    /// When the tokeniser cannot take it.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, DataError> {
        let encoding = self.inner.encode_fast(text, false);
        let encoding = encoding.map_err(|error| DataError::Tokenizer(error.to_string()))?;
        let ids = encoding.get_ids().iter();
        Ok(ids.map(|&id| id.cast_signed()).collect())
    }

    /// The text of these numbers; bytes that are no text become marks, numbers of no piece nothing.
    pub fn decode(&self, ids: &[i32]) -> String {
        let pieces = ids
            .iter()
            .filter_map(|&id| self.inner.id_to_token(u32::try_from(id).ok()?));
        let bytes: Vec<u8> = pieces
            .flat_map(|piece| piece.chars().map(byte_of).collect::<Vec<_>>())
            .flatten()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl std::fmt::Debug for BytePieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} pieces of bytes", self.vocabulary())
    }
}

/// The byte that a character of a piece stands for: itself where it can be seen, else those from U+0100 on in their order.
fn byte_of(piece: char) -> Option<u8> {
    let is_seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(piece) {
        code @ 0..=0xff => u8::try_from(code).ok().filter(|&byte| is_seen(byte)),
        code => {
            let hidden = (0..=255).filter(|&byte| !is_seen(byte));
            hidden.into_iter().nth(code as usize - 0x100)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn json(decoder: &str) -> String {
        json!({
            "version": "1.0",
            "added_tokens": [{
                "id": 7, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": true, "special": true
            }],
            "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
            "decoder": { "type": decoder, "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                "fuse_unk": false,
                // Bytes 195 and 169 are a letter with an accent; a space is U+0120.
                "vocab": { "a": 0, "b": 1, "\u{120}": 2, "\u{120}a": 3, "\u{c3}": 4, "\u{a9}": 5, "\u{120}ab": 6 },
                "merges": ["\u{120} a", "\u{120}a b"]
            }
        })
        .to_string()
    }

    #[test]
    fn texts_come_back() {
        let pieces = BytePieces::from_json(&json("ByteLevel")).expect("it is well-formed");
        let ids = pieces.encode("b ab a\u{e9}").expect("all bytes are pieces");
        assert_eq!(ids, [1, 6, 3, 4, 5]);
        assert_eq!(pieces.decode(&ids), "b ab a\u{e9}");
        assert_eq!((pieces.end(), pieces.vocabulary()), (Some(7), 8));
        let again = BytePieces::from_json(&pieces.to_json().expect("text")).expect("its own");
        assert_eq!(again.encode("b ab").expect("pieces"), [1, 6]);
        // Half of a letter, and no piece at all.
        assert_eq!(pieces.decode(&[4, 99, -1, 0]), "\u{fffd}a");
    }

    #[test]
    fn other_kinds_are_refused() {
        let error = BytePieces::from_json(&json("Fuse")).expect_err("no bytes");
        assert!(error.to_string().contains("ByteLevel"), "{error}");
        assert!(BytePieces::from_json("{").is_err());
    }

    /// Every byte has a character of its own.
    #[test]
    fn characters_stand_for_bytes() {
        let all: Vec<u8> = (0..0x180)
            .filter_map(char::from_u32)
            .filter_map(byte_of)
            .collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..=255));
        assert_eq!(byte_of('\u{120}'), Some(b' '));
        assert_eq!(byte_of('\u{10a}'), Some(b'\n'));
    }
}
