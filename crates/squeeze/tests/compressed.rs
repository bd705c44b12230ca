//! `squeeze compress` and what `squeeze measure` says of pruned networks, from outside.

mod binary;

use std::path::Path;
use std::process::Command;

use binary::{lines, refused, squeeze};
use serde_json::Value;
use squeeze::data::{Preprocess, Resize, Task, Tokenizer};
use squeeze::formats::{Meta, ModelFile, model};
use squeeze::front::Front;
use squeeze::graph::ops::{Activation, Conv2d, GlobalAverage, Linear};
use squeeze::graph::{Builder, Element};
use squeeze::rewrite::fresh;
use squeeze::tensor::Seed;
use squeeze::zoo::Options;

/// Two wide layers over 64 rows and a small one behind them.
fn wide_model(folder: &Path) -> String {
    let mut b = Builder::new("wide");
    let x = b.input("x", &[1, 64, 256], Element::Number).expect("fits");
    let y = b.add("up", Linear::dense(512), &[x]).expect("fits");
    let y = b.add("act", Activation::Relu, &[y]).expect("fits");
    let y = b.add("down", Linear::dense(256), &[y]).expect("fits");
    let y = b.add("head", Linear::dense(2), &[y]).expect("fits");
    let graph = b.finish(&[y]).expect("one output");
    let file = ModelFile {
        weights: fresh(&graph, Seed(1)),
        graph,
        meta: Meta::default(),
    };
    let path = folder.join("wide.squeeze");
    model::save(&path, &file).expect("writable");
    path.display().to_string()
}

#[test]
fn compressed_models_have_zeros_and_run_without_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = wide_model(folder.path());
    let out = folder.path().join("out.squeeze").display().to_string();
    let words = ["compress", &model, "--prune", "0.9", "--block", "16x1"];
    let printed = lines(&[&words[..], &["-o", &out, "--json"]].concat());
    let of = |at: usize, key: &str| printed[at][key].clone();
    assert_eq!(printed.len(), 4, "three layers and their sum");
    for (at, name, weights, zeros) in [
        (0, "up", 512 * 256, 117_952),
        (1, "down", 256 * 512, 117_952),
        (2, "head", 2 * 256, 0),
    ] {
        assert_eq!(of(at, "layer"), name);
        assert_eq!(of(at, "weights"), weights);
        assert_eq!(of(at, "zeros"), zeros, "whole blocks of sixteen");
    }
    assert_eq!(of(2, "kept"), "last layer");
    assert_eq!(of(3, "zeros"), 2 * 117_952);
    assert_eq!(of(3, "macs"), 64 * (2 * (131_072 - 117_952) + 512));
    let file = model::load(Path::new(&out)).expect("its own file");
    assert_eq!(file.meta.card["pruned"]["block"], "16x1");
    let up = file.weights.get("up.weight").expect("a layer").floats();
    assert_eq!(up.iter().filter(|&&w| w == 0.0).count(), 117_952);
    // What it says to people: the same facts as a table, and the file last.
    let again = squeeze(&[&words[..], &["-o", &out]].concat());
    let text = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(
        text.contains("90.0 %") && text.contains("last layer"),
        "{text}"
    );
    assert_eq!(text.lines().last(), Some(&out[..]));
}

#[test]
fn pruned_networks_are_measured_beside_dense_ones() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = wide_model(folder.path());
    let words = ["measure", &model, "--prune", "0.9", "--block", "4x1"];
    let printed = lines(&[&words[..], &["--vs", &model, "--per-layer", "--json"]].concat());
    let (dense, pruned) = (&printed[0], &printed[1]);
    assert!(dense["prune"].is_null(), "the one of --vs stays as it is");
    assert_eq!(
        (&pruned["prune"], &pruned["block"]),
        (&0.9.into(), &"4x1".into())
    );
    let ratio = pruned["flop_ratio"].as_f64().expect("a ratio");
    assert!((0.1..0.11).contains(&ratio), "{ratio}");
    let kernels: Vec<_> = printed
        .iter()
        .filter_map(|line| line["kernel"].as_str())
        .collect();
    let sparse = kernels
        .iter()
        .filter(|name| name.starts_with("f32_spmm_4x1_"));
    assert_eq!(sparse.count(), 2, "{kernels:?}");
}

