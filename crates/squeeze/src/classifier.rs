//! A model file that answers: a text or an image in, a class with its probability out.

use std::path::Path;

use anyhow::{Context, Result, bail};
use squeeze_data::metrics::{Metric, Score};
use squeeze_data::{BatchInput, Example, Input as Given, Label, Labels, Prepared, Task, softmax};
use squeeze_formats::ModelFile;
use squeeze_graph::{Graph, NodeId, Op};
use squeeze_infer::{Input, Outputs, Plan, Precision, Scratch, Target, compile_owned};
use squeeze_tensor::Seed;

use crate::front::Front;

/// A model compiled for this machine, with what stands before it.
#[derive(Debug)]
pub struct Classifier {
    /// What it is asked to do.
    pub task: Task,
    /// Names of the classes, in the order of the outputs; empty when the answer is a number.
    pub labels: Vec<String>,
    /// How an example becomes an input.
    pub front: Front,
    /// What its maker noted about it; a design notes its seed.
    pub card: serde_json::Value,
    graph: Graph,
    plan: Plan,
    scratch: Scratch,
    /// Numbers that the network gives for one example.
    width: usize,
}

/// What the network says to one example.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The class with the highest output.
    pub class: usize,
    /// Probability of each class; the bare number when the answer is one; the vector when it is that.
    pub values: Vec<f32>,
}

/// One input of the plan.
enum Fed {
    Numbers(Vec<f32>),
    Indices(Vec<i32>),
}

impl Classifier {
    /// Loads a model file and compiles it for a target, in the precision that is asked for or the one it is made for.
    ///
    /// # Errors
    /// When the file is damaged or does not say how its input is made.
    pub fn open(path: &Path, target: &Target, precision: Option<Precision>) -> Result<Self> {
        let model = squeeze_formats::model::load_to_run(path, target.threads)?;
        let target = target.made_for(&model.weights, precision);
        Self::new(model, &target).with_context(|| path.display().to_string())
    }

    /// Compiles a model for a target.
    ///
    /// # Errors
    /// When it does not say how its input is made, or cannot be compiled.
    pub fn new(model: ModelFile, target: &Target) -> Result<Self> {
        let ModelFile {
            graph,
            weights,
            meta,
        } = model;
        let task = Task::of(&meta.task).context("the model does not say what its task is")?;
        let outputs = &graph.node(graph.outputs()[0]).shape;
        let wanted = match task {
            Task::ClassifyImage | Task::ClassifyText { .. } => meta.labels.len(),
            Task::RegressText { .. } => 1,
            Task::EmbedText { .. } => *outputs.last().unwrap_or(&0),
            Task::Detect => {
                bail!("the model finds boxes and no single class: `squeeze run` shows them")
            }
            Task::ContinueText => {
                bail!("the model goes on with texts and classifies none: `squeeze run` shows how")
            }
        };
        if wanted == 0 || outputs != &[1, wanted] {
            bail!("the network gives {outputs:?} for one example, its task asks for [1, {wanted}]");
        }
        let front = Front::from_json(&meta.input)?;
        let plan = compile_owned(&graph, weights, target)?;
        let scratch = plan.scratch();
        Ok(Self {
            task,
            labels: meta.labels,
            front,
            card: meta.card,
            graph,
            plan,
            scratch,
            width: wanted,
        })
    }

    /// What its products are made of.
    pub fn precision(&self) -> Precision {
        self.plan.target().precision
    }

    /// What the network says to a batch of one; a shorter text is filled up.
    ///
    /// # Errors
    /// When the input is not what the network takes.
    pub fn answer(&mut self, input: BatchInput) -> Result<Answer> {
        let fed = feed(&self.graph, input)?;
        let inputs: Vec<Input> = fed.iter().map(Fed::input).collect();
        self.plan.check(&inputs)?;
        let outputs: Outputs = self.plan.run(&inputs, &mut self.scratch);
        let logits = &outputs.first()[..self.width];
        let class = (0..self.width).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        // Networks of other programs may end in probabilities.
        let last = &self.graph.node(self.graph.outputs()[0]).op;
        let are_probabilities = matches!(last, Op::Softmax(_));
        let values = match self.task {
            Task::ClassifyImage | Task::ClassifyText { .. } if !are_probabilities => {
                softmax(logits)
            }
            Task::EmbedText { unit: true } => scaled(logits),
            _ => logits.to_vec(),
        };
        Ok(Answer {
            class: class.expect("at least one output"),
            values,
        })
    }

