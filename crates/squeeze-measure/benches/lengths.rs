//! Texts shorter than the plan: a plan for long texts beside plans made for the length, in interleaved rounds.
//! `cargo bench -p squeeze-measure --bench lengths -- [NAME..] [--seq N] [--lengths A,B,..] [--threads N] [--precision NAME]`.

use std::time::Duration;

use squeeze_graph::Graph;
use squeeze_infer::{Precision, Target};
use squeeze_measure::{Budget, Subject, interleaved};
use squeeze_tensor::Seed;
use squeeze_zoo::Options;

/// How often plans are made, and rounds of each.
const TURNS: usize = 10;
const ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str, default: &str| {
        let at = arguments.iter().position(|argument| argument == flag);
        let given = at.and_then(|at| arguments.get(at + 1));
        given.map_or(default.to_string(), String::clone)
    };
    let is_value = |at: usize| at > 0 && arguments[at - 1].starts_with("--");
    let names =
        (0..arguments.len()).filter(|&at| !arguments[at].starts_with("--") && !is_value(at));
    let mut names: Vec<&str> = names.map(|at| &arguments[at][..]).collect();
    if names.is_empty() {
        names = vec!["squeezebert", "bert-base"];
    }
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let seq = number(&value("--seq", "256"));
    let precision = value("--precision", "f32");
    let named = |row: &Precision| row.name() == precision;
    let precision = Precision::ALL.into_iter().find(named).expect("a precision");
    let target = Target::here(number(&value("--threads", "1"))).with_precision(precision);
    for name in names {
        let options = Options {
            length: Some(seq),
            ..Options::default()
        };
        let graph = squeeze_zoo::build(name, &options).expect("a network over text");
        for length in value("--lengths", "16,32,64,128").split(',') {
            compare(name, &graph, number(length), &target);
        }
    }
}

/// Both plans are made anew several times: where their weights come to lie in memory is worth a few percent. With a length of `--seq` both
/// are alike, and what is shown is what the comparison is good for.
fn compare(name: &str, graph: &Graph, length: usize, target: &Target) {
    let weights = squeeze_rewrite::fresh(graph, Seed(1));
    let own = graph.with_length(length).expect("shorter texts fit");
    let lengths = [i32::try_from(length).expect("a length")];
    let made = || Subject::new(&own, &weights, target).expect("compiles");
    let long = || {
        let long = Subject::new(graph, &weights, target).expect("compiles");
        long.with_lengths(&lengths).expect("lengths fit")
    };
    let budget = Budget {
        least: Duration::from_millis(60),
        ..Budget::DEFAULT
    };
    let (mut ratios, mut times) = (vec![], [vec![], vec![]]);
    for turn in 0..TURNS {
        // Which one is made first and runs first changes: the same plan beside itself loses up to 2.6 % in the second place.
        let long_first = turn % 2 == 1;
        let mut subjects = match long_first {
            true => [long(), made()],
            false => [made(), long()],
        };
        let mut work = subjects
            .each_mut()
            .map(|subject| Box::new(|| subject.run()) as Box<dyn FnMut()>);
        let timed = interleaved(&mut work, ROUNDS, &budget);
        let ratio = timed[1].1.median;
        ratios.push(if long_first { 1.0 / ratio } else { ratio });
        for (at, (timing, _)) in timed.iter().enumerate() {
            times[at ^ usize::from(long_first)].push(timing.p50_ms);
        }
    }
    let sorted = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let [made, long] = times.map(|times| sorted(times)[TURNS / 2]);
    let percent: Vec<f64> = sorted(ratios)
        .iter()
        .map(|ratio| 100.0 * (ratio - 1.0))
        .collect();
    println!(
        "{name} {} {} threads, {length} tokens: {made:.3} ms in a plan for them, {long:.3} ms in a plan for more: {:+.1} % ({:+.1} to {:+.1})",
        target.precision.name(),
        target.threads,
        percent[TURNS / 2],
        percent[0],
        percent[TURNS - 1],
    );
}
