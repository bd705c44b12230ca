//! All trained weights of a network in one buffer, their gradients in another.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use squeeze_graph::{Graph, Init, Param, Role, Space};
use squeeze_tensor::{Seed, Tensor, Weights};

use crate::TrainError;

/// The weights of a network, or of all networks of a space, with their gradients.
#[derive(Clone, Debug)]
pub struct Parameters {
    layout: Arc<Layout>,
    /// The trained weights.
    pub values: Vec<f32>,
    /// The gradient of each trained weight.
    pub gradients: Vec<f32>,
    /// What is collected and not trained: running means and variances.
    pub statistics: Vec<f32>,
}

/// Where each weight lies.
#[derive(Debug, PartialEq)]
pub struct Layout {
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
    trained: usize,
    collected: usize,
}

/// One weight and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Full name: `encoder.layer.0.output.dense.weight`.
    pub name: String,
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
    /// What training does with it.
    pub role: Role,
    /// Its elements in `values` and `gradients`; of statistics, in `statistics`.
    pub range: Range<usize>,
}

/// Places begin at multiples of 16 elements, so that no two weights share a cache line.
const ALIGN: usize = 16;

impl Layout {
    fn new(params: Vec<(String, Param)>) -> Result<Self, TrainError> {
        let mut layout = Self {
            entries: vec![],
            index: HashMap::new(),
            trained: 0,
            collected: 0,
        };
        for (name, param) in params {
            if let Some(&at) = layout.index.get(&name) {
                let first = layout.entries[at].shape.clone();
                if first != param.shape {
                    let second = param.shape;
                    return Err(TrainError::Clash {
                        name,
                        first,
                        second,
                    });
                }
                continue;
            }
            let end = match param.role {
                Role::Weight | Role::Offset => &mut layout.trained,
                Role::Statistic => &mut layout.collected,
            };
            let len = squeeze_graph::elements(&param.shape);
            let range = *end..*end + len;
            *end = range.end.next_multiple_of(ALIGN);
            layout.index.insert(name.clone(), layout.entries.len());
            layout.entries.push(Entry {
                name,
                shape: param.shape,
                init: param.init,
                role: param.role,
                range,
            });
        }
        Ok(layout)
    }

    /// All weights in running order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The trained weights in running order.
    pub fn trained(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.role != Role::Statistic)
    }

    /// The weight of this name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.index.get(name).map(|&at| &self.entries[at])
    }
}

impl Parameters {
    /// Fresh weights of a network; each follows from the seed and its own name.
    ///
    /// # Errors
    /// When two nodes give one name to weights of different shape.
    pub fn fresh(graph: &Graph, seed: Seed) -> Result<Self, TrainError> {
        Ok(Self::with_layout(Layout::new(graph.params())?, seed))
    }

    /// Fresh weights of all networks of a space, named `slot.choice.node.weight`.
    ///
    /// # Errors
    /// When two nodes give one name to weights of different shape.
    pub fn fresh_space(space: &Space, seed: Seed) -> Result<Self, TrainError> {
        let mut params = space.graph().params();
        for (at, slot) in space.slots().iter().enumerate() {
            for choice in slot.choices() {
                let prefix = format!("{}.{}", space.slot_name(at), choice.name());
                let own = choice.body().params().into_iter();
                params.extend(own.map(|(name, param)| (format!("{prefix}.{name}"), param)));
            }
        }
        Ok(Self::with_layout(Layout::new(params)?, seed))
    }

    /// The weights of a network from `weights`, with zero gradients.
    ///
    /// # Errors
    /// When a weight is missing or has another shape.
    pub fn from_weights(graph: &Graph, weights: &Weights) -> Result<Self, TrainError> {
        let mut parameters = Self::fresh(graph, Seed(0))?;
        for entry in parameters.layout.clone().entries() {
            if weights.get(&entry.name).is_none() {
                let name = entry.name.clone();
                return Err(TrainError::Missing { name });
            }
        }
        parameters.load(weights)?;
        Ok(parameters)
    }

    fn with_layout(layout: Layout, seed: Seed) -> Self {
        let mut parameters = Self {
            values: vec![0.0; layout.trained],
            gradients: vec![0.0; layout.trained],
            statistics: vec![0.0; layout.collected],
            layout: Arc::new(layout),
        };
        for entry in parameters.layout.clone().entries() {
            let mut random = seed.child(&entry.name).random();
            let values = parameters.slice_mut(entry);
            match entry.init {
                Init::Zeros => values.fill(0.0),
                Init::Ones => values.fill(1.0),
                Init::Normal(deviation) => {
                    values
                        .iter_mut()
                        .for_each(|v| *v = deviation * random.normal());
                }
                Init::Uniform(bound) => {
                    let draw = |v: &mut f32| *v = bound * (2.0 * random.uniform() - 1.0);
                    values.iter_mut().for_each(draw);
                }
            }
        }
        parameters
    }

