//! The winner in bytes beside the winner in numbers, and which of the two is exported.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;
use squeeze_formats::ModelFile;
use squeeze_formats::model::{load, save};
use squeeze_infer::Precision;
use squeeze_measure::{Ratio, Subject, Timing};

use super::prove::beside;
use super::stage::Context;
use crate::classifier::Classifier;
use crate::quantize;
use crate::ready::Ready;
use crate::ui::StageBar;

/// Name of the network in numbers in the folder, where bytes are exported.
const NUMBERS: &str = "numbers.squeeze";

/// Training images that show the ranges.
const EXAMPLES: usize = 64;

/// The winner in one precision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Form {
    /// Name of the precision.
    pub precision: String,
    /// Accuracy on the validation split, run by the plan, one example at a time.
    pub accuracy: f64,
    /// What one inference takes.
    pub timing: Timing,
    /// Peak working memory in bytes.
    pub peak_bytes: usize,
    /// Bytes of its weights.
    pub weight_bytes: usize,
}

/// The winner in both.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forms {
    /// In single precision.
    pub numbers: Form,
    /// In bytes.
    pub bytes: Form,
    /// The time in bytes over that in numbers, round by round.
    pub ratio: Ratio,
    /// Whether bytes are exported.
    pub exports_bytes: bool,
}

/// Measures the network of the file at `path` in numbers and in bytes; puts the one in bytes in its place where that is within the limits
/// and the other is not, or where it is quicker and its accuracy at most `loss` lower. Nothing where no weight gains in bytes.
///
/// # Errors
/// When the file cannot be read, run or written, or the user asked to stop.
pub fn offer(
    context: &Context,
    (path, ready): (&Path, &Ready),
    loss: f64,
    bar: &StageBar,
) -> Result<(Option<Forms>, String)> {
    // Where this stage was stopped after its export, the numbers lie beside it.
    let kept = context.folder.join(NUMBERS);
    let numbers = load(if kept.exists() { &kept } else { path })?;
    let bytes = in_bytes(&numbers, ready)?;
    if !bytes.weights.has_bytes() {
        let said = "no weight is large enough to gain in bytes: exported in f32";
        return Ok((None, said.into()));
    }
    let forms = context.once("precision", || {
        measure(context, (&numbers, &bytes), (ready, loss), bar)
    })?;
    if forms.exports_bytes {
        save(&kept, &numbers)?;
        save(path, &with_accuracy(bytes, forms.bytes.accuracy))?;
    }
    let said = format!(
        "f32 {}; int8 {}, {:.2} of its time ({:.2}-{:.2}): exported in {}",
        forms.numbers.show(),
        forms.bytes.show(),
        forms.ratio.median,
        forms.ratio.quartiles[0],
        forms.ratio.quartiles[1],
        match forms.exports_bytes {
            true => &forms.bytes.precision,
            false => &forms.numbers.precision,
        }
    );
    Ok((Some(forms), said))
}

/// A trained network in bytes, its ranges, if it takes images, those of training images.
///
/// # Errors
/// When it cannot be compiled or an image cannot be read.
pub fn in_bytes(model: &ModelFile, ready: &Ready) -> Result<ModelFile> {
    let images = quantize::sample(&ready.set.train, &ready.front, EXAMPLES)?;
    let (graph, weights) = quantize::apply((&model.graph, &model.weights), &images)?;
    let mut meta = model.meta.clone();
    meta.card["int8"] = json!({ "data": meta.card["data"], "examples": images.len() });
    Ok(ModelFile {
        graph,
        weights,
        meta,
    })
}

fn with_accuracy(mut model: ModelFile, accuracy: f64) -> ModelFile {
    model.meta.card["validation_accuracy"] = json!(accuracy);
    model
}

/// Both side by side on this machine.
fn measure(
    context: &Context,
    (numbers, bytes): (&ModelFile, &ModelFile),
    (ready, loss): (&Ready, f64),
    bar: &StageBar,
) -> Result<Forms> {
    let mut subjects = vec![];
    let mut forms = vec![];
    for model in [numbers, bytes] {
        let target = context.target.made_for(&model.weights, None);
        bar.say(format!("validating in {}", target.precision.name()));
        bar.set_steps(ready.validation.len() as u64);
        let mut classifier = Classifier::new(model.clone(), &target)?;
        let score = classifier.judge(&ready.validation, |done| bar.at(done as u64))?;
        context.progress.check()?;
        let subject = Subject::new(&model.graph, &model.weights, &target)?;
        forms.push((score.value, target.precision, model.weights.bytes()));
        subjects.push(subject);
    }
    bar.say("measuring numbers beside bytes");
    let timed = beside(context, &mut subjects)?;
    let form = |at: usize| {
        let (accuracy, precision, weight_bytes): (f64, Precision, usize) = forms[at];
        Form {
            precision: precision.name().into(),
            accuracy,
            timing: timed[at].0.clone(),
            peak_bytes: subjects[at].plan().peak_bytes(),
            weight_bytes,
        }
    };
    let (numbers, bytes, ratio) = (form(0), form(1), timed[1].1.clone());
    let fits = |form: &Form| context.request.allows(form.timing.p90_ms, form.peak_bytes);
    let lost = numbers.accuracy - bytes.accuracy;
    let exports_bytes = are_better([fits(&numbers), fits(&bytes)], &ratio, lost <= loss);
    Ok(Forms {
        numbers,
        bytes,
        ratio,
        exports_bytes,
    })
}

/// Whether bytes are exported: where they alone are within the limits, or both are and bytes are quicker, beyond the noise, and lose little.
fn are_better([numbers_fit, bytes_fit]: [bool; 2], ratio: &Ratio, lose_little: bool) -> bool {
    let is_quicker = ratio.quartiles[1] < 1.0;
    bytes_fit && (!numbers_fit || is_quicker && lose_little)
}

impl Form {
    /// `97.83 % on validation, p90 0.737 ms, 1548288 bytes`.
    fn show(&self) -> String {
        format!(
            "{:.2} % on validation, p90 {:.3} ms, {} bytes",
            100.0 * self.accuracy,
            self.timing.p90_ms,
            self.peak_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_where_they_are_needed_or_better() {
        let [quicker, alike] = [[0.4, 0.6], [0.9, 1.1]].map(|quartiles| Ratio {
            median: 0.5,
            quartiles,
        });
        assert!(are_better([true, true], &quicker, true));
        assert!(!are_better([true, true], &quicker, false));
        assert!(!are_better([true, true], &alike, true));
        assert!(are_better([false, true], &alike, false));
        assert!(!are_better([false, false], &quicker, true));
    }
}
