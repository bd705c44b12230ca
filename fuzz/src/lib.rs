//! What the targets share: a file in memory that holds the bytes of one run.

pub mod sealed;

use std::path::Path;

/// Calls `read` with a file of this name that holds `bytes`.
///
/// # Panics
/// When the file cannot be written: that is a fault of the machine, not of a parser.
pub fn on_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    // Targets run side by side, each process with files of its own.
    let folder = Path::new("/dev/shm").join(format!("squeeze-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder in memory");
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a file in memory");
    read(&path);
    // A file of the next run must not be taken for one beside it.
    std::fs::remove_file(&path).expect("it was written above");
}
