//! Losses and optimiser steps equal PyTorch's; `golden/train.py` made the files.

use std::collections::BTreeMap;

use serde::Deserialize;
use squeeze_graph::ops::*;
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};
use squeeze_tensor::{Seed, Tensor, Weights};
use squeeze_train::{
    Engine, Feed, Loss, Mode, Network, Optimiser, Parameters, Rule, State, Targets,
};

#[derive(Deserialize)]
struct Losses {
    weights: BTreeMap<String, Vec<f32>>,
    batches: Vec<Vec<Vec<f32>>>,
    losses: Vec<f32>,
    statistics: BTreeMap<String, Vec<f32>>,
}

type Built = Result<NodeId, GraphError>;

fn text_layer(b: &mut Builder, x: NodeId, lengths: NodeId, at: usize, groups: usize) -> Built {
    let name = |part: &str| format!("layer.{at}.{part}");
    let linear = |out| Linear::grouped(out, groups);
    let q = b.add(name("query"), linear(12), &[x])?;
    let k = b.add(name("key"), linear(12), &[x])?;
    let v = b.add(name("value"), linear(12), &[x])?;
    let y = b.add(name("attention"), Attention::new(2), &[q, k, v, lengths])?;
    let y = b.add(name("output"), Linear::dense(12), &[y])?;
    let x = b.add(name("sum1"), Add {}, &[x, y])?;
    let x = b.add(name("norm1"), LayerNorm::default(), &[x])?;
    let y = b.add(name("intermediate"), linear(24), &[x])?;
    let y = b.add(name("gelu"), Activation::Gelu, &[y])?;
    let y = b.add(name("dense"), linear(12), &[y])?;
    let x = b.add(name("sum2"), Add {}, &[x, y])?;
    b.add(name("norm2"), LayerNorm::default(), &[x])
}

fn encoder(groups: usize) -> Result<Graph, GraphError> {
    let mut b = Builder::new("encoder");
    let ids = b.input("ids", &[4, 6], Element::Index)?;
    let lengths = b.input("lengths", &[4], Element::Index)?;
    let word = b.add(
        "word",
        Embedding {
            rows: 20,
            width: 12,
        },
        &[ids],
    )?;
    let place = b.add(
        "place",
        Position {
            first: 0,
            places: 6,
        },
        &[ids],
    )?;
    let place = b.add("position", Embedding { rows: 6, width: 12 }, &[place])?;
    let x = b.add("sum", Add {}, &[word, place])?;
    let mut x = b.add("norm", LayerNorm::default(), &[x])?;
    for at in 0..2 {
        x = text_layer(&mut b, x, lengths, at, groups)?;
    }
    let x = b.add("first", Select { axis: 1, index: 0 }, &[x])?;
    let x = b.add("classifier", Linear::dense(3), &[x])?;
    b.finish(&[x])
}

fn cnn() -> Result<Graph, GraphError> {
    let mut b = Builder::new("cnn");
    let x = b.input("image", &[4, 3, 8, 8], Element::Number)?;
    let x = b.add("stem", Conv2d::square(8, 3), &[x])?;
    let x = b.add("norm1", BatchNorm::default(), &[x])?;
    let x = b.add("relu6", Activation::Relu6, &[x])?;
    let depthwise = Conv2d {
        groups: 8,
        stride: [2; 2],
        ..Conv2d::square(8, 3)
    };
    let x = b.add("depthwise", depthwise, &[x])?;
    let x = b.add("norm2", BatchNorm::default(), &[x])?;
    let x = b.add("hard_swish", Activation::HardSwish, &[x])?;
    let (kernel, stride, padding) = ([2; 2], [2; 2], [0; 4]);
    let pool = Pool {
        kind: PoolKind::Max,
        kernel,
        stride,
        padding,
        ceil: false,
    };
    let x = b.add("pool", pool, &[x])?;
    let grouped = Conv2d {
        groups: 4,
        bias: true,
        ..Conv2d::square(16, 3).dilated(2)
    };
    let x = b.add("grouped", grouped, &[x])?;
    let x = b.add("norm3", BatchNorm::default(), &[x])?;
    let x = b.add("relu", Activation::Relu, &[x])?;
    let x = b.add("mean", GlobalAverage {}, &[x])?;
    let x = b.add("classifier", Linear::dense(3), &[x])?;
    b.finish(&[x])
}

/// `[n, c, h, w]` to the order in memory.
fn channels_last([n, c, h, w]: [usize; 4], x: &[f32]) -> Vec<f32> {
    let at = |n: usize, i: usize, c_at: usize| x[(n * c + c_at) * h * w + i];
    let pixels = (0..n).flat_map(|n| (0..h * w).map(move |i| (n, i)));
    pixels
        .flat_map(|(n, i)| (0..c).map(move |c| at(n, i, c)))
        .collect()
}

#[track_caller]
fn close(what: &str, found: f32, wanted: f32, bound: f32) {
    let off = (found - wanted).abs() / wanted.abs().max(1e-3);
    assert!(off < bound, "{what}: {found} where PyTorch has {wanted}");
}

