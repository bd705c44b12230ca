//! The weights an operator needs: their names, shapes, first values and roles.

use crate::Shape;

/// One weight of an operator. Its full name is the node's name, a dot, and `suffix`.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Last part of the name, as PyTorch calls it: `weight`, `bias`, `running_mean`, ...
    pub suffix: &'static str,
    /// Size of each axis.
    pub shape: Shape,
    /// How a fresh network fills it.
    pub init: Init,
    /// What training does with it.
    pub role: Role,
}

/// First values of a weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Normal around zero with this deviation.
    Normal(f32),
    /// Uniform in plus or minus this bound.
    Uniform(f32),
}

impl Init {
    /// Normal with deviation `sqrt(2 / fan)` (He et al., 2015), for layers before a rectifier.
    pub fn he(fan: usize) -> Self {
        Self::Normal((2.0 / fan.max(1) as f32).sqrt())
    }

    /// Uniform with bound `sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio, 2010).
    pub fn glorot(fan_in: usize, fan_out: usize) -> Self {
        Self::Uniform((6.0 / (fan_in + fan_out).max(1) as f32).sqrt())
    }
}

/// What training does with a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trained, with weight decay.
    Weight,
    /// Trained, without weight decay: biases and the scales of norms.
    Offset,
    /// Collected, not trained, and not counted as a parameter: running statistics.
    Statistic,
}

impl Param {
    /// A trained weight.
    pub fn weight(shape: Shape, init: Init) -> Self {
        Self {
            suffix: "weight",
            shape,
            init,
            role: Role::Weight,
        }
    }

    /// A bias, starting at zero.
    pub fn bias(channels: usize) -> Self {
        Self {
            suffix: "bias",
            shape: vec![channels],
            init: Init::Zeros,
            role: Role::Offset,
        }
    }

    /// The scale of a norm, starting at one.
    pub fn scale(channels: usize) -> Self {
        Self {
            suffix: "weight",
            shape: vec![channels],
            init: Init::Ones,
            role: Role::Offset,
        }
    }
}
