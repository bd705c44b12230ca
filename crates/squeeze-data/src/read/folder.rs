//! A folder of image folders: a class each, perhaps inside train, validation and test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::dataset::{Example, Input, Label, Picture, Problems};
use crate::open::Parts;
use crate::{DataError, DataSet, Image, OpenOptions, Task};

/// Bytes of decoded images that are kept; more stay in their files.
const MEMORY: usize = 1 << 30;

/// Opens a folder of image folders.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Option<DataSet>, DataError> {
    let names = super::entries(path)?;
    let part = |words: &[&str]| {
        let named = |name: &&String| words.contains(&name.to_ascii_lowercase().as_str());
        names
            .iter()
            .find(named)
            .map(|name| path.join(name))
            .filter(|path| path.is_dir())
    };
    let parts = match part(super::TRAIN) {
        Some(train) => [Some(train), part(super::VALIDATION), part(super::TEST)],
        None => [Some(path.to_owned()), None, None],
    };
    let mut files = Vec::new();
    for part in &parts {
        files.push(
            part.as_deref()
                .map(classes)
                .transpose()?
                .unwrap_or_default(),
        );
    }
    if files[0].is_empty() {
        return Ok(None);
    }
    let labels: Vec<String> = files
        .iter()
        .flatten()
        .map(|(class, _)| class.clone())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut problems = Problems::default();
    let used = AtomicUsize::new(0);
    let mut read = |files: &[(String, Vec<PathBuf>)]| {
        let all: Vec<(usize, &PathBuf)> = files
            .iter()
            .flat_map(|(class, files)| {
                let number = labels
                    .iter()
                    .position(|label| label == class)
                    .expect("every class was collected");
                files.iter().map(move |file| (number, file))
            })
            .collect();
        // Every image is decoded once, so that a truncated one is found here and not in the middle of a run.
        let decoded: Vec<_> = all
            .par_iter()
            .map(|&(class, file)| (class, file, picture(file, &used)))
            .collect();
        decoded
            .into_iter()
            .filter_map(|(class, file, picture)| match picture {
                Ok(picture) => Some(Example {
                    input: Input::Image(picture),
                    label: Label::Class(class),
                }),
                Err(problem) => {
                    problems.add(problem, file.display().to_string());
                    None
                }
            })
            .collect::<Vec<Example>>()
    };
    let parts = Parts {
        train: read(&files[0]),
        validation: parts[1].as_ref().map(|_| read(&files[1])),
        test: parts[2].as_ref().map(|_| read(&files[2])),
    };
    parts
        .finish(
            (&super::name_of(path), path),
            (Task::ClassifyImage, labels),
            problems,
            options,
        )
        .map(Some)
}

/// Class folders with their image files, sorted; classes without an image are left out.
fn classes(path: &Path) -> Result<Vec<(String, Vec<PathBuf>)>, DataError> {
    let mut all = Vec::new();
    for class in super::entries(path)? {
        let folder = path.join(&class);
        let mut files: Vec<PathBuf> = super::entries(&folder)?
            .iter()
            .map(|name| folder.join(name))
            .collect();
        files.retain(|file| {
            let ending = file.extension().map(|ending| ending.to_ascii_lowercase());
            ending.is_some_and(|ending| ["png", "jpg", "jpeg"].iter().any(|known| ending == *known))
        });
        if !files.is_empty() {
            all.push((class, files));
        }
    }
    Ok(all)
}

fn picture(file: &Path, used: &AtomicUsize) -> Result<Picture, &'static str> {
    let image = Image::open(file).map_err(|_| "unreadable or truncated image, skipped")?;
    if image.height < 2 || image.width < 2 {
        return Err("image smaller than 2x2, skipped");
    }
    let size = image.pixels.len();
    let before = used.fetch_add(size, Ordering::Relaxed);
    if before + size <= MEMORY {
        Ok(Picture::Pixels(image))
    } else {
        Ok(Picture::File(file.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(path: &Path, side: usize, grey: u8) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let side = u32::try_from(side).unwrap();
        ::image::GrayImage::from_pixel(side, side, ::image::Luma([grey]))
            .save(path)
            .unwrap();
    }

    #[test]
    fn classes_are_folders_and_bad_images_are_named() {
        let root = tempfile::tempdir().unwrap();
        for index in 0..10 {
            save(&root.path().join(format!("cat/{index}.png")), 8, index);
            save(
                &root.path().join(format!("dog/{index}.png")),
                9,
                100 + index,
            );
        }
        save(&root.path().join("dog/small.png"), 1, 0);
        std::fs::write(root.path().join("cat/broken.jpg"), b"\xff\xd8\xff").unwrap();
        std::fs::write(root.path().join("notes.txt"), "x").unwrap();
        let set = DataSet::open(root.path().to_str().unwrap(), &OpenOptions::default()).unwrap();
        assert_eq!(set.labels, ["cat", "dog"]);
        assert_eq!(
            [set.train.len(), set.validation.len(), set.test.len()],
            [14, 2, 4]
        );
        let problems: Vec<String> = set.problems.iter().map(ToString::to_string).collect();
        assert!(
            problems[0].starts_with("unreadable or truncated image, skipped: 1 (")
                && problems[0].contains("broken.jpg")
        );
        assert!(
            problems[1].starts_with("image smaller than 2x2, skipped: 1 (")
                && problems[1].contains("small.png")
        );
    }

    #[test]
    fn given_parts_and_one_class() {
        let root = tempfile::tempdir().unwrap();
        save(&root.path().join("train/a/1.png"), 4, 1);
        save(&root.path().join("train/b/1.PNG"), 4, 2);
        save(&root.path().join("val/a/1.png"), 4, 3);
        let set = DataSet::open(root.path().to_str().unwrap(), &OpenOptions::default()).unwrap();
        assert_eq!((set.train.len(), set.test.len()), (2, 1));
        assert_eq!(set.origin.test, "given as validation");
        std::fs::remove_dir_all(root.path().join("train/b")).unwrap();
        let error =
            DataSet::open(root.path().to_str().unwrap(), &OpenOptions::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("every example has the class `a`"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_folder_says_what_was_looked_for() {
        let root = tempfile::tempdir().unwrap();
        let error =
            DataSet::open(root.path().to_str().unwrap(), &OpenOptions::default()).unwrap_err();
        assert!(error.to_string().contains("looked for a .csv"), "{error}");
    }
}
