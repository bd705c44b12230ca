//! Whether a set of weights is the one a network needs.

use std::collections::BTreeSet;
use std::fmt;

use squeeze_graph::{Graph, Shape};
use squeeze_tensor::{Tensor, Weights};
use thiserror::Error;

/// How weights and network differ, from both sides.
#[derive(Clone, Debug, Default, Error, PartialEq, Eq)]
pub struct WeightsError {
    /// Name of the network.
    pub graph: String,
    /// Names and shapes the network needs and the weights lack.
    pub missing: Vec<(String, Shape)>,
    /// Names and shapes the weights have and the network does not know.
    pub leftover: Vec<(String, Shape)>,
    /// Name, shape the network needs, shape there is.
    pub wrong: Vec<(String, Shape, Shape)>,
}

/// Compares names and shapes of `weights` with what `graph` needs. Ranges of its nodes may be there beside them.
///
/// # Errors
/// When a weight is missing, left over, or of another shape.
pub fn check_weights(graph: &Graph, weights: &Weights) -> Result<(), WeightsError> {
    let mut error = WeightsError {
        graph: graph.name().into(),
        ..WeightsError::default()
    };
    let mut known = BTreeSet::new();
    for (name, param) in graph.params() {
        match weights.get(&name) {
            None => error.missing.push((name.clone(), param.shape)),
            Some(tensor) if tensor.shape() != param.shape => {
                let found = tensor.shape().to_vec();
                error.wrong.push((name.clone(), param.shape, found));
            }
            Some(_) => {}
        }
        known.insert(name);
    }
    let is_range =
        |name: &str, tensor: &Tensor| graph.node_of_range(name).is_some() && tensor.shape() == [2];
    let leftover = weights
        .iter()
        .filter(|(name, tensor)| !known.contains(*name) && !is_range(name, tensor));
    error.leftover = leftover
        .map(|(name, tensor)| (name.into(), tensor.shape().to_vec()))
        .collect();
    if error.missing.is_empty() && error.leftover.is_empty() && error.wrong.is_empty() {
        Ok(())
    } else {
        Err(error)
    }
}

/// Names shown of each kind; the rest is a count.
const SHOWN: usize = 4;

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, what: &str, all: Vec<String>| {
            if all.is_empty() {
                return Ok(());
            }
            write!(f, "; {} {what}: ", all.len())?;
            write!(f, "{}", all[..all.len().min(SHOWN)].join(", "))?;
            if all.len() > SHOWN {
                write!(f, " and {} more", all.len() - SHOWN)?;
            }
            Ok(())
        };
        let pair = |(name, shape): &(String, Shape)| format!("{name} {shape:?}");
        write!(f, "the weights are not those of `{}`", self.graph)?;
        list(f, "missing", self.missing.iter().map(pair).collect())?;
        list(f, "left over", self.leftover.iter().map(pair).collect())?;
        let wrong = |(name, wanted, found): &(String, Shape, Shape)| {
            format!("{name} is {found:?} where {wanted:?} is needed")
        };
        list(
            f,
            "of another shape",
            self.wrong.iter().map(wrong).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use squeeze_graph::{Builder, Element, ops::Linear};
    use squeeze_tensor::Seed;

    use super::*;

    #[test]
    fn both_sides_are_listed() {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 4], Element::Number).expect("fits");
        let y = b.add("a", Linear::dense(3), &[x]).expect("fits");
        let y = b.add("b", Linear::dense(2), &[y]).expect("fits");
        let graph = b.finish(&[y]).expect("one output");
        let mut weights = crate::fresh(&graph, Seed(1));
        check_weights(&graph, &weights).expect("fresh weights fit");
        weights.remove("a.bias");
        weights.insert("b.weight", Tensor::zeros(&[2, 4]));
        weights.insert("c.weight", Tensor::zeros(&[1]));
        weights.insert("a.range", Tensor::zeros(&[2]));
        let error = check_weights(&graph, &weights).expect_err("three faults");
        let text = "the weights are not those of `tiny`; 1 missing: a.bias [3]; \
             1 left over: c.weight [1]; 1 of another shape: b.weight is [2, 4] where [2, 3] is needed";
        assert_eq!(error.to_string(), text);
    }
}