    /// How alike the vectors of two texts are: the cosine of the angle between them, -1 to 1.
    ///
    /// # Errors
    /// When the network takes images.
    pub fn similarity(&mut self, text: &str, other: &str) -> Result<f32> {
        let input = self.front.text(text, None)?;
        let first = self.answer(input)?.values;
        let input = self.front.text(other, None)?;
        Ok(cosine(&first, &self.answer(input)?.values))
    }

    /// Judges how alike the two texts of each example are.
    ///
    /// # Errors
    /// When an example is no pair of texts with a number.
    pub fn judge_similarity(
        &mut self,
        examples: &[Example],
        mut progress: impl FnMut(usize),
    ) -> Result<Score> {
        let (mut found, mut right) = (vec![], vec![]);
        for example in examples {
            let (
                Given::Text {
                    text,
                    pair: Some(other),
                },
                Label::Value(value),
            ) = (&example.input, &example.label)
            else {
                bail!("an example is no pair of texts with a number");
            };
            found.push(self.similarity(text, other)?);
            right.push(*value);
            progress(found.len());
        }
        let metric = Metric::usual(self.task);
        Ok(metric.score(&Labels::Values(found), &Labels::Values(right), Seed(0))?)
    }

    /// Judges the answers to every example of a split, one at a time.
    ///
    /// # Errors
    /// When the split does not fit the network.
    pub fn judge(&mut self, split: &Prepared, mut progress: impl FnMut(usize)) -> Result<Score> {
        let mut classes = vec![0; split.len()];
        let mut values = vec![0.0; split.len()];
        for (done, batch) in split.once(1).enumerate() {
            let batch = batch?;
            let (row, answer) = (batch.rows[0], self.answer(batch.input)?);
            (classes[row], values[row]) = (answer.class, answer.values[0]);
            progress(done + 1);
        }
        let answers = match split.labels() {
            Labels::Classes(_) => Labels::Classes(classes),
            Labels::Values(_) => Labels::Values(values),
        };
        Ok(Metric::usual(self.task).score(&answers, split.labels(), Seed(0))?)
    }
}

impl Fed {
    fn input(&self) -> Input<'_> {
        match self {
            Self::Numbers(values) => Input::Numbers(values),
            Self::Indices(values) => Input::Indices(values),
        }
    }
}

/// The network's inputs of a batch of one, by their names.
fn feed(graph: &Graph, input: BatchInput) -> Result<Vec<Fed>> {
    let (ids, types, lengths) = match input {
        BatchInput::Images { pixels, .. } => return Ok(vec![Fed::Numbers(pixels)]),
        BatchInput::Tokens {
            ids,
            type_ids,
            lengths,
            ..
        } => (ids, type_ids, lengths),
    };
    let filled = |values: &[i32], id: &NodeId| {
        let mut values = values.to_vec();
        values.resize(graph.node(*id).shape[1], 0);
        Fed::Indices(values)
    };
    let one = |id: &NodeId| {
        Ok(match graph.node(*id).name.as_str() {
            "ids" => filled(&ids, id),
            "types" => filled(&types, id),
            "lengths" => Fed::Indices(vec![i32::try_from(lengths[0])?]),
            name => bail!("the network has an input `{name}`, which no text gives"),
        })
    };
    graph.inputs().iter().map(one).collect()
}

/// A vector scaled to length 1; one of zeros stays.
fn scaled(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let length = length.max(f32::MIN_POSITIVE);
    vector.iter().map(|x| x / length).collect()
}

/// The cosine of the angle between two vectors; 0 when one is of zeros.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = (scaled(a), scaled(b));
    a.iter().zip(&b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_compared_by_their_direction() {
        assert_eq!(scaled(&[3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(cosine(&[3.0, 4.0], &[6.0, 8.0]), 1.0);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 7.0]), 0.0);
        assert_eq!(cosine(&[0.0, 0.0], &[0.0, 7.0]), 0.0);
    }
}
