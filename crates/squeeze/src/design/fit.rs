//! Trains one network of a design, from one seed or several, and writes it as a file.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use squeeze_formats::model::{Meta, ModelFile, save};
use squeeze_graph::Graph;
use squeeze_tensor::{Seed, Weights};
use squeeze_train::{Config, Ending, Event, Job, Parameters, run};

use super::ready::Ready;
use super::recipe;
use super::stage::Context;
use crate::error::Stopped;
use crate::ui::StageBar;

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

/// The best of the trainings of one network that differ in their seed alone.
#[derive(Debug)]
pub struct BestSeed {
    /// The training that was best on the validation split, the first of equals; its seconds are
    /// those of all.
    pub fit: Fit,
    /// Accuracy on the validation split of each seed.
    pub accuracies: Vec<f64>,
}

/// Seeds that a network is trained from at most.
const SEEDS: usize = 5;

/// Trains `graph` for at most `seconds`: from the design's seed, and from others while the time that the
/// first left over is enough for them. Interrupted trainings go on from folders of the stage's `name`.
///
/// # Errors
/// As [`fit`].
pub fn fit_seeds(
    context: &Context,
    graph: &Graph,
    (ready, start): (&Ready, Option<&Weights>),
    (name, seconds): (&str, f64),
    bar: &StageBar,
) -> Result<BestSeed> {
    let seed = context.request.seed;
    let train = |seed, folder: &str| {
        let config = recipe::training(ready, seconds, seed);
        let folder = context.folder.join(folder);
        fit(
            context,
            graph,
            (ready, start),
            (&config, Some(&folder)),
            bar,
        )
    };
    let mut best = train(seed, name)?;
    let fitting = (seconds / best.seconds).floor() as usize;
    let seeds = context.once(&format!("{name}-seeds"), || Ok(fitting.clamp(1, SEEDS)))?;
    let mut accuracies = vec![best.accuracy];
    for number in 2..=seeds {
        let seed = Seed(seed).child("training").child_number(number as u64);
        let mut next = train(seed.0, &format!("{name}-{number}"))?;
        accuracies.push(next.accuracy);
        if next.accuracy > best.accuracy {
            std::mem::swap(&mut next, &mut best);
        }
        best.seconds += next.seconds;
    }
    Ok(BestSeed {
        fit: best,
        accuracies,
    })
}

impl BestSeed {
    /// `60.0 epochs`, or `60.0 epochs, best of 4 seeds (97.60-98.31 %)`.
    pub fn effort(&self) -> String {
        let epochs = format!("{:.1} epochs", self.fit.epochs);
        let worst = self
            .accuracies
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min);
        match self.accuracies.len() {
            1 => epochs,
            seeds => format!(
                "{epochs}, best of {seeds} seeds ({:.2}-{:.2} % on validation)",
                100.0 * worst,
                100.0 * self.fit.accuracy
            ),
        }
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

/// Trains `graph` on the training split, from `start` or from fresh weights; with a `folder`, an
/// interrupted training goes on from there.
///
/// # Errors
/// When the network cannot be trained, or the user asked to stop.
pub fn fit(
    context: &Context,
    graph: &Graph,
    (ready, start): (&Ready, Option<&Weights>),
    (config, folder): (&Config, Option<&Path>),
    bar: &StageBar,
) -> Result<Fit> {
    let parameters = match start {
        Some(weights) => Parameters::from_weights(graph, weights)?,
        None => Parameters::fresh(graph, Seed(config.seed).child("weights"))?,
    };
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let stop = context.progress.stop_flag();
    let job = Job {
        graph,
        parameters,
        train: &ready.train,
        validation: Some(&ready.validation),
        teacher: None,
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
    let outcome = run(&super::engine(), job, config, &mut on_event)?;
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
