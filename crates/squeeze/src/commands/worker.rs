//! `squeeze worker`: one network in one process, driven over stdin and stdout by a benchmark.
//!
//! The folder holds `model.squeeze` or else `model.onnx`, `meta.json` (names, shapes and types of the inputs) and one
//! `NAME.bin` an input. Lines in: `run N`, `out PATH` (the first output), `output I PATH` (the one of this number, from 0), `mem`, `quit`.
//! Each answer is a JSON line.

use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;
use squeeze_formats::ModelFile;
use squeeze_graph::{Graph, Shape};
use squeeze_infer::{
    Input, Outputs, Plan, Precision, Scratch, channels_first, channels_last, compile_owned,
    lacks_ranges, quantize_for,
};
use squeeze_tensor::Weights;

use super::device::DeviceArgs;
use crate::error::{Outcome, one_line};
use crate::out;
use crate::resident::{allowed, resident};
use crate::units;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder with model.squeeze or model.onnx, meta.json and the inputs
    dir: PathBuf,
    /// Threads
    #[arg(value_parser = units::threads())]
    threads: usize,
    /// What products are made of; without it bytes where the model's weights are bytes, else single precision
    #[arg(long, value_parser = units::precision())]
    precision: Option<Precision>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// The network on the bench with its inputs.
struct Bench {
    plan: Plan,
    scratch: Scratch,
    inputs: Vec<Fed>,
    outputs: Vec<Shape>,
    /// Bytes of the weights in the file.
    weight_bytes: usize,
}

enum Fed {
    Numbers(Vec<f32>),
    Indices(Vec<i32>),
}

#[derive(Deserialize)]
struct Meta {
    inputs: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    shape: Shape,
    dtype: String,
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    let begun = Instant::now();
    let [resident_before, _] = resident();
    let ready = Bench::open(args).map(|mut bench| {
        let load_ms = 1e3 * begun.elapsed().as_secs_f64();
        let first = Instant::now();
        bench.run();
        (bench, load_ms, 1e3 * first.elapsed().as_secs_f64())
    });
    let mut bench = match ready {
        Ok((bench, load_ms, first_ms)) => {
            let [now, highest] = resident();
            out::json(&json!({
                "ready": true, "engine": "squeeze", "import_ms": 0.0, "load_ms": load_ms, "first_ms": first_ms,
                "rss0_kb": resident_before / 1024, "rss_kb": now / 1024, "hwm_kb": highest / 1024,
                "weight_bytes": bench.weight_bytes, "peak_bytes": bench.plan.peak_bytes(),
                "resident_limit_kb": allowed(bench.weight_bytes, bench.plan.peak_bytes()) / 1024,
            }))?;
            bench
        }
        Err(error) => {
            out::json(&json!({ "ready": false, "engine": "squeeze", "error": one_line(&error) }))?;
            return Err(error);
        }
    };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((line.trim(), "")) {
            ("run", count) => {
                let count: usize = count.trim().parse().with_context(|| format!("`{line}`"))?;
                let cpu = cpu_ns();
                let times: Vec<u64> = (0..count).map(|_| bench.timed()).collect();
                out::json(&json!({ "ns": times, "cpu_ns": cpu_ns().saturating_sub(cpu) }))?;
            }
            ("out", path) => {
                bench.write(0, Path::new(path.trim()))?;
                out::json(&json!({ "ok": true }))?;
            }
            ("output", which) => {
                let parts = which.split_once(' ').and_then(|(at, path)| {
                    let at = at.parse().ok().filter(|&at| at < bench.outputs.len())?;
                    Some((at, path))
                });
                let (at, path) = parts.with_context(|| {
                    format!("`{line}`: there are {} outputs", bench.outputs.len())
                })?;
                bench.write(at, Path::new(path.trim()))?;
                out::json(&json!({ "ok": true }))?;
            }
            ("mem", _) => {
                let [now, highest] = resident();
                out::json(&json!({ "rss_kb": now / 1024, "hwm_kb": highest / 1024 }))?;
            }
            ("quit", _) => break,
            _ => bail!("`{line}` is no command: run N, out PATH, output I PATH, mem, quit"),
        }
    }
    Ok(Outcome::Done)
}

impl Bench {
    fn open(args: &Args) -> Result<Self> {
        let path = args.dir.join("meta.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let meta: Meta = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let (mut graph, mut weights) = network(args, &meta)?;
        let weight_bytes = weights.bytes();
        let inputs = inputs(&args.dir, &meta, &graph)?;
        let shape = |&id| graph.node(id).shape.clone();
        let outputs = graph.outputs().iter().map(shape).collect();
        let target = args.device.target(args.threads)?;
        let target = target.made_for(&weights, args.precision);
        if lacks_ranges(&graph, &weights, &target) {
            let example = inputs.iter().map(Fed::input).collect();
            (graph, weights) = quantize_for(&graph, &weights, &target, &[example])?;
        }
        let plan = compile_owned(&graph, weights, &target)?;
        plan.check(&inputs.iter().map(Fed::input).collect::<Vec<_>>())?;
        let scratch = plan.scratch();
        Ok(Self {
            plan,
            scratch,
            inputs,
            outputs,
            weight_bytes,
        })
    }

    fn run(&mut self) -> Outputs<'_> {
        let inputs: Vec<Input> = self.inputs.iter().map(Fed::input).collect();
        self.plan.run(&inputs, &mut self.scratch)
    }

