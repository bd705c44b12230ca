//! Files in memory without reading them: the one memory map.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
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

/// Smaller parts are read: a map takes whole pages, and the system brings those around them too.
const SMALL: usize = 64 << 10;

/// How a part will be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// From one end to the other.
    Whole,
    /// A row here and there: not more than the pages around one should come.
    Rows,
}

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
        let whole = map(&file, 0..length, Reading::Whole).map_err(error)?;
        let file = Some(file);
        Ok(Self { file, whole })
    }

    /// All bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.whole
    }

    /// Some bytes in a map of their own, whose pages do not stay because other parts are still in use.
    pub fn part(&self, range: Range<usize>, reading: Reading) -> Bytes {
        let own = match &self.file {
            None => None,
            Some(file) if range.len() < SMALL => read(file, range.clone()).ok(),
            Some(file) => map(file, range.clone(), reading).ok(),
        };
        own.unwrap_or_else(|| self.whole.slice(range))
    }
}

fn read(mut file: &File, range: Range<usize>) -> std::io::Result<Bytes> {
    let mut bytes = vec![0; range.len()];
    file.seek(SeekFrom::Start(range.start as u64))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes.into())
}

#[expect(unsafe_code, reason = "a map is only as constant as its file")]
fn map(file: &File, range: Range<usize>, reading: Reading) -> std::io::Result<Bytes> {
    let mut options = MmapOptions::new();
    options.offset(range.start as u64).len(range.len());
    // SAFETY: a model file is never changed: `write` puts a new file under its name and leaves the old one as it is. Who cuts
    // or overwrites one in place under a running program gets other numbers, or the end of the program.
    let map = unsafe { options.map(file)? };
    // A hint: a file that lies in huge pages would be in memory 2 MiB a row.
    #[cfg(target_os = "linux")]
    if reading == Reading::Rows {
        let _ = map.advise(memmap2::Advice::NoHugePage);
    }
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
        let part = |range: Range<usize>| {
            [Reading::Whole, Reading::Rows].map(|reading| file.part(range.clone(), reading))
        };
        let parts = ranges.clone().map(part);
        drop(file);
        std::fs::remove_file(&path).expect("there");
        for (range, [whole, rows]) in ranges.into_iter().zip(parts) {
            assert_eq!(whole, bytes[range.clone()]);
            assert_eq!(rows, bytes[range]);
        }
    }

    #[test]
    fn an_empty_file_has_no_bytes() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        assert!(Mapped::open(file.path()).expect("there").bytes().is_empty());
    }
}
