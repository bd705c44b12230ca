//! Data sets, image decoding, tokenisers, tasks and metrics.

pub mod augment;
pub mod batch;
pub mod dataset;
pub mod embedded;
pub mod error;
pub mod image;
pub mod open;
pub mod prepared;
pub mod preprocess;
pub mod read;
pub mod split;
pub mod task;
pub mod tokenizer;
pub mod wordpiece;

pub use augment::Augment;
pub use batch::{Batch, BatchInput, Batching, Epoch, Labels, Mix};
pub use dataset::{DataSet, Example, Input, Label, Picture, Problem, SplitOrigin};
pub use error::DataError;
pub use image::Image;
pub use open::{Columns, OpenOptions};
pub use prepared::Prepared;
pub use preprocess::{Preprocess, Resize};
pub use task::Task;
pub use tokenizer::{Encoded, Tokenizer};
