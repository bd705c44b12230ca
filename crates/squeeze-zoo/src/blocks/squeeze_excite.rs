//! Squeeze-and-excite: a gate for each channel from the mean of all (Hu et al., 2017).

use squeeze_graph::ops::{Activation, GlobalAverage, Linear, Mul};
use squeeze_graph::{Builder, GraphError, NodeId};

/// A gate with a narrow layer inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqueezeExcite {
    /// Channels of the narrow layer.
    pub squeeze: usize,
    /// What follows the narrow layer.
    pub inner: Activation,
    /// What makes a gate of the wide layer.
    pub gate: Activation,
}

/// Multiplies `x` by its gate, with torchvision's names under `path`.
///
/// # Errors
/// When a name is taken or `x` is no image.
pub fn squeeze_excite(
    b: &mut Builder,
    path: &str,
    row: SqueezeExcite,
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let name = |last: &str| format!("{path}.{last}");
    let channels = b.channels(x);
    let mut gate = b.add(name("avgpool"), GlobalAverage {}, &[x])?;
    gate = b.add(name("fc1"), Linear::dense(row.squeeze), &[gate])?;
    gate = b.add(name("activation"), row.inner, &[gate])?;
    gate = b.add(name("fc2"), Linear::dense(channels), &[gate])?;
    gate = b.add(name("scale_activation"), row.gate, &[gate])?;
    b.add(name("scale"), Mul {}, &[x, gate])
}
