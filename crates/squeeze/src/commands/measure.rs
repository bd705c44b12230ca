//! `squeeze measure`: the time of networks on this machine, side by side; or a search space's blocks for its profile.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ArgGroup;
use serde_json::json;
use squeeze_infer::Precision;
use squeeze_measure::{Budget, Profile, Ratio, Subject, Timing, interleaved, measure_space};

use super::device::{DeviceArgs, HERE};
use super::measure_kernels;
use crate::error::Outcome;
use crate::floor::{self, Peaks, StepTime};
use crate::out::{self, Columns};
use crate::pruning::{self, Block};
use crate::resident::{allowed, resident};
use crate::running::Running;
use crate::source::{Sizes, Source};
use crate::spaces::{self, Shape};
use crate::ui::Progress;
use crate::units::{self, show_count, show_size, show_time};

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("machine").args(["profile", "kernels"])))]
pub(super) struct Args {
    /// Networks to time: names from `squeeze list models`, or files
    #[arg(required_unless_present = "machine")]
    models: Vec<String>,
    /// The network that the others are compared with; its plan goes by the prices that are built in
    #[arg(long, value_name = "MODEL")]
    vs: Option<String>,
    #[command(flatten)]
    sizes: Sizes,
    /// Examples of a run
    #[arg(long, value_name = "EXAMPLES", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "machine")]
    batch: u16,
    /// Lengths of a run's texts, in turn, where they are shorter than --seq
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..), conflicts_with_all = ["machine", "per_layer"])]
    lengths: Vec<u16>,
    #[command(flatten)]
    running: Running,
    /// Time the networks (not the one of --vs) with this fraction of each layer's weights zero, the smallest ones
    #[arg(long, value_name = "FRACTION", value_parser = pruning::fraction, conflicts_with = "machine")]
    prune: Option<f64>,
    /// Output channels x inputs that are zero together: 1x1, 4x1 or 16x1
    #[arg(long, value_name = "BLOCK", default_value = "1x1", value_parser = pruning::block, requires = "prune")]
    block: Block,
    #[command(flatten)]
    device: DeviceArgs,
    /// The time of each step of the plan
    #[arg(long)]
    per_layer: bool,
    /// At least 1,024 runs and one minute for each network
    #[arg(long)]
    thorough: bool,
    /// Measure the blocks of a search space, for `squeeze design --device FILE`
    #[arg(long, requires = "space", requires = "output", conflicts_with_all = ["models", "vs", "per_layer"])]
    profile: bool,
    /// Measure what kernels take, and fit the prices by which plans pick them; with -o for `--device FILE`, where the rest of a profile stays
    #[arg(long, conflicts_with_all = ["models", "vs", "per_layer", "image", "seq", "precision", "thorough"])]
    kernels: bool,
    /// The search space: a name from `squeeze list spaces`
    #[arg(long, requires = "profile")]
    space: Option<String>,
    /// Time for the profile or the kernels
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::time, requires = "machine")]
    time: Duration,
    /// Where the profile goes
    #[arg(short, long, value_name = "FILE", requires = "machine")]
    output: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A network on the bench.
struct Bench {
    name: String,
    /// Where its prices are from.
    device: String,
    /// The fraction of its weights that were made zero.
    pruned: Option<f64>,
    /// Multiply-adds, without those of zeros that were made.
    macs: u64,
    /// What its products are made of.
    precision: Precision,
    subject: Subject,
    start: Start,
}

/// What it took to get there.
struct Start {
    /// Milliseconds until it could run, and of the first run.
    load_ms: f64,
    first_ms: f64,
    /// Bytes of its weights, and bytes that are in memory because of it.
    weights: usize,
    resident: u64,
}

