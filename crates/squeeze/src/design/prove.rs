//! Proves the exported file: loaded anew, tested, and measured beside hand-designed networks.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use squeeze_data::metrics::{Metric, Score};
use squeeze_data::{BatchInput, Labels, Prepared};
use squeeze_formats::model::load;
use squeeze_graph::Graph;
use squeeze_infer::{Input, Target, compile};
use squeeze_measure::{Budget, Ratio, Subject, Timing, interleaved};
use squeeze_tensor::Seed;

use super::ready::Ready;
use super::stage::Context;
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
    let target = Target::here(request.threads);
    bar.say("testing the file");
    let score = test(&model, &target, &ready.test)?;
    let mut winner = Subject::new(&model.graph, &model.weights, &target)?;
    let peak_bytes = winner.plan().peak_bytes();
    let layers = layers(&mut winner);
    let mut subjects = vec![winner];
    for graph in references {
        subjects.push(Subject::fresh(graph, &target)?);
    }
    bar.say("measuring it beside hand-designed networks");
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
        for subject in &mut subjects {
            work.push(Box::new(|| subject.run()));
        }
        timed = interleaved(&mut work, 10, &batch);
        if timed[0].0.p90_ms <= request.p90_ms {
            break;
        }
    }
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
    let here = request.device == "here";
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

/// Runs the test split through the file's plan, one example at a time, filled up to full length.
fn test(model: &squeeze_formats::ModelFile, target: &Target, split: &Prepared) -> Result<Score> {
    let plan = compile(&model.graph, &model.weights, target)?;
    let mut scratch = plan.scratch();
    let width = model.graph.node(model.graph.outputs()[0]).shape[1];
    let classes = matches!(split.labels(), Labels::Classes(_));
    let (mut answers, mut values) = (vec![0; split.len()], vec![0.0; split.len()]);
    for batch in split.once(1) {
        let batch = batch?;
        let data = padded(&model.graph, batch.input);
        let inputs: Vec<Input> = data.iter().map(Data::input).collect();
        plan.check(&inputs)
            .context("the test split does not fit the model")?;
        let outputs = plan.run(&inputs, &mut scratch);
        let outputs = &outputs.first()[..width];
        let best = (0..width).max_by(|&a, &b| outputs[a].total_cmp(&outputs[b]));
        answers[batch.rows[0]] = best.expect("a network has outputs");
        values[batch.rows[0]] = outputs[0];
    }
    let (answers, metric) = match classes {
        true => (Labels::Classes(answers), Metric::Accuracy),
        false => (Labels::Values(values), Metric::Spearman),
    };
    Ok(metric.score(&answers, split.labels(), Seed(0))?)
}

/// A metric's name as files have it.
fn name(metric: Metric) -> String {
    serde_json::to_value(metric)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

enum Data {
    Numbers(Vec<f32>),
    Indices(Vec<i32>),
}

impl Data {
    fn input(&self) -> Input<'_> {
        match self {
            Self::Numbers(values) => Input::Numbers(values),
            Self::Indices(values) => Input::Indices(values),
        }
    }
}

/// The inputs of a graph for a batch of one; tokens are filled up with zeros to the graph's length.
fn padded(graph: &Graph, input: BatchInput) -> Vec<Data> {
    let (ids, types, lengths) = match input {
        BatchInput::Images { pixels, .. } => return vec![Data::Numbers(pixels)],
        BatchInput::Tokens {
            ids,
            type_ids,
            lengths,
            ..
        } => (ids, type_ids, lengths),
    };
    let fill = |values: &[i32], room: usize| {
        let mut values = values.to_vec();
        values.resize(room, 0);
        Data::Indices(values)
    };
    let of = |id: &squeeze_graph::NodeId| {
        let node = graph.node(*id);
        match node.name.as_str() {
            "ids" => fill(&ids, node.shape[1]),
            "types" => fill(&types, node.shape[1]),
            _ => Data::Indices(vec![i32::try_from(lengths[0]).unwrap_or(i32::MAX)]),
        }
    };
    graph.inputs().iter().map(of).collect()
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
