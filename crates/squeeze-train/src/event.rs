//! What a run tells while it goes on; the same goes into `log.jsonl`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The number of steps was decided, or changed because steps take another time than measured.
    Planned {
        /// Steps in all.
        steps: u64,
        /// Steps of a pass over the data.
        epoch: u64,
        /// Steps from one validation to the next.
        validate_every: u64,
        /// Time of a step as measured, in seconds; absent when no time limit asked for it.
        step_seconds: Option<f64>,
    },
    /// The run goes on from a checkpoint.
    Resumed {
        /// Steps that were made.
        step: u64,
        /// Steps in all.
        steps: u64,
    },
    /// A step was made.
    Step {
        /// Its number, from 1.
        step: u64,
        /// Steps in all.
        steps: u64,
        /// Mean loss of its batch.
        loss: f32,
        /// Learning rate.
        rate: f64,
        /// Norm of the gradient before clipping.
        norm: f32,
        /// Time since the start, of all parts of the run, in seconds.
        seconds: f64,
    },
    /// The validation split was gone through.
    Validated {
        /// After this step.
        step: u64,
        /// Mean loss.
        loss: f64,
        /// Share of right answers, or the correlation when answers are numbers.
        metric: f64,
        /// Whether this is the best so far.
        best: bool,
        /// Time since the start in seconds.
        seconds: f64,
    },
    /// The run ended.
    Ended {
        /// Why.
        reason: Ending,
        /// After this step.
        step: u64,
        /// Time since the start in seconds.
        seconds: f64,
    },
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All steps were made.
    Finished,
    /// Validation did not get better for too long.
    Patience,
    /// It was asked to stop, and can go on from its folder.
    Stopped,
}

/// The log of a run, one JSON object a line.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<File>,
    every: u64,
}

impl Log {
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self, TrainError> {
        let Some(folder) = folder else {
            return Ok(Self {
                file: None,
                every: 1,
            });
        };
        let path = folder.join("log.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|source| TrainError::File { path, source })?;
        Ok(Self {
            file: Some(file),
            every: 1,
        })
    }

    /// Writes an event; of the steps about two hundred.
    pub(crate) fn write(&mut self, event: &Event) {
        match event {
            Event::Planned { steps, .. } | Event::Resumed { steps, .. } => {
                self.every = (steps / 200).max(1);
            }
            Event::Step { step, .. } if !step.is_multiple_of(self.every) => return,
            _ => {}
        }
        if let Some(file) = &mut self.file
            && let Ok(line) = serde_json::to_string(event)
        {
            // A full disk ends the run at its next checkpoint, where the error can be told.
            let _ = writeln!(file, "{line}");
        }
    }
}
