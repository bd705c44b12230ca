//! What families of kernels take on this machine, and the prices by which the compiler picks the quickest.

mod contest;
mod fit;
mod shape;

use std::hint::black_box;
use std::time::{Duration, Instant};

use squeeze_infer::{CompileError, Family, LayerFacts, Prices, Target};

use crate::interference::Watch;
use crate::profile::ProfileError;
use crate::subject::Subject;
use crate::timing::{Budget, QUIET, Timing, interleaved_after};
use contest::{CONTESTS, Contest};
use fit::{Case, Timed, fit};
use shape::{Shape, Zeros};

/// What was measured, and the prices that follow.
#[derive(Clone, Debug)]
pub struct Kernels {
    /// By which the least time is lost.
    pub prices: Prices,
    /// Every layer in every way.
    pub lines: Vec<Line>,
}

/// A layer in every way that computes it.
#[derive(Clone, Debug)]
pub struct Line {
    /// Name of the choice.
    pub choice: &'static str,
    /// The layer.
    pub layer: String,
    /// Each way's name and time.
    pub ways: Vec<(&'static str, Timing)>,
    /// What is lost with each against the quickest: a share of its time, and nothing where their quartiles overlap.
    pub losses: Vec<f64>,
    /// Which way the prices take that are built in.
    pub built_in: usize,
    /// Which way the measured prices take.
    pub fitted: usize,
    /// Share of one core that other processes used meanwhile; `None` where the system does not tell.
    pub others: Option<f64>,
}

/// What is read between two runs, so that weights and activations are as cold as in a network: as many weights as so many layers of
/// the same size have, and at least more than a second cache holds.
const LAYERS: usize = 16;
const LEAST_BETWEEN: usize = 2 << 20;
const MOST_BETWEEN: usize = 64 << 20;

/// Three runs at a time; rounds of them are interleaved, a few at least.
const RUNS: Budget = Budget {
    warm_up: 1,
    runs: 3,
    least: Duration::ZERO,
    retries: 0,
};
const FEWEST_ROUNDS: usize = 3;
const MOST_ROUNDS: usize = 40;

/// Measures every choice between families in about `time`, each on layers of published networks in interleaved rounds with cold caches,
/// and fits the prices, beginning with those built in. `progress` is told what is measured, how many layers are done and of how
/// many, and says whether to go on.
///
/// # Errors
/// When a layer cannot be compiled, or `progress` says no.
pub fn measure_kernels(
    threads: usize,
    time: Duration,
    mut progress: impl FnMut(&str, usize, usize) -> bool,
) -> Result<Kernels, ProfileError> {
    let begun = Instant::now();
    let mut target = Target::here(threads);
    let all: usize = CONTESTS.iter().map(|contest| layers(contest).count()).sum();
    let (mut done, mut lines) = (0, vec![]);
    for contest in CONTESTS {
        target = target.with_precision(contest.precision);
        let mut cases = vec![];
        for layer in layers(contest) {
            let (shape, zeros) = layer;
            if !progress(&format!("{}: {shape}{zeros}", contest.name), done, all) {
                return Err(ProfileError::Stopped);
            }
            let left = time.saturating_sub(begun.elapsed());
            let share = left.div_f64((all - done) as f64);
            cases.extend(measure(contest, layer, &target, share)?);
            done += 1;
        }
        let fitted = target.with_prices(fit(contest, &cases, &target));
        lines.extend(cases.iter().map(|case| {
            Line {
                choice: contest.name,
                layer: case.layer.clone(),
                ways: case
                    .ways
                    .iter()
                    .map(|way| (way.name, way.timing.clone()))
                    .collect(),
                losses: (0..case.ways.len()).map(|way| case.loss(way)).collect(),
                built_in: case.pick(&target),
                fitted: case.pick(&fitted),
                others: case.others,
            }
        }));
        target = fitted;
    }
    let prices = target.prices;
    Ok(Kernels { prices, lines })
}

fn layers(contest: &Contest) -> impl Iterator<Item = (Shape, Zeros)> {
    let shapes = contest.shapes.iter().copied().flatten();
    shapes.flat_map(|&shape| contest.zeros.iter().map(move |&zeros| (shape, zeros)))
}

/// Times a layer in every way; `None` where there is only one.
fn measure(
    contest: &Contest,
    (shape, zeros): (Shape, Zeros),
    target: &Target,
    time: Duration,
) -> Result<Option<Case>, ProfileError> {
    let begun = Instant::now();
    let layer = format!("{shape}{zeros}");
    let problem = |error: CompileError| ProfileError::Block {
        what: layer.clone(),
        reason: error.to_string(),
    };
    let (graph, weights) = shape.network(zeros);
    let facts = LayerFacts::of_network(&graph, &weights).map_err(problem)?;
    let mut ways: Vec<(&str, Family, Target)> = vec![];
    for &(name, force) in contest.ways {
        let mut prices = target.prices;
        force(&mut prices, contest.precision);
        let target = target.with_prices(prices);
        let family = facts.family(&target);
        if !ways.iter().any(|(_, other, _)| *other == family) {
            ways.push((name, family, target));
        }
    }
    if ways.len() < 2 {
        return Ok(None);
    }
    let subjects = ways
        .iter()
        .map(|(_, _, target)| Subject::new(&graph, &weights, target));
    let mut subjects: Vec<Subject> = subjects.collect::<Result<_, _>>().map_err(problem)?;
    let between = (LAYERS * weights.bytes()).clamp(LEAST_BETWEEN, MOST_BETWEEN);
    let time = time.saturating_sub(begun.elapsed());
    let (timings, others) = time_each(&mut subjects, between, time);
    let ways = ways.into_iter().zip(timings);
    let ways = ways.map(|((name, family, _), timing)| Timed {
        name,
        family,
        timing,
    });
    Ok(Some(Case {
        facts,
        ways: ways.collect(),
        others,
        layer,
    }))
}

/// Times each in interleaved rounds, with so many bytes read before every run; again if other processes disturbed them.
fn time_each(
    subjects: &mut [Subject],
    between: usize,
    time: Duration,
) -> (Vec<Timing>, Option<f64>) {
    let walked = vec![1u8; between];
    let mut walk = || {
        let lines = walked.iter().step_by(64);
        black_box(lines.map(|&byte| u64::from(byte)).sum::<u64>());
    };
    let start = Instant::now();
    for subject in subjects.iter_mut() {
        walk();
        subject.run();
        walk();
        subject.run();
    }
    let run = start.elapsed().as_secs_f64() / 2.0;
    let rounds = (time.as_secs_f64() / (RUNS.runs as f64 * run)) as usize;
    let rounds = rounds.clamp(FEWEST_ROUNDS, MOST_ROUNDS);
    let mut once = || {
        let watch = Watch::start();
        let mut work: Vec<Box<dyn FnMut() + '_>> = vec![];
        for subject in subjects.iter_mut() {
            work.push(Box::new(|| subject.run()));
        }
        let timed = interleaved_after(&mut walk, &mut work, rounds, &RUNS);
        let timings: Vec<Timing> = timed.into_iter().map(|(timing, _)| timing).collect();
        (timings, watch.others())
    };
    let first = once();
    if first.1.is_none_or(|others| others <= QUIET) {
        return first;
    }
    let second = once();
    match second.1 < first.1 {
        true => second,
        false => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plan of each way has another kernel, so that what is timed is what its name says.
    #[test]
    fn ways_are_plans_with_other_kernels() {
        let mut seen = 0;
        for contest in CONTESTS {
            let target = Target::here(1).with_precision(contest.precision);
            let (shape, zeros) = layers(contest).last().expect("it has layers");
            let (graph, weights) = shape.network(zeros);
            let facts = LayerFacts::of_network(&graph, &weights).expect("it compiles");
            let mut kernels = vec![];
            let mut families = vec![];
            for (_, force) in contest.ways {
                let mut prices = target.prices;
                force(&mut prices, contest.precision);
                let target = target.with_prices(prices);
                let subject = Subject::new(&graph, &weights, &target).expect("it compiles");
                let family = facts.family(&target);
                if !families.contains(&family) {
                    families.push(family);
                    let names = subject.plan().steps().map(|step| step.kernel.to_owned());
                    kernels.push(names.collect::<Vec<_>>());
                }
            }
            seen += usize::from(families.len() > 1);
            let name = contest.name;
            kernels.sort();
            kernels.dedup();
            assert_eq!(kernels.len(), families.len(), "{name}: {kernels:?}");
            assert!(
                kernels.iter().all(|steps| steps.len() == 1),
                "{name}: {kernels:?}"
            );
        }
        // Bytes and zeros are a choice on every machine.
        assert!(seen >= 4, "{seen} choices");
    }

    #[test]
    fn it_stops_when_it_is_told_to() {
        let mut told = vec![];
        let stopped = measure_kernels(1, Duration::from_millis(1), |what, done, all| {
            told.push((what.to_owned(), done));
            all < done
        });
        assert!(matches!(stopped, Err(ProfileError::Stopped)));
        assert_eq!(told, [("winograd: 56 x 64 -> 64, 3 x 3".to_owned(), 0)]);
    }
}
