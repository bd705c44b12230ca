//! The binary from outside: exit status, what goes to stdout, and messages for input that cannot work.

mod binary;
#[path = "binary/png.rs"]
mod png;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use binary::{lines, refused, squeeze};
use png::write_png;
use squeeze::formats::{Meta, ModelFile, model};
use squeeze::front::Front;
use squeeze::graph::ops::{Linear, Reshape};
use squeeze::graph::{Builder, Element};
use squeeze::record::RunRecord;
use squeeze::rewrite::fresh;
use squeeze::tensor::Seed;

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A design of this data that cannot begin.
#[track_caller]
fn no_design(folder: &Path, data: &str, wanted: &str) {
    let out = folder.join("run").display().to_string();
    refused(
        &[
            "design",
            "--data",
            data,
            "--p90",
            "1ms",
            "--minutes",
            "1",
            "-o",
            &out,
        ],
        wanted,
    );
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A model of 4 x 4 grey images with two classes, and its path.
fn image_model(folder: &Path) -> String {
    let mut b = Builder::new("tiny");
    let x = b
        .input("image", &[1, 1, 4, 4], Element::Number)
        .expect("fits");
    let x = b.add("flat", Reshape::flatten(), &[x]).expect("fits");
    let x = b.add("head", Linear::dense(2), &[x]).expect("fits");
    let graph = b.finish(&[x]).expect("one output");
    let preprocess = squeeze::data::Preprocess {
        size: [4, 4],
        channels: 1,
        mean: vec![0.5],
        std: vec![0.5],
        resize: squeeze::data::Resize::Stretch,
    };
    let meta = Meta {
        task: serde_json::json!({ "kind": "classify_image" }),
        labels: vec!["cat".into(), "dog".into()],
        input: Front::Image(preprocess).to_json().expect("JSON"),
        card: serde_json::Value::Null,
    };
    let weights = fresh(&graph, Seed(1));
    let path = folder.join("model.squeeze");
    model::save(
        &path,
        &ModelFile {
            graph,
            weights,
            meta,
        },
    )
    .expect("writable");
    path.display().to_string()
}

#[test]
fn cost_prints_the_published_counts() {
    let output = squeeze(&["cost", "squeezenet1_1", "--json"]);
    assert!(output.status.success());
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(line["params"], 1_235_496, "torchvision's num_params");
    for key in [
        "model",
        "macs",
        "weight_bytes",
        "activation_bytes",
        "peak_bytes",
    ] {
        assert!(!line[key].is_null(), "{key}");
    }
}

#[test]
fn a_mobilenet_has_a_width() {
    let told = lines(&["cost", "mobilenet_v2", "--width", "1.4", "--json"]);
    assert_eq!(told[0]["params"], 6_108_776, "torchvision's count");
    let refused = squeeze(&["cost", "resnet50", "--width", "0.5"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_network_is_drawn_into_a_file() {
    let home = temporary();
    let path = home.path().join("net.svg");
    let to = path.display().to_string();
    let drawn = squeeze(&["show", "squeezenet1_1", "--svg", &to]);
    assert!(drawn.status.success());
    let svg = std::fs::read_to_string(&path).expect("it was written");
    assert!(svg.starts_with("<svg") && svg.contains("features.12.concat"));
    let refused = squeeze(&["show", "squeezenet1_1", "--stage", "plan", "--svg", &to]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn networks_are_listed_with_the_licence_of_their_weights() {
    let told = lines(&["list", "models", "--json"]);
    let of = |name: &str| {
        let line = told.iter().find(|line| line["name"] == name);
        line.expect("a known name")["licence"].clone()
    };
    assert_eq!(of("fixefficientnet_b0"), "CC-BY-NC-4.0");
    assert_eq!(of("squeezenas_lat_small"), "MIT");
}

#[test]
fn lists_are_json_lines() {
    for what in ["models", "data", "spaces", "devices", "kernels"] {
        let told = lines(&["list", what, "--json"]);
        assert!(!told.is_empty(), "{what}");
        assert!(told.iter().all(|line| line["name"].is_string()), "{what}");
    }
}

/// The words of a command; what stands between quotes is one.
fn words(command: &str) -> Vec<&str> {
    let parts = command.split('"').enumerate();
    let words = parts.flat_map(|(at, part)| match at % 2 {
        0 => part.split_whitespace().collect(),
        _ => vec![part],
    });
    words.collect()
}

/// Only read, not run: `--help` behind them ends the command once its words were understood.
#[test]
fn guides_show_commands_that_are_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guides = fs::read_dir(root.join("docs")).expect("there are guides");
    let guides = guides.map(|entry| entry.expect("readable").path());
    let is_text = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "md");
    let mut seen = 0;
    for path in guides.filter(is_text).chain([root.join("README.md")]) {
        let text = fs::read_to_string(&path).expect("readable");
        let commands = text
            .lines()
            .filter_map(|line| line.strip_prefix("    squeeze "));
        for command in commands {
            let command = command.split(" #").next().expect("a first part");
            let mut words = words(command);
            words.push("--help");
            let output = squeeze(&words);
            let message = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{}: {command}: {message}",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} commands");
}

#[test]
fn shown_toml_is_read_back() {
    let folder = temporary();
    let text = stdout(&squeeze(&["show", "squeezenet1_1", "--toml"]));
    let path = folder.path().join("net.toml");
    fs::write(&path, text).expect("writable");
    let cost = |model: &str| lines(&["cost", model, "--json"])[0]["macs"].clone();
    assert_eq!(cost(&path.display().to_string()), cost("squeezenet1_1"));
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    refused(&["cost", "squezebert"], "did you mean `squeezebert`?");
    refused(
        &["cost", "squeezebert", "--image", "32"],
        "an image size means nothing",
    );
    refused(&["lst"], "list");
    let folder = temporary();
    let file = folder.path().join("p.toml").display().to_string();
    let words = ["measure", "--profile", "--space", "text-tin", "-o", &file];
    refused(&words, "did you mean `text-tiny`?");
}

#[test]
fn limits_need_a_number_and_a_unit() {
    for (limit, wanted) in [
        ("0", "above zero"),
        ("0ms", "above zero"),
        ("5", "no unit"),
        ("5 mins", "unknown unit"),
    ] {
        refused(&["design", "--data", "spam", "--p90", limit], wanted);
    }
    refused(
        &[
            "design", "--data", "spam", "--p90", "1ms", "--memory", "1 pint",
        ],
        "unknown unit",
    );
    refused(
        &["design", "--data", "spam", "--p90", "1ms", "--minutes", "0"],
        "above zero",
    );
    refused(&["design", "--data", "spam"], "--p90");
}

#[test]
fn data_that_cannot_be_learned_from() {
    let folder = temporary();
    let path = folder.path();
    no_design(path, "spma", "spam");
    let table = |name: &str, text: &[u8]| {
        let folder = path.join(name);
        fs::create_dir_all(&folder).expect("writable");
        fs::write(folder.join("train.csv"), text).expect("writable");
        folder.display().to_string()
    };
    let columns = table("columns", b"a,b\n1,2\n");
    let file = format!("{columns}/train.csv: no label column; columns are a, b: ");
    no_design(
        path,
        &columns,
        &format!("{file}name one of them with --label-column"),
    );
    let one_class = table("one_class", b"text,label\nx,a\ny,a\nz,a\n");
    let wanted = format!("{one_class}: every example has the class `a`");
    no_design(path, &one_class, &wanted);
    let no_rows = table("no_rows", b"text,label\n");
    no_design(path, &no_rows, &format!("{no_rows}: no examples"));
    no_design(
        path,
        &table("bytes", b"text,label\nb,b\n\xff\xfe,a\n"),
        "bytes/train.csv:3: ",
    );
    no_design(
        path,
        &table("quotes", b"text,label\n\"open,a\nb,b\n"),
        "quotes/train.csv:2: a quote is opened here and never closed",
    );
    let folder = path.join("folder");
    fs::create_dir_all(folder.join("train.csv")).expect("writable");
    let unreadable = format!("{}/train.csv: Is a directory", folder.display());
    no_design(path, &folder.display().to_string(), &unreadable);
    let empty = path.join("empty");
    fs::create_dir_all(&empty).expect("writable");
    no_design(path, &empty.display().to_string(), "empty");
}

#[test]
fn images_that_cannot_be_learned_from() {
    let folder = temporary();
    let images = folder.path().join("images");
    for class in ["cat", "dog"] {
        fs::create_dir_all(images.join(class)).expect("writable");
    }
    let (cut, small) = (images.join("cat/cut.png"), images.join("dog/small.png"));
    write_png(&cut, [4, 4]);
    let bytes = fs::read(&cut).expect("written");
    fs::write(&cut, &bytes[..bytes.len() / 2]).expect("writable");
    write_png(&small, [1, 1]);
    let data = images.display().to_string();
    for wanted in [
        format!("{data}: no examples, skipped: "),
        format!(
            "unreadable or truncated image, skipped: 1 ({})",
            cut.display()
        ),
        format!("image smaller than 2x2, skipped: 1 ({})", small.display()),
    ] {
        no_design(folder.path(), &data, &wanted);
    }
}

#[test]
fn limits_that_no_network_can_meet() {
    let folder = temporary();
    let data = folder.path().join("t.csv");
    let rows: String = (0..40)
        .map(|row| format!("word {row},{}\n", row % 2))
        .collect();
    fs::write(&data, format!("text,label\n{rows}")).expect("writable");
    let data = data.display().to_string();
    for (limits, asked) in [
        (&["--p90", "1ns"][..], "asked for are 1.00 ns"),
        (
            &["--p90", "1s", "--memory", "1B"],
            "asked for are 1 s and 1 B",
        ),
    ] {
        let out = folder.path().join(asked).display().to_string();
        let words = ["design", "--data", &data, "--minutes", "1", "-o", &out];
        let output = squeeze(&[&words, limits].concat());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(
            message.contains("no network of the smallest space meets the limits: the fastest, "),
            "{message}"
        );
        assert!(
            message.contains("s (p90) and ") && message.contains(asked),
            "{message}"
        );
    }
}

#[test]
fn columns_that_cannot_be_read() {
    let folder = temporary();
    let table = folder.path().join("t.csv");
    fs::write(&table, "body,kind\na,x\nb,y\n").expect("writable");
    let table = table.display().to_string();
    let out = folder.path().join("run").display().to_string();
    let model = image_model(folder.path());
    for words in [
        &["design", "--p90", "1ms", "-o", &out][..],
        &["eval", &model],
    ] {
        let with = |more: &[&str], wanted: &str| refused(&[words, more].concat(), wanted);
        with(
            &["--data", &table, "--label-column", "knid"],
            "no `knid` column; columns are body, kind: name one of them with --label-column",
        );
        with(
            &["--data", &table, "--label-column", "kind"],
            "name one of them with --text-column",
        );
        let named = ["--text-column", "body", "--label-column", "kind"];
        with(
            &[&["--data", "digits"], &named[..]].concat(),
            "leave out --text-column and --label-column",
        );
    }
    let named = ["--text-column", "body", "--label-column", "kind"];
    let words = [&["eval", &model, "--data", &table], &named[..]].concat();
    refused(&words, "the model is made to");
}

#[test]
fn folders_that_cannot_be_written() {
    let folder = temporary();
    let file = folder.path().join("file");
    fs::write(&file, "x").expect("writable");
    let design = |out: &str, wanted: &str| {
        refused(
            &["design", "--data", "spam", "--p90", "1ms", "-o", out],
            wanted,
        );
    };
    design(&file.display().to_string(), "is a file");
    design(
        &file.join("run").display().to_string(),
        "cannot make the folder",
    );
    design("/proc/run", "cannot make the folder");
}

#[test]
fn two_designs_do_not_share_a_folder() {
    let folder = temporary();
    let held = squeeze::folder::RunFolder::open(folder.path()).expect("free");
    let out = folder.path().display().to_string();
    refused(
        &["design", "--data", "spam", "--p90", "1ms", "-o", &out],
        "another run is writing to",
    );
    drop(held);
}

#[test]
fn a_model_answers_about_an_image() {
    let folder = temporary();
    let model = image_model(folder.path());
    let image = folder.path().join("a.png");
    write_png(&image, [4, 4]);
    let image = image.display().to_string();
    let output = squeeze(&["run", &model, "--image", &image, "--json"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut runner = Command::new(env!("CARGO_BIN_EXE_squeeze-run"));
    let runner = runner.args([&model, "--image", &image, "--json"]).output();
    assert_eq!(runner.expect("it runs").stdout, output.stdout);
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let sum: f64 = line["classes"]
        .as_object()
        .expect("classes")
        .values()
        .filter_map(|p| p.as_f64())
        .sum();
    // Two f32 probabilities: 2 eps.
    assert!((sum - 1.0).abs() < 2.0 * f64::from(f32::EPSILON), "{sum}");
    refused(&["run", &model, "--text", "hello"], "takes images");
    refused(&["run", &model, "--image", "/no/such.png"], "/no/such.png");
    fs::write(
        folder.path().join("cut.png"),
        &fs::read(&image).expect("written")[..30],
    )
    .expect("writable");
    let cut = folder.path().join("cut.png").display().to_string();
    refused(&["run", &model, "--image", &cut], "cut.png");
}

#[test]
fn damaged_models_are_refused() {
    let folder = temporary();
    let model = image_model(folder.path());
    let bytes = fs::read(&model).expect("written");
    let damaged = folder.path().join("damaged.squeeze");
    let name = damaged.display().to_string();
    for length in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&damaged, &bytes[..length]).expect("writable");
        refused(&["run", &name, "--image", "x.png"], "damaged.squeeze");
    }
    // The length of the header, its text, and the last weight.
    for at in [0, 7, 20, bytes.len() - 1] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x40;
        fs::write(&damaged, bytes).expect("writable");
        refused(&["run", &name, "--image", "x.png"], "damaged.squeeze");
    }
    refused(
        &["run", "/no/such.squeeze", "--image", "x.png"],
        "/no/such.squeeze",
    );
}

#[test]
fn reports_are_drawn_from_records() {
    let folder = temporary();
    let path = folder.path().display().to_string();
    refused(&["report", &path], "not a finished run");
    RunRecord::default().save(folder.path()).expect("writable");
    let output = squeeze(&["report", &path]);
    assert!(output.status.success());
    assert!(folder.path().join("report.html").is_file());
    fs::write(folder.path().join(RunRecord::FILE), "{").expect("writable");
    refused(&["report", &path], "is damaged");
}

#[test]
fn weights_go_out_and_in() {
    let folder = temporary();
    let model = image_model(folder.path());
    let file = folder.path().join("w.safetensors").display().to_string();
    let output = squeeze(&["export", &model, "--to", "safetensors", "-o", &file]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let toml = folder.path().join("net.toml");
    fs::write(&toml, stdout(&squeeze(&["show", &model, "--toml"]))).expect("writable");
    let (toml, again) = (
        toml.display().to_string(),
        folder.path().join("b.squeeze").display().to_string(),
    );
    let output = squeeze(&["import", &file, "--model", &toml, "-o", &again]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let load = |path: &str| model::load(Path::new(path)).expect("own file").weights;
    assert_eq!(load(&model), load(&again));
    refused(&["import", &file, "-o", &again], "--model");
    refused(
        &[
            "export",
            "squeezenet1_1",
            "--to",
            "safetensors",
            "-o",
            &file,
        ],
        "has no weights",
    );
}

/// TFLite files are known by their bytes; what pixels become is in a file in bytes, and probabilities stay what they are.
#[test]
fn tflite_files_come_in() {
    let folder = temporary();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let golden = |name: &str| format!("{}/../../golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let (file, labels, model) = (path("odd.bin"), path("labels.txt"), path("m.squeeze"));
    fs::copy(golden("tflite_int8.tflite"), &file).expect("a golden file");
    fs::write(&labels, "a\nb\nc\nd\ne\nf\n").expect("writable");
    let output = squeeze(&["import", &file, "--labels", &labels, "-o", &model]);
    assert!(output.status.success());
    write_png(Path::new(&path("x.png")), [14, 14]);
    let told = lines(&["run", &model, "--image", &path("x.png"), "--json"]);
    let classes = told[0]["classes"].as_object().expect("classes").values();
    let shares: Vec<f64> = classes.map(|p| p.as_f64().expect("a share")).collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    assert!(shares.iter().any(|&share| share < 0.01), "{shares:?}");
    let numbers = [
        "import",
        &golden("tflite_image.tflite"),
        "--labels",
        &labels,
        "-o",
        &model,
    ];
    refused(&numbers, "has 6 names, the network gives [1, 5]");
    fs::write(&labels, "a\nb\nc\nd\ne\n").expect("writable");
    refused(&numbers, "give --mean and --std with --labels");
    let with = [&numbers[..], &["--mean", "0.5", "--std", "0.5,0.25,0.125"]].concat();
    assert!(squeeze(&with).status.success());
    let input = model::load(Path::new(&model)).expect("own file").meta.input;
    let [mean, std] = ["mean", "std"].map(|key| input["preprocess"][key].to_string());
    assert_eq!([&*mean, &*std], ["[0.5,0.5,0.5]", "[0.5,0.25,0.125]"]);
    let with = [&numbers[..], &["--mean", "0.5", "--std", "0.5,0.5"]].concat();
    refused(&with, "one number or 3");
    fs::write(path("no.tflite"), "no such file").expect("writable");
    refused(&["import", &path("no.tflite"), "-o", &model], "TFL3");
}
