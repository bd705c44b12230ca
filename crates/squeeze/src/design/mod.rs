//! The main job: a data set and a device in, a small network proven to meet its limit out.
//!
//! Each stage keeps its result in the folder, so the same command goes on where it was stopped.

mod alike;
mod budget;
mod bytes;
mod choose;
mod contest;
mod linear;
mod prove;
mod request;
mod seeds;
mod stage;
mod write_up;

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use squeeze_tensor::Weights;

pub use request::Request;

use budget::Budget;
use contest::{Chosen, Field, Tried};
use seeds::fit_seeds;
use stage::Context;

use crate::error::NoNetwork;
use crate::fit::{Fit, export};
use crate::ready::Ready;
use crate::record::{Origin, RunRecord};
use crate::ui::{Progress, StageBar};

/// Name of the exported file in the folder.
pub const MODEL: &str = "model.squeeze";

/// The winner after its training.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Trained {
    winner: Tried,
    accuracy: f64,
    epochs: f64,
    seconds: f64,
    from_supernet: bool,
}

/// Does the whole job in `folder`, or what is left of it, and gives its record; with `compare`,
/// trains others as the winner was. `publish` is given the record whenever it grew.
///
/// # Errors
/// When a stage fails, the user asked to stop, or nothing meets the limits.
pub fn design(
    request: Request,
    folder: PathBuf,
    progress: Progress,
    compare: bool,
    publish: &mut dyn FnMut(&RunRecord) -> Result<()>,
) -> Result<RunRecord> {
    let mut context = Context::open(folder, request, progress)?;
    let mut opened = None;
    let decided = context.stage("inspect", |context, _| {
        let request = &context.request;
        let (ready, decided) = Ready::open(&request.data, &request.opening(), None)?;
        let result = write_up::inspection(&ready);
        opened = Some(ready);
        Ok((decided, result))
    })?;
    let ready = match opened {
        Some(ready) => ready,
        None => {
            let request = &context.request;
            Ready::open(&request.data, &request.opening(), Some(decided))?.0
        }
    };
    let budget = context.once("budget", || Ok(Budget::divide(context.left())))?;
    let measured = context.stage("measure", |context, bar| {
        choose::measure(context, &ready, (budget.measure, budget.train), bar)
    })?;
    let family = &ready.spaces()[measured.family];
    let field = Field {
        space: family.space()?,
        references: family.references()?,
    };
    let pair = (&ready, &field.space);
    let chosen = context.stage("search", |context, bar| {
        contest::search(context, pair, &measured, budget.search, bar)
    })?;
    let tried = context.stage("compare", |context, bar| {
        contest::try_chosen(context, pair, &chosen, budget.candidate, bar)
    })?;
    let controls = context.stage("control", |context, bar| {
        contest::control(context, pair, &measured, budget.candidate, bar)
    })?;
    let by_hand = context.stage("by-hand", |context, bar| {
        contest::by_hand(context, &ready, &field.references, budget.candidate, bar)
    })?;
    let all = [tried, controls, by_hand].concat();
    let winner = best_within(&context.request, &all)?.clone();
    let trained = context.stage("train", |context, bar| {
        train(context, (&ready, &chosen), (&winner, &field), &budget, bar)
    })?;
    let path = context.folder.join(MODEL);
    let forms = match context.request.offers_bytes() {
        Some(loss) => context.stage("bytes", |context, bar| {
            bytes::offer(context, (&path, &ready), loss, bar)
        })?,
        None => None,
    };
    let proof = context.stage("prove", |context, bar| {
        let references = field.references_beside(&winner);
        prove::prove(context, (&path, &ready), &references, bar)
    })?;
    let linear = match linear::applies(&ready) {
        true => Some(context.stage("linear", |context, _| linear::control(context, &ready))?),
        false => None,
    };
    let mut record = write_up::record(
        &context,
        &ready,
        (&field, &measured),
        (&chosen, &all),
        (&trained, &proof),
    )?;
    record.linear = linear;
    record.forms = write_up::forms(forms.as_ref(), context.request.threads);
    publish(&record)?;
    let mut rivals = alike::rivals(&context, &field, &chosen, (&winner, &all))?;
    if !compare {
        // What an earlier command with it has trained stays in the record.
        rivals.retain(|rival| rival.is_trained(&context));
    }
    alike::compare(
        &mut context,
        (&ready, &field, &measured),
        &proof,
        &rivals,
        &mut record,
        publish,
    )?;
    Ok(record)
}

