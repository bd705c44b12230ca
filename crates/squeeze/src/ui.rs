//! What a run tells while it works: one line and one bar a stage, all on stderr.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::Stopped;
use crate::units;

/// The running commentary of a command, and the user's wish to stop.
#[derive(Clone, Debug)]
pub struct Progress {
    quiet: bool,
    stop: Arc<AtomicBool>,
}

/// One stage in progress; ended with [`StageBar::done`].
#[derive(Debug)]
pub struct StageBar {
    name: String,
    quiet: bool,
    begun: Instant,
    bar: ProgressBar,
}

impl Progress {
    /// Commentary on stderr; the first Ctrl-C asks to stop, the second one ends the process.
    pub fn on_terminal() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let on_signal = move || {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            eprintln!("stopping after this step; press Ctrl-C again to end at once");
        };
        // A handler set before (in a test) stays: stopping then is that handler's affair.
        let _ = ctrlc::set_handler(on_signal);
        Self { quiet: false, stop }
    }

    /// No commentary at all, for tests and library use.
    pub fn silent() -> Self {
        Self {
            quiet: true,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    /// The flag that is set once the user asks to stop; hand it to long work.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether the user asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Ends the work at a safe place when the user asked to stop.
    ///
    /// # Errors
    /// When the user asked to stop.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.is_stopped() {
            bail!(Stopped);
        }
        Ok(())
    }

    /// A remark that stays on the screen.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", text.as_ref());
        }
    }

    /// Begins a stage of `steps` steps; 0 when nobody knows how many.
    pub fn stage(&self, name: &str, steps: u64) -> StageBar {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::hidden());
        if !self.quiet {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        }
        let form = if steps == 0 {
            "{prefix:8} {spinner} {elapsed} {msg}"
        } else {
            "{prefix:8} [{bar:28}] {pos}/{len} {elapsed} {msg}"
        };
        let style = ProgressStyle::with_template(form).expect("a valid template");
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(name.to_string());
        bar.enable_steady_tick(Duration::from_millis(250));
        StageBar {
            name: name.to_string(),
            quiet: self.quiet,
            begun: Instant::now(),
            bar,
        }
    }

    /// Says that a stage was finished by an earlier run.
    pub fn resumed(&self, name: &str, result: &str) {
        self.note(format!("{name:8} {result} (from the earlier run)"));
    }
}

impl StageBar {
    /// One more step done.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// This many steps done in all.
    pub fn at(&self, step: u64) {
        self.bar.set_position(step);
    }

    /// The number of steps turned out to be another.
    pub fn set_steps(&self, steps: u64) {
        self.bar.set_length(steps);
    }

    /// What is going on: a loss, the name of a network.
    pub fn say(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    /// Seconds since the stage began.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Ends the stage with its line of result, and gives its seconds.
    pub fn done(self, result: &str) -> f64 {
        self.bar.finish_and_clear();
        let seconds = self.seconds();
        if !self.quiet {
            let took = units::show_seconds(seconds);
            eprintln!("{:8} {result} ({took})", self.name);
        }
        seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_is_an_error_that_says_how_to_go_on() {
        let progress = Progress::silent();
        progress.check().expect("nobody asked to stop");
        progress.stop_flag().store(true, Ordering::SeqCst);
        let error = progress.check().expect_err("asked to stop").to_string();
        assert!(error.contains("the same command goes on"), "{error}");
    }

    #[test]
    fn a_stage_counts_its_seconds() {
        let stage = Progress::silent().stage("inspect", 2);
        stage.step();
        stage.say("half");
        assert!(stage.done("fine") >= 0.0);
    }
}
