//! The Squeeze model file: safetensors that hold a network's weights, and in their metadata
//! everything else that is needed to use it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use serde_json::Value;
use squeeze_graph::Graph;
use squeeze_kernels::Reading;
use squeeze_tensor::{Dtype, Tensor, Unchecked, Weights};

use crate::FileError;
use crate::checksum::crc64;
use crate::error::Broken;
use crate::map::Mapped;
use crate::panels::{in_panels, of_panels};
use crate::rows::{self, Sums};
use crate::safetensors::{Parsed, Row, parse, serialize};
use crate::scales::{apart, together};

/// A network that can be used with nothing else at hand.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// What it is.
    pub graph: Graph,
    /// Its numbers: exactly the weights that the graph asks for.
    pub weights: Weights,
    /// What it is for.
    pub meta: Meta,
}

/// Everything beside the network itself. This crate carries the values and looks into none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// What it does, in the words of the data crate.
    pub task: Value,
    /// Names of the classes, in the order of the outputs.
    pub labels: Vec<String>,
    /// How its input is made: the tokenizer, or how images are prepared.
    pub input: Value,
    /// Facts for the reader: data, device, limits, figures, dates.
    pub card: Value,
}

/// Versions of the layout below that are read: with numbers alone, with some weights in bytes, with some in panels, and with checksums
/// of the rows of tables.
const VERSIONS: [&str; 4] = ["1", "2", "3", "4"];

const FORMAT: &str = "squeeze model";

/// What metadata call the checksums of tables' rows.
const ROWS: &str = "rows";

/// Writes a model file, whole or not at all.
///
/// # Errors
/// When the weights are not those of the graph, or the file cannot be written.
pub fn save(path: &Path, model: &ModelFile) -> Result<(), FileError> {
    let bytes = to_bytes(model).map_err(|broken| broken.of(&path.display().to_string()))?;
    crate::write(path, &bytes)
}

/// Maps a model file and checks all of it: lengths, offsets, checksum, and that the weights are
/// those of the graph.
///
/// # Errors
/// When the file cannot be read, is damaged or is no Squeeze model.
pub fn load(path: &Path) -> Result<ModelFile, FileError> {
    load_on(path, 1, Check::All)
}

/// The same on so many threads for a plan to run. Large tables are not read: a plan checks the rows that it takes, whoever else reads them
/// compares [`Tensor::unchecked`] first.
///
/// # Errors
/// As for [`load`].
pub fn load_to_run(path: &Path, threads: usize) -> Result<ModelFile, FileError> {
    load_on(path, threads, Check::AllButRows(path))
}

/// What of a file is compared with its checksums.
#[derive(Clone, Copy)]
enum Check<'a> {
    All,
    /// Rows of tables of numbers, in this file, wait for who takes them.
    AllButRows(&'a Path),
}

fn load_on(path: &Path, threads: usize, check: Check) -> Result<ModelFile, FileError> {
    let file = Mapped::open(path)?;
    let take = |range, how| file.part(range, how);
    let model = from_bytes(file.bytes(), take, threads, check);
    model.map_err(|broken| broken.of(&path.display().to_string()))
}

fn to_bytes(model: &ModelFile) -> Result<Vec<u8>, Broken> {
    fits(&model.graph, &model.weights)?;
    let (tensors, has_panels) = in_panels(&model.graph, &model.weights);
    let version = match has_panels {
        true => VERSIONS[2],
        false => VERSIONS[usize::from(tensors.has_bytes())],
    };
    let tensors = apart(&tensors)?;
    let sums = rows::sums(&model.graph, &tensors);
    let version = if sums.is_empty() {
        version
    } else {
        VERSIONS[3]
    };
    with_tensors(model, version, &tensors, &sums)
}

/// The bytes of a model's file whose tensors are these.
fn with_tensors(
    model: &ModelFile,
    version: &str,
    tensors: &Weights,
    sums: &Sums,
) -> Result<Vec<u8>, Broken> {
    let Meta {
        task,
        labels,
        input,
        card,
    } = &model.meta;
    let json = |value: Result<String, serde_json::Error>| {
        value.map_err(|error| Broken::new(format!("cannot be written as JSON: {error}")))
    };
    let mut metadata = BTreeMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        ("version".into(), version.into()),
        ("graph".into(), json(serde_json::to_string(&model.graph))?),
        ("task".into(), json(serde_json::to_string(task))?),
        ("labels".into(), json(serde_json::to_string(labels))?),
        ("input".into(), json(serde_json::to_string(input))?),
        ("card".into(), json(serde_json::to_string(card))?),
    ]);
    if !sums.is_empty() {
        metadata.insert(ROWS.into(), rows::to_text(sums));
    }
    let sum = checksum(&metadata, tensors, sums, 1);
    metadata.insert("checksum".into(), sum);
    Ok(serialize(tensors, &metadata))
}

