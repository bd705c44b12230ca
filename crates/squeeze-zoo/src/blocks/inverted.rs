//! The inverted residual: expand, filter each channel, project (Sandler et al., 2018), with the
//! gate of MobileNetV3 (Howard et al., 2019), and with grouped 1x1 convolutions.

use squeeze_graph::ops::{Activation, Add, BatchNorm, ChannelShuffle};
use squeeze_graph::{Builder, GraphError, NodeId};

use super::{ConvNorm, SqueezeExcite, conv_norm, squeeze_excite};

/// An inverted residual block.
#[derive(Clone, Debug, PartialEq)]
pub struct Inverted {
    /// Output channels.
    pub out: usize,
    /// Channels inside; where they are those of the input the expanding convolution is left out
    /// unless it is grouped.
    pub hidden: usize,
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
    /// Gate behind the depthwise convolution.
    pub gate: Option<SqueezeExcite>,
    /// The norm behind each convolution.
    pub norm: BatchNorm,
}

impl Inverted {
    /// A block of stride 1 with a 3x3 window, dense 1x1 convolutions, ReLU and no gate.
    pub fn new(out: usize, hidden: usize) -> Self {
        Self {
            out,
            hidden,
            kernel: 3,
            stride: 1,
            dilation: 1,
            groups: 1,
            activation: Activation::Relu,
            gate: None,
            norm: BatchNorm::default(),
        }
    }

    /// Its convolution over one pixel.
    fn point(&self, out: usize) -> ConvNorm {
        ConvNorm::square(out, 1)
            .groups(self.groups)
            .norm(self.norm.clone())
    }
}

/// Weight paths inside the block.
#[derive(Clone, Debug)]
pub struct InvertedNames {
    /// Convolution and norm of each of the three steps.
    pub steps: [[String; 2]; 3],
    /// The gate.
    pub gate: String,
    /// The residual sum.
    pub sum: String,
}

impl InvertedNames {
    /// Those of search spaces: words in front of `conv` and `norm`.
    pub fn words(prefix: &str) -> Self {
        let steps = ["expand", "filter", "project"];
        let pair = |step: &str| ["conv", "norm"].map(|part| format!("{prefix}{step}.{part}"));
        Self {
            steps: steps.map(pair),
            gate: format!("{prefix}gate"),
            sum: format!("{prefix}sum"),
        }
    }

    /// torchvision's for a block on `channels`: steps are counted, and those that are left out
    /// take no number.
    pub(crate) fn counted(path: &str, row: &Inverted, channels: usize) -> Self {
        let filter = usize::from(row.hidden != channels);
        let project = filter + 1 + usize::from(row.gate.is_some());
        let pair = |step| [0, 1].map(|part| format!("{path}.block.{step}.{part}"));
        Self {
            steps: [pair(0), pair(filter), pair(project)],
            gate: format!("{path}.block.{}", filter + 1),
            sum: format!("{path}.sum"),
        }
    }
}

/// Adds the block. The input is added when stride and channels allow it.
///
/// # Errors
/// When a name is taken or groups do not divide the channels.
pub fn inverted(
    b: &mut Builder,
    names: &InvertedNames,
    row: &Inverted,
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let wide = expanded(b, names, row, x)?;
    projected(b, names, row, [x, wide])
}

/// Adds the first step of the block, which widens `x`.
///
/// # Errors
/// As [`inverted`].
pub(crate) fn expanded(
    b: &mut Builder,
    names: &InvertedNames,
    row: &Inverted,
    x: NodeId,
) -> Result<NodeId, GraphError> {
    if row.hidden == b.channels(x) && row.groups == 1 {
        return Ok(x);
    }
    let [conv, norm] = names.steps[0].each_ref().map(|name| &**name);
    let wide = row.point(row.hidden).then(row.activation);
    let x = conv_norm(b, [conv, norm], &wide, x)?;
    if row.groups == 1 {
        return Ok(x);
    }
    let shuffle = ChannelShuffle { groups: row.groups };
    b.add(format!("{norm}.shuffle"), shuffle, &[x])
}

/// Adds the other steps of the block, from its input and from what [`expanded`] gives.
///
/// # Errors
/// As [`inverted`].
pub(crate) fn projected(
    b: &mut Builder,
    names: &InvertedNames,
    row: &Inverted,
    [x, wide]: [NodeId; 2],
) -> Result<NodeId, GraphError> {
    let steps = names.steps.each_ref();
    let [_, middle, last] = steps.map(|pair| pair.each_ref().map(|s| &**s));
    let filter = ConvNorm::square(row.hidden, row.kernel)
        .groups(row.hidden)
        .stride(row.stride)
        .dilated(row.dilation)
        .norm(row.norm.clone())
        .then(row.activation);
    let mut y = conv_norm(b, middle, &filter, wide)?;
    if let Some(gate) = row.gate {
        y = squeeze_excite(b, &names.gate, gate, y)?;
    }
    y = conv_norm(b, last, &row.point(row.out), y)?;
    if row.stride == 1 && row.out == b.channels(x) {
        y = b.add(names.sum.as_str(), Add {}, &[y, x])?;
    }
    Ok(y)
}
