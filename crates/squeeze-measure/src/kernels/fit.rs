//! Prices by which the least time is lost.

use squeeze_infer::{Family, LayerFacts, Prices, Target};
use squeeze_tensor::Seed;

use super::contest::Contest;
use crate::timing::Timing;

/// A layer that was timed in every way.
pub(super) struct Case {
    pub layer: String,
    pub facts: LayerFacts,
    pub ways: Vec<Timed>,
    /// Share of one core that other processes used meanwhile.
    pub others: Option<f64>,
}

/// One of the ways.
pub(super) struct Timed {
    pub name: &'static str,
    pub family: Family,
    pub timing: Timing,
}

impl Case {
    /// The way that prices take.
    pub fn pick(&self, target: &Target) -> usize {
        let family = self.facts.family(target);
        let picked = self.ways.iter().position(|way| way.family == family);
        picked.expect("every way was timed that prices of its own can take")
    }

    /// What is lost with a way against the quickest, as a share of its time; nothing where their quartiles overlap.
    pub fn loss(&self, way: usize) -> f64 {
        let timings = self.ways.iter().map(|way| &way.timing);
        let best = timings.min_by(|a, b| a.p50_ms.total_cmp(&b.p50_ms));
        let best = best.expect("there are two ways at least");
        let own = &self.ways[way].timing;
        match own.p25_ms <= best.p75_ms {
            true => 0.0,
            false => own.p50_ms / best.p50_ms - 1.0,
        }
    }
}

/// Steps of a factor.
const STEPS: [f64; 10] = [0.93, 1.08, 0.85, 1.18, 0.7, 1.4, 0.5, 2.0, 0.25, 4.0];

/// What the mean loss must fall by for each price that changes: less is chance.
const BETTER: f64 = 0.002;

/// Searches that begin elsewhere than at the target's prices, since each ends where no single price saves more.
const STARTS: usize = 40;

/// The prices of a contest by which the least time is lost: the target's times factors, of which few are not one.
pub(super) fn fit(contest: &Contest, cases: &[Case], target: &Target) -> Prices {
    let search = Search {
        contest,
        cases,
        target,
    };
    let mut best = search.descend(vec![1.0; contest.knobs.len()]);
    let mut random = Seed(3).random();
    for _ in 0..STARTS {
        let factor = |_| f64::from(random.normal() / 2.0).exp();
        let found = search.descend((0..contest.knobs.len()).map(factor).collect());
        if search.score(&found) < search.score(&best) {
            best = found;
        }
    }
    search.prices(&best)
}

struct Search<'a> {
    contest: &'a Contest,
    cases: &'a [Case],
    target: &'a Target,
}

impl Search<'_> {
    fn prices(&self, factors: &[f64]) -> Prices {
        let mut prices = self.target.prices;
        for (knob, &by) in self.contest.knobs.iter().zip(factors) {
            if by != 1.0 {
                knob(&mut prices, self.contest.precision, by);
            }
        }
        prices
    }

    /// What is lost in the mean.
    fn loss(&self, factors: &[f64]) -> f64 {
        let target = self.target.with_prices(self.prices(factors));
        let losses = self.cases.iter().map(|case| case.loss(case.pick(&target)));
        losses.sum::<f64>() / self.cases.len().max(1) as f64
    }

    /// The loss, and what the factors must save.
    fn score(&self, factors: &[f64]) -> f64 {
        let changed = factors.iter().filter(|&&by| by != 1.0).count();
        self.loss(factors) + BETTER * changed as f64
    }

    /// Changes one factor at a time, always the one that saves most, until none saves anything; then lets go of those that save too
    /// little.
    fn descend(&self, mut factors: Vec<f64>) -> Vec<f64> {
        let mut least = self.loss(&factors);
        loop {
            let mut better = None;
            for at in 0..factors.len() {
                for by in STEPS {
                    let before = factors[at];
                    factors[at] = before * by;
                    let loss = self.loss(&factors);
                    if loss < least {
                        (better, least) = (Some((at, factors[at])), loss);
                    }
                    factors[at] = before;
                }
            }
            match better {
                Some((at, factor)) => factors[at] = factor,
                None => break,
            }
        }
        for at in 0..factors.len() {
            let before = std::mem::replace(&mut factors[at], 1.0);
            let loss = self.loss(&factors);
            match loss < least + BETTER {
                true => least = loss,
                false => factors[at] = before,
            }
        }
        factors
    }
}

