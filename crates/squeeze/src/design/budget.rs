//! Divides the wall time of a design among its stages.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time of each stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Measuring the blocks of the space.
    pub measure: Duration,
    /// Training the supernet.
    pub search: Duration,
    /// Training each network of the comparison: the supernet's choice and the random ones.
    pub candidate: Duration,
    /// Training the winner.
    pub train: Duration,
}

/// Networks that the random control trains; the supernet's choice is trained as long as each.
pub const CONTROLS: usize = 4;

/// Share of the whole that is kept for inspecting, proving and reporting.
const RESERVE: f64 = 0.12;

impl Budget {
    /// Divides what is `left`: 8 % for measuring, and of the rest as much for the search as for the
    /// control, and as much for the winner as for the two together.
    pub fn divide(left: Duration) -> Self {
        let left = left.mul_f64(1.0 - RESERVE);
        let measure = left.mul_f64(0.08).min(Duration::from_secs(60));
        let rest = left - measure;
        let side = rest.mul_f64(0.24);
        // The search and its choice's short training cost together what the control costs.
        let candidate = side.div_f64(CONTROLS as f64);
        Self {
            measure,
            search: side - candidate,
            candidate,
            train: rest - 2 * side,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_within_the_time() {
        for minutes in [1.0, 6.0, 30.0] {
            let left = Duration::from_secs_f64(60.0 * minutes);
            let budget = Budget::divide(left);
            let tried = budget.candidate * (1 + CONTROLS as u32);
            let total = budget.measure + budget.search + tried + budget.train;
            assert!(total < left.mul_f64(0.89), "{minutes}");
            assert!(
                budget.search + budget.candidate <= 3 * budget.train,
                "{minutes}"
            );
            let control = budget.candidate * CONTROLS as u32;
            assert!(
                (budget.search + budget.candidate)
                    .abs_diff(control)
                    .as_millis()
                    < 1
            );
        }
    }
}
