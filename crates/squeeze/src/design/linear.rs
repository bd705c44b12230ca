//! The cheap control of a text design: TF-IDF and a linear classifier, on the same split.

use std::time::Instant;

use anyhow::Result;
use squeeze_data::Baseline;
use squeeze_tensor::Seed;

use super::stage::Context;
use crate::ready::Ready;
use crate::record::Linear;

/// Whether the control can do what is asked for.
pub fn applies(ready: &Ready) -> bool {
    ready.set.task.is_classification() && !ready.set.task.is_image()
}

/// Fits the control on the training and validation splits and scores it on the test split.
///
/// # Errors
/// When the data cannot be learned from.
pub fn control(context: &Context, ready: &Ready) -> Result<(Linear, String)> {
    let begun = Instant::now();
    let score = Baseline::score(&ready.set, Seed(context.request.seed))?;
    let seconds = begun.elapsed().as_secs_f64();
    let linear = Linear {
        name: "TF-IDF + linear".into(),
        accuracy: score.value,
        ci95: score.ci95,
        examples: score.n,
        seconds,
        share: seconds / (60.0 * context.request.minutes),
    };
    let result = format!(
        "{}: test accuracy {:.2} % of {} ({:.2}-{:.2}), {:.1} % of the time",
        linear.name,
        100.0 * linear.accuracy,
        linear.examples,
        100.0 * linear.ci95[0],
        100.0 * linear.ci95[1],
        100.0 * linear.share
    );
    Ok((linear, result))
}
