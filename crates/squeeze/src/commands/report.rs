//! `squeeze report`: draws the reports of finished designs again, and puts the designs side by side.

use std::path::PathBuf;

use serde_json::json;

use crate::error::Outcome;
use crate::out::{self, Columns};
use crate::record::RunRecord;
use crate::report;
use crate::units::{show_seconds, show_size, show_time};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folders of finished designs
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let mut table = Columns::new(&[
        "run",
        "data",
        "accuracy>",
        "p50>",
        "p90>",
        "peak>",
        "limits met",
        "took>",
    ]);
    for folder in &args.runs {
        let record = RunRecord::load(folder)?;
        let path = folder.join(report::FILE);
        squeeze_formats::write(&path, report::html(&record).as_bytes())?;
        eprintln!("{}", path.display());
        let winner = record.winner();
        let timing = winner.and_then(|winner| winner.timing);
        if args.json {
            out::json(&json!({
                "run": folder, "data": record.data.name, "value": winner.map(|winner| winner.accuracy),
                "p50_ms": timing.map(|timing| timing.p50_ms), "p90_ms": timing.map(|timing| timing.p90_ms),
                "peak_bytes": winner.map(|winner| winner.peak_bytes), "met": record.meets_limits(),
                "seconds": record.seconds,
            }))?;
        }
        let shown = |value: Option<String>| value.unwrap_or("-".into());
        table.row([
            folder.display().to_string(),
            record.data.name.clone(),
            shown(winner.map(|winner| format!("{:.1} %", 100.0 * winner.accuracy))),
            shown(timing.map(|timing| show_time(timing.p50_ms))),
            shown(timing.map(|timing| show_time(timing.p90_ms))),
            shown(winner.map(|winner| show_size(winner.peak_bytes))),
            if record.meets_limits() && winner.is_some() {
                "yes".into()
            } else {
                "no".into()
            },
            show_seconds(record.seconds),
        ]);
    }
    if !args.json {
        table.print()?;
    }
    Ok(Outcome::Done)
}
