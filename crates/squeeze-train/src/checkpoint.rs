//! Checkpoints: all that a run needs to go on with the same bits, in one file, written atomically.
//!
//! The file is a magic word, a header in JSON with its length, the buffers one after the other as
//! little-endian `f32`, and a checksum over everything before it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// Name of the file in a run's folder.
pub const NAME: &str = "train.ckpt";
const MAGIC: &[u8; 8] = b"sqzckpt1";

/// Where a run stands, beside its buffers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The recipe and the names of the weights: only the same run goes on from here.
    pub(crate) run: String,
    pub(crate) step: u64,
    pub(crate) steps: u64,
    pub(crate) validate_every: u64,
    pub(crate) seconds: f64,
    pub(crate) best: Option<Best>,
    /// Validations since the best one.
    pub(crate) since_best: usize,
    pub(crate) optimiser_steps: u32,
    pub(crate) average_steps: u32,
    pub(crate) done: bool,
    /// Length of each buffer.
    pub(crate) lengths: Vec<usize>,
}

/// A header and its buffers.
pub(crate) type Contents = (Header, Vec<Vec<f32>>);

/// The best validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// After this step.
    pub step: u64,
    /// Its metric.
    pub metric: f64,
    /// Its loss.
    pub loss: f64,
}

/// Writes a checkpoint: to a temporary file, to the disk, then under its name.
pub(crate) fn write(folder: &Path, header: &Header, buffers: &[&[f32]]) -> Result<(), TrainError> {
    let path = folder.join(NAME);
    let failed = |source| TrainError::File {
        path: path.clone(),
        source,
    };
    let header = serde_json::to_vec(header).expect("a header has a text form");
    let mut bytes = MAGIC.to_vec();
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    for buffer in buffers {
        bytes.extend(buffer.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes.extend(checksum(&bytes).to_le_bytes());
    // Named as every unfinished file of a run is, so that one which a killed run left is cleared away.
    let mut file = tempfile::Builder::new()
        .prefix(".")
        .suffix(".squeeze-partial")
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    // The rename itself is on the disk when the folder is; not every system can do that.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Reads a checkpoint, if there is one.
pub(crate) fn read(folder: &Path) -> Result<Option<Contents>, TrainError> {
    let path = folder.join(NAME);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TrainError::File { path, source }),
    };
    let parts = parse(&bytes).ok_or_else(|| TrainError::Checkpoint {
        path: PathBuf::from(&path),
        reason: "the file is damaged; delete it to start the run again".into(),
    })?;
    Ok(Some(parts))
}

fn parse(bytes: &[u8]) -> Option<Contents> {
    let (body, sum) = bytes.split_last_chunk::<8>()?;
    if checksum(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    let rest = body.strip_prefix(MAGIC)?;
    let (len, rest) = rest.split_first_chunk::<8>()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    let (header, mut rest) = rest.split_at_checked(len)?;
    let header: Header = serde_json::from_slice(header).ok()?;
    let mut buffers = vec![];
    for len in &header.lengths {
        let (buffer, after) = rest.split_at_checked(len.checked_mul(4)?)?;
        let chunks = buffer.as_chunks().0.iter();
        buffers.push(chunks.map(|&bytes| f32::from_le_bytes(bytes)).collect());
        rest = after;
    }
    rest.is_empty().then_some((header, buffers))
}

/// Four interleaved FNV-1a sums over words of eight bytes: finds any single damaged word.
fn checksum(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut sums = [0xcbf2_9ce4_8422_2325u64, 1, 2, 3];
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let sum = &mut sums[at % 4];
        *sum = (*sum ^ u64::from_le_bytes(*word))
            .wrapping_mul(PRIME)
            .rotate_left(29);
    }
    let mix = |sum: u64, &word: &u64| (sum ^ word).wrapping_mul(PRIME).rotate_left(29);
    let rest = rest
        .iter()
        .fold(bytes.len() as u64, |sum, &byte| mix(sum, &u64::from(byte)));
    sums.iter().fold(rest, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            run: "test".into(),
            step: 3,
            steps: 9,
            validate_every: 4,
            seconds: 0.1,
            best: None,
            since_best: 0,
            optimiser_steps: 3,
            average_steps: 0,
            done: false,
            lengths: vec![3, 0, 1],
        }
    }

    #[test]
    fn round_trips_to_the_bit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(read(folder.path()).expect("readable").is_none());
        let buffers = [&[0.1f32, -0.0, f32::MIN_POSITIVE][..], &[], &[7.5]];
        write(folder.path(), &header(), &buffers).expect("written");
        let (found, read) = read(folder.path()).expect("readable").expect("there");
        assert_eq!(found, header());
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(read.iter().zip(buffers).all(|(a, b)| bits(a) == bits(b)));
    }

    #[test]
    fn damage_is_found() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(folder.path(), &header(), &[&[1.0, 2.0, 3.0], &[], &[4.0]]).expect("written");
        let path = folder.path().join(NAME);
        let whole = fs::read(&path).expect("readable");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            assert!(parse(&bytes).is_none(), "byte {at} of {}", whole.len());
            assert!(parse(&whole[..at]).is_none(), "the first {at} bytes");
        }
        fs::write(&path, &whole[..40]).expect("written");
        let error = read(folder.path()).expect_err("cut").to_string();
        assert!(
            error.ends_with("delete it to start the run again"),
            "{error}"
        );
    }
}