    /// Takes over every weight that `weights` has under a name of ours; says how many.
    ///
    /// # Errors
    /// When one has another shape.
    pub fn load(&mut self, weights: &Weights) -> Result<usize, TrainError> {
        let mut count = 0;
        for entry in self.layout.clone().entries() {
            let Some(tensor) = weights.get(&entry.name) else {
                continue;
            };
            if tensor.shape() != entry.shape {
                return Err(TrainError::Shape {
                    name: entry.name.clone(),
                    found: tensor.shape().to_vec(),
                    wanted: entry.shape.clone(),
                });
            }
            self.slice_mut(entry).copy_from_slice(&tensor.floats());
            count += 1;
        }
        Ok(count)
    }

    /// All weights and statistics as tensors.
    pub fn weights(&self) -> Weights {
        let tensor = |entry: &Entry| Tensor::from_f32(&entry.shape, self.slice(entry));
        let entries = self.layout.entries.iter();
        entries
            .map(|entry| (entry.name.clone(), tensor(entry)))
            .collect()
    }

    /// Where each weight lies.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The elements of the weight of this name.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.layout.find(name).map(|entry| self.slice(entry))
    }

    /// The elements of the weight of this name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        let layout = self.layout.clone();
        layout.find(name).map(|entry| self.slice_mut(entry))
    }

    /// The gradient of the trained weight of this name.
    pub fn gradient(&self, name: &str) -> Option<&[f32]> {
        let entry = self.layout.find(name)?;
        (entry.role != Role::Statistic).then(|| &self.gradients[entry.range.clone()])
    }

    /// Makes every gradient zero.
    pub fn clear_gradients(&mut self) {
        self.gradients.fill(0.0);
    }

    /// Number of trained weights.
    pub fn count(&self) -> usize {
        self.layout.trained().map(|entry| entry.range.len()).sum()
    }

    fn slice(&self, entry: &Entry) -> &[f32] {
        match entry.role {
            Role::Weight | Role::Offset => &self.values[entry.range.clone()],
            Role::Statistic => &self.statistics[entry.range.clone()],
        }
    }

    fn slice_mut(&mut self, entry: &Entry) -> &mut [f32] {
        match entry.role {
            Role::Weight | Role::Offset => &mut self.values[entry.range.clone()],
            Role::Statistic => &mut self.statistics[entry.range.clone()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squeeze_graph::ops::{BatchNorm, Conv2d, Linear};
    use squeeze_graph::{Builder, Element};

    fn graph() -> Graph {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 3, 4, 4], Element::Number).expect("fits");
        let x = b.add("conv", Conv2d::square(5, 3), &[x]).expect("fits");
        let x = b.add("norm", BatchNorm::default(), &[x]).expect("fits");
        b.finish(&[x]).expect("one output")
    }

    #[test]
    fn weights_round_trip() {
        let fresh = Parameters::fresh(&graph(), Seed(3)).expect("names differ");
        let again = Parameters::from_weights(&graph(), &fresh.weights()).expect("same network");
        assert_eq!(fresh.values, again.values);
        assert_eq!(fresh.statistics, again.statistics);
        assert_eq!(fresh.get("norm.running_var"), Some(&[1.0; 5][..]));
        assert_eq!(fresh.count(), 5 * 27 + 5 + 5);
    }

    #[test]
    fn a_weight_does_not_depend_on_its_neighbours() {
        let mut b = Builder::new("other");
        let x = b.input("x", &[1, 3, 4, 4], Element::Number).expect("fits");
        let x = b.add("first", Conv2d::square(3, 3), &[x]).expect("fits");
        let x = b.add("conv", Conv2d::square(5, 3), &[x]).expect("fits");
        let other = b.finish(&[x]).expect("one output");
        let other = Parameters::fresh(&other, Seed(3)).expect("names differ");
        let one = Parameters::fresh(&graph(), Seed(3)).expect("names differ");
        assert_eq!(one.get("conv.weight"), other.get("conv.weight"));
    }

    #[test]
    fn a_missing_weight_is_named() {
        let mut b = Builder::new("head");
        let x = b.input("x", &[1, 3], Element::Number).expect("fits");
        let x = b.add("head", Linear::dense(2), &[x]).expect("fits");
        let graph = b.finish(&[x]).expect("one output");
        let error = Parameters::from_weights(&graph, &Weights::default()).expect_err("empty");
        assert!(error.to_string().starts_with("head.weight: "), "{error}");
    }
}
