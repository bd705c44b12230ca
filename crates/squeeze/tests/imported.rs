//! Imported ONNX and TFLite files compute what PyTorch and LiteRT compute. `golden/onnx_files.py` and `golden/tflite_files.py` made them.

use std::path::{Path, PathBuf};

use squeeze_formats::tflite::{self, Pixel};
use squeeze_graph::ops::Activation;
use squeeze_graph::{Element, Graph, Op};
use squeeze_infer::{Input, Precision, Target, channels_first, channels_last, compile};
use squeeze_tensor::{Tensor, Weights};

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    folder.join(name)
}

/// The numbers of a golden file by their names.
fn facts(name: &str) -> impl Fn(&str) -> Vec<f32> {
    let text = std::fs::read_to_string(golden(&format!("{name}.json"))).expect("its facts");
    let facts: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    move |key| {
        let values = facts[key].as_array().expect("numbers").iter();
        values
            .map(|v| v.as_f64().expect("a number") as f32)
            .collect()
    }
}

/// What a network gives first.
fn answer(graph: &Graph, weights: &Weights, inputs: &[Input], precision: Precision) -> Vec<f32> {
    let target = Target::here(1).with_precision(precision);
    let plan = compile(graph, weights, &target).expect("every operator runs");
    plan.check(inputs).expect("the inputs fit");
    let mut scratch = plan.scratch();
    plan.run(inputs, &mut scratch).first().to_vec()
}

#[track_caller]
fn close(found: &[f32], wanted: &[f32], bound: f32) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(
            (found - wanted).abs() <= bound * wanted.abs().max(1.0),
            "{found} {wanted}"
        );
    }
}

