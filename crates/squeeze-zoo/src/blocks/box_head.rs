//! The heads of a single-shot detector (Liu et al., 2015): what several maps of features say of the default boxes at each of their
//! pixels, with the separable convolutions of SSDLite (Sandler et al., 2018).

use squeeze_graph::ops::{Activation, BatchNorm, Concat, Conv2d, Reshape, Transpose};
use squeeze_graph::{Builder, GraphError, NodeId};

use super::{ConvNorm, sequence};

/// A head: so many numbers for each default box.
#[derive(Clone, Debug)]
pub struct BoxHead {
    /// Default boxes at each pixel.
    pub boxes: usize,
    /// Numbers for each: scores of classes, or offsets of the box.
    pub numbers: usize,
    /// The norm behind each depthwise convolution.
    pub norm: BatchNorm,
}

/// Adds a head over `maps` under `path`, with torchvision's names; gives `[n, boxes, numbers]`: map by map, in each row by row, in
/// each pixel box by box.
///
/// # Errors
/// When a name is taken or a map is no image.
pub fn box_head(
    b: &mut Builder,
    path: &str,
    row: &BoxHead,
    maps: &[NodeId],
) -> Result<NodeId, GraphError> {
    let last = Conv2d {
        bias: true,
        ..Conv2d::square(row.boxes * row.numbers, 1)
    };
    let flat = Reshape {
        dims: vec![0, -1, row.numbers as i64],
    };
    let mut parts = vec![];
    for (index, &map) in maps.iter().enumerate() {
        let path = format!("{path}.module_list.{index}");
        let channels = b.channels(map);
        let filter = ConvNorm::square(channels, 3)
            .groups(channels)
            .norm(row.norm.clone())
            .then(Activation::Relu6);
        let mut x = sequence(b, &format!("{path}.0"), &filter, map)?;
        x = b.add(format!("{path}.1"), last.clone(), &[x])?;
        let order = vec![0, 2, 3, 1];
        x = b.add(format!("{path}.pixels"), Transpose { order }, &[x])?;
        parts.push(b.add(format!("{path}.boxes"), flat.clone(), &[x])?);
    }
    b.add(path, Concat { axis: 1 }, &parts)
}
