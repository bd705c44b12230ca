//! Convolution, batch norm and activation: the brick of image networks.

use squeeze_graph::ops::{Activation, BatchNorm, Conv2d};
use squeeze_graph::{Builder, GraphError, NodeId};

/// A convolution with a batch norm behind it, and what follows the norm.
#[derive(Clone, Debug)]
pub struct ConvNorm {
    /// The convolution.
    pub conv: Conv2d,
    /// The norm.
    pub norm: BatchNorm,
    /// What follows the norm, if anything.
    pub activation: Option<Activation>,
}

impl ConvNorm {
    /// A square window of odd size with stride 1 and no activation.
    pub fn square(out: usize, kernel: usize) -> Self {
        Self {
            conv: Conv2d::square(out, kernel),
            norm: BatchNorm::default(),
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

    /// The same with this norm.
    pub fn norm(self, norm: BatchNorm) -> Self {
        Self { norm, ..self }
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
    let x = b.add(norm, row.norm.clone(), &[x])?;
    match row.activation {
        Some(activation) => b.add(format!("{norm}.act"), activation, &[x]),
        None => Ok(x),
    }
}

/// [`conv_norm`] with the names `path.0` and `path.1`, as a sequence of PyTorch calls them.
///
/// # Errors
/// As [`conv_norm`].
pub fn sequence(
    b: &mut Builder,
    path: &str,
    row: &ConvNorm,
    x: NodeId,
) -> Result<NodeId, GraphError> {
    conv_norm(b, [&format!("{path}.0"), &format!("{path}.1")], row, x)
}

/// `channels`, to the nearest multiple of 8 that loses at most a tenth.
pub(crate) fn divisible(channels: f64) -> usize {
    let rounded = (((channels + 4.0) / 8.0) as usize * 8).max(8);
    if (rounded as f64) < 0.9 * channels {
        rounded + 8
    } else {
        rounded
    }
}

/// The scores of each pixel's classes: one tap with a bias.
pub(crate) fn pixel_classifier(classes: usize) -> Conv2d {
    Conv2d {
        bias: true,
        ..Conv2d::square(classes, 1)
    }
}
