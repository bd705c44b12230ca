//! DeepLabV3 (Chen et al., 2017) on a dilated ResNet or MobileNetV3, with the weight names of
//! torchvision.

use squeeze_graph::ops::Activation;
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use super::fcn::{AUXILIARY, auxiliary};
use super::mobilenet_v3::{self, LARGE};
use super::resnet::{RESNET50, RESNET101};
use crate::blocks::{Aspp, ConvNorm, Window, aspp, bilinear_like, conv_norm, pixel_classifier};
use crate::list::{Entry, MIOU, Make, Options, Task};

/// The published networks.
pub(crate) const ROWS: &[Entry] = &[
    row(
        "deeplabv3_resnet50",
        42_004_074,
        "178.722",
        66.4,
        |options| {
            deeplab("deeplabv3_resnet50", options, |b, x| {
                RESNET50.body(b, "backbone.", 8, x)
            })
        },
    ),
    row(
        "deeplabv3_resnet101",
        60_996_202,
        "258.743",
        67.4,
        |options| {
            deeplab("deeplabv3_resnet101", options, |b, x| {
                RESNET101.body(b, "backbone.", 8, x)
            })
        },
    ),
    row(
        "deeplabv3_mobilenet_v3_large",
        11_029_328,
        "10.452",
        60.3,
        |options| {
            deeplab("deeplabv3_mobilenet_v3_large", options, |b, x| {
                Ok(mobilenet_v3::features(b, "backbone", LARGE, 16, x)?[LARGE.len() + 1])
            })
        },
    )
    .beyond(auxiliary(40)),
];

const fn row(name: &'static str, params: u64, gmacs: &'static str, miou: f64, make: Make) -> Entry {
    let source = "Chen et al., 2017; torchvision";
    Entry::new(name, Task::Segment, source, params, make)
        .gmacs(gmacs)
        .accuracy(miou, MIOU)
        .beyond(AUXILIARY)
}

fn deeplab(
    name: &str,
    options: &Options,
    backbone: fn(&mut Builder, NodeId) -> Result<NodeId, GraphError>,
) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let image = b.input("image", &options.image_or([520; 2]), Element::Number)?;
    let mut x = backbone(&mut b, image)?;
    let pyramid = Aspp {
        out: 256,
        rates: [12, 24, 36],
        window: Window::Dense,
    };
    x = aspp(&mut b, "classifier.0", pyramid, x)?;
    let inner = ConvNorm::square(256, 3).then(Activation::Relu);
    x = conv_norm(&mut b, ["classifier.1", "classifier.2"], &inner, x)?;
    x = b.add(
        "classifier.4",
        pixel_classifier(options.pixel_classes()),
        &[x],
    )?;
    x = bilinear_like(&mut b, "out", [x, image])?;
    b.finish(&[x])
}
