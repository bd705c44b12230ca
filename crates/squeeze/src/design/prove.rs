//! Proves the exported file: loaded anew, tested, and measured beside hand-designed networks.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use squeeze_data::Prepared;
use squeeze_data::metrics::{Metric, Score};
use squeeze_formats::model::load;
use squeeze_graph::Graph;
use squeeze_infer::Target;
use squeeze_measure::{Budget, Ratio, Subject, Timing, interleaved};

use super::stage::Context;
use crate::classifier::Classifier;
use crate::ready::Ready;
use crate::record::Layer;
use crate::ui::StageBar;

/// What was shown of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// Metric on the test split, run by the file's own plan, one example at a time.
    pub test: f64,
    /// Its name.
    pub metric: String,
    /// 95 % confidence interval of it.
    pub ci95: [f64; 2],
    /// Test examples.
    pub examples: usize,
    /// What one inference takes.
    pub timing: Timing,
    /// Peak working memory in bytes.
    pub peak_bytes: usize,
    /// Multiply-adds.
    pub macs: u64,
    /// Trained numbers.
    pub params: u64,
    /// The plan's steps.
    pub layers: Vec<Layer>,
    /// The hand-designed networks.
    pub references: Vec<Reference>,
    /// Whether both limits are met.
    pub met: bool,
}

/// A hand-designed network beside the winner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Multiply-adds.
    pub macs: u64,
    /// Trained numbers.
    pub params: u64,
    /// What one inference takes.
    pub timing: Timing,
    /// Its time over the winner's, round by round.
    pub ratio: Ratio,
    /// Peak working memory in bytes.
    pub peak_bytes: usize,
}

/// Times a proof is repeated when the limit is missed, since a busy machine is no proof either way.
const TRIES: usize = 3;

/// Rounds of the interleaved measurement.
pub const ROUNDS: usize = 10;

/// Tests and measures the file at `path`.
///
/// # Errors
/// When the file cannot be read or run.
pub fn prove(
    context: &Context,
    (path, ready): (&Path, &Ready),
    references: &[Graph],
    bar: &StageBar,
) -> Result<(Proof, String)> {
    let request = &context.request;
    let model = load(path)?;
    let target = context.target.made_for(&model.weights, None);
    let score = test((path, &context.target), &ready.test, bar)?;
    let mut winner = Subject::new(&model.graph, &model.weights, &target)?;
    let peak_bytes = winner.plan().peak_bytes();
    let layers = layers(&mut winner);
    let mut subjects = vec![winner];
    for graph in references {
        subjects.push(Subject::fresh(graph, &target)?);
    }
    bar.say("measuring it beside hand-designed networks");
    let timed = beside(context, &mut subjects)?;
    let of = |(at, graph): (usize, &Graph)| {
        let cost = graph.cost();
        Reference {
            name: graph.name().into(),
            macs: cost.macs,
            params: cost.params,
            timing: timed[at + 1].0.clone(),
            ratio: timed[at + 1].1.clone(),
            peak_bytes: subjects[at + 1].plan().peak_bytes(),
        }
    };
    let references = references.iter().enumerate().map(of).collect();
    let timing = timed[0].0.clone();
    let fits_memory = request
        .memory
        .is_none_or(|limit| peak_bytes as u64 <= limit);
    // What is measured here proves nothing for another device.
    let here = context.device.is_here();
    let met = here && timing.p90_ms <= request.p90_ms && fits_memory;
    let cost = model.graph.cost();
    let result = format!(
        "test {} {:.2} % of {} ({:.2}-{:.2}); p90 {:.3} ms of {} ms, {} bytes{}",
        name(score.metric),
        100.0 * score.value,
        score.n,
        100.0 * score.ci95[0],
        100.0 * score.ci95[1],
        timing.p90_ms,
        request.p90_ms,
        peak_bytes,
        match (here, met) {
            (false, _) => " on this machine: NOT proven on the device of the profile",
            (true, true) => ": within the limits",
            (true, false) => ": the limit is NOT met",
        }
    );
    let proof = Proof {
        test: score.value,
        metric: name(score.metric),
        ci95: score.ci95,
        examples: score.n,
        timing,
        peak_bytes,
        macs: cost.macs,
        params: cost.params,
        layers,
        references,
        met,
    };
    Ok((proof, result))
}

/// The score of the model file at `path` on a split: loaded anew, one example at a time.
///
/// # Errors
/// When the file cannot be read or the split does not fit it.
pub fn test((path, target): (&Path, &Target), split: &Prepared, bar: &StageBar) -> Result<Score> {
    bar.say("testing the file");
    bar.set_steps(split.len() as u64);
    Classifier::open(path, target, None)?.judge(split, |done| bar.at(done as u64))
}

/// Times networks in interleaved rounds, again when the first one misses the limit; the ratios are
/// to the first one.
///
/// # Errors
/// When the user asked to stop.
pub fn beside(context: &Context, subjects: &mut [Subject]) -> Result<Vec<(Timing, Ratio)>> {
    let batch = Budget {
        retries: 4,
        warm_up: 5,
        runs: 25,
        least: Duration::from_millis(100),
    };
    let mut timed = vec![];
    for _ in 0..TRIES {
        context.progress.check()?;
        let mut work: Vec<Box<dyn FnMut() + '_>> = vec![];
        for subject in subjects.iter_mut() {
            work.push(Box::new(|| subject.run()));
        }
        timed = interleaved(&mut work, ROUNDS, &batch);
        if timed[0].0.p90_ms <= context.request.p90_ms {
            break;
        }
    }
    Ok(timed)
}

/// A metric's name as files have it.
pub fn name(metric: Metric) -> String {
    serde_json::to_value(metric)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn layers(winner: &mut Subject) -> Vec<Layer> {
    let times = winner.step_times(51);
    let steps = winner.plan().steps().zip(times);
    steps
        .map(|(step, ms)| Layer {
            name: step.name.into(),
            kind: step.kind.into(),
            kernel: step.kernel.into(),
            macs: step.macs,
            ms,
        })
        .collect()
}
