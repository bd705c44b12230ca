//! The Fire module: squeeze, then expand two ways (Iandola et al., 2016).

use squeeze_graph::ops::{Activation, Concat, Conv2d};
use squeeze_graph::{Builder, GraphError, NodeId};

/// Channels of a Fire module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fire {
    /// Channels of the squeezing 1x1 convolution.
    pub squeeze: usize,
    /// Channels of each of the two expanding convolutions, 1x1 and 3x3.
    pub expand: usize,
}

/// Adds a Fire module under `path`, with the names of torchvision.
///
/// # Errors
/// When a name is taken or `x` is no image.
pub fn fire(b: &mut Builder, path: &str, row: Fire, x: NodeId) -> Result<NodeId, GraphError> {
    let layer = |b: &mut Builder, name: &str, [out, kernel]: [usize; 2], x| {
        let conv = Conv2d {
            bias: true,
            ..Conv2d::square(out, kernel)
        };
        let x = b.add(format!("{path}.{name}"), conv, &[x])?;
        b.add(format!("{path}.{name}_activation"), Activation::Relu, &[x])
    };
    let x = layer(b, "squeeze", [row.squeeze, 1], x)?;
    let narrow = layer(b, "expand1x1", [row.expand, 1], x)?;
    let wide = layer(b, "expand3x3", [row.expand, 3], x)?;
    b.add(
        format!("{path}.concat"),
        Concat { axis: 1 },
        &[narrow, wide],
    )
}
