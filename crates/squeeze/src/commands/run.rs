//! `squeeze run`: what a model says to a text or to images.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::{Map, json};
use squeeze_data::Image;
use squeeze_formats::ModelFile;
use squeeze_infer::Target;

use super::device::DeviceArgs;
use crate::classifier::{Answer, Classifier};
use crate::error::Outcome;
use crate::language::{self, Language, Next};
use crate::out;
use crate::running::Running;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    question: Question,
    /// Of a language model: the text goes on with so many of its likeliest tokens, each computed from all before; without it the likeliest
    /// next ones are shown
    #[arg(long, requires = "text", value_name = "N")]
    tokens: Option<usize>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// All that the small program takes: reading profiles would make it 6 % larger.
#[derive(Debug, clap::Args)]
pub(super) struct Question {
    /// A .squeeze file
    model: PathBuf,
    /// A text to classify, or for a language model to go on with
    #[arg(long, conflicts_with = "image", required_unless_present = "image")]
    text: Option<String>,
    /// The second text of a pair
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
    let question = &args.question;
    let target = args.device.target(question.running.threads)?;
    let model = squeeze_formats::model::load_on(&question.model, target.threads)?;
    let target = target.made_for(&model.weights, question.running.precision);
    let shown = || question.model.display().to_string();
    if language::is_language(&model) {
        return go_on(args, model, &target).with_context(shown);
    }
    if args.tokens.is_some() {
        bail!("{} is no language model: leave out --tokens", shown());
    }
    let classifier = Classifier::new(model, &target).with_context(shown)?;
    answer(question, classifier)
}

/// What may follow a text, or what does.
fn go_on(args: &Args, model: ModelFile, target: &Target) -> anyhow::Result<Outcome> {
    let question = &args.question;
    let Some(text) = question.text.as_ref().filter(|_| question.pair.is_none()) else {
        bail!("the model goes on with one text: give it with --text");
    };
    let mut language = Language::new(model, target, text, args.tokens.unwrap_or(0))?;
    if let Some(tokens) = args.tokens {
        let behind = language.go_on(tokens)?;
        match question.json {
            true => out::json(&json!({ "text": text, "continuation": behind }))?,
            false => out::print(&format!("{text}{behind}"))?,
        }
        return Ok(Outcome::Done);
    }
    let next = language.next(NEXT)?;
    if question.json {
        let rows = next.iter().map(
            |next| json!({ "id": next.id, "token": next.text, "probability": next.probability }),
        );
        out::json(&json!({ "text": text, "next": rows.collect::<Vec<_>>() }))?;
        return Ok(Outcome::Done);
    }
    let one = |next: &Next| format!("{:?} {:.1} %", next.text, 100.0 * next.probability);
    let shown: Vec<String> = next.iter().map(one).collect();
    out::print(&shown.join(", "))?;
    Ok(Outcome::Done)
}

/// Answers by the prices that are built in.
pub(super) fn run_here(question: &Question) -> anyhow::Result<Outcome> {
    let target = Target::here(question.running.threads);
    let classifier = Classifier::open(&question.model, &target, question.running.precision)?;
    answer(question, classifier)
}

fn answer(args: &Question, mut classifier: Classifier) -> anyhow::Result<Outcome> {
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

/// Tokens that are shown of those that may follow.
const NEXT: usize = 5;

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
