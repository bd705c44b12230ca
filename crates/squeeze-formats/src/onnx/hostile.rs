//! Files that lie: each is refused with a reason, in a moment, and takes no more memory than the file and a constant.

use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message;
use squeeze_graph::Graph;
use squeeze_tensor::Weights;

use super::import::from_bytes;
use super::proto::{self, Attribute};
use super::proto::{Dim, Entry, Kind, Model, Node, Opset, Shape, Tensor, TensorKind, ValueInfo};
use super::{Sizes, import};
use crate::error::Broken;

fn node(op: &str, inputs: &[&str], output: &str) -> Node {
    Node {
        inputs: inputs.iter().map(|&name| name.to_owned()).collect(),
        outputs: vec![output.to_owned()],
        op: op.to_owned(),
        ..Node::default()
    }
}

fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute {
        name: name.to_owned(),
        ints: values.to_vec(),
        ..Attribute::default()
    }
}

fn input(name: &str, element: i32, dims: &[i64]) -> ValueInfo {
    let dim = |&size: &i64| Dim {
        value: Some(size),
        symbol: None,
    };
    let shape = Some(Shape {
        dims: dims.iter().map(dim).collect(),
    });
    ValueInfo {
        name: name.to_owned(),
        kind: Some(Kind {
            tensor: Some(TensorKind { element, shape }),
        }),
    }
}

fn stored(name: &str, data_type: i32, dims: &[i64], raw: Vec<u8>) -> Tensor {
    Tensor {
        name: name.to_owned(),
        data_type,
        dims: dims.to_vec(),
        raw: raw.into(),
        ..Tensor::default()
    }
}

/// Whole numbers in the file.
fn whole(name: &str, values: &[i64]) -> Tensor {
    let raw = values.iter().flat_map(|value| value.to_le_bytes());
    stored(name, 7, &[values.len() as i64], raw.collect())
}

/// A graph of these nodes on an image or text `x`; the last node's result is the output.
fn graph(x: ValueInfo, nodes: Vec<Node>, initializers: Vec<Tensor>) -> proto::Graph {
    let output = nodes.last().map_or("x", |node| &node.outputs[0]);
    proto::Graph {
        outputs: vec![input(output, 1, &[])],
        nodes,
        name: "lies".into(),
        initializers,
        inputs: vec![x],
    }
}

fn bytes(graph: proto::Graph) -> Vec<u8> {
    let model = Model {
        graph: Some(graph),
        opsets: vec![Opset {
            domain: String::new(),
            version: 17,
        }],
        ..Model::default()
    };
    model.encode_to_vec()
}

fn read(graph: proto::Graph) -> Result<(Graph, Weights), Broken> {
    let begun = Instant::now();
    let read = from_bytes(bytes(graph).into(), "lies", None, &Sizes::default());
    // A second is meant; a busy machine that tests without optimising gets more.
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    read
}

#[track_caller]
fn refused(graph: proto::Graph, reason: &str) {
    let Err(Broken(found)) = read(graph) else {
        panic!("read, where `{reason}` is the reason not to");
    };
    assert!(found.contains(reason), "{found}");
}

fn image() -> ValueInfo {
    input("x", 1, &[1, 3, 8, 8])
}

#[test]
fn cycles() {
    let nodes = vec![node("Add", &["x", "b"], "a"), node("Relu", &["a"], "b")];
    let reason = "Add `a`: it takes what is made of its own result, a cycle";
    refused(graph(image(), nodes, vec![]), reason);
    let itself = vec![node("Relu", &["a"], "a")];
    refused(
        graph(image(), itself, vec![]),
        "Relu `a`: it takes what is made of its own result",
    );
    // Some converters put a node behind those that take its result.
    let late = vec![node("Relu", &["b"], "a"), node("Sigmoid", &["x"], "b")];
    let late = proto::Graph {
        outputs: vec![input("a", 1, &[])],
        ..graph(image(), late, vec![])
    };
    let (network, _) = read(late).expect("no cycle");
    assert_eq!(network.nodes().len(), 3);
}

