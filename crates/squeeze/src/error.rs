//! How a command ends: the exit status, errors on one line, and what a mistyped name may have meant.

use std::io::ErrorKind;
use std::process::ExitCode;

/// What a command that worked has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, exit status 0.
    Done,
    /// The answer is no, e.g. a limit is not met; exit status 1.
    No,
}

/// No network meets the limits: the answer is no, with the figures.
#[derive(Debug)]
pub struct NoNetwork(pub String);

impl std::fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoNetwork {}

/// The user pressed Ctrl-C, and the work ended at a safe place; exit status 130, as shells have it.
#[derive(Debug)]
pub struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped; the same command goes on from here")
    }
}

impl std::error::Error for Stopped {}

/// Prints an error as one line on stderr and gives the exit status.
pub fn finish(result: anyhow::Result<Outcome>) -> ExitCode {
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("squeeze: {}", one_line(&error));
            ExitCode::from(if error.is::<NoNetwork>() {
                1
            } else if error.is::<Stopped>() {
                130
            } else {
                2
            })
        }
    }
}

/// The error with its causes; a cause that its successor repeats is told once. What helps against a
/// full disk is said here, whatever was being written.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(cause.trim_end());
        }
    }
    if error.chain().any(is_full_disk) {
        line.push_str(": free some space there, then the same command goes on");
    }
    line.replace('\n', " ")
}

fn is_full_disk(cause: &(dyn std::error::Error + 'static)) -> bool {
    let io = cause.downcast_ref::<std::io::Error>();
    let kind = io.map(std::io::Error::kind);
    matches!(
        kind,
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
    )
}

/// A reader that went away, as `head` does, is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == ErrorKind::BrokenPipe)
    })
}

/// An error for a name that is not known: the nearest known one, or all of them when they are few.
pub fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> anyhow::Error {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known.iter().min_by_key(|known| distance(name, known));
    match nearest {
        Some(near) if distance(name, near) <= 1 + name.chars().count() / 3 => {
            anyhow::anyhow!("there is no {what} `{name}`: did you mean `{near}`?")
        }
        _ if known.len() <= 12 => {
            anyhow::anyhow!(
                "there is no {what} `{name}`: there are {}",
                known.join(", ")
            )
        }
        _ => anyhow::anyhow!("there is no {what} `{name}`: see `squeeze list {what}s`"),
    }
}

/// Edits between two names (Levenshtein, 1966), letter case aside.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_near_name_is_offered() {
        let known = ["squeezebert", "squeezenet1_1", "resnet18"];
        let error = unknown("model", "squezebert", known).to_string();
        assert_eq!(
            error,
            "there is no model `squezebert`: did you mean `squeezebert`?"
        );
        let error = unknown("model", "vit", known).to_string();
        assert!(
            error.ends_with("there are squeezebert, squeezenet1_1, resnet18"),
            "{error}"
        );
    }

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("Bert", "bert"), 0);
    }

    #[test]
    fn causes_on_one_line() {
        let error = Err::<(), _>(anyhow::anyhow!("no space\nleft"))
            .context("cannot write a.squeeze")
            .expect_err("an error");
        assert_eq!(one_line(&error), "cannot write a.squeeze: no space left");
    }

    #[test]
    fn a_full_disk_is_told_with_what_helps() {
        let full = std::io::Error::from(ErrorKind::StorageFull);
        let line = one_line(&anyhow::Error::new(full).context("cannot write a.squeeze"));
        assert!(line.starts_with("cannot write a.squeeze: "), "{line}");
        let remedy = ": free some space there, then the same command goes on";
        assert!(line.ends_with(remedy), "{line}");
    }
}
