//! Language models from outside: GPT-2's files in a folder become a model file that goes on with texts.

mod binary;

use std::path::Path;

use binary::{lines, refused, squeeze};
use squeeze::formats::{model, safetensors};
use squeeze::graph::ops::Activation;
use squeeze::rewrite::fresh;
use squeeze::tensor::{Seed, Tensor, Weights};
use squeeze::zoo::blocks::Groups;
use squeeze::zoo::{Encoder, EncoderFamily, Options};

/// GPT-2 comes as published, layers with rows for columns among it, and goes on with a text.
#[test]
fn a_language_model_goes_on() {
    let sizes = Encoder {
        layers: 1,
        width: 8,
        heads: 2,
        inner: 32,
        tables: 8,
        vocabulary: 6,
        places: 7,
        activation: Activation::GeluTanh,
        epsilon: 1e-5,
        groups: Groups::DENSE,
    };
    let options = Options {
        length: Some(7),
        ..Options::default()
    };
    let graph = EncoderFamily::Gpt2.graph("org/tiny", &sizes, &options);
    let mut weights = fresh(&graph.expect("they fit"), Seed(3));
    // Rows of the table that point into directions of their own, so that one token is by far the likeliest.
    let table: Vec<f32> = (0..48)
        .map(|at| ((at * 7 + at / 8) % 5) as f32 - 2.0)
        .collect();
    weights.insert("transformer.wte.weight", Tensor::from_f32(&[6, 8], &table));
    let layer = "transformer.h.0.attn.c_attn.weight";
    let published: Weights = weights
        .iter()
        .map(|(name, tensor)| {
            let turned = |tensor: &Tensor| {
                let (rows, columns) = (tensor.shape()[0], tensor.shape()[1]);
                let values = tensor.floats();
                let of = |at: usize| values[at % rows * columns + at / rows];
                let values: Vec<f32> = (0..values.len()).map(of).collect();
                Tensor::from_f32(&[columns, rows], &values)
            };
            let is_layer = name.contains(".h.") && tensor.shape().len() == 2;
            let tensor = if is_layer {
                turned(tensor)
            } else {
                tensor.clone()
            };
            (name.replace("transformer.", ""), tensor)
        })
        .collect();
    assert_eq!(
        published
            .get(&layer.replace("transformer.", ""))
            .expect("it has one")
            .shape(),
        [8, 24]
    );
    let config = r#"{ "model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_inner": null, "vocab_size": 6, "n_positions": 7 }"#;
    let tokenizer = r#"{
        "version": "1.0", "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": { "a": 0, "b": 1, "c": 2, "d": 3, "ab": 4, "e": 5 }, "merges": ["a b"] }
    }"#;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(file(name), text).expect("writable");
    write("config.json", config);
    write("tokenizer.json", tokenizer);
    safetensors::save(&file("model.safetensors"), &published).expect("writable");
    let from = folder.path().display().to_string();
    let path = file("tiny.squeeze").display().to_string();
    let output = squeeze(&["import", &from, "-o", &path]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{message}");
    let read = model::load(Path::new(&path)).expect("a model file");
    assert_eq!(read.weights, weights);
    assert_eq!(read.meta.task["kind"], "continue_text");
    let run = |words: &[&str]| lines(&[&["run", &*path, "--json"], words].concat()).remove(0);
    let next = run(&["--text", "abc"])["next"].clone();
    let rows = next.as_array().expect("rows");
    let shares: Vec<f64> = rows
        .iter()
        .map(|row| row["probability"].as_f64().expect("a share"))
        .collect();
    assert!(
        shares.len() == 5 && shares.is_sorted_by(|a, b| a >= b) && shares.iter().sum::<f64>() < 1.0,
        "{next}"
    );
    let behind = run(&["--text", "abc", "--tokens", "3"])["continuation"].clone();
    let first = rows[0]["token"].as_str().expect("a token");
    assert!(
        behind.as_str().expect("text").starts_with(first),
        "{behind} after {next}"
    );
    refused(
        &["run", &path, "--text", "abcde", "--tokens", "4"],
        "4 tokens and 4 more: the model takes 7",
    );
    refused(&["run", &path, "--text", "ab", "--pair", "c"], "one text");
    refused(
        &["eval", &path, "--data", "spam"],
        "the model goes on with texts",
    );
    let other = config.replace("\"n_layer\"", "\"scale_attn_weights\": false, \"n_layer\"");
    write("config.json", &other);
    refused(
        &["import", &from, "-o", &path],
        "scale_attn_weights false is not known of gpt2",
    );
}