/// The most accurate of the networks whose measured figures are within the limits.
fn best_within<'a>(request: &Request, all: &'a [Tried]) -> Result<&'a Tried> {
    let fits = |tried: &&Tried| request.allows(tried.timing.p90_ms, tried.peak_bytes);
    // The supernet's choices come first; turned round, they win ties.
    let best = all
        .iter()
        .rev()
        .filter(fits)
        .max_by(|a, b| a.accuracy.total_cmp(&b.accuracy));
    let Some(best) = best else {
        let fastest = all
            .iter()
            .map(|tried| tried.timing.p90_ms)
            .fold(f64::INFINITY, f64::min);
        bail!(NoNetwork(format!(
            "none of the {} networks that were trained is within {} ms: the fastest takes \
             {fastest:.3} ms (p90) as a whole",
            all.len(),
            request.p90_ms
        )));
    };
    Ok(best)
}

/// Trains the winner with the full recipe and exports it.
fn train(
    context: &Context,
    (ready, chosen): (&Ready, &Chosen),
    (winner, field): (&Tried, &Field),
    budget: &Budget,
    bar: &StageBar,
) -> Result<(Trained, String)> {
    let graph = field.graph(winner)?;
    let graph = match winner.origin {
        Origin::Reference => graph,
        Origin::Supernet | Origin::Random => {
            graph.named(format!("{}-designed", field.space.name()))
        }
    };
    let start = start_of(context, (chosen, winner), &graph)?;
    let from_supernet = start.is_some();
    // What earlier stages overran is taken from here, so that the whole keeps its time.
    let reserve = (0.07 * 60.0 * context.request.minutes).min(25.0) + 8.0;
    let planned = budget.train.as_secs_f64();
    let seconds = context.once("train-seconds", || {
        let left = context.left().as_secs_f64() - reserve;
        Ok(planned.min(left).max(5.0))
    })?;
    let start = (ready, start.as_ref());
    let best = fit_seeds(context, &graph, start, ("train", seconds), bar)?;
    let effort = best.effort();
    let Fit {
        weights,
        accuracy,
        epochs,
        seconds,
    } = best.fit;
    let card = write_up::card(context, (&field.space, &winner.name), accuracy);
    let path = context.folder.join(MODEL);
    export(&path, ready, (graph, weights), card)?;
    let result = format!(
        "{:.2} % on validation after {effort}, {}",
        100.0 * accuracy,
        if from_supernet {
            "from the supernet's weights"
        } else {
            "from fresh weights"
        }
    );
    Ok((
        Trained {
            winner: winner.clone(),
            accuracy,
            epochs,
            seconds,
            from_supernet,
        },
        result,
    ))
}

/// The supernet's weights of one network, which start it better when they already are where its own
/// short training got to; otherwise none.
fn start_of(
    context: &Context,
    (chosen, tried): (&Chosen, &Tried),
    graph: &squeeze_graph::Graph,
) -> Result<Option<Weights>> {
    let better =
        |shared: &contest::Shared| shared.picks == tried.picks && shared.accuracy >= tried.accuracy;
    if !chosen.networks.iter().any(better) {
        return Ok(None);
    }
    let all = squeeze_formats::safetensors::load(&context.folder.join("supernet.safetensors"))?;
    let names: std::collections::BTreeSet<String> =
        graph.params().into_iter().map(|(name, _)| name).collect();
    let own = all.iter().filter(|(name, _)| names.contains(*name));
    let own = own.map(|(name, tensor)| (name.to_owned(), tensor.clone()));
    Ok(Some(own.collect()))
}
