//! Parts that networks and search spaces share: each adds its nodes to a network in the making.

mod aspp;
mod bottleneck;
mod box_head;
mod convolution;
mod encoder;
mod fire;
mod inverted;
pub mod long_short;
mod lr_aspp;
mod pre_norm;
mod shuffle_unit;
mod squeeze_excite;

pub use aspp::{Aspp, Window, aspp};
pub(crate) use aspp::{bilinear_like, spread, window};
pub use bottleneck::{BottleneckLayer, bottleneck_layer};
pub use box_head::{BoxHead, box_head};
pub use convolution::{ConvNorm, conv_norm, sequence};
pub(crate) use convolution::{divisible, pixel_classifier};
pub(crate) use encoder::finish;
pub use encoder::{
    Embeddings, EncoderLayer, Groups, LayerNames, attention_part, embeddings, feed_forward,
    token_scores,
};
pub use fire::{Fire, fire};
pub use inverted::{Inverted, InvertedNames, inverted};
pub(crate) use inverted::{expanded, projected};
pub use lr_aspp::{LrAspp, lr_aspp};
pub use pre_norm::{PreNorm, PreNormNames, pre_norm};
pub use shuffle_unit::{ShuffleUnit, shuffle_unit};
pub use squeeze_excite::{SqueezeExcite, squeeze_excite};
