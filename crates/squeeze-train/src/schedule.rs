//! Learning-rate schedules: a warm-up, then a curve from the full rate to the last one.

use serde::{Deserialize, Serialize};

/// The curve of the learning rate over the steps of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// The curve after the warm-up.
    pub curve: Curve,
    /// Share of all steps during which the rate rises linearly from zero.
    pub warmup: f64,
    /// Share of the full rate that the curve ends at.
    pub last: f64,
}

/// How the rate falls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// It stays.
    Constant,
    /// Half a cosine (Loshchilov and Hutter, 2017).
    Cosine,
    /// A straight line.
    Linear,
    /// A power of what is left; SqueezeNAS trains with 0.9.
    Polynomial(f64),
    /// Times `factor` at each of these shares of the steps, e.g. 0.5 and 0.75.
    Step {
        /// Shares of the steps, rising.
        at: Vec<f64>,
        /// What the rate is multiplied with.
        factor: f64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            curve: Curve::Cosine,
            warmup: 0.05,
            last: 0.0,
        }
    }
}

impl Schedule {
    /// A constant rate without warm-up.
    pub fn constant() -> Self {
        Self {
            curve: Curve::Constant,
            warmup: 0.0,
            last: 1.0,
        }
    }

    /// The share of the full rate at `step` of `total`, counted from zero.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        let warmup = (self.warmup * total as f64).round();
        let step = step as f64;
        if step < warmup {
            return (step + 1.0) / (warmup + 1.0);
        }
        let done = (step - warmup) / (total as f64 - warmup).max(1.0);
        let done = done.clamp(0.0, 1.0);
        let falling = |share: f64| self.last + (1.0 - self.last) * share;
        match &self.curve {
            Curve::Constant => 1.0,
            Curve::Cosine => falling(0.5 * (1.0 + (std::f64::consts::PI * done).cos())),
            Curve::Linear => falling(1.0 - done),
            Curve::Polynomial(power) => falling((1.0 - done).powf(*power)),
            Curve::Step { at, factor } => {
                let passed = at.iter().filter(|&&share| step >= share * total as f64);
                factor.powi(passed.count() as i32)
            }
        }
    }

    /// What makes no sense, if anything.
    pub(crate) fn wrong(&self) -> Option<String> {
        if !(0.0..1.0).contains(&self.warmup) {
            return Some(format!("warmup = {}: a share below 1", self.warmup));
        }
        if !(0.0..=1.0).contains(&self.last) {
            return Some(format!("last = {}: a share of the full rate", self.last));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(curve: Curve, wanted: [f64; 5]) {
        let schedule = Schedule {
            curve,
            ..Schedule::default()
        };
        let schedule = Schedule {
            warmup: 0.0,
            ..schedule
        };
        for (quarter, wanted) in (0..).zip(wanted) {
            let found = schedule.factor(quarter * 25, 100);
            assert!((found - wanted).abs() < 1e-12, "{quarter}: {found}");
        }
    }

    /// Values of `torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)`.
    #[test]
    fn cosine() {
        check(
            Curve::Cosine,
            [1.0, 0.8535533905932737, 0.5, 0.14644660940672627, 0.0],
        );
    }

    #[test]
    fn linear() {
        check(Curve::Linear, [1.0, 0.75, 0.5, 0.25, 0.0]);
    }

    /// Values of `torch.optim.lr_scheduler.PolynomialLR(optimizer, 100, 2.0)`.
    #[test]
    fn polynomial() {
        check(Curve::Polynomial(2.0), [1.0, 0.5625, 0.25, 0.0625, 0.0]);
    }

    #[test]
    fn step() {
        let at = vec![0.5, 0.75];
        check(Curve::Step { at, factor: 0.1 }, [1.0, 1.0, 0.1, 0.01, 0.01]);
    }

    #[test]
    fn warmup_rises_to_the_full_rate() {
        let schedule = Schedule {
            warmup: 0.1,
            ..Schedule::default()
        };
        assert!(schedule.factor(0, 100) > 0.0);
        assert!(schedule.factor(9, 100) < 1.0);
        assert!((schedule.factor(10, 100) - 1.0).abs() < 1e-12);
    }
}
