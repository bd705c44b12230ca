//! A space with a mixture of choices an example: values, and gradients of inputs' and parts' weights.

use squeeze_graph::ops::{Activation, BatchNorm, Conv2d, GlobalAverage, Linear};
use squeeze_graph::{Builder, Choice, Element, Space};
use squeeze_tensor::Seed;
use squeeze_train::{Engine, Feed, Mixture, Mode, Network, Parameters, Part, Tape};

const N: usize = 5;
const SHAPE: [usize; 4] = [N, 8, 4, 4];

fn space() -> Space {
    let mut b = Builder::new("tiny");
    let x = b
        .input("image", &[1, 8, 4, 4], Element::Number)
        .expect("fits");
    let mut at = b.add("stem", Conv2d::square(8, 3), &[x]).expect("fits");
    for slot in 0..2 {
        let mut choices = vec![];
        for groups in [1, 2, 4] {
            let (mut body, ids) = b.body(&format!("g{groups}"), &[at]).expect("fits");
            let conv = Conv2d {
                groups,
                ..Conv2d::square(8, 3)
            };
            let y = body.add("conv", conv, &ids).expect("fits");
            let y = body.add("tanh", Activation::Tanh, &[y]).expect("fits");
            choices.push(Choice::new(body.finish(&[y]).expect("one output")));
        }
        let (body, ids) = b.body("skip", &[at]).expect("fits");
        choices.push(Choice::new(body.finish(&ids).expect("one output")));
        at = b
            .slot(&format!("slot{slot}"), &[at], choices)
            .expect("fits");
    }
    let y = b.add("mean", GlobalAverage {}, &[at]).expect("fits");
    let y = b.add("head", Linear::dense(3), &[y]).expect("fits");
    b.finish_space(&[y]).expect("one output")
}

/// Two choices an example, some twice the same kind, weights that do not sum to one.
fn mixture() -> Mixture {
    let part = |example, choice, weight| Part {
        example,
        choice,
        weight,
    };
    let first = (0..N)
        .flat_map(|e| [part(e, e % 4, 0.6), part(e, (e + 1) % 4, 0.5)])
        .collect();
    let second = (0..N).rev().map(|e| part(e, 3 - e % 4, 0.9)).collect();
    Mixture {
        slots: vec![first, second],
    }
}

struct Trial {
    engine: Engine,
    network: Network,
    parameters: Parameters,
    x: Vec<f32>,
}

impl Trial {
    fn new() -> Self {
        let space = space();
        let parameters = Parameters::fresh_space(&space, Seed(1)).expect("names differ");
        let mut random = Seed(2).random();
        Self {
            engine: Engine::new(2),
            network: Network::of_space(&space, &parameters).expect("bound"),
            parameters,
            x: (0..SHAPE.iter().product())
                .map(|_| random.normal())
                .collect(),
        }
    }

    fn run(&mut self, mixture: &Mixture) -> Tape {
        let feeds = [Feed::numbers(&SHAPE, &self.x)];
        let (network, mode) = (&self.network, Mode::Train(Seed(3)));
        let tape = self
            .engine
            .forward_space(network, &mut self.parameters, &feeds, mixture, mode);
        tape.expect("fits")
    }

    fn loss(&mut self, mixture: &Mixture) -> f64 {
        let tape = self.run(mixture);
        let terms = tape.output().iter().zip(0..);
        terms
            .map(|(y, at)| f64::from(*y) * f64::from(weight(at)))
            .sum()
    }
}

fn weight(at: usize) -> f32 {
    [0.7, -0.4, 1.1, 0.2][at % 4]
}

/// As in `cases.rs`: central differences with h = 1e-2 are right to about 1 in 1000.
fn check(what: &str, found: f32, wanted: f64) {
    let error = (f64::from(found) - wanted).abs();
    assert!(
        error < 2e-3 * wanted.abs().max(0.1),
        "{what}: {found} where {wanted} is right"
    );
}

#[test]
fn a_single_choice_is_the_resolved_network() {
    let mut trial = Trial::new();
    for picks in [[0, 0], [2, 1], [3, 3], [1, 3]] {
        let graph = space().resolve(&picks).expect("valid picks");
        let network = Network::new(&graph, &trial.parameters).expect("shared names");
        let feeds = [Feed::numbers(&SHAPE, &trial.x)];
        let mode = Mode::Train(Seed(3));
        let one = trial
            .engine
            .forward(&network, &mut trial.parameters, &feeds, mode);
        let one = one.expect("fits").output().to_vec();
        let tape = trial.run(&Mixture::single(&picks, N));
        assert_eq!(tape.output(), one, "{picks:?}");
    }
}

