//! Trains a supernet: weights and architecture together, on the same batches, the expected cost on
//! the device in the loss (SqueezeNAS; Shaw et al., 2019, after FBNet; Wu et al., 2019).
//!
//! During the warm-up the logits stay even and weights alone are trained: first those of one path
//! through the space, then more and more examples leave it in more and more slots (the largest
//! network first, as Cai et al., 2020, do, would be a path that is often over the limit; ours is of
//! the third quarter in price). Drawn evenly from the start, the choices of a slot learn features
//! that the next slot cannot make sense of, and in some hundred steps little is learned.
//! Most examples keep to the path in most slots to the end. After the warm-up each step moves the
//! logits down the slope of `task loss + multiplier * expected cost / limit`, the multiplier being
//! adapted by [`Multiplier`]. The temperature falls linearly over the search.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use squeeze_data::{Batching, Prepared};
use squeeze_graph::{PriceTable, Space};
use squeeze_tensor::{Seed, Weights};
use squeeze_train::{
    Answers, Engine, Feeds, Loss, Mode, Network, Optimiser, Parameters, Schedule, State, TrainError,
};

use crate::architecture::Architecture;
use crate::limit::Multiplier;

/// How a supernet is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Batches and augmentation.
    pub batching: Batching,
    /// The loss.
    pub loss: Loss,
    /// Optimiser of the weights.
    pub optimiser: Optimiser,
    /// Learning rate of the weights over the steps.
    pub schedule: Schedule,
    /// Share of the steps that train weights alone.
    pub warm_up: f64,
    /// Learning rate of the logits (Adam).
    pub logit_rate: f64,
    /// Temperature at the first and at the last step.
    pub temperature: [f64; 2],
    /// What the expected cost is driven to, in the unit of the prices.
    pub limit: f64,
    /// Seed of weights and samples.
    pub seed: u64,
}

/// One step as the log shows it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Counted from 1.
    pub step: u64,
    /// Steps of the whole search.
    pub of: u64,
    /// Loss of the task.
    pub loss: f64,
    /// Temperature of the samples.
    pub temperature: f64,
    /// Expected cost.
    pub cost: f64,
    /// Weight of the cost in the loss.
    pub multiplier: f64,
    /// 1 while nothing is decided, 0 when everything is.
    pub indecision: f64,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Preferences among the choices.
    pub architecture: Architecture,
    /// Weights of all choices.
    pub weights: Weights,
    /// Steps done.
    pub steps: u64,
    /// Seconds spent.
    pub seconds: f64,
}

/// How long a search goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// This many steps.
    Steps(u64),
    /// Again the steps that a search of [`Length::Time`] planned, to the same bits: the first ones,
    /// which that search timed, follow the same guess.
    Planned(u64),
    /// About this long: the steps are planned from the time of the first ones.
    Time(Duration),
}

/// Steps whose time the plan is made from; the first is slower, so it is left out.
pub const TIMED: u64 = 24;

/// What the first steps take the whole search for, as long as nothing is planned.
const GUESS: u64 = 1000;

