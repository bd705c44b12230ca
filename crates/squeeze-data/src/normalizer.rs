//! Parts of a `tokenizer.json`'s normalizer that the tokenizers crate trusts, checked: it panics in the middle of a text, or of the
//! file, where SentencePiece's rewriting rules lie, and where a pattern that is replaced matches nothing at all.

use serde_json::Value;
use tokenizers::normalizers::precompiled::Precompiled;

/// Refuses rules anywhere in a normalizer that would be followed out of their table, and patterns that may match nothing. Parts are
/// known by what they hold: the crate also takes some that do not say their type.
pub(crate) fn check(normalizer: &Value) -> Result<(), String> {
    match normalizer {
        Value::Array(parts) => parts.iter().try_for_each(check),
        Value::Object(parts) => {
            let is_precompiled = parts.get("type").is_some_and(|kind| kind == "Precompiled");
            if is_precompiled || parts.contains_key("precompiled_charsmap") {
                of_rules(normalizer)?;
            }
            if let Some(pattern) = parts.get("pattern") {
                of_pattern(pattern)?;
            }
            parts.values().try_for_each(check)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn of_rules(rules: &Value) -> Result<(), String> {
    let damaged = || "the rules `precompiled_charsmap` are damaged: fetch it again".to_owned();
    serde_json::from_str::<Precompiled>(&rules.to_string()).map_err(|_| damaged())?;
    let map = rules["precompiled_charsmap"].as_str().ok_or_else(damaged)?;
    is_closed(&decoded(map)).ok_or_else(damaged)
}

/// Refuses what may match nothing, and what is too unusual to be sure.
fn of_pattern(pattern: &Value) -> Result<(), String> {
    let matches_something = match (pattern["String"].as_str(), pattern["Regex"].as_str()) {
        (Some(text), None) => !text.is_empty(),
        (None, Some(regex)) => regex_syntax::parse(regex).is_ok_and(|regex| {
            regex
                .properties()
                .minimum_len()
                .is_some_and(|least| least > 0)
        }),
        _ => false,
    };
    match matches_something {
        true => Ok(()),
        false => Err(format!(
            "the normalizer's pattern {pattern} may match nothing"
        )),
    }
}

/// The bytes of well-formed base64.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for letter in text.bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

/// Some when every step from the root stays in the table, whatever the text, and every rule ends in its text.
///
/// The rules: the trie's length in bytes, its units of 32 bits (a double array), and the texts that are put in.
fn is_closed(map: &[u8]) -> Option<()> {
    let (length, rest) = map.split_first_chunk::<4>()?;
    let (units, texts) = rest.split_at_checked(u32::from_le_bytes(*length) as usize / 4 * 4)?;
    let texts = std::str::from_utf8(texts).ok()?;
    let units: Vec<usize> = units
        .as_chunks::<4>()
        .0
        .iter()
        .map(|unit| u32::from_le_bytes(*unit) as usize)
        .collect();
    let mut seen = vec![false; units.len()];
    let mut open = vec![0];
    *seen.first_mut()? = true;
    while let Some(place) = open.pop() {
        let unit = units[place];
        let children = place ^ (unit >> 10) << ((unit & 1 << 9) >> 6);
        // A child lies at its byte, in the block of 256 around the first.
        let block = units.get(children & !0xff..=children | 0xff)?;
        if place > 0 && unit & 1 << 8 != 0 {
            let text = units[children] & ((1 << 31) - 1);
            texts.is_char_boundary(text).then_some(())?;
        }
        for byte in 1..=0xff {
            let child = (children & 0xff) ^ byte;
            let at = (children & !0xff) + child;
            if block[child] & (1 << 31 | 0xff) == byte && !seen[at] {
                seen[at] = true;
                open.push(at);
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A trie of one block: `a` becomes the text at `text`, whose place is stored at `leaf`.
    fn map(text: u32, leaf: u32) -> Vec<u8> {
        let mut units = [0u32; 256];
        units[usize::from(b'a')] = u32::from(b'a') | 1 << 8 | (u32::from(b'a') ^ leaf) << 10;
        units[1] = 1 << 31 | text;
        let units = units.iter().flat_map(|unit| unit.to_le_bytes());
        let head = 1024u32.to_le_bytes();
        head.into_iter().chain(units).chain("é\0".bytes()).collect()
    }

    #[test]
    fn rules_stay_in_their_table() {
        assert!(is_closed(&map(0, 1)).is_some());
        assert!(is_closed(&map(3, 1)).is_some());
        assert!(is_closed(&map(1, 1)).is_none(), "in the middle of a letter");
        assert!(is_closed(&map(4, 1)).is_none(), "behind the texts");
        assert!(is_closed(&map(0, 1 << 10)).is_none(), "behind the table");
        assert!(is_closed(&map(0, 1)[..900]).is_none(), "cut off");
        assert!(is_closed(&[0; 4]).is_none(), "no root");
    }

    #[test]
    fn rules_are_found_inside_of_a_sequence() {
        let rules = |map: &str| {
            let one = json!({"type": "Precompiled", "precompiled_charsmap": map});
            check(&json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, one]}))
        };
        assert!(rules("AAAA").is_err());
        assert!(rules("no base64").is_err());
        // A root alone in its block: nothing is replaced.
        let empty = format!("AAQA{}", "A".repeat(1368));
        assert_eq!(decoded(&empty).len(), 1029);
        assert!(rules(&empty).is_ok());
    }

    #[track_caller]
    fn check_pattern(pattern: Value, fits: bool) {
        for part in [
            json!({"type": "Replace", "pattern": pattern, "content": "x"}),
            json!({"pattern": pattern, "content": "x"}),
        ] {
            let found = check(&json!({"normalizers": [part]}));
            assert_eq!(found.is_ok(), fits, "{found:?}");
        }
    }

    #[test]
    fn patterns_match_something() {
        check_pattern(json!({"String": "\u{2581}"}), true);
        check_pattern(json!({"String": ""}), false);
        check_pattern(json!({"Regex": " {2,}"}), true);
        check_pattern(json!({"Regex": r"\s+$"}), true);
        for empty in [" {0,}", "a|", "^", r"\b", "(?=a)", "("] {
            check_pattern(json!({"Regex": empty}), false);
        }
        check_pattern(json!(7), false);
    }

    #[test]
    fn base64_is_read() {
        assert_eq!(decoded("AP+/aGk="), [0, 255, 191, b'h', b'i']);
    }
}
