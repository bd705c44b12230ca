//! What a classifier says to a text or to images.

use anyhow::{Context, bail};
use serde_json::{Map, json};
use squeeze_data::Image;

use super::Question;
use crate::classifier::{Answer, Classifier};
use crate::out;

pub(super) fn classify(args: &Question, classifier: &mut Classifier) -> anyhow::Result<()> {
    if let Some(text) = &args.text {
        if classifier.task.is_pair() != args.pair.is_some() && !classifier.task.is_image() {
            bail!(match args.pair {
                Some(_) => "the model takes one text: leave out --pair",
                None => "the model takes a pair of texts: give the second with --pair",
            });
        }
        let input = classifier.front.text(text, args.pair.as_deref())?;
        let answer = classifier.answer(input)?;
        show(classifier, &answer, None, args.json)?;
    }
    for path in &args.image {
        let image = Image::open(path)?;
        let input = classifier.front.image(&image)?;
        let answer = classifier
            .answer(input)
            .with_context(|| path.display().to_string())?;
        let name = (args.image.len() > 1 || args.json).then(|| path.display().to_string());
        show(classifier, &answer, name.as_deref(), args.json)?;
    }
    Ok(())
}

/// Classes shown on the terminal, the likeliest first.
const SHOWN: usize = 3;

fn show(
    classifier: &Classifier,
    answer: &Answer,
    file: Option<&str>,
    as_json: bool,
) -> anyhow::Result<()> {
    let labels = &classifier.labels;
    if labels.is_empty() {
        let value = answer.values[0];
        return match as_json {
            true => out::json(&json!({ "file": file, "value": value })),
            false => out::print(&format!("{value:.4}")),
        };
    }
    if as_json {
        let all: Map<_, _> = labels
            .iter()
            .cloned()
            .zip(answer.values.iter().map(|&p| json!(p)))
            .collect();
        return out::json(&json!({
            "file": file, "class": labels[answer.class], "probability": answer.values[answer.class], "classes": all,
        }));
    }
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by(|&a, &b| answer.values[b].total_cmp(&answer.values[a]));
    let one = |&class: &usize| format!("{} {:.1} %", labels[class], 100.0 * answer.values[class]);
    let shown: Vec<String> = order.iter().take(SHOWN).map(one).collect();
    let file = file.map_or(String::new(), |file| format!("{file}: "));
    out::print(&format!("{file}{}", shown.join(", ")))
}