#[test]
fn inputs_that_are_missing() {
    let reason = "Relu `a`: nothing gives its input `nowhere`";
    refused(
        graph(image(), vec![node("Relu", &["nowhere"], "a")], vec![]),
        reason,
    );
    for op in [
        "Conv", "Gemm", "MatMul", "Add", "Mul", "Relu", "Sigmoid", "Clip", "Concat", "Gather",
        "Resize",
    ] {
        let inputs: &[&str] = if matches!(op, "Clip" | "Resize") {
            &["x"]
        } else {
            &[]
        };
        assert!(
            read(graph(image(), vec![node(op, inputs, "a")], vec![])).is_err(),
            "{op}"
        );
        let one = vec![node(op, &["x"], "a")];
        assert!(
            matches!(op, "Relu" | "Sigmoid" | "Concat")
                || read(graph(image(), one, vec![])).is_err(),
            "{op}"
        );
    }
    let gate = vec![node("Sigmoid", &[], "a"), node("Mul", &["x", "a"], "b")];
    refused(
        graph(image(), gate, vec![]),
        "Sigmoid `a`: input 0 is missing",
    );
    let mut last = node("Mul", &["x", "a"], "b");
    last.outputs.clear();
    let nothing = proto::Graph {
        nodes: vec![node("Sigmoid", &["x"], "a"), last],
        ..graph(image(), vec![node("Relu", &["x"], "a")], vec![])
    };
    refused(nothing, "Mul `` gives nothing");
    let nothing = graph(image(), vec![], vec![]);
    let none = proto::Graph {
        outputs: vec![input("y", 1, &[])],
        ..nothing
    };
    refused(none, "output `y` is not the result of a layer");
}

#[test]
fn sizes_that_are_too_large() {
    let relu = || vec![node("Relu", &["x"], "a")];
    let huge = input("x", 1, &[1, 3, 1 << 40, 1 << 40]);
    refused(graph(huge, relu(), vec![]), "has more than 2^40 elements");
    let conv = || vec![node("Conv", &["x", "w"], "a")];
    let lying = stored("w", 1, &[1 << 30, 3, 3, 3], vec![0; 8]);
    refused(
        graph(image(), conv(), vec![lying]),
        "tensor `w`: 8 bytes do not hold",
    );
    let overflowing = stored("w", 1, &[i64::MAX, i64::MAX], vec![0; 8]);
    refused(graph(image(), conv(), vec![overflowing]), "tensor `w`");
    let axes = stored("w", 1, &[1; 100_000], vec![0; 4]);
    refused(
        graph(image(), conv(), vec![axes]),
        "tensor `w`: 100000 axes",
    );
    let weight = || stored("w", 1, &[2, 3, 1, 1], vec![0; 24]);
    for (name, values) in [
        ("pads", vec![i64::MAX; 4]),
        ("strides", vec![i64::MAX; 2]),
        ("dilations", vec![i64::MAX; 2]),
        ("pads", vec![1 << 39; 4]),
    ] {
        let mut conv = node("Conv", &["x", "w"], "a");
        conv.attributes.push(ints(name, &values));
        assert!(
            read(graph(image(), vec![conv], vec![weight()])).is_err(),
            "{name}"
        );
    }
    let sizes = whole("s", &[1, 3, 1 << 39, 1 << 39]);
    let mut resize = node("Resize", &["x", "", "", "s"], "a");
    resize.attributes = vec![Attribute {
        name: "mode".into(),
        text: b"linear".to_vec(),
        ..Attribute::default()
    }];
    refused(
        graph(image(), vec![resize], vec![sizes]),
        "has more than 2^40 elements",
    );
}

