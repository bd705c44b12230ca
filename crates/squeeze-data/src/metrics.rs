//! How good answers are, with 95 % confidence intervals; equal to scikit-learn's and scipy's figures.

use serde::{Deserialize, Serialize};
use squeeze_tensor::Seed;

use crate::{DataError, Labels, Task};

/// How answers are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The share of right answers.
    Accuracy,
    /// Harmonic mean of precision and recall of class 1, or the mean of it over the classes when there are more than two.
    F1,
    /// Correlation of classes (Matthews, 1975; for several classes Gorodkin, 2004).
    Matthews,
    /// Linear correlation of numbers.
    Pearson,
    /// Correlation of ranks, ties with their mean rank.
    Spearman,
}

/// A judgement with its uncertainty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// How it was judged.
    pub metric: Metric,
    /// The figure, as a fraction of 1.
    pub value: f64,
    /// How many answers were judged.
    pub n: usize,
    /// 95 % confidence interval: Wilson's for the accuracy, otherwise the bootstrap's.
    pub ci95: [f64; 2],
}

/// A figure of some rows of the answers.
type Figure<'a> = Box<dyn Fn(&[usize]) -> f64 + 'a>;

/// Samples of the bootstrap.
const SAMPLES: usize = 1000;

impl Metric {
    /// What a task is usually judged by.
    ///
    /// # Panics
    /// For boxes and for what follows a text, which no data set has.
    pub fn usual(task: Task) -> Self {
        match task {
            Task::ClassifyImage | Task::ClassifyText { .. } => Self::Accuracy,
            Task::RegressText { .. } | Task::EmbedText { .. } => Self::Spearman,
            Task::Detect | Task::ContinueText => unreachable!("no data set asks for {task}"),
        }
    }

    /// Judges answers against the right ones.
    pub fn score(self, answers: &Labels, right: &Labels, seed: Seed) -> Result<Score, DataError> {
        let n = right.len();
        if answers.len() != n || n == 0 {
            let have = answers.len();
            return Err(DataError::Mismatch(format!(
                "{have} answers to {n} questions cannot be judged"
            )));
        }
        let figure: Figure<'_> = match (self, answers, right) {
            (Self::Accuracy, Labels::Classes(a), Labels::Classes(b)) => {
                let correct = a.iter().zip(b).filter(|(a, b)| a == b).count();
                let value = correct as f64 / n as f64;
                return Ok(Score {
                    metric: self,
                    value,
                    n,
                    ci95: wilson(correct, n),
                });
            }
            (Self::F1, Labels::Classes(a), Labels::Classes(b)) => {
                Box::new(|rows| Confusion::of(rows.iter().map(|&row| (a[row], b[row]))).f1())
            }
            (Self::Matthews, Labels::Classes(a), Labels::Classes(b)) => {
                Box::new(|rows| Confusion::of(rows.iter().map(|&row| (a[row], b[row]))).matthews())
            }
            (Self::Pearson, Labels::Values(a), Labels::Values(b)) => {
                Box::new(|rows| pearson(&pick(a, rows), &pick(b, rows)))
            }
            (Self::Spearman, Labels::Values(a), Labels::Values(b)) => {
                Box::new(|rows| pearson(&ranks(&pick(a, rows)), &ranks(&pick(b, rows))))
            }
            _ => {
                return Err(DataError::Mismatch(format!(
                    "{self:?} cannot judge these answers: accuracy, F1 and Matthews take classes, Pearson and Spearman take numbers"
                )));
            }
        };
        let mut rows: Vec<usize> = (0..n).collect();
        let value = figure(&rows);
        let mut random = seed.child("bootstrap").random();
        let mut samples: Vec<f64> = (0..SAMPLES)
            .map(|_| {
                rows.iter_mut().for_each(|row| *row = random.below(n));
                figure(&rows)
            })
            .collect();
        samples.sort_by(f64::total_cmp);
        let ci95 = [samples[SAMPLES / 40], samples[SAMPLES - 1 - SAMPLES / 40]];
        Ok(Score {
            metric: self,
            value,
            n,
            ci95,
        })
    }
}

/// How often each class was answered for each right class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// `[right, answered]`.
    counts: Vec<u64>,
}

