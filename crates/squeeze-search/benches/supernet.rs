//! What a supernet learns in a given time: steps, loss, and the accuracy of networks with its weights.
//!
//! Prices are multiply-adds, the limit a third of the way from the cheapest to the dearest network.
//! `cargo bench -p squeeze-search -- [digits|spam] [seconds] [seed] [size of the space, from 0]`

use std::time::Duration;

use squeeze_data::{
    Augment, Batching, DataSet, Last, OpenOptions, Prepared, Preprocess, Tokenizer,
};
use squeeze_search::supernet::{Config, Length, search};
use squeeze_search::{random_within, shared};
use squeeze_tensor::Seed;
use squeeze_train::{Curve, Engine, Loss, Optimiser, Rule, Schedule};
use squeeze_zoo::{ImageSpace, TextSpace};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|w| w != "--bench")
        .collect();
    let word = |at: usize, default: &str| words.get(at).cloned().unwrap_or(default.into());
    let (name, seconds, seed, size) = (
        word(0, "digits"),
        word(1, "20").parse()?,
        word(2, "1").parse()?,
        word(3, "0").parse()?,
    );
    let set = DataSet::open(&name, &OpenOptions::default())?;
    let image = set.task.is_image();
    let (space, train, validation, augment) = if image {
        let preprocess = Preprocess::fit(&set.train, None)?;
        let row = ImageSpace::presets(preprocess.channels, preprocess.size[0], set.outputs())
            .swap_remove(size);
        let train = Prepared::images(&set.train, &preprocess)?;
        let validation = Prepared::images(&set.validation, &preprocess)?;
        (
            squeeze_zoo::image(&row)?,
            train,
            validation,
            Augment::suited(&preprocess),
        )
    } else {
        let texts = set.train.iter().filter_map(|example| match &example.input {
            squeeze_data::Input::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        let tokenizer = Tokenizer::train(texts, None)?;
        let row = TextSpace::presets(tokenizer.vocabulary(), 128, set.outputs()).swap_remove(size);
        let train = Prepared::texts(&set.train, &tokenizer, 128)?;
        let validation = Prepared::texts(&set.validation, &tokenizer, 128)?;
        (
            squeeze_zoo::text(&row)?,
            train,
            validation,
            Augment::texts(),
        )
    };
    let prices = space.prices(|graph, node| graph.cost_of(node).macs as f64);
    let limit = prices.least() + 0.33 * (prices.most() - prices.least());
    let batching = Batching {
        size: if image { 64 } else { 32 },
        seed,
        last: Last::Drop,
        multiple: 8,
        augment,
    };
    let config = Config {
        batching: batching.clone(),
        loss: Loss {
            smoothing: if image { 0.1 } else { 0.0 },
            ..Loss::default()
        },
        optimiser: if image {
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
        },
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
    };
    let engine = Engine::new(std::thread::available_parallelism()?.get());
    let length = Length::Time(Duration::from_secs_f64(seconds));
    let mut tell = |step: &squeeze_search::supernet::Step| {
        if step.step.is_multiple_of((step.of / 10).max(1)) {
            println!(
                "step {} of {}: loss {:.3}, cost {:.2} of the limit, multiplier {:.3}, undecided {:.2}",
                step.step,
                step.of,
                step.loss,
                step.cost / limit,
                step.multiplier,
                step.indecision
            );
        }
        true
    };
    let found = search(
        &space,
        &train,
        &prices,
        (&config, length),
        &engine,
        &mut tell,
    )?;
    println!("{} steps in {:.1} s", found.steps, found.seconds);
    let accuracy = |picks: &[usize]| -> Result<f64, Box<dyn std::error::Error>> {
        let graph = space.resolve(picks)?;
        let train = (&train, &batching);
        Ok(shared::accuracy(
            &engine,
            (&graph, &found.weights),
            train,
            &validation,
        )?)
    };
    if let Some(picks) = found.architecture.likeliest_within(&prices, limit) {
        println!(
            "likeliest {:.3}: {}",
            accuracy(&picks)?,
            space.genotype(&picks)
        );
    }
    for number in 0..8 {
        let picks = random_within(&prices, limit, Seed(seed).child_number(number)).expect("fits");
        println!(
            "random {:.3}: {}",
            accuracy(&picks)?,
            space.genotype(&picks)
        );
    }
    Ok(())
}
