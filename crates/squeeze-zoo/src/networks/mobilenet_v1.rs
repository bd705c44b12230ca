//! MobileNetV1 (Howard et al., 2017), with ReLU6 and the weight names of timm's `mobilenetv1_100`.

use squeeze_graph::ops::{Activation, GlobalAverage, Linear};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::blocks::{ConvNorm, conv_norm, divisible};
use crate::list::{Entry, Options, Task};

/// The published network. Its multiply-adds are the paper's 569 million.
pub(crate) const ROWS: &[Entry] = &[Entry::new(
    "mobilenet_v1",
    Task::Image,
    "Howard et al., 2017; timm",
    4_231_976,
    mobilenet_v1,
)
.gmacs("0.569")
.accuracy(70.6, "% top-1 on ImageNet (the paper)")];

/// Channels, repeats, stride of the first.
const STAGES: &[[usize; 3]] = &[
    [64, 1, 1],
    [128, 2, 2],
    [256, 2, 2],
    [512, 6, 2],
    [1024, 2, 2],
];

fn mobilenet_v1(options: &Options) -> Result<Graph, GraphError> {
    let act = Activation::Relu6;
    let width = options.width.unwrap_or(1.0);
    let scaled = |channels: usize| divisible(channels as f64 * width);
    let mut b = Builder::new("mobilenet_v1");
    let mut x = b.input("image", &options.image_shape(), Element::Number)?;
    let stem = ConvNorm::square(scaled(32), 3).stride(2).then(act);
    x = conv_norm(&mut b, ["conv_stem", "bn1"], &stem, x)?;
    for (stage, &[out, repeats, stride]) in STAGES.iter().enumerate() {
        for repeat in 0..repeats {
            let name = |last: &str| format!("blocks.{stage}.{repeat}.{last}");
            let channels = b.channels(x);
            let stride = if repeat == 0 { stride } else { 1 };
            let filter = ConvNorm::square(channels, 3)
                .groups(channels)
                .stride(stride);
            let names = [&*name("conv_dw"), &name("bn1")];
            x = conv_norm(&mut b, names, &filter.then(act), x)?;
            let point = ConvNorm::square(scaled(out), 1).then(act);
            x = conv_norm(&mut b, [&name("conv_pw"), &name("bn2")], &point, x)?;
        }
    }
    x = b.add("global_pool", GlobalAverage {}, &[x])?;
    x = b.add("classifier", Linear::dense(options.image_classes()), &[x])?;
    b.finish(&[x])
}

#[cfg(test)]
mod tests {
    use crate::{Options, build};

    /// Millions of multiply-adds and parameters as the paper prints them (tables 6 and 7).
    #[test]
    fn widths_and_resolutions() {
        let wanted = [
            (1.0, 224, 569.0, 4.2),
            (0.75, 224, 325.0, 2.6),
            (0.5, 224, 149.0, 1.3),
            (0.25, 224, 41.0, 0.5),
            (1.0, 192, 418.0, 4.2),
            (1.0, 160, 290.0, 4.2),
            (1.0, 128, 186.0, 4.2),
        ];
        for (width, image, macs, params) in wanted {
            let options = Options {
                width: Some(width),
                image: Some(image),
                ..Options::default()
            };
            let cost = build("mobilenet_v1", &options).expect("fits").cost();
            let found = cost.macs as f64 / 1e6;
            assert!((found - macs).abs() < 1.0, "{width} at {image}: {found} M");
            let found = cost.params as f64 / 1e6;
            assert!(
                (found - params).abs() < 0.06,
                "{width}: {found} M parameters"
            );
        }
    }
}
