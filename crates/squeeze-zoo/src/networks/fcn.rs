//! FCN (Long et al., 2014) on a dilated ResNet, with the weight names of torchvision.

use squeeze_graph::ops::{Activation, Dropout};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use super::resnet::{RESNET50, RESNET101, Resnet};
use crate::blocks::{ConvNorm, bilinear_like, pixel_classifier, sequence};
use crate::list::{Beyond, Entry, MIOU, Make, Options, Task};

/// The published networks.
pub(crate) const ROWS: &[Entry] = &[
    row("fcn_resnet50", 35_322_218, "152.717", 60.5, |options| {
        fcn("fcn_resnet50", &RESNET50, options)
    }),
    row("fcn_resnet101", 54_314_346, "232.738", 63.7, |options| {
        fcn("fcn_resnet101", &RESNET101, options)
    }),
];

const fn row(name: &'static str, params: u64, gmacs: &'static str, miou: f64, make: Make) -> Entry {
    let source = "Long et al., 2014; torchvision";
    Entry::new(name, Task::Segment, source, params, make)
        .gmacs(gmacs)
        .accuracy(miou, MIOU)
        .beyond(AUXILIARY)
}

/// The classifier on the third stage of a ResNet.
pub(crate) const AUXILIARY: Beyond = auxiliary(1024);

/// The classifier on `channels` at an eighth of the image, which only training uses.
pub(crate) const fn auxiliary(channels: u64) -> Beyond {
    let (inner, classes, pixels) = (channels / 4, 21, 65 * 65);
    let weights = channels * inner * 9 + inner * classes;
    Beyond {
        params: weights + 2 * inner + classes,
        macs: weights * pixels,
        path: "aux_classifier",
        what: "auxiliary classifier, for training alone",
    }
}

fn fcn(name: &str, backbone: &Resnet, options: &Options) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let image = b.input("image", &options.image_or([520; 2]), Element::Number)?;
    let mut x = backbone.body(&mut b, "backbone.", 8, image)?;
    let inner = ConvNorm::square(b.channels(x) / 4, 3).then(Activation::Relu);
    x = sequence(&mut b, "classifier", &inner, x)?;
    x = b.add("classifier.3", Dropout { rate: 0.1 }, &[x])?;
    x = b.add(
        "classifier.4",
        pixel_classifier(options.pixel_classes()),
        &[x],
    )?;
    x = bilinear_like(&mut b, "out", [x, image])?;
    b.finish(&[x])
}
