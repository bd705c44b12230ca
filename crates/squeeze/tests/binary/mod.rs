//! The binary from outside, for several tests.

use std::process::{Command, Output};

use serde_json::Value;

/// Runs it.
pub fn squeeze(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squeeze"));
    command.args(words).output().expect("the binary runs")
}

/// The JSON lines that a command prints.
#[track_caller]
pub fn lines(words: &[&str]) -> Vec<Value> {
    let output = squeeze(words);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {message}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON lines")
}

/// The command fails with status 2, says so, and prints no result.
#[track_caller]
pub fn refused(words: &[&str], wanted: &str) {
    let output = squeeze(words);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{words:?}: {message}");
    assert!(message.contains(wanted), "{words:?}: {message}");
    assert!(!message.contains("panicked"), "{message}");
    assert!(output.stdout.is_empty(), "{words:?} printed a result");
}
