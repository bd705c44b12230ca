//! `squeeze run` alone: a small program for where models are used.

fn main() -> std::process::ExitCode {
    squeeze::commands::run_only()
}
