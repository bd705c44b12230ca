//! Whole runs on the embedded digits: they learn, stop, go on to the same bits, and refuse nonsense.

use std::sync::atomic::{AtomicBool, Ordering};

use squeeze_data::{DataSet, OpenOptions, Prepared, Preprocess};
use squeeze_graph::ops::*;
use squeeze_graph::{Builder, Element, Graph, GraphError};
use squeeze_tensor::Seed;
use squeeze_train::{
    Config, Ending, Engine, Event, Job, Network, Outcome, Parameters, Teacher, run,
};

fn graph() -> Result<Graph, GraphError> {
    let mut b = Builder::new("digits");
    let x = b.input("image", &[1, 1, 28, 28], Element::Number)?;
    let stem = Conv2d {
        stride: [2; 2],
        ..Conv2d::square(8, 3)
    };
    let x = b.add("stem", stem, &[x])?;
    let x = b.add("norm", BatchNorm::default(), &[x])?;
    let x = b.add("relu", Activation::Relu, &[x])?;
    let conv = Conv2d {
        stride: [2; 2],
        groups: 2,
        ..Conv2d::square(16, 3)
    };
    let x = b.add("conv", conv, &[x])?;
    let x = b.add("norm2", BatchNorm::default(), &[x])?;
    let x = b.add("relu2", Activation::Relu, &[x])?;
    let x = b.add("flat", Reshape::flatten(), &[x])?;
    let x = b.add("dropout", Dropout { rate: 0.1 }, &[x])?;
    let x = b.add("head", Linear::dense(10), &[x])?;
    b.finish(&[x])
}

struct Digits {
    train: Prepared,
    validation: Prepared,
}

fn digits(count: usize) -> Digits {
    let set = DataSet::open("digits", &OpenOptions::default()).expect("embedded");
    let preprocess = Preprocess::fit(&set.train, None).expect("images");
    let part = |examples| Prepared::images(examples, &preprocess).expect("images");
    Digits {
        train: part(&set.train[..count]),
        validation: part(&set.validation[..200]),
    }
}

fn config() -> Config {
    let mut config = Config {
        epochs: 2.0,
        average: 0.9,
        seed: 4,
        ..Config::default()
    };
    config.optimiser.rate = 4e-3;
    config.batching.augment.crop = 1;
    config
}

fn job<'a>(graph: &'a Graph, digits: &'a Digits) -> Job<'a> {
    Job {
        graph,
        parameters: Parameters::fresh(graph, Seed(2)).expect("names differ"),
        train: &digits.train,
        validation: Some(&digits.validation),
        teacher: None,
        folder: None,
        stop: None,
    }
}

fn train(job: Job, config: &Config) -> Outcome {
    run(&Engine::new(1), job, config, &mut |_| {}).expect("trains")
}

#[test]
fn learns_digits() {
    let (graph, digits) = (graph().expect("fits"), digits(2000));
    let config = Config {
        epochs: 4.0,
        ..config()
    };
    let mut steps = 0;
    let mut count = |event: &Event| steps += u64::from(matches!(event, Event::Step { .. }));
    let outcome = run(&Engine::new(2), job(&graph, &digits), &config, &mut count).expect("trains");
    let best = outcome.best.expect("validated");
    assert_eq!((steps, outcome.ending), (outcome.steps, Ending::Finished));
    assert!(best.metric > 0.9, "{best:?}");
}

