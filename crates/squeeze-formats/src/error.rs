//! What can be wrong with a file.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a file cannot be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// The system refuses to read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system refuses to write.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The content is not what it should be.
    #[error("{file}: {reason}")]
    Content {
        /// Name of the file.
        file: String,
        /// What is wrong, where, and what helps.
        reason: String,
    },
}

/// Content that is not what it should be; the caller adds the file's name.
#[derive(Debug)]
pub(crate) struct Broken(pub String);

impl Broken {
    /// Wrong for this reason.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// The error for the caller of this crate.
    pub(crate) fn of(self, file: &str) -> FileError {
        FileError::Content {
            file: file.into(),
            reason: self.0,
        }
    }
}

/// All bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|source| FileError::Read {
        path: path.into(),
        source,
    })
}
