//! MobileNetV2 (Sandler et al., 2018) in any width, with the weight names of torchvision.

use squeeze_graph::ops::{Activation, Dropout, GlobalAverage, Linear};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::blocks::{ConvNorm, Inverted, InvertedNames, divisible, inverted, sequence};
use crate::list::{Entry, Options, TOP1, Task};

/// The published network; other widths through [`Options::width`].
pub(crate) const ROWS: &[Entry] = &[Entry::new(
    "mobilenet_v2",
    Task::Image,
    "Sandler et al., 2018; torchvision",
    3_504_872,
    mobilenet_v2,
)
.gmacs("0.301")
.accuracy(71.878, TOP1)];

/// Expansion, channels, repeats, stride of the first.
pub(crate) const STAGES: &[[usize; 4]] = &[
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

fn mobilenet_v2(options: &Options) -> Result<Graph, GraphError> {
    let width = options.width.unwrap_or(1.0);
    let scaled = |channels: usize, width: f64| divisible(channels as f64 * width);
    let mut b = Builder::new("mobilenet_v2");
    let mut x = b.input("image", &options.image_shape(), Element::Number)?;
    let stem = ConvNorm::square(scaled(32, width), 3).stride(2);
    let act = Activation::Relu6;
    x = sequence(&mut b, "features.0", &stem.then(act), x)?;
    let mut index = 1;
    for &[expand, channels, repeats, stride] in STAGES {
        for repeat in 0..repeats {
            let row = Inverted {
                stride: if repeat == 0 { stride } else { 1 },
                activation: act,
                ..Inverted::new(scaled(channels, width), expand * b.channels(x))
            };
            x = inverted(&mut b, &names(index, expand), &row, x)?;
            index += 1;
        }
    }
    let last = ConvNorm::square(scaled(1280, width.max(1.0)), 1).then(act);
    x = sequence(&mut b, "features.18", &last, x)?;
    x = b.add("pool", GlobalAverage {}, &[x])?;
    x = b.add("classifier.0", Dropout { rate: 0.2 }, &[x])?;
    x = b.add("classifier.1", Linear::dense(options.image_classes()), &[x])?;
    b.finish(&[x])
}

/// torchvision's names: without an expanding convolution the others move up.
fn names(index: usize, expand: usize) -> InvertedNames {
    let at = |last: &str| format!("features.{index}.conv.{last}");
    let first = usize::from(expand > 1);
    let pair = |step: usize| [at(&format!("{step}.0")), at(&format!("{step}.1"))];
    let last = [at(&format!("{}", first + 1)), at(&format!("{}", first + 2))];
    InvertedNames {
        steps: [pair(0), pair(first), last],
        gate: at("gate"),
        sum: format!("features.{index}.sum"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multiply-adds in units of 10^6 printed by d-li14/mobilenetv2.pytorch, at 224 pixels.
    #[test]
    fn widths_cost_what_is_published() {
        for (width, wanted) in [(1.0, 300.8), (0.75, 209.1), (0.5, 97.1), (0.35, 59.3)] {
            let options = Options {
                width: Some(width),
                ..Options::default()
            };
            let found = mobilenet_v2(&options).expect("fits").cost().macs as f64 / 1e6;
            assert_eq!(
                format!("{found:.1}"),
                format!("{wanted:.1}"),
                "width {width}"
            );
        }
    }
}
