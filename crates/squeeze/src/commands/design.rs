//! `squeeze design`, the main job: a data set and a device in, a small network proven to meet its limit out.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::columns::ColumnArgs;
use crate::design::{self, Request};
use crate::error::Outcome;
use crate::record::{Limit, RunRecord};
use crate::ui::Progress;
use crate::units::{self, show_size, show_time};
use crate::{out, report};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name from `squeeze list data`; a folder of image folders; or a folder with train.csv,
    /// .tsv or .jsonl whose columns are text (and pair) and label
    #[arg(long, value_name = "NAME|DIR")]
    data: String,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Where the network will run: `here`, or a profile made by `squeeze measure --profile` or `--kernels`; one of this machine is
    /// `here` too, with its prices of kernels
    #[arg(long, default_value = "here", value_name = "here|FILE")]
    device: String,
    /// The limit: nine of ten runs take at most this long
    #[arg(long, value_name = "TIME", value_parser = units::time)]
    p90: Duration,
    /// Most working memory, weights aside
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    memory: Option<u64>,
    /// Wall time of the whole job
    #[arg(long, default_value = "10", value_name = "MINUTES", value_parser = units::positive)]
    minutes: f64,
    /// Threads of the network on the device
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    threads: u8,
    /// Seed that every random number follows from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Export the network in single precision, and do not try it in bytes
    #[arg(long, value_name = "f32", value_parser = ["f32"])]
    precision: Option<String>,
    /// Points of validation accuracy that bytes may cost where they are quicker
    #[arg(long, value_name = "POINTS", default_value = "0.5", value_parser = units::points, conflicts_with = "precision")]
    int8_loss: f64,
    /// Folder of the run; the same command on the same folder goes on where it was stopped
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Also train the references and the best network of the other search as the winner was, beyond
    /// the time of --minutes
    #[arg(long)]
    compare: bool,
    /// The result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let folder = args
        .output
        .clone()
        .unwrap_or_else(|| default_folder(&args.data));
    let request = Request {
        data: args.data.clone(),
        columns: args.columns.columns(),
        device: args.device.clone(),
        p90_ms: 1e3 * args.p90.as_secs_f64(),
        memory: args.memory,
        minutes: args.minutes,
        threads: usize::from(args.threads),
        seed: args.seed,
        int8_loss: args.precision.is_none().then_some(args.int8_loss / 100.0),
    };
    let page = folder.join(report::FILE);
    let mut publish = |record: &RunRecord| {
        let record = RunRecord {
            command: command_line(),
            ..record.clone()
        };
        record.save(&folder)?;
        Ok(squeeze_formats::write(
            &page,
            report::html(&record).as_bytes(),
        )?)
    };
    let progress = Progress::on_terminal();
    let record = design::design(
        request,
        folder.clone(),
        progress,
        args.compare,
        &mut publish,
    )?;
    eprintln!("report   {}", page.display());
    tell(args, &folder, &record)?;
    let met = record.winner().is_some() && record.meets_limits();
    Ok(if met { Outcome::Done } else { Outcome::No })
}

/// The last line: where the model is and what it was shown to do.
fn tell(args: &Args, folder: &std::path::Path, record: &RunRecord) -> anyhow::Result<()> {
    let model = record.model.as_ref().map(|model| folder.join(model));
    let winner = record.winner();
    let timing = winner.and_then(|winner| winner.timing);
    if args.json {
        return out::json(&json!({
            "model": model, "data": args.data, "device": args.device, "metric": "accuracy",
            "value": winner.map(|winner| winner.accuracy), "limit_ms": 1e3 * args.p90.as_secs_f64(),
            "p90_ms": timing.map(|timing| timing.p90_ms), "peak_bytes": winner.map(|winner| winner.peak_bytes),
            "seconds": record.seconds, "precision": record.precision(),
        }));
    }
    let (Some(model), Some(winner), Some(timing)) = (model, winner, timing) else {
        return out::print("no network within the limits");
    };
    let missed: Vec<&str> = record
        .limits
        .iter()
        .filter(|limit| !limit.is_met())
        .map(name)
        .collect();
    let missed = if missed.is_empty() {
        String::new()
    } else {
        format!("; not met: {}", missed.join(", "))
    };
    let precision = match record.precision() {
        "f32" => String::new(),
        other => format!(", in {other}"),
    };
    out::print(&format!(
        "{}: accuracy {:.2} %, p90 {}, {} working memory{precision}{missed}",
        model.display(),
        100.0 * winner.accuracy,
        show_time(timing.p90_ms),
        show_size(winner.peak_bytes),
    ))
}

fn name(limit: &Limit) -> &str {
    &limit.name
}

/// `out/NAME` of the data's name or its folder's.
fn default_folder(data: &str) -> PathBuf {
    let name = std::path::Path::new(data).file_name();
    PathBuf::from("out").join(name.unwrap_or("design".as_ref()))
}

/// The command as it was typed, without the program's path.
fn command_line() -> String {
    let quoted = |word: String| match word.contains(' ') {
        true => format!("'{word}'"),
        false => word,
    };
    let words: Vec<String> = std::env::args().skip(1).map(quoted).collect();
    format!("squeeze {}", words.join(" "))
}
