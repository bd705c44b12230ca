//! Parts that networks and search spaces share: each adds its nodes to a network in the making.

mod convolution;
mod encoder;
mod fire;
mod inverted;

pub use convolution::{ConvNorm, conv_norm};
pub(crate) use encoder::finish;
pub use encoder::{
    Embeddings, EncoderLayer, Groups, LayerNames, attention_part, embeddings, feed_forward,
};
pub use fire::{Fire, fire};
pub use inverted::{Inverted, inverted};
