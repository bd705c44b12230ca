//! What a network says to a whole split, and how right that is.

use squeeze_data::{Batch, BatchInput, Labels, Prepared};
use squeeze_graph::{Graph, Op};

use crate::{Engine, Feed, IGNORED, Loss, Mode, Network, Parameters, Targets, TrainError};

/// How well a network does on a split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Mean loss against the labels.
    pub loss: f64,
    /// Share of right answers, or the correlation with the answers when they are numbers.
    pub metric: f64,
    /// Number of examples.
    pub count: usize,
}

/// A batch as a network takes it.
#[derive(Debug)]
pub struct Feeds {
    shapes: Vec<Vec<usize>>,
    numbers: Vec<Vec<f32>>,
    indices: Vec<Vec<i32>>,
}

impl Feeds {
    /// What the inputs `image`, or `ids`, `types` and `lengths`, are in a batch.
    ///
    /// # Errors
    /// When the graph has an input of another name, or takes texts where the batch has images.
    pub fn new(graph: &Graph, batch: Batch) -> Result<Self, TrainError> {
        let mut feeds = Self {
            shapes: vec![],
            numbers: vec![],
            indices: vec![],
        };
        let mut batch = batch.input;
        let nodes = graph.nodes().iter();
        for (index, node) in nodes.filter(|n| matches!(n.op, Op::Input(_))).enumerate() {
            let (shape, numbers, indices) = match (&mut batch, node.name.as_str()) {
                (BatchInput::Images { pixels, size }, "image") => {
                    let [n, h, w, c] = *size;
                    (vec![n, c, h, w], std::mem::take(pixels), vec![])
                }
                (BatchInput::Tokens { ids, size, .. }, "ids") => {
                    (size.to_vec(), vec![], std::mem::take(ids))
                }
                (BatchInput::Tokens { type_ids, size, .. }, "types") => {
                    (size.to_vec(), vec![], std::mem::take(type_ids))
                }
                (BatchInput::Tokens { lengths, .. }, "lengths") => {
                    let of = |&length: &usize| i32::try_from(length).unwrap_or(i32::MAX);
                    (
                        vec![lengths.len()],
                        vec![],
                        lengths.iter().map(of).collect(),
                    )
                }
                (input, name) => {
                    let has = match input {
                        BatchInput::Images { .. } => "`image`",
                        BatchInput::Tokens { .. } => "`ids`, `types` and `lengths`",
                    };
                    return Err(TrainError::Input {
                        index,
                        network: graph.name().into(),
                        reason: format!("it is called `{name}`, the data has {has}"),
                    });
                }
            };
            feeds.shapes.push(shape);
            feeds.numbers.push(numbers);
            feeds.indices.push(indices);
        }
        Ok(feeds)
    }

    /// The inputs in order.
    pub fn feeds(&self) -> Vec<Feed<'_>> {
        let feed = |at: usize| match &self.numbers[at][..] {
            [] => Feed::indices(&self.shapes[at], &self.indices[at]),
            numbers => Feed::numbers(&self.shapes[at], numbers),
        };
        (0..self.shapes.len()).map(feed).collect()
    }
}

/// Labels of a batch as the loss takes them.
#[derive(Clone, Debug)]
pub enum Answers {
    /// Numbers of classes.
    Classes(Vec<i32>),
    /// Shares of the classes, for images that were mixed.
    Distributions(Vec<f32>),
    /// Numbers.
    Values(Vec<f32>),
}

impl Answers {
    /// The answers of a batch for a network with `width` outputs.
    pub fn new(batch: &Batch, width: usize) -> Self {
        let classes = match &batch.labels {
            Labels::Values(values) => return Self::Values(values.clone()),
            Labels::Classes(classes) => classes,
        };
        let Some(mix) = &batch.mix else {
            return Self::classes(classes);
        };
        let mut shares = vec![0.0; classes.len() * width];
        for (row, &partner) in mix.partners.iter().enumerate() {
            for (class, share) in [
                (classes[row], mix.share),
                (classes[partner], 1.0 - mix.share),
            ] {
                if class < width {
                    shares[row * width + class] += share;
                }
            }
        }
        Self::Distributions(shares)
    }