/// Runs an imported file on its inputs and compares with PyTorch's answer: 1e-5 covers sums of a
/// hundred single-precision products of size 1 in another order.
#[track_caller]
fn check(name: &str) -> Graph {
    let path = golden(&format!("{name}.onnx"));
    let (graph, weights) =
        squeeze_formats::onnx::import(&path, &Default::default()).expect("a golden file");
    let numbers = facts(name);
    let mut indices = vec![];
    let mut images = vec![];
    for id in graph.inputs() {
        let node = graph.node(id);
        let whole = |key| numbers(key).iter().map(|&v| v as i32).collect::<Vec<_>>();
        match (&*node.name, node.element) {
            ("ids", Element::Index) => indices.push(whole("input_ids")),
            ("types", Element::Index) => indices.push(whole("token_type_ids")),
            ("target", Element::Index) => indices.push(whole("decoder_input_ids")),
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
    let found = answer(&graph, &weights, &inputs, Precision::F32);
    let found = match <[usize; 4]>::try_from(&*graph.node(graph.outputs()[0]).shape) {
        Ok(image) => channels_first(image, &found),
        Err(_) => found,
    };
    close(&found, &numbers("out"), 1e-5);
    graph
}

/// Runs an imported TFLite file on its image and compares with LiteRT's answer; both have channels last.
#[track_caller]
fn check_tflite(name: &str, precision: Precision, bound: f32) -> tflite::Imported {
    let path = golden(&format!("{name}.tflite"));
    let imported = tflite::import(&path).expect("a golden file");
    let numbers = facts(name);
    let image = numbers("x");
    let inputs = [Input::Numbers(&image)];
    let found = answer(&imported.graph, &imported.weights, &inputs, precision);
    close(&found, &numbers("out"), bound);
    imported
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

/// A causal mask, layers over the tokens of all texts as one matrix.
#[test]
fn gpt2() {
    let graph = check("onnx_gpt2");
    let looks = graph.nodes().iter().filter_map(|node| match &node.op {
        Op::Attention(row) => Some((row.causal, node.inputs.len())),
        _ => None,
    });
    assert_eq!(looks.collect::<Vec<_>>(), [(true, 4)]);
}

/// Query, key and value in one layer over tokens that stand in front of images; a class token that was expanded before.
#[test]
fn vision_transformer() {
    let graph = check("onnx_vit");
    let census = graph.census();
    let found = ["class_token", "position", "slice", "select"].map(|op| census.get(op).copied());
    assert_eq!(found, [Some(1), Some(1), Some(6), Some(1)]);
}

/// Two class tokens, each expanded to the batch; the mean of two heads.
#[test]
fn distilled_vision_transformer_of_the_older_exporter() {
    let graph = check("onnx_deit");
    let tokens = graph.nodes().iter().filter_map(|node| match &node.op {
        Op::ClassToken(row) => Some(row.tokens),
        _ => None,
    });
    assert_eq!(tokens.collect::<Vec<_>>(), [2]);
}

/// Two texts of different lengths, the first one padded, tokens times the root of the width.
#[test]
fn marian() {
    let graph = check("onnx_marian");
    let looks = graph.nodes().iter().filter_map(|node| match &node.op {
        Op::Attention(row) => Some((row.causal, node.inputs.len())),
        _ => None,
    });
    assert_eq!(
        looks.collect::<Vec<_>>(),
        [(false, 4), (true, 3), (false, 4)]
    );
}

/// A gate at low resolution, made larger twice.
#[test]
fn segment() {
    check("onnx_segment");
}

/// SAME padding at even sizes, a depthwise layer of two filters a channel, zeros before a window, groups, a gate, SiLU, constants, a weight in
/// half precision, an image in rows before a layer.
#[test]
fn tflite_image() {
    let imported = check_tflite("tflite_image", Precision::F32, 1e-5);
    assert_eq!((imported.pixel, imported.notes.len()), (None, 0));
    let census: Vec<_> = imported.graph.census().into_iter().collect();
    let wanted = [
        ("activation", 10),
        ("add", 2),
        ("concat", 2),
        ("conv2d", 4),
        ("global_average", 2),
        ("input", 1),
        ("linear", 4),
        ("mul", 1),
        ("no_norm", 4),
        ("pool", 2),
        ("reshape", 1),
        ("slice", 2),
        ("softmax", 1),
    ];
    assert_eq!(census, wanted);
}

/// All ways of placing pixels, zeros that no window takes, height and width changed, an `ARG_MAX` that is left out.
#[test]
fn tflite_segment() {
    let imported = check_tflite("tflite_segment", Precision::F32, 1e-5);
    let output = &imported.graph.node(imported.graph.outputs()[0]).shape;
    assert_eq!(output, &[1, 5, 8, 12]);
    assert!(imported.notes[0].contains("ARG_MAX is left out"));
}

/// Weights stay bytes; LiteRT's answers are multiples of 1/256, and both round on the way.
#[test]
fn tflite_in_bytes() {
    let imported = check_tflite("tflite_int8", Precision::Int8, 3.0 / 256.0);
    check_tflite("tflite_int8", Precision::F32, 6.0 / 256.0);
    let (graph, weights) = (&imported.graph, &imported.weights);
    let (scale, zero) = (1.0 / 128.0, 128.0);
    assert_eq!(imported.pixel, Some(Pixel { scale, zero }));
    assert!(imported.notes.is_empty());
    let named = |name: &&str| name.ends_with(".weight");
    let layers: Vec<&str> = weights.iter().map(|(name, _)| name).filter(named).collect();
    assert_eq!(layers.len(), 8);
    let in_bytes = |name: &&str| weights.get(name).expect("a layer's").scaled().is_some();
    assert!(layers.iter().all(in_bytes));
    let is_range = |(name, _): &(&str, &Tensor)| graph.node_of_range(name).is_some();
    assert_eq!(weights.iter().filter(is_range).count(), 13);
    // A sigmoid and its product are one node, with the product's range.
    let silu = Op::from(Activation::Silu);
    let silu = graph.nodes().iter().find(|node| node.op == silu);
    let range = format!("{}.range", silu.expect("one").name);
    let [low, high] = *weights.get(&range).expect("it has one").floats() else {
        unreachable!("a range is two numbers");
    };
    assert!(low < -0.2 && high > 1.0, "{low} {high}");
    let image = weights.get("image.range").expect("it is of bytes").floats();
    assert_eq!(image, [-1.0, 127.0 / 128.0]);
}

/// Bytes that are not around zero become numbers.
#[test]
fn tflite_with_zero_points() {
    let imported = check_tflite("tflite_uint8", Precision::F32, 6.0 / 256.0);
    assert!(!imported.weights.has_bytes());
    assert!(imported.notes[0].contains("are not around zero"));
    assert_eq!(
        imported.pixel,
        Some(Pixel {
            scale: 1.0 / 128.0,
            zero: 128.0
        })
    );
}
