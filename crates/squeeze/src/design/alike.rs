//! Networks trained exactly as the winner was: the hand-designed ones of its family, the best of the
//! supernet's choices and the best of the random control's.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use squeeze_formats::model::{load, save};
use squeeze_graph::{Graph, Space};
use squeeze_measure::{Ratio, Subject};
use squeeze_tensor::Weights;

use super::bytes::in_bytes;
use super::choose::Measured;
use super::contest::{Chosen, Field, Tried};
use super::prove::{Proof, ROUNDS, beside, test};
use super::seeds::fit_seeds;
use super::stage::Context;
use super::{best_within, start_of, write_up};
use crate::fit::{Fit, export};
use crate::ready::Ready;
use crate::record::{Candidate, Comparison, Origin, RunRecord};
use crate::ui::StageBar;
use crate::units::show_seconds;

/// A network to train as the winner was.
#[derive(Clone, Debug)]
pub struct Rival {
    /// Name of its stage and its folder.
    stage: String,
    /// What the report calls it.
    name: String,
    origin: Origin,
    graph: Graph,
    /// The supernet's weights, where the winner's rule takes them.
    start: Option<Weights>,
    /// Choice in each slot; none of a hand-designed network.
    picks: Vec<usize>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Alike {
    /// Its training and measurement; the accuracy is that on validation.
    tried: Tried,
    /// Its time over the winner's, round by round.
    ratio: Ratio,
    /// Metric on the test split, as the winner's.
    test: f64,
    /// 95 % confidence interval of it.
    ci95: [f64; 2],
    macs: u64,
}

impl Rival {
    /// Whether it was trained by an earlier run of this design.
    pub fn is_trained(&self, context: &Context) -> bool {
        context
            .folder
            .join(&format!("{}.json", self.stage))
            .exists()
    }
}

/// The networks to train beside the winner.
///
/// # Errors
/// When picks do not resolve, which they did before.
pub fn rivals(
    context: &Context,
    field: &Field,
    chosen: &Chosen,
    (winner, all): (&Tried, &[Tried]),
) -> Result<Vec<Rival>> {
    let mut rivals = vec![];
    for (origin, side) in [(Origin::Supernet, "supernet"), (Origin::Random, "control")] {
        let own = all.iter().filter(|tried| tried.origin == origin);
        let own: Vec<Tried> = own.cloned().collect();
        let best = best_within(&context.request, &own).ok();
        let apart = |best: &&Tried| winner.origin != origin && best.name != winner.name;
        let Some(best) = best.filter(apart) else {
            continue;
        };
        let graph = field.graph(best)?;
        rivals.push(Rival {
            stage: format!("beside-{side}"),
            name: best.name.clone(),
            origin,
            start: start_of(context, (chosen, best), &graph)?,
            graph,
            picks: best.picks.clone(),
        });
    }
    let references = field.references_beside(winner).into_iter();
    rivals.extend(references.map(|graph| Rival {
        stage: format!("beside-{}", graph.name()),
        name: graph.name().into(),
        origin: Origin::Reference,
        start: None,
        graph,
        picks: vec![],
    }));
    Ok(rivals)
}

/// Trains every rival, each a stage of its own, and adds it to the record; `publish` is told of
/// every addition.
///
/// # Errors
/// When a training fails or the user asked to stop.
pub fn compare(
    context: &mut Context,
    (ready, field, measured): (&Ready, &Field, &Measured),
    proof: &Proof,
    rivals: &[Rival],
    record: &mut RunRecord,
    publish: &mut dyn FnMut(&RunRecord) -> Result<()>,
) -> Result<()> {
    let open = rivals.iter().filter(|rival| !rival.is_trained(context));
    let open = open.count();
    if open > 0 {
        let seconds = seconds(context)?;
        let [one, all] = [seconds, seconds * open as f64].map(show_seconds);
        context.progress.note(format!(
            "beside   {open} networks more are trained with the winner's recipe, {one} each: about \
             {all} beyond --minutes {}",
            context.request.minutes
        ));
    }
    for rival in rivals {
        let alike = context.stage(&rival.stage, |context, bar| {
            train(context, ready, (rival, &field.space), proof, bar)
        })?;
        let threads = context.request.threads;
        let stage = context.stages.last().expect("a stage was just done");
        record.extra_seconds += stage.seconds;
        record.stages = context.stages.clone();
        record.trained_alike.push(record.candidates.len());
        let candidate = alike.candidate((field, measured), threads)?;
        record.candidates.push(candidate);
        alike.compare(proof, &mut record.comparisons);
        if let Some(search) = &mut record.search {
            search.test(rival.origin, alike.test);
        }
        publish(record)?;
    }
    Ok(())
}

/// Seconds that the winner's recipe was made for.
fn seconds(context: &Context) -> Result<f64> {
    let seconds = context.load::<f64>("train-seconds")?;
    seconds.context("the folder does not say how long the winner was trained")
}

/// Trains one, exports it, and tests the file as the winner's was.
fn train(
    context: &Context,
    ready: &Ready,
    (rival, space): (&Rival, &Space),
    proof: &Proof,
    bar: &StageBar,
) -> Result<(Alike, String)> {
    let graph = &rival.graph;
    let start = (ready, rival.start.as_ref());
    let time = (rival.stage.as_str(), seconds(context)?);
    let best = fit_seeds(context, graph, start, time, bar)?;
    let effort = best.effort();
    let Fit {
        weights,
        accuracy,
        epochs,
        seconds,
    } = best.fit;
    let path = context.folder.join(&rival.stage).join(super::MODEL);
    let card = write_up::card(context, (space, &rival.name), accuracy);
    export(&path, ready, (graph.clone(), weights), card)?;
    // In bytes where the winner is.
    if load(&context.folder.join(super::MODEL))?
        .weights
        .has_bytes()
    {
        save(&path, &in_bytes(&load(&path)?, ready)?)?;
    }
    let score = test((&path, &context.target), &ready.test, bar)?;
    let known = proof.references.iter().find(|one| one.name == rival.name);
    let (timing, ratio, peak_bytes) = match known {
        Some(known) => (known.timing.clone(), known.ratio.clone(), known.peak_bytes),
        None => measure(context, &path, bar)?,
    };
    let result = format!(
        "{}: test {} {:.2} % of {} ({:.2}-{:.2}) after {effort}; p90 {:.3} ms",
        rival.name,
        super::prove::name(score.metric),
        100.0 * score.value,
        score.n,
        100.0 * score.ci95[0],
        100.0 * score.ci95[1],
        timing.p90_ms
    );
    let alike = Alike {
        tried: Tried {
            origin: rival.origin,
            name: rival.name.clone(),
            picks: rival.picks.clone(),
            accuracy,
            epochs,
            seconds,
            timing,
            peak_bytes,
        },
        ratio,
        test: score.value,
        ci95: score.ci95,
        macs: graph.cost().macs,
    };
    Ok((alike, result))
}

/// Times the file at `path` in rounds with the winner's.
fn measure(
    context: &Context,
    path: &Path,
    bar: &StageBar,
) -> Result<(squeeze_measure::Timing, Ratio, usize)> {
    bar.say("measuring it beside the winner");
    let mut subjects = vec![];
    for path in [&context.folder.join(super::MODEL), path] {
        let file = load(path)?;
        let target = context.target.made_for(&file.weights, None);
        subjects.push(Subject::new(&file.graph, &file.weights, &target)?);
    }
    let (timing, ratio) = beside(context, &mut subjects)?.swap_remove(1);
    Ok((timing, ratio, subjects[1].plan().peak_bytes()))
}

impl Alike {
    fn candidate(
        &self,
        (field, measured): (&Field, &Measured),
        threads: usize,
    ) -> Result<Candidate> {
        Ok(Candidate {
            accuracy: self.test,
            accuracy_on: format!("test, after {:.1} epochs", self.tried.epochs),
            ci95: Some(self.ci95),
            ..write_up::candidate(field, measured, &self.tried, threads)?
        })
    }

    /// Puts the accuracy beside the ratios of the record.
    fn compare(&self, proof: &Proof, comparisons: &mut Vec<Comparison>) {
        let known = comparisons
            .iter_mut()
            .find(|one| one.reference == self.tried.name);
        if let Some(known) = known {
            known.accuracy = Some(self.test);
            known.ci95 = Some(self.ci95);
            return;
        }
        comparisons.push(Comparison {
            reference: self.tried.name.clone(),
            flop_ratio: self.macs as f64 / proof.macs.max(1) as f64,
            time_ratio: self.ratio.median,
            quartiles: self.ratio.quartiles,
            pairs: ROUNDS,
            accuracy: Some(self.test),
            ci95: Some(self.ci95),
        });
    }
}
