//! Networks that are written as ONNX files and read again cost and compute the same; ONNX Runtime computes what we compute.

mod binary;

use std::path::{Path, PathBuf};

use binary::{lines, refused, squeeze};

use squeeze_formats::onnx::{self, Sizes};
use squeeze_graph::{Element, Graph, elements};
use squeeze_infer::{Input, Target, channels_first, channels_last, compile};
use squeeze_tensor::{Seed, Tensor, Weights};
use squeeze_zoo::{ImageSpace, Options, TextSpace, build};

/// Fresh weights whose scales, shifts and statistics are not what they start as.
fn weights(graph: &Graph) -> Weights {
    let mut weights = squeeze_rewrite::fresh(graph, Seed(1));
    for (name, param) in graph.params() {
        if let [size] = *param.shape {
            let values = weights.get(&name).expect("a fresh one").floats();
            let moved = |(at, value): (usize, f32)| value + 0.02 * (at % 11) as f32 - 0.1;
            let values: Vec<f32> = values.into_iter().enumerate().map(moved).collect();
            weights.insert(name, Tensor::from_f32(&[size], &values));
        }
    }
    weights
}

/// All outputs of a network in its own order of axes; texts are three quarters as long as their places.
fn outputs(graph: &Graph, weights: &Weights) -> Vec<Vec<f32>> {
    let mut numbers = vec![];
    let mut indices = vec![];
    for id in graph.inputs() {
        let node = graph.node(id);
        let count = elements(&node.shape);
        match (node.element, &*node.shape) {
            (Element::Number, &[n, c, h, w]) => {
                let values: Vec<f32> = (0..count)
                    .map(|at| ((at * 37 % 101) as f32 - 50.0) / 40.0)
                    .collect();
                numbers.push(channels_last([n, c, h, w], &values));
            }
            (Element::Index, &[_, s]) => {
                let most = if node.name == "types" { 2 } else { 20 };
                let value = |at: usize| (at * 31 % s.max(97) % most) as i32;
                indices.push((0..count).map(value).collect::<Vec<_>>());
            }
            (Element::Index, &[n]) => {
                let length = graph.node(graph.inputs()[0]).shape[1] * 3 / 4;
                indices.push(vec![length as i32; n]);
            }
            (element, shape) => panic!("an input of {element:?} and {shape:?}"),
        }
    }
    let (mut numbers, mut indices) = (numbers.iter(), indices.iter());
    let inputs = graph.inputs();
    let inputs: Vec<Input> = inputs
        .iter()
        .map(|&id| match graph.node(id).element {
            Element::Number => Input::Numbers(numbers.next().expect("one each")),
            Element::Index => Input::Indices(indices.next().expect("one each")),
        })
        .collect();
    run(graph, weights, &inputs)
}

fn run(graph: &Graph, weights: &Weights, inputs: &[Input]) -> Vec<Vec<f32>> {
    let plan = compile(graph, weights, &Target::here(2)).expect("every operator runs");
    plan.check(inputs).expect("the inputs fit");
    let mut scratch = plan.scratch();
    let found = plan.run(inputs, &mut scratch);
    let shapes = graph.outputs().iter().map(|id| &graph.node(*id).shape);
    let pairs = shapes.enumerate();
    pairs
        .map(|(at, shape)| match <[usize; 4]>::try_from(&**shape) {
            Ok(image) => channels_first(image, found.at(at)),
            Err(_) => found.at(at).to_vec(),
        })
        .collect()
}

/// Both compute the same but for the order of a few sums: a thousandth of what single precision leaves of a network.
#[track_caller]
fn alike(name: &str, found: &[Vec<f32>], wanted: &[Vec<f32>]) {
    assert_eq!(found.len(), wanted.len(), "{name}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found.len(), wanted.len(), "{name}");
        let largest = wanted
            .iter()
            .fold(0.0f32, |most, value| most.max(value.abs()));
        assert!(largest.is_finite() && largest > 0.0, "{name}: {largest}");
        for (found, wanted) in found.iter().zip(wanted) {
            let close = (found - wanted).abs() <= 1e-5 * largest;
            assert!(
                close,
                "{name}: {found} instead of {wanted}, largest {largest}"
            );
        }
    }
}

