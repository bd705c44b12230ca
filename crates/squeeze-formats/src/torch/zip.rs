//! The files in a zip archive that stores them uncompressed, as PyTorch writes it.

use crate::error::Broken;

/// Names and bytes of all files.
pub(super) fn files(bytes: &[u8]) -> Result<Vec<(String, &[u8])>, Broken> {
    let cut = || Broken::new("a damaged zip file: copy or download it again");
    let end = end_record(bytes).ok_or_else(cut)?;
    let count = u16_at(bytes, end + 10).ok_or_else(cut)?;
    let mut at = u32_at(bytes, end + 16).ok_or_else(cut)?;
    let mut files = vec![];
    for _ in 0..count {
        let field = |offset: usize| u32_at(bytes, at.checked_add(offset)?);
        let short = |offset: usize| u16_at(bytes, at.checked_add(offset)?);
        if field(0).ok_or_else(cut)? != 0x0201_4b50 {
            return Err(cut());
        }
        let size = field(20).ok_or_else(cut)?;
        let local = field(42).ok_or_else(cut)?;
        if size == u32::MAX as usize || local == u32::MAX as usize {
            return Err(Broken::new(
                "larger than 4 GB, which is not read: convert it to safetensors",
            ));
        }
        if short(10).ok_or_else(cut)? != 0 || size != field(24).ok_or_else(cut)? {
            return Err(Broken::new(
                "compressed, as PyTorch's files never are: not read",
            ));
        }
        let name_size = short(28).ok_or_else(cut)?;
        let skipped = name_size + short(30).ok_or_else(cut)? + short(32).ok_or_else(cut)?;
        let name = bytes.get(at + 46..at + 46 + name_size).ok_or_else(cut)?;
        let name = String::from_utf8_lossy(name).into_owned();
        if u32_at(bytes, local).ok_or_else(cut)? != 0x0403_4b50 {
            return Err(cut());
        }
        let header = 30
            + u16_at(bytes, local + 26).ok_or_else(cut)?
            + u16_at(bytes, local + 28).ok_or_else(cut)?;
        let start = local + header;
        files.push((name, bytes.get(start..start + size).ok_or_else(cut)?));
        at += 46 + skipped;
    }
    Ok(files)
}

/// Where the record at the end starts; a comment of up to 64 kB may follow it.
fn end_record(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(22)?;
    let first = last.saturating_sub(1 << 16);
    (first..=last)
        .rev()
        .find(|&at| bytes[at..at + 4] == [0x50, 0x4b, 5, 6])
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_le_bytes(two.try_into().ok()?)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?) as usize)
}
