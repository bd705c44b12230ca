//! ONNX in and out. In: files that exporters write for networks of images and texts become a graph and weights. Out: any graph of
//! ours becomes a file that other engines run.
//!
//! On the way in transposes and reshapes around our operators are followed, attention is put together from its
//! parts, and masks are computed for two sample inputs to prove that they hide padding and nothing
//! else. What is not understood is refused with its node's name.

mod array;
mod attention;
mod combine;
mod curves;
mod export;
mod export_layers;
mod export_texts;
mod fold;
mod import;
mod known;
mod layers;
mod moves;
mod norms;
mod patches;
mod proto;
mod stored;
mod texts;
mod value;
mod weigh;
mod window;

use std::path::Path;

use squeeze_graph::Graph;
use squeeze_tensor::Weights;

pub use export::export;
pub use import::Sizes;

use crate::FileError;
use crate::map::Mapped;

/// Reads an ONNX file, and what lies beside it; `sizes` are those that it leaves open.
///
/// The inputs become `image`, or `ids`, `types` and `lengths` in this order: a mask input of ones
/// and zeros becomes the number of its ones.
///
/// # Errors
/// When the file cannot be read, is damaged, or has an operator that is not understood.
pub fn import(path: &Path, sizes: &Sizes) -> Result<(Graph, Weights), FileError> {
    let file = Mapped::open(path)?;
    let name = path
        .file_stem()
        .map_or("onnx".into(), |s| s.to_string_lossy());
    let folder = path.parent();
    import::from_bytes(file.bytes().clone(), &name, folder, sizes)
        .map_err(|broken| broken.of(&path.display().to_string()))
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
