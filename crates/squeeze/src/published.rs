//! Published weights for a network of ours: found by the names they are published under, all of them used.

use std::collections::HashSet;

use anyhow::bail;
use squeeze_graph::Graph;
use squeeze_tensor::{Tensor, Weights};
use squeeze_zoo::names::{Layout, added, is_beside, layout, published};

/// The network's weights, each found in the file under one of the names it is published by.
///
/// # Errors
/// When one is missing or of another shape, or a tensor of the file is left over.
pub fn matched(graph: &Graph, file: &Weights) -> anyhow::Result<Weights> {
    let find = |name: &str| {
        let names = published(name);
        let known = names.into_iter().find(|known| file.get(known).is_some())?;
        let tensor = file.get(&known).expect("it was just found");
        Some((known, tensor))
    };
    let mut weights = Weights::default();
    let mut missing = vec![];
    let mut used = HashSet::new();
    for (name, param) in graph.params() {
        let Some((known, tensor)) = find(&name) else {
            missing.push(name);
            continue;
        };
        used.insert(known);
        let Some(layout) = layout(&param.shape, tensor.shape()) else {
            bail!(
                "{name} is {:?} in the file, the network asks for {:?}",
                tensor.shape(),
                param.shape
            );
        };
        let mut values = tensor.floats();
        if layout == Layout::Neighbours {
            values = windows(&values, &param.shape);
        }
        if let Some(table) = added(&name) {
            let Some((known, tensor)) = find(table) else {
                missing.push(table.into());
                continue;
            };
            used.insert(known);
            let (row, width) = (tensor.floats(), param.shape[1]);
            if row.len() != width {
                let found = tensor.shape();
                bail!("{table} is {found:?} in the file, one row of {width} is asked for");
            }
            for values in values.chunks_mut(width) {
                let pairs = values.iter_mut().zip(&row);
                pairs.for_each(|(value, more)| *value += more);
            }
        }
        weights.insert(name, Tensor::from_f32(&param.shape, &values));
    }
    let left: Vec<_> = file
        .iter()
        .map(|(name, _)| name.to_owned())
        .filter(|name| !used.contains(name) && !is_beside(graph.name(), name))
        .collect();
    let shown = |names: &[String]| names[..names.len().min(3)].join(", ");
    let lacks = format!(
        "{} of the network's weights are not in the file, the first are {}",
        missing.len(),
        shown(&missing)
    );
    let holds = format!(
        "{} of the file's tensors are not in the network, the first are {}",
        left.len(),
        shown(&left)
    );
    match (missing.is_empty(), left.is_empty()) {
        (true, true) => Ok(weights),
        (false, true) => bail!(lacks),
        (true, false) => bail!(holds),
        (false, false) => bail!("{lacks}; {holds}"),
    }
}

/// A window `[out, channels, taps]` from a layer `[out, taps * channels]`, the last tap first.
fn windows(layer: &[f32], shape: &[usize]) -> Vec<f32> {
    let (channels, taps) = (shape[1], shape[2]);
    let rows = layer.chunks(channels * taps);
    let of_row = |row: &[f32]| -> Vec<f32> {
        let at = |index: usize| row[(taps - 1 - index % taps) * channels + index / taps];
        (0..row.len()).map(at).collect()
    };
    rows.flat_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use squeeze_tensor::Seed;
    use squeeze_zoo::Options;

    use super::*;

    #[test]
    fn a_missing_weight_is_named() {
        let graph = squeeze_zoo::build("squeezenet1_1", &Options::default()).expect("a known name");
        let mut file = squeeze_rewrite::fresh(&graph, Seed(1));
        assert_eq!(matched(&graph, &file).expect("all there"), file);
        let (name, _) = graph.params().remove(3);
        file.remove(&name);
        let error = matched(&graph, &file)
            .expect_err("one is missing")
            .to_string();
        assert!(error.contains(&name), "{error}");
    }

    #[test]
    fn a_tensor_that_is_left_over_is_named() {
        let graph = squeeze_zoo::build("squeezenet1_1", &Options::default()).expect("a known name");
        let mut file = squeeze_rewrite::fresh(&graph, Seed(1));
        let counter = Tensor::from_f32(&[1], &[7.0]);
        file.insert("features.0.num_batches_tracked", counter.clone());
        matched(&graph, &file).expect("counters are no weights");
        file.insert("features.99.weight", counter);
        let (name, _) = graph.params().remove(3);
        file.remove(&name);
        let error = matched(&graph, &file).expect_err("one is missing, one is left");
        let error = error.to_string();
        assert!(
            error.contains(&name) && error.contains("features.99.weight"),
            "{error}"
        );
    }

    #[test]
    fn neighbours_become_a_window() {
        // Two outputs of two channels and three taps; in the layer the next token comes first.
        let layer = [
            5.0, 6.0, 3.0, 4.0, 1.0, 2.0, 11.0, 12.0, 9.0, 10.0, 7.0, 8.0,
        ];
        let wanted = [
            1.0, 3.0, 5.0, 2.0, 4.0, 6.0, 7.0, 9.0, 11.0, 8.0, 10.0, 12.0,
        ];
        assert_eq!(windows(&layer, &[2, 2, 3]), wanted);
    }
}