/// Reads a file's bytes; `take` gives those of a tensor.
fn from_bytes(
    bytes: &[u8],
    take: impl Fn(Range<usize>, Reading) -> Bytes,
    threads: usize,
    check: Check,
) -> Result<ModelFile, Broken> {
    let Parsed { mut metadata, rows } = parse(bytes)?;
    if metadata.get("format").map(|text| &**text) != Some(FORMAT) {
        return Err(Broken::new(
            "safetensors without a network: no Squeeze model (`squeeze import` makes one)",
        ));
    }
    // What the checksum is over is another thing in a layout that is not known.
    let version = metadata.get("version").map_or("none", |text| text);
    if !VERSIONS.contains(&version) {
        let [first, .., last] = VERSIONS;
        return Err(Broken::new(format!(
            "layout version {version}, this program reads {first} to {last}: update it"
        )));
    }
    let damaged = || Broken::new("damaged: its checksum differs; copy or download it again");
    let sum = metadata.remove("checksum").ok_or_else(damaged)?;
    let whole = |row: &Row| row.tensor(|range| take(range, Reading::Whole));
    let weights: Weights = rows
        .iter()
        .map(|(name, row)| (name.clone(), whole(row)))
        .collect();
    let sums = match metadata.get(ROWS) {
        Some(text) => rows::of_text(text, &weights)?,
        None => vec![],
    };
    if sum != checksum(&metadata, &weights, &sums, threads) {
        return Err(damaged());
    }
    let mut take_text = |key: &str| {
        let missing = || {
            Broken::new(format!(
                "no `{key}` in its metadata: no whole Squeeze model"
            ))
        };
        metadata.remove(key).ok_or_else(missing)
    };
    fn json<T: serde::de::DeserializeOwned>(key: &str, text: &str) -> Result<T, Broken> {
        serde_json::from_str(text)
            .map_err(|error| Broken::new(format!("`{key}` in its metadata: {error}")))
    }
    let graph: Graph = json("graph", &take_text("graph")?)?;
    let mut weights = together(&graph, of_panels(&graph, weights))?;
    fits(&graph, &weights)?;
    let tables = rows::tables(&graph);
    // Their rows come one by one.
    for (name, row) in rows.iter().filter(|(name, _)| tables.contains(*name)) {
        let fresh = row.tensor(|range| take(range, Reading::Rows));
        let fresh = match weights.get(name).and_then(Tensor::scaled) {
            Some((_, scales)) => fresh.with_scales(scales).expect("they were checked"),
            None => fresh,
        };
        weights.insert(name, fresh);
    }
    for (name, sums) in sums {
        let table = weights.get(&name).expect("of the file's");
        match check {
            Check::AllButRows(path) if tables.contains(&name) && table.as_f32().is_some() => {
                let file = path.display().to_string();
                let table = table.clone().unchecked_until_read(Unchecked { sums, file });
                weights.insert(name, table);
            }
            _ => rows::check(&name, table, &sums)?,
        }
    }
    let meta = Meta {
        task: json("task", &take_text("task")?)?,
        labels: json("labels", &take_text("labels")?)?,
        input: json("input", &take_text("input")?)?,
        card: json("card", &take_text("card")?)?,
    };
    Ok(ModelFile {
        graph,
        weights,
        meta,
    })
}

/// Over names, values, element types, shapes and elements, each with its length; elements of tables that have checksums of their own are left
/// out.
fn checksum<'a>(
    metadata: &'a BTreeMap<String, String>,
    weights: &'a Weights,
    sums: &Sums,
    threads: usize,
) -> String {
    let mut pieces: Vec<Cow<'a, [u8]>> = vec![];
    let mut add = |bytes: Cow<'a, [u8]>| {
        pieces.push((bytes.len() as u64).to_le_bytes().to_vec().into());
        pieces.push(bytes);
    };
    for (key, value) in metadata {
        add(key.as_bytes().into());
        add(value.as_bytes().into());
    }
    for (name, tensor) in weights.iter() {
        add(name.as_bytes().into());
        add(tensor.dtype().name().as_bytes().into());
        add(format!("{:?}", tensor.shape()).into_bytes().into());
        if sums.iter().all(|(own, _)| own != name) {
            add(tensor.bytes().into());
        }
    }
    crc64(&pieces, threads)
}

