//! Times a piece of work, alone or in interleaved rounds against others.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::interference::Watch;

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Runs that are not counted, first.
    pub warm_up: usize,
    /// Least number of counted runs.
    pub runs: usize,
    /// Least time of the counted runs together.
    pub least: Duration,
    /// Times that a batch disturbed by other processes is repeated before it is taken and marked.
    pub retries: usize,
}

impl Budget {
    /// At least 50 runs and one second.
    pub const DEFAULT: Self = Self {
        warm_up: 5,
        runs: 50,
        least: Duration::from_secs(1),
        retries: 4,
    };

    /// At least 1,024 runs and one minute, as MLPerf Mobile asks for.
    pub const THOROUGH: Self = Self {
        warm_up: 20,
        runs: 1024,
        least: Duration::from_secs(60),
        retries: 4,
    };
}

/// What was measured, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Counted runs.
    pub runs: usize,
    /// The quickest run.
    pub min_ms: f64,
    /// Quarter of the runs are quicker.
    pub p25_ms: f64,
    /// Half of the runs are quicker.
    pub p50_ms: f64,
    /// Three quarters of the runs are quicker.
    pub p75_ms: f64,
    /// Nine in ten runs are quicker.
    pub p90_ms: f64,
    /// All but one in a hundred runs are quicker.
    pub p99_ms: f64,
    /// 95 % confidence interval of the median, from order statistics.
    pub ci95_ms: [f64; 2],
    /// Largest share of one core that other processes used meanwhile; `None` where the system
    /// does not tell.
    pub others: Option<f64>,
}

/// How many times the time of another one takes, from rounds side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Median of the rounds.
    pub median: f64,
    /// First and third quartile of the rounds.
    pub quartiles: [f64; 2],
}

impl Ratio {
    /// Whether the quartiles hold 1, so that the difference is within the noise.
    pub fn within_noise(&self) -> bool {
        (self.quartiles[0]..=self.quartiles[1]).contains(&1.0)
    }
}

/// Share of one core that others may use before a batch is repeated.
pub(crate) const QUIET: f64 = 0.08;

impl Timing {
    /// Sums up single runs.
    ///
    /// # Panics
    /// When there are none.
    pub fn from_runs(mut runs: Vec<Duration>, others: Option<f64>) -> Self {
        assert!(!runs.is_empty(), "nothing was measured");
        runs.sort_unstable();
        let at = |index: usize| runs[index.min(runs.len() - 1)].as_secs_f64() * 1e3;
        let n = runs.len() as f64;
        // Nearest rank: the smallest run that this share of the runs does not exceed.
        let quantile = |share: f64| at((share * n).ceil().max(1.0) as usize - 1);
        let half_width = 0.98 * n.sqrt();
        let low = (n / 2.0 - half_width).floor().max(0.0) as usize;
        let high = (n / 2.0 + half_width).ceil() as usize;
        Self {
            runs: runs.len(),
            min_ms: at(0),
            p25_ms: quantile(0.25),
            p50_ms: quantile(0.5),
            p75_ms: quantile(0.75),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            ci95_ms: [at(low), at(high)],
            others,
        }
    }
}

/// Times `work` alone. Batches during which other processes used the cores are repeated.
pub fn time(mut work: impl FnMut(), budget: &Budget) -> Timing {
    (0..budget.warm_up).for_each(|_| work());
    let mut runs = vec![];
    let mut others: Option<f64> = None;
    let start = Instant::now();
    let mut spent = Duration::ZERO;
    let give_up = budget.least * 4 + Duration::from_secs(1);
    while runs.len() < budget.runs || spent < budget.least {
        let last_try = start.elapsed() > give_up;
        let retries = if last_try { 0 } else { budget.retries };
        let batch = Batch::run(&mut || (), &mut work, budget, retries);
        spent += batch.runs.iter().sum::<Duration>();
        others = larger(others, batch.others);
        runs.extend(batch.runs);
    }
    Timing::from_runs(runs, others)
}

