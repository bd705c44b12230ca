//! Published networks on this machine: median of the whole, and where the time goes by kind of
//! step. `cargo bench -p squeeze-infer -- [NAME..] [--threads N] [--length N] [--steps]`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use squeeze_graph::{Element, elements};
use squeeze_infer::{Input, Plan, Target, compile};
use squeeze_rewrite::fresh;
use squeeze_tensor::Seed;
use squeeze_zoo::Options;

const DEFAULT: &[&str] = &["squeezebert", "bert-base", "squeezenet1_1", "mobilenet_v2"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)?.parse::<usize>().ok()
    };
    let is_name =
        |argument: &&String| !argument.starts_with("--") && argument.parse::<usize>().is_err();
    let mut names: Vec<&str> = arguments
        .iter()
        .filter(is_name)
        .map(|name| &name[..])
        .collect();
    if names.is_empty() {
        names = DEFAULT.to_vec();
    }
    let target = Target::here(number("--threads").unwrap_or(1));
    let steps = arguments.iter().any(|argument| argument == "--steps");
    for name in names {
        let options = Options {
            length: number("--length"),
            ..Options::default()
        };
        match squeeze_zoo::build(name, &options) {
            Ok(graph) => bench(name, &graph, &target, steps),
            Err(error) => eprintln!("{error}"),
        }
    }
}

fn bench(name: &str, graph: &squeeze_graph::Graph, target: &Target, steps: bool) {
    let weights = fresh(graph, Seed(1));
    let start = Instant::now();
    let plan = compile(graph, &weights, target).expect("zoo networks compile");
    let compiled = start.elapsed();
    let (numbers, indices) = values(&plan);
    let inputs: Vec<Input> = plan
        .inputs()
        .iter()
        .enumerate()
        .map(|(at, spec)| match spec.element {
            Element::Number => Input::Numbers(&numbers[at]),
            Element::Index => Input::Indices(&indices[at]),
        })
        .collect();
    let mut scratch = plan.scratch();
    let mut times = vec![];
    let (start, cpu) = (Instant::now(), cpu_time());
    while times.len() < 5 || (start.elapsed() < Duration::from_secs(3) && times.len() < 500) {
        let start = Instant::now();
        plan.run(&inputs, &mut scratch);
        times.push(start.elapsed());
    }
    let cpu = (cpu_time() - cpu) / times.len() as f64;
    times.sort_unstable();
    let at = |percent: usize| milliseconds(times[(times.len() - 1) * percent / 100]);
    let macs: u64 = plan.steps().map(|step| step.macs).sum();
    println!(
        "{name}, {} threads, {}: p50 {:.3} ms, min {:.3}, p90 {:.3}, caller's CPU {cpu:.3} ({} runs); {:.1} GFLOP/s; \
         {} steps, arena {} kB, compiled in {:.0} ms",
        target.threads,
        target.tier,
        at(50),
        at(0),
        at(90),
        times.len(),
        2.0 * macs as f64 / at(50) / 1e6,
        plan.steps().count(),
        plan.peak_bytes() / 1000,
        milliseconds(compiled),
    );
    let profile = plan.profile(&inputs, 15);
    let total: f64 = profile.iter().copied().map(milliseconds).sum();
    let mut kinds: BTreeMap<String, (f64, u64, usize)> = BTreeMap::new();
    for (step, &time) in plan.steps().zip(&profile) {
        if steps {
            let rate = 2.0 * step.macs as f64 / milliseconds(time) / 1e6;
            println!(
                "    {:9.4} ms {rate:6.1} GFLOP/s  {:<28} {:<18} {:?} -> {:?}  {}",
                milliseconds(time),
                step.kernel,
                step.kind,
                step.inputs,
                step.output,
                step.name
            );
        }
        let kind = kinds
            .entry(format!("{} ({})", step.kind, step.kernel))
            .or_default();
        kind.0 += milliseconds(time);
        kind.1 += step.macs;
        kind.2 += 1;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    for (kind, (time, macs, count)) in kinds {
        println!(
            "  {:5.1} %  {time:8.3} ms  {:6.1} GFLOP/s  {count:3} x {kind}",
            100.0 * time / total,
            2.0 * macs as f64 / time / 1e6
        );
    }
}

fn values(plan: &Plan) -> (Vec<Vec<f32>>, Vec<Vec<i32>>) {
    let mut random = Seed(2).random();
    let mut numbers = vec![];
    let mut indices = vec![];
    for spec in plan.inputs() {
        let count = elements(&spec.shape);
        numbers.push((0..count).map(|_| random.normal()).collect());
        let most = spec.range.1.clamp(0, i32::MAX - 1);
        let index = |at: usize| match spec.shape.len() {
            // Full texts.
            1 => most,
            _ => (at as i32 * 7919) % (most + 1),
        };
        indices.push((0..count).map(index).collect());
    }
    (numbers, indices)
}

/// Milliseconds that this thread was on a core, which others' load stretches least; zero where the
/// system does not say.
fn cpu_time() -> f64 {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = line
        .split(' ')
        .next()
        .and_then(|text| text.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e6
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
