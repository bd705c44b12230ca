//! CIFAR: binary batches, and PNG sheets whose rows are images.

use std::path::Path;

use crate::dataset::{Example, Input, Label, Picture, Problems};
use crate::open::Parts;
use crate::{DataError, DataSet, Image, OpenOptions, Task};

/// The classes of CIFAR-10, for copies without their list of names.
const CIFAR10: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

const SIDE: usize = 32;

/// Opens a folder with `data_batch_*.bin` (CIFAR-10) or `train.bin` and `test.bin` (CIFAR-100, fine labels).
pub fn open_binary(path: &Path, options: &OpenOptions) -> Result<Option<DataSet>, DataError> {
    let names = super::entries(path)?;
    let has = |name: &str| names.iter().any(|known| known == name);
    let batches: Vec<&String> = names
        .iter()
        .filter(|name| name.starts_with("data_batch_") && name.ends_with(".bin"))
        .collect();
    let (train, test, label_bytes, list) = if !batches.is_empty() {
        (batches, "test_batch.bin", 1, "batches.meta.txt")
    } else if let (Some(train), true) = (
        names.iter().find(|name| *name == "train.bin"),
        has("test.bin"),
    ) {
        (vec![train], "test.bin", 2, "fine_label_names.txt")
    } else {
        return Ok(None);
    };
    let read = |name: &str| {
        records(
            &super::bytes::read(&path.join(name))?,
            label_bytes,
            &path.join(name),
        )
    };
    let mut examples = Vec::new();
    for name in train {
        examples.extend(read(name)?);
    }
    let test = has(test).then(|| read(test)).transpose()?;
    let file = path.join(list);
    let names = match has(list) {
        true => super::bytes::text(&super::bytes::read(&file)?, &file)?
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect(),
        false => Vec::new(),
    };
    finish(
        path,
        Parts {
            train: examples,
            validation: None,
            test,
        },
        names,
        options,
    )
    .map(Some)
}

/// Records of labels and planes of red, green and blue; of two labels the second is the fine one.
fn records(bytes: &[u8], label_bytes: usize, file: &Path) -> Result<Vec<Example>, DataError> {
    let size = label_bytes + SIDE * SIDE * 3;
    if bytes.is_empty() || !bytes.len().is_multiple_of(size) {
        let reason = format!(
            "{} bytes are not a whole number of records of {size}: fetch it again",
            bytes.len()
        );
        return Err(DataError::corrupt(file, reason));
    }
    Ok(bytes
        .chunks_exact(size)
        .map(|record| {
            let (labels, planes) = record.split_at(label_bytes);
            let plane =
                |channel: usize| &planes[channel * SIDE * SIDE..(channel + 1) * SIDE * SIDE];
            let pixels = (0..SIDE * SIDE)
                .flat_map(|i| [plane(0)[i], plane(1)[i], plane(2)[i]])
                .collect();
            example(pixels, SIDE, 3, usize::from(labels[label_bytes - 1]))
        })
        .collect())
}

