//! What a run of `squeeze design` found out, as plain facts: the report is drawn from this alone.
//!
//! The record is saved as `record.json` in the run's folder, so that a report can be drawn again
//! and several runs can be compared. Times are milliseconds, sizes bytes, metrics fractions of 1.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Everything a report says about one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of Squeeze that made it.
    pub version: String,
    /// The command as it was typed.
    pub command: String,
    /// When the run began, UTC: `2026-11-23 21:40`.
    pub started: String,
    /// Wall seconds of the whole run, over all its parts when it was resumed.
    pub seconds: f64,
    /// Seed that every random number follows from.
    pub seed: u64,
    /// Name of the search space.
    pub space: String,
    /// How many networks the space holds.
    pub space_size: f64,
    /// What it ran on.
    pub machine: Machine,
    /// What it learned from.
    pub data: DataFacts,
    /// What was asked for, and whether it was met.
    pub limits: Vec<Limit>,
    /// What was done, in order.
    pub stages: Vec<Stage>,
    /// Every network that was evaluated.
    pub candidates: Vec<Candidate>,
    /// Index into `candidates` of the network that was exported.
    pub winner: Option<usize>,
    /// The exported model file, relative to the run's folder.
    pub model: Option<String>,
    /// The winner's steps as the plan runs them.
    pub layers: Vec<Layer>,
    /// The winner beside hand-designed networks.
    pub comparisons: Vec<Comparison>,
    /// The linear classifier that a text design is held against.
    #[serde(default)]
    pub linear: Option<Linear>,
    /// The winner in each precision that was measured.
    #[serde(default)]
    pub forms: Vec<Form>,
    /// Indices into `candidates` of networks that were trained with the winner's recipe and time.
    #[serde(default)]
    pub trained_alike: Vec<usize>,
    /// Wall seconds of these trainings, which `seconds` does not hold.
    #[serde(default)]
    pub extra_seconds: f64,
    /// What the search cost and whether it was worth it.
    pub search: Option<SearchFacts>,
    /// Anything the reader should know: skipped files, noisy measurements, corrected tables.
    pub notes: Vec<String>,
}

/// The machine of the measurements.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the device: `here`, or its profile's name.
    pub name: String,
    /// What the processor calls itself.
    pub cpu: String,
    /// Cores that may be used.
    pub cores: usize,
    /// Threads of the measured plans.
    pub threads: usize,
    /// Kernel tier: `avx512`.
    pub tier: String,
    /// Memory of the machine in bytes.
    pub memory_bytes: u64,
    /// Operating system and architecture: `linux x86_64`.
    pub system: String,
}

/// What inspecting the data found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataFacts {
    /// Name of an embedded set, or its folder.
    pub name: String,
    /// `classify text`, `classify image`.
    pub task: String,
    /// Names of the classes, in the order of the outputs.
    pub classes: Vec<String>,
    /// Training examples of each class.
    pub class_counts: Vec<usize>,
    /// Training, validation and test examples.
    pub examples: [usize; 3],
    /// How the split was made: `given`, or `stratified, seed 0`.
    pub split: String,
    /// Size of an example: `28 x 28, 1 channel`, or `64 tokens hold 95 % of the texts`.
    pub sizes: String,
    /// What was wrong with it, with file and line.
    pub problems: Vec<String>,
}

/// One limit of the user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// `p90 latency` or `peak memory`.
    pub name: String,
    /// `ms` or `bytes`.
    pub unit: String,
    /// At most this.
    pub limit: f64,
    /// What the exported file showed.
    pub measured: Option<f64>,
}

impl Limit {
    /// Whether it was shown to be met.
    pub fn is_met(&self) -> bool {
        self.measured.is_some_and(|value| value <= self.limit)
    }
}

/// One stage of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// `inspect`, `measure`, `search`, `control`, `train`, `prove`.
    pub name: String,
    /// Wall seconds.
    pub seconds: f64,
    /// What came out, in one line.
    pub result: String,
    /// Whether it was taken over from an earlier, interrupted run.
    pub resumed: bool,
}

/// Where a candidate comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Picked by the supernet.
    #[default]
    Supernet,
    /// Picked at random, as the control.
    Random,
    /// Designed by hand.
    Reference,
}

impl Origin {
    /// What the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Supernet => "supernet",
            Self::Random => "random search",
            Self::Reference => "hand-designed",
        }
    }
}

/// A network that was evaluated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// What the report calls it.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The choice in each slot: `["e4g2", "skip", ..]`; empty for a reference.
    pub picks: Vec<String>,
    /// Fraction of the evaluated examples that it gets right.
    pub accuracy: f64,
    /// What the accuracy was measured on, and after how much training: `validation, 3 epochs`.
    pub accuracy_on: String,
    /// 95 % confidence interval of it, where it was measured on the test split.
    #[serde(default)]
    pub ci95: Option<[f64; 2]>,
    /// Training seconds that went into it.
    pub train_seconds: f64,
    /// What the op table predicts.
    pub predicted_ms: Option<f64>,
    /// What the whole network took.
    pub timing: Option<Timing>,
    /// Multiply-adds.
    pub macs: u64,
    /// Trained numbers.
    pub params: u64,
    /// Peak working memory.
    pub peak_bytes: u64,
}

