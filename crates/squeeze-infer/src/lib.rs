//! Compiles a network for this machine to a plan that runs without allocating.
//!
//! ```
//! use squeeze_graph::{Builder, Element, ops::Linear};
//! use squeeze_infer::{Input, Target, compile};
//! let mut b = Builder::new("one_layer");
//! let x = b.input("x", &[1, 8], Element::Number)?;
//! let y = b.add("head", Linear::dense(2), &[x])?;
//! let graph = b.finish(&[y])?;
//! let weights = squeeze_rewrite::fresh(&graph, squeeze_tensor::Seed(1));
//! let plan = compile(&graph, &weights, &Target::here(1))?;
//! let mut scratch = plan.scratch();
//! let inputs = [Input::Numbers(&[1.0; 8])];
//! plan.check(&inputs)?;
//! let outputs = plan.run(&inputs, &mut scratch);
//! assert_eq!(outputs.first().len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arena;
mod bind;
mod compile;
mod error;
mod input;
mod kernel;
mod lower;
mod numbers;
mod passes;
mod plan;
pub mod prices;
mod program;
mod quantize;
mod ranges;
mod target;
mod texts;
mod unread;

pub use compile::{compile, compile_owned};
pub use error::{CompileError, InputError};
pub use input::{Input, InputSpec, channels_first, channels_last};
pub use kernel::{Family, LayerFacts};
pub use plan::{Outputs, Plan, Scratch, Step, StepInfo};
pub use prices::Prices;
pub use quantize::{quantize, quantize_for};
pub use ranges::{calibrate, lacks_ranges};
pub use target::{Precision, Target};
