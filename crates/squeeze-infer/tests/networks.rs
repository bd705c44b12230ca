//! Networks of the zoo compute what PyTorch computes: weights and inputs follow from a formula, answers are in
//! `golden/zoo_outputs.json`. `golden/zoo_outputs.py` made it; `golden/zoo_parity.py` compares all networks at full size.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use squeeze_graph::{Graph, NodeId, elements};
use squeeze_infer::{Input, Target, channels_first, channels_last, compile};
use squeeze_tensor::{Tensor, Weights};
use squeeze_zoo::{Options, build, list};

/// What PyTorch answers.
#[derive(Deserialize)]
struct Row {
    /// Height and width of the image; 0 for a text.
    side: usize,
    /// Numbers of the answer.
    size: usize,
    /// The largest of them.
    largest: f32,
    /// Some of them, evenly spaced; of several outputs one behind the other.
    out: Vec<f32>,
}

/// Numbers of [0, 1) with 24 bits that follow from a name: FNV-1a, then SplitMix64.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let step = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let state = name.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    (0..count as u64).map(move |index| {
        let mut z = index
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(state);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f64 / f64::from(1 << 24)
    })
}

fn weight(name: &str, shape: &[usize]) -> Tensor {
    let numbers = uniform(name, elements(shape));
    let scale = (4.5 / elements(&shape[1..]) as f64).sqrt();
    let value = |u: f64| match name.rsplit('.').next() {
        Some("running_mean") => 0.2 * (u - 0.5),
        Some("running_var") => 0.5 + u,
        Some("bias") => 0.4 * u,
        _ if shape.len() == 1 => 0.75 + 0.5 * u,
        _ => (2.0 * u - 1.0) * scale,
    };
    let values: Vec<f32> = numbers.map(|u| value(u) as f32).collect();
    Tensor::from_f32(shape, &values)
}

fn answer(graph: &Graph, row: &Row) -> Vec<f32> {
    let mut weights = Weights::default();
    for (name, param) in graph.params() {
        let tensor = weight(&name, &param.shape);
        weights.insert(name, tensor);
    }
    let plan = compile(graph, &weights, &Target::here(2)).expect("its own weights");
    let image: Vec<f32> = uniform("image", 3 * row.side * row.side)
        .map(|u| (4.0 * u - 2.0) as f32)
        .collect();
    let image = channels_last([1, 3, row.side, row.side], &image);
    let table = graph.params().remove(0).1.shape;
    let most = table[0].min(30000) as f64;
    let tokens = |name: &str| -> Vec<i32> {
        let numbers = uniform(name, TOKENS);
        numbers.map(|u| (u * most) as i32).collect()
    };
    let (ids, target) = (tokens("ids"), tokens("target"));
    let types: Vec<i32> = (0..TOKENS).map(|token| i32::from(token > 9)).collect();
    let input = |&id: &NodeId| match &*graph.node(id).name {
        "ids" => Input::Indices(&ids),
        "types" => Input::Indices(&types),
        "lengths" => Input::Indices(&[17]),
        "target" => Input::Indices(&target),
        _ => Input::Numbers(&image),
    };
    let inputs: Vec<Input> = graph.inputs().iter().map(input).collect();
    plan.check(&inputs).expect("they fit");
    let mut scratch = plan.scratch();
    let found = plan.run(&inputs, &mut scratch);
    let each = plan.outputs().zip(found.iter());
    let in_order = |(shape, found): (&[usize], &[f32])| match <[usize; 4]>::try_from(shape) {
        Ok(image) => channels_first(image, found),
        Err(_) => found.to_vec(),
    };
    each.flat_map(in_order).collect()
}

const TOKENS: usize = 24;

fn rows() -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/zoo_outputs.json");
    let text = std::fs::read_to_string(path).expect("a golden file");
    serde_json::from_str(&text).expect("what the script wrote")
}

#[test]
fn answers_are_those_of_pytorch() {
    for (name, row) in rows() {
        let options = Options {
            image: (row.side > 0).then_some(row.side),
            length: (row.side == 0).then_some(TOKENS),
            ..Options::default()
        };
        let graph = build(&name, &options).expect("a known name");
        let found = answer(&graph, &row);
        assert_eq!(found.len(), row.size, "{name}");
        let step = (row.size / 12).max(1);
        let sample: Vec<f32> = found.iter().step_by(step).take(12).copied().collect();
        assert_eq!(sample.len(), row.out.len(), "{name}");
        for (found, wanted) in sample.iter().zip(&row.out) {
            assert!(
                (found - wanted).abs() <= 1e-4 * row.largest,
                "{name}: {found} where PyTorch has {wanted}, the largest is {}",
                row.largest
            );
        }
    }
}

/// A network without an answer here is too large for a test, or the same as another.
#[test]
fn small_image_networks_have_an_answer() {
    let rows = rows();
    let lacks = list().iter().filter(|entry| {
        let is_other = entry.name.starts_with("fixefficientnet") || entry.task.is_text();
        entry.params < 15_000_000 && !is_other && !rows.contains_key(entry.name)
    });
    let lacks: Vec<_> = lacks.map(|entry| entry.name).collect();
    assert!(lacks.is_empty(), "{lacks:?}");
}
