//! SSDLite (Sandler et al., 2018) on MobileNetV3 (Howard et al., 2019), with the weight names of torchvision.
//!
//! The network gives scores of classes, the first of them for nothing, and offsets of default boxes; boxes of these are made behind it.

use squeeze_graph::ops::{Activation, BatchNorm};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use super::mobilenet_v3::{Gate, LARGE, Row, block};
use crate::blocks::{
    BoxHead, ConvNorm, InvertedNames, box_head, expanded, inverted, projected, sequence,
};
use crate::list::{Entry, Options, Task};

/// The published network.
pub(crate) const ROWS: &[Entry] = &[Entry::new(
    "ssdlite320_mobilenet_v3_large",
    Task::Detection,
    "Howard et al., 2019; torchvision",
    3_440_060,
    ssdlite,
)
.gmacs("0.583")
.accuracy(21.3, "% box mAP on COCO (torchvision)")];

/// The blocks of the backbone that are as without a head.
const SHARED: usize = 12;

/// Those behind them, with half the channels: the first is cut where it is widest, for the finest map.
const REDUCED: [Row; 3] = [
    (5, 672, 80, Gate::Se, Activation::HardSwish, 2),
    (5, 480, 80, Gate::Se, Activation::HardSwish, 1),
    (5, 480, 80, Gate::Se, Activation::HardSwish, 1),
];

/// Channels of the maps behind the backbone, each half as high and wide as the one before.
const EXTRA: [usize; 4] = [512, 256, 256, 128];

/// Default boxes at each pixel: two squares, and two shapes both ways.
const BOXES: usize = 6;

/// Classes of COCO's numbers, with the one for nothing and those that are not used.
const CLASSES: usize = 91;

fn ssdlite(options: &Options) -> Result<Graph, GraphError> {
    let norm = BatchNorm {
        epsilon: 1e-3,
        momentum: 0.03,
    };
    let mut b = Builder::new("ssdlite320_mobilenet_v3_large");
    let image = b.input("image", &options.image_or([320; 2]), Element::Number)?;
    let mut maps = backbone(&mut b, &norm, image)?;
    for (index, out) in EXTRA.into_iter().enumerate() {
        let x = *maps.last().expect("those of the backbone");
        maps.push(extra(&mut b, [index, out], &norm, x)?);
    }
    let classes = options.classes.unwrap_or(CLASSES);
    let head = |numbers| BoxHead {
        boxes: BOXES,
        numbers,
        norm: norm.clone(),
    };
    let scores = box_head(&mut b, "head.classification_head", &head(classes), &maps)?;
    let offsets = box_head(&mut b, "head.regression_head", &head(4), &maps)?;
    b.finish(&[scores, offsets])
}

/// Adds the backbone; gives its maps at a 16th and at a 32nd of the image.
fn backbone(b: &mut Builder, norm: &BatchNorm, image: NodeId) -> Result<Vec<NodeId>, GraphError> {
    let swish = Activation::HardSwish;
    let fine = |index: usize| format!("backbone.features.0.{index}");
    let deep = |index: usize| format!("backbone.features.1.{index}");
    let stem = ConvNorm::square(16, 3).stride(2).norm(norm.clone());
    let mut x = sequence(b, &fine(0), &stem.then(swish), image)?;
    for (index, row) in LARGE[..SHARED].iter().enumerate() {
        let row = block(row, norm);
        let names = InvertedNames::counted(&fine(index + 1), &row, b.channels(x));
        x = inverted(b, &names, &row, x)?;
    }
    let [cut, rest @ ..] = &REDUCED;
    let row = block(cut, norm);
    let names = cut_names(&fine(SHARED + 1), &deep(0));
    let wide = expanded(b, &names, &row, x)?;
    x = projected(b, &names, &row, [x, wide])?;
    for (index, row) in rest.iter().enumerate() {
        let row = block(row, norm);
        let names = InvertedNames::counted(&deep(index + 1), &row, b.channels(x));
        x = inverted(b, &names, &row, x)?;
    }
    let last = ConvNorm::square(6 * b.channels(x), 1).norm(norm.clone());
    x = sequence(b, &deep(REDUCED.len()), &last.then(swish), x)?;
    Ok(vec![wide, x])
}

/// Names inside the block whose first step belongs to the finest map.
fn cut_names(first: &str, rest: &str) -> InvertedNames {
    let pair = |path: String| [0, 1].map(|part| format!("{path}.{part}"));
    InvertedNames {
        steps: [
            pair(first.to_owned()),
            pair(format!("{rest}.1")),
            pair(format!("{rest}.3")),
        ],
        gate: format!("{rest}.2"),
        sum: format!("{rest}.sum"),
    }
}

/// Adds one more map of `out` channels: narrow, filter each channel, widen.
fn extra(
    b: &mut Builder,
    [index, out]: [usize; 2],
    norm: &BatchNorm,
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let inner = out / 2;
    let steps = [
        ConvNorm::square(inner, 1),
        ConvNorm::square(inner, 3).groups(inner).stride(2),
        ConvNorm::square(out, 1),
    ];
    let mut x = x;
    for (step, row) in steps.into_iter().enumerate() {
        let row = row.norm(norm.clone()).then(Activation::Relu6);
        x = sequence(b, &format!("backbone.extra.{index}.{step}"), &row, x)?;
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 6 boxes at each of 20 x 20, 10 x 10, 5 x 5, 3 x 3, 2 x 2 and 1 pixels.
    #[test]
    fn gives_scores_and_offsets_of_each_default_box() {
        let graph = ssdlite(&Options::default()).expect("the published sizes");
        let shapes = graph.outputs().iter().map(|&id| &*graph.node(id).shape);
        assert_eq!(
            shapes.collect::<Vec<_>>(),
            [&[1, 3234, 91][..], &[1, 3234, 4]]
        );
    }
}
