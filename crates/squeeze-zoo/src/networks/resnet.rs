//! ResNet (He et al., 2015) with the stride on the 3x3 convolution and the weight names of
//! torchvision.

use squeeze_graph::ops::{Activation, Add, GlobalAverage, Linear, Pool, PoolKind};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{ConvNorm, conv_norm};
use crate::list::{Entry, Options, Task};

/// The published depths.
pub(crate) const ROWS: &[Entry] = &[
    Entry {
        name: "resnet18",
        task: Task::Image,
        source: "He et al., 2015; torchvision",
        params: 11_689_512,
        head: &[],
        gmacs: Some(1.814),
        accuracy: Some("69.758 % top-1 on ImageNet (torchvision)"),
        make: |options| resnet("resnet18", Kind::Basic, [2, 2, 2, 2], options),
    },
    Entry {
        name: "resnet50",
        task: Task::Image,
        source: "He et al., 2015; torchvision",
        params: 25_557_032,
        head: &[],
        gmacs: Some(4.089),
        accuracy: Some("76.130 % top-1 on ImageNet (torchvision, V1 weights)"),
        make: |options| resnet("resnet50", Kind::Bottleneck, [3, 4, 6, 3], options),
    },
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3, 1x1 with four times the channels.
    Bottleneck,
}

fn resnet(
    name: &str,
    kind: Kind,
    repeats: [usize; 4],
    options: &Options,
) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let mut x = b.input("image", &options.image_shape(), Element::Number)?;
    let stem = ConvNorm::square(64, 7).stride(2).then(Activation::Relu);
    x = conv_norm(&mut b, ["conv1", "bn1"], &stem, x)?;
    let pool = Pool {
        kind: PoolKind::Max,
        kernel: [3; 2],
        stride: [2; 2],
        padding: [1; 4],
        ceil: false,
    };
    x = b.add("maxpool", pool, &[x])?;
    for (stage, repeats) in repeats.into_iter().enumerate() {
        for repeat in 0..repeats {
            let path = format!("layer{}.{repeat}", stage + 1);
            let stride = if repeat == 0 && stage > 0 { 2 } else { 1 };
            x = residual(&mut b, &path, kind, [64 << stage, stride], x)?;
        }
    }
    x = b.add("avgpool", GlobalAverage {}, &[x])?;
    x = b.add("fc", Linear::dense(options.image_classes()), &[x])?;
    b.finish(&[x])
}

fn residual(
    b: &mut Builder,
    path: &str,
    kind: Kind,
    [width, stride]: [usize; 2],
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let relu = Activation::Relu;
    let steps = match kind {
        Kind::Basic => vec![
            ConvNorm::square(width, 3).stride(stride).then(relu),
            ConvNorm::square(width, 3),
        ],
        Kind::Bottleneck => vec![
            ConvNorm::square(width, 1).then(relu),
            ConvNorm::square(width, 3).stride(stride).then(relu),
            ConvNorm::square(4 * width, 1),
        ],
    };
    let mut y = x;
    for (index, step) in steps.iter().enumerate() {
        let names = ["conv", "bn"].map(|kind| format!("{path}.{kind}{}", index + 1));
        y = conv_norm(b, names.each_ref().map(|s| &**s), step, y)?;
    }
    let mut shortcut = x;
    if b.shape(x) != b.shape(y) {
        let names = ["0", "1"].map(|last| format!("{path}.downsample.{last}"));
        let fit = ConvNorm::square(b.channels(y), 1).stride(stride);
        shortcut = conv_norm(b, names.each_ref().map(|s| &**s), &fit, x)?;
    }
    y = b.add(format!("{path}.sum"), Add {}, &[y, shortcut])?;
    b.add(format!("{path}.relu"), relu, &[y])
}