/// Writes a network, reads it again, and compares cost and outputs.
#[track_caller]
fn check(graph: &Graph) {
    let name = graph.name();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    let weights = weights(graph);
    onnx::export(&path, graph, &weights, &[]).expect(name);
    let is_text = |id: &squeeze_graph::NodeId| graph.node(*id).shape.len() == 2;
    let text = graph.inputs().into_iter().find(is_text);
    let sizes = Sizes {
        length: text.map(|id| graph.node(id).shape[1]),
        ..Sizes::default()
    };
    let (again, read) = onnx::import(&path, &sizes).expect(name);
    let cost = |graph: &Graph| (graph.cost().params, graph.cost().macs);
    assert_eq!(cost(&again), cost(graph), "{name}");
    alike(name, &outputs(&again, &read), &outputs(graph, &weights));
}

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    folder.join(name)
}

/// A network of each family, as small as it comes; VGG and AlexNet fit at one size only, with hundreds of megabytes.
#[test]
fn image_networks() {
    let names = [
        "squeezenet1_1",
        "resnet18",
        "mobilenet_v1",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "mobilenet_v4_conv_small",
        "shufflenet_v2_x0_5",
        "mnasnet0_5",
        "efficientnet_b0",
        "regnet_y_400mf",
        "deit_tiny",
        "deeplabv3_mobilenet_v3_large",
        "deeplabv3plus_mobilenet",
        "lraspp_mobilenet_v3_large",
        "ssdlite320_mobilenet_v3_large",
        "squeezenas_lat_small",
        "unet_small",
    ];
    for name in names {
        let options = Options {
            // The average of SqueezeNAS' decoder is over 49 x 49 places.
            image: Some(if name.starts_with("squeezenas") {
                800
            } else {
                64
            }),
            ..Options::default()
        };
        check(&build(name, &options).expect(name));
    }
}

#[test]
fn text_networks() {
    let names = [
        "bert-tiny",
        "distilroberta",
        "electra-small",
        "distilbert",
        "albert-base",
        "squeezebert",
        "mobilebert",
        "lite-transformer-160",
        "lite-transformer-200",
        "distilgpt2",
        "transformer-small",
    ];
    for name in names {
        let options = Options {
            length: Some(8),
            ..Options::default()
        };
        check(&build(name, &options).expect(name));
    }
}

/// Networks of the search spaces: each slot's choices in turn.
#[test]
fn networks_that_a_search_finds() {
    let texts = TextSpace::presets(97, 16, 3).into_iter();
    let images = ImageSpace::presets(3, 32, 4).into_iter();
    let texts = texts.map(|row| squeeze_zoo::text(&row));
    let spaces = texts.chain(images.map(|row| squeeze_zoo::image(&row)));
    for space in spaces {
        let space = space.expect("a preset");
        let most = space.slots().iter().map(|slot| slot.choices().len()).max();
        for at in 0..most.expect("it has slots") {
            let pick =
                |(slot, row): (usize, &squeeze_graph::Slot)| (at + slot) % row.choices().len();
            let picks: Vec<usize> = space.slots().iter().enumerate().map(pick).collect();
            check(&space.resolve(&picks).expect("one of its networks"));
        }
    }
}

/// What ONNX Runtime answers, in files that `golden/onnx_export.py` made of networks with every operator.
#[track_caller]
fn check_runtime(name: &str) {
    let path = golden(&format!("onnx_export_{name}.onnx"));
    let text = std::fs::read_to_string(path.with_extension("json")).expect("its facts");
    let facts: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let numbers = |key: &str| -> Vec<f32> {
        let values = facts[key].as_array().expect(key).iter();
        values.map(|v| v.as_f64().expect(key) as f32).collect()
    };
    let sizes = Sizes {
        length: Some(6),
        ..Sizes::default()
    };
    let (graph, weights) = onnx::import(&path, &sizes).expect("our own file");
    let graph = graph.with_batch(2).expect("its batch is open");
    let whole = |key| numbers(key).iter().map(|&v| v as i32).collect::<Vec<_>>();
    let found = match name {
        "image" => {
            let image = channels_last([2, 3, 11, 13], &numbers("image"));
            run(&graph, &weights, &[Input::Numbers(&image)])
        }
        _ => {
            let mask = whole("attention_mask");
            let lengths: Vec<i32> = mask.chunks(6).map(|row| row.iter().sum()).collect();
            let (ids, types) = (whole("input_ids"), whole("token_type_ids"));
            run(
                &graph,
                &weights,
                &[&ids, &types, &lengths].map(|row| Input::Indices(row)),
            )
        }
    };
    let source = std::fs::read_to_string(path.with_extension("toml")).expect("its network");
    let source = Graph::from_toml(&source).expect("a network");
    assert_eq!(source.cost().params, graph.cost().params);
    assert_eq!(source.cost().macs, graph.cost().macs);
    let names = source.outputs().iter().map(|&id| &*source.node(id).name);
    alike(name, &found, &names.map(numbers).collect::<Vec<_>>());
}

