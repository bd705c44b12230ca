//! SIMD inner loops, forward and backward, in tables by family.
//!
//! One folder a family: `mod.rs` holds the geometry, the entry functions and the `KERNELS` table, `scalar.rs` the definition,
//! `avx2.rs` and `avx512.rs` the fast twins. Which row runs is decided by the [`Tier`] that the caller detected.

pub mod activation;
pub mod amx;
pub mod attention;
mod buffer;
pub mod conv_f32;
pub mod conv_i8;
mod cpu;
pub mod crc64;
pub mod depthwise;
pub mod depthwise_i8;
pub mod elementwise;
pub mod embedding;
mod file_map;
pub mod gemm_f32;
pub mod gemm_i8;
pub mod norm;
pub mod optimizer;
pub mod peak;
pub mod pool;
mod quantization;
pub mod resize;
mod slab;
pub mod softmax;
pub mod spmm;
mod threads;
mod tier;
mod vector;
mod weight;
pub mod winograd;
pub mod winograd_i8;

pub use buffer::{Buffer, as_bytes, as_bytes_mut};
pub use cpu::Cpu;
pub use file_map::{FileMap, FilePart, Reading};
pub use quantization::Quantization;
pub use slab::Slab;
pub use threads::{SharedMut, Threads, even};
pub use tier::Tier;
pub use weight::Weight;