    fn classes(classes: &[usize]) -> Self {
        // No network has as many classes as numbers that do not fit; the loss then names this one.
        let number = |&class: &usize| i32::try_from(class).unwrap_or(i32::MAX);
        Self::Classes(classes.iter().map(number).collect())
    }

    /// As the loss takes them.
    pub fn targets(&self) -> Targets<'_> {
        match self {
            Self::Classes(classes) => Targets::Classes(classes),
            Self::Distributions(shares) => Targets::Distributions(shares),
            Self::Values(values) => Targets::Values(values),
        }
    }
}

/// The network's outputs for each example of a split, in its order: `[len, outputs]`.
///
/// # Errors
/// When the data does not fit the network.
pub fn predict(
    engine: &Engine,
    network: &Network,
    parameters: &mut Parameters,
    split: &Prepared,
    batch: usize,
) -> Result<Vec<f32>, TrainError> {
    let mut all = vec![];
    for batch in split.once(batch) {
        let batch = batch?;
        let rows = batch.rows.clone();
        let feeds = Feeds::new(network.graph(), batch)?;
        let tape = engine.forward(network, parameters, &feeds.feeds(), Mode::Eval)?;
        let width = tape.output().len() / rows.len().max(1);
        all.resize(split.len() * width, 0.0);
        for (row, output) in rows
            .into_iter()
            .zip(tape.output().chunks_exact(width.max(1)))
        {
            all[row * width..][..width].copy_from_slice(output);
        }
    }
    Ok(all)
}

/// How right outputs are.
///
/// # Errors
/// When a label is no class of the network.
pub fn score(engine: &Engine, outputs: &[f32], labels: &Labels) -> Result<Score, TrainError> {
    let count = labels.len();
    let width = outputs.len() / count.max(1);
    let answers = match labels {
        Labels::Classes(classes) => Answers::classes(classes),
        Labels::Values(values) => Answers::Values(values.clone()),
    };
    let plain = Loss::default();
    let mut gradient = vec![0.0; outputs.len()];
    let targets = answers.targets();
    let loss = plain.of(engine.cpu(), (outputs, width), targets, None, &mut gradient)?;
    let metric = match &answers {
        Answers::Classes(classes) => accuracy(outputs, classes, width),
        Answers::Distributions(_) => unreachable!("labels of a split are not mixed"),
        Answers::Values(values) => correlation(outputs, values),
    };
    Ok(Score {
        loss: f64::from(loss),
        metric,
        count,
    })
}

fn accuracy(outputs: &[f32], classes: &[i32], width: usize) -> f64 {
    let best = |row: &[f32]| (0..width).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
    let rows = outputs.chunks_exact(width.max(1)).zip(classes);
    let counted = rows.filter(|(_, class)| **class != IGNORED);
    let right = counted.filter(|(row, class)| best(row) == usize::try_from(**class).ok());
    right.count() as f64 / classes.len().max(1) as f64
}

/// Pearson's correlation; zero when either side does not vary.
fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let mean = |x: &[f32]| x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len().max(1) as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a) - mean_a, f64::from(b) - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    if aa > 0.0 && bb > 0.0 {
        ab / (aa * bb).sqrt()
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_counts_the_largest() {
        let outputs = [0.1, 0.9, 0.5, 0.2, 0.0, 0.0];
        assert_eq!(accuracy(&outputs, &[1, 0, 1], 2), 2.0 / 3.0);
    }

    #[test]
    fn correlation_of_lines_is_one() {
        let near = |x: f64, y: f64| (x - y).abs() < 1e-12;
        assert!(near(correlation(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]), 1.0));
        assert!(near(correlation(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), -1.0));
        assert!(near(correlation(&[1.0, 1.0, 1.0], &[3.0, 2.0, 1.0]), 0.0));
    }
}
