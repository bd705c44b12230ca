//! Weights that a file holds in panels, which some kernels read where they lie: each plan computes what it does of rows, to the last bit.

mod cases;

use squeeze_formats::model::{load, save};
use squeeze_formats::{Meta, ModelFile};
use squeeze_graph::{Element, Graph, elements};
use squeeze_infer::{Input, Precision, Target, compile};
use squeeze_kernels::Tier;
use squeeze_tensor::{Seed, Tensor, Weights};

/// A network's weights, and the same from a file.
fn both(graph: &Graph) -> [Weights; 2] {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.squeeze");
    let model = ModelFile {
        graph: graph.clone(),
        weights: squeeze_rewrite::fresh(graph, Seed(1)),
        meta: Meta::default(),
    };
    save(&path, &model).expect("writable");
    [model.weights, load(&path).expect("own file").weights]
}

fn outputs(graph: &Graph, weights: &Weights, target: &Target) -> Vec<Vec<u32>> {
    let plan = compile(graph, weights, target).expect("compiles");
    let sizes = plan.inputs().iter().map(|input| elements(&input.shape));
    let held: Vec<(Vec<f32>, Vec<i32>)> = sizes
        .map(|size| {
            let numbers = (0..size).map(|at| (at % 13) as f32 / 5.0 - 1.0);
            (numbers.collect(), vec![1; size])
        })
        .collect();
    let pairs = plan.inputs().iter().zip(&held);
    let inputs: Vec<Input> = pairs
        .map(|(input, (numbers, indices))| match input.element {
            Element::Number => Input::Numbers(numbers),
            Element::Index => Input::Indices(indices),
        })
        .collect();
    let mut scratch = plan.scratch();
    let outputs = plan.run(&inputs, &mut scratch);
    let bits = |output: &[f32]| output.iter().map(|number| number.to_bits()).collect();
    outputs.iter().map(bits).collect()
}

#[test]
fn panels_change_no_bit() {
    let mut in_panels = 0;
    for graph in cases::cases() {
        let [rows, held] = both(&graph);
        in_panels += held
            .iter()
            .filter_map(|(_, tensor)| tensor.panels())
            .count();
        assert!(
            rows.iter()
                .all(|(_, tensor)| Tensor::panels(tensor).is_none())
        );
        for tier in Tier::here() {
            for precision in Precision::ALL {
                let target = Target::here(2).at(tier).with_precision(precision);
                let [of_rows, of_panels] = [&rows, &held].map(|own| outputs(&graph, own, &target));
                assert_eq!(
                    of_rows,
                    of_panels,
                    "{} at {tier:?}, {precision:?}",
                    graph.name()
                );
            }
        }
    }
    assert!(in_panels > 20, "{in_panels} weights in panels");
}
