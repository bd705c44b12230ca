//! The folder of a run: made, checked and locked, so that two runs never write to one.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// A folder that this process alone writes to, until it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    // Held for its lock; the system frees it when the process ends, however it ends.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder when it is missing and locks it.
    ///
    /// # Errors
    /// When it is a file, cannot be written to, or another run holds it.
    pub fn open(path: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let path = path.into();
        let shown = path.display();
        if path.is_file() {
            bail!("{shown} is a file: choose a folder with -o");
        }
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the folder {shown}: choose another with -o"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .with_context(|| format!("cannot write to {shown}: choose another folder with -o"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another run is writing to {shown}: wait for it, or choose another with -o")
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {shown}"));
            }
        }
        let run = Self { path, _lock: lock };
        run.clear();
        Ok(run)
    }

    /// Deletes what a killed run was writing, here and in the folders of its trainings.
    fn clear(&self) {
        let entries = |folder: &Path| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let own = entries(&self.path);
        let inner = own.iter().filter(|path| path.is_dir());
        let inner: Vec<PathBuf> = inner.flat_map(|folder| entries(folder)).collect();
        for path in own.iter().chain(&inner) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(squeeze_formats::PARTIAL) {
                // One that stays does no harm.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Writes a file so that it is there whole or not at all.
///
/// # Errors
/// When its folder cannot be written to or the disk is full; the old file stays as it was.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    Ok(squeeze_formats::write(path, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_do_not_share() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = RunFolder::open(folder.path()).expect("free");
        let error = RunFolder::open(folder.path())
            .expect_err("held")
            .to_string();
        assert!(error.contains("another run is writing to"), "{error}");
        drop(first);
        RunFolder::open(folder.path()).expect("free again");
    }

    #[test]
    fn what_a_killed_run_was_writing_is_cleared_away() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let inner = folder.path().join("train");
        std::fs::create_dir(&inner).expect("writable");
        for name in [".a1.squeeze-partial", "train/.b2.squeeze-partial", ".tmp"] {
            std::fs::write(folder.path().join(name), "half").expect("writable");
        }
        let run = RunFolder::open(folder.path()).expect("free");
        let left = |folder: &Path| std::fs::read_dir(folder).expect("a folder").count();
        // The lock, the folder and the file that is not ours.
        assert_eq!((left(run.path()), left(&inner)), (3, 0));
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error = RunFolder::open(file.path())
            .expect_err("a file")
            .to_string();
        assert!(error.contains("is a file"), "{error}");
    }

    #[test]
    fn a_folder_below_a_file_cannot_be_made() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error = RunFolder::open(file.path().join("run")).expect_err("below a file");
        assert!(
            error.to_string().contains("cannot make the folder"),
            "{error}"
        );
    }
}
