//! Honest timing and device profiles.

pub mod device;
pub mod interference;
pub mod kernels;
pub mod machine;
pub mod profile;
pub mod subject;
pub mod table;
pub mod timing;

pub use device::Device;
pub use kernels::{Kernels, Line, measure_kernels};
pub use machine::Machine;
pub use profile::{Entry, Profile, ProfileError};
pub use subject::Subject;
pub use table::{Table, measure_space, table_of};
pub use timing::{Budget, Ratio, Timing, interleaved, interleaved_after, time};
