//! A limit on the expected cost, kept by a multiplier that adapts itself: nobody has to guess it.
//!
//! Dual ascent on the Lagrangian: while the expected cost is over the limit the multiplier grows in
//! proportion, below it it shrinks; the penalty on the architecture is `multiplier * cost / limit`.

use serde::{Deserialize, Serialize};

/// The multiplier of one cost limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Multiplier {
    /// What the expected cost is driven to.
    pub limit: f64,
    /// Price of being over the limit by its own size, in units of the loss.
    pub value: f64,
    /// How fast it adapts in a step.
    pub rate: f64,
}

impl Multiplier {
    /// A multiplier of zero that reaches 1 within about `steps` steps at twice the limit.
    pub fn new(limit: f64, steps: usize) -> Self {
        Self {
            limit,
            value: 0.0,
            rate: 1.0 / steps.max(1) as f64,
        }
    }

    /// Adapts to the present expected cost.
    pub fn adapt(&mut self, expected: f64) {
        // Being far over counts as being twice over, so that the multiplier does not overshoot.
        let excess = (expected / self.limit - 1.0).clamp(-1.0, 1.0);
        self.value = (self.value + self.rate * excess).max(0.0);
    }

    /// What a gradient of the expected cost is multiplied with to be one of the loss.
    pub fn scale(&self) -> f64 {
        self.value / self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Architecture;
    use squeeze_graph::PriceTable;

    /// A task that likes the dearest choice meets a limit in the middle.
    #[test]
    fn drives_the_cost_to_the_limit() {
        let prices = PriceTable {
            fixed: 0.0,
            slots: vec![vec![1.0, 4.0, 9.0]; 3],
        };
        let mut architecture = Architecture::even(&[3, 3, 3]);
        let mut multiplier = Multiplier::new(12.0, 50);
        for _ in 0..4000 {
            let (expected, gradient) = architecture.expected(&prices);
            let wish = architecture.expected(&PriceTable {
                fixed: 0.0,
                slots: vec![vec![0.0, -0.2, -0.3]; 3],
            });
            for slot in 0..3 {
                for choice in 0..3 {
                    let slope = wish.1[slot][choice] + multiplier.scale() * gradient[slot][choice];
                    architecture.logits[slot][choice] -= 0.5 * slope as f32;
                }
            }
            multiplier.adapt(expected);
        }
        let (expected, _) = architecture.expected(&prices);
        assert!(
            (expected / 12.0 - 1.0).abs() < 0.05,
            "expected cost {expected} for a limit of 12"
        );
    }
}