/// Times several pieces of work in rounds, each in turn in every round, so that a slow moment of
/// the machine meets all of them; gives each one's timing and its ratio to the first.
pub fn interleaved(
    work: &mut [Box<dyn FnMut() + '_>],
    rounds: usize,
    batch: &Budget,
) -> Vec<(Timing, Ratio)> {
    interleaved_after(&mut || (), work, rounds, batch)
}

/// The same with something before each run that is not timed, such as other work that takes the caches.
pub fn interleaved_after(
    before: &mut dyn FnMut(),
    work: &mut [Box<dyn FnMut() + '_>],
    rounds: usize,
    batch: &Budget,
) -> Vec<(Timing, Ratio)> {
    for work in work.iter_mut() {
        (0..batch.warm_up).for_each(|_| work());
    }
    let mut runs: Vec<Vec<Duration>> = vec![vec![]; work.len()];
    let mut medians: Vec<Vec<f64>> = vec![vec![]; work.len()];
    let mut others = vec![None; work.len()];
    for round in 0..rounds.max(1) {
        for turn in 0..work.len() {
            // Every round begins with another one.
            let at = (turn + round) % work.len();
            let mut batch = Batch::run(before, &mut work[at], batch, batch.retries);
            batch.runs.sort_unstable();
            medians[at].push(batch.runs[batch.runs.len() / 2].as_secs_f64());
            runs[at].append(&mut batch.runs);
            others[at] = larger(others[at], batch.others);
        }
    }
    let ratio = |at: usize| {
        let mut ratios: Vec<f64> = medians[at]
            .iter()
            .zip(&medians[0])
            .map(|(own, first)| own / first)
            .collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let quantile = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
        Ratio {
            median: quantile(0.5),
            quartiles: [quantile(0.25), quantile(0.75)],
        }
    };
    let ratios: Vec<Ratio> = (0..work.len()).map(ratio).collect();
    let timings = runs
        .into_iter()
        .zip(others)
        .map(|(runs, others)| Timing::from_runs(runs, others));
    timings.zip(ratios).collect()
}

struct Batch {
    runs: Vec<Duration>,
    others: Option<f64>,
}

impl Batch {
    /// Runs for about 100 ms (at most the budget), again when it was disturbed.
    fn run(
        before: &mut dyn FnMut(),
        work: &mut impl FnMut(),
        budget: &Budget,
        retries: usize,
    ) -> Self {
        let least = budget.least.min(Duration::from_millis(100));
        let mut quietest: Option<Self> = None;
        for _ in 0..=retries {
            let watch = Watch::start();
            let start = Instant::now();
            let mut runs = vec![];
            while runs.len() < budget.runs.min(3) || start.elapsed() < least {
                before();
                let start = Instant::now();
                work();
                runs.push(start.elapsed());
            }
            let batch = Self {
                runs,
                others: watch.others(),
            };
            let quiet = batch.others.is_none_or(|others| others <= QUIET);
            if quietest
                .as_ref()
                .is_none_or(|best| batch.others < best.others)
            {
                quietest = Some(batch);
            }
            if quiet {
                break;
            }
        }
        quietest.expect("at least one try")
    }
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let runs = (1..=100).rev().map(Duration::from_millis).collect();
        let timing = Timing::from_runs(runs, None);
        assert_eq!((timing.min_ms, timing.p50_ms), (1.0, 50.0));
        assert_eq!((timing.p90_ms, timing.p99_ms), (90.0, 99.0));
        assert!(timing.ci95_ms[0] < 50.0 && timing.ci95_ms[1] > 50.0);
    }

    #[test]
    fn more_work_takes_longer() {
        let spin = |micros| {
            move || {
                let start = Instant::now();
                while start.elapsed() < Duration::from_micros(micros) {}
            }
        };
        let budget = Budget {
            retries: 0,
            warm_up: 1,
            runs: 5,
            least: Duration::from_millis(10),
        };
        let mut work: Vec<Box<dyn FnMut()>> = vec![Box::new(spin(200)), Box::new(spin(800))];
        let timed = interleaved(&mut work, 5, &budget);
        // A spin never ends early, so the second's median is at least 800 us.
        assert!(timed[1].0.min_ms >= 0.8 && timed[0].0.min_ms >= 0.2);
        assert!(timed[1].1.median > 1.0);
        assert_eq!(timed[0].1.median, 1.0);
    }

    #[test]
    fn what_comes_before_a_run_is_not_timed() {
        let (before, runs) = (Cell::new(0), Cell::new(0));
        let mut wait = || {
            before.set(before.get() + 1);
            std::thread::sleep(Duration::from_millis(20));
        };
        let budget = Budget {
            retries: 0,
            warm_up: 0,
            runs: 2,
            least: Duration::ZERO,
        };
        let mut work: Vec<Box<dyn FnMut()>> = vec![Box::new(|| runs.set(runs.get() + 1))];
        let timed = interleaved_after(&mut wait, &mut work, 3, &budget);
        assert!(timed[0].0.min_ms < 20.0, "{:?}", timed[0].0);
        drop(work);
        assert_eq!((before.get(), runs.get()), (6, 6));
    }
}
