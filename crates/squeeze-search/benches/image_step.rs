//! Training steps of an image network from a search space, in batches of several sizes.
//!
//! `cargo bench -p squeeze-search --bench image_step -- [size of the space, from 0] [image] [threads] [steps]`

use std::time::Instant;

use squeeze_graph::Space;
use squeeze_tensor::Seed;
use squeeze_train::{
    Engine, Feed, Loss, Mode, Network, Optimiser, Parameters, Rule, State, Targets,
};
use squeeze_zoo::ImageSpace;

/// In each slot the choice of median multiply-adds.
fn middle(space: &Space) -> Vec<usize> {
    let (_, costs) = space.costs();
    let of = |costs: &Vec<squeeze_graph::Cost>| {
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by_key(|&at| costs[at].macs);
        order[costs.len() / 2]
    };
    costs.iter().map(of).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let mut number = |default| numbers.next().unwrap_or(default);
    let (preset, size, threads, steps) = (number(3), number(32), number(2), number(8));
    let row = ImageSpace::presets(3, size, 10).swap_remove(preset);
    let space = squeeze_zoo::image(&row)?;
    let picks = middle(&space);
    let graph = space.resolve(&picks)?;
    let macs = graph.cost().macs as f64;
    println!(
        "{} {}: {:.2} MMACs",
        row.name,
        space.genotype(&picks),
        macs / 1e6
    );
    let engine = Engine::new(threads);
    let optimiser = Optimiser {
        rule: Rule::SGD,
        ..Optimiser::default()
    };
    for batch in [8, 16, 32, 64, 128] {
        let mut parameters = Parameters::fresh(&graph, Seed(1))?;
        let network = Network::new(&graph, &parameters)?;
        let mut state = State::new(&optimiser, &parameters);
        let mut random = Seed(2).random();
        let shape = [batch, 3, size, size];
        let pixels: Vec<f32> = (0..batch * 3 * size * size)
            .map(|_| random.normal())
            .collect();
        let labels: Vec<i32> = (0..batch as i32).map(|at| at % 10).collect();
        let mut times = vec![];
        for step in 0..steps + 2 {
            let start = Instant::now();
            let feeds = [Feed::numbers(&shape, &pixels)];
            let mode = Mode::Train(Seed(step as u64));
            let tape = engine.forward(&network, &mut parameters, &feeds, mode)?;
            let mut dy = vec![0.0; tape.output().len()];
            let (outputs, targets) = ((tape.output(), 10), Targets::Classes(&labels));
            Loss::default().of(engine.cpu(), outputs, targets, None, &mut dy)?;
            let forward = start.elapsed().as_secs_f64();
            parameters.clear_gradients();
            engine.backward(&network, &mut parameters, tape, &dy);
            optimiser.step(engine.cpu(), &mut parameters, &mut state, 0.01);
            times.push([start.elapsed().as_secs_f64(), forward]);
        }
        let median = |part: usize| {
            let mut times: Vec<f64> = times[2..].iter().map(|time| time[part]).collect();
            times.sort_by(f64::total_cmp);
            1e3 * times[times.len() / 2] / batch as f64
        };
        let (whole, forward) = (median(0), median(1));
        println!(
            "batch {batch:3}: {whole:.3} ms an example, forward {forward:.3}; {:.1} GFLOP/s of three passes",
            6.0 * macs / whole / 1e6
        );
    }
    Ok(())
}
