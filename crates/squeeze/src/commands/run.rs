//! `squeeze run`: what a model says to a text or to images.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::{Map, json};
use squeeze_data::{Image, Task};
use squeeze_infer::Target;

use super::device::DeviceArgs;
use crate::classifier::{Answer, Classifier};
use crate::error::Outcome;
use crate::out;
use crate::running::Running;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    question: Question,
    #[command(flatten)]
    device: DeviceArgs,
}

/// All that the small program takes: reading profiles would make it 6 % larger.
#[derive(Debug, clap::Args)]
pub(super) struct Question {
    /// A .squeeze file
    model: PathBuf,
    /// A text to classify, or to make a vector of
    #[arg(long, conflicts_with = "image", required_unless_present = "image")]
    text: Option<String>,
    /// The second text of a pair, or one whose vector is compared
    #[arg(long, requires = "text", value_name = "TEXT")]
    pair: Option<String>,
    /// Images to classify
    #[arg(long, num_args = 1.., value_name = "FILE")]
    image: Vec<PathBuf>,
    #[command(flatten)]
    running: Running,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    answer(
        &args.question,
        &args.device.target(args.question.running.threads)?,
    )
}

/// Answers by the prices that are built in.
pub(super) fn run_here(question: &Question) -> anyhow::Result<Outcome> {
    answer(question, &Target::here(question.running.threads))
}

fn answer(args: &Question, target: &Target) -> anyhow::Result<Outcome> {
    let mut classifier = Classifier::open(&args.model, target, args.running.precision)?;
    if let (Some(text), Task::EmbedText { .. }) = (&args.text, classifier.task) {
        return embed(&mut classifier, text, args);
    }
    if let Some(text) = &args.text {
        if classifier.task.is_pair() != args.pair.is_some() && !classifier.task.is_image() {
            bail!(match args.pair {
                Some(_) => "the model takes one text: leave out --pair",
                None => "the model takes a pair of texts: give the second with --pair",
            });
        }
        let input = classifier.front.text(text, args.pair.as_deref())?;
        let answer = classifier.answer(input)?;
        show(&classifier, &answer, None, args.json)?;
    }
    for path in &args.image {
        let image = Image::open(path)?;
        let input = classifier.front.image(&image)?;
        let answer = classifier
            .answer(input)
            .with_context(|| path.display().to_string())?;
        let name = (args.image.len() > 1 || args.json).then(|| path.display().to_string());
        show(&classifier, &answer, name.as_deref(), args.json)?;
    }
    Ok(Outcome::Done)
}

/// Numbers of a vector shown on the terminal.
const SHOWN_OF_VECTOR: usize = 6;

/// A text's vector, or how alike those of two texts are.
fn embed(classifier: &mut Classifier, text: &str, args: &Question) -> anyhow::Result<Outcome> {
    if let Some(other) = &args.pair {
        let cosine = classifier.similarity(text, other)?;
        match args.json {
            true => out::json(&json!({ "cosine": cosine }))?,
            false => out::print(&format!("cosine {cosine:.4}"))?,
        }
        return Ok(Outcome::Done);
    }
    let input = classifier.front.text(text, None)?;
    let vector = classifier.answer(input)?.values;
    if args.json {
        out::json(&json!({ "vector": vector }))?;
        return Ok(Outcome::Done);
    }
    let shown = vector.iter().take(SHOWN_OF_VECTOR);
    let shown: Vec<String> = shown.map(|x| format!("{x:.4}")).collect();
    let (n, shown) = (vector.len(), shown.join(" "));
    out::print(&format!("{n} numbers (--json prints all): {shown} ..."))?;
    Ok(Outcome::Done)
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
