//! The supernet's choices against random networks of the same space and the hand-designed networks
//! of its family, each trained alike.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use squeeze_graph::{Graph, Space};
use squeeze_infer::compile;
use squeeze_measure::{Budget as Timed, Subject, Timing, interleaved};
use squeeze_search::supernet::{self, Length};
use squeeze_search::{Architecture, random_within, shared};
use squeeze_tensor::Seed;

use super::budget::{CHOSEN, CONTROLS};
use super::choose::Measured;
use super::stage::Context;
use crate::error::NoNetwork;
use crate::fit::{Fit, Start, fit};
use crate::ready::Ready;
use crate::recipe;
use crate::record::Origin;
use crate::ui::StageBar;

/// The networks that a design decides among.
#[derive(Clone, Debug)]
pub struct Field {
    /// What is searched.
    pub space: Space,
    /// Hand-designed networks of the same family.
    pub references: Vec<Graph>,
}

impl Field {
    /// The network that was tried.
    ///
    /// # Errors
    /// When it is none of these, because the folder is of another version.
    pub fn graph(&self, tried: &Tried) -> Result<Graph> {
        if tried.origin != Origin::Reference {
            return Ok(self.space.resolve(&tried.picks)?);
        }
        let found = self.references.iter().find(|one| one.name() == tried.name);
        let lost = || format!("`{}` is no hand-designed network of this data", tried.name);
        found.cloned().with_context(lost)
    }

    /// The hand-designed networks but this one.
    pub fn references_beside(&self, tried: &Tried) -> Vec<Graph> {
        let others = self
            .references
            .iter()
            .filter(|one| one.name() != tried.name);
        others.cloned().collect()
    }
}

/// What the supernet chose.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chosen {
    /// The networks to train for a while; the likeliest first.
    pub networks: Vec<Shared>,
    /// Probability of each choice of each slot at the end.
    pub probabilities: Vec<Vec<f64>>,
    /// Steps of the supernet.
    pub steps: u64,
    /// Seconds of the supernet alone.
    pub seconds: f64,
}

/// A network of the space with the supernet's weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shared {
    /// Choice in each slot.
    pub picks: Vec<usize>,
    /// Accuracy on the validation split.
    pub accuracy: f64,
}

/// A network that was trained for a while.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tried {
    /// Who picked it.
    pub origin: Origin,
    /// Its choices as one word each, or the name of a hand-designed network.
    pub name: String,
    /// Choice in each slot; none of a hand-designed network.
    pub picks: Vec<usize>,
    /// Accuracy on the validation split.
    pub accuracy: f64,
    /// Epochs it was trained for.
    pub epochs: f64,
    /// Seconds it was trained for.
    pub seconds: f64,
    /// What the whole network takes.
    pub timing: Timing,
    /// Peak working memory in bytes.
    pub peak_bytes: usize,
}

/// Networks drawn from the trained architecture and compared with the supernet's weights.
const DRAWN: u64 = 8;

