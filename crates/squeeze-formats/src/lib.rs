//! Files: safetensors, ONNX, PyTorch and the Squeeze model file, every length checked before use.

mod checksum;
mod error;
mod map;
pub mod model;
pub mod onnx;
mod panels;
mod rows;
pub mod safetensors;
mod scales;
pub mod tflite;
pub mod torch;
mod view;
mod write;

pub use error::FileError;
pub use model::{Meta, ModelFile};
pub use write::{PARTIAL, write};
