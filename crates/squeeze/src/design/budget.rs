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
    /// Training each network of the comparison: the supernet's choices and the random ones.
    pub candidate: Duration,
    /// Training the winner.
    pub train: Duration,
}

/// Networks that the random control trains.
pub const CONTROLS: usize = 4;

/// Networks of the supernet that are trained, each as long as one of the control.
pub const CHOSEN: usize = 2;

/// Share of the whole that is kept for proving and reporting, at most [`LONGEST_RESERVE`].
const RESERVE: f64 = 0.12;

/// Proving takes its time whatever the training took.
const LONGEST_RESERVE: Duration = Duration::from_secs(45);

/// Share of the time for the search, and for its control.
const SIDE: f64 = 0.2;

impl Budget {
    /// Divides what is `left`: 8 % for measuring, and of the rest a fifth for the search, a fifth for
    /// the control, and three for the winner.
    pub fn divide(left: Duration) -> Self {
        let left = left - left.mul_f64(RESERVE).min(LONGEST_RESERVE);
        let measure = left.mul_f64(0.08).min(Duration::from_secs(60));
        let rest = left - measure;
        let side = rest.mul_f64(SIDE);
        // The search and the short trainings of its choices cost together what the control costs.
        let candidate = side.div_f64(CONTROLS as f64);
        Self {
            measure,
            search: side - candidate * CHOSEN as u32,
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
            let tried = budget.candidate * (CHOSEN + CONTROLS) as u32;
            let total = budget.measure + budget.search + tried + budget.train;
            let reserve = (left / 10).min(LONGEST_RESERVE);
            assert!(total + reserve <= left, "{minutes}");
            let search = budget.search + budget.candidate * CHOSEN as u32;
            assert!(search <= 3 * budget.train, "{minutes}");
            let control = budget.candidate * CONTROLS as u32;
            assert!(search.abs_diff(control).as_millis() < 1);
        }
    }
}
