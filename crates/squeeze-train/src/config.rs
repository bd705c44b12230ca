//! The recipe of a training run.

use serde::{Deserialize, Serialize};
use squeeze_data::Batching;

use crate::{Loss, Optimiser, Schedule, TrainError};

/// How a network is trained: a table of a recipe, in TOML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Passes over the training split, at most; parts count.
    pub epochs: f64,
    /// Wall time in seconds that the run plans its steps for, validation included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Where all random numbers come from.
    pub seed: u64,
    /// Validations without a better result after which the run ends; 0 never ends it.
    pub patience: usize,
    /// What a moving average of the weights keeps from step to step; 0 for no average.
    pub average: f32,
    /// How the data is cut into batches and changed.
    pub batching: Batching,
    /// How weights follow their gradients.
    pub optimiser: Optimiser,
    /// The learning rate over the steps.
    pub schedule: Schedule,
    /// What is minimised.
    pub loss: Loss,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            epochs: 10.0,
            seconds: None,
            seed: 0,
            patience: 0,
            average: 0.0,
            batching: Batching::default(),
            optimiser: Optimiser::default(),
            schedule: Schedule::default(),
            loss: Loss::default(),
        }
    }
}

impl Config {
    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// Names the first one.
    pub fn check(&self) -> Result<(), TrainError> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let own = || {
            if !positive(self.epochs) {
                return Some(format!("epochs = {}: above 0", self.epochs));
            }
            if let Some(seconds) = self.seconds.filter(|&seconds| !positive(seconds)) {
                return Some(format!("seconds = {seconds}: above 0"));
            }
            if self.batching.size == 0 {
                return Some("batching.size = 0: at least 1".into());
            }
            if !(0.0..1.0).contains(&self.average) {
                return Some(format!("average = {}: from 0 to below 1", self.average));
            }
            None
        };
        let parts = || {
            let optimiser = self.optimiser.wrong().map(|why| format!("optimiser.{why}"));
            let schedule = || self.schedule.wrong().map(|why| format!("schedule.{why}"));
            let loss = || self.loss.wrong().map(|why| format!("loss.{why}"));
            optimiser.or_else(schedule).or_else(loss)
        };
        match own().or_else(parts) {
            Some(reason) => Err(TrainError::Config { reason }),
            None => Ok(()),
        }
    }
}
