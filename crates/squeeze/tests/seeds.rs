//! What fuzzing starts from (`fuzz/seeds`) and what it found to reach most (`fuzz/found`, docs/fuzzing.md) is read or refused in a
//! moment, and nothing panics.

#[path = "../../../fuzz/src/sealed.rs"]
mod sealed;

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
    let (all, good) = read("idx", |_, bytes| idx(bytes));
    assert!(all > 0 && good > 0);
}

/// Gives every found file of a target to `reads`, under each of these names.
#[track_caller]
fn found(target: &str, names: &[&str], reads: impl Fn(&Path)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/found");
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut files = 0;
    for entry in std::fs::read_dir(folder.join(target)).expect("a folder of found files") {
        let path = entry.expect("a file").path();
        let bytes = std::fs::read(&path).expect("a file");
        let sealed = (target == "model")
            .then(|| sealed::sealed(&bytes))
            .flatten();
        for name in names {
            // A file of another name must not be taken for one beside it.
            let place = home
                .path()
                .join(path.file_name().expect("a file"))
                .join(name);
            std::fs::create_dir_all(place.parent().expect("a folder")).expect("writable");
            std::fs::write(&place, sealed.as_deref().unwrap_or(&bytes)).expect("writable");
            let start = Instant::now();
            reads(&place);
            assert!(
                start.elapsed() < Duration::from_secs(1),
                "{}",
                path.display()
            );
            std::fs::remove_file(&place).expect("just written");
        }
        files += 1;
    }
    assert!(files > 16, "{target}: {files} files");
}

#[test]
fn found_files_of_networks() {
    found("safetensors", &["x.safetensors"], |path| {
        let _ = safetensors::load(path);
    });
    found("torch", &["x.pt"], |path| {
        let _ = torch::load(path);
    });
    found("tflite", &["x.tflite"], |path| {
        let _ = tflite::import(path);
    });
    found("model", &["x.squeeze"], |path| {
        let _ = model::load(path);
    });
    let sizes = Sizes {
        length: Some(8),
        image: Some([32, 32]),
    };
    found("onnx", &["x.onnx"], |path| {
        let _ = onnx::import(path, &sizes);
    });
}

#[test]
fn found_files_of_data() {
    found("tokenizer", &["tokenizer.json", "vocab.txt"], |path| {
        if let Ok(tokenizer) = Tokenizer::open(path) {
            let _ = tokenizer.encode("Two words, A\u{308} and 猫.", Some("more"), 16);
        }
    });
    found("image", &["x.png"], |path| {
        let _ = Image::open(path);
    });
    let tables = ["x.csv", "x.tsv", "x.jsonl", "x.json"];
    found("table", &tables, |path| {
        let name = path.to_str().expect("an ASCII path");
        if let Ok(set) = DataSet::open(name, &OpenOptions::default()) {
            set.inspect();
        }
    });
    found("idx", &["x"], |path| {
        let bytes = std::fs::read(path).expect("just written");
        let _ = idx(&bytes);
    });
}

/// Two bytes that say how long the images are, the images, the labels.
fn idx(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return false;
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (images, labels) = rest.split_at(length);
    examples((images, Path::new("images")), (labels, Path::new("labels"))).is_ok()
}