#[test]
fn what_cannot_be_pruned_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = wide_model(folder.path());
    let out = folder.path().join("out.squeeze").display().to_string();
    let with = |words: &[&str], wanted: &str| {
        refused(&[&["compress", "-o", &out], words].concat(), wanted);
    };
    with(&[&model], "--prune");
    with(&[&model, "--prune", "1"], "at least 0 and below 1");
    with(&[&model, "--prune", "90"], "at least 0 and below 1");
    with(
        &[&model, "--prune", "0.9", "--block", "2x2"],
        "1x1, 4x1 or 16x1",
    );
    with(&["squeezenet1_1", "--prune", "0.9"], "has no weights");
    with(&["/no/such.squeeze", "--prune", "0.9"], "/no/such.squeeze");
    refused(&["measure", &model, "--block", "4x1"], "--prune");
}

/// A small network of digits, its weights as they were drawn.
fn digits_model(folder: &Path) -> String {
    let mut b = Builder::new("small");
    let x = b
        .input("image", &[1, 1, 28, 28], Element::Number)
        .expect("fits");
    let mut conv = |name: &str, conv: Conv2d, x| {
        let conv = Conv2d { bias: true, ..conv };
        let x = b.add(name, conv, &[x]).expect("fits");
        b.add(format!("{name}_act"), Activation::HardSwish, &[x])
            .expect("fits")
    };
    let first = Conv2d {
        stride: [2; 2],
        ..Conv2d::square(16, 3)
    };
    let x = conv("first", first, x);
    let deep = Conv2d {
        groups: 16,
        ..Conv2d::square(16, 3)
    };
    let x = conv("deep", deep, x);
    let x = conv("wide", Conv2d::square(32, 1), x);
    let x = b.add("mean", GlobalAverage {}, &[x]).expect("fits");
    let y = b.add("head", Linear::dense(10), &[x]).expect("fits");
    let graph = b.finish(&[y]).expect("one output");
    let preprocess = Preprocess {
        size: [28; 2],
        channels: 1,
        mean: vec![0.13],
        std: vec![0.31],
        resize: Resize::Stretch,
    };
    let file = ModelFile {
        weights: fresh(&graph, Seed(1)),
        graph,
        meta: Meta {
            task: serde_json::to_value(Task::ClassifyImage).expect("a name"),
            labels: (0..10).map(|digit| digit.to_string()).collect(),
            input: Front::Image(preprocess).to_json().expect("plain data"),
            ..Meta::default()
        },
    };
    let path = folder.join("digits.squeeze");
    model::save(&path, &file).expect("writable");
    path.display().to_string()
}

#[test]
fn images_stay_in_bytes_after_compress() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = digits_model(folder.path());
    let small = folder.path().join("int8.squeeze").display().to_string();
    let words = [
        "compress",
        &model,
        "--int8",
        "--data",
        "digits",
        "--examples",
        "20",
    ];
    lines(&[&words[..], &["-o", &small, "--json"]].concat());
    let printed = lines(&["measure", &small, "--per-layer", "--json"]);
    assert_eq!(printed[0]["precision"], "int8");
    let layers = printed.iter().filter(|line| line["kind"] == "conv2d");
    let kernels: Vec<_> = layers.filter_map(|line| line["kernel"].as_str()).collect();
    let in_bytes = |kernel: &&&str| kernel.starts_with("i8_") || kernel.starts_with("u8_");
    assert_eq!(kernels.iter().filter(in_bytes).count(), 3, "{kernels:?}");
    let value = |model: &str, precision: &str| {
        let words = [
            "eval",
            model,
            "--data",
            "digits",
            "--precision",
            precision,
            "--json",
        ];
        lines(&words)[0]["value"].as_f64().expect("an accuracy")
    };
    // The network has learned nothing: what counts is that bytes answer as numbers do.
    let [numbers, bytes] = [value(&model, "f32"), value(&small, "int8")];
    assert!((numbers - bytes).abs() < 0.02, "{numbers} and {bytes}");
    assert!((value(&small, "f32") - numbers).abs() < 0.02);
    let same = lines(&["eval", &small, "--data", "digits", "--json"]);
    assert_eq!(
        (&same[0]["precision"], same[0]["value"].as_f64()),
        (&"int8".into(), Some(bytes))
    );
    // Once more: bytes stay, ranges are those of the numbers that bytes stand for.
    let again = folder.path().join("again.squeeze").display().to_string();
    let words = ["compress", &small, "--int8", "--data", "digits"];
    lines(&[&words[..], &["-o", &again, "--json"]].concat());
    let [once, twice] = [&small, &again].map(|path| model::load(Path::new(path)).expect("its own"));
    let wide = |file: &ModelFile| file.weights.get("wide.weight").cloned();
    assert!(wide(&once).is_some_and(|weight| weight.scaled().is_some()));
    assert_eq!(wide(&once), wide(&twice));
    // Without ranges images become bytes before each layer.
    let bare = once
        .weights
        .iter()
        .filter(|(name, _)| !name.ends_with(".range"));
    let bare = ModelFile {
        weights: bare
            .map(|(name, weight)| (name.into(), weight.clone()))
            .collect(),
        ..once.clone()
    };
    model::save(Path::new(&again), &bare).expect("writable");
    assert!((value(&again, "int8") - bytes).abs() < 0.02);
    refused(&["compress", &model, "--int8", "-o", &small], "--data");
    let words = ["compress", &model, "--int8", "--data", "spam", "-o", &small];
    refused(&words, "spam");
}

