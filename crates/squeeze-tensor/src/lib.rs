//! Dense arrays, element types, named weights and seeded random numbers.

pub mod dtype;
mod panels;
mod row_sums;
mod scaled;
pub mod seed;
pub mod tensor;
pub mod weights;

pub use dtype::Dtype;
pub use panels::PANEL;
pub use row_sums::{RowSums, Unchecked};
pub use seed::{Random, Seed};
pub use tensor::{Tensor, TensorError};
pub use weights::Weights;
