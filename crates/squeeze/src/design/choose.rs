//! Which space to search, and what its choices cost on the device.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use squeeze_graph::Space;
use squeeze_infer::Target;
use squeeze_measure::{Budget, Profile, Subject, Table, measure_space, table_of, time};
use squeeze_tensor::Seed;
use squeeze_train::{Event, Job, Parameters, run};

use super::stage::Context;
use crate::error::NoNetwork;
use crate::ready::Ready;
use crate::recipe;
use crate::ui::StageBar;
use crate::units::{show_size, show_time};

/// The space, its prices, and what they must stay within.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Which of the data's spaces.
    pub family: usize,
    /// Prices of its choices.
    pub table: Table,
    /// What the sum of the prices may be: the limit of the user as a median, or less where larger
    /// networks would see too few epochs.
    pub limit_ms: f64,
    /// Whether `limit_ms` was lowered for the sake of epochs.
    pub lowered: bool,
    /// Blocks in the profile.
    pub blocks: usize,
}

/// Epochs that a network should be trained for at least, in the time that the winner gets.
const EPOCHS: f64 = 12.0;

/// Share of the median that is left for the difference between table and network.
const MARGIN: f64 = 0.95;

/// Picks the largest space whose networks reach from well below the limit, and measures it.
///
/// # Errors
/// When no network of any space meets the limits, or a block cannot be compiled.
pub fn measure(
    context: &Context,
    ready: &Ready,
    (time, training): (Duration, Duration),
    bar: &StageBar,
) -> Result<(Measured, String)> {
    let request = &context.request;
    let quick = time.mul_f64(0.2);
    let family = context.once("family", || size(context, ready, (quick, training), bar))?;
    let space = ready.spaces()[family].space()?;
    bar.say(space.name());
    let training_cost = context.once("training-cost", || training_cost(ready, &space))?;
    let (table, blocks) = match context.device.profile() {
        Some(profile) if !context.device.is_here() => {
            (table_of(&space, profile)?, profile.entries.len())
        }
        known => {
            let path = context.folder.join("profile.toml");
            let mut profile = begun(&path, known, request.threads);
            let mut problem = None;
            let table = measure_space(&space, &mut profile, time - quick, |profile, done, all| {
                bar.set_steps(all as u64);
                bar.at(done as u64);
                problem = crate::folder::write(&path, profile.to_toml().as_bytes()).err();
                problem.is_none() && !context.progress.is_stopped()
            });
            if let Some(problem) = problem {
                return Err(problem);
            }
            context.progress.check()?;
            (table?, profile.entries.len())
        }
    };
    let wanted = request.p90_ms / table.p90_over_p50 * MARGIN;
    let trainable = trainable_ms(ready, training, training_cost);
    // Even a short training is better than a network that the limit has no room for.
    let limit_ms = wanted.min(trainable.max(table.prices().least() * 1.5));
    let lowered = limit_ms < wanted;
    let result = format!(
        "{blocks} blocks of {}, {:.1e} networks from {:.3} to {:.3} ms; table within {:.0} % of {} \
         whole networks{}",
        space.name(),
        space.size(),
        table.prices().least(),
        table.prices().most(),
        100.0 * table.worst_error,
        table.networks,
        if lowered {
            format!("; searched up to {limit_ms:.3} ms for {EPOCHS} epochs")
        } else {
            String::new()
        }
    );
    Ok((
        Measured {
            family,
            table,
            limit_ms,
            lowered,
            blocks,
        },
        result,
    ))
}

/// The profile that an interrupted run began on this machine, or what is known of the machine, or an empty one.
fn begun(path: &Path, known: Option<&Profile>, threads: usize) -> Profile {
    let fresh = Profile {
        prices: known.and_then(|known| known.prices),
        ..Profile::here(threads)
    };
    let own = |begun: &&Profile| {
        begun.machine == fresh.machine && begun.threads == threads && begun.prices == fresh.prices
    };
    let begun = Profile::load(path).ok();
    let known = begun.as_ref().filter(own).or(known.filter(own));
    known.cloned().unwrap_or(fresh)
}

/// Latency whose networks see [`EPOCHS`] epochs in `training`.
fn trainable_ms(ready: &Ready, training: Duration, cost: f64) -> f64 {
    let examples = ready.train.len() as f64 * EPOCHS;
    1e3 * training.as_secs_f64() / (cost * examples)
}

/// Examples of a batch whose training is timed, and such batches.
const TIMED: (usize, u64) = (16, 4);

