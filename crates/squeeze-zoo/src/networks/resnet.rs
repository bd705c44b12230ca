//! ResNet (He et al., 2015) with the stride on the 3x3 convolution, and ResNeXt (Xie et al., 2016),
//! with the weight names of torchvision.

use squeeze_graph::ops::{Activation, Add, GlobalAverage, Linear, Pool, PoolKind};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{ConvNorm, conv_norm, sequence};
use crate::list::{Entry, Make, Options, TOP1, Task};

/// The published depths.
pub(crate) const ROWS: &[Entry] = &[
    row("resnet18", 11_689_512, "1.814", 69.758, |options| {
        resnet("resnet18", &Resnet::basic([2, 2, 2, 2]), options)
    }),
    row("resnet34", 21_797_672, "3.664", 73.314, |options| {
        resnet("resnet34", &Resnet::basic([3, 4, 6, 3]), options)
    }),
    row("resnet50", 25_557_032, "4.089", 76.130, |options| {
        resnet("resnet50", &RESNET50, options)
    }),
    row("resnet101", 44_549_160, "7.801", 77.374, |options| {
        resnet("resnet101", &RESNET101, options)
    }),
    row("resnet152", 60_192_808, "11.514", 78.312, |options| {
        resnet("resnet152", &Resnet::bottleneck([3, 8, 36, 3]), options)
    }),
    Entry {
        source: "Xie et al., 2016; torchvision",
        ..row("resnext50_32x4d", 25_028_904, "4.230", 77.618, |options| {
            let row = Resnet {
                groups: 32,
                group_width: 4,
                ..RESNET50
            };
            resnet("resnext50_32x4d", &row, options)
        })
    },
];

const fn row(name: &'static str, params: u64, gmacs: &'static str, top1: f64, make: Make) -> Entry {
    Entry::new(
        name,
        Task::Image,
        "He et al., 2015; torchvision",
        params,
        make,
    )
    .gmacs(gmacs)
    .accuracy(top1, TOP1)
}

pub(crate) const RESNET50: Resnet = Resnet::bottleneck([3, 4, 6, 3]);
pub(crate) const RESNET101: Resnet = Resnet::bottleneck([3, 4, 23, 3]);

/// The body of a ResNet.
#[derive(Clone, Copy)]
pub(crate) struct Resnet {
    kind: Kind,
    repeats: [usize; 4],
    groups: usize,
    /// Channels of a group in the first stage.
    group_width: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3, 1x1 with four times the channels.
    Bottleneck,
}

impl Resnet {
    const fn basic(repeats: [usize; 4]) -> Self {
        Self {
            kind: Kind::Basic,
            ..Self::bottleneck(repeats)
        }
    }

    const fn bottleneck(repeats: [usize; 4]) -> Self {
        Self {
            kind: Kind::Bottleneck,
            repeats,
            groups: 1,
            group_width: 64,
        }
    }

    /// Adds the body under `prefix`; gives what comes out of the last stage. Strides beyond
    /// `output_stride` become dilation (Chen et al., 2017).
    pub(crate) fn body(
        &self,
        b: &mut Builder,
        prefix: &str,
        output_stride: usize,
        x: NodeId,
    ) -> Result<NodeId, GraphError> {
        let name = |last: &str| format!("{prefix}{last}");
        let stem = ConvNorm::square(64, 7).stride(2).then(Activation::Relu);
        let mut x = conv_norm(b, [&name("conv1"), &name("bn1")], &stem, x)?;
        let pool = Pool {
            kind: PoolKind::Max,
            kernel: [3; 2],
            stride: [2; 2],
            padding: [1; 4],
            ceil: false,
        };
        x = b.add(name("maxpool"), pool, &[x])?;
        let (mut strides, mut dilation) = (4, 1);
        for (stage, repeats) in self.repeats.into_iter().enumerate() {
            // The first block of a dilated stage keeps the dilation of the stage before.
            let (mut stride, mut first) = (1, dilation);
            if stage > 0 && strides < output_stride {
                (stride, strides) = (2, 2 * strides);
            } else if stage > 0 {
                dilation *= 2;
            }
            for repeat in 0..repeats {
                let path = name(&format!("layer{}.{repeat}", stage + 1));
                x = self.residual(b, &path, [64 << stage, stride, first], x)?;
                (stride, first) = (1, dilation);
            }
        }
        Ok(x)
    }

    fn residual(
        &self,
        b: &mut Builder,
        path: &str,
        [width, stride, dilation]: [usize; 3],
        x: NodeId,
    ) -> Result<NodeId, GraphError> {
        let relu = Activation::Relu;
        let steps = match self.kind {
            Kind::Basic => vec![
                ConvNorm::square(width, 3).stride(stride).then(relu),
                ConvNorm::square(width, 3),
            ],
            Kind::Bottleneck => {
                let inner = width * self.group_width / 64 * self.groups;
                let window = ConvNorm::square(inner, 3).groups(self.groups);
                vec![
                    ConvNorm::square(inner, 1).then(relu),
                    window.stride(stride).dilated(dilation).then(relu),
                    ConvNorm::square(4 * width, 1),
                ]
            }
        };
        let mut y = x;
        for (index, step) in steps.iter().enumerate() {
            let names = ["conv", "bn"].map(|kind| format!("{path}.{kind}{}", index + 1));
            y = conv_norm(b, names.each_ref().map(|s| &**s), step, y)?;
        }
        let mut shortcut = x;
        if b.shape(x) != b.shape(y) {
            let fit = ConvNorm::square(b.channels(y), 1).stride(stride);
            shortcut = sequence(b, &format!("{path}.downsample"), &fit, x)?;
        }
        y = b.add(format!("{path}.sum"), Add {}, &[y, shortcut])?;
        b.add(format!("{path}.relu"), relu, &[y])
    }
}

fn resnet(name: &str, row: &Resnet, options: &Options) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let x = b.input("image", &options.image_shape(), Element::Number)?;
    let x = row.body(&mut b, "", 32, x)?;
    let x = b.add("avgpool", GlobalAverage {}, &[x])?;
    let x = b.add("fc", Linear::dense(options.image_classes()), &[x])?;
    b.finish(&[x])
}
