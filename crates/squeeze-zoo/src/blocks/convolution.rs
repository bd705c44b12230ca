//! Convolution, batch norm and activation: the brick of image networks.

use squeeze_graph::ops::{Activation, BatchNorm, Conv2d};
use squeeze_graph::{Builder, GraphError, NodeId};

/// A convolution with a batch norm behind it, and what follows the norm.
#[derive(Clone, Debug)]
pub struct ConvNorm {
    /// The convolution.
    pub conv: Conv2d,
    /// What follows the norm, if anything.
    pub activation: Option<Activation>,
}

impl ConvNorm {
    /// A square window of odd size with stride 1 and no activation.
    pub fn square(out: usize, kernel: usize) -> Self {
        Self {
            conv: Conv2d::square(out, kernel),
            activation: None,
        }
    }

    /// The same in groups.
    pub fn groups(mut self, groups: usize) -> Self {
        self.conv.groups = groups;
        self
    }

    /// The same with this stride both ways.
    pub fn stride(mut self, stride: usize) -> Self {
        self.conv.stride = [stride; 2];
        self
    }

    /// The same with taps this far apart.
    pub fn dilated(self, dilation: usize) -> Self {
        Self {
            conv: self.conv.dilated(dilation),
            ..self
        }
    }

    /// The same with this activation behind the norm.
    pub fn then(self, activation: Activation) -> Self {
        Self {
            activation: Some(activation),
            ..self
        }
    }
}

/// Adds the nodes `conv`, `norm` and, when there is an activation, `norm.act`.
///
/// # Errors
/// When a name is taken or the convolution cannot take `x`.
pub fn conv_norm(
    b: &mut Builder,
    [conv, norm]: [&str; 2],
    row: &ConvNorm,
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let x = b.add(conv, row.conv.clone(), &[x])?;
    let x = b.add(norm, BatchNorm::default(), &[x])?;
    match row.activation {
        Some(activation) => b.add(format!("{norm}.act"), activation, &[x]),
        None => Ok(x),
    }
}
