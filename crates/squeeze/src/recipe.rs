//! How networks are trained: one recipe for text, one for images, for every network of a design alike.

use squeeze_data::{Batching, Last};
use squeeze_search::supernet;
use squeeze_train::{Config, Curve, Loss, Optimiser, Rule, Schedule};

use crate::ready::Ready;

/// The recipe of a network's training, for `seconds` of wall time.
pub fn training(ready: &Ready, seconds: f64, seed: u64) -> Config {
    let text = !ready.set.task.is_image();
    let examples = ready.train.len();
    Config {
        // The time ends the run; this keeps small data sets from being gone through for ever.
        epochs: if text { 60.0 } else { 150.0 },
        seconds: Some(seconds),
        seed,
        patience: 0,
        average: if examples > 1000 { 0.995 } else { 0.0 },
        batching: batching(ready, seed),
        optimiser: optimiser(ready),
        schedule: Schedule {
            curve: Curve::Cosine,
            warmup: 0.1,
            last: 0.01,
        },
        loss: loss(ready),
    }
}

/// The recipe of a supernet whose expected cost is driven to `limit`.
pub fn searching(ready: &Ready, limit: f64, seed: u64) -> supernet::Config {
    supernet::Config {
        batching: batching(ready, seed),
        loss: loss(ready),
        optimiser: optimiser(ready),
        schedule: Schedule {
            curve: Curve::Cosine,
            warmup: 0.05,
            last: 0.1,
        },
        warm_up: 0.4,
        logit_rate: 0.03,
        temperature: [1.0, 0.3],
        limit,
        seed,
    }
}

/// How every training of a design cuts its data into batches.
pub fn batching(ready: &Ready, seed: u64) -> Batching {
    let size = if ready.train.len() < 2000 { 16 } else { 64 };
    let size = if ready.set.task.is_image() {
        size
    } else {
        size.min(32)
    };
    Batching {
        size,
        seed,
        last: Last::Drop,
        multiple: 8,
        augment: ready.augment(),
    }
}

fn optimiser(ready: &Ready) -> Optimiser {
    if ready.set.task.is_image() {
        Optimiser {
            rule: Rule::SGD,
            rate: 0.1,
            decay: 5e-4,
            clip: 5.0,
        }
    } else {
        Optimiser {
            rule: Rule::ADAMW,
            rate: 1.5e-3,
            decay: 0.05,
            clip: 1.0,
        }
    }
}

fn loss(ready: &Ready) -> Loss {
    let smoothing = if ready.set.task.is_classification() {
        0.1
    } else {
        0.0
    };
    Loss {
        smoothing,
        ..Loss::default()
    }
}
