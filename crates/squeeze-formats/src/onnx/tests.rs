//! Files of real exporters: `golden/onnx_files.py` made them. What they compute is tested where a
//! network can be run.

use std::path::PathBuf;

use prost::Message;
use squeeze_graph::ops::{Linear, Reshape};
use squeeze_graph::{Builder, Choice, Element, Graph};
use squeeze_tensor::{Tensor, Weights};

use super::export::{to_model, write_within};
use super::import::from_bytes;
use super::{Sizes, import, proto};

fn golden(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.join("../../golden").join(format!("{name}.onnx"))
}

#[track_caller]
fn check(name: &str, census: &[(&str, usize)]) {
    let (graph, weights) = import(&golden(name), &Sizes::default()).expect("a golden file");
    let found: Vec<_> = graph.census().into_iter().collect();
    assert_eq!(found, census);
    let params = graph.params();
    assert_eq!(params.len(), weights.len());
    for (name, param) in params {
        let tensor = weights.get(&name).expect(&name);
        assert_eq!(tensor.shape(), param.shape, "{name}");
    }
}

const ENCODER: &[(&str, usize)] = &[
    ("activation", 3),
    ("add", 5),
    ("attention", 2),
    ("embedding", 3),
    ("input", 3),
    ("layer_norm", 5),
    ("linear", 14),
    ("position", 1),
    ("select", 1),
];

#[test]
fn squeezebert() {
    let mut census = ENCODER.to_vec();
    census[1].1 = 6;
    check("onnx_squeezebert", &census);
    let (graph, _) = import(&golden("onnx_squeezebert"), &Sizes::default()).expect("a golden file");
    let query = graph.find("m.transformer.encoder.layers.1.attention.query");
    assert!(query.is_some(), "layers keep their names");
}

#[test]
fn bert_of_the_older_exporter() {
    let mut census = ENCODER.to_vec();
    census[1].1 = 6;
    check("onnx_bert", &census);
}

#[test]
fn image() {
    let census = [
        ("activation", 6),
        ("add", 1),
        ("batch_norm", 1),
        ("concat", 1),
        ("conv2d", 4),
        ("global_average", 2),
        ("input", 1),
        ("linear", 3),
        ("mul", 1),
        ("pool", 1),
    ];
    check("onnx_image", &census);
}

#[test]
fn operators_that_are_not_read_are_named() {
    let mut bytes = std::fs::read(golden("onnx_image")).expect("a golden file");
    let at = bytes
        .windows(9)
        .position(|w| w == b"HardSwish")
        .expect("one");
    bytes[at..at + 9].copy_from_slice(b"HardTwist");
    let error =
        from_bytes(bytes.into(), "x", None, &Sizes::default()).expect_err("no such operator");
    assert!(error.0.starts_with("HardTwist `"), "{}", error.0);
    assert!(
        error.0.ends_with("is an operator that is not read"),
        "{}",
        error.0
    );
}

#[test]
fn damage_is_an_error_or_another_network() {
    for name in [
        "onnx_image",
        "onnx_bert",
        "onnx_vit",
        "onnx_deit",
        "onnx_export_image",
        "onnx_export_text",
    ] {
        let bytes = std::fs::read(golden(name)).expect("a golden file");
        for at in (0..bytes.len()).step_by(13) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            // Without checksums some flips change a number; none may panic or hang.
            let _ = from_bytes(bytes.clone().into(), "x", None, &Sizes::default());
            bytes.truncate(at);
            let _ = from_bytes(bytes.into(), "x", None, &Sizes::default());
        }
    }
}

/// A network of `golden/onnx_export.py`, with weights of zeros.
fn source(name: &str) -> (Graph, Weights) {
    let path = golden(name).with_extension("toml");
    let text = std::fs::read_to_string(path).expect("a golden file");
    let graph = Graph::from_toml(&text).expect("a network");
    let zeros = graph.params().into_iter();
    let zeros = zeros.map(|(name, param)| (name, Tensor::zeros(&param.shape)));
    (graph, zeros.collect())
}