/// Trains the supernet of `space`. `tell` is given every step and says whether to go on.
///
/// # Errors
/// When a batch cannot be made or does not fit the space.
pub fn search(
    space: &Space,
    data: &Prepared,
    prices: &PriceTable,
    (config, length): (&Config, Length),
    engine: &Engine,
    tell: &mut dyn FnMut(&Step) -> bool,
) -> Result<Found, TrainError> {
    let seed = Seed(config.seed).child("supernet");
    let mut parameters = Parameters::fresh_space(space, seed.child("weights"))?;
    let network = Network::of_space(space, &parameters)?;
    let mut state = State::new(&config.optimiser, &parameters);
    let mut logits = Logits::new(&network.choices(), config);
    let path = dear_path(prices);
    let mut random = seed.child("gumbel").random();
    let start = Instant::now();
    let mut plan = Plan {
        length,
        start,
        first: start,
        planned: None,
    };
    let output = network.graph().node(network.graph().outputs()[0]);
    let width = output.shape[output.shape.len() - 1];
    let mut slope = vec![];
    let (mut step, mut epoch) = (0, 0);
    'search: loop {
        for batch in data.epoch(&config.batching, epoch) {
            let batch = batch?;
            let total = plan.steps(step);
            if step >= total {
                break 'search;
            }
            let done = step as f64 / total as f64;
            let temperature = config.temperature[0] * (1.0 - done) + config.temperature[1] * done;
            let n = batch.labels.len();
            let drawn_as = plan.drawn_as(step, done);
            let lifted = logits
                .now
                .lifted(&path, path_share(drawn_as, config.warm_up));
            let pairs = if drawn_as < config.warm_up {
                0.0
            } else {
                PAIRS
            };
            let offered = lifted.offered(OFFERED, &mut random);
            let mixture = offered.sample(n, (temperature as f32, pairs), &mut random);
            let mode = Mode::Train(seed.child("dropout").child_number(step));
            let answers = Answers::new(&batch, width);
            let feeds = Feeds::new(network.graph(), batch)?;
            parameters.clear_gradients();
            let feeds = feeds.feeds();
            let tape = engine.forward_space(&network, &mut parameters, &feeds, &mixture, mode)?;
            slope.resize(n * width, 0.0);
            let outputs = (tape.output(), width);
            let loss =
                config
                    .loss
                    .of(engine.cpu(), outputs, answers.targets(), None, &mut slope)?;
            let gradients = engine.backward(&network, &mut parameters, tape, &slope);
            let rate = config.schedule.factor(step, total);
            config
                .optimiser
                .step(engine.cpu(), &mut parameters, &mut state, rate);
            let cost = if done >= config.warm_up {
                let task = logits
                    .now
                    .gradient(&mixture, &gradients.mixture, temperature as f32);
                logits.step(task, prices)
            } else {
                logits.now.expected(prices).0
            };
            step += 1;
            let told = Step {
                step,
                of: total,
                loss: f64::from(loss),
                temperature,
                cost,
                multiplier: logits.multiplier.value,
                indecision: logits.now.indecision(),
            };
            if !tell(&told) {
                break 'search;
            }
        }
        epoch += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Found {
        architecture: logits.now,
        weights: parameters.weights(),
        steps: step,
        seconds,
    })
}

/// Choices that a step offers in each slot; more would each see one or two examples, which is slow
/// and leaves batch norms without statistics.
const OFFERED: usize = 4;

/// Share of the examples that take two choices of a slot, once the warm-up is over; the others take
/// one and tell the logits nothing, in half the time.
const PAIRS: f64 = 0.5;

/// Share of the examples that keep to the path in a slot, once the warm-up is over and while its
/// logits are even.
const ON_PATH: f64 = 0.75;

