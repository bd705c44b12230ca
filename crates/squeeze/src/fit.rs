//! Trains one network on the data, and writes it as a file.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use squeeze_formats::model::{Meta, ModelFile, save};
use squeeze_graph::Graph;
use squeeze_tensor::{Seed, Weights};
use squeeze_train::{Config, Ending, Engine, Event, Job, Parameters, Teacher, run};

use crate::error::Stopped;
use crate::ready::Ready;
use crate::ui::{Progress, StageBar};

/// A trained network.
#[derive(Debug)]
pub struct Fit {
    /// Weights that were best on the validation split.
    pub weights: Weights,
    /// Accuracy on the validation split.
    pub accuracy: f64,
    /// Epochs that were gone through.
    pub epochs: f64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// What a training begins with.
#[derive(Default)]
pub struct Start<'a> {
    /// Weights, or fresh ones.
    pub weights: Option<&'a Weights>,
    /// A network to imitate beside the labels.
    pub teacher: Option<Teacher>,
}

impl<'a> Start<'a> {
    /// From weights when there are some, imitating none.
    pub fn from(weights: Option<&'a Weights>) -> Self {
        let teacher = None;
        Self { weights, teacher }
    }
}

/// Writes a trained network as a model file that stands alone.
///
/// # Errors
/// When the file cannot be written.
pub fn export(
    path: &Path,
    ready: &Ready,
    (graph, weights): (Graph, Weights),
    card: serde_json::Value,
) -> Result<()> {
    let meta = Meta {
        task: serde_json::to_value(ready.set.task)?,
        labels: ready.set.labels.clone(),
        input: ready.front.to_json()?,
        card,
    };
    let file = ModelFile {
        graph,
        weights,
        meta,
    };
    Ok(save(path, &file)?)
}

/// Trains `graph` on the training split; with a `folder`, an
/// interrupted training goes on from there.
///
/// # Errors
/// When the network cannot be trained, or the user asked to stop.
pub fn fit(
    progress: &Progress,
    graph: &Graph,
    (ready, start): (&Ready, Start),
    (config, folder): (&Config, Option<&Path>),
    bar: &StageBar,
) -> Result<Fit> {
    let parameters = match start.weights {
        Some(weights) => Parameters::from_weights(graph, weights)?,
        None => Parameters::fresh(graph, Seed(config.seed).child("weights"))?,
    };
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let stop = progress.stop_flag();
    let job = Job {
        graph,
        parameters,
        train: &ready.train,
        validation: Some(&ready.validation),
        teacher: start.teacher,
        folder,
        stop: Some(&stop),
    };
    let mut epoch = 1;
    let mut best = 0.0;
    let mut on_event = |event: &Event| match event {
        Event::Planned {
            steps,
            epoch: steps_of_epoch,
            ..
        } => {
            epoch = *steps_of_epoch;
            bar.set_steps(*steps);
        }
        Event::Resumed { step, steps } => {
            bar.set_steps(*steps);
            bar.at(*step);
        }
        Event::Step { step, loss, .. } => {
            bar.at(*step);
            let epochs = *step as f64 / epoch as f64;
            bar.say(format!(
                "epoch {epochs:.1}, loss {loss:.3}, best {:.2} %",
                100.0 * best
            ));
        }
        Event::Validated { metric, .. } => best = f64::max(best, *metric),
        Event::Ended { .. } => {}
    };
    let outcome = run(&engine(), job, config, &mut on_event)?;
    if outcome.ending == Ending::Stopped {
        bail!(Stopped);
    }
    Ok(Fit {
        weights: outcome.parameters.weights(),
        accuracy: outcome.best.map_or(0.0, |best| best.metric),
        epochs: outcome.steps as f64 / epoch as f64,
        seconds: outcome.seconds,
    })
}

/// An engine on all cores.
pub fn engine() -> Engine {
    Engine::new(std::thread::available_parallelism().map_or(1, usize::from))
}