/// Trains the supernet and takes its choice. The weights go to `supernet.safetensors`.
///
/// # Errors
/// When training fails or nothing fits the limits.
pub fn search(
    context: &Context,
    (ready, space): (&Ready, &Space),
    measured: &Measured,
    time: Duration,
    bar: &StageBar,
) -> Result<(Chosen, String)> {
    let request = &context.request;
    let engine = crate::fit::engine();
    let prices = measured.table.prices();
    let config = recipe::searching(ready, measured.limit_ms, request.seed);
    let mut log = vec![];
    let length = match context.load::<u64>("search-steps")? {
        Some(steps) => Length::Planned(steps),
        None => Length::Time(time),
    };
    let mut planned = matches!(length, Length::Planned(_));
    let mut problem = None;
    let mut tell = |step: &supernet::Step| {
        if !planned && step.step > supernet::TIMED {
            planned = true;
            problem = context.save("search-steps", &step.of).err();
        }
        bar.set_steps(step.of);
        bar.at(step.step);
        bar.say(format!(
            "loss {:.3}, expected {:.3} ms of {:.3}, multiplier {:.3}, temperature {:.2}, undecided {:.0} %",
            step.loss, step.cost, measured.limit_ms, step.multiplier, step.temperature,
            100.0 * step.indecision
        ));
        if step.step.is_multiple_of(10) {
            log.push(serde_json::to_string(step).expect("numbers"));
        }
        problem.is_none() && !context.progress.is_stopped()
    };
    let found = supernet::search(
        space,
        &ready.train,
        &prices,
        (&config, length),
        &engine,
        &mut tell,
    )?;
    if let Some(problem) = problem {
        return Err(problem);
    }
    context.progress.check()?;
    if !planned {
        // So short a search ended before it told its plan.
        context.save("search-steps", &found.steps)?;
    }
    crate::folder::write(
        &context.folder.join("search.jsonl"),
        log.join("\n").as_bytes(),
    )?;
    let weights = context.folder.join("supernet.safetensors");
    squeeze_formats::safetensors::save(&weights, &found.weights)?;

    let mut networks = vec![];
    for picks in shortlist(space, &found.architecture, measured, context)? {
        let graph = space.resolve(&picks)?;
        let train = (&ready.train, &config.batching);
        let accuracy =
            shared::accuracy(&engine, (&graph, &found.weights), train, &ready.validation)?;
        networks.push(Shared { picks, accuracy });
    }
    // The likeliest stays whatever its accuracy; the most accurate of the others join it.
    networks[1..].sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy));
    networks.truncate(CHOSEN);
    let names: Vec<String> = networks
        .iter()
        .map(|network| {
            format!(
                "{} ({:.3} ms expected, {:.1} % with shared weights)",
                space.genotype(&network.picks),
                prices.of(&network.picks),
                100.0 * network.accuracy
            )
        })
        .collect();
    let result = format!("{} steps; chose {}", found.steps, names.join(" and "));
    let chosen = Chosen {
        networks,
        probabilities: found.architecture.probabilities(),
        steps: found.steps,
        seconds: found.seconds,
    };
    Ok((chosen, result))
}

/// The likeliest network within the limits, then others drawn from the architecture.
fn shortlist(
    space: &Space,
    architecture: &Architecture,
    measured: &Measured,
    context: &Context,
) -> Result<Vec<Vec<usize>>> {
    let prices = measured.table.prices();
    let mut list: Vec<Vec<usize>> = vec![];
    let mut limit = measured.limit_ms;
    // A likeliest network over the memory limit gives way to cheaper ones.
    while list.is_empty() && limit > 0.25 * measured.limit_ms {
        let picks = architecture.likeliest_within(&prices, limit);
        list.extend(picks.filter(|picks| fits_memory(space, picks, context)));
        limit *= 0.9;
    }
    let mut random = Seed(context.request.seed).child("shortlist").random();
    for _ in 0..50 * DRAWN {
        if list.len() as u64 > DRAWN {
            break;
        }
        let mixture = architecture.sample(1, (1.0, 0.0), &mut random);
        let picks: Vec<usize> = mixture.slots.iter().map(|parts| parts[0].choice).collect();
        let fits = prices.of(&picks) <= measured.limit_ms;
        if fits && !list.contains(&picks) && fits_memory(space, &picks, context) {
            list.push(picks);
        }
    }
    if list.is_empty() {
        bail!(NoNetwork(format!(
            "no network that the search prefers is within {:.3} ms and the memory: the fastest \
             of the space takes {:.3} ms",
            measured.limit_ms,
            prices.least()
        )));
    }
    Ok(list)
}

fn fits_memory(space: &Space, picks: &[usize], context: &Context) -> bool {
    let Some(limit) = context.request.memory else {
        return true;
    };
    let graph = space.resolve(picks).expect("picks of the space");
    let weights = squeeze_rewrite::fresh(&graph, Seed(0));
    let plan = compile(&graph, &weights, &context.target);
    plan.is_ok_and(|plan| plan.peak_bytes() as u64 <= limit)
}

/// Trains the supernet's choices for `time` each.
///
/// # Errors
/// When training fails.
pub fn try_chosen(
    context: &Context,
    (ready, space): (&Ready, &Space),
    chosen: &Chosen,
    time: Duration,
    bar: &StageBar,
) -> Result<(Vec<Tried>, String)> {
    let mut all = vec![];
    for (number, network) in chosen.networks.iter().enumerate() {
        context.progress.check()?;
        let stage = format!("tried-{number}");
        let graph = drawn(space, &network.picks)?;
        let one = (&*stage, Origin::Supernet, &*network.picks);
        all.extend(try_one(context, ready, (one, &graph), time, bar)?);
    }
    let result = best_line(&all, "the supernet's choices");
    Ok((all, result))
}

