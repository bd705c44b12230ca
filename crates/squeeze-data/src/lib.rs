//! Data sets, image decoding, tokenisers, tasks and metrics.

pub mod augment;
pub mod baseline;
pub mod batch;
pub mod byte_pieces;
mod charsmap;
pub mod dataset;
pub mod embedded;
pub mod error;
pub mod image;
pub mod inspect;
pub mod metrics;
pub mod open;
pub mod prepared;
pub mod preprocess;
pub mod read;
mod resample;
pub mod split;
pub mod task;
pub mod tokenizer;
pub mod wordpiece;

pub use augment::Augment;
pub use baseline::Baseline;
pub use batch::{Batch, BatchInput, Batching, Epoch, Labels, Last, Mix};
pub use byte_pieces::BytePieces;
pub use dataset::{DataSet, Example, Input, Label, Picture, Problem, SplitOrigin};
pub use error::DataError;
pub use image::Image;
pub use inspect::{Inspection, SplitFacts, Spread};
pub use metrics::{Confusion, Metric, Score};
pub use open::{Answer, Columns, OpenOptions};
pub use prepared::Prepared;
pub use preprocess::{Preprocess, Resize};
pub use task::Task;
pub use tokenizer::{Encoded, Tokenizer};
