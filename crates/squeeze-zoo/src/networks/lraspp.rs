//! LR-ASPP on a dilated MobileNetV3 (Howard et al., 2019), with the weight names of torchvision.

use squeeze_graph::ops::{Activation, Add, GlobalAverage, Linear, Mul};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use super::mobilenet_v3::{self, LARGE};
use crate::blocks::{ConvNorm, bilinear_like, pixel_classifier, sequence};
use crate::list::{Entry, MIOU, Options, Task};

/// The published network.
pub(crate) const ROWS: &[Entry] = &[Entry::new(
    "lraspp_mobilenet_v3_large",
    Task::Segment,
    "Howard et al., 2019; torchvision",
    3_221_538,
    lraspp,
)
.gmacs("2.086")
.accuracy(57.9, MIOU)];

/// The entry of the backbone that the head sees beside the last: 40 channels at an eighth of the
/// image.
const LOW: usize = 4;

fn lraspp(options: &Options) -> Result<Graph, GraphError> {
    let mut b = Builder::new("lraspp_mobilenet_v3_large");
    let image = b.input("image", &options.image_or([520; 2]), Element::Number)?;
    let features = mobilenet_v3::features(&mut b, "backbone", LARGE, 16, image)?;
    let (low, high) = (features[LOW], features[LARGE.len() + 1]);
    let inner = ConvNorm::square(128, 1).then(Activation::Relu);
    let mut x = sequence(&mut b, "classifier.cbr", &inner, high)?;
    let linear = Linear {
        bias: false,
        ..Linear::dense(128)
    };
    let mut gate = b.add("classifier.scale.0", GlobalAverage {}, &[high])?;
    gate = b.add("classifier.scale.1", linear, &[gate])?;
    gate = b.add("classifier.scale.2", Activation::Sigmoid, &[gate])?;
    x = b.add("classifier.scale", Mul {}, &[x, gate])?;
    x = bilinear_like(&mut b, "classifier.resize", [x, low])?;
    let classes = pixel_classifier(options.pixel_classes());
    let low = b.add("classifier.low_classifier", classes.clone(), &[low])?;
    x = b.add("classifier.high_classifier", classes, &[x])?;
    x = b.add("classifier.sum", Add {}, &[low, x])?;
    x = bilinear_like(&mut b, "out", [x, image])?;
    b.finish(&[x])
}
