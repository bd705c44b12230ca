//! DeepLabV3+ (Chen et al., 2018): on a dilated MobileNetV2 with the weight names of
//! VainF/DeepLabV3Plus-Pytorch, and on Xception-65 with separable convolutions in the head, as
//! tensorflow/models has it.
//!
//! In the MobileNetV2 the first convolution is not padded, and each block pads its input instead
//! of the image inside it: the border that the depthwise convolution sees has gone through the
//! norm.

use squeeze_graph::ops::{Activation, Add, Concat};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use super::mobilenet_v2::STAGES;
use super::xception::{self, Features};
use crate::blocks::{
    Aspp, ConvNorm, Window, aspp, bilinear_like, conv_norm, pixel_classifier, sequence, window,
};
use crate::list::{Entry, Options, Task};

/// The published networks: at 513 x 513 pixels with the classes of Pascal VOC, and at 1025 x 2049
/// with those of Cityscapes.
pub(crate) const ROWS: &[Entry] = &[
    Entry::new(
        "deeplabv3plus_mobilenet",
        Task::Segment,
        "Chen et al., 2018; VainF/DeepLabV3Plus-Pytorch",
        5_225_717,
        on_mobilenet,
    )
    .remark("the source prints 17.0 G, with norms and activations counted")
    .accuracy(
        71.1,
        "% mean IoU on Pascal VOC 2012 (VainF/DeepLabV3Plus-Pytorch)",
    ),
    Entry::new(
        "deeplabv3plus_xception65",
        Task::Segment,
        "Chen et al., 2018; tensorflow/models",
        41_054_899,
        on_xception,
    )
    .accuracy(
        78.79,
        "% mean IoU on Cityscapes, validation (tensorflow/models)",
    )
    .remark(
        "parameters are counted; the source prints 418.64 G, 0.06 % more, and not what it counts",
    ),
];

const ACT: Activation = Activation::Relu6;

/// Blocks that lie in front of the features that the decoder sees.
const LOW: usize = 3;

fn on_mobilenet(options: &Options) -> Result<Graph, GraphError> {
    let mut b = Builder::new("deeplabv3plus_mobilenet");
    let image = b.input("image", &options.image_or([513; 2]), Element::Number)?;
    let features = mobilenet(&mut b, image)?;
    let classes = options.pixel_classes();
    let x = head(&mut b, Window::Dense, classes, features)?;
    let x = bilinear_like(&mut b, "out", [x, image])?;
    b.finish(&[x])
}

fn on_xception(options: &Options) -> Result<Graph, GraphError> {
    let mut b = Builder::new("deeplabv3plus_xception65");
    let image = options.image_or([1025, 2049]);
    let image = b.input("image", &image, Element::Number)?;
    let features = xception::body(&mut b, "backbone.", 16, image)?;
    let classes = options.classes.unwrap_or(19);
    let x = head(&mut b, Window::Separable, classes, features)?;
    let x = bilinear_like(&mut b, "out", [x, image])?;
    b.finish(&[x])
}

/// The pyramid on the last features beside the narrowed first ones, and the classes of each pixel.
/// Separable windows are two, a dense one is alone.
fn head(
    b: &mut Builder,
    kind: Window,
    classes: usize,
    features: Features,
) -> Result<NodeId, GraphError> {
    let pyramid = Aspp {
        out: 256,
        rates: [6, 12, 18],
        window: kind,
    };
    let mut x = aspp(b, "classifier.aspp", pyramid, features.high)?;
    let narrow = ConvNorm::square(48, 1).then(Activation::Relu);
    let low = sequence(b, "classifier.project", &narrow, features.low)?;
    x = bilinear_like(b, "classifier.resize", [x, low])?;
    x = b.add("classifier.concat", Concat { axis: 1 }, &[low, x])?;
    let paths: &[&str] = match kind {
        Window::Dense => &["classifier.classifier"],
        Window::Separable => &["classifier.classifier.0", "classifier.classifier.1"],
    };
    for path in paths {
        x = window(b, path, kind, [256, 1], x)?;
    }
    b.add("classifier.classifier.3", pixel_classifier(classes), &[x])
}

fn mobilenet(b: &mut Builder, image: NodeId) -> Result<Features, GraphError> {
    let mut stem = ConvNorm::square(32, 3).stride(2).then(ACT);
    stem.conv.padding = [0; 4];
    let mut x = sequence(b, "backbone.low_level_features.0", &stem, image)?;
    let (mut low, mut index, mut strides, mut dilation) = (x, 1, 2, 1);
    for &[expand, out, repeats, stride] in STAGES {
        // The first block of a dilated stage keeps the dilation of the stage before.
        let mut next = [1, dilation];
        if strides < 16 {
            (next[0], strides) = (stride, strides * stride);
        } else {
            dilation *= stride;
        }
        for _ in 0..repeats {
            let level = if index <= LOW { "low" } else { "high" };
            let path = format!("backbone.{level}_level_features.{index}");
            x = block(b, &path, [expand, out], next, x)?;
            if index == LOW {
                low = x;
            }
            next = [1, dilation];
            index += 1;
        }
    }
    Ok(Features { low, high: x })
}

fn block(
    b: &mut Builder,
    path: &str,
    [expand, out]: [usize; 2],
    [stride, dilation]: [usize; 2],
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let channels = b.channels(x);
    let hidden = expand * channels;
    let mut filter = ConvNorm::square(hidden, 3)
        .groups(hidden)
        .dilated(dilation)
        .stride(stride)
        .then(ACT);
    let (mut y, mut step) = (x, 0);
    if expand > 1 {
        let mut point = ConvNorm::square(hidden, 1).then(ACT);
        std::mem::swap(&mut point.conv.padding, &mut filter.conv.padding);
        y = sequence(b, &format!("{path}.conv.0"), &point, y)?;
        step = 1;
    }
    y = sequence(b, &format!("{path}.conv.{step}"), &filter, y)?;
    let names = [1, 2].map(|part| format!("{path}.conv.{}", step + part));
    let project = ConvNorm::square(out, 1);
    y = conv_norm(b, names.each_ref().map(|s| &**s), &project, y)?;
    match stride == 1 && channels == out {
        true => b.add(format!("{path}.sum"), Add {}, &[x, y]),
        false => Ok(y),
    }
}
