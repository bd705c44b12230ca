//! SIMD inner loops, forward and backward, in tables by family.
//!
//! One folder a family: `mod.rs` holds the geometry, the entry functions and the `KERNELS` table, `scalar.rs` the definition,
//! `avx2.rs` and `avx512.rs` the fast twins. Which row runs is decided by the [`Tier`] that the caller detected.

mod threads;
mod tier;

pub use threads::{SharedMut, Threads, even};
pub use tier::Tier;