#[test]
fn gradients_of_parts_and_weights() {
    let mut trial = Trial::new();
    let mixture = mixture();
    let tape = trial.run(&mixture);
    let dy: Vec<f32> = (0..tape.output().len()).map(weight).collect();
    trial.parameters.clear_gradients();
    let gradients = trial
        .engine
        .backward(&trial.network, &mut trial.parameters, tape, &dy);
    for slot in 0..2 {
        assert_eq!(gradients.mixture[slot].len(), mixture.slots[slot].len());
        for (part, &found) in gradients.mixture[slot].iter().enumerate() {
            let mut differ = |step: f32| {
                let mut mixture = mixture.clone();
                mixture.slots[slot][part].weight += step;
                trial.loss(&mixture)
            };
            let wanted = (differ(1e-2) - differ(-1e-2)) / 2e-2;
            check(&format!("slot {slot}, part {part}"), found, wanted);
        }
    }
    let names = [
        "stem.weight",
        "slot0.g1.conv.weight",
        "slot1.g4.conv.weight",
        "head.bias",
    ];
    for name in names {
        let range = trial
            .parameters
            .layout()
            .find(name)
            .expect("a weight")
            .range
            .clone();
        for i in range.step_by(17) {
            let found = trial.parameters.gradients[i];
            let mut differ = |step: f32| {
                trial.parameters.values[i] += step;
                let loss = trial.loss(&mixture);
                trial.parameters.values[i] -= step;
                loss
            };
            let wanted = (differ(1e-2) - differ(-1e-2)) / 2e-2;
            check(name, found, wanted);
        }
    }
}

#[test]
fn batch_norm_takes_the_examples_of_its_choice() {
    let mut b = Builder::new("norm");
    let x = b
        .input("image", &[1, 4, 2, 2], Element::Number)
        .expect("fits");
    let (mut body, ids) = b.body("norm", &[x]).expect("fits");
    let y = body.add("norm", BatchNorm::default(), &ids).expect("fits");
    let norm = Choice::new(body.finish(&[y]).expect("one output"));
    let (body, ids) = b.body("skip", &[x]).expect("fits");
    let skip = Choice::new(body.finish(&ids).expect("one output"));
    let y = b.slot("slot", &[x], vec![norm, skip]).expect("fits");
    let space = b.finish_space(&[y]).expect("one output");
    let mut parameters = Parameters::fresh_space(&space, Seed(0)).expect("names differ");
    let network = Network::of_space(&space, &parameters).expect("bound");
    let part = |example, choice| Part {
        example,
        choice,
        weight: 1.0,
    };
    let mixture = Mixture {
        slots: vec![vec![part(0, 0), part(1, 1), part(2, 0)]],
    };
    let x: Vec<f32> = (0..3 * 16).map(|i| (i % 7) as f32).collect();
    let engine = Engine::new(1);
    let feeds = [Feed::numbers(&[3, 4, 2, 2], &x)];
    let mode = Mode::Train(Seed(0));
    let tape = engine.forward_space(&network, &mut parameters, &feeds, &mixture, mode);
    let tape = tape.expect("fits");
    assert_eq!(tape.output()[16..32], x[16..32]);
    for channel in 0..4 {
        let normal = |example: usize| (0..4).map(move |i| example * 16 + i * 4 + channel);
        let sum: f32 = normal(0).chain(normal(2)).map(|i| tape.output()[i]).sum();
        assert!(sum.abs() < 1e-5, "channel {channel} has mean {}", sum / 8.0);
    }
}

#[test]
fn a_mixture_that_leaves_an_example_out_is_an_error() {
    let trial = Trial::new();
    let mut parameters = trial.parameters.clone();
    let mut mixture = mixture();
    mixture.slots[1].retain(|part| part.example != 3);
    let feeds = [Feed::numbers(&SHAPE, &trial.x)];
    let run = trial.engine.forward_space(
        &trial.network,
        &mut parameters,
        &feeds,
        &mixture,
        Mode::Eval,
    );
    assert_eq!(
        run.expect_err("left out").to_string(),
        "slot1: example 3 takes no choice"
    );
}
