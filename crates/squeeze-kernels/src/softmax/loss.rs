//! Losses with their gradients: cross-entropy with smoothing, with soft targets, distillation, mean square.

use super::scalar;
use super::vector::exponentials as vector_exponentials;
use crate::vector::per_tier;
use crate::{Cpu, SharedMut, even};

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
    assert_eq!(x.len(), targets.len() * loss.classes);
    let rows = targets
        .iter()
        .filter(|&&target| target != loss.ignore)
        .count();
    let share = 1.0 / rows.max(1) as f32;
    let spread = loss.smoothing / loss.classes as f32;
    let sum = each_row(cpu, loss.classes, x, dx, |row, x, dx| {
        if targets[row] == loss.ignore {
            dx.fill(0.0);
            return 0.0;
        }
        let target = usize::try_from(targets[row]).expect("targets are classes");
        let [top, sum] = exponentials(cpu.tier, x, 1.0, dx);
        let log = f64::from(top) + f64::from(sum).ln();
        scale_and_shift(cpu.tier, share / sum, spread * share, dx);
        dx[target] -= (1.0 - loss.smoothing) * share;
        let mut lost = (log - f64::from(x[target])) * f64::from(1.0 - loss.smoothing);
        if loss.smoothing > 0.0 {
            lost += x.iter().map(|&x| log - f64::from(x)).sum::<f64>() * f64::from(spread);
        }
        lost
    });
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
    assert_eq!(x.len(), targets.len());
    let rows = x.len() / classes;
    let share = 1.0 / rows.max(1) as f32;
    let sum = each_row(cpu, classes, x, dx, |row, x, dx| {
        let targets = &targets[row * classes..][..classes];
        let [top, sum] = exponentials(cpu.tier, x, 1.0, dx);
        let log = f64::from(top) + f64::from(sum).ln();
        let factor = targets.iter().sum::<f32>() / sum;
        let mut lost = 0.0;
        for i in 0..classes {
            lost += f64::from(targets[i]) * (log - f64::from(x[i]));
            dx[i] = (dx[i] * factor - targets[i]) * share;
        }
        lost
    });
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
    assert_eq!(student.len(), teacher.len());
    let Distillation {
        classes,
        temperature,
    } = *soft;
    let (cool, rows) = (1.0 / temperature, student.len() / classes);
    let share = temperature / rows.max(1) as f32;
    let sum = each_row(cpu, classes, student, dx, |row, s, dx| {
        let t = &teacher[row * classes..][..classes];
        // First the teacher's sum, then the student's exponentials stay in `dx`.
        let [t_top, t_sum] = exponentials(cpu.tier, t, cool, dx);
        let [s_top, s_sum] = exponentials(cpu.tier, s, cool, dx);
        let (s_log, t_log) = (f64::from(s_sum).ln(), f64::from(t_sum).ln());
        let mut lost = 0.0;
        for i in 0..classes {
            let log_p = f64::from((s[i] - s_top) * cool) - s_log;
            let log_q = f64::from((t[i] - t_top) * cool) - t_log;
            let q = log_q.exp();
            // A class that the teacher excludes adds nothing.
            if q > 0.0 || q.is_nan() {
                lost += q * (log_q - log_p);
            }
            dx[i] = (dx[i] / s_sum - q as f32) * share;
        }
        lost * f64::from(temperature) * f64::from(temperature)
    });
    Loss { sum, rows }
}

/// The mean of the squared differences, and in `dx` its gradient; every number counts as a row.
///
/// # Panics
/// When the lengths differ.
pub fn mean_square(cpu: Cpu, x: &[f32], targets: &[f32], dx: &mut [f32]) -> Loss {
    assert_eq!(x.len(), targets.len());
    let share = 2.0 / x.len().max(1) as f32;
    let sum = each_row(cpu, 1, x, dx, |row, x, dx| {
        let far = x[0] - targets[row];
        dx[0] = far * share;
        f64::from(far) * f64::from(far)
    });
    Loss { sum, rows: x.len() }
}

/// Calls `work(row, x, dx)` for each row and sums what it gives: in order within 64 even parts, then over them.
fn each_row(
    cpu: Cpu,
    classes: usize,
    x: &[f32],
    dx: &mut [f32],
    work: impl Fn(usize, &[f32], &mut [f32]) -> f64 + Sync,
) -> f64 {
    const PARTS: usize = 64;
    assert_eq!(x.len(), dx.len());
    assert!(
        x.len().is_multiple_of(classes),
        "{} numbers are not rows of {classes}",
        x.len()
    );
    let mut sums = [0.0; PARTS];
    let (shared, dx) = (SharedMut::new(&mut sums), SharedMut::new(dx));
    cpu.split(PARTS, x.len() * 20, |range| {
        for part in range {
            // SAFETY: each part has its own sum.
            let sum = unsafe { &mut shared.slice(part..part + 1)[0] };
            for row in even(x.len() / classes, PARTS, part) {
                let cut = row * classes..(row + 1) * classes;
                // SAFETY: each row belongs to one part.
                *sum += work(row, &x[cut.clone()], unsafe { dx.slice(cut) });
            }
        }
    });
    sums.iter().sum()
}

per_tier! {
    /// `y = e^(cool (x - largest))`; gives the largest and the sum.
    fn exponentials(x: &[f32], cool: f32, y: &mut [f32]) -> [f32; 2]
    { scalar: scalar::exponentials, vector: vector_exponentials }
}

per_tier! {
    /// `y = factor y - away`.
    fn scale_and_shift(factor: f32, away: f32, y: &mut [f32])
    { compiled: scalar::scale_and_shift }
}
