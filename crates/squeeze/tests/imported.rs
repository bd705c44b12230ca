//! Imported ONNX files compute what PyTorch computes. `golden/onnx_files.py` made them.

use std::path::Path;

use squeeze_formats::onnx::Sizes;
use squeeze_graph::Element;
use squeeze_infer::{Input, Target, channels_first, channels_last, compile};

/// Runs an imported file on its inputs and compares with PyTorch's answer: 1e-5 covers sums of a
/// hundred single-precision products of size 1 in another order.
#[track_caller]
fn check(name: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    let path = golden.join(format!("{name}.onnx"));
    let (graph, weights) =
        squeeze_formats::onnx::import(&path, &Sizes::default()).expect("a golden file");
    let text = std::fs::read_to_string(golden.join(format!("{name}.json"))).expect("its facts");
    let facts: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let numbers = |key: &str| -> Vec<f32> {
        let values = facts[key].as_array().expect("numbers").iter();
        values
            .map(|v| v.as_f64().expect("a number") as f32)
            .collect()
    };
    let mut indices = vec![];
    let mut images = vec![];
    for id in graph.inputs() {
        let node = graph.node(id);
        let whole = |key| numbers(key).iter().map(|&v| v as i32).collect::<Vec<_>>();
        match (&*node.name, node.element) {
            ("ids", Element::Index) => indices.push(whole("input_ids")),
            ("types", Element::Index) => indices.push(whole("token_type_ids")),
            ("lengths", Element::Index) => indices.push(vec![whole("attention_mask").iter().sum()]),
            _ => {
                let shape = <[usize; 4]>::try_from(&*node.shape).expect("an image");
                images.push(channels_last(shape, &numbers("x")));
            }
        }
    }
    let mut inputs: Vec<_> = indices
        .iter()
        .map(|values| Input::Indices(values))
        .collect();
    inputs.extend(images.iter().map(|values| Input::Numbers(values)));
    let plan = compile(&graph, &weights, &Target::here(1)).expect("every operator runs");
    plan.check(&inputs).expect("the inputs fit");
    let mut scratch = plan.scratch();
    let found = plan.run(&inputs, &mut scratch).first().to_vec();
    let found = match <[usize; 4]>::try_from(&*graph.node(graph.outputs()[0]).shape) {
        Ok(image) => channels_first(image, &found),
        Err(_) => found,
    };
    let wanted = numbers("out");
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!(
            (found - wanted).abs() <= 1e-5 * wanted.abs().max(1.0),
            "{found} {wanted}"
        );
    }
}

#[test]
fn squeezebert() {
    check("onnx_squeezebert");
}

/// Padding behind the fifth token; GELU and attention written out.
#[test]
fn bert_of_the_older_exporter() {
    check("onnx_bert");
}

/// A gate, SiLU, a Fire-like concatenation, depthwise dilation, a pool that hangs over.
#[test]
fn image() {
    check("onnx_image");
}

/// Neighbouring tokens side by side, bottlenecks, scales without a norm.
#[test]
fn mobilebert() {
    check("onnx_mobilebert");
}

/// A gate at low resolution, made larger twice.
#[test]
fn segment() {
    check("onnx_segment");
}