    /// Nanoseconds of one run.
    fn timed(&mut self) -> u64 {
        let inputs: Vec<Input> = self.inputs.iter().map(Fed::input).collect();
        let start = Instant::now();
        self.plan.run(&inputs, &mut self.scratch);
        u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Writes an output as a NumPy file.
    fn write(&mut self, at: usize, path: &Path) -> Result<()> {
        let shape = self.outputs[at].clone();
        let output = self.run().at(at);
        let bytes = match <[usize; 4]>::try_from(&*shape) {
            Ok(image) => npy(&shape, &channels_first(image, output)),
            Err(_) => npy(&shape, output),
        };
        squeeze_formats::write(path, &bytes)?;
        Ok(())
    }
}

impl Fed {
    fn input(&self) -> Input<'_> {
        match self {
            Self::Numbers(values) => Input::Numbers(values),
            Self::Indices(values) => Input::Indices(values),
        }
    }
}

/// The network of a folder: its model file, or what another program exported.
fn network(args: &Args, meta: &Meta) -> Result<(Graph, Weights)> {
    let path = args.dir.join("model.squeeze");
    if path.exists() {
        let ModelFile { graph, weights, .. } =
            squeeze_formats::model::load_to_run(&path, args.threads)?;
        return Ok((graph, weights));
    }
    let mut open = squeeze_formats::onnx::Sizes::default();
    for row in &meta.inputs {
        match *row.shape {
            [_, length] => open.length = Some(length),
            [_, _, height, width] => open.image = Some([height, width]),
            _ => {}
        }
    }
    let path = args.dir.join("model.onnx");
    Ok(squeeze_formats::onnx::import(&path, &open)?)
}

/// The network's inputs from the folder's files, by what their names say they are.
fn inputs(dir: &Path, meta: &Meta, graph: &Graph) -> Result<Vec<Fed>> {
    let of_name = |wanted: &str| {
        let is_it = |row: &&Row| match wanted {
            "image" => row.dtype == "float32",
            "lengths" => row.name.contains("mask"),
            "types" => row.name.contains("type"),
            "target" => is_target(&row.name),
            _ => {
                let is_other = row.name.contains("mask") || row.name.contains("type");
                row.dtype != "float32" && !is_other && !is_target(&row.name)
            }
        };
        let row = meta.inputs.iter().find(is_it);
        let row = row.with_context(|| format!("meta.json has no input for `{wanted}`"))?;
        read(dir, row).and_then(|fed| match (wanted, fed) {
            ("lengths", Fed::Indices(mask)) => Ok(Fed::Indices(lengths(&mask, &row.shape)?)),
            (_, fed) => Ok(fed),
        })
    };
    graph
        .inputs()
        .iter()
        .map(|&id| of_name(&graph.node(id).name))
        .collect()
}

/// Whether an input is a second text, made from the first.
fn is_target(name: &str) -> bool {
    name.contains("decoder") || name.contains("target")
}

fn read(dir: &Path, row: &Row) -> Result<Fed> {
    let path = dir.join(format!("{}.bin", row.name));
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(match row.dtype.as_str() {
        "float32" => {
            let values: Vec<f32> = bytes
                .as_chunks()
                .0
                .iter()
                .map(|&b| f32::from_le_bytes(b))
                .collect();
            let shape: [usize; 4] = row
                .shape
                .as_slice()
                .try_into()
                .context("an image has four axes")?;
            if values.len() != shape.iter().product::<usize>() {
                bail!("{} does not hold {shape:?} numbers", path.display());
            }
            Fed::Numbers(channels_last(shape, &values))
        }
        "int64" => {
            let values = bytes
                .as_chunks()
                .0
                .iter()
                .map(|&b| i32::try_from(i64::from_le_bytes(b)));
            Fed::Indices(values.collect::<Result<_, _>>()?)
        }
        other => bail!(
            "input {} is of {other}: float32 and int64 are read",
            row.name
        ),
    })
}

/// Ones of each row of a mask; they must come first.
fn lengths(mask: &[i32], shape: &[usize]) -> Result<Vec<i32>> {
    let width = shape.last().copied().unwrap_or(0).max(1);
    let of = |row: &[i32]| {
        let ones = row.iter().take_while(|&&bit| bit == 1).count();
        if row[ones..].iter().any(|&bit| bit != 0) {
            bail!("a mask whose ones do not come first: only padding at the end is understood");
        }
        Ok(i32::try_from(ones)?)
    };
    mask.chunks(width).map(of).collect()
}

/// A NumPy file, version 1.0.
fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    while (10 + head.len() + 1) % 64 != 0 {
        head.push(' ');
    }
    head.push('\n');
    let length = u16::try_from(head.len()).expect("a few axes fit into one line");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(head.bytes());
    let count = shape.iter().product::<usize>();
    bytes.extend(values[..count].iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// Processor time of all threads of the process so far, in nanoseconds.
fn cpu_ns() -> u64 {
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let of = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    tasks.filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_become_lengths() {
        assert_eq!(
            lengths(&[1, 1, 0, 1, 1, 1], &[2, 3]).expect("ones first"),
            [2, 3]
        );
        assert!(lengths(&[1, 0, 1], &[1, 3]).is_err());
    }

    #[test]
    fn numpy_files_are_aligned() {
        let bytes = npy(&[1, 2], &[1.0, 2.0, 9.0]);
        assert_eq!((bytes.len() - 8) % 64, 0);
        assert!(String::from_utf8_lossy(&bytes[..128]).contains("'shape': (1, 2, )"));
    }
}