/// A network of texts with weights as they were drawn, and the tokenizer of a few words.
fn text_model(folder: &Path) -> String {
    let options = Options {
        length: Some(12),
        ..Options::default()
    };
    let graph = squeeze::zoo::build("bert-tiny", &options).expect("a known name");
    let texts = ["you have won a free cruise", "see you at lunch"];
    let tokenizer = Tokenizer::train(texts, None).expect("words");
    let front = Front::Text {
        tokenizer: Box::new(tokenizer),
        length: 12,
    };
    let file = ModelFile {
        weights: fresh(&graph, Seed(1)),
        graph,
        meta: Meta {
            task: serde_json::to_value(Task::ClassifyText { pair: false }).expect("a name"),
            labels: vec!["ham".into(), "spam".into()],
            input: front.to_json().expect("plain data"),
            ..Meta::default()
        },
    };
    let path = folder.join("text.squeeze");
    model::save(&path, &file).expect("writable");
    path.display().to_string()
}

#[test]
fn texts_in_bytes_are_small_and_run_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = text_model(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (small, again) = (path("int8.squeeze"), path("again.squeeze"));
    let printed = lines(&["compress", &model, "--int8", "-o", &small, "--json"]);
    let size = |path: &str| std::fs::metadata(path).expect("written").len();
    let weights = printed[0]["weight_bytes"].as_u64().expect("bytes");
    assert!(weights < size(&small) && size(&small) < size(&model) / 3);
    // A second time changes nothing.
    lines(&["compress", &small, "--int8", "-o", &again, "--json"]);
    assert!(std::fs::read(&small).expect("written") == std::fs::read(&again).expect("written"));
    let answer = |model: &str, more: &[&str]| {
        let words = ["run", model, "--text", "you have won", "--json"];
        lines(&[&words[..], more].concat()).remove(0)
    };
    let probability = |answer: Value| answer["classes"]["spam"].as_f64().expect("a number");
    let bytes = answer(&small, &[]);
    assert_eq!(bytes, answer(&small, &["--precision", "int8"]));
    let numbers = answer(&small, &["--precision", "f32"]);
    assert_ne!(bytes, numbers);
    let [bytes, numbers, before] = [bytes, numbers, answer(&model, &[])].map(probability);
    assert!((bytes - before).abs() < 0.05 && (numbers - before).abs() < 0.05);
    let mut runner = Command::new(env!("CARGO_BIN_EXE_squeeze-run"));
    let runner = runner.args([&small, "--text", "you have won", "--json"]);
    let output = runner.output().expect("it runs").stdout;
    let own: Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!(probability(own), bytes);
    let shown = lines(&["show", &small, "--json"]);
    let in_bytes = shown.iter().filter(|line| line["weight"] == "i8").count();
    assert!(in_bytes > 8, "{in_bytes} weights in bytes");
    let plan = lines(&["show", &small, "--stage", "plan", "--json"]);
    let kernel = |wanted: &str| {
        plan.iter().any(|line| {
            line["kernel"]
                .as_str()
                .is_some_and(|k| k.starts_with(wanted))
        })
    };
    assert!(kernel("i8_embedding") && kernel("i8_gemm"));
    let cost = lines(&["cost", &small, "--json"]);
    assert_eq!(cost[0]["weight_bytes"], weights);
    let words = ["compress", &small, "--prune", "0.5", "-o", &again];
    refused(&words, "are bytes: prune the model that it was made from");
    let words = ["compress", &model, "--int8", "--data", "spam", "-o", &again];
    refused(&words, "leave out --data");
}

#[test]
fn what_is_too_small_for_bytes_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut b = Builder::new("small");
    let x = b.input("x", &[1, 4, 8], Element::Number).expect("fits");
    let y = b.add("head", Linear::dense(2), &[x]).expect("fits");
    let graph = b.finish(&[y]).expect("one output");
    let file = ModelFile {
        weights: fresh(&graph, Seed(1)),
        graph,
        meta: Meta::default(),
    };
    let path = folder.path().join("small.squeeze");
    model::save(&path, &file).expect("writable");
    let path = path.display().to_string();
    let words = ["compress", &path, "--int8", "-o", &path];
    refused(&words, "no weight of");
}
