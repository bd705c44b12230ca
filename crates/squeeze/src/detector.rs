//! A model file that finds objects: an image in, classes with their boxes out.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use squeeze_data::detection::Corners;
use squeeze_data::{BatchInput, Detection, Image, SingleShot, Task};
use squeeze_formats::{Meta, ModelFile};
use squeeze_graph::Graph;
use squeeze_infer::{Input, Plan, Scratch, Target, compile_owned};

use crate::front::Front;

/// A detector compiled for this machine, with what stands before and behind it.
#[derive(Debug)]
pub struct Detector {
    /// Names of the classes; the first stands for nothing.
    pub labels: Vec<String>,
    /// How an image becomes an input.
    pub front: Front,
    shot: SingleShot,
    defaults: Vec<Corners>,
    plan: Plan,
    scratch: Scratch,
}

/// A model file's `task` for a detector: how its outputs become boxes beside what it does.
///
/// # Errors
/// Never for numbers that are finite.
pub fn task(shot: &SingleShot) -> Result<Value> {
    let mut task = serde_json::to_value(Task::Detect)?;
    task["boxes"] = serde_json::to_value(shot)?;
    Ok(task)
}

/// How many classes a network gives scores of, when it gives these and the offsets of as many default boxes; `[1, boxes, classes]` and
/// `[1, boxes, 4]` of one image.
pub fn classes(graph: &Graph, shot: &SingleShot) -> Option<usize> {
    let shape = |id| &*graph.node(id).shape;
    let outputs: Vec<&[usize]> = graph.outputs().iter().map(|&id| shape(id)).collect();
    let (&[1, boxes, classes], &[1, others, 4]) = (*outputs.first()?, *outputs.get(1)?) else {
        return None;
    };
    let [input] = *graph.inputs() else {
        return None;
    };
    let &[_, _, height, width] = shape(input) else {
        return None;
    };
    let fits = boxes == others && shot.count([height, width]) == Some(boxes);
    (fits && outputs.len() == 2).then_some(classes)
}

impl Detector {
    /// Whether a model file is one of these.
    pub fn is_asked_for(meta: &Meta) -> bool {
        Task::of(&meta.task) == Some(Task::Detect)
    }

    /// Compiles a model for a target.
    ///
    /// # Errors
    /// When it does not say how its input or its boxes are made, or cannot be compiled.
    pub fn new(model: ModelFile, target: &Target) -> Result<Self> {
        let ModelFile {
            graph,
            weights,
            meta,
        } = model;
        let shot: SingleShot = serde_json::from_value(meta.task["boxes"].clone())
            .context("the model does not say how its boxes are made")?;
        let front = Front::from_json(&meta.input)?;
        let Front::Image(preprocess) = &front else {
            bail!("the model finds objects in images, and says how texts become its input");
        };
        let found = classes(&graph, &shot);
        let wanted = meta.labels.len();
        ensure!(
            found == Some(wanted) && wanted > 1,
            "the network does not give scores of {wanted} classes and offsets of the default boxes that the model speaks of"
        );
        let size = preprocess.size;
        let taken = &graph.node(graph.inputs()[0]).shape[1..];
        let made = [preprocess.channels, size[0], size[1]];
        ensure!(
            taken == made,
            "the network takes an image of {taken:?}, the model's preprocessing makes {made:?}"
        );
        let defaults = shot.default_boxes(size);
        let are_finite = defaults.as_flattened().iter().all(|side| side.is_finite());
        ensure!(
            are_finite && shot.weights.iter().all(|&by| by > 0.0),
            "the boxes that the model speaks of are not finite"
        );
        let plan = compile_owned(&graph, weights, target)?;
        let scratch = plan.scratch();
        Ok(Self {
            labels: meta.labels,
            front,
            shot,
            defaults,
            plan,
            scratch,
        })
    }

    /// The objects in an image, the surest first, in its own pixels.
    ///
    /// # Errors
    /// When the network's answer is not finite.
    pub fn detect(&mut self, image: &Image) -> Result<Vec<Detection>> {
        let BatchInput::Images { pixels, size } = self.front.image(image)? else {
            unreachable!("images become images");
        };
        let inputs = [Input::Numbers(&pixels)];
        self.plan.check(&inputs)?;
        let outputs = self.plan.run(&inputs, &mut self.scratch);
        let (count, seen) = (self.defaults.len(), [size[1], size[2]]);
        let scores = &outputs.at(0)[..count * self.labels.len()];
        let offsets = &outputs.at(1)[..count * 4];
        let found = self
            .shot
            .detections([scores, offsets], &self.defaults, seen)?;
        let own = [image.height, image.width];
        Ok(found.into_iter().map(|one| one.scaled(seen, own)).collect())
    }
}
