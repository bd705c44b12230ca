//! Writing a file so that there is always a whole one: the old or the new.

use std::io::Write;
use std::path::Path;

use crate::FileError;

/// How the name of a file that is being written ends; one that a killed process left may be deleted.
pub const PARTIAL: &str = ".squeeze-partial";

/// Writes `bytes` to `path`: into a temporary file in the same folder, onto the disk, and only
/// then under its name. A crash at any moment leaves the old file or the new one.
///
/// # Errors
/// When the folder is missing, full or read-only; nothing is left behind then.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_parts(path, &[bytes])
}

/// The same for bytes that lie in pieces.
pub(crate) fn write_parts(path: &Path, parts: &[impl AsRef<[u8]>]) -> Result<(), FileError> {
    let error = |source| FileError::Write {
        path: path.into(),
        source,
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(PARTIAL);
    // Temporary files are their owner's alone; this one becomes a file like any other, as far as the umask lets it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(error)?;
    for part in parts {
        file.write_all(part.as_ref()).map_err(error)?;
    }
    file.as_file().sync_all().map_err(error)?;
    file.persist(path).map_err(|failed| error(failed.error))?;
    // The new name is on the disk only when its folder is; not every system can say so.
    if let Ok(folder) = std::fs::File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x");
        write(&path, b"one").expect("writable");
        write(&path, b"two").expect("writable");
        assert_eq!(std::fs::read(&path).expect("written"), b"two");
        let entries = std::fs::read_dir(folder.path()).expect("a folder");
        assert_eq!(entries.count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn may_be_read_by_whom_a_plain_file_may() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [ours, plain] = ["ours", "plain"].map(|name| folder.path().join(name));
        write(&ours, b"x").expect("writable");
        std::fs::write(&plain, b"x").expect("writable");
        let mode = |path| {
            let about = std::fs::metadata(path).expect("written");
            about.permissions().mode()
        };
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let error = write(Path::new("/nowhere/at/all"), b"").expect_err("no folder");
        assert!(
            error
                .to_string()
                .starts_with("cannot write /nowhere/at/all: ")
        );
    }
}
