//! A device's profile: measured time of blocks by operator and shape. Data, not code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use squeeze_graph::{Graph, Op};
use squeeze_infer::{Prices, Target};
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
    /// By which plans pick kernels, if they were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
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
    /// The prices of kernels are for other instructions.
    #[error(
        "its prices are of kernels for {own}, this machine has {here}: measure its own with `squeeze measure --kernels`"
    )]
    Tier {
        /// Instructions of the machine they were measured on.
        own: String,
        /// Instructions of this one.
        here: &'static str,
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
            prices: None,
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
        let problem = |reason: String| ProfileError::Text {
            path: path.into(),
            reason,
        };
        let table: toml::Table =
            toml::from_str(&text).map_err(|error| problem(error.to_string()))?;
        if let Some(prices) = table.get("prices") {
            check_prices("prices", prices).map_err(problem)?;
        }
        toml::from_str(&text).map_err(|error| problem(error.to_string()))
    }

    /// This machine with so many threads, by the profile's prices where it has some.
    ///
    /// # Errors
    /// When they are those of kernels for other instructions.
    pub fn target(&self, threads: usize) -> Result<Target, ProfileError> {
        let target = Target::here(threads);
        let Some(prices) = self.prices else {
            return Ok(target);
        };
        if self.machine.tier != target.tier.name() {
            return Err(ProfileError::Tier {
                own: self.machine.tier.clone(),
                here: target.tier.name(),
            });
        }
        Ok(target.with_prices(prices))
    }

    /// The profile as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every entry has a text form")
    }
}

/// Says which price is none.
fn check_prices(name: &str, value: &toml::Value) -> Result<(), String> {
    match value {
        toml::Value::Table(table) => table
            .iter()
            .try_for_each(|(key, value)| check_prices(&format!("{name}.{key}"), value)),
        toml::Value::Array(values) => values.iter().try_for_each(|v| check_prices(name, v)),
        toml::Value::Float(price) if !(price.is_finite() && *price >= 0.0) => Err(format!(
            "{name}: {price} is no price, which is a number and not below 0"
        )),
        toml::Value::Integer(price) if *price < 0 => Err(format!(
            "{name}: {price} is no price, which is a number and not below 0"
        )),
        // What has no number where one belongs is seen when it is read.
        _ => Ok(()),
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

    /// What a file of this text is read as.
    fn read(name: &str, text: &str) -> Result<Profile, ProfileError> {
        let name = format!("squeeze-profile-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a writable temporary folder");
        let profile = Profile::load(&path);
        std::fs::remove_file(&path).expect("it was written");
        assert!(matches!(
            Profile::load(&path),
            Err(ProfileError::File { .. })
        ));
        profile
    }

    fn full() -> Profile {
        let mut profile = Profile::here(1);
        let timing = Timing::from_runs(vec![std::time::Duration::from_millis(3)], None);
        let entry = Entry {
            what: "x".into(),
            macs: 64,
            timing,
        };
        profile.entries.insert("0123456789abcdef".into(), entry);
        profile
    }

    #[test]
    fn files_round_trip() {
        let mut profile = full();
        let text = profile.to_toml();
        assert!(
            !text.contains("prices"),
            "as files were before there were prices"
        );
        assert_eq!(read("plain", &text).expect("own file"), profile);
        let mut prices = Target::here(1).prices;
        prices.winograd.two.number = 1.0 / 3.0;
        prices.tiles.f16 = None;
        profile.prices = Some(prices);
        let again = read("prices", &profile.to_toml()).expect("own file");
        assert_eq!(again, profile);
        assert_eq!(again.target(2).expect("own kernels").prices, prices);
        assert_eq!(again.target(2).expect("own kernels").threads, 2);
    }

    #[track_caller]
    fn refused(name: &str, (from, to): (&str, &str), wanted: &str) {
        let mut profile = full();
        profile.prices = Some(Target::here(1).prices);
        let text = profile.to_toml();
        assert!(text.contains(from), "{from}");
        let error = read(name, &text.replacen(from, to, 1))
            .expect_err(to)
            .to_string();
        assert!(error.contains(wanted), "{error}");
    }

    #[test]
    fn prices_that_are_none() {
        let price = |to: &'static str| ("number = 12.0", to);
        let wanted = "prices.winograd.two.number: -1 is no price";
        refused("below", price("number = -1.0"), wanted);
        refused("whole", price("number = -1"), wanted);
        refused(
            "nan",
            price("number = nan"),
            "prices.winograd.two.number: NaN",
        );
        refused(
            "inf",
            price("number = inf"),
            "prices.winograd.two.number: inf",
        );
        refused("text", price("number = \"dear\""), "invalid type");
        refused("missing", price(""), "missing field `number`");
        refused(
            "unknown",
            price("number = 12.0\nx = 1.0"),
            "unknown field `x`",
        );
        let list = "dense = [1.0, 0.0, 5.0]";
        let wanted = "prices.sparse.f32.dense: -5 is no price";
        refused("list", (list, "dense = [1.0, 0.0, -5.0]"), wanted);
        refused("short", (list, "dense = [1.0, 0.0]"), "invalid length");
        let below = "prices.bytes.product.inputs: -16 is no price";
        refused("size", ("inputs = 16", "inputs = -16"), below);
        refused("part", ("inputs = 16", "inputs = 1.5"), "invalid type");
    }

    #[test]
    fn prices_of_other_kernels() {
        let mut profile = full();
        profile.machine.tier = "another".into();
        assert!(profile.target(1).is_ok(), "it has none");
        profile.prices = Some(Target::here(1).prices);
        let error = profile.target(1).expect_err("other kernels").to_string();
        assert!(error.contains("kernels for another"), "{error}");
    }
}
