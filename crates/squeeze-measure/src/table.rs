//! The price of every choice of a space in milliseconds, measured on this machine.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use squeeze_graph::{Graph, PriceTable, Space};
use squeeze_infer::Target;
use squeeze_tensor::Seed;

use crate::profile::{Entry, Profile, ProfileError, describe, key};
use crate::subject::Subject;
use crate::timing::{Budget, interleaved};

/// Latency of a space: a price for each choice, fitted to whole networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Part of every network's time that no slot has a say in, in milliseconds.
    pub fixed_ms: f64,
    /// Median time of each choice of each slot in milliseconds, scaled by [`Table::scale`].
    pub slots_ms: Vec<Vec<f64>>,
    /// What a block takes inside a network, as a multiple of what it takes alone.
    pub scale: f64,
    /// Largest relative difference between table and whole network among those it was fitted to.
    pub worst_error: f64,
    /// 90th percentile over median of whole networks.
    pub p90_over_p50: f64,
    /// Whole networks that the table was fitted to.
    pub networks: usize,
}

/// Whole networks that a table is fitted to, beside the cheapest and the dearest.
const SAMPLES: usize = 6;

impl Table {
    /// The prices as a search takes them.
    pub fn prices(&self) -> PriceTable {
        PriceTable {
            fixed: self.fixed_ms,
            slots: self.slots_ms.clone(),
        }
    }
}

/// Measures every block of `space` that `profile` does not have yet, then whole networks, within
/// about `time`. `progress` is given the profile so far, how many blocks are done and of how many, and
/// says whether to go on.
///
/// # Errors
/// When a block cannot be compiled, or `progress` says no.
pub fn measure_space(
    space: &Space,
    profile: &mut Profile,
    time: Duration,
    mut progress: impl FnMut(&Profile, usize, usize) -> bool,
) -> Result<Table, ProfileError> {
    let target = profile.target(profile.threads)?;
    let blocks = missing_blocks(space, profile);
    let count = blocks.len();
    // Two thirds for the blocks; a batch is long enough to notice other processes.
    let batch = Budget {
        retries: 1,
        warm_up: 2,
        runs: 3,
        least: Duration::from_millis(60),
    };
    let each = batch.least.as_secs_f64() * count.max(1) as f64;
    let rounds = ((time.as_secs_f64() * 2.0 / 3.0 / each) as usize).clamp(3, 15);
    // A few blocks at a time, so that there is progress to show and little memory to hold.
    let mut done = 0;
    for part in blocks.chunks(8) {
        let mut subjects = vec![];
        for (_, graph) in part {
            subjects.push(subject(graph, &target)?);
        }
        let mut work: Vec<Box<dyn FnMut() + '_>> = subjects
            .iter_mut()
            .map(|s| Box::new(|| s.run()) as Box<dyn FnMut()>)
            .collect();
        let timed = interleaved(&mut work, rounds, &batch);
        for ((key, graph), (timing, _)) in part.iter().zip(timed) {
            let entry = Entry {
                what: describe(graph),
                macs: graph.cost().macs,
                timing,
            };
            profile.entries.insert(key.clone(), entry);
        }
        done += part.len();
        if !progress(profile, done, count) {
            return Err(ProfileError::Stopped);
        }
    }
    fit(space, profile, &target, &batch)
}

/// The table of `space` from a profile that has all its blocks, fitted to nothing: for devices that
/// are not at hand.
///
/// # Errors
/// When a block is missing.
pub fn table_of(space: &Space, profile: &Profile) -> Result<Table, ProfileError> {
    let missing = missing_blocks(space, profile);
    if let Some((_, first)) = missing.first() {
        let all = space.slots().iter().map(|slot| slot.choices().len()).sum();
        return Err(ProfileError::Missing {
            missing: missing.len(),
            all,
            what: describe(first),
        });
    }
    Ok(Table {
        fixed_ms: 0.0,
        slots_ms: alone(space, profile),
        scale: 1.0,
        worst_error: 0.0,
        p90_over_p50: 1.0,
        networks: 0,
    })
}

/// Medians of the blocks run alone.
fn alone(space: &Space, profile: &Profile) -> Vec<Vec<f64>> {
    let price = |choice: &squeeze_graph::Choice| {
        if choice.is_skip() {
            return 0.0;
        }
        profile.entries[&key(choice.body())].timing.p50_ms
    };
    space
        .slots()
        .iter()
        .map(|slot| slot.choices().iter().map(price).collect())
        .collect()
}

fn missing_blocks(space: &Space, profile: &Profile) -> Vec<(String, Graph)> {
    let mut blocks = BTreeMap::new();
    for choice in space.slots().iter().flat_map(squeeze_graph::Slot::choices) {
        let key = key(choice.body());
        if !choice.is_skip() && !profile.entries.contains_key(&key) {
            blocks.insert(key, choice.body().clone());
        }
    }
    blocks.into_iter().collect()
}

