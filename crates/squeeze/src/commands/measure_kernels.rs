//! `squeeze measure --kernels`: what families of kernels take, and the prices by which plans pick them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use squeeze_measure::{Kernels, Line, Machine, Profile, Timing, measure_kernels};

use crate::error::Outcome;
use crate::out::{self, Columns};
use crate::ui::Progress;
use crate::units::show_time;

/// What was asked for.
pub(super) struct Request<'a> {
    pub threads: usize,
    pub time: Duration,
    pub output: Option<&'a Path>,
    pub json: bool,
}

pub(super) fn run(request: &Request) -> anyhow::Result<Outcome> {
    // What cannot be kept should not be measured.
    if let Some(folder) = request.output.and_then(Path::parent) {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut profile = match request.output {
        Some(path) if path.exists() => known(path, request.threads)?,
        _ => Profile::here(request.threads),
    };
    let progress = Progress::on_terminal();
    let stage = progress.stage("measure", 1);
    let measured = measure_kernels(request.threads, request.time, |what, done, all| {
        stage.set_steps(all as u64);
        stage.at(done as u64);
        stage.say(what);
        !progress.is_stopped()
    });
    if progress.is_stopped() {
        bail!("stopped: nothing was kept");
    }
    let Kernels { prices, lines } = measured?;
    let mean = mean_losses(&lines).map(percent);
    stage.done(&format!(
        "{} layers in all ways; the built-in prices lose {} in the mean, these {}",
        lines.len(),
        mean[0],
        mean[1]
    ));
    let others = lines.iter().filter_map(|line| line.others);
    let others = 100.0 * others.fold(0.0, f64::max);
    if others > 8.0 {
        eprintln!(
            "note: other processes used up to {others:.0} % of a core meanwhile: read the spread, not the digits"
        );
    }
    match request.json {
        true => lines.iter().try_for_each(|line| out::json(&facts(line)))?,
        false => tables(&lines)?,
    }
    let blocks = profile.entries.len();
    if blocks > 0 && profile.prices != Some(prices) {
        eprintln!(
            "note: its {blocks} blocks were measured by other prices of kernels: measure them again with --profile and another file"
        );
    }
    profile.prices = Some(prices);
    if let Some(path) = request.output {
        squeeze_formats::write(path, profile.to_toml().as_bytes())?;
    }
    if request.json {
        out::json(&json!({
            "profile": request.output, "threads": request.threads, "prices": prices,
        }))?;
    } else if let Some(path) = request.output {
        out::print(&format!("\n{}", path.display()))?;
    }
    Ok(Outcome::Done)
}

/// The profile in a file, if it is this machine's.
fn known(path: &Path, threads: usize) -> anyhow::Result<Profile> {
    let profile = Profile::load(path)?;
    let file = path.display();
    if profile.machine != Machine::here() {
        bail!(
            "{file} is of another machine ({}): use another file",
            profile.machine
        );
    }
    if profile.threads != threads {
        let threads = profile.threads;
        bail!("{file} was measured on {threads} threads: use --threads {threads} or another file");
    }
    Ok(profile)
}

/// What is lost in the mean with the prices that are built in, and with those that were fitted.
fn mean_losses(lines: &[Line]) -> [f64; 2] {
    let picks: [fn(&Line) -> usize; 2] = [|line| line.built_in, |line| line.fitted];
    picks.map(|pick| {
        let losses = lines.iter().map(|line| line.losses[pick(line)]);
        losses.sum::<f64>() / lines.len().max(1) as f64
    })
}

fn facts(line: &Line) -> serde_json::Value {
    let way = |(at, (name, timing)): (usize, &(&str, Timing))| {
        json!({
            "way": name, "runs": timing.runs, "p25_ms": timing.p25_ms, "p50_ms": timing.p50_ms, "p75_ms": timing.p75_ms,
            "loss": line.losses[at],
        })
    };
    let ways: Vec<_> = line.ways.iter().enumerate().map(way).collect();
    json!({
        "choice": line.choice, "layer": line.layer, "ways": ways,
        "built_in": line.ways[line.built_in].0, "built_in_loss": line.losses[line.built_in],
        "fitted": line.ways[line.fitted].0, "fitted_loss": line.losses[line.fitted],
        "others": line.others,
    })
}

/// A table for each choice.
fn tables(lines: &[Line]) -> anyhow::Result<()> {
    for lines in lines.chunk_by(|a, b| a.choice == b.choice) {
        // Layers that some way cannot compute have fewer.
        let ways = lines.iter().max_by_key(|line| line.ways.len());
        let ways = ways.map_or(&[][..], |line| &line.ways);
        let columns: Vec<String> = ways.iter().map(|(name, _)| format!("{name}>")).collect();
        let mut names = vec![lines[0].choice];
        names.extend(columns.iter().map(String::as_str));
        names.extend(["built in", "loses>", "these", "loses>"]);
        let mut table = Columns::new(&names);
        for line in lines {
            let mut row = vec![line.layer.clone()];
            for (name, _) in ways {
                let own = line.ways.iter().find(|(own, _)| own == name);
                row.push(own.map_or(String::new(), |(_, timing)| show(timing)));
            }
            for pick in [line.built_in, line.fitted] {
                row.push(line.ways[pick].0.into());
                row.push(percent(line.losses[pick]));
            }
            table.row(row);
        }
        table.print()?;
        let [built_in, fitted] = mean_losses(lines).map(percent);
        out::print(&format!("mean: built in {built_in}, these {fitted}\n"))?;
    }
    eprintln!(
        "medians, and half of what lies between the quartiles; lost is what a pick takes more than the quickest way, nothing where quartiles overlap"
    );
    Ok(())
}

fn show(timing: &Timing) -> String {
    let spread = (timing.p75_ms - timing.p25_ms) / 2.0 / timing.p50_ms;
    format!("{} ±{}", show_time(timing.p50_ms), percent(spread))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
