//! `squeeze train`: one network on one data set, as a recipe says.

use std::path::PathBuf;

use serde_json::json;

use super::columns::ColumnArgs;
use crate::error::Outcome;
use crate::folder::RunFolder;
use crate::out;
use crate::source::Sizes;
use crate::training::{self, Changes, Recipe};
use crate::ui::Progress;
use crate::units;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A recipe.toml, written by an earlier training or by hand: model, data and how to train
    #[arg(conflicts_with_all = ["model", "data", "teacher"])]
    recipe: Option<PathBuf>,
    /// A name from `squeeze list models`, or a .squeeze, .onnx or .toml file; weights in it are the start
    #[arg(long, required_unless_present = "recipe")]
    model: Option<String>,
    /// A name from `squeeze list data`, a folder or a file
    #[arg(long, required_unless_present = "recipe")]
    data: Option<String>,
    /// A .squeeze file to imitate beside the labels (distillation)
    #[arg(long, value_name = "FILE")]
    teacher: Option<String>,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    sizes: Sizes,
    /// Passes over the training split at most
    #[arg(long, value_parser = units::positive)]
    epochs: Option<f64>,
    /// Wall time of the training; 10 when neither this nor --epochs is given
    #[arg(long, value_parser = units::positive)]
    minutes: Option<f64>,
    /// Seed that every random number follows from
    #[arg(long)]
    seed: Option<u64>,
    /// Folder of the run; the same command on the same folder goes on where it was stopped
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let recipe = match (&args.recipe, &args.model, &args.data) {
        (Some(path), _, _) => Recipe::read(path)?,
        (None, Some(model), Some(data)) => Recipe {
            model: model.clone(),
            data: data.clone(),
            teacher: args.teacher.clone(),
            sizes: args.sizes,
            columns: args.columns.columns(),
            training: None,
        },
        _ => unreachable!("the command line asks for a recipe, or for a model and data"),
    };
    let changes = Changes {
        epochs: args.epochs,
        seconds: args.minutes.map(|minutes| 60.0 * minutes),
        seed: args.seed,
    };
    let folder = args
        .output
        .clone()
        .unwrap_or_else(|| default_folder(&recipe));
    let folder = RunFolder::open(folder)?;
    let progress = Progress::on_terminal();
    let (name, data) = (recipe.model.clone(), recipe.data.clone());
    let trained = training::train(recipe, &changes, &folder, &progress)?;
    let path = folder.join(training::MODEL);
    let score = trained.test;
    if args.json {
        out::json(&json!({
            "model": path, "network": name, "data": data, "metric": serde_json::to_value(score.metric)?,
            "value": score.value, "n": score.n, "ci95": score.ci95, "validation": trained.validation,
            "epochs": trained.epochs, "seconds": trained.seconds,
        }))?;
        return Ok(Outcome::Done);
    }
    let took = units::show_seconds(trained.seconds);
    out::print(&format!(
        "{}: test {:.2} % ({:.2}-{:.2}) after {:.1} epochs, {took}",
        path.display(),
        100.0 * score.value,
        100.0 * score.ci95[0],
        100.0 * score.ci95[1],
        trained.epochs,
    ))?;
    Ok(Outcome::Done)
}

/// `out/MODEL-DATA`.
fn default_folder(recipe: &Recipe) -> PathBuf {
    let stem = |text: &str| {
        let stem = std::path::Path::new(text).file_stem();
        stem.unwrap_or("run".as_ref())
            .to_string_lossy()
            .into_owned()
    };
    PathBuf::from("out").join(format!("{}-{}", stem(&recipe.model), stem(&recipe.data)))
}