#[test]
fn shapes_that_are_negative() {
    let relu = vec![node("Relu", &["x"], "a")];
    let negative = input("x", 1, &[1, 3, -8, 8]);
    refused(
        graph(negative, relu, vec![]),
        "input `x`: an axis has a negative size",
    );
    let conv = vec![node("Conv", &["x", "w"], "a")];
    let weight = stored("w", 1, &[-2, 3, 1, 1], vec![0; 24]);
    refused(
        graph(image(), conv, vec![weight]),
        "tensor `w`: shape [-2, 3, 1, 1]",
    );
    let reshape = || vec![node("Reshape", &["x", "s"], "a")];
    for values in [
        &[-5, 8][..],
        &[-1, -1],
        &[i64::MIN],
        &[0, 0, 0, 0, 0],
        &[1; 1000],
    ] {
        let shape = whole("s", values);
        assert!(
            read(graph(image(), reshape(), vec![shape])).is_err(),
            "{values:?}"
        );
    }
    let mut conv = node("Conv", &["x", "w"], "a");
    conv.attributes.push(ints("pads", &[-1, 0, 0, 0]));
    let weight = stored("w", 1, &[2, 3, 1, 1], vec![0; 24]);
    refused(
        graph(image(), vec![conv], vec![weight]),
        "[-1, 0, 0, 0] is not read",
    );
}

/// A few bytes that ask for many numbers.
#[test]
fn arrays_that_grow() {
    let mut nodes = vec![];
    for at in 0..200 {
        nodes.push(node("ConstantOfShape", &["s"], &format!("a{at}")));
    }
    refused(
        graph(image(), nodes, vec![whole("s", &[4096, 4096])]),
        "numbers would have to be computed",
    );
    let outer = vec![node("Add", &["column", "row"], "a")];
    let square = 1 << 13;
    let column = stored("column", 7, &[square, 1], vec![0; 8 << 13]);
    let row = stored("row", 7, &[1, square], vec![0; 8 << 13]);
    refused(
        graph(image(), outer, vec![column, row]),
        "its inputs do not fit together",
    );
    let mut concat = node("Concat", &["s"; 2000], "a");
    concat.attributes.push(Attribute {
        name: "axis".into(),
        ..Attribute::default()
    });
    let long = whole("s", &[0; 1 << 15]);
    refused(
        graph(image(), vec![concat], vec![long]),
        "its inputs do not fit together",
    );
    // Axes that become more with every node.
    let mut deeper = vec![];
    for at in 0..100 {
        let from = if at == 0 {
            "s".into()
        } else {
            format!("a{}", at - 1)
        };
        deeper.push(node("Gather", &[&from, "places"], &format!("a{at}")));
    }
    let places = stored("places", 7, &[1, 1, 1, 1], vec![0; 8]);
    refused(
        graph(image(), deeper, vec![whole("s", &[0]), places]),
        "axes",
    );
    let mask = input("attention_mask", 7, &[1 << 20, 1 << 20]);
    refused(
        graph(mask, vec![node("Relu", &["x"], "a")], vec![]),
        "would have to be computed",
    );
}

/// Many layers of one large tensor in half precision, each with other attributes, so that none can share.
#[test]
fn weights_that_grow() {
    let (inner, count) = (256, 20_000);
    let mut nodes = vec![];
    for at in 0..count {
        let mut conv = node("Conv", &["x", "w"], &format!("a{at}"));
        conv.attributes.push(ints("dilations", &[at + 1, at + 1]));
        nodes.push(conv);
    }
    let weight = stored("w", 10, &[inner, inner, 1, 1], vec![0; 2 << 16]);
    let x = input("x", 1, &[1, inner, 1, 1]);
    refused(graph(x, nodes, vec![weight]), "many times the file's size");
    // The same layer again and again is read: its weight is there once.
    let mut nodes = vec![node("MatMul", &["x", "w"], "a0")];
    for at in 1..2000 {
        let from = format!("a{}", at - 1);
        nodes.push(node("MatMul", &[&from, "w"], &format!("a{at}")));
    }
    nodes.insert(0, node("Reshape", &["image", "s"], "x"));
    let weight = stored("w", 10, &[16, 16], vec![0; 512]);
    let x = input("image", 1, &[1, 16, 1, 1]);
    let shape = whole("s", &[1, 16]);
    let (graph, weights) = read(graph(x, nodes, vec![weight, shape])).expect("it is a network");
    assert_eq!((graph.cost().macs, weights.bytes()), (2000 * 256, 4 * 256));
}

/// A network whose weight lies in another file, as the entries say.
fn elsewhere(entries: &[(&str, &str)]) -> proto::Graph {
    let entry = |&(key, value): &(&str, &str)| Entry {
        key: key.into(),
        value: value.into(),
    };
    let mut weight = stored("w", 1, &[2, 3, 1, 1], vec![]);
    weight.location = 1;
    weight.elsewhere = entries.iter().map(entry).collect();
    graph(image(), vec![node("Conv", &["x", "w"], "a")], vec![weight])
}

