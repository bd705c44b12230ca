//! Files in memory without reading them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use squeeze_kernels::{FileMap, Reading};

use crate::FileError;

/// A file whose bytes are at hand: pages come when they are touched and go when the last part that holds them goes.
pub(crate) struct Mapped {
    /// What was mapped; none for a pipe and the like, which is read.
    file: Option<(File, FileMap)>,
    whole: Bytes,
}

/// Smaller parts are read: a map takes whole pages, and the system brings those around them too.
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
        let map = FileMap::new(&file, 0..length, Reading::Whole).map_err(error)?;
        let whole = Bytes::from_owner(map.clone());
        let file = Some((file, map));
        Ok(Self { file, whole })
    }

    /// All bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.whole
    }

    /// Some bytes, whose pages do not stay because other parts are still in use: those of rows in a map of their own.
    pub fn part(&self, range: Range<usize>, reading: Reading) -> Bytes {
        let own = match (&self.file, reading) {
            (None, _) => None,
            (Some((file, _)), _) if range.len() < SMALL => read(file, range.clone()).ok(),
            (Some((file, _)), Reading::Rows) => FileMap::new(file, range.clone(), reading)
                .ok()
                .map(Bytes::from_owner),
            (Some((_, map)), Reading::Whole) => Some(Bytes::from_owner(map.part(range.clone()))),
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
