//! `squeeze eval`: how well a model does on data.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::json;
use squeeze_data::{DataSet, OpenOptions, Prepared, Task};
use squeeze_infer::Target;
use squeeze_tensor::Seed;

use super::columns::ColumnArgs;
use super::device::DeviceArgs;
use crate::classifier::Classifier;
use crate::error::Outcome;
use crate::front::Front;
use crate::hub::{self, Texts};
use crate::out::{self, Columns};
use crate::ready::renumber;
use crate::running::Running;
use crate::source::Sizes;
use crate::ui::Progress;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A .squeeze file, or a model of the Hugging Face Hub, hf:ORG/NAME
    model: PathBuf,
    /// A name from `squeeze list data`, a folder or a file
    #[arg(long)]
    data: String,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Which part of the data
    #[arg(long, value_enum, default_value_t = Split::Test)]
    split: Split,
    #[command(flatten)]
    running: Running,
    #[command(flatten)]
    device: DeviceArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Split {
    Train,
    Validation,
    Test,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let target = args.device.target(args.running.threads)?;
    let mut classifier = open(args, &target)?;
    let options = OpenOptions {
        columns: args.columns.columns(),
        seed: seed(&classifier.card),
        ..OpenOptions::default()
    };
    let set = DataSet::open(&args.data, &options)?;
    if hub::is_name(&args.model.display().to_string()) && set.task.is_pair() {
        // The Hub does not say whether a model judges one text or two.
        classifier.task = classifier.task.of_pairs();
    }
    let by_vectors = matches!(classifier.task, Task::EmbedText { .. })
        && set.task == Task::RegressText { pair: true };
    if set.task != classifier.task && !by_vectors {
        bail!(
            "the model is made to {}, the data to {}",
            classifier.task,
            set.task
        );
    }
    let mut examples = match args.split {
        Split::Train => set.train,
        Split::Validation => set.validation,
        Split::Test => set.test,
    };
    let progress = Progress::on_terminal();
    let stage = progress.stage("eval", examples.len() as u64);
    let at = |done| stage.at(done as u64);
    let score = if by_vectors {
        classifier.judge_similarity(&examples, at)?
    } else {
        renumber(&mut examples, &set.labels, &classifier.labels)?;
        let split = match &classifier.front {
            Front::Text { tokenizer, length } => Prepared::texts(&examples, tokenizer, *length)?,
            Front::Image(preprocess) => Prepared::images(&examples, preprocess)?,
        };
        classifier.judge(&split, at)?
    };
    stage.done(&format!("{} examples", score.n));
    let metric = serde_json::to_value(score.metric)?;
    if args.json {
        out::json(&json!({
            "model": args.model, "data": args.data, "precision": classifier.precision().name(), "metric": metric, "value": score.value, "n": score.n,
            "ci95": score.ci95,
        }))?;
        return Ok(Outcome::Done);
    }
    let percent = |value: f64| format!("{:.2} %", 100.0 * value);
    let mut table = Columns::new(&[
        "model",
        "data",
        "in",
        "metric",
        "value>",
        "95 % interval>",
        "examples>",
    ]);
    table.row([
        args.model.display().to_string(),
        args.data.clone(),
        classifier.precision().name().into(),
        metric.as_str().unwrap_or_default().into(),
        percent(score.value),
        format!("{} to {}", percent(score.ci95[0]), percent(score.ci95[1])),
        score.n.to_string(),
    ]);
    table.print()?;
    Ok(Outcome::Done)
}

/// The model that is asked for.
fn open(args: &Args, target: &Target) -> anyhow::Result<Classifier> {
    let name = args.model.display().to_string();
    if !hub::is_name(&name) {
        return Classifier::open(&args.model, target, args.running.precision);
    }
    let model = hub::model_file(&name, &Sizes::default(), Texts::One)?;
    let target = target.made_for(&model.weights, args.running.precision);
    Classifier::new(model, &target).with_context(|| name)
}

/// The seed that splits are made with when none are given: that of the model's design, or its test
/// split would hold examples that the model learned from.
fn seed(card: &serde_json::Value) -> Seed {
    Seed(card["seed"].as_u64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_those_of_the_design() {
        assert_eq!(seed(&json!({ "seed": 5 })), Seed(5));
        assert_eq!(seed(&serde_json::Value::Null), Seed(0));
    }
}