impl Bench {
    /// The name, with what was made of it.
    fn title(&self, args: &Args) -> String {
        let mut title = self.name.clone();
        if let Some(fraction) = self.pruned {
            title.push_str(&format!(" pruned {fraction} {}", args.block));
        }
        if self.precision != Precision::F32 {
            title.push_str(&format!(" in {}", self.precision.name()));
        }
        if self.device != HERE {
            title.push_str(&format!(" by {}", self.device));
        }
        title
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    if args.profile {
        return profile(args);
    }
    if args.kernels {
        return measure_kernels::run(&measure_kernels::Request {
            threads: args.running.threads,
            time: args.time,
            output: args.output.as_deref(),
            json: args.json,
        });
    }
    let mut benches = vec![];
    let here = DeviceArgs::here();
    // The one that the others are compared with comes first.
    let vs = args.vs.iter().map(|model| (model, None, &here));
    let models = args.models.iter();
    let models = models.map(|model| (model, args.prune, &args.device));
    for (model, pruned, device) in vs.chain(models) {
        let bench = Bench::open(model, pruned, device, args);
        benches.push(bench.with_context(|| model.clone())?);
    }
    let timed = time(&mut benches, args.thorough);
    warn_of_others(&timed);
    table(&benches, &timed, args)?;
    if args.per_layer {
        let peaks = Peaks::measure();
        if args.json {
            out::json(&json!({ "peaks": peaks }))?;
        } else {
            eprintln!("one thread's peaks here, at best: {}", peaks.show());
        }
        for bench in &mut benches {
            layers(bench, &peaks, args)?;
        }
    }
    Ok(Outcome::Done)
}

impl Bench {
    /// Loads a network, some of its weights made zero, with inputs of the batch and the lengths asked for, and runs it once.
    fn open(
        model: &str,
        pruned: Option<f64>,
        device: &DeviceArgs,
        args: &Args,
    ) -> anyhow::Result<Self> {
        let ([before, _], begun) = (resident(), Instant::now());
        let mut source = Source::open(model, &args.sizes)?;
        let batch = usize::from(args.batch);
        source.graph = source.graph.with_batch(batch)?;
        let (mut weights, mut layers) = (source.weights(), vec![]);
        if let Some(fraction) = pruned {
            let network = (&source.graph, &weights);
            (source.graph, weights, layers) = pruning::apply(network, fraction, args.block)?;
        }
        let target = device.target(args.running.threads)?;
        let target = target.made_for(&weights, args.running.precision);
        let mut subject = Subject::new(&source.graph, &weights, &target)?;
        let bytes = weights.bytes();
        drop((weights, source.weights.take()));
        let load_ms = 1e3 * begun.elapsed().as_secs_f64();
        let mut macs = pruning::macs(&source.graph, &layers);
        if !args.lengths.is_empty() {
            let mut inputs = subject.plan().inputs().iter();
            if !inputs.any(|spec| spec.shape.len() == 1) {
                bail!("it takes no lengths: leave out --lengths");
            }
            let lengths: Vec<i32> = args.lengths.iter().map(|&length| length.into()).collect();
            subject = subject.with_lengths(&lengths)?;
            let one = source.graph.with_batch(1)?;
            macs = 0;
            for &length in args.lengths.iter().cycle().take(batch) {
                macs += pruning::macs(&one.with_length(length.into())?, &layers);
            }
        }
        let first = Instant::now();
        subject.run();
        let first_ms = 1e3 * first.elapsed().as_secs_f64();
        let [after, _] = resident();
        let start = Start {
            load_ms,
            first_ms,
            weights: bytes,
            resident: after.saturating_sub(before),
        };
        Ok(Self {
            name: source.name,
            device: device.to_string(),
            pruned,
            macs,
            precision: target.precision,
            subject,
            start,
        })
    }

