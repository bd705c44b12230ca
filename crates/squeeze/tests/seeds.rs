//! What fuzzing starts from (`fuzz/seeds`) and what it found to reach most (`fuzz/found`, docs/fuzzing.md) is read or refused in a
//! moment, and nothing panics.

#[path = "../../../fuzz/src/sealed.rs"]
mod sealed;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use squeeze_data::read::idx::examples;
use squeeze_data::{BytePieces, DataSet, Image, OpenOptions, Tokenizer};
use squeeze_formats::onnx::{self, Sizes};
use squeeze_formats::{model, safetensors, tflite, torch};

/// Whether a target reads a file, and does not refuse it.
fn is_read(target: &str, path: &Path) -> bool {
    match target {
        "safetensors" => safetensors::load(path).is_ok(),
        "torch" => torch::load(path).is_ok(),
        "tflite" => tflite::import(path).is_ok(),
        "model" => model::load(path).is_ok(),
        "onnx" => {
            let sizes = Sizes {
                length: Some(8),
                image: Some([32, 32]),
            };
            onnx::import(path, &sizes).is_ok()
        }
        "tokenizer" => {
            let text = "Two words, A\u{308} and 猫.";
            let json = std::fs::read_to_string(path).unwrap_or_default();
            if let Ok(pieces) = BytePieces::from_json(&json)
                && let Ok(ids) = pieces.encode(text)
            {
                pieces.decode(&ids);
            }
            let tokenizer = Tokenizer::open(path);
            let tokenizer = tokenizer.inspect(|tokenizer| {
                let _ = tokenizer.encode(text, Some("more"), 16);
            });
            tokenizer.is_ok()
        }
        "image" => Image::open(path).is_ok(),
        "table" => {
            let name = path.to_str().expect("an ASCII path");
            let set = DataSet::open(name, &OpenOptions::default());
            set.inspect(|set| {
                set.inspect();
            })
            .is_ok()
        }
        "idx" => {
            // Two bytes that say how long the images are, the images, the labels.
            let bytes = std::fs::read(path).expect("a file");
            let Some((length, rest)) = bytes.split_first_chunk() else {
                return false;
            };
            let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
            let (images, labels) = rest.split_at(length);
            examples((images, Path::new("images")), (labels, Path::new("labels"))).is_ok()
        }
        _ => unreachable!("no target {target}"),
    }
}

/// The same, in under a second.
#[track_caller]
fn is_read_in_time(target: &str, path: &Path) -> bool {
    let start = Instant::now();
    let is_read = is_read(target, path);
    let shown = path.display();
    assert!(start.elapsed() < Duration::from_secs(1), "{shown}");
    is_read
}

/// A target's files in a folder of `fuzz`.
fn files(folder: &str, target: &str) -> Vec<PathBuf> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let entries = std::fs::read_dir(fuzz.join(folder).join(target)).expect("a folder of files");
    entries.map(|entry| entry.expect("a file").path()).collect()
}

/// Reads every seed of a target. How many there are comes back, and how many were read and not refused.
#[track_caller]
fn seeds(target: &str) -> (usize, usize) {
    let seeds = files("seeds", target);
    let good = seeds.iter().filter(|path| is_read_in_time(target, path));
    (seeds.len(), good.count())
}

#[test]
fn files_of_networks() {
    for target in ["safetensors", "tflite", "model", "onnx"] {
        let (all, good) = seeds(target);
        assert!(all > 0 && good > 0, "{target}");
    }
    let (all, good) = seeds("torch");
    assert!(all > good && good > 0, "one calls a function");
}

#[test]
fn files_of_data() {
    for target in ["table", "idx"] {
        let (all, good) = seeds(target);
        assert!(all > 0 && good > 0, "{target}");
    }
    let (all, good) = seeds("tokenizer");
    assert!(all > good && good > 0, "some decoders are broken");
    let (all, good) = seeds("image");
    assert!(all > good && good > 0, "one is too large for its bytes");
}

/// The names under which each target gives its readers the same bytes.
const NAMES: [(&str, &[&str]); 9] = [
    ("safetensors", &["x.safetensors"]),
    ("torch", &["x.pt"]),
    ("tflite", &["x.tflite"]),
    ("model", &["x.squeeze"]),
    ("onnx", &["x.onnx"]),
    ("tokenizer", &["tokenizer.json", "vocab.txt"]),
    ("image", &["x.png"]),
    ("table", &["x.csv", "x.tsv", "x.jsonl", "x.json"]),
    ("idx", &["x"]),
];

#[test]
fn found_files() {
    let home = tempfile::tempdir().expect("a temporary folder");
    for (target, names) in NAMES {
        let found = files("found", target);
        assert!(found.len() > 16, "{target}: {} files", found.len());
        for path in found {
            let bytes = std::fs::read(&path).expect("a file");
            let sealed = (target == "model").then(|| sealed::sealed(&bytes));
            let sealed = sealed.flatten();
            for name in names {
                // A file of another name must not be taken for one beside it.
                let folder = home.path().join(path.file_name().expect("a file"));
                std::fs::create_dir_all(&folder).expect("writable");
                let place = folder.join(name);
                std::fs::write(&place, sealed.as_deref().unwrap_or(&bytes)).expect("writable");
                is_read_in_time(target, &place);
                std::fs::remove_file(&place).expect("just written");
            }
        }
    }
}
