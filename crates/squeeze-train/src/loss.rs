//! Losses with their gradients: cross-entropy, soft targets, distillation, mean square.

use serde::{Deserialize, Serialize};
use squeeze_kernels::Cpu;
use squeeze_kernels::softmax::{
    CrossEntropy, Distillation, cross_entropy, cross_entropy_probabilities, distillation,
    mean_square,
};

use crate::TrainError;

/// What is minimised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// Share of the target that is spread evenly over all classes (Szegedy et al., 2016).
    pub smoothing: f32,
    /// Share of distillation beside the labels when there is a teacher (Hinton et al., 2015).
    pub distillation: f32,
    /// Temperature of distillation.
    pub temperature: f32,
}

/// What the network should have said.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// Numbers of classes; [`IGNORED`] does not count.
    Classes(&'a [i32]),
    /// A distribution over the classes for each row: labels that were mixed.
    Distributions(&'a [f32]),
    /// Numbers, one an output.
    Values(&'a [f32]),
}

/// The class of rows that do not count.
pub const IGNORED: i32 = -100;

impl Default for Loss {
    fn default() -> Self {
        Self {
            smoothing: 0.0,
            distillation: 0.5,
            temperature: 2.0,
        }
    }
}

impl Loss {
    /// The mean loss of rows of `outputs` of the network's last layer, `width` wide, and in
    /// `gradient` its gradient. `teacher` gives the logits of a teacher for the same rows.
    ///
    /// # Errors
    /// When the targets are not as many as the rows, or no class of the network.
    pub fn of(
        &self,
        cpu: Cpu,
        (outputs, width): (&[f32], usize),
        targets: Targets,
        teacher: Option<&[f32]>,
        gradient: &mut [f32],
    ) -> Result<f32, TrainError> {
        let rows = outputs.len() / width.max(1);
        check(rows, width, targets)?;
        if gradient.len() != outputs.len() || teacher.is_some_and(|t| t.len() != outputs.len()) {
            let reason = format!("gradient or teacher are not {} long", outputs.len());
            return Err(TrainError::Target { reason });
        }
        let hard = match targets {
            Targets::Values(values) => {
                return Ok(mean_square(cpu, outputs, values, gradient).mean());
            }
            Targets::Classes(classes) => {
                let loss = CrossEntropy {
                    smoothing: self.smoothing,
                    ignore: IGNORED,
                    ..CrossEntropy::of(width)
                };
                cross_entropy(cpu, &loss, outputs, classes, gradient).mean()
            }
            Targets::Distributions(shares) => {
                let smooth =
                    |share: &f32| share * (1.0 - self.smoothing) + self.smoothing / width as f32;
                let shares: Vec<f32> = shares.iter().map(smooth).collect();
                cross_entropy_probabilities(cpu, width, outputs, &shares, gradient).mean()
            }
        };
        let Some(teacher) = teacher else {
            return Ok(hard);
        };
        let soft = Distillation {
            classes: width,
            temperature: self.temperature,
        };
        let mut softly = vec![0.0; gradient.len()];
        let soft = distillation(cpu, &soft, outputs, teacher, &mut softly).mean();
        let share = self.distillation;
        for (gradient, softly) in gradient.iter_mut().zip(softly) {
            *gradient = (1.0 - share) * *gradient + share * softly;
        }
        Ok((1.0 - share) * hard + share * soft)
    }

    /// What makes no sense, if anything.
    pub(crate) fn wrong(&self) -> Option<String> {
        if !(0.0..1.0).contains(&self.smoothing) {
            return Some(format!("smoothing = {}: a share below 1", self.smoothing));
        }
        if !(0.0..=1.0).contains(&self.distillation) {
            return Some(format!(
                "distillation = {}: a share of the loss",
                self.distillation
            ));
        }
        let positive = self.temperature > 0.0 && self.temperature.is_finite();
        (!positive).then(|| format!("temperature = {}: above 0", self.temperature))
    }
}

fn check(rows: usize, width: usize, targets: Targets) -> Result<(), TrainError> {
    let (found, wanted) = match targets {
        Targets::Classes(classes) => {
            let inside = |&class: &i32| usize::try_from(class).is_ok_and(|class| class < width);
            if let Some(class) = classes.iter().find(|&c| *c != IGNORED && !inside(c)) {
                let reason = format!("class {class} where the network has {width} outputs");
                return Err(TrainError::Target { reason });
            }
            (classes.len(), rows)
        }
        Targets::Distributions(shares) => (shares.len(), rows * width),
        Targets::Values(values) => (values.len(), rows * width),
    };
    if found != wanted {
        let reason = format!("{found} targets for {rows} rows of {width} outputs");
        return Err(TrainError::Target { reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use squeeze_kernels::{Threads, Tier};

    const OUTPUTS: [f32; 6] = [0.5, -1.0, 2.0, 0.1, 0.2, -0.3];
    const TEACHER: [f32; 6] = [1.5, -2.0, 1.0, 0.0, 1.2, -0.7];

    /// The gradient equals central differences within their error: `h^2` and `eps / h` for h = 1e-2.
    #[track_caller]
    fn check_gradient(loss: &Loss, targets: Targets, teacher: Option<&[f32]>) {
        let threads = Threads::new(1);
        let cpu = Cpu {
            tier: Tier::detect(),
            threads: &threads,
        };
        let mut gradient = [0.0; 6];
        loss.of(cpu, (&OUTPUTS, 3), targets, teacher, &mut gradient)
            .expect("fits");
        for at in 0..6 {
            let value = |step: f32| {
                let mut outputs = OUTPUTS;
                outputs[at] += step;
                loss.of(cpu, (&outputs, 3), targets, teacher, &mut [0.0; 6])
                    .expect("fits")
            };
            let wanted = (value(1e-2) - value(-1e-2)) / 2e-2;
            assert!(
                (gradient[at] - wanted).abs() < 1e-4,
                "{at}: {} {wanted}",
                gradient[at]
            );
        }
    }

    #[test]
    fn classes() {
        check_gradient(&Loss::default(), Targets::Classes(&[2, 0]), None);
    }

    #[test]
    fn smoothed_and_ignored() {
        let loss = Loss {
            smoothing: 0.1,
            ..Loss::default()
        };
        check_gradient(&loss, Targets::Classes(&[IGNORED, 1]), None);
    }

    #[test]
    fn mixed_labels() {
        let shares = [0.3, 0.7, 0.0, 0.0, 0.0, 1.0];
        check_gradient(&Loss::default(), Targets::Distributions(&shares), None);
    }

    #[test]
    fn distilled() {
        let loss = Loss {
            temperature: 3.0,
            ..Loss::default()
        };
        check_gradient(&loss, Targets::Classes(&[2, 0]), Some(&TEACHER));
    }

    #[test]
    fn values() {
        check_gradient(&Loss::default(), Targets::Values(&TEACHER), None);
    }

    #[test]
    fn a_class_too_many_is_an_error() {
        let threads = Threads::new(1);
        let cpu = Cpu {
            tier: Tier::Scalar,
            threads: &threads,
        };
        let targets = Targets::Classes(&[3, 0]);
        let error = Loss::default().of(cpu, (&OUTPUTS, 3), targets, None, &mut [0.0; 6]);
        let error = error.expect_err("three classes").to_string();
        assert_eq!(error, "loss: class 3 where the network has 3 outputs");
    }
}
