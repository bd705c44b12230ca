//! `squeeze run`: what a model says to a text or to images, or finds in images.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde_json::{Map, json};
use squeeze_data::{Detection, Image};
use squeeze_formats::ModelFile;
use squeeze_infer::Target;

use super::device::DeviceArgs;
use crate::classifier::{Answer, Classifier};
use crate::detector::Detector;
use crate::error::Outcome;
use crate::running::Running;
use crate::{out, picture};

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
    /// A text to classify
    #[arg(long, conflicts_with = "image", required_unless_present = "image")]
    text: Option<String>,
    /// The second text of a pair
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
    let model = squeeze_formats::model::load_on(&args.model, target.threads)?;
    let target = target.made_for(&model.weights, args.running.precision);
    if Detector::is_asked_for(&model.meta) {
        return detect(args, model, &target);
    }
    if let Some(path) = &args.picture {
        let path = path.display();
        bail!("the model classifies, {path} would have no boxes: leave out --picture");
    }
    let mut classifier =
        Classifier::new(model, &target).with_context(|| args.model.display().to_string())?;
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

fn detect(args: &Question, model: ModelFile, target: &Target) -> anyhow::Result<Outcome> {
    let mut detector =
        Detector::new(model, target).with_context(|| args.model.display().to_string())?;
    if let Some(text) = &args.text {
        detector.front.text(text, args.pair.as_deref())?;
    }
    ensure!(
        args.picture.is_none() || args.image.len() == 1,
        "--picture shows one image, {} are given",
        args.image.len()
    );
    for path in &args.image {
        let image = Image::open(path)?;
        let found = detector.detect(&image);
        let mut found = found.with_context(|| path.display().to_string())?;
        found.retain(|one| one.score >= args.min_score);
        if let Some(to) = &args.picture {
            let file = std::fs::read(path).with_context(|| path.display().to_string())?;
            let svg = picture::drawn(&file, &image, &found, &detector.labels);
            squeeze_formats::write(to, svg.as_bytes())?;
        }
        show_objects(&detector.labels, &found, (path, &image), args)?;
    }
    Ok(Outcome::Done)
}

/// One line an object, or one JSON object an image.
fn show_objects(
    labels: &[String],
    found: &[Detection],
    (path, image): (&Path, &Image),
    args: &Question,
) -> anyhow::Result<()> {
    if args.json {
        let object = |one: &Detection| {
            let [x0, y0, x1, y1] = one.corners;
            json!({
                "label": labels[one.class], "class": one.class, "score": one.score,
                "x0": x0, "y0": y0, "x1": x1, "y1": y1,
            })
        };
        let objects: Vec<_> = found.iter().map(object).collect();
        return out::json(&json!({
            "file": path, "width": image.width, "height": image.height, "objects": objects,
        }));
    }
    if args.image.len() > 1 {
        out::print(&format!("{}:", path.display()))?;
    }
    if found.is_empty() {
        let least = args.min_score;
        return out::print(&format!(
            "nothing with a score of {least} or more: --min-score shows less sure objects"
        ));
    }
    let names = found.iter().map(|one| labels[one.class].chars().count());
    let width = names.max().unwrap_or(0).max("label".len());
    let row = |cells: [&str; 6]| {
        let [label, rest @ ..] = cells;
        let numbers: String = rest.iter().map(|cell| format!("  {cell:>7}")).collect();
        out::print(&format!("{label:<width$}{numbers}"))
    };
    row(["label", "score", "x0", "y0", "x1", "y1"])?;
    for one in found {
        let score = format!("{:.3}", one.score);
        let [x0, y0, x1, y1] = one.corners.map(|side| format!("{side:.1}"));
        row([&labels[one.class], &score, &x0, &y0, &x1, &y1])?;
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