/// Share of the examples that keep to the path in a slot while the logits are even: all of them at
/// first, [`ON_PATH`] from the end of the warm-up on.
fn path_share(done: f64, warm_up: f64) -> f64 {
    let left = (1.0 - done / warm_up.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
    let odds = ON_PATH / (1.0 - ON_PATH) * (LIFT * left).exp();
    odds / (1.0 + odds)
}

/// Logarithm of the factor by which the odds of the path are higher at first.
const LIFT: f64 = 6.0;

/// In each slot the choice that three quarters of the others are at most as dear as.
fn dear_path(prices: &PriceTable) -> Vec<usize> {
    let of = |prices: &Vec<f64>| {
        let mut order: Vec<usize> = (0..prices.len()).collect();
        order.sort_by(|&a, &b| prices[a].total_cmp(&prices[b]));
        order[(prices.len() - 1) * 3 / 4]
    };
    prices.slots.iter().map(of).collect()
}

/// The plan of a search's steps.
struct Plan {
    length: Length,
    start: Instant,
    first: Instant,
    planned: Option<u64>,
}

impl Plan {
    /// How much of the search a step's choices are drawn as if it were done. The first steps are
    /// drawn by turns as the first and, thrice as often, as the last: later ones are dearer, and
    /// the plan is made from their time.
    fn drawn_as(&self, step: u64, done: f64) -> f64 {
        match self.length {
            Length::Steps(_) => done,
            _ if step >= TIMED => done,
            _ if step.is_multiple_of(4) => 0.0,
            _ => 1.0,
        }
    }

    /// Steps of the whole search as far as is known after `done` steps: a guess while the first ones
    /// are timed, then a plan that is kept.
    fn steps(&mut self, done: u64) -> u64 {
        let time = match self.length {
            Length::Steps(steps) => return steps,
            Length::Planned(_) if done < TIMED => return GUESS,
            Length::Planned(steps) => return steps,
            Length::Time(time) => time,
        };
        if let Some(planned) = self.planned {
            return planned;
        }
        if done == 1 {
            self.first = Instant::now();
        }
        if done < TIMED {
            return GUESS;
        }
        let mean = self.first.elapsed().as_secs_f64() / (done - 1) as f64;
        let left = time.saturating_sub(self.start.elapsed()).as_secs_f64();
        *self.planned.insert(done + (left / mean.max(1e-9)) as u64)
    }
}

/// The logits with their optimiser (Adam without weight decay) and the cost's multiplier.
struct Logits {
    now: Architecture,
    rate: f64,
    moments: Vec<Vec<[f64; 2]>>,
    steps: i32,
    multiplier: Multiplier,
}

impl Logits {
    fn new(choices: &[usize], config: &Config) -> Self {
        Self {
            now: Architecture::even(choices),
            rate: config.logit_rate,
            moments: choices.iter().map(|&count| vec![[0.0; 2]; count]).collect(),
            steps: 0,
            multiplier: Multiplier::new(config.limit, ADAPTATION),
        }
    }

    /// One step down the slope of the task and the weighted cost; gives the expected cost before.
    fn step(&mut self, task: Vec<Vec<f64>>, prices: &PriceTable) -> f64 {
        const BETAS: [f64; 2] = [0.5, 0.999];
        let (cost, slope) = self.now.expected(prices);
        self.multiplier.adapt(cost);
        self.steps += 1;
        let corrections = BETAS.map(|beta| 1.0 - beta.powi(self.steps));
        let scale = self.multiplier.scale();
        for (slot, logits) in self.now.logits.iter_mut().enumerate() {
            for (choice, logit) in logits.iter_mut().enumerate() {
                let gradient = task[slot][choice] + scale * slope[slot][choice];
                let [mean, square] = &mut self.moments[slot][choice];
                *mean += (1.0 - BETAS[0]) * (gradient - *mean);
                *square += (1.0 - BETAS[1]) * (gradient * gradient - *square);
                let spread = (*square / corrections[1]).sqrt() + 1e-8;
                *logit -= (self.rate * *mean / corrections[0] / spread) as f32;
            }
        }
        cost
    }
}

/// Steps in which the multiplier grows by 1 at twice the limit.
const ADAPTATION: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_left_little_by_little() {
        assert!(path_share(0.0, 0.4) > 0.999);
        assert!(path_share(0.2, 0.4) < path_share(0.1, 0.4));
        assert!((path_share(0.4, 0.4) - ON_PATH).abs() < 1e-12);
        assert!((path_share(1.0, 0.0) - ON_PATH).abs() < 1e-12);
    }

    #[test]
    fn the_path_is_dear_but_not_the_dearest() {
        let prices = PriceTable {
            fixed: 0.0,
            slots: vec![vec![5.0, 1.0, 9.0, 3.0, 7.0], vec![1.0]],
        };
        assert_eq!(dear_path(&prices), [4, 0]);
    }
}
