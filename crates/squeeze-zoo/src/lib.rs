//! Published networks, blocks and search spaces as rows.
//!
//! ```
//! use squeeze_zoo::{Options, build};
//! let graph = build("squeezenet1_1", &Options::default())?;
//! assert_eq!(graph.cost().params, 1_235_496);
//! let error = build("squeezenet11", &Options::default()).expect_err("no such name");
//! assert!(error.to_string().contains("did you mean `squeezenet1_1`?"));
//! # Ok::<(), squeeze_zoo::ZooError>(())
//! ```

pub mod blocks;
mod configured;
mod licences;
mod list;
mod markdown;
pub mod names;
mod networks;
mod reference_image;
mod space_image;
mod space_text;

pub use configured::{Encoder, EncoderFamily, Pooling};
pub use list::{Accuracy, Beyond, Entry, Options, Task, ZooError, build, list};
pub use markdown::markdown;
pub use reference_image::image_references;
pub use space_image::{ImageSpace, image};
pub use space_text::{TextSpace, text, text_references};
