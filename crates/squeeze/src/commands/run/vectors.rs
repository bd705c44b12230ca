//! The vector that a sentence encoder makes of a text, or how alike those of two texts are.

use serde_json::json;

use super::Question;
use crate::classifier::Classifier;
use crate::out;

/// Numbers of a vector shown on the terminal.
const SHOWN: usize = 6;

/// A text's vector, or how alike those of two texts are.
pub(super) fn embed(
    args: &Question,
    classifier: &mut Classifier,
    text: &str,
) -> anyhow::Result<()> {
    if let Some(other) = &args.pair {
        let cosine = classifier.similarity(text, other)?;
        return match args.json {
            true => out::json(&json!({ "cosine": cosine })),
            false => out::print(&format!("cosine {cosine:.4}")),
        };
    }
    let input = classifier.front.text(text, None)?;
    let vector = classifier.answer(input)?.values;
    if args.json {
        return out::json(&json!({ "vector": vector }));
    }
    let shown = vector.iter().take(SHOWN);
    let shown: Vec<String> = shown.map(|x| format!("{x:.4}")).collect();
    let (n, shown) = (vector.len(), shown.join(" "));
    out::print(&format!("{n} numbers (--json prints all): {shown} ..."))
}
