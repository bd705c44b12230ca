//! Detectors from outside: published weights become a model file that finds objects, as text, JSON and a picture, and other programs get
//! its raw outputs.

mod binary;
#[path = "binary/png.rs"]
mod png;

use std::fs;
use std::path::Path;
use std::process::Command;

use binary::{lines, refused, squeeze};
use png::write_png;
use serde_json::Value;
use squeeze::formats::{model, safetensors};
use squeeze::rewrite::fresh;
use squeeze::tensor::{Seed, Tensor, Weights};
use squeeze::zoo::{Options, build};

const NAME: &str = "ssdlite320_mobilenet_v3_large";

/// COCO's car, and its place among the classes of a default box.
const CAR: usize = 3;
const CLASSES: usize = 91;

/// Weights that say nothing of any box but the largest square, around the middle: 0.95 of the image's sides. That is a car.
fn weights() -> Weights {
    let graph = build(NAME, &Options::default()).expect("a known name");
    let mut weights = fresh(&graph, Seed(1));
    for (name, param) in graph.params() {
        // head.KIND.module_list.MAP.1: the layer behind the filter.
        if name.starts_with("head.") && name.split('.').nth(4) == Some("1") {
            let count: usize = param.shape.iter().product();
            let mut values = vec![0.0; count];
            if name == "head.classification_head.module_list.5.1.bias" {
                values[CAR] = 9.0;
            }
            weights.insert(name, Tensor::from_f32(&param.shape, &values));
        }
    }
    weights
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// The model file of these weights, as it is imported, and an image twice as wide as it is high.
    fn imported(&self) -> [String; 2] {
        let [file, model, image] =
            ["w.safetensors", "m.squeeze", "i.png"].map(|name| self.path(name));
        safetensors::save(Path::new(&file), &weights()).expect("writable");
        let output = squeeze(&["import", &file, "--model", NAME, "-o", &model]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{message}");
        write_png(Path::new(&image), [100, 200]);
        [model, image]
    }
}

/// `e^9 / (e^9 + 90)`, and the box from 0.025 to 0.975 of width and height.
#[track_caller]
fn is_the_car(object: &Value) {
    assert_eq!(object["label"], "car");
    assert_eq!(object["class"], CAR);
    let near = |key: &str, wanted: f64| {
        let found = object[key].as_f64().expect("a number");
        assert!(
            (found - wanted).abs() <= 1e-4 * wanted.max(1.0),
            "{key} {found}"
        );
    };
    let power = 9f64.exp();
    near("score", power / (power + (CLASSES - 1) as f64));
    for (key, side) in [("x0", 5.0), ("y0", 2.5), ("x1", 195.0), ("y1", 97.5)] {
        near(key, side);
    }
}

#[test]
fn finds_objects() {
    let files = Files::new();
    let [model, image] = files.imported();
    let told = lines(&["run", &model, "--image", &image, &image, "--json"]);
    assert_eq!(told.len(), 2);
    for line in &told {
        assert_eq!(
            (&line["width"], &line["height"]),
            (&200.into(), &100.into())
        );
        let objects = line["objects"].as_array().expect("objects");
        assert_eq!(objects.len(), 1);
        is_the_car(&objects[0]);
    }
    let all = [
        "run",
        &model,
        "--image",
        &image,
        "--json",
        "--min-score",
        "0",
    ];
    let all = lines(&all)[0]["objects"].clone();
    let all = all.as_array().expect("objects");
    assert_eq!(all.len(), 300, "as many as there are at most");
    is_the_car(&all[0]);
}

#[test]
fn shows_objects() {
    let files = Files::new();
    let [model, image] = files.imported();
    let svg = files.path("p.svg");
    let output = squeeze(&["run", &model, "--image", &image, "--picture", &svg]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let wanted = "label    score       x0       y0       x1       y1\n\
                  car      0.989      5.0      2.5    195.0     97.5\n";
    assert_eq!(text, wanted);
    let mut runner = Command::new(env!("CARGO_BIN_EXE_squeeze-run"));
    let output = runner.args([&model, "--image", &image]).output();
    let output = output.expect("the small program runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), wanted);
    let svg = fs::read_to_string(svg).expect("it was drawn");
    assert_eq!(svg.matches("<rect ").count(), 1);
    assert!(svg.contains(">car 0.99</text>"), "{svg}");
    let none = squeeze(&["run", &model, "--image", &image, "--min-score", "0.995"]);
    let text = String::from_utf8_lossy(&none.stdout).into_owned();
    assert!(
        none.status.success() && text.starts_with("nothing with a score of 0.995"),
        "{text}"
    );
}

/// What other engines run gives scores and offsets; read again, with what the file does not say, it finds the same.
#[test]
fn raw_outputs_go_to_other_programs_and_come_back() {
    let files = Files::new();
    let [model, image] = files.imported();
    let [onnx, names, again] =
        ["m.onnx", "names.txt", "again.squeeze"].map(|name| files.path(name));
    let output = squeeze(&["export", &model, "--to", "onnx", "-o", &onnx]);
    assert!(output.status.success());
    let labels = model::load(Path::new(&model)).expect("a model").meta.labels;
    assert_eq!(labels.len(), CLASSES);
    fs::write(&names, labels.join("\n")).expect("writable");
    let about = ["--labels", &names, "--mean", "0.5", "--std", "0.5"];
    let import = [&["import", &onnx, "-o", &again], &about[..]].concat();
    assert!(squeeze(&import).status.success());
    let told = lines(&["run", &again, "--image", &image, "--json"]);
    is_the_car(&told[0]["objects"][0]);
    fs::write(&names, "nothing\nsomething").expect("writable");
    refused(&import, "has 2 names, the network gives [1, 3234, 91]");
}

#[test]
fn bad_input() {
    let files = Files::new();
    let [model, image] = files.imported();
    refused(
        &["run", &model, "--text", "a car"],
        "the model takes images",
    );
    refused(
        &[
            "run",
            &model,
            "--image",
            &image,
            &image,
            "--picture",
            "p.svg",
        ],
        "--picture shows one image, 2 are given",
    );
    refused(
        &["eval", &model, "--data", "digits"],
        "the model finds boxes",
    );
    let run = files.path("run");
    refused(
        &[
            "train",
            "--model",
            NAME,
            "--data",
            "digits",
            "--minutes",
            "1",
            "-o",
            &run,
        ],
        "only networks that give one answer are trained",
    );
    // A file of a network without one of its heads' layers, and with one that the network does not have.
    let mut weights = weights();
    let gone = "head.regression_head.module_list.2.1.bias";
    let tensor = weights.remove(gone).expect("it was there");
    weights.insert("head.regression_head.module_list.6.1.bias", tensor);
    let file = files.path("cut.safetensors");
    safetensors::save(Path::new(&file), &weights).expect("writable");
    let import = ["import", &file, "--model", NAME, "-o", &run];
    refused(&import, gone);
    refused(&import, "module_list.6.1.bias");
}

/// What a damaged or hostile model file may say of its boxes.
#[test]
fn boxes_that_cannot_be_are_refused() {
    let files = Files::new();
    let [path, image] = files.imported();
    let own = model::load(Path::new(&path)).expect("a model");
    let strange = files.path("strange.squeeze");
    let told = |change: &dyn Fn(&mut Value), wanted: &str| {
        let mut file = own.clone();
        change(&mut file.meta.task["boxes"]);
        model::save(Path::new(&strange), &file).expect("writable");
        refused(&["run", &strange, "--image", &image], wanted);
    };
    told(
        &|boxes| *boxes = Value::Null,
        "does not say how its boxes are made",
    );
    told(
        &|boxes| boxes["maps"] = 4_000_000_000u32.into(),
        "does not give scores of 91",
    );
    told(
        &|boxes| boxes["stride"] = 0.into(),
        "does not give scores of 91",
    );
    told(
        &|boxes| boxes["ratios"] = vec![1.0; 3].into(),
        "does not give scores of 91",
    );
    told(
        &|boxes| boxes["ratios"] = vec![-1.0; 2].into(),
        "are not finite",
    );
    told(
        &|boxes| boxes["weights"] = vec![0.0; 2].into(),
        "are not finite",
    );
    let mut file = own.clone();
    file.meta.labels.pop();
    model::save(Path::new(&strange), &file).expect("writable");
    refused(
        &["run", &strange, "--image", &image],
        "scores of 90 classes",
    );
    let mut file = own.clone();
    file.meta.input["preprocess"]["size"] = vec![321, 320].into();
    model::save(Path::new(&strange), &file).expect("writable");
    refused(
        &["run", &strange, "--image", &image],
        "the model's preprocessing makes",
    );
}
