//! Weights in panels as model files have them: `NODE.weight` of `[rows / 16, columns, 16]` instead of `[rows, columns, ...]`, so that a
//! plan may read them where the file has them.

use std::collections::HashSet;

use squeeze_graph::{Graph, Node, Op};
use squeeze_tensor::{PANEL, Tensor, Weights};

/// The weights as a file has them: those that products alone read in panels, all others row by row; and whether there are panels.
pub(crate) fn in_panels(graph: &Graph, weights: &Weights) -> (Weights, bool) {
    let (names, mut some) = (products(graph), false);
    let named = weights.iter().map(|(name, tensor)| {
        let panels = names.contains(name).then(|| tensor.to_panels()).flatten();
        some |= panels.is_some();
        (name.to_owned(), panels.unwrap_or_else(|| tensor.in_rows()))
    });
    (named.collect(), some)
}

/// The weights of a file, those in panels with the shapes that the network asks for.
pub(crate) fn of_panels(graph: &Graph, mut weights: Weights) -> Weights {
    let names = products(graph);
    let params = graph.params().into_iter();
    for (name, param) in params.filter(|(name, _)| names.contains(name)) {
        let held = weights
            .get(&name)
            .and_then(|tensor| Tensor::of_panels(tensor, &param.shape));
        if let Some(held) = held {
            weights.insert(name, held);
        }
    }
    weights
}

/// Names of the weights that no node reads but layers of one tap, with whole panels in each group.
fn products(graph: &Graph) -> HashSet<String> {
    weights_of(graph, &|node| {
        let (taps, out, groups) = match &node.op {
            Op::Conv2d(row) => (row.kernel[0] * row.kernel[1], row.out, row.groups),
            Op::Conv1d(row) => (row.kernel, row.out, row.groups),
            Op::Linear(row) => (1, row.out, row.groups),
            _ => return false,
        };
        taps == 1 && (out / groups).is_multiple_of(PANEL)
    })
}

/// Names of the weights that some nodes read, and no others.
pub(crate) fn weights_of(graph: &Graph, is_it: &dyn Fn(&Node) -> bool) -> HashSet<String> {
    let others = graph.nodes().iter().filter(|node| !is_it(node));
    let others: HashSet<&str> = others.map(|node| &*node.weights).collect();
    let owners = graph.nodes().iter().map(|node| &*node.weights);
    let alone = owners.filter(|name| !others.contains(name));
    alone.map(|name| format!("{name}.weight")).collect()
}

#[cfg(test)]
mod tests {
    use squeeze_graph::ops::{Conv1d, Embedding, Linear};
    use squeeze_graph::{Builder, Element};

    use super::*;
    use crate::model::{Meta, ModelFile, load, save};

    #[test]
    fn products_alone_come_in_panels() {
        let mut b = Builder::new("text");
        let x = b.input("ids", &[1, 4], Element::Index).expect("fits");
        let table = Embedding {
            rows: 32,
            width: 32,
        };
        let x = b.add("words", table, &[x]).expect("fits");
        let window = Conv1d {
            out: 32,
            kernel: 3,
            dilation: 1,
            groups: 1,
            bias: false,
        };
        let x = b.add("window", window, &[x]).expect("fits");
        let x = b.add("groups", Linear::grouped(64, 4), &[x]).expect("fits");
        let x = b.add("narrow", Linear::grouped(32, 4), &[x]).expect("fits");
        let x = b.add("dense", Linear::dense(32), &[x]).expect("fits");
        let graph = b.finish(&[x]).expect("one output");
        let names = products(&graph);
        let wanted = ["dense.weight", "groups.weight"].map(str::to_owned);
        assert_eq!(names, HashSet::from(wanted));
    }

    fn model() -> ModelFile {
        let mut b = Builder::new("text");
        let x = b.input("x", &[1, 400], Element::Number).expect("fits");
        let x = b.add("hidden", Linear::grouped(96, 2), &[x]).expect("fits");
        let x = b.add("head", Linear::dense(5), &[x]).expect("fits");
        let graph = b.finish(&[x]).expect("one output");
        let filled = |shape: &[usize]| {
            let numbers: Vec<f32> = (0..shape.iter().product())
                .map(|at| at as f32 / 7.0)
                .collect();
            Tensor::from_f32(shape, &numbers)
        };
        let params = graph.params().into_iter();
        let weights = params.map(|(name, param)| (name, filled(&param.shape)));
        ModelFile {
            weights: weights.collect(),
            graph,
            meta: Meta::default(),
        }
    }

    #[test]
    fn files_hold_panels_on_cache_lines() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.squeeze");
        let model = model();
        save(&path, &model).expect("writable");
        let loaded = load(&path).expect("own file");
        assert_eq!(loaded, model);
        let weight = |model: &ModelFile, name| model.weights.get(name).expect("a layer's").clone();
        let panels = weight(&loaded, "hidden.weight")
            .panels()
            .expect("six")
            .as_ptr();
        assert!((panels as usize).is_multiple_of(64));
        assert!(weight(&loaded, "head.weight").panels().is_none());
        // What others see, and what comes of writing it again.
        let plain = crate::safetensors::load(&path).expect("safetensors");
        assert_eq!(
            plain.get("hidden.weight").expect("six").shape(),
            [6, 200, 16]
        );
        let again = folder.path().join("again.squeeze");
        save(&again, &loaded).expect("writable");
        let read = |path| std::fs::read(path).expect("written");
        assert_eq!(read(&path), read(&again));
        // As weights alone they are rows.
        crate::safetensors::save(&again, &loaded.weights).expect("writable");
        let rows = crate::safetensors::load(&again).expect("safetensors");
        assert_eq!(
            rows.get("hidden.weight"),
            Some(&weight(&model, "hidden.weight"))
        );
    }

    #[test]
    fn what_is_read_row_by_row_has_no_panels() {
        let mut b = Builder::new("text");
        let x = b.input("ids", &[1, 4], Element::Index).expect("fits");
        let table = Embedding { rows: 32, width: 8 };
        let x = b.add("words", table, &[x]).expect("fits");
        let graph = b.finish(&[x]).expect("one output");
        let rows = Tensor::zeros(&[32, 8]);
        let panels = rows.to_panels().expect("two");
        let weights = Weights::from_iter([("words.weight".to_owned(), panels)]);
        let read = of_panels(&graph, weights);
        let refused = crate::model::fits(&graph, &read).expect_err("a table in panels");
        assert!(refused.0.starts_with("weight `words.weight` is [2, 8, 16]"));
    }
}
