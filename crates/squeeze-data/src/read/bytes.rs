//! Whole files as bytes, unpacked when their name ends in `.gz`.

use std::io::Read;
use std::path::Path;

use crate::DataError;

/// The largest file that is read whole, unpacked: beyond it the machine would swap.
const LARGEST: u64 = 8 << 30;

/// The contents of a file, unpacked when its name ends in `.gz`.
pub fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::unreadable(path))?;
    if path.extension().is_some_and(|end| end == "gz") {
        unpack(&bytes, path)
    } else {
        Ok(bytes)
    }
}

/// Unpacks gzip; `path` is for the message.
pub fn unpack(packed: &[u8], path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(packed)
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(|reason| {
            DataError::corrupt(
                path,
                format!("not readable as gzip: {reason}: fetch the file again"),
            )
        })?;
    Ok(bytes)
}

/// The file's text without a byte order mark; the error has the first line that is not UTF-8.
pub fn text<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str, DataError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|&&b| b == b'\n')
            .count();
        DataError::line(
            path,
            line,
            "not UTF-8: convert it, e.g. iconv -f latin1 -t utf-8",
        )
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_utf8_has_its_line() {
        let message = text(b"text,label\na,b\n\xff,c\n", Path::new("x.csv"))
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("x.csv:3: not UTF-8"), "{message}");
        assert_eq!(text(b"\xef\xbb\xbfa", Path::new("x")).unwrap(), "a");
    }

    #[test]
    fn a_truncated_archive_is_refused() {
        let packed = include_bytes!("../../../../data/digits/test-labels-idx1-ubyte.gz");
        assert!(unpack(&packed[..500], Path::new("x.gz")).is_err());
        assert_eq!(unpack(packed, Path::new("x.gz")).unwrap().len(), 2008);
    }
}
