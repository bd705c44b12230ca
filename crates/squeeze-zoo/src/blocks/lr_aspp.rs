//! LR-ASPP, the light head of segmentation networks (Howard et al., 2019): a gate from the mean of the deep features, and a second
//! classifier on finer ones.

use squeeze_graph::ops::{Activation, Add, GlobalAverage, Linear, Mul};
use squeeze_graph::{Builder, GraphError, NodeId};

use super::{ConvNorm, bilinear_like, pixel_classifier, sequence};

/// The head's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LrAspp {
    /// Channels inside.
    pub inner: usize,
    /// Scores of each pixel.
    pub classes: usize,
}

/// Adds the head under `path`, with torchvision's names, on fine features (`low`) and deep ones (`high`); scores are as large as the
/// fine ones.
///
/// # Errors
/// When a name is taken or features are no images.
pub fn lr_aspp(
    b: &mut Builder,
    path: &str,
    row: LrAspp,
    [low, high]: [NodeId; 2],
) -> Result<NodeId, GraphError> {
    let name = |last: &str| format!("{path}.{last}");
    let inner = ConvNorm::square(row.inner, 1).then(Activation::Relu);
    let mut x = sequence(b, &name("cbr"), &inner, high)?;
    let linear = Linear {
        bias: false,
        ..Linear::dense(row.inner)
    };
    let mut gate = b.add(name("scale.0"), GlobalAverage {}, &[high])?;
    gate = b.add(name("scale.1"), linear, &[gate])?;
    gate = b.add(name("scale.2"), Activation::Sigmoid, &[gate])?;
    x = b.add(name("scale"), Mul {}, &[x, gate])?;
    x = bilinear_like(b, &name("resize"), [x, low])?;
    let classes = pixel_classifier(row.classes);
    let low = b.add(name("low_classifier"), classes.clone(), &[low])?;
    x = b.add(name("high_classifier"), classes, &[x])?;
    b.add(name("sum"), Add {}, &[low, x])
}
