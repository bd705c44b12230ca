//! Weights as safetensors: `u64` header length, JSON header, tensors back to back.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use squeeze_kernels::Reading;
use squeeze_tensor::{Dtype, Tensor, Weights};

use crate::FileError;
use crate::error::Broken;
use crate::map::Mapped;

/// Maps every tensor of a safetensors file; integers and half-precision numbers stay as they are.
///
/// # Errors
/// When the file cannot be read, its header lies about its content, or an element type is unknown.
pub fn load(path: &Path) -> Result<Weights, FileError> {
    let file = Mapped::open(path)?;
    let parsed = parse(file.bytes()).map_err(|broken| broken.of(&path.display().to_string()))?;
    let tensor = |row: Row| row.tensor(|range| file.part(range, Reading::Whole));
    let rows = parsed.rows.into_iter();
    Ok(rows.map(|(name, row)| (name, tensor(row))).collect())
}

/// Writes weights so that Python's `safetensors` reads them; those in bytes as the numbers that they stand for.
///
/// # Errors
/// When the file cannot be written.
pub fn save(path: &Path, weights: &Weights) -> Result<(), FileError> {
    let number = |tensor: &Tensor| match tensor.scaled() {
        Some(_) => Tensor::from_f32(tensor.shape(), &tensor.floats()),
        None => tensor.in_rows(),
    };
    let named = weights.iter();
    let numbers: Weights = named
        .map(|(name, tensor)| (name.to_owned(), number(tensor)))
        .collect();
    crate::write(path, &serialize(&numbers, &BTreeMap::new()))
}

/// What a safetensors file holds, and where.
pub(crate) struct Parsed {
    pub metadata: BTreeMap<String, String>,
    pub rows: BTreeMap<String, Row>,
}

/// A tensor in a file.
pub(crate) struct Row {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Where its elements lie; as many bytes as element type and shape say.
    pub range: Range<usize>,
}

/// Reads the header of a file's bytes and checks every offset.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Broken> {
    let read = safetensors::SafeTensors::read_metadata(bytes);
    let (header_length, header) = read.map_err(|error| {
        Broken::new(format!(
            "no safetensors, or damaged: {error}; copy or download it again"
        ))
    })?;
    let mut rows = BTreeMap::new();
    for (name, info) in header.tensors() {
        let found = info.dtype.to_string();
        let dtype = Dtype::from_name(&found).ok_or_else(|| {
            Broken::new(format!(
                "tensor `{name}` holds {found}, which is not read: convert it to F32"
            ))
        })?;
        // `u64` header length, JSON header, tensors.
        let (start, end) = info.data_offsets;
        let start_of_data = 8 + header_length;
        let row = Row {
            dtype,
            shape: info.shape.clone(),
            range: start_of_data + start..start_of_data + end,
        };
        rows.insert(name, row);
    }
    let metadata = header.metadata().clone().unwrap_or_default();
    Ok(Parsed {
        metadata: metadata.into_iter().collect(),
        rows,
    })
}

impl Row {
    /// The tensor, of the bytes that `take` gives for where they lie.
    pub fn tensor(&self, take: impl Fn(Range<usize>) -> Bytes) -> Tensor {
        let tensor = Tensor::new(self.dtype, &self.shape, take(self.range.clone()));
        tensor.expect("`parse` checked the offsets")
    }
}

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// A file's bytes: tensors of whole cache lines first, so that each starts on one, then wide elements first, so that every tensor is
/// aligned, then by name. The same weights give the same bytes.
pub(crate) fn serialize(weights: &Weights, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut rows: Vec<(&str, &Tensor)> = weights.iter().collect();
    rows.sort_by_key(|(name, tensor)| {
        let is_broken = !tensor.bytes().len().is_multiple_of(LINE);
        (is_broken, usize::MAX - tensor.dtype().bytes(), *name)
    });
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut end = 0;
    for (name, tensor) in &rows {
        let start = end;
        end += tensor.bytes().len();
        let entry = json!({
            "dtype": tensor.dtype().name(),
            "shape": tensor.shape(),
            "data_offsets": [start, end],
        });
        header.insert((*name).into(), entry);
    }
    let mut text = Value::Object(header).to_string();
    let length = size_of::<u64>();
    while !(length + text.len()).is_multiple_of(LINE) {
        text.push(' ');
    }
    let mut bytes = Vec::with_capacity(length + text.len() + end);
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
    rows.iter().for_each(|(_, t)| bytes.extend(t.bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights() -> Weights {
        let half = Tensor::new(Dtype::F16, &[3], vec![0, 60, 0, 64, 0, 66]).expect("fits");
        Weights::from_iter([
            ("a.half".to_owned(), half),
            (
                "b.weight".into(),
                Tensor::from_f32(&[2, 2], &[1.0, -2.0, 3.0, 0.5]),
            ),
            ("c.scalar".into(), Tensor::from_f32(&[], &[7.0])),
        ])
    }

    #[test]
    fn round_trips() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("w.safetensors");
        save(&path, &weights()).expect("writable");
        assert_eq!(load(&path).expect("own file"), weights());
    }

    #[test]
    fn lying_headers_are_refused() {
        for length in [1u64 << 60, u64::MAX, 1 << 32, 9] {
            let mut bytes = serialize(&weights(), &BTreeMap::new());
            bytes[..8].copy_from_slice(&length.to_le_bytes());
            assert!(parse(&bytes).is_err(), "{length}");
        }
    }

    /// Written by Python's `safetensors` 0.8: golden/python_safetensors.py.
    #[test]
    fn python_wrote_it() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/python.safetensors");
        let weights = load(&path).expect("a golden file");
        let floats = weights.get("weight").expect("a tensor").floats();
        assert_eq!(floats, [0.0, 1.5, -2.0, 3.25, 4.0, -5.0]);
        assert_eq!(weights.get("half").expect("a tensor").dtype(), Dtype::Bf16);
    }

    #[test]
    fn unknown_elements_are_named() {
        let text = serialize(&weights(), &BTreeMap::new());
        let bytes = String::from_utf8_lossy(&text[8..])
            .find("F16")
            .expect("half");
        let mut text = text;
        text[8 + bytes..8 + bytes + 3].copy_from_slice(b"U16");
        let Err(Broken(reason)) = parse(&text) else {
            panic!("U16 is not read");
        };
        assert_eq!(
            reason,
            "tensor `a.half` holds U16, which is not read: convert it to F32"
        );
    }
}
