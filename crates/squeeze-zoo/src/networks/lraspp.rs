//! LR-ASPP on a dilated MobileNetV3 (Howard et al., 2019), with the weight names of torchvision.

use squeeze_graph::{Builder, Element, Graph, GraphError};

use super::mobilenet_v3::{self, LARGE};
use crate::blocks::{LrAspp, bilinear_like, lr_aspp};
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
    let head = LrAspp {
        inner: 128,
        classes: options.pixel_classes(),
    };
    let mut x = lr_aspp(&mut b, "classifier", head, [low, high])?;
    x = bilinear_like(&mut b, "out", [x, image])?;
    b.finish(&[x])
}
