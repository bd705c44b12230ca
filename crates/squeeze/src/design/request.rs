//! What a design is asked for.

use serde::{Deserialize, Serialize};
use squeeze_data::{Columns, OpenOptions};
use squeeze_tensor::Seed;

/// A data set, a device, limits and a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Name or path of the data set.
    pub data: String,
    /// Names of the columns of a table, where the usual ones do not fit.
    #[serde(default)]
    pub columns: Columns,
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
    /// How much lower the accuracy in bytes may be where they are quicker; nothing where only single precision is asked for.
    #[serde(default)]
    pub int8_loss: Option<f64>,
}

impl Request {
    /// Whether a network that takes `p90_ms` and works in `peak_bytes` is within the limits.
    pub fn allows(&self, p90_ms: f64, peak_bytes: usize) -> bool {
        let memory = self.memory.unwrap_or(u64::MAX);
        p90_ms <= self.p90_ms && peak_bytes as u64 <= memory
    }

    /// The loss of accuracy up to which bytes are offered: on this machine alone, since another's time in bytes is not known.
    pub fn offers_bytes(&self) -> Option<f64> {
        self.int8_loss.filter(|_| self.device == "here")
    }

    /// How the data is opened.
    pub fn opening(&self) -> OpenOptions {
        OpenOptions {
            columns: self.columns.clone(),
            seed: Seed(self.seed),
            ..OpenOptions::default()
        }
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            data,
            columns,
            device,
            p90_ms,
            memory,
            minutes,
            threads,
            seed,
            int8_loss,
        } = self;
        let memory = memory.map_or(String::new(), |bytes| format!(", {bytes} B"));
        let named = columns.named().into_iter();
        let columns: String = named
            .map(|(option, name)| format!(" {option} {name}"))
            .collect();
        write!(
            f,
            "{data}{columns} on {device} within {p90_ms} ms{memory}, {minutes} min, {threads} threads, \
             seed {seed}, {}",
            match int8_loss {
                Some(loss) => format!("int8 up to {} points below f32", 100.0 * loss),
                None => "f32 alone".into(),
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"data": "d", "device": "here", "p90_ms": 1.5, "memory": null,
        "minutes": 6.0, "threads": 1, "seed": 0}"#;

    #[test]
    fn a_request_without_columns_is_read() {
        let request: Request = serde_json::from_str(OLD).expect("a request");
        assert_eq!(request.columns, Columns::default());
        let shown = "d on here within 1.5 ms, 6 min, 1 threads, seed 0, f32 alone";
        assert_eq!(request.to_string(), shown);
    }

    #[test]
    fn columns_are_kept_and_shown() {
        let mut request: Request = serde_json::from_str(OLD).expect("a request");
        request.columns.label = Some("kind".into());
        let text = serde_json::to_string(&request).expect("text");
        let again: Request = serde_json::from_str(&text).expect("a request");
        assert_eq!(again, request);
        let shown = request.to_string();
        assert!(
            shown.starts_with("d --label-column kind on here"),
            "{shown}"
        );
    }
}
