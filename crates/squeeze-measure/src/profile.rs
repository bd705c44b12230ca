//! A device's profile: measured time of blocks by operator and shape. Data, not code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use squeeze_graph::{Graph, Op};
use thiserror::Error;

use crate::machine::{Machine, today};
use crate::timing::Timing;

/// Measured times of one machine at one thread count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Day of the measurement, UTC.
    pub date: String,
    /// Threads that each block ran on.
    pub threads: usize,
    /// Where it was measured.
    pub machine: Machine,
    /// Blocks by [`key`].
    #[serde(default)]
    pub entries: BTreeMap<String, Entry>,
}

/// One measured block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its operators and the shape it takes, for people.
    pub what: String,
    /// Multiply-adds.
    pub macs: u64,
    /// Time with spread.
    pub timing: Timing,
}

/// Why a profile is of no use.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no profile.
    #[error("{}: {reason}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What the reader says, with the line.
        reason: String,
    },
    /// A block was not measured.
    #[error(
        "the profile has no entry for {missing} of {all} blocks of the space, the first is \
         {what}: measure the space on the device"
    )]
    Missing {
        /// Blocks without an entry.
        missing: usize,
        /// Blocks of the space.
        all: usize,
        /// The first of them.
        what: String,
    },
    /// A block cannot be compiled.
    #[error("{what}: {reason}")]
    Block {
        /// The block.
        what: String,
        /// What the compiler says.
        reason: String,
    },
    /// The caller did not want to go on.
    #[error("measuring was stopped: the blocks so far are in the profile, measure again to go on")]
    Stopped,
}

impl Profile {
    /// An empty profile of this machine.
    pub fn here(threads: usize) -> Self {
        let machine = Machine::here();
        Self {
            date: today(),
            threads,
            machine,
            entries: BTreeMap::new(),
        }
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// When the file cannot be read or is no profile.
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        let text = std::fs::read_to_string(path).map_err(|source| ProfileError::File {
            path: path.into(),
            source,
        })?;
        toml::from_str(&text).map_err(|error| ProfileError::Text {
            path: path.into(),
            reason: error.to_string(),
        })
    }

    /// The profile as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every entry has a text form")
    }
}

/// What identifies a block on any machine: its operators, attributes and shapes, not its names.
pub fn key(block: &Graph) -> String {
    let mut text = String::new();
    for node in block.nodes() {
        let inputs: Vec<usize> = node.inputs.iter().map(|id| id.0).collect();
        let op = serde_json::to_string(&node.op).expect("every operator has a text form");
        text.push_str(&format!("{op}{inputs:?};"));
    }
    // FNV-1a.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// The block's operators and the shape it takes, for people.
pub fn describe(block: &Graph) -> String {
    let computes = |op: &Op| !matches!(op, Op::Input(_) | Op::Dropout(_));
    let ops: Vec<_> = block
        .nodes()
        .iter()
        .map(|n| &n.op)
        .filter(|op| computes(op))
        .map(Op::name)
        .collect();
    let ops = if ops.is_empty() {
        "nothing".into()
    } else {
        ops.join(" ")
    };
    format!("{} {ops} {:?}", block.name(), block.nodes()[0].shape)
}

#[cfg(test)]
mod tests {
    use squeeze_graph::ops::{Activation, Linear};
    use squeeze_graph::{Builder, Element};

    use super::*;

    fn block(name: &str, node: &str, out: usize) -> Graph {
        let mut b = Builder::new(name);
        let x = b.input("x", &[1, 8], Element::Number).expect("fits");
        let y = b.add(node, Linear::dense(out), &[x]).expect("fits");
        let y = b.add("act", Activation::Relu, &[y]).expect("fits");
        b.finish(&[y]).expect("one output")
    }

    #[test]
    fn keys_follow_the_work_and_not_the_names() {
        assert_eq!(key(&block("a", "linear", 8)), key(&block("b", "dense", 8)));
        assert_ne!(
            key(&block("a", "linear", 8)),
            key(&block("a", "linear", 16))
        );
        assert_eq!(
            describe(&block("a", "linear", 8)),
            "a linear activation [1, 8]"
        );
    }

    #[test]
    fn files_round_trip() {
        let mut profile = Profile::here(1);
        let timing = Timing::from_runs(vec![std::time::Duration::from_millis(3)], None);
        let entry = Entry {
            what: "x".into(),
            macs: 64,
            timing,
        };
        profile.entries.insert("0123456789abcdef".into(), entry);
        let folder = std::env::temp_dir().join(format!("squeeze-profile-{}", std::process::id()));
        std::fs::write(&folder, profile.to_toml()).expect("a writable temporary folder");
        assert_eq!(Profile::load(&folder).expect("own file"), profile);
        std::fs::remove_file(&folder).expect("it was written");
        assert!(matches!(
            Profile::load(&folder),
            Err(ProfileError::File { .. })
        ));
    }
}