/// Time of an example's training on all cores as a multiple of one inference on one, for a network
/// of a space whose choices are all of median multiply-adds.
fn training_cost(ready: &Ready, space: &Space) -> Result<f64> {
    let graph = space.resolve(&middle(space))?;
    let mut subject = Subject::fresh(&graph, &Target::here(1))?;
    let ms = time(|| subject.run(), &QUICK).p50_ms;
    let mut config = recipe::training(ready, 60.0, 0);
    config.seconds = None;
    config.batching.size = config.batching.size.min(TIMED.0);
    let size = config.batching.size as f64;
    config.epochs = TIMED.1 as f64 * size / ready.train.len() as f64;
    let job = Job {
        graph: &graph,
        parameters: Parameters::fresh(&graph, Seed(0))?,
        train: &ready.train,
        validation: None,
        teacher: None,
        folder: None,
        stop: None,
    };
    let mut ends = vec![];
    run(&crate::fit::engine(), job, &config, &mut |event| {
        if let Event::Step { seconds, .. } = event {
            ends.push(*seconds);
        }
    })?;
    let mut steps: Vec<f64> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_by(f64::total_cmp);
    // A data set of a batch or two has no second step to time; three passes are the rule of thumb.
    let step = steps.get(steps.len() / 2);
    Ok(step.map_or(3.0, |step| 1e3 * step / (size * ms)))
}

/// A look at a network's time.
const QUICK: Budget = Budget {
    retries: 1,
    warm_up: 2,
    runs: 5,
    least: Duration::from_millis(300),
};

/// The largest of the data's spaces whose networks reach from well below the limit.
fn size(
    context: &Context,
    ready: &Ready,
    (quick, training): (Duration, Duration),
    bar: &StageBar,
) -> Result<usize> {
    let request = &context.request;
    let families = ready.spaces();
    let least = quick.div_f64(2.0 * families.len() as f64);
    let budget = Budget {
        least: least.min(QUICK.least),
        ..QUICK
    };
    let mut best = None;
    for (family, row) in families.iter().enumerate() {
        let space = row.space()?;
        bar.say(format!("sizing {}", space.name()));
        let cheapest = extreme(&space, |macs, than| macs < than);
        let dearest = extreme(&space, |macs, than| macs > than);
        let mut p90 = [0.0; 2];
        let mut peak = 0;
        for (p90, picks) in p90.iter_mut().zip([&cheapest, &dearest]) {
            let mut subject = Subject::fresh(&space.resolve(picks)?, &context.target)?;
            *p90 = time(|| subject.run(), &budget).p90_ms;
            peak = if peak == 0 {
                subject.plan().peak_bytes()
            } else {
                peak
            };
        }
        let fits_memory = request.memory.is_none_or(|limit| peak as u64 <= limit);
        let Some(_) = &best else {
            if p90[0] > request.p90_ms || !fits_memory {
                bail!(NoNetwork(format!(
                    "no network of the smallest space meets the limits: the fastest, {}, takes \
                     {} (p90) and {}; asked for are {}{}",
                    space.genotype(&cheapest),
                    show_time(p90[0]),
                    show_size(peak as u64),
                    show_time(request.p90_ms),
                    request
                        .memory
                        .map_or(String::new(), |m| format!(" and {}", show_size(m)))
                )));
            }
            best = Some(family);
            continue;
        };
        // A third of the way from the cheapest to the dearest must fit, or there is little choice.
        let third = p90[0] + (p90[1] - p90[0]) / 3.0;
        if third > request.p90_ms || !fits_memory {
            break;
        }
        if third > trainable_ms(ready, training, training_cost(ready, &space)?) {
            break;
        }
        best = Some(family);
    }
    Ok(best.expect("the smallest space was taken or refused"))
}

/// In each slot the choice of median multiply-adds.
fn middle(space: &Space) -> Vec<usize> {
    let (_, costs) = space.costs();
    let pick = |costs: &Vec<squeeze_graph::Cost>| {
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by_key(|&at| costs[at].macs);
        order[costs.len() / 2]
    };
    costs.iter().map(pick).collect()
}

/// The picks of least or most multiply-adds.
fn extreme(space: &Space, better: impl Fn(u64, u64) -> bool) -> Vec<usize> {
    let (_, costs) = space.costs();
    let pick = |costs: &Vec<squeeze_graph::Cost>| {
        (1..costs.len()).fold(0, |best, at| {
            if better(costs[at].macs, costs[best].macs) {
                at
            } else {
                best
            }
        })
    };
    costs.iter().map(pick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_by_other_prices_is_left() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("profile.toml");
        let fresh = Profile::here(1);
        assert_eq!(begun(&path, None, 1), fresh);
        let mut known = Profile::here(1);
        known.prices = Some(Target::here(1).prices);
        known.date = "2026-01-01".into();
        assert_eq!(begun(&path, Some(&known), 1), known);
        // On other threads its blocks are of no use, its prices are.
        let other = begun(&path, Some(&known), 2);
        assert_eq!((other.threads, other.prices), (2, known.prices));
        assert_ne!(other.date, known.date);
        std::fs::write(&path, fresh.to_toml()).expect("writable");
        assert_eq!(begun(&path, Some(&known), 1), known);
        let mut own = known.clone();
        own.date = "2026-01-02".into();
        std::fs::write(&path, own.to_toml()).expect("writable");
        assert_eq!(begun(&path, Some(&known), 1), own);
    }
}
