//! What a detector finds in images.

use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::json;
use squeeze_data::{Detection, Image};
use squeeze_formats::ModelFile;
use squeeze_infer::Target;

use super::Question;
use crate::detector::Detector;
use crate::{out, picture};

pub(super) fn detect(args: &Question, model: ModelFile, target: &Target) -> anyhow::Result<()> {
    let mut detector =
        Detector::new(model, target).with_context(|| args.model.display().to_string())?;
    if let Some(text) = &args.text {
        detector.front.text(text, args.pair.as_deref())?;
    }
    ensure!(
        args.picture.is_none() || args.image.len() == 1,
        "--picture shows one image, {} are given",
        args.image.len()
    );
    for path in &args.image {
        let image = Image::open(path)?;
        let found = detector.detect(&image);
        let mut found = found.with_context(|| path.display().to_string())?;
        found.retain(|one| one.score >= args.min_score);
        if let Some(to) = &args.picture {
            let file = std::fs::read(path).with_context(|| path.display().to_string())?;
            let svg = picture::drawn(&file, &image, &found, &detector.labels);
            std::fs::write(to, svg).with_context(|| to.display().to_string())?;
        }
        show_objects(&detector.labels, &found, (path, &image), args)?;
    }
    Ok(())
}

/// One line an object, or one JSON object an image.
fn show_objects(
    labels: &[String],
    found: &[Detection],
    (path, image): (&Path, &Image),
    args: &Question,
) -> anyhow::Result<()> {
    if args.json {
        let object = |one: &Detection| {
            let [x0, y0, x1, y1] = one.corners;
            json!({
                "label": labels[one.class], "class": one.class, "score": one.score,
                "x0": x0, "y0": y0, "x1": x1, "y1": y1,
            })
        };
        let objects: Vec<_> = found.iter().map(object).collect();
        return out::json(&json!({
            "file": path, "width": image.width, "height": image.height, "objects": objects,
        }));
    }
    if args.image.len() > 1 {
        out::print(&format!("{}:", path.display()))?;
    }
    if found.is_empty() {
        let least = args.min_score;
        return out::print(&format!(
            "nothing with a score of {least} or more: --min-score shows less sure objects"
        ));
    }
    let names = found.iter().map(|one| labels[one.class].chars().count());
    let width = names.max().unwrap_or(0).max("label".len());
    let row = |cells: [&str; 6]| {
        let [label, rest @ ..] = cells;
        let numbers: String = rest.iter().map(|cell| format!("  {cell:>7}")).collect();
        out::print(&format!("{label:<width$}{numbers}"))
    };
    row(["label", "score", "x0", "y0", "x1", "y1"])?;
    for one in found {
        let score = format!("{:.3}", one.score);
        let [x0, y0, x1, y1] = one.corners.map(|side| format!("{side:.1}"));
        row([&labels[one.class], &score, &x0, &y0, &x1, &y1])?;
    }
    Ok(())
}
