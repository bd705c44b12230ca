//! Atrous spatial pyramid pooling (Chen et al., 2017): convolutions of several dilations and the
//! mean of the image side by side.

use squeeze_graph::ops::{
    Activation, BatchNorm, Concat, Dropout, GlobalAverage, Linear, Reshape, Resize, ResizeMode,
    ResizeSize,
};
use squeeze_graph::{Builder, GraphError, NodeId};

use super::{ConvNorm, sequence};

/// What each branch of the pyramid gives, and how far its taps are apart.
#[derive(Clone, Copy, Debug)]
pub struct Aspp {
    /// Channels of each branch, and of the result.
    pub out: usize,
    /// Dilations of the 3x3 convolutions.
    pub rates: [usize; 3],
    /// What these are.
    pub window: Window,
}

/// A 3x3 convolution with norm and ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Over all channels.
    Dense,
    /// Depthwise, then 1x1, each with norm and ReLU (Chen et al., 2018).
    Separable,
}

/// Adds a 3x3 convolution under `path`.
///
/// # Errors
/// When a name is taken or `x` is no image.
pub(crate) fn window(
    b: &mut Builder,
    path: &str,
    kind: Window,
    [out, dilation]: [usize; 2],
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let relu = Activation::Relu;
    match kind {
        Window::Dense => {
            let wide = ConvNorm::square(out, 3).dilated(dilation).then(relu);
            sequence(b, path, &wide, x)
        }
        Window::Separable => {
            let channels = b.channels(x);
            let filter = ConvNorm::square(channels, 3).groups(channels);
            let filter = filter.dilated(dilation).then(relu);
            let x = sequence(b, &format!("{path}.0"), &filter, x)?;
            let point = ConvNorm::square(out, 1).then(relu);
            sequence(b, &format!("{path}.1"), &point, x)
        }
    }
}

/// Adds the pyramid under `path`, with torchvision's names.
///
/// # Errors
/// When a name is taken or `x` is no image.
pub fn aspp(b: &mut Builder, path: &str, row: Aspp, x: NodeId) -> Result<NodeId, GraphError> {
    let relu = Activation::Relu;
    let name = |last: &str| format!("{path}.{last}");
    let point = ConvNorm::square(row.out, 1).then(relu);
    let mut branches = vec![sequence(b, &name("convs.0"), &point, x)?];
    for (index, rate) in row.rates.into_iter().enumerate() {
        let path = name(&format!("convs.{}", index + 1));
        branches.push(window(b, &path, row.window, [row.out, rate], x)?);
    }
    let linear = Linear {
        bias: false,
        ..Linear::dense(row.out)
    };
    let mut y = b.add(name("convs.4.0"), GlobalAverage {}, &[x])?;
    y = b.add(name("convs.4.1"), linear, &[y])?;
    y = b.add(name("convs.4.2"), BatchNorm::default(), &[y])?;
    y = b.add(name("convs.4.3"), relu, &[y])?;
    branches.push(spread(b, &name("convs.4"), y, x)?);
    y = b.add(name("concat"), Concat { axis: 1 }, &branches)?;
    y = sequence(b, &name("project"), &point, y)?;
    b.add(name("project.3"), Dropout { rate: 0.5 }, &[y])
}

/// Repeats a vector `[n, c]` at every pixel of the image `like`.
///
/// # Errors
/// When a name is taken.
pub(crate) fn spread(
    b: &mut Builder,
    path: &str,
    x: NodeId,
    like: NodeId,
) -> Result<NodeId, GraphError> {
    let dims = vec![0, -1, 1, 1];
    let x = b.add(format!("{path}.pixel"), Reshape { dims }, &[x])?;
    let resize = Resize {
        mode: ResizeMode::Nearest,
        size: ResizeSize::Like,
    };
    b.add(format!("{path}.spread"), resize, &[x, like])
}

/// `x` at the height and width of `like`, between four pixels.
///
/// # Errors
/// When the name is taken or `x` is no image.
pub(crate) fn bilinear_like(
    b: &mut Builder,
    name: &str,
    [x, like]: [NodeId; 2],
) -> Result<NodeId, GraphError> {
    let resize = Resize {
        mode: ResizeMode::Bilinear,
        size: ResizeSize::Like,
    };
    b.add(name, resize, &[x, like])
}
