//! How well a network does with the weights it shares with all others of a supernet.

use squeeze_data::{Batching, Prepared};
use squeeze_graph::{Graph, Op};
use squeeze_tensor::{Seed, Weights};
use squeeze_train::{Engine, Feeds, Mode, Network, Parameters, TrainError, predict, score};

/// Batches that the running statistics of a network are collected over anew.
const CALIBRATION: usize = 12;

/// Accuracy on `validation` of a network with the supernet's weights. The supernet's batch norms
/// saw mixtures, so their statistics are first collected for this network alone over a part of
/// `train` (as Guo et al., 2020, do).
///
/// # Errors
/// When a weight of the network is missing, or the data does not fit it.
pub fn accuracy(
    engine: &Engine,
    (graph, weights): (&Graph, &Weights),
    (train, batching): (&Prepared, &Batching),
    validation: &Prepared,
) -> Result<f64, TrainError> {
    let mut parameters = Parameters::from_weights(graph, weights)?;
    let network = Network::new(graph, &parameters)?;
    let collects = |node: &squeeze_graph::Node| matches!(node.op, Op::BatchNorm(_));
    if graph.nodes().iter().any(collects) {
        for batch in train.epoch(batching, 0).take(CALIBRATION) {
            let feeds = Feeds::new(graph, batch?)?;
            let mode = Mode::Train(Seed(0));
            engine.forward(&network, &mut parameters, &feeds.feeds(), mode)?;
        }
    }
    let outputs = predict(engine, &network, &mut parameters, validation, 64)?;
    Ok(score(engine, &outputs, validation.labels())?.metric)
}