#[track_caller]
fn refused_beside(folder: &Path, entries: &[(&str, &str)], reason: &str) {
    let path = folder.join("model.onnx");
    std::fs::write(&path, bytes(elsewhere(entries))).expect("writable");
    let error = import(&path, &Sizes::default())
        .expect_err(reason)
        .to_string();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn files_that_lie_elsewhere() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("models");
    std::fs::create_dir_all(model.join("parts")).expect("writable");
    std::fs::write(folder.path().join("secret"), [0; 24]).expect("writable");
    std::fs::write(model.join("parts/w.bin"), [1; 28]).expect("writable");
    let outside = "which is outside of the model's folder: refused";
    for location in [
        "../../etc/passwd",
        "../secret",
        "parts/../../secret",
        "/etc/passwd",
        "..\\secret",
    ] {
        refused_beside(&model, &[("location", location)], outside);
    }
    let missing = "there is no such file beside the model";
    refused_beside(&model, &[("location", "nowhere.bin")], missing);
    refused_beside(&model, &[("location", "parts")], missing);
    refused_beside(&model, &[("location", "")], missing);
    refused_beside(&model, &[], "its file has no name");
    let at = |offset, length| {
        [
            ("location", "parts/w.bin"),
            ("offset", offset),
            ("length", length),
        ]
    };
    refused_beside(
        &model,
        &at("8", "24"),
        "bytes 8 to 8 + 24 of `parts/w.bin`, which has 28",
    );
    refused_beside(
        &model,
        &at("18446744073709551615", "24"),
        "of `parts/w.bin`, which has 28",
    );
    refused_beside(
        &model,
        &at("-4", "24"),
        "its offset in another file is no number",
    );
    refused_beside(&model, &at("0", "20"), "tensor `w`: 20 bytes do not hold");
    let path = model.join("model.onnx");
    std::fs::write(&path, bytes(elsewhere(&at("4", "24")))).expect("writable");
    let (_, weights) = import(&path, &Sizes::default()).expect("it is there");
    let value = f32::from_le_bytes([1; 4]);
    let (_, weight) = weights.iter().next().expect("one weight");
    assert_eq!(weight.floats(), [value; 6]);
}

/// Rows in front of the pixels of two images as tokens of three channels.
fn with_rows(dims: &[i64], values: &[f32]) -> proto::Graph {
    let raw = values.iter().flat_map(|value| value.to_le_bytes());
    let rows = stored("rows", 1, dims, raw.collect());
    let mut turned = node("Transpose", &["flat"], "tokens");
    turned.attributes.push(ints("perm", &[0, 2, 1]));
    let mut joined = node("Concat", &["rows", "tokens"], "y");
    joined.attributes.push(Attribute {
        name: "axis".into(),
        int: 1,
        ..Attribute::default()
    });
    let nodes = vec![node("Reshape", &["x", "dims"], "flat"), turned, joined];
    let x = input("x", 1, &[2, 3, 2, 2]);
    graph(x, nodes, vec![whole("dims", &[2, 3, 4]), rows])
}

#[test]
fn class_tokens() {
    let row = [0.5, -1.0, 2.0];
    let (found, weights) = read(with_rows(&[2, 1, 3], &[row, row].concat())).expect("alike");
    assert_eq!(found.node(found.outputs()[0]).shape, [2, 5, 3]);
    let tensor = weights.get("y.weight").expect("its row");
    assert_eq!(
        (tensor.shape(), tensor.floats()),
        (&[1, 3][..], row.to_vec())
    );
    let reason = "known rows that are not the same in front of every text";
    let other = [0.5, -1.0, 2.5];
    refused(with_rows(&[2, 1, 3], &[row, other].concat()), reason);
    refused(with_rows(&[1, 2, 3], &[row, row].concat()), reason);
    refused(with_rows(&[2, 3, 1], &[row, row].concat()), reason);
    refused(with_rows(&[2, 0, 3], &[]), reason);
}
