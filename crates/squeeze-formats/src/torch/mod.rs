//! PyTorch's `.pt` and `.pth` files: the weights in them, and nothing else. The pickle inside is
//! parsed by a closed list of instructions; nothing in it is executed.

mod legacy;
mod pickle;
mod state;
mod zip;

use std::path::Path;

use squeeze_tensor::Weights;

use crate::FileError;
use crate::error::{Broken, read};

/// Reads the tensors of a state dict, or of the state dict inside a checkpoint (under
/// `state_dict`, `model_state_dict`, `model` or `net`), zipped or in the format before PyTorch 1.6.
///
/// # Errors
/// When the file cannot be read or is damaged, or holds anything but numbers, texts and tensors.
pub fn load(path: &Path) -> Result<Weights, FileError> {
    let bytes = read(path)?;
    parse(&bytes).map_err(|broken| broken.of(&path.display().to_string()))
}

fn parse(bytes: &[u8]) -> Result<Weights, Broken> {
    if bytes.starts_with(b"PK") {
        let files = zip::files(bytes)?;
        let find = |end: &str| files.iter().find(|(name, _)| name.ends_with(end));
        let (name, program) = find("/data.pkl").ok_or_else(|| {
            Broken::new("a zip file without data.pkl: no PyTorch file (TorchScript is not read)")
        })?;
        if find("/byteorder").is_some_and(|(_, order)| *order != b"little") {
            return Err(Broken::new(
                "its bytes are in big-endian order, which is not read",
            ));
        }
        let (heap, _) = pickle::run(program)?;
        let folder = name.strip_suffix("data.pkl").unwrap_or("");
        let storage = |key: &str| {
            let wanted = format!("{folder}data/{key}");
            files
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, bytes)| *bytes)
        };
        state::weights(&heap, &storage, bytes.len())
    } else {
        legacy::parse(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squeeze_tensor::Dtype;

    fn golden(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
        std::fs::read(folder.join(name)).expect("a golden file")
    }

    /// Both files hold the same state dict: `golden/torch_files.py`.
    #[track_caller]
    fn check(name: &str) {
        let weights = parse(&golden(name)).expect("a golden file");
        let floats = |name: &str| weights.get(name).expect(name).floats();
        assert_eq!(floats("conv.weight"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(floats("turned"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(floats("tail"), [4.0, 5.0]);
        assert_eq!(floats("half"), [0.5, -1.5]);
        assert_eq!(floats("double"), [0.25]);
        assert_eq!(floats("scalar"), [7.0]);
        let turned = weights.get("turned").expect("a tensor");
        assert_eq!(turned.shape(), [3, 2]);
        assert_eq!(weights.get("count").expect("a tensor").dtype(), Dtype::I64);
        assert_eq!(weights.get("half").expect("a tensor").dtype(), Dtype::F16);
        assert_eq!(weights.len(), 7);
    }

    #[test]
    fn zipped() {
        check("torch_zip.pt");
    }

    #[test]
    fn before_1_6() {
        check("torch_old.pt");
    }

    #[test]
    fn code_is_refused() {
        let error = parse(&golden("torch_code.pt")).expect_err("it calls a function");
        assert!(
            error.0.contains("print`, which is no part of weights"),
            "{}",
            error.0
        );
    }

    #[test]
    fn many_names_of_one_storage_do_not_fill_the_memory() {
        let error = parse(&golden("torch_shared.pt")).expect_err("forty times the file");
        assert!(error.0.contains("too many share a storage"), "{}", error.0);
    }

    #[test]
    fn damage_is_an_error_or_other_numbers() {
        for name in ["torch_zip.pt", "torch_old.pt"] {
            let bytes = golden(name);
            for at in 0..bytes.len() {
                let mut bytes = bytes.clone();
                for flip in [1, 0x80, 0xff] {
                    bytes[at] ^= flip;
                    // Without checksums some flips change a number; none may panic or hang.
                    let _ = parse(&bytes);
                    bytes[at] ^= flip;
                }
            }
            for length in 0..bytes.len() {
                let _ = parse(&bytes[..length]);
            }
        }
    }

    /// SqueezeNAS's published weights (old format), where the folder of shared data is at hand.
    #[test]
    fn squeezenas() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/squeezenas");
        let Ok(entries) = std::fs::read_dir(&folder) else {
            println!("skipped: no {}", folder.display());
            return;
        };
        for entry in entries
            .flatten()
            .filter(|e| e.path().extension().is_some_and(|x| x == "pth"))
        {
            let weights = load(&entry.path()).expect("published weights");
            assert!(weights.len() > 100, "{} tensors", weights.len());
        }
    }
}
