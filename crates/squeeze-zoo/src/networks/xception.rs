//! Xception-65 (Chollet, 2016) as DeepLab has it (Chen et al., 2018): strided convolutions instead
//! of pools, more layers, norms behind depthwise convolutions; with the weight names of timm.

use squeeze_graph::ops::{Activation, Add, BatchNorm, GlobalAverage, Linear};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{ConvNorm, conv_norm};
use crate::list::{Entry, Options, Task};

/// The published network.
pub(crate) const ROWS: &[Entry] = &[Entry::new(
    "xception65",
    Task::Image,
    "Chen et al., 2018; timm",
    39_916_312,
    xception65,
)];

const RELU: Activation = Activation::Relu;

/// Channels of the three layers, repeats, stride.
const BLOCKS: &[([usize; 3], usize, usize)] = &[
    ([128; 3], 1, 2),
    ([256; 3], 1, 2),
    ([728; 3], 1, 2),
    ([728; 3], 16, 1),
    ([728, 1024, 1024], 1, 2),
];

/// Channels of the last three layers, which have no residual.
const LAST: [usize; 3] = [1536, 1536, 2048];

/// What comes out of the body.
pub(crate) struct Features {
    /// What the last strided layer of the second block sees: 256 channels at a quarter of the image.
    pub low: NodeId,
    /// What comes out at the end.
    pub high: NodeId,
}

/// Adds the body under `prefix`. Strides beyond `output_stride` become dilation, from the next
/// block on.
pub(crate) fn body(
    b: &mut Builder,
    prefix: &str,
    output_stride: usize,
    image: NodeId,
) -> Result<Features, GraphError> {
    let mut x = image;
    for (index, out, stride) in [(0, 32, 2), (1, 64, 1)] {
        let row = ConvNorm::square(out, 3).stride(stride).then(RELU);
        x = layer(b, &format!("{prefix}stem.{index}"), ["conv", "bn"], row, x)?;
    }
    let (mut low, mut index, mut strides, mut dilation) = (x, 0, 2, 1);
    for &(channels, repeats, stride) in BLOCKS {
        for _ in 0..repeats {
            let kept = strides * stride <= output_stride;
            let sizes = [if kept { stride } else { 1 }, dilation];
            let path = format!("{prefix}blocks.{index}");
            let tap;
            (x, tap) = residual(b, &path, channels, sizes, x)?;
            if index == 1 {
                low = tap;
            }
            match kept {
                true => strides *= stride,
                false => dilation *= stride,
            }
            index += 1;
        }
    }
    for (step, out) in LAST.into_iter().enumerate() {
        let path = format!("{prefix}blocks.{index}.stack.conv{}", step + 1);
        let filter = filter(b, dilation, x).then(RELU);
        x = layer(b, &path, ["conv_dw", "bn_dw"], filter, x)?;
        let point = ConvNorm::square(out, 1).then(RELU);
        x = layer(b, &path, ["conv_pw", "bn_pw"], point, x)?;
    }
    Ok(Features { low, high: x })
}

/// Three separable convolutions, each behind a ReLU, with a residual; and what comes out of the
/// second.
fn residual(
    b: &mut Builder,
    path: &str,
    channels: [usize; 3],
    [stride, dilation]: [usize; 2],
    x: NodeId,
) -> Result<(NodeId, NodeId), GraphError> {
    let mut taps = vec![x];
    for (step, out) in channels.into_iter().enumerate() {
        let step = step + 1;
        let y = b.add(format!("{path}.stack.act{step}"), RELU, &[taps[step - 1]])?;
        let filter = filter(b, dilation, y);
        let filter = filter.stride(if step == 3 { stride } else { 1 });
        let path = format!("{path}.stack.conv{step}");
        let y = layer(b, &path, ["conv_dw", "bn_dw"], filter, y)?;
        let point = ConvNorm::square(out, 1);
        taps.push(layer(b, &path, ["conv_pw", "bn_pw"], point, y)?);
    }
    let (tap, y) = (taps[2], taps[3]);
    let mut shortcut = x;
    if b.shape(x) != b.shape(y) {
        let fit = ConvNorm::square(channels[2], 1).stride(stride);
        shortcut = layer(b, &format!("{path}.shortcut"), ["conv", "bn"], fit, x)?;
    }
    let sum = b.add(format!("{path}.sum"), Add {}, &[y, shortcut])?;
    Ok((sum, tap))
}

fn filter(b: &Builder, dilation: usize, x: NodeId) -> ConvNorm {
    let channels = b.channels(x);
    ConvNorm::square(channels, 3)
        .groups(channels)
        .dilated(dilation)
}

fn layer(
    b: &mut Builder,
    path: &str,
    names: [&str; 2],
    row: ConvNorm,
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let norm = BatchNorm {
        epsilon: 1e-3,
        ..BatchNorm::default()
    };
    let names = names.map(|name| format!("{path}.{name}"));
    conv_norm(b, names.each_ref().map(|s| &**s), &row.norm(norm), x)
}

fn xception65(options: &Options) -> Result<Graph, GraphError> {
    let mut b = Builder::new("xception65");
    let x = b.input("image", &options.image_or([299; 2]), Element::Number)?;
    let mut x = body(&mut b, "", 32, x)?.high;
    x = b.add("head.global_pool", GlobalAverage {}, &[x])?;
    x = b.add("head.fc", Linear::dense(options.image_classes()), &[x])?;
    b.finish(&[x])
}
