//! MobileNetV4-Conv-Small (Qin et al., 2024), with the weight names of timm.

use squeeze_graph::ops::{Activation, Add, BatchNorm, GlobalAverage, Linear};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{ConvNorm, conv_norm};
use crate::list::{Entry, Options, Task};

/// The published network. The paper prints 3.8 M parameters and 0.2 G multiply-adds.
pub(crate) const ROWS: &[Entry] = &[Entry::new(
    "mobilenet_v4_conv_small",
    Task::Image,
    "Qin et al., 2024; timm",
    3_774_024,
    conv_small,
)
.gmacs("0.19")
.accuracy(73.8, "% top-1 on ImageNet (timm)")];

/// A block of a stage.
#[derive(Clone, Copy)]
enum Block {
    /// A convolution with norm and ReLU: output channels, window, stride.
    Conv(usize, usize, usize),
    /// A universal inverted bottleneck: windows of the depthwise convolutions before and behind
    /// the expansion (0 leaves one out), channels inside, output channels, stride.
    Bottleneck([usize; 2], usize, usize, usize),
}

use Block::{Bottleneck as Uib, Conv};

const STAGES: &[&[Block]] = &[
    &[Conv(32, 3, 2), Conv(32, 1, 1)],
    &[Conv(96, 3, 2), Conv(64, 1, 1)],
    &[
        Uib([5, 5], 192, 96, 2),
        Uib([0, 3], 192, 96, 1),
        Uib([0, 3], 192, 96, 1),
        Uib([0, 3], 192, 96, 1),
        Uib([0, 3], 192, 96, 1),
        Uib([3, 0], 384, 96, 1),
    ],
    &[
        Uib([3, 3], 576, 128, 2),
        Uib([5, 5], 512, 128, 1),
        Uib([0, 5], 512, 128, 1),
        Uib([0, 5], 384, 128, 1),
        Uib([0, 3], 512, 128, 1),
        Uib([0, 3], 512, 128, 1),
    ],
    &[Conv(960, 1, 1)],
];

const RELU: Activation = Activation::Relu;

fn conv_small(options: &Options) -> Result<Graph, GraphError> {
    let mut b = Builder::new("mobilenet_v4_conv_small");
    let mut x = b.input("image", &options.image_shape(), Element::Number)?;
    let stem = ConvNorm::square(32, 3).stride(2).then(RELU);
    x = conv_norm(&mut b, ["conv_stem", "bn1"], &stem, x)?;
    for (stage, blocks) in STAGES.iter().enumerate() {
        for (index, &block) in blocks.iter().enumerate() {
            let path = format!("blocks.{stage}.{index}");
            x = match block {
                Conv(out, kernel, stride) => {
                    let row = ConvNorm::square(out, kernel).stride(stride).then(RELU);
                    let names = [&*format!("{path}.conv"), &format!("{path}.bn1")];
                    conv_norm(&mut b, names, &row, x)?
                }
                Uib(windows, hidden, out, stride) => {
                    bottleneck(&mut b, &path, windows, [hidden, out, stride], x)?
                }
            };
        }
    }
    x = b.add("global_pool", GlobalAverage {}, &[x])?;
    let head = Linear {
        bias: false,
        ..Linear::dense(1280)
    };
    x = b.add("conv_head", head, &[x])?;
    x = b.add("norm_head", BatchNorm::default(), &[x])?;
    x = b.add("norm_head.act", RELU, &[x])?;
    x = b.add("classifier", Linear::dense(options.image_classes()), &[x])?;
    b.finish(&[x])
}

/// The stride is on the second depthwise convolution.
fn bottleneck(
    b: &mut Builder,
    path: &str,
    [before, behind]: [usize; 2],
    [hidden, out, stride]: [usize; 3],
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let channels = b.channels(x);
    let layer = |b: &mut Builder, step: &str, row: ConvNorm, x: NodeId| {
        let names = ["conv", "bn"].map(|part| format!("{path}.{step}.{part}"));
        conv_norm(b, names.each_ref().map(|s| &**s), &row, x)
    };
    let mut y = x;
    if before > 0 {
        let filter = ConvNorm::square(channels, before).groups(channels);
        y = layer(b, "dw_start", filter, y)?;
    }
    y = layer(b, "pw_exp", ConvNorm::square(hidden, 1).then(RELU), y)?;
    if behind > 0 {
        let filter = ConvNorm::square(hidden, behind).groups(hidden);
        y = layer(b, "dw_mid", filter.stride(stride).then(RELU), y)?;
    }
    y = layer(b, "pw_proj", ConvNorm::square(out, 1), y)?;
    if stride == 1 && out == channels {
        y = b.add(format!("{path}.sum"), Add {}, &[y, x])?;
    }
    Ok(y)
}