#[cfg(test)]
mod tests {
    use super::super::contest::CONTESTS;
    use super::super::layers;
    use super::*;

    /// Layers of a contest, timed so that the way of this number is quickest wherever `wins` says so, and all others take twice as long.
    fn cases(contest: &Contest, target: &Target, wins: impl Fn(usize, usize) -> bool) -> Vec<Case> {
        let mut cases = vec![];
        for (number, (shape, zeros)) in layers(contest).enumerate() {
            let (graph, weights) = shape.network(zeros);
            let facts = LayerFacts::of_network(&graph, &weights).expect("it compiles");
            let ways = contest
                .ways
                .iter()
                .enumerate()
                .map(|(way, &(name, force))| {
                    let mut prices = target.prices;
                    force(&mut prices, contest.precision);
                    let micros = if wins(number, way) { 100 } else { 200 };
                    let runs = vec![std::time::Duration::from_micros(micros)];
                    Timed {
                        name,
                        family: facts.family(&target.with_prices(prices)),
                        timing: Timing::from_runs(runs, None),
                    }
                });
            let ways: Vec<Timed> = ways.collect();
            if ways[0].family != ways[1].family {
                cases.push(Case {
                    layer: shape.to_string(),
                    facts,
                    ways,
                    others: None,
                });
            }
        }
        cases
    }

    /// Fits the prices of products without zeros, which are a choice on every machine; much is lost by those that are built in.
    #[track_caller]
    fn check(wins: impl Fn(usize, usize) -> bool) {
        let contest = CONTESTS.iter().find(|contest| contest.name == "sparse-f32");
        let contest = contest.expect("a known name");
        let target = Target::here(1).with_precision(contest.precision);
        let cases = cases(contest, &target, wins);
        assert!(cases.len() > 10);
        let loss = |target: &Target| {
            let losses = cases.iter().map(|case| case.loss(case.pick(target)));
            losses.sum::<f64>() / cases.len() as f64
        };
        assert!(loss(&target) > 0.1);
        let fitted = target.with_prices(fit(contest, &cases, &target));
        assert_eq!(loss(&fitted), 0.0);
    }

    #[test]
    fn dense_is_always_quickest() {
        check(|_, way| way == 0);
    }

    #[test]
    fn blocks_of_four_are_always_quickest() {
        check(|_, way| way == 2);
    }

    #[test]
    fn what_gains_nothing_stays_as_it_is() {
        let contest = &CONTESTS[0];
        let target = Target::here(1);
        let cases = cases(contest, &target, |_, _| true);
        if cases.is_empty() {
            return println!("skipped: there is no such choice here");
        }
        assert_eq!(fit(contest, &cases, &target), target.prices);
    }

    #[test]
    fn differences_within_the_spread_are_none() {
        let timing = |micros: [u64; 3]| {
            let runs = micros.map(std::time::Duration::from_micros);
            Timing::from_runs(runs.to_vec(), None)
        };
        let contest = CONTESTS.iter().find(|contest| contest.name == "sparse-f32");
        let target = Target::here(1);
        let mut case = cases(contest.expect("a known name"), &target, |_, way| way == 0).remove(0);
        assert_eq!((case.loss(0), case.loss(1)), (0.0, 1.0));
        case.ways[0].timing = timing([90, 100, 110]);
        case.ways[1].timing = timing([109, 120, 130]);
        assert_eq!(case.loss(1), 0.0);
        case.ways[1].timing = timing([111, 120, 130]);
        assert!((case.loss(1) - 0.2).abs() < 1e-9);
    }
}
