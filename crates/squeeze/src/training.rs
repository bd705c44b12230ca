//! One network trained on one data set as a recipe says: what `squeeze train` does.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use squeeze_data::metrics::Score;
use squeeze_data::{Columns, DataSet, OpenOptions, Preprocess};
use squeeze_formats::ModelFile;
use squeeze_formats::model::load;
use squeeze_graph::{Graph, Op};
use squeeze_infer::Target;
use squeeze_tensor::Seed;
use squeeze_train::{Config, Network, Parameters, Teacher};

use crate::classifier::Classifier;
use crate::fit::{Fit, Start, export, fit};
use crate::folder::{self, RunFolder};
use crate::front::Front;
use crate::ready::{Decided, Ready, renumber};
use crate::recipe;
use crate::source::{Sizes, Source};
use crate::ui::Progress;

/// What to train, on what and how: `recipe.toml` in the run's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// A published network's name, or a .squeeze, .onnx or .toml file.
    pub model: String,
    /// Name or path of the data set.
    pub data: String,
    /// A model file to imitate beside the labels; its tokenizer or image size is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// Sizes of the input, where they are not the network's or the data's own.
    #[serde(default)]
    pub sizes: Sizes,
    /// Names of the columns of a table, where the usual ones do not fit.
    #[serde(default)]
    pub columns: Columns,
    /// How it is trained; when left out, as the networks of a design, for ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Config>,
}

/// What changes a recipe's training.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// Passes over the training split at most.
    pub epochs: Option<f64>,
    /// Wall time at most.
    pub seconds: Option<f64>,
    /// Seed of everything random.
    pub seed: Option<u64>,
}

/// What came of a training.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Accuracy on the validation split.
    pub validation: f64,
    /// Epochs that were gone through.
    pub epochs: f64,
    /// Seconds of the training.
    pub seconds: f64,
    /// How the file does on the test split.
    pub test: Score,
}

/// Name of the recipe in the folder.
pub const RECIPE: &str = "recipe.toml";
/// Name of the trained network in the folder.
pub const MODEL: &str = "model.squeeze";
/// Wall seconds of a training that is told neither epochs nor a time.
const SECONDS: f64 = 600.0;

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// When the file cannot be read or says something unknown.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        toml::from_str(&text).with_context(|| format!("{shown} is no recipe"))
    }

    fn resolve(&mut self, ready: &Ready, changes: &Changes) {
        let mut config = self.training.take().unwrap_or_else(|| {
            let seconds = changes.seconds.unwrap_or(SECONDS);
            let config = recipe::training(ready, seconds, 0);
            match (changes.epochs, changes.seconds) {
                (Some(_), None) => Config {
                    seconds: None,
                    ..config
                },
                _ => config,
            }
        });
        config.epochs = changes.epochs.unwrap_or(config.epochs);
        config.seconds = changes.seconds.or(config.seconds);
        config.seed = changes.seed.unwrap_or(config.seed);
        self.training = Some(config);
    }

    /// Keeps the resolved recipe in the folder; one that is there must be the same.
    fn keep(&self, folder: &RunFolder) -> Result<()> {
        let path = folder.join(RECIPE);
        if !path.exists() {
            return folder::write(&path, toml::to_string(self)?.as_bytes());
        }
        let held = Self::read(&path)?;
        ensure!(
            &held == self,
            "{} holds another training: give this one its own folder with -o, or delete that one",
            folder.path().display()
        );
        Ok(())
    }
}

/// Trains the recipe's network, writes it as a file and tests that; an interrupted training of the
/// folder goes on.
///
/// # Errors
/// When network, data and recipe do not fit together, a file cannot be read or written, or the
/// user asked to stop.
pub fn train(
    mut recipe: Recipe,
    changes: &Changes,
    folder: &RunFolder,
    progress: &Progress,
) -> Result<Trained> {
    let bar = progress.stage("inspect", 0);
    let seed = changes
        .seed
        .or(recipe.training.as_ref().map(|config| config.seed));
    let options = OpenOptions {
        columns: recipe.columns.clone(),
        seed: Seed(seed.unwrap_or_default()),
        ..OpenOptions::default()
    };
    let set = DataSet::open(&recipe.data, &options)?;
    let teacher = recipe.teacher.as_ref();
    let teacher = teacher.map(|path| load(path.as_ref())).transpose()?;
    let (source, ready) = fitted(&recipe, set, teacher.as_ref())?;
    recipe.resolve(&ready, changes);
    recipe.keep(folder)?;
    let cost = source.graph.cost();
    bar.done(&format!(
        "{}: {} parameters, {} multiply-adds; {} train + {} validation + {} test",
        source.name,
        crate::units::show_count(cost.params),
        crate::units::show_count(cost.macs),
        ready.train.len(),
        ready.validation.len(),
        ready.test.len()
    ));

    let bar = progress.stage("train", 0);
    let config = recipe.training.clone().expect("just resolved");
    let start = Start {
        weights: source.weights.as_ref(),
        teacher: teacher.map(imitated).transpose()?,
    };
    let graph = &source.graph;
    let Fit {
        weights,
        accuracy,
        epochs,
        seconds,
    } = fit(
        progress,
        graph,
        (&ready, start),
        (&config, Some(folder.path())),
        &bar,
    )?;
    let path = folder.join(MODEL);
    let card = json!({
        "made_by": format!("squeeze {}", env!("CARGO_PKG_VERSION")),
        "data": recipe.data,
        "network": recipe.model,
        "seed": config.seed,
        "epochs": epochs,
        "validation_accuracy": accuracy,
    });
    export(&path, &ready, (graph.clone(), weights), card)?;
    bar.done(&format!(
        "{:.2} % on validation after {epochs:.1} epochs",
        100.0 * accuracy
    ));

    let bar = progress.stage("test", ready.test.len() as u64);
    let test = Classifier::open(&path, &Target::here(1), None)?
        .judge(&ready.test, |done| bar.at(done as u64))?;
    bar.done(&format!(
        "{:.2} % of {} ({:.2}-{:.2})",
        100.0 * test.value,
        test.n,
        100.0 * test.ci95[0],
        100.0 * test.ci95[1]
    ));
    Ok(Trained {
        validation: accuracy,
        epochs,
        seconds,
        test,
    })
}