#[test]
fn goes_on_to_the_same_bits() {
    let (graph, digits) = (graph().expect("fits"), digits(500));
    let config = config();
    let whole = train(job(&graph, &digits), &config);
    for stop_at in [1, 9, 16, 29] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let stop = AtomicBool::new(false);
        let mut stopper = |event: &Event| {
            if matches!(event, Event::Step { step, .. } if *step == stop_at) {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let part = Job {
            folder: Some(folder.path()),
            stop: Some(&stop),
            ..job(&graph, &digits)
        };
        let part = run(&Engine::new(1), part, &config, &mut stopper).expect("trains");
        assert_eq!((part.ending, part.steps), (Ending::Stopped, stop_at));
        let rest = Job {
            folder: Some(folder.path()),
            ..job(&graph, &digits)
        };
        let rest = train(rest, &config);
        assert_eq!(rest.ending, Ending::Finished);
        assert_eq!(
            rest.parameters.values, whole.parameters.values,
            "stopped at {stop_at}"
        );
        assert_eq!(rest.parameters.statistics, whole.parameters.statistics);
        assert_eq!(rest.best, whole.best);
        // A finished run gives its result again without a step.
        let again = Job {
            folder: Some(folder.path()),
            ..job(&graph, &digits)
        };
        let again = train(again, &config);
        assert_eq!(again.parameters.values, whole.parameters.values);
    }
}

#[test]
fn a_folder_belongs_to_one_recipe() {
    let (graph, digits) = (graph().expect("fits"), digits(100));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config {
        epochs: 1.0,
        ..config()
    };
    train(
        Job {
            folder: Some(folder.path()),
            ..job(&graph, &digits)
        },
        &config,
    );
    let other = Config { seed: 5, ..config };
    let again = Job {
        folder: Some(folder.path()),
        ..job(&graph, &digits)
    };
    let error = run(&Engine::new(1), again, &other, &mut |_| {}).expect_err("another seed");
    assert!(error.to_string().contains("another recipe"), "{error}");
}

#[test]
fn plans_for_a_time() {
    let (graph, digits) = (graph().expect("fits"), digits(500));
    let config = Config {
        epochs: 1e6,
        seconds: Some(1.0),
        ..config()
    };
    let outcome = train(job(&graph, &digits), &config);
    assert_eq!(outcome.ending, Ending::Finished);
    // Other processes share the machine: only the order of magnitude is sure.
    assert!(outcome.seconds < 10.0, "{} s of 1 s", outcome.seconds);
    assert!(outcome.steps > 0);
}

#[test]
fn patience_ends_a_run() {
    let (graph, digits) = (graph().expect("fits"), digits(100));
    let mut config = Config {
        epochs: 50.0,
        patience: 2,
        average: 0.0,
        ..config()
    };
    config.optimiser.rate = 0.0;
    config.batching.augment = Default::default();
    let outcome = train(job(&graph, &digits), &config);
    assert!(
        outcome.steps < 150,
        "{} steps without learning",
        outcome.steps
    );
}

#[test]
fn a_teacher_is_imitated() {
    let (graph, digits) = (graph().expect("fits"), digits(500));
    let parameters = train(job(&graph, &digits), &config()).parameters;
    let network = Network::new(&graph, &parameters).expect("bound");
    let teacher = Some(Teacher {
        network,
        parameters,
    });
    let mut config = config();
    config.loss.distillation = 0.9;
    let outcome = train(
        Job {
            teacher,
            ..job(&graph, &digits)
        },
        &config,
    );
    assert!(outcome.best.expect("validated").metric > 0.5);
}

#[test]
fn nonsense_is_named() {
    let (graph, digits) = (graph().expect("fits"), digits(64));
    let engine = Engine::new(1);
    let fails = |config: Config| {
        let error = run(&engine, job(&graph, &digits), &config, &mut |_| {});
        error.expect_err("nonsense").to_string()
    };
    let zero = Config {
        epochs: 0.0,
        ..config()
    };
    assert_eq!(fails(zero), "recipe: epochs = 0: above 0");
    let mut steep = config();
    steep.optimiser.rate = f64::NAN;
    assert_eq!(
        fails(steep),
        "recipe: optimiser.rate = NaN: a number, not below 0"
    );
    let mut wild = config();
    wild.optimiser = squeeze_train::Optimiser {
        rule: squeeze_train::Rule::SGD,
        rate: 1e30,
        clip: 0.0,
        ..wild.optimiser
    };
    assert!(fails(wild).contains("lower the learning rate"));
}