    /// Says on stderr what it took to get there.
    fn tell_start(&self) {
        let Start {
            load_ms,
            first_ms,
            weights,
            resident,
        } = self.start;
        eprintln!(
            "{}: ready after {}, first run {}; {} in memory, of weights there are {}",
            self.name,
            show_time(load_ms),
            show_time(first_ms),
            show_size(resident),
            show_size(weights as u64)
        );
    }
}

/// Times all networks in interleaved rounds of about 100 ms each.
fn time(benches: &mut [Bench], thorough: bool) -> Vec<(Timing, Ratio)> {
    let budget = if thorough {
        Budget::THOROUGH
    } else {
        Budget::DEFAULT
    };
    let seconds = budget.least.as_secs_f64();
    let progress = Progress::on_terminal();
    let stage = progress.stage("measure", 0);
    let mut work: Vec<Box<dyn FnMut() + '_>> = benches
        .iter_mut()
        .map(|bench| Box::new(|| bench.subject.run()) as Box<dyn FnMut()>)
        .collect();
    let mut slowest: f64 = 0.0;
    for work in &mut work {
        let start = Instant::now();
        work();
        work();
        slowest = slowest.max(start.elapsed().as_secs_f64() / 2.0);
    }
    // A batch holds at least three runs of about 100 ms in all.
    let in_batch = (0.1 / slowest).max(3.0);
    let rounds = (seconds / (in_batch * slowest))
        .max(budget.runs as f64 / in_batch)
        .ceil();
    let timed = interleaved(&mut work, rounds as usize, &budget);
    stage.done(&format!("{rounds} interleaved rounds"));
    timed
}

fn warn_of_others(timed: &[(Timing, Ratio)]) {
    let others = timed
        .iter()
        .filter_map(|(timing, _)| timing.others)
        .fold(0.0, f64::max);
    if others > 0.08 {
        let share = 100.0 * others;
        eprintln!(
            "note: other processes used {share:.0} % of a core meanwhile: read the quartiles, not the digits"
        );
    }
}

fn table(benches: &[Bench], timed: &[(Timing, Ratio)], args: &Args) -> anyhow::Result<()> {
    let compares = benches.len() > 1;
    let mut names = vec![
        "model",
        "runs>",
        "min>",
        "p50>",
        "p90>",
        "p99>",
        "peak>",
        "multiply-adds>",
    ];
    if args.batch > 1 {
        names.push("a second>");
    }
    if compares {
        names.extend(["FLOP ratio>", "measured ratio>", "quartiles"]);
    }
    let mut table = Columns::new(&names);
    for (bench, (timing, ratio)) in benches.iter().zip(timed) {
        let peak = bench.subject.plan().peak_bytes();
        let flops = bench.macs as f64 / benches[0].macs.max(1) as f64;
        let [low, high] = ratio.quartiles;
        let rate = 1e3 * f64::from(args.batch) / timing.p50_ms;
        if args.json {
            let mut line = json!({
                "model": bench.name, "threads": args.running.threads, "precision": bench.precision.name(), "device": bench.device, "runs": timing.runs,
                "batch": args.batch, "lengths": args.lengths, "per_second": rate,
                "min_ms": timing.min_ms, "p50_ms": timing.p50_ms, "p90_ms": timing.p90_ms, "p99_ms": timing.p99_ms,
                "ci95_ms": timing.ci95_ms, "peak_bytes": peak, "macs": bench.macs, "others": timing.others,
                "load_ms": bench.start.load_ms, "first_ms": bench.start.first_ms,
                "weight_bytes": bench.start.weights, "resident_bytes": bench.start.resident,
                "resident_limit_bytes": allowed(bench.start.weights, peak),
            });
            if let Some(fraction) = bench.pruned {
                line["prune"] = json!(fraction);
                line["block"] = json!(args.block.to_string());
            }
            if compares {
                line["vs"] = json!(benches[0].name);
                line["flop_ratio"] = json!(flops);
                line["time_ratio"] = json!(ratio.median);
                line["quartiles"] = json!(ratio.quartiles);
            }
            out::json(&line)?;
        }
        let mut row = vec![
            bench.title(args),
            timing.runs.to_string(),
            show_time(timing.min_ms),
            show_time(timing.p50_ms),
            show_time(timing.p90_ms),
            show_time(timing.p99_ms),
            show_size(peak as u64),
            show_count(bench.macs),
        ];
        if args.batch > 1 {
            row.push(format!("{rate:.1}"));
        }
        if compares {
            row.extend([
                format!("{flops:.2}"),
                format!("{:.2}", ratio.median),
                format!("{low:.2}-{high:.2}"),
            ]);
        }
        table.row(row);
    }
    if args.json {
        return Ok(());
    }
    table.print()?;
    benches.iter().for_each(Bench::tell_start);
    if compares {
        let first = benches[0].title(args);
        eprintln!(
            "ratios are to {first}: above 1 is more FLOPs or more time; medians of interleaved rounds"
        );
    }
    Ok(())
}

fn layers(bench: &mut Bench, peaks: &Peaks, args: &Args) -> anyhow::Result<()> {
    let progress = Progress::on_terminal();
    let stage = progress.stage("steps", floor::ROUNDS as u64);
    let subject = (&mut bench.subject, args.running.threads);
    let times = floor::step_times(subject, peaks, |round| stage.at(round as u64));
    stage.done(&format!("{} rounds", floor::ROUNDS));
    let sum = |of: fn(&StepTime) -> f64| times.iter().map(of).sum::<f64>();
    let (all, floors) = (sum(|time| time.ms), sum(|time| time.floor_ms));
    let mut table = Columns::new(&[
        "step",
        "kind",
        "kernel",
        "multiply-adds>",
        "time>",
        "share>",
        "GFLOP/s>",
        "floor>",
        "of floor>",
    ]);
    for (step, time) in bench.subject.plan().steps().zip(&times) {
        let StepTime {
            ms,
            floor_ms,
            fraction,
        } = *time;
        let rate = 2.0 * step.macs as f64 / (ms * 1e6);
        if args.json {
            out::json(&json!({
                "model": bench.name, "step": step.name, "kind": step.kind, "kernel": step.kernel,
                "macs": step.macs, "p50_ms": ms, "share": ms / all,
                "floor_ms": floor_ms, "fraction": fraction,
            }))?;
        }
        table.row([
            step.name.into(),
            step.kind.into(),
            step.kernel.into(),
            show_count(step.macs),
            show_time(ms),
            format!("{:.1} %", 100.0 * ms / all),
            if step.macs == 0 {
                String::new()
            } else {
                format!("{rate:.1}")
            },
            show_time(floor_ms),
            format!("{:.0} %", 100.0 * fraction),
        ]);
    }
    if args.json {
        return Ok(());
    }
    out::print(&format!(
        "\n{}: medians of {} runs, {} in all; the floors add up to {}",
        bench.title(args),
        floor::ROUNDS,
        show_time(all),
        show_time(floors)
    ))?;
    table.print()
}

fn profile(args: &Args) -> anyhow::Result<Outcome> {
    let (Some(name), Some(output)) = (&args.space, &args.output) else {
        bail!("a profile needs --space NAME and -o FILE");
    };
    let default = Shape::default();
    let shape = Shape {
        image: args.sizes.image().unwrap_or(default.image),
        length: args.sizes.length().unwrap_or(default.length),
        ..default
    };
    let space = spaces::open(name, &shape)?;
    let mut profile = if output.exists() {
        Profile::load(output)?
    } else {
        Profile::here(args.running.threads)
    };
    if profile.threads != args.running.threads {
        bail!(
            "{} was measured on {} threads: use --threads {} or another file",
            output.display(),
            profile.threads,
            profile.threads
        );
    }
    let progress = Progress::on_terminal();
    let stage = progress.stage("measure", 1);
    let table = measure_space(&space, &mut profile, args.time, |_, done, all| {
        stage.set_steps(all as u64);
        stage.at(done as u64);
        true
    })?;
    squeeze_formats::write(output, profile.to_toml().as_bytes())?;
    let (blocks, error) = (profile.entries.len(), 100.0 * table.worst_error);
    let networks = table.networks;
    stage.done(&format!("{blocks} blocks; sums of blocks differ from {networks} whole networks by {error:.1} % at most"));
    if args.json {
        out::json(&json!({
            "profile": output, "space": name, "blocks": blocks, "worst_error": table.worst_error,
            "fixed_ms": table.fixed_ms, "scale": table.scale,
        }))?;
    } else {
        out::print(&output.display().to_string())?;
    }
    Ok(Outcome::Done)
}
