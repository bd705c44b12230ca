//! Files in memory without reading them: the one memory map.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use memmap2::MmapOptions;

use crate::FileError;

/// A file whose bytes are at hand: pages come when they are touched and go when the last part that holds them goes.
pub(crate) struct Mapped {
    /// What was mapped; none for a pipe and the like, which is read.
    file: Option<File>,
    whole: Bytes,
}

/// Smaller parts are copied: a map takes whole pages and a call to the system.
const SMALL: usize = 64 << 10;

impl Mapped {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let error = |source| FileError::Read {
            path: path.into(),
            source,
        };
        let file = File::open(path).map_err(error)?;
        let about = file.metadata().map_err(error)?;
        if !about.is_file() {
            let whole = std::fs::read(path).map_err(error)?.into();
            return Ok(Self { file: None, whole });
        }
        let length = usize::try_from(about.len()).unwrap_or(usize::MAX);
        let whole = map(&file, 0..length).map_err(error)?;
        let file = Some(file);
        Ok(Self { file, whole })
    }

    /// All bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.whole
    }

    /// Some bytes in a map of their own, whose pages do not stay because other parts are still in use.
    pub fn part(&self, range: Range<usize>) -> Bytes {
        match &self.file {
            None => self.whole.slice(range),
            Some(file) if range.len() >= SMALL => {
                map(file, range.clone()).unwrap_or_else(|_| self.whole.slice(range))
            }
            Some(_) => Bytes::copy_from_slice(&self.whole[range]),
        }
    }
}

#[expect(unsafe_code, reason = "a map is only as constant as its file")]
fn map(file: &File, range: Range<usize>) -> std::io::Result<Bytes> {
    let mut options = MmapOptions::new();
    options.offset(range.start as u64).len(range.len());
    // SAFETY: a model file is never changed: `write` puts a new file under its name and leaves the old one as it is. Who cuts
    // or overwrites one in place under a running program gets other numbers, or the end of the program.
    let map = unsafe { options.map(file)? };
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_anywhere_and_outlive_the_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x");
        let bytes: Vec<u8> = (0..3 * SMALL).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &bytes).expect("writable");
        let file = Mapped::open(&path).expect("written");
        assert_eq!(file.bytes(), &bytes);
        let ranges = [0..bytes.len(), 4100..4100 + SMALL, 7..9, 5..5];
        let parts = ranges.clone().map(|range| file.part(range));
        drop(file);
        std::fs::remove_file(&path).expect("there");
        for (range, part) in ranges.into_iter().zip(parts) {
            assert_eq!(part, bytes[range]);
        }
    }

    #[test]
    fn an_empty_file_has_no_bytes() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        assert!(Mapped::open(file.path()).expect("there").bytes().is_empty());
    }
}