/// A measured time with its spread, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Runs that were timed.
    pub runs: usize,
    /// Threads of the plan.
    pub threads: usize,
    /// The quickest run.
    pub min_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// Nine of ten runs are at most this.
    pub p90_ms: f64,
    /// 99 of 100 runs are at most this.
    pub p99_ms: f64,
    /// Whether other processes used the cores meanwhile.
    pub disturbed: bool,
}

/// One step of the winner's plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Name of the node that gives the step's result.
    pub name: String,
    /// Kind of layer, e.g. `linear`, `conv2d`, `attention`; fused parts follow after `+`.
    pub kind: String,
    /// Kernel that runs it.
    pub kernel: String,
    /// Multiply-adds.
    pub macs: u64,
    /// Median time.
    pub ms: f64,
}

/// The winner beside another network, measured in interleaved pairs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The other network's name.
    pub reference: String,
    /// FLOPs of the reference over FLOPs of the winner.
    pub flop_ratio: f64,
    /// Time of the reference over time of the winner: median of the pairs.
    pub time_ratio: f64,
    /// First and third quartile of the pairs' ratios.
    pub quartiles: [f64; 2],
    /// Number of pairs.
    pub pairs: usize,
    /// Test accuracy of the reference at the same training budget.
    pub accuracy: Option<f64>,
    /// 95 % confidence interval of it.
    #[serde(default)]
    pub ci95: Option<[f64; 2]>,
}

/// The winner in one precision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Form {
    /// What its products are made of: `f32`, `int8`.
    pub precision: String,
    /// Accuracy on the validation split.
    pub accuracy: f64,
    /// What one inference takes, measured beside the others.
    pub timing: Timing,
    /// Peak working memory.
    pub peak_bytes: u64,
    /// Bytes of its weights.
    pub weight_bytes: u64,
    /// Whether it is the one in the file.
    pub is_exported: bool,
}

/// A linear classifier of the same data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    /// `TF-IDF + linear`.
    pub name: String,
    /// Accuracy on the test split.
    pub accuracy: f64,
    /// 95 % confidence interval of it.
    pub ci95: [f64; 2],
    /// Test examples.
    pub examples: usize,
    /// Seconds of fitting and testing it.
    pub seconds: f64,
    /// These seconds over the time that the design was given.
    pub share: f64,
}

/// What the search cost, and the control.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchFacts {
    /// Seconds of the supernet search and of the short trainings of its choices.
    pub seconds: f64,
    /// Seconds of one full training of the winner.
    pub training_seconds: f64,
    /// Seconds that the random search was given.
    pub control_seconds: f64,
    /// Best validation accuracy of the supernet's choices after their short trainings, one value a seed.
    pub chosen: Vec<f64>,
    /// Accuracy of the best random network within the limit, one value a seed.
    pub random: Vec<f64>,
    /// Test accuracy of the supernet's best choice after a full training, where it had one.
    #[serde(default)]
    pub chosen_test: Option<f64>,
    /// Test accuracy of the best random network after a full training, where it had one.
    #[serde(default)]
    pub random_test: Option<f64>,
}

impl SearchFacts {
    /// Takes the test accuracy of a fully trained network of one side.
    pub fn test(&mut self, origin: Origin, accuracy: f64) {
        match origin {
            Origin::Supernet => self.chosen_test = Some(accuracy),
            Origin::Random => self.random_test = Some(accuracy),
            Origin::Reference => {}
        }
    }

    /// The search as a multiple of one training of the winner.
    pub fn multiple(&self) -> Option<f64> {
        (self.training_seconds > 0.0).then(|| self.seconds / self.training_seconds)
    }
}

impl RunRecord {
    /// Name of the record in a run's folder.
    pub const FILE: &str = "record.json";

    /// The network that was exported.
    pub fn winner(&self) -> Option<&Candidate> {
        self.candidates.get(self.winner?)
    }

    /// The precision that the exported file runs in.
    pub fn precision(&self) -> &str {
        let exported = self.forms.iter().find(|form| form.is_exported);
        exported.map_or("f32", |form| &form.precision)
    }

    /// Whether every limit was shown to be met.
    pub fn meets_limits(&self) -> bool {
        self.limits.iter().all(Limit::is_met)
    }

    /// Reads the record of a run's folder.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(Self::FILE);
        let text = std::fs::read_to_string(&path).with_context(|| {
            let folder = folder.display();
            format!(
                "{folder} is not a finished run: it has no readable {}",
                Self::FILE
            )
        })?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Writes the record into a run's folder; either all of it or nothing.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        crate::folder::write(&folder.join(Self::FILE), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_a_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let record = RunRecord {
            command: "squeeze design --data spam".into(),
            candidates: vec![Candidate::default()],
            winner: Some(0),
            limits: vec![Limit {
                limit: 1.0,
                measured: Some(0.5),
                ..Limit::default()
            }],
            ..RunRecord::default()
        };
        record.save(folder.path()).expect("writable");
        let read = RunRecord::load(folder.path()).expect("just written");
        assert_eq!(read, record);
        assert!(read.meets_limits() && read.winner().is_some());
    }

    #[test]
    fn a_limit_without_a_measurement_is_not_met() {
        assert!(
            !Limit {
                limit: 1.0,
                ..Limit::default()
            }
            .is_met()
        );
    }

    #[test]
    fn another_folder_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = RunRecord::load(folder.path()).expect_err("empty folder");
        assert!(error.to_string().contains("not a finished run"), "{error}");
    }
}
