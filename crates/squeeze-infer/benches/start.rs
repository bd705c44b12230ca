//! From a model file to the first answer: the times of loading, compiling and the first run.
//!
//! `cargo bench -p squeeze-infer --bench start -- FILE.squeeze [threads] [rounds]`

use std::path::Path;
use std::time::Instant;

use squeeze_graph::{Element, elements};
use squeeze_infer::{Input, Target, compile};

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let Some(path) = args.first() else {
        println!("give a model file");
        return;
    };
    let number = |at: usize, default: usize| match args.get(at) {
        Some(text) => text.parse().expect("a number"),
        None => default,
    };
    let (threads, rounds) = (number(1, 1), number(2, 9));
    let mut times = vec![];
    for _ in 0..rounds {
        times.push(start(Path::new(path), threads));
    }
    let names = ["load", "compile", "first run", "second run", "all to first"];
    for (at, name) in names.into_iter().enumerate() {
        let mut of: Vec<f64> = times.iter().map(|times| times[at]).collect();
        of.sort_by(f64::total_cmp);
        let at = |part: usize| of[(of.len() - 1) * part / 4];
        let (low, median, high) = (at(1), at(2), at(3));
        println!("{name:14} {median:8.2} ms, quartiles {low:.2}-{high:.2}");
    }
}

/// Milliseconds of loading, compiling, the first and the second run, and of all but the last.
fn start(path: &Path, threads: usize) -> [f64; 5] {
    let begun = Instant::now();
    let ms = |since: Instant| 1e3 * since.elapsed().as_secs_f64();
    let model = squeeze_formats::model::load_to_run(path, threads).expect("a model file");
    let load = ms(begun);
    let step = Instant::now();
    let plan = compile(&model.graph, &model.weights, &Target::here(threads)).expect("compiles");
    drop(model);
    let mut scratch = plan.scratch();
    let compile = ms(step);
    let sizes = || plan.inputs().iter().map(|x| elements(&x.shape));
    let numbers: Vec<Vec<f32>> = sizes().map(|size| vec![0.5; size]).collect();
    let most = plan.inputs().iter().map(|x| x.range.1);
    let indices: Vec<Vec<i32>> = sizes()
        .zip(most)
        .map(|(size, most)| vec![most; size])
        .collect();
    let of = |at: usize| match plan.inputs()[at].element {
        Element::Number => Input::Numbers(&numbers[at]),
        Element::Index => Input::Indices(&indices[at]),
    };
    let inputs: Vec<Input> = (0..plan.inputs().len()).map(of).collect();
    let step = Instant::now();
    plan.run(&inputs, &mut scratch);
    let (first, all) = (ms(step), ms(begun));
    let step = Instant::now();
    plan.run(&inputs, &mut scratch);
    [load, compile, first, ms(step), all]
}