#[track_caller]
fn check(graph: Result<Graph, GraphError>, text: &str, optimiser: &Optimiser) {
    let graph = graph.expect("fits");
    let golden: Losses = serde_json::from_str(text).expect("golden file");
    let mut parameters = Parameters::fresh(&graph, Seed(0)).expect("names differ");
    for entry in parameters.layout().clone().trained() {
        let values = golden.weights.get(&entry.name).expect("every weight");
        let weights: Weights = [(entry.name.clone(), Tensor::from_f32(&entry.shape, values))]
            .into_iter()
            .collect();
        parameters.load(&weights).expect("same shape");
    }
    let network = Network::new(&graph, &parameters).expect("bound");
    let engine = Engine::new(2);
    let loss = Loss {
        smoothing: 0.1,
        ..Loss::default()
    };
    let mut state = State::new(optimiser, &parameters);
    for (step, &wanted) in golden.losses.iter().enumerate() {
        let batch = &golden.batches[step % golden.batches.len()];
        let (labels, inputs) = batch.split_last().expect("labels come last");
        let integers = |x: &[f32]| x.iter().map(|&x| x as i32).collect::<Vec<_>>();
        let shapes: Vec<Vec<usize>> = graph
            .inputs()
            .iter()
            .map(|&id| graph.node(id).shape.clone())
            .collect();
        let indices: Vec<_> = inputs.iter().map(|x| integers(x)).collect();
        let pixels = match shapes[0][..] {
            [n, c, h, w] => channels_last([n, c, h, w], &inputs[0]),
            _ => vec![],
        };
        let feeds: Vec<Feed> = if pixels.is_empty() {
            shapes
                .iter()
                .zip(&indices)
                .map(|(s, x)| Feed::indices(s, x))
                .collect()
        } else {
            vec![Feed::numbers(&shapes[0], &pixels)]
        };
        let mode = Mode::Train(Seed(0));
        let tape = engine
            .forward(&network, &mut parameters, &feeds, mode)
            .expect("fits");
        let mut dy = vec![0.0; tape.output().len()];
        let labels = integers(labels);
        let (outputs, targets) = ((tape.output(), 3), Targets::Classes(&labels));
        let found = loss
            .of(engine.cpu(), outputs, targets, None, &mut dy)
            .expect("fits");
        close(&format!("loss {step}"), found, wanted, 1e-4);
        parameters.clear_gradients();
        engine.backward(&network, &mut parameters, tape, &dy);
        optimiser.step(engine.cpu(), &mut parameters, &mut state, 1.0);
    }
    for (name, wanted) in &golden.statistics {
        let found = parameters.get(name).expect("a statistic");
        for (found, wanted) in found.iter().zip(wanted) {
            close(name, *found, *wanted, 1e-3);
        }
    }
}

fn adamw() -> Optimiser {
    Optimiser {
        rule: Rule::ADAMW,
        rate: 3e-3,
        decay: 0.1,
        clip: 0.0,
    }
}

#[test]
fn losses_of_an_encoder() {
    check(
        encoder(1),
        include_str!("../../../golden/train_encoder.json"),
        &adamw(),
    );
}

#[test]
fn losses_of_a_grouped_encoder() {
    check(
        encoder(4),
        include_str!("../../../golden/train_encoder_grouped.json"),
        &adamw(),
    );
}

#[test]
fn losses_of_a_cnn() {
    let sgd = Optimiser {
        rule: Rule::SGD,
        rate: 0.05,
        decay: 0.0,
        clip: 0.0,
    };
    check(cnn(), include_str!("../../../golden/train_cnn.json"), &sgd);
}

#[derive(Deserialize)]
struct Steps {
    start: [Vec<f32>; 2],
    gradients: [Vec<Vec<f32>>; 2],
    #[serde(flatten)]
    ends: BTreeMap<String, [Vec<f32>; 2]>,
}

/// Five steps of a weight with decay and a bias without.
#[track_caller]
fn check_steps(name: &str, optimiser: &Optimiser) {
    let golden: Steps = serde_json::from_str(include_str!("../../../golden/train_optimisers.json"))
        .expect("golden");
    let mut b = Builder::new("linear");
    let x = b.input("x", &[1, 2], Element::Number).expect("fits");
    let y = b.add("linear", Linear::dense(3), &[x]).expect("fits");
    let graph = b.finish(&[y]).expect("one output");
    let mut parameters = Parameters::fresh(&graph, Seed(0)).expect("names differ");
    let names = ["linear.weight", "linear.bias"];
    for (name, start) in names.iter().zip(&golden.start) {
        parameters
            .get_mut(name)
            .expect("there")
            .copy_from_slice(start);
    }
    let engine = Engine::new(1);
    let mut state = State::new(optimiser, &parameters);
    for step in 0..5 {
        for (name, gradients) in names.iter().zip(&golden.gradients) {
            let range = parameters.layout().find(name).expect("there").range.clone();
            parameters.gradients[range].copy_from_slice(&gradients[step]);
        }
        optimiser.step(engine.cpu(), &mut parameters, &mut state, 1.0);
    }
    for (weight, wanted) in names.iter().zip(&golden.ends[name]) {
        let found = parameters.get(weight).expect("there");
        // Five steps of a few roundings each.
        found
            .iter()
            .zip(wanted)
            .for_each(|(a, b)| close(name, *a, *b, 1e-5));
    }
}

#[test]
fn steps_of_optimisers() {
    let with = |rule, rate, clip| Optimiser {
        rule,
        rate,
        decay: 0.1,
        clip,
    };
    check_steps(
        "sgd",
        &with(
            Rule::Sgd {
                momentum: 0.9,
                nesterov: false,
            },
            0.1,
            0.0,
        ),
    );
    check_steps("nesterov", &with(Rule::SGD, 0.1, 0.0));
    check_steps("adamw", &with(Rule::ADAMW, 0.01, 0.0));
    check_steps("adamw_clipped", &with(Rule::ADAMW, 0.01, 0.5));
    check_steps("lamb", &with(Rule::LAMB, 0.01, 0.0));
}
