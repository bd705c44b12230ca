//! Optimisers over the flat buffer of weights: SGD with momentum, AdamW, LAMB; clipping; averages.

use serde::{Deserialize, Serialize};
use squeeze_graph::Role;
use squeeze_kernels::Cpu;
use squeeze_kernels::optimizer::{self, Adam, Look, Moments, Sgd};

use crate::Parameters;
use crate::parameters::Entry;

/// How weights follow their gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimiser {
    /// The rule.
    pub rule: Rule,
    /// The full learning rate; a schedule gives the share of it.
    pub rate: f64,
    /// Weight decay of weights; biases and norms have none.
    pub decay: f64,
    /// Largest norm of the gradient; longer ones are scaled down. 0 leaves them.
    pub clip: f64,
}

/// The rule of an optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Gradient descent with momentum, as PyTorch's `SGD`.
    Sgd {
        /// What is kept of the velocity.
        momentum: f64,
        /// Whether to look ahead (Nesterov, 1983).
        nesterov: bool,
    },
    /// Adam with decoupled decay (Loshchilov and Hutter, 2019).
    AdamW {
        /// What is kept of the first and second moment.
        betas: [f64; 2],
        /// Added to the root of the second moment.
        epsilon: f64,
    },
    /// AdamW with one trust ratio a tensor (You et al., 2020).
    Lamb {
        /// What is kept of the first and second moment.
        betas: [f64; 2],
        /// Added to the root of the second moment.
        epsilon: f64,
    },
}

impl Rule {
    /// AdamW with PyTorch's settings.
    pub const ADAMW: Self = Self::AdamW {
        betas: [0.9, 0.999],
        epsilon: 1e-8,
    };
    /// Momentum 0.9 with look-ahead.
    pub const SGD: Self = Self::Sgd {
        momentum: 0.9,
        nesterov: true,
    };
    /// LAMB as published.
    pub const LAMB: Self = Self::Lamb {
        betas: [0.9, 0.999],
        epsilon: 1e-6,
    };

    /// How many buffers like the weights it remembers.
    fn buffers(self) -> usize {
        match self {
            Self::Sgd { .. } => 1,
            Self::AdamW { .. } | Self::Lamb { .. } => 2,
        }
    }
}

impl Default for Optimiser {
    fn default() -> Self {
        Self {
            rule: Rule::ADAMW,
            rate: 1e-3,
            decay: 0.01,
            clip: 1.0,
        }
    }
}

/// What an optimiser remembers from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Steps that were made.
    pub steps: u32,
    /// Velocity, or first and second moments.
    pub buffers: Vec<Vec<f32>>,
    scratch: Vec<f32>,
}

impl State {
    /// A fresh start.
    pub fn new(optimiser: &Optimiser, parameters: &Parameters) -> Self {
        let zeros = || vec![0.0; parameters.values.len()];
        Self {
            steps: 0,
            buffers: (0..optimiser.rule.buffers()).map(|_| zeros()).collect(),
            scratch: vec![],
        }
    }
}

impl Optimiser {
    /// One step at `factor` of the full rate; gives the gradient's norm before clipping.
    pub fn step(
        &self,
        cpu: Cpu,
        parameters: &mut Parameters,
        state: &mut State,
        factor: f64,
    ) -> f32 {
        state.steps += 1;
        let norm = if self.clip > 0.0 {
            optimizer::clip(cpu, self.clip as f32, &mut parameters.gradients)
        } else {
            optimizer::norm_squared(cpu, &parameters.gradients).sqrt() as f32
        };
        let rate = (self.rate * factor) as f32;
        let layout = parameters.layout().clone();
        let whole: Vec<&Entry> = layout.trained().collect();
        match self.rule {
            Rule::Sgd { momentum, nesterov } => {
                for (range, decay) in runs(&whole, self.decay as f32) {
                    let sgd = Sgd {
                        rate,
                        momentum: momentum as f32,
                        look: if nesterov { Look::Ahead } else { Look::Here },
                        decay,
                    };
                    let gradient = &parameters.gradients[range.clone()];
                    let weights = &mut parameters.values[range.clone()];
                    let velocity = &mut state.buffers[0][range];
                    optimizer::sgd(cpu, &sgd, gradient, weights, velocity);
                }
            }
            Rule::AdamW { betas, epsilon } => {
                for (range, decay) in runs(&whole, self.decay as f32) {
                    let adam = adam(rate, betas, epsilon, state.steps).with_decay(decay);
                    let gradient = &parameters.gradients[range.clone()];
                    let weights = &mut parameters.values[range.clone()];
                    let moments = moments(&mut state.buffers, range);
                    optimizer::adamw(cpu, &adam, gradient, weights, moments);
                }
            }
            Rule::Lamb { betas, epsilon } => {
                for entry in whole {
                    let range = entry.range.clone();
                    let decay = decay_of(entry, self.decay as f32);
                    let adam = adam(rate, betas, epsilon, state.steps).with_decay(decay);
                    state
                        .scratch
                        .resize(range.len().max(state.scratch.len()), 0.0);
                    let gradient = &parameters.gradients[range.clone()];
                    let weights = &mut parameters.values[range.clone()];
                    let step = &mut state.scratch[..range.len()];
                    let moments = moments(&mut state.buffers, range);
                    optimizer::lamb(cpu, &adam, gradient, weights, moments, step);
                }
            }
        }
        norm
    }

