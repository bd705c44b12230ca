//! One file an operator family: its row, what comes out, what it costs, which weights it needs.

mod attention;
mod class_token;
mod conv1d;
mod conv2d;
mod embedding;
mod linear;
mod norm;
pub(crate) mod pointwise;
mod pool;
mod rearrange;
mod resize;

pub use attention::Attention;
pub use class_token::ClassToken;
pub use conv1d::Conv1d;
pub use conv2d::Conv2d;
pub use embedding::{Embedding, Position};
pub use linear::Linear;
pub use norm::{BatchNorm, LayerNorm, NoNorm};
pub use pointwise::{Activation, Add, Dropout, Mul, Scale, Softmax};
pub use pool::{GlobalAverage, Pool, PoolKind, TokenMax, TokenMean};
pub use rearrange::{ChannelShuffle, Concat, Reshape, Select, Slice, Transpose};
pub use resize::{Resize, ResizeMode, ResizeSize};
