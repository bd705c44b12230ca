//! Files of real exporters: `golden/onnx_files.py` made them. What they compute is tested where a
//! network can be run.

use std::path::PathBuf;

use super::import::from_bytes;
use super::{Sizes, import};

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
    for name in ["onnx_image", "onnx_bert"] {
        let bytes = std::fs::read(golden(name)).expect("a golden file");
        for at in (0..bytes.len()).step_by(11) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            // Without checksums some flips change a number; none may panic or hang.
            let _ = from_bytes(bytes.clone().into(), "x", None, &Sizes::default());
            bytes.truncate(at);
            let _ = from_bytes(bytes.into(), "x", None, &Sizes::default());
        }
    }
}