/// The network for the data, and the data for the network.
fn fitted(
    recipe: &Recipe,
    mut set: DataSet,
    teacher: Option<&ModelFile>,
) -> Result<(Source, Ready)> {
    let outputs = set.outputs();
    let named = |name: &str| squeeze_zoo::list().iter().any(|entry| entry.name == name);
    let mut sizes = recipe.sizes;
    let decided = match teacher {
        Some(teacher) => Front::from_json(&teacher.meta.input)?,
        None => Decided::about(&set)?.front()?,
    };
    if named(&recipe.model) {
        sizes = sizes.or(&decided).with_classes(outputs);
    }
    let source = Source::open(&recipe.model, &sizes)?;
    let own = source
        .meta
        .as_ref()
        .or(teacher.map(|teacher| &teacher.meta));
    let front = match own {
        Some(meta) => {
            let task = serde_json::from_value(meta.task.clone())?;
            ensure!(
                set.task == task,
                "the model is made to {task}, the data to {}",
                set.task
            );
            for split in [&mut set.train, &mut set.validation, &mut set.test] {
                renumber(split, &set.labels, &meta.labels)?;
            }
            set.labels.clone_from(&meta.labels);
            Front::from_json(&meta.input)?
        }
        None => suited(&source.graph, decided)?,
    };
    let graph = &source.graph;
    let found = &graph.node(graph.outputs()[0]).shape;
    ensure!(
        found.len() == 2,
        "{} gives {found:?} for one example: only networks that give one answer are trained",
        source.name
    );
    ensure!(
        found[1] == set.outputs(),
        "{} has {} outputs, the data asks for {}",
        source.name,
        found[1],
        set.outputs()
    );
    let ready = Ready::new(set, front)?;
    Ok((source, ready))
}

/// What stands before a network whose file does not say it: the data's own, in the network's sizes.
fn suited(graph: &Graph, front: Front) -> Result<Front> {
    let input = |name: &str| {
        let found = graph.find(name).map(|id| graph.node(id).shape.clone());
        found.with_context(|| format!("{} has no input `{name}`", graph.name()))
    };
    match front {
        Front::Text { tokenizer, .. } => {
            let length = input("ids")?[1];
            let rows = graph.nodes().iter().find_map(|node| match &node.op {
                Op::Embedding(table) => Some(table.rows),
                _ => None,
            });
            let words = tokenizer.vocabulary();
            if let Some(rows) = rows.filter(|&rows| rows < words) {
                bail!(
                    "{} knows {rows} word pieces, the data's vocabulary has {words}",
                    graph.name()
                );
            }
            Ok(Front::Text { tokenizer, length })
        }
        Front::Image(preprocess) => {
            let shape = input("image")?;
            let (channels, held) = (shape[1], preprocess.channels);
            ensure!(
                channels == held || held == 1,
                "{} takes images of {channels} channels, the data has {held}",
                graph.name()
            );
            let spread = |values: Vec<f32>| match values[..] {
                [value] => vec![value; channels],
                _ => values,
            };
            Ok(Front::Image(Preprocess {
                size: [shape[2], shape[3]],
                channels,
                mean: spread(preprocess.mean),
                std: spread(preprocess.std),
                resize: preprocess.resize,
            }))
        }
    }
}

/// A model file as a network to imitate.
fn imitated(file: ModelFile) -> Result<Teacher> {
    let parameters = Parameters::from_weights(&file.graph, &file.weights)?;
    let network = Network::new(&file.graph, &parameters)?;
    Ok(Teacher {
        network,
        parameters,
    })
}