/// ONNX Runtime's answers belong to files of this very form.
#[test]
fn files_are_written_as_the_golden_ones() {
    for name in ["onnx_export_image", "onnx_export_text"] {
        let bytes = std::fs::read(golden(name)).expect("a golden file");
        let wanted = proto::Model::decode(&*bytes).expect("a model");
        let (graph, weights) = source(name);
        let found = to_model(&graph, &weights, &[]).expect("it can be written");
        let [found, wanted] = [found, wanted].map(|model| model.graph.expect("a graph"));
        assert_eq!(found.nodes, wanted.nodes, "{name}");
        assert_eq!(found.inputs, wanted.inputs, "{name}");
        assert_eq!(found.outputs, wanted.outputs, "{name}");
        let forms = |graph: &proto::Graph| -> Vec<_> {
            let tensors = graph.initializers.iter();
            tensors.map(|t| (t.name.clone(), t.dims.clone())).collect()
        };
        assert_eq!(forms(&found), forms(&wanted), "{name}");
    }
}

#[test]
fn large_weights_lie_in_a_file_beside() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    let mut b = Builder::new("wide");
    let x = b.input("x", &[1, 40, 1, 1], Element::Number).expect("fits");
    let x = b.add("flat", Reshape::flatten(), &[x]).expect("fits");
    let x = b.add("wide", Linear::dense(50), &[x]).expect("fits");
    let x = b.add("last", Linear::dense(40), &[x]).expect("fits");
    let graph = b.finish(&[x]).expect("one output");
    let numbers = |shape: &[usize]| {
        let count = 0..shape.iter().product();
        Tensor::from_f32(shape, &count.map(|at| at as f32).collect::<Vec<_>>())
    };
    let params = graph.params().into_iter();
    let weights: Weights = params
        .map(|(name, param)| (name, numbers(&param.shape)))
        .collect();
    let notes = [("labels".to_owned(), "[\"ham\"]".to_owned())];
    let model = to_model(&graph, &weights, &notes).expect("it can be written");
    assert_eq!(
        (&*model.notes[0].key, &*model.notes[0].value),
        ("labels", "[\"ham\"]")
    );
    write_within(&path, model, 1000).expect("writable");
    let beside = std::fs::read(folder.path().join("model.onnx.data")).expect("it is there");
    // Two matrices of 8000 bytes, each from a page on.
    assert_eq!(beside.len(), 2 * 8192);
    assert!(std::fs::read(&path).expect("it is there").len() < 2000);
    let (again, read) = import(&path, &Sizes::default()).expect("our own file");
    assert_eq!(again.params(), graph.params());
    assert_eq!(read, weights);
}

/// What exporters write in half precision is read in single.
#[test]
fn half_precision() {
    let bytes = std::fs::read(golden("onnx_export_image")).expect("a golden file");
    let read = |bytes: Vec<u8>| from_bytes(bytes.into(), "x", None, &Sizes::default());
    let (graph, weights) = read(bytes.clone()).expect("our own file");
    let mut model = proto::Model::decode(&*bytes).expect("a model");
    let inner = model.graph.as_mut().expect("a graph");
    let is_weight = |t: &&mut proto::Tensor| t.data_type == 1 && !t.name.contains('/');
    for tensor in inner.initializers.iter_mut().filter(is_weight) {
        let values = tensor
            .raw
            .as_chunks()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b));
        // The upper half of a number is the same in bfloat16.
        let halves = values.flat_map(|value| ((value.to_bits() >> 16) as u16).to_le_bytes());
        tensor.raw = halves.collect::<Vec<u8>>().into();
        tensor.data_type = 16;
    }
    let (halved, rounded) = read(model.encode_to_vec()).expect("the same in half");
    assert_eq!(halved.params(), graph.params());
    for (name, tensor) in weights.iter() {
        let found = rounded.get(name).expect(name).floats();
        for (found, wanted) in found.iter().zip(tensor.floats()) {
            assert!((found - wanted).abs() <= wanted.abs() / 128.0, "{name}");
        }
    }
}

#[test]
fn slots_are_named() {
    let mut b = Builder::new("space");
    let x = b.input("x", &[1, 8], Element::Number).expect("fits");
    let choice = |b: &Builder| {
        let (mut body, ids) = b.body("dense", &[x]).expect("one input");
        let y = body.add("dense", Linear::dense(8), &ids).expect("fits");
        Choice::new(body.finish(&[y]).expect("one output"))
    };
    let choices = vec![choice(&b)];
    let y = b.slot("hole", &[x], choices).expect("it fits");
    let space = b.finish_space(&[y]).expect("one output");
    let error = to_model(space.graph(), &Weights::default(), &[]).expect_err("a slot");
    assert!(
        error.0.starts_with("hole: a slot is no operator of ONNX"),
        "{}",
        error.0
    );
}