    /// What makes no sense, if anything.
    pub(crate) fn wrong(&self) -> Option<String> {
        let named = [
            ("rate", self.rate),
            ("decay", self.decay),
            ("clip", self.clip),
        ];
        let wrong = named
            .iter()
            .find(|(_, value)| !(value.is_finite() && *value >= 0.0));
        wrong.map(|(name, value)| format!("{name} = {value}: a number, not below 0"))
    }
}

fn decay_of(entry: &Entry, decay: f32) -> f32 {
    match entry.role {
        Role::Weight => decay,
        Role::Offset | Role::Statistic => 0.0,
    }
}

/// Ranges of neighbouring weights with one decay, so that small weights do not cost a call each.
fn runs(entries: &[&Entry], decay: f32) -> Vec<(std::ops::Range<usize>, f32)> {
    let mut runs: Vec<(std::ops::Range<usize>, f32)> = vec![];
    for entry in entries {
        let decay = decay_of(entry, decay);
        match runs.last_mut() {
            Some((range, last)) if *last == decay => range.end = entry.range.end,
            _ => runs.push((entry.range.clone(), decay)),
        }
    }
    runs
}

struct Bare(Adam);

impl Bare {
    fn with_decay(self, decay: f32) -> Adam {
        Adam { decay, ..self.0 }
    }
}

fn adam(rate: f32, betas: [f64; 2], epsilon: f64, step: u32) -> Bare {
    Bare(Adam {
        rate,
        betas: betas.map(|beta| beta as f32),
        eps: epsilon as f32,
        decay: 0.0,
        step,
    })
}

fn moments(buffers: &mut [Vec<f32>], range: std::ops::Range<usize>) -> Moments<'_> {
    let [first, second] = buffers else {
        unreachable!("the state was made for this rule");
    };
    Moments {
        first: &mut first[range.clone()],
        second: &mut second[range],
    }
}

/// A moving average of weights and statistics, which often generalises better than the last ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Average {
    decay: f32,
    steps: u32,
    /// Averages of the trained weights.
    pub values: Vec<f32>,
    /// Averages of the statistics.
    pub statistics: Vec<f32>,
}

impl Average {
    /// Starts from the weights as they are.
    pub fn new(decay: f32, parameters: &Parameters) -> Self {
        Self {
            decay,
            steps: 0,
            values: parameters.values.clone(),
            statistics: parameters.statistics.clone(),
        }
    }

    /// Steps that were made.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Goes on from a checkpoint.
    pub(crate) fn set_steps(&mut self, steps: u32) {
        self.steps = steps;
    }

    /// Moves towards the weights. Early steps count more, so that the start is forgotten: the
    /// decay is at most `(1 + steps) / (10 + steps)`.
    pub fn step(&mut self, cpu: Cpu, parameters: &Parameters) {
        let steps = self.steps as f32;
        self.steps += 1;
        let decay = self.decay.min((1.0 + steps) / (10.0 + steps));
        optimizer::moving_average(cpu, decay, &parameters.values, &mut self.values);
        optimizer::moving_average(cpu, decay, &parameters.statistics, &mut self.statistics);
    }

    /// Puts the averages in the place of the weights, and the weights in theirs.
    pub fn swap(&mut self, parameters: &mut Parameters) {
        std::mem::swap(&mut self.values, &mut parameters.values);
        std::mem::swap(&mut self.statistics, &mut parameters.statistics);
    }
}
