//! The best of many rounds, for benchmarks of warm kernels.

use std::time::Instant;

/// Rounds, and about how many seconds each takes.
const ROUNDS: usize = 40;
const SECONDS: f64 = 0.002;

/// The best round's seconds a run.
pub fn best(run: &mut dyn FnMut()) -> f64 {
    run();
    let start = Instant::now();
    run();
    let times = (SECONDS / start.elapsed().as_secs_f64().max(1e-9)).ceil() as usize;
    let round = |_| {
        let start = Instant::now();
        (0..times).for_each(|_| run());
        start.elapsed().as_secs_f64() / times as f64
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

/// The first word that is no option: what names are to contain.
pub fn filter() -> String {
    let mut words = std::env::args().skip(1);
    words
        .find(|word| !word.starts_with('-'))
        .unwrap_or_default()
}