#[test]
fn every_operator_of_images_in_onnx_runtime() {
    check_runtime("image");
}

#[test]
fn every_operator_of_texts_in_onnx_runtime() {
    check_runtime("text");
}

/// Weights in bytes stay bytes; rows that are added to tokens or stand before them become numbers.
#[test]
fn bytes_and_their_scales() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    for name in ["image", "text"] {
        let text = std::fs::read_to_string(golden(&format!("onnx_export_{name}.toml")));
        let graph = Graph::from_toml(&text.expect("its network")).expect("a network");
        let mut all = weights(&graph);
        let mut layers = 0;
        for (name, param) in graph.params() {
            if name.ends_with(".weight") && param.shape.len() > 1 {
                let count = elements(&param.shape);
                let bytes: Vec<i8> = (0..count).map(|at| (at * 29 % 255) as i8).collect();
                let bytes: Vec<i8> = bytes.iter().map(|&byte| byte.max(-127)).collect();
                let scales: Vec<f32> = (0..param.shape[0])
                    .map(|at| 0.002 + 0.0001 * at as f32)
                    .collect();
                let tensor = Tensor::from_i8(&param.shape, &bytes).with_scales(&scales);
                let is_layer = !["class.weight", "positions.weight"].contains(&&*name)
                    || graph.name() == "text";
                layers += usize::from(is_layer);
                all.insert(name, tensor.expect("a scale a row"));
            }
        }
        onnx::export(&path, &graph, &all, &[]).expect("it can be written");
        let sizes = Sizes {
            length: Some(6),
            ..Sizes::default()
        };
        let (again, read) = onnx::import(&path, &sizes).expect("our own file");
        let kept = read.iter().filter(|(_, tensor)| tensor.scaled().is_some());
        assert_eq!(kept.count(), layers, "{name}");
        let again = again.with_batch(2).expect("its batch is open");
        alike(name, &outputs(&again, &read), &outputs(&graph, &all));
    }
}

/// The commands: a network by name, its sizes, and what a model file says beside its network.
#[test]
fn commands() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let done = |words: &[&str]| {
        let output = squeeze(words);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{message}");
        message
    };
    let macs = |words: &[&str]| lines(&[&["cost"], words, &["--json"]].concat())[0]["macs"].clone();
    let image = file("image.onnx");
    let said = done(&[
        "export",
        "squeezenet1_1",
        "--to",
        "onnx",
        "--image",
        "64",
        "-o",
        &image,
    ]);
    assert!(said.contains("they are random in the file"), "{said}");
    assert_eq!(macs(&[&image]), macs(&["squeezenet1_1", "--image", "64"]));
    let text = file("text.onnx");
    done(&["export", "bert-tiny", "--to", "onnx", "-o", &text]);
    let length = ["--seq", "16"];
    assert_eq!(
        macs(&[&[&*text], &length[..]].concat()),
        macs(&[&["bert-tiny"], &length[..]].concat())
    );
    refused(&["cost", &text], "an axis has no size");
    let graph = build("squeezenet1_1", &Options::default()).expect("a known name");
    let meta = squeeze_formats::Meta {
        labels: vec!["cat".into(), "dog".into()],
        ..Default::default()
    };
    let model = squeeze_formats::ModelFile {
        weights: weights(&graph),
        graph,
        meta,
    };
    let path = file("model.squeeze");
    squeeze_formats::model::save(Path::new(&path), &model).expect("writable");
    done(&["export", &path, "--to", "onnx", "-o", &image]);
    let bytes = std::fs::read(&image).expect("it was written");
    let labels = br#"["cat","dog"]"#;
    assert!(bytes.windows(labels.len()).any(|part| part == labels));
}
