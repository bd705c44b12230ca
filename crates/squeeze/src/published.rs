//! Published weights for a network of ours: found by the names they are published under, all of them used.

use std::collections::HashSet;

use anyhow::bail;
use squeeze_graph::Graph;
use squeeze_tensor::{Tensor, Weights};
use squeeze_zoo::names::{
    Layout, added, copy_of, is_beside, is_sinusoids, layout, may_be_zero, published, turned,
};

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
    let params = graph.params();
    // Whether the file has its layers as [in, out]: a square one alone does not say.
    let is_turned = |name: &str| {
        let Some(witness) = turned(name) else {
            return false;
        };
        let ours = params.iter().find(|(name, _)| *name == witness);
        let back = ours.map(|(_, param)| [param.shape[1], param.shape[0]]);
        find(&witness).is_some_and(|(_, tensor)| back.is_some_and(|back| tensor.shape() == back))
    };
    for (name, param) in &params {
        let Some((known, tensor)) = find(name) else {
            match is_sinusoids(name) {
                true => {
                    let table = sinusoids(param.shape[0], param.shape[1]);
                    weights.insert(name, Tensor::from_f32(&param.shape, &table));
                }
                false => missing.push(name.clone()),
            }
            continue;
        };
        used.insert(known);
        let back: Vec<usize> = param.shape.iter().rev().copied().collect();
        let found = match is_turned(name) {
            true => (tensor.shape() == back).then_some(Layout::Turned),
            false => layout(&param.shape, tensor.shape()),
        };
        let Some(layout) = found else {
            bail!(
                "{name} is {:?} in the file, the network asks for {:?}",
                tensor.shape(),
                param.shape
            );
        };
        let mut values = tensor.floats();
        match layout {
            Layout::Same => {}
            Layout::Neighbours => values = windows(&values, &param.shape),
            Layout::Turned => values = rows_as_columns(&values, param.shape[0]),
            Layout::Heads => values = of_heads(&values, &param.shape),
        }
        if let Some(table) = added(name) {
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
    // Tables that are there twice, and what adds nothing.
    let says_nothing = |name: &str, tensor: &Tensor| {
        let is_copy = |ours: &str| {
            let own = weights.get(ours);
            own.is_some_and(|own| own.shape() == tensor.shape() && own.floats() == tensor.floats())
        };
        copy_of(name).any(is_copy)
            || may_be_zero(name) && tensor.floats().iter().all(|&value| value == 0.0)
    };
    let left: Vec<_> = file
        .iter()
        .filter(|(name, _)| !used.contains(*name) && !is_beside(graph.name(), name))
        .filter(|(name, tensor)| !says_nothing(name, tensor))
        .map(|(name, _)| name.to_owned())
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

/// A matrix `[rows, columns]` from one of `[columns, rows]`.
fn rows_as_columns(matrix: &[f32], rows: usize) -> Vec<f32> {
    let row = |at: usize| matrix.iter().skip(at).step_by(rows).copied();
    (0..rows).flat_map(row).collect()
}

/// Windows of channels `[channels, 1, taps]` from those of heads: the softmax of each head's taps, for each of its channels.
fn of_heads(heads: &[f32], shape: &[usize]) -> Vec<f32> {
    let (channels, taps) = (shape[0], shape[2]);
    let each = channels * taps / heads.len();
    let of_head = |taps: &[f32]| {
        let largest = taps.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = taps
            .iter()
            .map(|&tap| f64::from(tap - largest).exp())
            .collect();
        let sum: f64 = powers.iter().sum();
        let shares: Vec<f32> = powers.iter().map(|power| (power / sum) as f32).collect();
        shares.repeat(each)
    };
    heads.chunks(taps).flat_map(of_head).collect()
}

/// Sines of each place in the first half of a row, cosines in the second; the frequencies fall from 1 to nearly 1/10000.
fn sinusoids(rows: usize, width: usize) -> Vec<f32> {
    let half = width.div_ceil(2);
    let value = |place: usize, at: usize| {
        let pair = if at < half { at } else { at - half };
        let angle = place as f64 / 10000f64.powf(2.0 * pair as f64 / width as f64);
        let value = if at < half { angle.sin() } else { angle.cos() };
        value as f32
    };
    let row = |place: usize| (0..width).map(move |at| value(place, at));
    (0..rows).flat_map(row).collect()
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

    /// GPT-2's layers in both forms: as it is published, and as ours.
    #[test]
    fn layers_with_rows_for_columns() {
        let options = Options {
            length: Some(4),
            ..Options::default()
        };
        let graph = squeeze_zoo::build("distilgpt2", &options).expect("a known name");
        let own = squeeze_rewrite::fresh(&graph, Seed(1));
        assert_eq!(matched(&graph, &own).expect("all there"), own);
        let mut file = Weights::default();
        for (name, tensor) in own.iter() {
            let rest = name.strip_prefix("transformer.").expect("its root");
            let tensor = match turned(name) {
                None => tensor.clone(),
                Some(_) => {
                    let (rows, columns) = (tensor.shape()[0], tensor.shape()[1]);
                    let values = rows_as_columns(&tensor.floats(), columns);
                    Tensor::from_f32(&[columns, rows], &values)
                }
            };
            file.insert(rest, tensor);
        }
        let mask = Tensor::from_f32(&[1, 1, 2, 2], &[1.0, 0.0, 1.0, 1.0]);
        file.insert("h.0.attn.bias", mask);
        assert_eq!(matched(&graph, &file).expect("all there"), own);
        let table = file.get("wte.weight").expect("a table").clone();
        let other = Tensor::from_f32(table.shape(), &vec![0.5; table.len()]);
        file.insert("lm_head.weight", table);
        assert_eq!(matched(&graph, &file).expect("a copy"), own);
        file.insert("lm_head.weight", other);
        let error = matched(&graph, &file).expect_err("no copy").to_string();
        assert!(error.contains("lm_head.weight"), "{error}");
    }

    #[test]
    fn taps_of_heads_are_shares() {
        let ln = |x: f32| x.ln();
        let heads = [ln(1.0), ln(3.0), ln(2.0), ln(2.0)];
        let found = of_heads(&heads, &[4, 1, 2]);
        let wanted = [0.25, 0.75, 0.25, 0.75, 0.5, 0.5, 0.5, 0.5];
        // An exponential of a logarithm, each half an ulp off.
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 4.0 * f32::EPSILON;
        assert!(found.iter().zip(&wanted).all(near), "{found:?}");
    }

    #[test]
    fn sinusoids_begin_with_their_places() {
        let table = sinusoids(3, 4);
        assert_eq!(table[..4], [0.0, 0.0, 1.0, 1.0]);
        let third = [2f64.sin(), 0.02f64.sin(), 2f64.cos(), 0.02f64.cos()];
        assert_eq!(table[8..], third.map(|value| value as f32));
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