/// Trains random networks within the limits for `time` each.
///
/// # Errors
/// When training fails or nothing fits the limits.
pub fn control(
    context: &Context,
    (ready, space): (&Ready, &Space),
    measured: &Measured,
    time: Duration,
    bar: &StageBar,
) -> Result<(Vec<Tried>, String)> {
    let prices = measured.table.prices();
    let seed = Seed(context.request.seed).child("control");
    let mut all: Vec<Tried> = vec![];
    for number in 0..200 * CONTROLS as u64 {
        if all.len() == CONTROLS {
            break;
        }
        let draw = random_within(&prices, measured.limit_ms, seed.child_number(number));
        let Some(picks) = draw else { break };
        if all.iter().any(|tried| tried.picks == picks) || !fits_memory(space, &picks, context) {
            continue;
        }
        context.progress.check()?;
        let stage = format!("tried-random-{number}");
        let graph = drawn(space, &picks)?;
        let one = (&*stage, Origin::Random, &*picks);
        all.extend(try_one(context, ready, (one, &graph), time, bar)?);
    }
    let result = best_line(&all, "random networks");
    Ok((all, result))
}

/// Trains the hand-designed networks that are within the limits for `time` each.
///
/// # Errors
/// When training fails.
pub fn by_hand(
    context: &Context,
    ready: &Ready,
    references: &[Graph],
    time: Duration,
    bar: &StageBar,
) -> Result<(Vec<Tried>, String)> {
    let mut all = vec![];
    for graph in references {
        context.progress.check()?;
        let stage = format!("tried-{}", graph.name());
        let one = (&*stage, Origin::Reference, &[][..]);
        all.extend(try_one(context, ready, (one, graph), time, bar)?);
    }
    let result = best_line(&all, "hand-designed networks");
    Ok((all, result))
}

/// A network of the space, named after its choices.
fn drawn(space: &Space, picks: &[usize]) -> Result<Graph> {
    Ok(space.resolve(picks)?.named(space.genotype(picks)))
}

fn best_line(all: &[Tried], kind: &str) -> String {
    let Some(best) = all.iter().max_by(|a, b| a.accuracy.total_cmp(&b.accuracy)) else {
        return format!("none of the {kind} is within the limits");
    };
    format!(
        "best of {} {kind}: {} {:.1} % on validation after {:.1} epochs, p90 {:.3} ms",
        all.len(),
        best.name,
        100.0 * best.accuracy,
        best.epochs,
        best.timing.p90_ms
    )
}

/// Times and trains one network, or goes on with it in the folder of this stage; nothing of a
/// hand-designed network over the limits.
fn try_one(
    context: &Context,
    ready: &Ready,
    ((stage, origin, picks), graph): ((&str, Origin, &[usize]), &Graph),
    time: Duration,
    bar: &StageBar,
) -> Result<Option<Tried>> {
    if let Some(tried) = context.load(stage)? {
        return Ok(tried);
    }
    let mut subject = Subject::fresh(graph, &context.target)?;
    let peak_bytes = subject.plan().peak_bytes();
    let batch = Timed {
        retries: 1,
        warm_up: 3,
        runs: 10,
        least: Duration::from_millis(100),
    };
    let mut work: Vec<Box<dyn FnMut() + '_>> = vec![Box::new(|| subject.run())];
    let timing = interleaved(&mut work, 3, &batch).swap_remove(0).0;
    let within = context.request.allows(timing.p90_ms, peak_bytes);
    if origin == Origin::Reference && !within {
        context.save(stage, &None::<Tried>)?;
        return Ok(None);
    }
    let config = recipe::training(ready, time.as_secs_f64(), context.request.seed);
    let folder = context.folder.join(stage);
    let Fit {
        accuracy,
        epochs,
        seconds,
        ..
    } = fit(
        &context.progress,
        graph,
        (ready, Start::default()),
        (&config, Some(&folder)),
        bar,
    )?;
    let tried = Some(Tried {
        origin,
        name: graph.name().into(),
        picks: picks.to_vec(),
        accuracy,
        epochs,
        seconds,
        timing,
        peak_bytes,
    });
    context.save(stage, &tried)?;
    // Its checkpoint has served; a folder that stays does no harm.
    let _ = std::fs::remove_dir_all(folder);
    Ok(tried)
}
