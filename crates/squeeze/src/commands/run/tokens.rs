//! The tokens that a language model sees behind a text.

use anyhow::bail;
use serde_json::json;
use squeeze_formats::ModelFile;
use squeeze_infer::Target;

use super::Question;
use crate::language::{Language, Next};
use crate::out;

/// Tokens that are shown of those that may follow.
const NEXT: usize = 5;

/// What may follow a text, or what does.
pub(super) fn go_on(
    question: &Question,
    tokens: Option<usize>,
    model: ModelFile,
    target: &Target,
) -> anyhow::Result<()> {
    let Some(text) = question.text.as_ref().filter(|_| question.pair.is_none()) else {
        bail!("the model goes on with one text: give it with --text");
    };
    let mut language = Language::new(model, target, text, tokens.unwrap_or(0))?;
    if let Some(tokens) = tokens {
        let behind = language.go_on(tokens)?;
        match question.json {
            true => out::json(&json!({ "text": text, "continuation": behind }))?,
            false => out::print(&format!("{text}{behind}"))?,
        }
        return Ok(());
    }
    let next = language.next(NEXT)?;
    if question.json {
        let rows = next.iter().map(
            |next| json!({ "id": next.id, "token": next.text, "probability": next.probability }),
        );
        out::json(&json!({ "text": text, "next": rows.collect::<Vec<_>>() }))?;
        return Ok(());
    }
    let one = |next: &Next| format!("{:?} {:.1} %", next.text, 100.0 * next.probability);
    let shown: Vec<String> = next.iter().map(one).collect();
    out::print(&shown.join(", "))?;
    Ok(())
}
