//! The commands, one a file, and how the command line is read.

mod columns;
mod compress;
mod cost;
mod design;
mod device;
mod eval;
mod export;
mod import;
mod list;
mod measure;
mod measure_kernels;
mod report;
mod run;
mod show;
mod train;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{self, Outcome};

/// Takes a data set and a device, and gives a small network that is measured to meet its limit there.
#[derive(Debug, Parser)]
#[command(name = "squeeze", version, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The main job: data and a device in, a small network proven to meet its limit out
    Design(design::Args),
    /// What there is: models, data, spaces, devices, kernels
    List(list::Args),
    /// A network's nodes, or the steps of its plan on this machine
    Show(show::Args),
    /// A network's parameters, multiply-adds and memory, without running it
    Cost(cost::Args),
    /// A network's time on this machine, or the machine's profile
    Measure(measure::Args),
    /// One network trained on data, from a name, a file or a recipe
    Train(train::Args),
    /// How well a model does on data
    Eval(eval::Args),
    /// What a model says to a text or to images
    Run(run::Args),
    /// A network or weights of other programs as a model file
    Import(import::Args),
    /// A model with most of its weights zero, as a model file
    Compress(compress::Args),
    /// A model for other programs: its weights, or an ONNX file
    Export(export::Args),
    /// The reports of finished designs, drawn again, and the designs side by side
    Report(report::Args),
    /// One network in one process, driven over stdin and stdout by a benchmark
    Worker(worker::Args),
}

/// Says what a model says to a text or to images. Runs files that `squeeze` made and holds nothing that makes them
#[derive(Debug, Parser)]
#[command(name = "squeeze-run", version, arg_required_else_help = true)]
struct RunLine {
    #[command(flatten)]
    question: run::Question,
}

/// Runs the command line of the program that only runs models; as [`main`].
pub fn run_only() -> ExitCode {
    error::finish(run::run_here(&RunLine::parse().question))
}

/// Runs the command line and gives the exit status: 0 done, 1 the answer is no, 2 error.
pub fn main() -> ExitCode {
    let line = Line::parse();
    let result: anyhow::Result<Outcome> = match &line.command {
        Command::Design(args) => design::run(args),
        Command::List(args) => list::run(args),
        Command::Show(args) => show::run(args),
        Command::Cost(args) => cost::run(args),
        Command::Measure(args) => measure::run(args),
        Command::Train(args) => train::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Run(args) => run::run(args),
        Command::Import(args) => import::run(args),
        Command::Compress(args) => compress::run(args),
        Command::Export(args) => export::run(args),
        Command::Report(args) => report::run(args),
        Command::Worker(args) => worker::run(args),
    };
    error::finish(result)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_do_not_clash() {
        Line::command().debug_assert();
        RunLine::command().debug_assert();
    }
}
