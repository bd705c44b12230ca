//! ONNX in: files that exporters write for image and text classifiers become a graph and weights.
//!
//! Transposes and reshapes around our operators are followed, attention is put together from its
//! parts, and masks are computed for two sample inputs to prove that they hide padding and nothing
//! else. What is not understood is refused with its node's name.

mod array;
mod attention;
mod combine;
mod fold;
mod import;
mod layers;
mod moves;
mod proto;
mod window;

use std::path::Path;

use squeeze_graph::Graph;
use squeeze_tensor::Weights;

use crate::FileError;
use crate::map::Mapped;

/// Reads an ONNX file.
///
/// The inputs become `image`, or `ids`, `types` and `lengths` in this order: a mask input of ones
/// and zeros becomes the number of its ones.
///
/// # Errors
/// When the file cannot be read, is damaged, or has an operator that is not understood.
pub fn import(path: &Path) -> Result<(Graph, Weights), FileError> {
    let file = Mapped::open(path)?;
    let name = path
        .file_stem()
        .map_or("onnx".into(), |s| s.to_string_lossy());
    import::from_bytes(file.bytes().clone(), &name)
        .map_err(|broken| broken.of(&path.display().to_string()))
}

#[cfg(test)]
mod tests;