/// Least squares of whole networks' medians over the sums of their blocks.
fn fit(
    space: &Space,
    profile: &Profile,
    target: &Target,
    batch: &Budget,
) -> Result<Table, ProfileError> {
    let alone = alone(space, profile);
    let sums = PriceTable {
        fixed: 0.0,
        slots: alone.clone(),
    };
    let extreme = |sign: f64| -> Vec<usize> {
        let pick = |slot: &Vec<f64>| {
            let order = |a: &usize, b: &usize| (sign * slot[*a]).total_cmp(&(sign * slot[*b]));
            (0..slot.len()).min_by(order).expect("a slot has choices")
        };
        alone.iter().map(pick).collect()
    };
    let mut picks = vec![extreme(1.0), extreme(-1.0)];
    let mut random = Seed(2).random();
    for _ in 0..SAMPLES {
        picks.push(alone.iter().map(|slot| random.below(slot.len())).collect());
    }
    let mut subjects = vec![];
    for picks in &picks {
        let graph = space
            .resolve(picks)
            .expect("picks are drawn from the space");
        subjects.push(subject(&graph, target)?);
    }
    let mut work: Vec<Box<dyn FnMut() + '_>> = subjects
        .iter_mut()
        .map(|s| Box::new(|| s.run()) as Box<dyn FnMut()>)
        .collect();
    let timed = interleaved(&mut work, 5, batch);
    let points: Vec<(f64, f64)> = picks
        .iter()
        .zip(&timed)
        .map(|(picks, (t, _))| (sums.of(picks), t.p50_ms))
        .collect();
    let (fixed_ms, scale) = line(&points);
    let error = |(sum, whole): &(f64, f64)| (fixed_ms + scale * sum - whole).abs() / whole;
    let mut tails: Vec<f64> = timed.iter().map(|(t, _)| t.p90_ms / t.p50_ms).collect();
    tails.sort_unstable_by(f64::total_cmp);
    Ok(Table {
        fixed_ms,
        slots_ms: alone
            .iter()
            .map(|s| s.iter().map(|ms| ms * scale).collect())
            .collect(),
        scale,
        worst_error: points.iter().map(error).fold(0.0, f64::max),
        p90_over_p50: tails[tails.len() / 2],
        networks: points.len(),
    })
}

/// Offset (not below zero) and slope of the line through points, by least squares of the relative
/// error.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let weight = |&(_, y): &(f64, f64)| 1.0 / (y * y);
    let sum = |f: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(|p| weight(p) * f(p)).sum::<f64>();
    let (n, x, y) = (sum(&|_| 1.0), sum(&|p| p.0), sum(&|p| p.1));
    let (xx, xy) = (sum(&|p| p.0 * p.0), sum(&|p| p.0 * p.1));
    let spread = n * xx - x * x;
    if spread <= 1e-12 * n * xx {
        return ((y - x).max(0.0) / n, 1.0);
    }
    let slope = (n * xy - x * y) / spread;
    let offset = (y - slope * x) / n;
    if offset >= 0.0 {
        (offset, slope)
    } else {
        (0.0, xy / xx)
    }
}

fn subject(graph: &Graph, target: &Target) -> Result<Subject, ProfileError> {
    Subject::fresh(graph, target).map_err(|error| ProfileError::Block {
        what: describe(graph),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use squeeze_graph::ops::{Activation, Linear};
    use squeeze_graph::{Builder, Choice, Element};

    #[test]
    fn a_line_is_found() {
        let points: Vec<_> = (1..9)
            .map(|x| (f64::from(x), 0.5 + 2.0 * f64::from(x)))
            .collect();
        let (offset, slope) = line(&points);
        assert!((offset - 0.5).abs() < 1e-9 && (slope - 2.0).abs() < 1e-9);
    }

    /// A wide and a narrow hidden layer; the wide one has 64 times the work.
    #[test]
    fn dear_choices_are_dearer() {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 64, 32], Element::Number).expect("fits");
        let mut choices = vec![];
        for (name, width) in [("narrow", 16), ("wide", 1024)] {
            let (mut body, ids) = b.body(name, &[x]).expect("fits");
            let y = body.add("up", Linear::dense(width), &ids).expect("fits");
            let y = body.add("relu", Activation::Relu, &[y]).expect("fits");
            let y = body.add("down", Linear::dense(32), &[y]).expect("fits");
            choices.push(Choice::new(body.finish(&[y]).expect("one output")));
        }
        let x = b.slot("slot", &[x], choices).expect("fits");
        let space = b.finish_space(&[x]).expect("one output");
        let mut profile = Profile::here(1);
        let mut told = (0, 0);
        let time = Duration::from_millis(400);
        let table = measure_space(&space, &mut profile, time, |_, done, all| {
            told = (done, all);
            true
        })
        .expect("both compile");
        assert_eq!(told, (2, 2));
        assert!(
            table.slots_ms[0][1] > 4.0 * table.slots_ms[0][0],
            "{table:?}"
        );
        assert_eq!(
            table_of(&space, &profile)
                .expect("all blocks are there")
                .networks,
            0
        );
        let mut none = Profile::here(1);
        assert!(matches!(
            table_of(&space, &none),
            Err(ProfileError::Missing { missing: 2, .. })
        ));
        let stopped = measure_space(&space, &mut none, time, |_, _, _| false);
        assert!(matches!(stopped, Err(ProfileError::Stopped)));
        assert_eq!(none.entries.len(), 2, "what was measured is kept");
    }
}
