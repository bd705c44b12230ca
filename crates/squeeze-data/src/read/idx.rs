//! IDX files (MNIST and its relatives): images `[n, h, w]` or `[n, h, w, 3]` and labels `[n]`, bytes.

use std::path::Path;

use super::bytes;
use crate::dataset::{Example, Input, Label, Picture, Problems};
use crate::open::Parts;
use crate::{DataError, DataSet, Image, OpenOptions, Task};

/// Opens a folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and perhaps `t10k-..` or `test-..`.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Option<DataSet>, DataError> {
    let names = super::entries(path)?;
    let part = |words: &[&str]| {
        let find = |kind: &str| {
            let has = |name: &&String| {
                let name = name.to_ascii_lowercase();
                name.contains(kind)
                    && name.contains("idx")
                    && words.iter().any(|word| name.contains(word))
            };
            names.iter().find(has).map(|name| path.join(name))
        };
        let (Some(images), Some(labels)) = (find("images"), find("labels")) else {
            return Ok(None);
        };
        examples(
            (&bytes::read(&images)?, &images),
            (&bytes::read(&labels)?, &labels),
        )
        .map(Some)
    };
    let Some(train) = part(super::TRAIN)? else {
        return Ok(None);
    };
    let test = part(&["t10k", "test"])?;
    let classes = 1 + train
        .iter()
        .chain(test.iter().flatten())
        .map(|e| e.label.class())
        .max()
        .unwrap_or(0);
    let labels = (0..classes).map(|class| class.to_string()).collect();
    let parts = Parts {
        train,
        validation: None,
        test,
    };
    parts
        .finish(
            (&super::name_of(path), path),
            (Task::ClassifyImage, labels),
            Problems::default(),
            options,
        )
        .map(Some)
}

/// Examples from the contents of an images file and a labels file; the paths are for messages.
pub fn examples(images: (&[u8], &Path), labels: (&[u8], &Path)) -> Result<Vec<Example>, DataError> {
    let (shape, pixels) = parse(images.0, images.1)?;
    let (counts, classes) = parse(labels.0, labels.1)?;
    let (n, height, width, channels) = match shape[..] {
        [n, height, width] => (n, height, width, 1),
        [n, height, width, 3] => (n, height, width, 3),
        _ => {
            let reason =
                format!("shape {shape:?}: images are [n, height, width] or [n, height, width, 3]");
            return Err(DataError::corrupt(images.1, reason));
        }
    };
    if counts != [n] {
        let reason = format!(
            "shape {counts:?} where {n} labels belong to {}",
            images.1.display()
        );
        return Err(DataError::corrupt(labels.1, reason));
    }
    if height < 2 || width < 2 {
        let reason = format!("images of {height}x{width}: at least 2x2 is needed");
        return Err(DataError::corrupt(images.1, reason));
    }
    let size = height * width * channels;
    Ok(pixels
        .chunks_exact(size)
        .zip(classes)
        .map(|(pixels, &class)| Example {
            input: Input::Image(Picture::Pixels(Image {
                height,
                width,
                channels,
                pixels: pixels.to_vec(),
            })),
            label: Label::Class(class.into()),
        })
        .collect())
}

/// The shape and the bytes behind it.
fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<(Vec<usize>, &'a [u8]), DataError> {
    let corrupt = |reason: String| DataError::corrupt(path, reason);
    let &[0, 0, kind, rank, ref rest @ ..] = bytes else {
        return Err(corrupt(
            "not an IDX file: it starts with two zeros, type and rank".to_owned(),
        ));
    };
    if kind != 8 {
        return Err(corrupt(format!(
            "IDX type {kind:#x}: only bytes (0x8) are read"
        )));
    }
    let rank = usize::from(rank);
    let Some((header, values)) = rest.split_at_checked(4 * rank) else {
        return Err(corrupt(format!(
            "truncated in its header of {rank} sizes: fetch it again"
        )));
    };
    let shape: Vec<usize> = header
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&size| u32::from_be_bytes(size) as usize)
        .collect();
    let size = shape
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size));
    if size != Some(values.len()) {
        let have = values.len();
        return Err(corrupt(format!(
            "{have} bytes where its header says {shape:?}: fetch it again"
        )));
    }
    Ok((shape, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(images: &[u8], labels: &[u8], expected: Result<usize, &str>) {
        let found = examples((images, Path::new("i")), (labels, Path::new("l")));
        match (found, expected) {
            (Ok(found), Ok(n)) => assert_eq!(found.len(), n),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{found:?} where {expected:?} was expected"),
        }
    }

    const IMAGES: &[u8] = &[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4];
    const LABELS: &[u8] = &[0, 0, 8, 1, 0, 0, 0, 1, 7];

    #[test]
    fn one_image() {
        check(IMAGES, LABELS, Ok(1));
    }
    #[test]
    fn truncated() {
        check(
            &IMAGES[..19],
            LABELS,
            Err("i: 3 bytes where its header says [1, 2, 2]"),
        );
    }
    #[test]
    fn truncated_header() {
        check(&IMAGES[..9], LABELS, Err("truncated in its header"));
    }
    #[test]
    fn more_labels_than_images() {
        check(
            IMAGES,
            &[0, 0, 8, 1, 0, 0, 0, 2, 7, 7],
            Err("l: shape [2] where 1"),
        );
    }
    #[test]
    fn huge_sizes_do_not_allocate() {
        check(
            &[
                0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
            ],
            LABELS,
            Err("0 bytes"),
        );
    }
}
