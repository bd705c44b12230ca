//! How many steps a run makes: those of its epochs, or as many as fit into its time.

/// Steps of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Steps in all.
    pub(crate) steps: u64,
    /// Steps from one validation to the next.
    pub(crate) validate_every: u64,
}

/// How long things take, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Times {
    pub(crate) step: f64,
    pub(crate) validation: f64,
}

/// Largest share of the time that validations may take, beside the last one.
const VALIDATION_SHARE: f64 = 0.1;

impl Times {
    /// The mean of the later half, which does not pay for first uses of memory.
    pub(crate) fn typical(taken: &[f64]) -> f64 {
        let later = &taken[taken.len() / 2..];
        later.iter().sum::<f64>() / later.len().max(1) as f64
    }

    /// Follows the times of steps slowly.
    pub(crate) fn add(&mut self, step: f64) {
        self.step = if self.step > 0.0 {
            0.98 * self.step + 0.02 * step
        } else {
            step
        };
    }

    /// Steps that fit into a time which ends with a validation.
    fn fit(&self, seconds: f64, validate_every: u64) -> u64 {
        let each = self.step + self.validation / validate_every as f64;
        ((seconds - self.validation) / each.max(1e-9)).max(0.0) as u64
    }
}

impl Plan {
    /// The steps of so many passes, with a validation after each.
    pub(crate) fn of_epochs(epochs: f64, epoch: u64) -> Self {
        let steps = ((epochs * epoch as f64).ceil() as u64).max(1);
        Self {
            steps,
            validate_every: epoch.min(steps),
        }
    }

    /// As many of these steps as fit into a time; validations are rarer when they would take more
    /// than their share.
    pub(crate) fn within(self, seconds: f64, epoch: u64, times: Times) -> Self {
        let between = times.validation / VALIDATION_SHARE / (times.step * epoch as f64).max(1e-9);
        let epochs = (between.ceil() as u64).max(1);
        let validate_every = epochs.saturating_mul(epoch).max(1);
        let steps = times.fit(seconds, validate_every).clamp(1, self.steps);
        Self {
            steps,
            validate_every: validate_every.min(steps),
        }
    }

    /// Another number of steps when the run would end more than 3 % late, or, in its first half,
    /// more than 10 % early; `at` is the step and the time now.
    pub(crate) fn corrected(
        self,
        (step, now): (u64, f64),
        limit: f64,
        times: Times,
        longest: u64,
    ) -> Option<Self> {
        let left = self.steps.saturating_sub(step) as f64;
        let each = times.step + times.validation / self.validate_every as f64;
        let end = now + left * each;
        let late = end > 1.03 * limit;
        let early = end < 0.9 * limit && step * 2 < self.steps && self.steps < longest;
        let more = times.fit(limit - now, self.validate_every);
        let steps = (step + more).clamp(step + 1, longest.max(step + 1));
        ((late || early) && steps != self.steps).then_some(Self { steps, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        step: 0.01,
        validation: 0.5,
    };

    #[test]
    fn time_is_shared_between_steps_and_validations() {
        let plan = Plan::of_epochs(1000.0, 100).within(60.0, 100, TIMES);
        assert_eq!(plan.validate_every, 500);
        let validations = (plan.steps / plan.validate_every + 1) as f64;
        let taken = plan.steps as f64 * TIMES.step + validations * TIMES.validation;
        assert!((58.0..60.5).contains(&taken), "{taken} s of 60 s");
    }

    #[test]
    fn epochs_are_a_limit_too() {
        let plan = Plan::of_epochs(2.5, 100).within(60.0, 100, TIMES);
        assert_eq!((plan.steps, plan.validate_every), (250, 250));
    }

    #[test]
    fn a_slower_machine_shortens_the_run() {
        let plan = Plan {
            steps: 1000,
            validate_every: 100,
        };
        let slow = Times {
            step: 0.02,
            validation: 0.0,
        };
        let shorter = plan.corrected((500, 6.0), 10.0, slow, 1000).expect("late");
        assert_eq!(shorter.steps, 700);
        let right = Times {
            step: 0.008,
            validation: 0.0,
        };
        assert_eq!(plan.corrected((500, 6.0), 10.0, right, 1000), None);
    }
}
