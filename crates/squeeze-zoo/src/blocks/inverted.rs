//! The inverted residual: expand, filter each channel, project (Sandler et al., 2018), with the
//! grouped 1x1 convolutions of SqueezeNAS (Shaw et al., 2019).

use squeeze_graph::ops::{Activation, Add, ChannelShuffle};
use squeeze_graph::{Builder, GraphError, NodeId};

use super::{ConvNorm, conv_norm};

/// An inverted residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inverted {
    /// Output channels.
    pub out: usize,
    /// Times that the channels grow inside; at 1 the expanding convolution is left out unless it
    /// is grouped.
    pub expand: usize,
    /// Size of the depthwise window.
    pub kernel: usize,
    /// Step of the depthwise window.
    pub stride: usize,
    /// Distance between its taps.
    pub dilation: usize,
    /// Groups of both 1x1 convolutions; above 1 the channels are shuffled between them.
    pub groups: usize,
    /// What follows the first two convolutions.
    pub activation: Activation,
}

impl Inverted {
    /// A block of stride 1 with a 3x3 window, dense 1x1 convolutions and ReLU.
    pub fn new(out: usize, expand: usize) -> Self {
        Self {
            out,
            expand,
            kernel: 3,
            stride: 1,
            dilation: 1,
            groups: 1,
            activation: Activation::Relu,
        }
    }
}

/// Adds the block; `names` gives the weight path of the convolution and norm of each of the three
/// steps, and of the sum. The input is added when stride and channels allow it.
///
/// # Errors
/// When a name is taken or groups do not divide the channels.
pub fn inverted(
    b: &mut Builder,
    names: &[[String; 2]; 3],
    sum: &str,
    row: &Inverted,
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let channels = b.channels(x);
    let hidden = channels * row.expand;
    let [first, middle, last] = names.each_ref().map(|pair| pair.each_ref().map(|s| &**s));
    let mut y = x;
    if row.expand > 1 || row.groups > 1 {
        let expand = ConvNorm::square(hidden, 1).groups(row.groups);
        y = conv_norm(b, first, &expand.then(row.activation), y)?;
    }
    if row.groups > 1 {
        let shuffle = ChannelShuffle { groups: row.groups };
        y = b.add(format!("{}.shuffle", first[1]), shuffle, &[y])?;
    }
    let filter = ConvNorm::square(hidden, row.kernel)
        .groups(hidden)
        .stride(row.stride)
        .dilated(row.dilation);
    y = conv_norm(b, middle, &filter.then(row.activation), y)?;
    y = conv_norm(b, last, &ConvNorm::square(row.out, 1).groups(row.groups), y)?;
    if row.stride == 1 && row.out == channels {
        y = b.add(sum, Add {}, &[y, x])?;
    }
    Ok(y)
}
