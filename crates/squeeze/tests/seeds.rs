//! What fuzzing starts from (`fuzz/seeds`, docs/fuzzing.md) is read or refused in a moment, and nothing panics.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use squeeze_data::read::idx::examples;
use squeeze_data::{DataSet, Image, OpenOptions, Tokenizer};
use squeeze_formats::onnx::{self, Sizes};
use squeeze_formats::{model, safetensors, tflite, torch};

/// Reads every seed of a target. How many there are comes back, and how many were read and not refused.
#[track_caller]
fn read(target: &str, reads: impl Fn(&Path, &[u8]) -> bool) -> (usize, usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let folder = folder.join(target);
    let entries = std::fs::read_dir(&folder).expect("a folder of seeds");
    let seeds: Vec<PathBuf> = entries.map(|entry| entry.expect("a seed").path()).collect();
    let is_read = |path: &&PathBuf| {
        let bytes = std::fs::read(path).expect("a seed");
        let start = Instant::now();
        let is_read = reads(path, &bytes);
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{}",
            path.display()
        );
        is_read
    };
    (seeds.len(), seeds.iter().filter(is_read).count())
}

#[test]
fn files_of_networks() {
    let (all, good) = read("safetensors", |path, _| safetensors::load(path).is_ok());
    assert!(all > 0 && good > 0);
    let (all, good) = read("torch", |path, _| torch::load(path).is_ok());
    assert!(all > good && good > 0, "one calls a function");
    let (all, good) = read("tflite", |path, _| tflite::import(path).is_ok());
    assert!(all > 0 && good > 0);
    let (all, good) = read("model", |path, _| model::load(path).is_ok());
    assert!(all > 0 && good > 0);
    let sizes = Sizes {
        length: Some(8),
        image: Some([32, 32]),
    };
    let (all, good) = read("onnx", |path, _| onnx::import(path, &sizes).is_ok());
    assert!(all > 0 && good > 0);
}

#[test]
fn files_of_data() {
    let (all, good) = read("tokenizer", |path, _| Tokenizer::open(path).is_ok());
    assert!(all > good && good > 0, "some decoders are broken");
    let (all, good) = read("image", |_, bytes| Image::decode(bytes).is_ok());
    assert!(all > good && good > 0, "one is too large for its bytes");
    let options = OpenOptions::default();
    let (all, good) = read("table", |path, _| {
        DataSet::open(path.to_str().expect("an ASCII path"), &options).is_ok()
    });
    assert!(all > 0 && good > 0);
    let (all, good) = read("idx", |_, bytes| {
        let (length, rest) = bytes.split_first_chunk().expect("a length");
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (images, labels) = rest.split_at(length);
        examples((images, Path::new("images")), (labels, Path::new("labels"))).is_ok()
    });
    assert!(all > 0 && good > 0);
}