/// Refuses weights that are not exactly those of the graph, as numbers.
pub(crate) fn fits(graph: &Graph, weights: &Weights) -> Result<(), Broken> {
    let params = graph.params();
    for (name, param) in &params {
        let Some(tensor) = weights.get(name) else {
            return Err(Broken::new(format!("weight `{name}` is missing")));
        };
        if tensor.shape() != param.shape {
            let (found, wanted) = (tensor.shape(), &param.shape);
            return Err(Broken::new(format!(
                "weight `{name}` is {found:?}, the network asks for {wanted:?}"
            )));
        }
        match tensor.dtype() {
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => {}
            Dtype::I8 if tensor.scaled().is_some() => {}
            Dtype::I8 | Dtype::U8 | Dtype::I32 | Dtype::I64 => {
                let found = tensor.dtype().name();
                return Err(Broken::new(format!(
                    "weight `{name}` holds {found}, the network asks for numbers"
                )));
            }
        }
    }
    for (name, tensor) in weights.iter() {
        let is_range = graph.node_of_range(name).is_some();
        if is_range && (tensor.dtype(), tensor.shape()) != (Dtype::F32, &[2][..]) {
            let found = tensor.shape();
            return Err(Broken::new(format!(
                "`{name}` is {found:?}, a range is two numbers in single precision"
            )));
        }
        if !is_range && !params.iter().any(|(wanted, _)| wanted == name) {
            return Err(Broken::new(format!(
                "weight `{name}` belongs to no node of the network"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use squeeze_graph::ops::{Activation, Linear};
    use squeeze_graph::{Builder, Element};

    fn model() -> ModelFile {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 4], Element::Number).expect("fits");
        let x = b.add("hidden", Linear::grouped(4, 2), &[x]).expect("fits");
        let x = b.add("act", Activation::Gelu, &[x]).expect("fits");
        let x = b.add("head", Linear::dense(2), &[x]).expect("fits");
        let graph = b.finish(&[x]).expect("one output");
        let filled = |shape: &[usize]| {
            let values: Vec<f32> = (0..shape.iter().product())
                .map(|i| i as f32 / 3.0)
                .collect();
            Tensor::from_f32(shape, &values)
        };
        let params = graph.params().into_iter();
        let weights = params.map(|(name, param)| (name, filled(&param.shape)));
        let meta = Meta {
            task: json!({"kind": "classify_text"}),
            labels: vec!["ham".into(), "spam \"quoted\" äß".into()],
            input: json!({"tokenizer": "{}", "length": 64}),
            card: json!({"p90_ms": 0.5}),
        };
        ModelFile {
            weights: weights.collect(),
            graph,
            meta,
        }
    }

    fn read(bytes: &[u8]) -> Result<ModelFile, Broken> {
        let take = |range, _| Bytes::copy_from_slice(&bytes[range]);
        from_bytes(bytes, take, 1, Check::All)
    }

    #[test]
    fn round_trips_with_the_same_bytes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.squeeze");
        save(&path, &model()).expect("writable");
        let loaded = load(&path).expect("own file");
        assert_eq!(loaded, model());
        assert_eq!(
            to_bytes(&loaded).expect("fits"),
            std::fs::read(&path).expect("written")
        );
    }

    /// The hidden layer in bytes.
    fn model_in_bytes() -> ModelFile {
        let mut model = model();
        let bytes = Tensor::from_i8(&[4, 2], &[1, -127, 3, 4, 5, 127, 7, 8]);
        let weight = bytes.with_scales(&[0.5, 0.25, 0.0, 2.0]);
        let weight = weight.expect("a scale a row");
        model.weights.insert("hidden.weight", weight);
        model
    }

    #[test]
    fn bytes_keep_their_scales() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.squeeze");
        save(&path, &model_in_bytes()).expect("writable");
        let loaded = load(&path).expect("own file");
        assert_eq!(loaded, model_in_bytes());
        // What others see: bytes, and their scales beside them.
        let plain = crate::safetensors::load(&path).expect("safetensors");
        let of = |name: &str| plain.get(name).expect("a tensor").clone();
        assert_eq!(of("hidden.weight").dtype(), Dtype::I8);
        assert_eq!(of("hidden.scale").floats(), [0.5, 0.25, 0.0, 2.0]);
        // As weights alone they are numbers.
        crate::safetensors::save(&path, &loaded.weights).expect("writable");
        let numbers = crate::safetensors::load(&path).expect("safetensors");
        let hidden = numbers.get("hidden.weight").expect("a layer").floats();
        assert_eq!(hidden, [0.5, -63.5, 0.75, 1.0, 0.0, 0.0, 14.0, 16.0]);
        assert_eq!(numbers.len(), model().weights.len());
    }

    #[track_caller]
    fn lies(change: impl Fn(&mut Weights), message: &str) {
        let model = model_in_bytes();
        let mut tensors = apart(&model.weights).expect("a layer's");
        change(&mut tensors);
        let bytes = with_tensors(&model, VERSIONS[1], &tensors, &vec![]);
        let Err(Broken(reason)) = read(&bytes.expect("JSON")) else {
            panic!("the file lies");
        };
        assert_eq!(reason, message);
    }

    #[test]
    fn bytes_and_scales_that_lie_are_refused() {
        let scales = |values: &[f32]| Tensor::from_f32(&[values.len()], values);
        lies(
            |all| drop(all.remove("hidden.scale")),
            "weight `hidden.weight` holds bytes, and `hidden.scale` is missing",
        );
        lies(
            |all| drop(all.insert("hidden.scale", scales(&[1.0; 3]))),
            "`hidden.scale`: 3 scales for bytes of [4, 2]: one for each of the first axis is needed",
        );
        lies(
            |all| drop(all.insert("hidden.scale", scales(&[1.0, 1.0, f32::NAN, 1.0]))),
            "`hidden.scale`: the scale of row 2 is NaN: it must be finite and not negative",
        );
        lies(
            |all| drop(all.insert("hidden.scale", Tensor::from_i8(&[4], &[1; 4]))),
            "`hidden.scale` is [4] of I8: scales are one row in single precision",
        );
        lies(
            |all| drop(all.insert("hidden.weight", Tensor::from_i8(&[4, 2], &[-128; 8]))),
            "weight `hidden.weight` has the byte -128: bytes of weights are from -127 to 127",
        );
        lies(
            |all| drop(all.remove("hidden.weight")),
            "weight `hidden.weight` is missing",
        );
        lies(
            |all| drop(all.insert("head.scale", scales(&[1.0; 2]))),
            "weight `head.scale` belongs to no node of the network",
        );
        lies(
            |all| drop(all.insert("head.bias", Tensor::from_i8(&[2], &[1; 2]))),
            "weight `head.bias` holds I8, the network asks for numbers",
        );
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let (model, bytes) = (model(), to_bytes(&model()).expect("fits"));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                if let Ok(other) = read(&bytes) {
                    assert_eq!(other, model, "byte {at}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn any_truncation_is_found() {
        let bytes = to_bytes(&model()).expect("fits");
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "{length} bytes");
        }
        let longer = [&*bytes, &[0; 8]].concat();
        assert!(read(&longer).is_err());
    }

    #[track_caller]
    fn refused(model: &ModelFile, message: &str) {
        let Err(Broken(reason)) = to_bytes(model) else {
            panic!("these weights do not fit");
        };
        assert_eq!(reason, message);
    }

    #[test]
    fn weights_must_be_those_of_the_graph() {
        let mut less = model();
        less.weights.remove("head.bias");
        refused(&less, "weight `head.bias` is missing");
        let mut ranges = model();
        ranges.weights.insert("head.range", Tensor::zeros(&[2]));
        assert!(to_bytes(&ranges).is_ok());
        ranges.weights.insert("head.range", Tensor::zeros(&[3]));
        refused(
            &ranges,
            "`head.range` is [3], a range is two numbers in single precision",
        );
        let mut more = model();
        more.weights.insert("tail.bias", Tensor::zeros(&[2]));
        refused(
            &more,
            "weight `tail.bias` belongs to no node of the network",
        );
        let mut other = model();
        other.weights.insert("head.bias", Tensor::zeros(&[3]));
        refused(
            &other,
            "weight `head.bias` is [3], the network asks for [2]",
        );
    }

    #[test]
    fn plain_safetensors_are_no_model() {
        let bytes = serialize(&model().weights, &BTreeMap::new());
        let Err(Broken(reason)) = read(&bytes) else {
            panic!("there is no network in it");
        };
        assert!(reason.starts_with("safetensors without a network"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/nowhere/model.squeeze")).expect_err("no file");
        assert!(
            error
                .to_string()
                .starts_with("cannot read /nowhere/model.squeeze: ")
        );
    }
}
