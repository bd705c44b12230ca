//! `squeeze train`: from a name, a file or a recipe to a model file; repeated, gone on with, refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use squeeze::formats::model;
use squeeze::graph::ops::{Linear, Reshape};
use squeeze::graph::{Builder, Element};

fn train(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squeeze"));
    command.arg("train").args(words);
    command.output().expect("the binary runs")
}

/// The JSON line of a training that ends well.
#[track_caller]
fn trained(words: &[&str]) -> serde_json::Value {
    let output = train(&[words, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[track_caller]
fn refused(words: &[&str], wanted: &str) {
    let output = train(words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
    assert!(said.contains(wanted), "{words:?}: {said}");
}

/// A linear classifier of the digits, as TOML.
fn network(folder: &Path, classes: usize) -> String {
    let mut b = Builder::new("linear");
    let shape = [1, 1, 28, 28];
    let x = b.input("image", &shape, Element::Number).expect("fits");
    let x = b.add("flat", Reshape::flatten(), &[x]).expect("fits");
    let x = b.add("head", Linear::dense(classes), &[x]).expect("fits");
    let graph = b.finish(&[x]).expect("one output");
    let path = folder.join(format!("linear{classes}.toml"));
    fs::write(&path, graph.to_toml()).expect("writable");
    path.display().to_string()
}

fn weights(folder: &Path) -> squeeze::tensor::Weights {
    let file = model::load(&folder.join("model.squeeze")).expect("a model");
    file.weights
}

#[test]
fn a_training_is_repeated_and_gone_on_with() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let folder = |name: &str| -> PathBuf { root.path().join(name) };
    let word = |name: &str| folder(name).display().to_string();
    let linear = network(root.path(), 10);

    let first = [
        "--model",
        &linear,
        "--data",
        "digits",
        "--epochs",
        "1",
        "-o",
        &word("a"),
    ];
    let said = trained(&first);
    let value = said["value"].as_f64().expect("a number");
    assert!(value > 0.7, "{said}");
    assert_eq!(said["n"], 2000);

    // The same command finds all done, its recipe gives the same weights elsewhere.
    assert_eq!(trained(&first)["value"], said["value"]);
    trained(&[&word("a/recipe.toml"), "-o", &word("b")]);
    assert!(
        weights(&folder("a")) == weights(&folder("b")),
        "other weights"
    );
    refused(
        &[
            "--model",
            &linear,
            "--data",
            "digits",
            "--epochs",
            "2",
            "-o",
            &word("a"),
        ],
        "holds another training",
    );

    // Its weights are a start, and its answers are something to imitate.
    let file = word("a/model.squeeze");
    let more = [
        "--model",
        &file,
        "--data",
        "digits",
        "--epochs",
        "0.1",
        "-o",
        &word("c"),
    ];
    let value = trained(&more)["value"].as_f64().expect("a number");
    assert!(value > 0.7, "{value}");
    let pupil = [
        "--model",
        &linear,
        "--teacher",
        &file,
        "--data",
        "digits",
        "--epochs",
        "0.5",
        "-o",
        &word("d"),
    ];
    let value = trained(&pupil)["value"].as_f64().expect("a number");
    assert!(value > 0.6, "{value}");
    let recipe = fs::read_to_string(folder("d/recipe.toml")).expect("a recipe");
    assert!(recipe.contains("teacher"), "{recipe}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let out = root.path().join("out").display().to_string();
    let seven = network(root.path(), 7);
    let no = |model: &str, data: &str, wanted: &str| {
        refused(&["--model", model, "--data", data, "-o", &out], wanted);
    };
    no(&seven, "digits", "has 7 outputs, the data asks for 10");
    no(&seven, "spam", "has no input `ids`");
    no("resnet18", "spam", "takes images");
    no("resnet81", "digits", "did you mean `resnet18`?");
    no("bert-tiny", "digits", "takes text");

    let recipe = root.path().join("recipe.toml");
    fs::write(&recipe, "model = \"resnet18\"\ndate = \"digits\"\n").expect("writable");
    refused(
        &[&recipe.display().to_string(), "-o", &out],
        "unknown field `date`",
    );
    refused(&["--model", "resnet18"], "--data");
}
