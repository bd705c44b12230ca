//! Losses with their gradients: cross-entropy with smoothing, with soft targets, distillation, mean square.

use super::scalar::log_sum;
use crate::Cpu;

/// Cross-entropy of rows of logits against class numbers.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    /// How many classes a row has.
    pub classes: usize,
    /// The share of the target that is spread evenly over all classes.
    pub smoothing: f32,
    /// Rows with this target do not count.
    pub ignore: i32,
}

impl CrossEntropy {
    /// Without smoothing; rows with target -100 do not count.
    pub fn of(classes: usize) -> Self {
        Self {
            classes,
            smoothing: 0.0,
            ignore: -100,
        }
    }
}

/// A sum of losses over rows, and over how many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// The sum over the rows that count.
    pub sum: f64,
    /// How many rows count.
    pub rows: usize,
}

impl Loss {
    /// The mean over the rows that count; zero when there is none.
    pub fn mean(self) -> f32 {
        if self.rows == 0 {
            0.0
        } else {
            (self.sum / self.rows as f64) as f32
        }
    }
}

/// The cross-entropy of rows, and in `dx` the gradient of its mean over the rows that count.
///
/// # Panics
/// When a target that counts is not a class, or the lengths do not fit.
pub fn cross_entropy(
    cpu: Cpu,
    loss: &CrossEntropy,
    x: &[f32],
    targets: &[i32],
    dx: &mut [f32],
) -> Loss {
    let _ = cpu;
    assert_eq!(x.len(), dx.len());
    assert_eq!(x.len(), targets.len() * loss.classes);
    let rows = targets
        .iter()
        .filter(|&&target| target != loss.ignore)
        .count();
    let scale = 1.0 / rows.max(1) as f32;
    let spread = loss.smoothing / loss.classes as f32;
    let mut sum = 0.0;
    for (row, dx) in dx.chunks_exact_mut(loss.classes).enumerate() {
        let x = &x[row * loss.classes..][..loss.classes];
        if targets[row] == loss.ignore {
            dx.fill(0.0);
            continue;
        }
        let target = usize::try_from(targets[row]).expect("targets are classes");
        let log = log_sum(x);
        let mean: f64 = x.iter().map(|&x| f64::from(log - x)).sum::<f64>() * f64::from(spread);
        sum += f64::from(log - x[target]) * f64::from(1.0 - loss.smoothing) + mean;
        for i in 0..loss.classes {
            dx[i] = ((x[i] - log).exp() - spread) * scale;
        }
        dx[target] -= (1.0 - loss.smoothing) * scale;
    }
    Loss { sum, rows }
}

/// The cross-entropy of rows of logits against rows of probabilities (mixed or soft labels), and in `dx` the gradient of
/// its mean.
///
/// # Panics
/// When the lengths do not fit.
pub fn cross_entropy_probabilities(
    cpu: Cpu,
    classes: usize,
    x: &[f32],
    targets: &[f32],
    dx: &mut [f32],
) -> Loss {
    let _ = cpu;
    assert_eq!(x.len(), dx.len());
    assert_eq!(x.len(), targets.len());
    let rows = x.len() / classes;
    let scale = 1.0 / rows.max(1) as f32;
    let mut sum = 0.0;
    for (row, dx) in dx.chunks_exact_mut(classes).enumerate() {
        let x = &x[row * classes..][..classes];
        let targets = &targets[row * classes..][..classes];
        let log = log_sum(x);
        let total: f32 = targets.iter().sum();
        for i in 0..classes {
            sum += f64::from(targets[i] * (log - x[i]));
            dx[i] = ((x[i] - log).exp() * total - targets[i]) * scale;
        }
    }
    Loss { sum, rows }
}

/// Distillation (Hinton et al., 2015): `T^2` times the divergence of the student's from the teacher's distribution, both at
/// temperature `T`, and in `dx` the gradient of its mean over the rows.
///
/// # Panics
/// When the lengths do not fit.
pub fn distillation(
    cpu: Cpu,
    soft: &Distillation,
    student: &[f32],
    teacher: &[f32],
    dx: &mut [f32],
) -> Loss {
    let _ = cpu;
    assert_eq!(student.len(), dx.len());
    assert_eq!(student.len(), teacher.len());
    let Distillation {
        classes,
        temperature,
    } = *soft;
    let rows = student.len() / classes;
    let scale = temperature / rows.max(1) as f32;
    let cool = |x: &[f32]| -> f32 {
        let top = x.iter().fold(f32::NEG_INFINITY, |top, &x| top.max(x));
        top / temperature
            + x.iter()
                .map(|x| ((x - top) / temperature).exp())
                .sum::<f32>()
                .ln()
    };
    let mut sum = 0.0;
    for (row, dx) in dx.chunks_exact_mut(classes).enumerate() {
        let s = &student[row * classes..][..classes];
        let t = &teacher[row * classes..][..classes];
        let (s_log, t_log) = (cool(s), cool(t));
        for i in 0..classes {
            let (log_p, log_q) = (s[i] / temperature - s_log, t[i] / temperature - t_log);
            let q = log_q.exp();
            if q > 0.0 {
                sum += f64::from(q * (log_q - log_p) * temperature * temperature);
            }
            dx[i] = (log_p.exp() - q) * scale;
        }
    }
    Loss { sum, rows }
}

/// The shape and temperature of [`distillation`].
#[derive(Clone, Copy, Debug)]
pub struct Distillation {
    /// How many classes a row has.
    pub classes: usize,
    /// What logits are divided by.
    pub temperature: f32,
}

/// The mean of the squared differences, and in `dx` its gradient; every number counts as a row.
///
/// # Panics
/// When the lengths differ.
pub fn mean_square(cpu: Cpu, x: &[f32], targets: &[f32], dx: &mut [f32]) -> Loss {
    let _ = cpu;
    assert_eq!(x.len(), dx.len());
    assert_eq!(x.len(), targets.len());
    let scale = 2.0 / x.len().max(1) as f32;
    let mut sum = 0.0;
    for i in 0..x.len() {
        let far = x[i] - targets[i];
        sum += f64::from(far) * f64::from(far);
        dx[i] = far * scale;
    }
    Loss { sum, rows: x.len() }
}
