//! Trains one network of a design from several seeds, while its time lasts.

use anyhow::Result;
use squeeze_graph::Graph;
use squeeze_tensor::{Seed, Weights};

use super::stage::Context;
use crate::fit::{Fit, Start, fit};
use crate::ready::Ready;
use crate::recipe;
use crate::ui::StageBar;

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
            &context.progress,
            graph,
            (ready, Start::from(start)),
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
