//! Files in memory without reading them: the one map of files.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

/// A stretch of a file in memory: pages come when they are touched and go when the last clone or part goes.
#[derive(Clone)]
pub struct FileMap(Arc<Mmap>);

/// Some bytes of a map. Their pages leave memory with them, though other parts are still in use.
pub struct FilePart {
    map: FileMap,
    range: Range<usize>,
}

/// How a stretch of a file will be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// From one end to the other.
    Whole,
    /// A row here and there: not more than the pages around one should come.
    Rows,
}

impl FileMap {
    /// Maps a stretch of a file.
    ///
    /// # Errors
    /// When the system does not map it.
    pub fn new(file: &File, range: Range<usize>, reading: Reading) -> std::io::Result<FileMap> {
        let mut options = MmapOptions::new();
        options.offset(range.start as u64).len(range.len());
        // SAFETY: a map is only as constant as its file, and a model file is never changed: a new one is written beside it and takes its
        // name. Who cuts or overwrites one in place under a running program gets other numbers, or the end of the program.
        let map = unsafe { options.map(file)? };
        // A hint: a file that the system holds in huge pages comes quicker in them, but would be in memory 2 MiB a row.
        #[cfg(target_os = "linux")]
        let _ = map.advise(match reading {
            Reading::Whole => memmap2::Advice::HugePage,
            Reading::Rows => memmap2::Advice::NoHugePage,
        });
        #[cfg(not(target_os = "linux"))]
        let _ = reading;
        Ok(FileMap(Arc::new(map)))
    }

    /// Some of its bytes.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn part(&self, range: Range<usize>) -> FilePart {
        assert!(range.start <= range.end && range.end <= self.0.len());
        FilePart {
            map: self.clone(),
            range,
        }
    }
}

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for FilePart {
    fn as_ref(&self) -> &[u8] {
        &self.map.0[self.range.clone()]
    }
}

impl Drop for FilePart {
    fn drop(&mut self) {
        #[cfg(unix)]
        {
            let Range { start, end } = self.range;
            let gone = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: nobody writes to the map, so that pages which others still need come again as they were. A hint.
            let _ = unsafe { self.map.0.unchecked_advise_range(gone, start, end - start) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri maps no files")]
    fn parts_go_alone() {
        let path = std::env::temp_dir().join(format!("squeeze-map-{}", std::process::id()));
        let bytes: Vec<u8> = (0..100_000).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &bytes).expect("writable");
        let file = File::open(&path).expect("written");
        let map = FileMap::new(&file, 0..bytes.len(), Reading::Whole).expect("mapped");
        std::fs::remove_file(&path).expect("there");
        let [first, second, none] =
            [5000..60_000, 50_000..100_000, 7..7].map(|part| map.part(part));
        assert_eq!(first.as_ref(), &bytes[5000..60_000]);
        drop((first, map, none));
        assert_eq!(second.as_ref(), &bytes[50_000..]);
    }
}
