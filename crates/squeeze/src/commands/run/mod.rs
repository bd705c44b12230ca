//! `squeeze run`: what a model says to a text or to images, or finds in images.

mod classes;
mod objects;
mod tokens;
mod vectors;

use std::path::PathBuf;

use anyhow::{Context, bail};
use squeeze_data::Task;
use squeeze_formats::ModelFile;
use squeeze_infer::Target;

use super::device::DeviceArgs;
use crate::classifier::Classifier;
use crate::detector::Detector;
use crate::error::Outcome;
use crate::language;
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
    /// A text to classify, to make a vector of, or for a language model to go on with
    #[arg(long, conflicts_with = "image", required_unless_present = "image")]
    text: Option<String>,
    /// The second text of a pair, or one whose vector is compared
    #[arg(long, requires = "text", value_name = "TEXT")]
    pair: Option<String>,
    /// Images to classify, or to find objects in
    #[arg(long, num_args = 1.., value_name = "FILE")]
    image: Vec<PathBuf>,
    /// Objects that a detector is less sure of are left out
    #[arg(long, requires = "image", value_name = "SHARE", default_value_t = 0.5)]
    min_score: f32,
    /// Draws the objects of a detector into the image, as SVG
    #[arg(long, requires = "image", value_name = "FILE")]
    picture: Option<PathBuf>,
    #[command(flatten)]
    running: Running,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let question = &args.question;
    let target = args.device.target(question.running.threads)?;
    let (model, target) = open(question, &target)?;
    let shown = || question.model.display().to_string();
    if language::is_asked_for(&model.meta) {
        tokens::go_on(question, args.tokens, model, &target).with_context(shown)?;
        return Ok(Outcome::Done);
    }
    if args.tokens.is_some() {
        bail!("{} is no language model: leave out --tokens", shown());
    }
    answer(question, model, &target)
}

/// Answers by the prices that are built in.
pub(super) fn run_here(question: &Question) -> anyhow::Result<Outcome> {
    let (model, target) = open(question, &Target::here(question.running.threads))?;
    answer(question, model, &target)
}

/// The model file, and the target for what its weights are.
fn open(question: &Question, target: &Target) -> anyhow::Result<(ModelFile, Target)> {
    let model = squeeze_formats::model::load_to_run(&question.model, target.threads)?;
    let target = target.made_for(&model.weights, question.running.precision);
    Ok((model, target))
}

fn answer(args: &Question, model: ModelFile, target: &Target) -> anyhow::Result<Outcome> {
    if Detector::is_asked_for(&model.meta) {
        objects::detect(args, model, target)?;
        return Ok(Outcome::Done);
    }
    if let Some(path) = &args.picture {
        let path = path.display();
        bail!("the model finds no objects, {path} would have no boxes: leave out --picture");
    }
    let mut classifier =
        Classifier::new(model, target).with_context(|| args.model.display().to_string())?;
    match (&args.text, classifier.task) {
        (Some(text), Task::EmbedText { .. }) => vectors::embed(args, &mut classifier, text)?,
        _ => classes::classify(args, &mut classifier)?,
    }
    Ok(Outcome::Done)
}
