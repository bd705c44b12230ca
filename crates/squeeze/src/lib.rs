//! The library facade and the command line: one file a command.

pub mod classifier;
pub mod commands;
pub mod design;
pub mod detector;
pub mod diagram;
pub mod error;
pub mod fit;
pub mod floor;
pub mod folder;
pub mod front;
pub mod hub;
pub mod language;
pub mod out;
pub mod picture;
pub mod pruning;
pub mod published;
pub mod quantize;
pub mod ready;
pub mod recipe;
pub mod record;
pub mod report;
pub mod resident;
pub mod running;
pub mod source;
pub mod spaces;
pub mod training;
pub mod ui;
pub mod units;

pub use squeeze_data as data;
pub use squeeze_formats as formats;
pub use squeeze_graph as graph;
pub use squeeze_infer as infer;
pub use squeeze_kernels as kernels;
pub use squeeze_measure as measure;
pub use squeeze_rewrite as rewrite;
pub use squeeze_search as search;
pub use squeeze_tensor as tensor;
pub use squeeze_train as train;
pub use squeeze_zoo as zoo;

#[doc = include_str!("../../../docs/tutorial.md")]
pub mod tutorial {}