/// Opens a folder of PNG sheets, one image a row, with `labels.txt`: a sheet's name and its labels a line.
///
/// The last tenth of the sheets (at least one) is the test.
pub fn open_sheets(path: &Path, options: &OpenOptions) -> Result<Option<DataSet>, DataError> {
    let names = super::entries(path)?;
    if !names.iter().any(|name| name == "labels.txt")
        || !names.iter().any(|name| name.ends_with(".png"))
    {
        return Ok(None);
    }
    let list = path.join("labels.txt");
    let contents = super::bytes::read(&list)?;
    let lines: Vec<&str> = super::bytes::text(&contents, &list)?
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let held_out = (lines.len() / 10).max(1);
    let mut parts = Parts::default();
    let mut test = Vec::new();
    let mut cifar = true;
    for (index, line) in lines.iter().enumerate() {
        let bad = |reason: String| DataError::line(&list, index + 1, reason);
        let mut words = line.split_whitespace();
        let sheet = words.next().expect("blank lines are left out");
        let labels = words
            .map(|word| {
                word.parse::<usize>()
                    .ok()
                    .filter(|&label| label < 100_000)
                    .ok_or_else(|| bad(format!("`{word}` is not the number of a class")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let belongs = |name: &&String| {
            let stem = name.strip_suffix(".png").unwrap_or("");
            stem == sheet || stem.ends_with(&format!("_{sheet}"))
        };
        let file = names
            .iter()
            .find(belongs)
            .ok_or_else(|| bad(format!("no sheet {sheet}.png beside this list")))?;
        cifar &= file.contains("cifar10_");
        let into = if index + held_out < lines.len() {
            &mut parts.train
        } else {
            &mut test
        };
        into.extend(rows(&path.join(file), &labels)?);
    }
    parts.test = Some(test);
    let labels = if cifar {
        CIFAR10.map(str::to_owned).to_vec()
    } else {
        Vec::new()
    };
    finish(path, parts, labels, options).map(Some)
}

/// The rows of one sheet as square images.
fn rows(file: &Path, labels: &[usize]) -> Result<Vec<Example>, DataError> {
    let sheet = Image::open(file)?;
    let side = sheet.width.isqrt();
    if side * side != sheet.width || side < 2 || labels.len() != sheet.height {
        let reason = format!(
            "a sheet of {} rows of {} pixels with {} labels: rows must be square images, one a label",
            sheet.height,
            sheet.width,
            labels.len()
        );
        return Err(DataError::corrupt(file, reason));
    }
    let rows = sheet.pixels.chunks_exact(sheet.width * sheet.channels);
    Ok(rows
        .zip(labels)
        .map(|(row, &label)| example(row.to_vec(), side, sheet.channels, label))
        .collect())
}

fn example(pixels: Vec<u8>, side: usize, channels: usize, class: usize) -> Example {
    let image = Image {
        height: side,
        width: side,
        channels,
        pixels,
    };
    Example {
        input: Input::Image(Picture::Pixels(image)),
        label: Label::Class(class),
    }
}

fn finish(
    path: &Path,
    parts: Parts,
    mut labels: Vec<String>,
    options: &OpenOptions,
) -> Result<DataSet, DataError> {
    let examples = parts.train.iter().chain(parts.test.iter().flatten());
    let classes = examples
        .map(|example| example.label.class() + 1)
        .max()
        .unwrap_or(0);
    // Classes beyond the list of names are called by their numbers.
    labels.extend((labels.len()..classes).map(|class| class.to_string()));
    parts.finish(
        (&super::name_of(path), path),
        (Task::ClassifyImage, labels),
        Problems::default(),
        options,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_batches() {
        let root = tempfile::tempdir().unwrap();
        let record = |label: u8, shade: u8| {
            let mut record = vec![label];
            [shade, 2, 3]
                .iter()
                .for_each(|&plane| record.extend([plane; 1024]));
            record
        };
        let batch: Vec<u8> = (0..40).flat_map(|i| record(i % 2, i)).collect();
        std::fs::write(root.path().join("data_batch_1.bin"), &batch).unwrap();
        std::fs::write(root.path().join("test_batch.bin"), record(1, 99)).unwrap();
        std::fs::write(
            root.path().join("batches.meta.txt"),
            "airplane\nautomobile\n\n",
        )
        .unwrap();
        let name = root.path().to_str().unwrap();
        let set = DataSet::open(name, &OpenOptions::default()).unwrap();
        assert_eq!(
            (set.train.len(), set.validation.len(), set.test.len()),
            (36, 4, 1)
        );
        let Input::Image(Picture::Pixels(image)) = &set.test[0].input else {
            unreachable!("in memory")
        };
        assert_eq!(image.pixels[..6], [99, 2, 3, 99, 2, 3]);
        std::fs::write(root.path().join("test_batch.bin"), &batch[..99]).unwrap();
        let error = DataSet::open(name, &OpenOptions::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("test_batch.bin: 99 bytes are not a whole number"),
            "{error}"
        );
    }

    #[test]
    fn sheets() {
        let root = tempfile::tempdir().unwrap();
        for sheet in 0..2u8 {
            let pixels = ::image::RgbImage::from_fn(4, 6, |_, y| ::image::Rgb([sheet, y as u8, 9]));
            pixels
                .save(root.path().join(format!("x_s{sheet}.png")))
                .unwrap();
        }
        std::fs::write(
            root.path().join("labels.txt"),
            "s0 0 1 0 1 0 1\ns1 0 1 2 1 0 1\n",
        )
        .unwrap();
        let name = root.path().to_str().unwrap();
        let set = DataSet::open(name, &OpenOptions::default()).unwrap();
        assert_eq!(
            (
                set.labels.len(),
                set.train.len() + set.validation.len(),
                set.test.len()
            ),
            (3, 6, 6)
        );
        std::fs::write(
            root.path().join("labels.txt"),
            "s0 0 1 0 1 0 1\ns1 0 1 b 1 0 1\n",
        )
        .unwrap();
        let error = DataSet::open(name, &OpenOptions::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("labels.txt:2: `b` is not the number of a class"),
            "{error}"
        );
    }
}
