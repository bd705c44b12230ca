//! TensorFlow Lite in: float and quantized networks of images become a graph and weights.
//!
//! Files are FlatBuffers; of their schema (version 3) only what such networks need is read. Images are
//! `[n, h, w, c]` there and `[n, c, h, w]` here, which lie in memory alike. Weights in bytes that are around zero stay bytes
//! with a scale for each output; the ranges of activations become the ranges of our nodes. What is not understood is
//! refused with its node's number.

mod constants;
mod flat;
mod import;
mod layers;
mod moves;
mod pointwise;
mod schema;

use std::path::Path;

use squeeze_graph::Graph;
use squeeze_tensor::Weights;

use crate::FileError;
use crate::map::Mapped;

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The network; its image is called `image`.
    pub graph: Graph,
    /// Its weights, and where the file has them the ranges of its nodes.
    pub weights: Weights,
    /// What a pixel of 0 to 255 becomes, `scale * (pixel - zero)`, when the file's image is of bytes.
    pub pixel: Option<Pixel>,
    /// What is otherwise than in the file, for the reader.
    pub notes: Vec<String>,
}

/// The number that a pixel stands for is `scale * (pixel - zero)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pixel {
    /// Between two neighbours.
    pub scale: f32,
    /// The pixel that stands for zero.
    pub zero: f32,
}

/// Whether these are the first bytes of a TFLite file.
pub fn is_tflite(head: &[u8]) -> bool {
    head.get(4..8) == Some(b"TFL3")
}

/// Reads a TFLite file.
///
/// # Errors
/// When the file cannot be read, is damaged, or has an operator that is not understood.
pub fn import(path: &Path) -> Result<Imported, FileError> {
    let file = Mapped::open(path)?;
    let name = path
        .file_stem()
        .map_or("tflite".into(), |stem| stem.to_string_lossy());
    import::from_bytes(file.bytes().clone(), &name)
        .map_err(|broken| broken.of(&path.display().to_string()))
}

#[cfg(test)]
mod tests;
