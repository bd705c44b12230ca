//! Named weights: an ordered map from a weight's path (`layer.0.query.weight`) to its tensor.

use std::collections::BTreeMap;

use crate::Tensor;

/// The numbers of a network, by name. The only mutable state of a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    map: BTreeMap<String, Tensor>,
}

impl Weights {
    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.map.get(name)
    }

    /// Puts a tensor under a name and gives back what stood there.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Option<Tensor> {
        self.map.insert(name.into(), tensor)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.map.remove(name)
    }

    /// Names and tensors in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.map
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Bytes of all tensors together, with the scales of those in bytes.
    pub fn bytes(&self) -> usize {
        self.map.values().map(Tensor::size).sum()
    }

    /// Whether some of them are in bytes.
    pub fn has_bytes(&self) -> bool {
        self.map.values().any(|tensor| tensor.scaled().is_some())
    }
}

impl FromIterator<(String, Tensor)> for Weights {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(pairs: I) -> Self {
        Self {
            map: pairs.into_iter().collect(),
        }
    }
}
