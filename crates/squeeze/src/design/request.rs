//! What a design is asked for.

use serde::{Deserialize, Serialize};

/// A data set, a device, limits and a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Name or path of the data set.
    pub data: String,
    /// `here`, or the path of a device's profile.
    pub device: String,
    /// Limit of the 90th percentile of the time of one inference, in milliseconds.
    pub p90_ms: f64,
    /// Limit of the peak working memory in bytes: activations and kernel scratch, without weights.
    pub memory: Option<u64>,
    /// Wall time of all stages together, in minutes.
    pub minutes: f64,
    /// Threads of an inference on the device.
    pub threads: usize,
    /// Seed of everything random.
    pub seed: u64,
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            data,
            device,
            p90_ms,
            memory,
            minutes,
            threads,
            seed,
        } = self;
        let memory = memory.map_or(String::new(), |bytes| format!(", {bytes} B"));
        write!(
            f,
            "{data} on {device} within {p90_ms} ms{memory}, {minutes} min, {threads} threads, \
             seed {seed}"
        )
    }
}
