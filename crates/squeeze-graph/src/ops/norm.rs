//! Batch norm (Ioffe and Szegedy, 2015), layer norm (Ba et al., 2016) and no norm (Sun et al., 2020).

use serde::{Deserialize, Serialize};

use crate::param::{Init, Param, Role};
use crate::shape::channel_axis;

/// Normalises each channel over batch and positions; at inference with running statistics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// Weight of the newest batch in the running statistics.
    pub momentum: f64,
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self {
            epsilon: 1e-5,
            momentum: 0.1,
        }
    }
}

impl BatchNorm {
    /// Scale, shift and the two running statistics.
    pub fn params(&self, x: &[usize]) -> Vec<Param> {
        let channels = x[channel_axis(x)];
        let statistic = |suffix, init| Param {
            suffix,
            shape: vec![channels],
            init,
            role: Role::Statistic,
        };
        vec![
            Param::scale(channels),
            Param::bias(channels),
            statistic("running_mean", Init::Zeros),
            statistic("running_var", Init::Ones),
        ]
    }
}

/// Normalises each position over its channels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f64,
}

impl Default for LayerNorm {
    fn default() -> Self {
        Self { epsilon: 1e-12 }
    }
}

impl LayerNorm {
    /// Scale and shift.
    pub fn params(&self, x: &[usize]) -> Vec<Param> {
        let channels = x[channel_axis(x)];
        vec![Param::scale(channels), Param::bias(channels)]
    }
}

/// Scales and shifts each channel, what MobileBERT has in the place of layer norm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoNorm {}

impl NoNorm {
    /// Scale and shift.
    pub fn params(&self, x: &[usize]) -> Vec<Param> {
        let channels = x[channel_axis(x)];
        vec![Param::scale(channels), Param::bias(channels)]
    }
}