impl Confusion {
    /// For this many classes, with nothing counted.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: vec![0; classes * classes],
        }
    }

    /// Counts pairs of (answer, right).
    pub fn of(pairs: impl Iterator<Item = (usize, usize)> + Clone) -> Self {
        let classes = pairs
            .clone()
            .map(|(a, b)| a.max(b) + 1)
            .max()
            .unwrap_or(0)
            .max(2);
        let mut all = Self::new(classes);
        pairs.for_each(|(answer, right)| all.add(answer, right));
        all
    }

    /// Counts one answer.
    ///
    /// # Panics
    /// When a class is too large.
    pub fn add(&mut self, answer: usize, right: usize) {
        assert!(
            answer < self.classes && right < self.classes,
            "a class beyond {}",
            self.classes
        );
        self.counts[right * self.classes + answer] += 1;
    }

    /// How often `answer` was given where `right` is right.
    pub fn count(&self, answer: usize, right: usize) -> u64 {
        self.counts[right * self.classes + answer]
    }

    /// The share of right answers.
    pub fn accuracy(&self) -> f64 {
        ratio(self.hits() as f64, self.counts.iter().sum::<u64>() as f64)
    }

    /// F1 of class 1 of two, or the mean over the classes that occur.
    pub fn f1(&self) -> f64 {
        let one = |class: usize| {
            let hit = self.count(class, class) as f64;
            ratio(2.0 * hit, (self.answered(class) + self.right(class)) as f64)
        };
        if self.classes == 2 {
            return one(1);
        }
        self.mean_of(one)
    }

    /// Matthews' correlation; 0 when only one class occurs.
    pub fn matthews(&self) -> f64 {
        let n = self.counts.iter().sum::<u64>() as f64;
        let sum = |f: &dyn Fn(usize) -> f64| (0..self.classes).map(f).sum::<f64>();
        let both = sum(&|class| self.answered(class) as f64 * self.right(class) as f64);
        let answered = sum(&|class| (self.answered(class) as f64).powi(2));
        let right = sum(&|class| (self.right(class) as f64).powi(2));
        let bottom = ((n * n - answered) * (n * n - right)).sqrt();
        ratio(self.hits() as f64 * n - both, bottom)
    }

    /// Intersection over union of each class; `None` where it neither occurs nor is answered.
    pub fn iou(&self) -> Vec<Option<f64>> {
        let one = |class| {
            let hit = self.count(class, class);
            let union = self.answered(class) + self.right(class) - hit;
            (union > 0).then(|| hit as f64 / union as f64)
        };
        (0..self.classes).map(one).collect()
    }

    /// The mean of intersection over union over the classes that occur or are answered.
    pub fn mean_iou(&self) -> f64 {
        let all: Vec<f64> = self.iou().into_iter().flatten().collect();
        ratio(all.iter().sum(), all.len() as f64)
    }

    fn hits(&self) -> u64 {
        (0..self.classes)
            .map(|class| self.count(class, class))
            .sum()
    }

    fn answered(&self, class: usize) -> u64 {
        (0..self.classes)
            .map(|right| self.count(class, right))
            .sum()
    }

    fn right(&self, class: usize) -> u64 {
        (0..self.classes)
            .map(|answer| self.count(answer, class))
            .sum()
    }

    fn mean_of(&self, one: impl Fn(usize) -> f64) -> f64 {
        let seen: Vec<usize> = (0..self.classes)
            .filter(|&class| self.answered(class) + self.right(class) > 0)
            .collect();
        ratio(
            seen.iter().map(|&class| one(class)).sum(),
            seen.len() as f64,
        )
    }
}

/// The share of rows of `scores` (`[n, classes]`) whose right class is among the `k` highest.
///
/// # Panics
/// When there are not as many rows as right classes.
pub fn top(k: usize, scores: &[f32], right: &[usize]) -> f64 {
    assert!(
        !right.is_empty() && scores.len().is_multiple_of(right.len()),
        "[n, classes] scores for n answers"
    );
    let hit = |(row, &right): (&[f32], &usize)| {
        row.iter().filter(|&&score| score > row[right]).count() < k
    };
    let hits = scores
        .chunks_exact(scores.len() / right.len())
        .zip(right)
        .filter(|&pair| hit(pair))
        .count();
    hits as f64 / right.len() as f64
}

