//! A model file that answers: a text or an image in, a class with its probability out.

use std::path::Path;

use anyhow::{Context, Result, bail};
use squeeze_data::metrics::{Metric, Score};
use squeeze_data::{BatchInput, Labels, Prepared, Task};
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
}

/// What the network says to one example.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The class with the highest output.
    pub class: usize,
    /// Probability of each class; the bare number when the answer is one.
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
        let model = squeeze_formats::model::load_on(path, target.threads)?;
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
        let task: Task =
            serde_json::from_value(meta.task).context("the model does not say what its task is")?;
        if task == Task::Detect {
            bail!("the model finds boxes and no single class: `squeeze run` shows them");
        }
        let front = Front::from_json(&meta.input)?;
        let outputs = &graph.node(graph.outputs()[0]).shape;
        let wanted = if task.is_classification() {
            meta.labels.len()
        } else {
            1
        };
        if outputs != &[1, wanted] {
            bail!(
                "the network gives {outputs:?} for one example, its labels ask for [1, {wanted}]"
            );
        }
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
        let width = self.labels.len().max(1);
        let logits = &outputs.first()[..width];
        let class = (0..width).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        // Networks of other programs may end in probabilities.
        let last = &self.graph.node(self.graph.outputs()[0]).op;
        let are_probabilities = matches!(last, Op::Softmax(_));
        let values = match self.task.is_classification() && !are_probabilities {
            true => softmax(logits),
            false => logits.to_vec(),
        };
        Ok(Answer {
            class: class.expect("at least one output"),
            values,
        })
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

/// Probabilities of outputs.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_however_large_the_outputs() {
        let p = softmax(&[1000.0, 1000.0, -1000.0]);
        assert_eq!(p, [0.5, 0.5, 0.0]);
    }
}