/// The class with the highest score in each row of `[n, classes]`.
pub fn highest(scores: &[f32], classes: usize) -> Vec<usize> {
    let of = |row: &[f32]| {
        (1..row.len()).fold(
            0,
            |best, class| if row[class] > row[best] { class } else { best },
        )
    };
    scores.chunks_exact(classes.max(1)).map(of).collect()
}

/// Wilson's 95 % interval (1927) for a share.
pub fn wilson(correct: usize, n: usize) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    let (n, share) = (n as f64, correct as f64 / n as f64);
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    [
        ((middle - half) / whole).max(0.0),
        ((middle + half) / whole).min(1.0),
    ]
}

/// Linear correlation; 0 when one side is constant.
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let sum =
        |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(a - ma, b - mb)).sum::<f64>();
    ratio(
        sum(&|a, b| a * b),
        (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt(),
    )
}

/// Ranks from 1, ties with their mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let below = order.partition_point(|&row| values[row] < values[tied[0]]);
        let rank = below as f64 + (tied.len() as f64 + 1.0) / 2.0;
        tied.iter().for_each(|&row| ranks[row] = rank);
    }
    ranks
}

fn pick(values: &[f32], rows: &[usize]) -> Vec<f64> {
    rows.iter().map(|&row| f64::from(values[row])).collect()
}

fn ratio(top: f64, bottom: f64) -> f64 {
    if bottom == 0.0 { 0.0 } else { top / bottom }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
        wilson: Vec<(usize, usize, f64, f64)>,
        values: Vec<(Vec<f32>, Vec<f32>, f64, f64)>,
    }

    #[derive(Deserialize)]
    struct Case {
        answers: Vec<usize>,
        right: Vec<usize>,
        accuracy: f64,
        f1: f64,
        matthews: f64,
        mean_iou: f64,
        scores: Vec<f32>,
        top2: f64,
    }

    /// Sums of at most 200 terms in f64: 200 eps is 4e-14.
    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} where {b} was expected");
    }

    /// Figures of scikit-learn and scipy, made by golden/data_metrics.py.
    #[test]
    fn equal_to_scikit_learn_and_scipy() {
        let golden: Golden =
            serde_json::from_str(include_str!("../../../golden/data_metrics.json")).unwrap();
        for case in golden.cases {
            let (answers, right) = (
                Labels::Classes(case.answers.clone()),
                Labels::Classes(case.right.clone()),
            );
            let score = |metric: Metric| metric.score(&answers, &right, Seed(0)).unwrap();
            close(score(Metric::Accuracy).value, case.accuracy);
            close(score(Metric::F1).value, case.f1);
            close(score(Metric::Matthews).value, case.matthews);
            let confusion =
                Confusion::of(case.answers.iter().copied().zip(case.right.iter().copied()));
            close(confusion.mean_iou(), case.mean_iou);
            close(confusion.accuracy(), case.accuracy);
            close(top(2, &case.scores, &case.right), case.top2);
            let ci = score(Metric::F1).ci95;
            assert!(
                ci[0] < case.f1 && case.f1 < ci[1],
                "{ci:?} around {}",
                case.f1
            );
        }
        for (correct, n, low, high) in golden.wilson {
            let found = wilson(correct, n);
            close(found[0], low);
            close(found[1], high);
        }
        for (a, b, linear, rank) in golden.values {
            let (a, b) = (Labels::Values(a), Labels::Values(b));
            close(
                Metric::Pearson.score(&a, &b, Seed(0)).unwrap().value,
                linear,
            );
            close(Metric::Spearman.score(&a, &b, Seed(0)).unwrap().value, rank);
        }
    }

    #[test]
    fn classes_are_not_correlated_and_nothing_is_not_judged() {
        let classes = Labels::Classes(vec![0, 1]);
        assert!(Metric::Pearson.score(&classes, &classes, Seed(0)).is_err());
        assert!(
            Metric::Accuracy
                .score(&Labels::Classes(vec![]), &Labels::Classes(vec![]), Seed(0))
                .is_err()
        );
        assert_eq!(highest(&[1.0, 3.0, 3.0, 9.0, 2.0, f32::NAN], 3), [1, 0]);
    }
}
