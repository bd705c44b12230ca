//! EfficientNet (Tan and Le, 2019), grown in depth, width and resolution by one rule, with the
//! weight names of torchvision; and FixEfficientNet (Touvron et al., 2020), the same networks on
//! larger images.

use squeeze_graph::ops::{Activation, BatchNorm, Dropout, GlobalAverage, Linear};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::blocks::{
    ConvNorm, Inverted, InvertedNames, SqueezeExcite, divisible, inverted, sequence,
};
use crate::list::{Entry, Make, Options, TOP1, Task};

/// The published sizes.
pub(crate) const ROWS: &[Entry] = &[
    row("efficientnet_b0", B0_PARAMS, |o| B0.graph(o))
        .gmacs("0.386")
        .accuracy(77.692, TOP1),
    row("efficientnet_b1", B1_PARAMS, |o| B1.graph(o))
        .gmacs("0.687")
        .accuracy(78.642, TOP1),
    row("efficientnet_b2", B2_PARAMS, |o| B2.graph(o))
        .gmacs("1.088")
        .accuracy(80.608, TOP1),
    row("efficientnet_b3", B3_PARAMS, |o| B3.graph(o))
        .gmacs("1.827")
        .accuracy(82.008, TOP1),
    row("efficientnet_b4", B4_PARAMS, |o| B4.graph(o))
        .gmacs("4.394")
        .accuracy(83.384, TOP1),
    row("efficientnet_b5", B5_PARAMS, |o| B5.graph(o))
        .gmacs("10.266")
        .accuracy(83.444, TOP1),
    row("efficientnet_b6", B6_PARAMS, |o| B6.graph(o))
        .gmacs("19.068")
        .accuracy(84.008, TOP1),
    row("efficientnet_b7", B7_PARAMS, |o| B7.graph(o))
        .gmacs("37.746")
        .accuracy(84.122, TOP1),
    fixed("fixefficientnet_b0", B0_PARAMS, 79.3, |o| {
        B0.at("fixefficientnet_b0", 320).graph(o)
    }),
    fixed("fixefficientnet_b1", B1_PARAMS, 81.3, |o| {
        B1.at("fixefficientnet_b1", 384).graph(o)
    }),
    fixed("fixefficientnet_b2", B2_PARAMS, 82.0, |o| {
        B2.at("fixefficientnet_b2", 420).graph(o)
    }),
    fixed("fixefficientnet_b3", B3_PARAMS, 83.0, |o| {
        B3.at("fixefficientnet_b3", 472).graph(o)
    }),
    fixed("fixefficientnet_b4", B4_PARAMS, 84.0, |o| {
        B4.at("fixefficientnet_b4", 512).graph(o)
    }),
    fixed("fixefficientnet_b5", B5_PARAMS, 84.7, |o| {
        B5.at("fixefficientnet_b5", 576).graph(o)
    }),
    fixed("fixefficientnet_b6", B6_PARAMS, 84.9, |o| {
        B6.at("fixefficientnet_b6", 576).graph(o)
    }),
    fixed("fixefficientnet_b7", B7_PARAMS, 85.3, |o| {
        B7.at("fixefficientnet_b7", 632).graph(o)
    }),
];

const fn row(name: &'static str, params: u64, make: Make) -> Entry {
    Entry::new(
        name,
        Task::Image,
        "Tan and Le, 2019; torchvision",
        params,
        make,
    )
}

/// The same network, on images of the size it was tuned for and tested at.
const fn fixed(name: &'static str, params: u64, top1: f64, make: Make) -> Entry {
    let source = "Touvron et al., 2020; facebookresearch/FixRes";
    Entry::new(name, Task::Image, source, params, make)
        .accuracy(top1, FIXED_TOP1)
        .remark("published weights expect TensorFlow's padding; here it is torchvision's")
}

const FIXED_TOP1: &str = "% top-1 on ImageNet (facebookresearch/FixRes, no extra data)";

const B0_PARAMS: u64 = 5_288_548;
const B1_PARAMS: u64 = 7_794_184;
const B2_PARAMS: u64 = 9_109_994;
const B3_PARAMS: u64 = 12_233_232;
const B4_PARAMS: u64 = 19_341_616;
const B5_PARAMS: u64 = 30_389_784;
const B6_PARAMS: u64 = 43_040_704;
const B7_PARAMS: u64 = 66_347_960;

const B0: Size = Size::new("efficientnet_b0", [1.0, 1.0], 224, 0.2);
const B1: Size = Size::new("efficientnet_b1", [1.0, 1.1], 240, 0.2);
const B2: Size = Size::new("efficientnet_b2", [1.1, 1.2], 288, 0.3);
const B3: Size = Size::new("efficientnet_b3", [1.2, 1.4], 300, 0.3);
const B4: Size = Size::new("efficientnet_b4", [1.4, 1.8], 380, 0.4);
const B5: Size = Size::new("efficientnet_b5", [1.6, 2.2], 456, 0.4).tensorflow();
const B6: Size = Size::new("efficientnet_b6", [1.8, 2.6], 528, 0.5).tensorflow();
const B7: Size = Size::new("efficientnet_b7", [2.0, 3.1], 600, 0.5).tensorflow();

/// How far the smallest network is grown. Resolutions are those of torchvision's weights.
struct Size {
    name: &'static str,
    width: f64,
    depth: f64,
    resolution: usize,
    dropout: f64,
    norm: BatchNorm,
}

/// Window, expansion, channels, repeats, stride of the first; of the smallest network.
const STAGES: &[[usize; 5]] = &[
    [3, 1, 16, 1, 1],
    [3, 6, 24, 2, 2],
    [5, 6, 40, 2, 2],
    [3, 6, 80, 3, 2],
    [5, 6, 112, 3, 1],
    [5, 6, 192, 4, 2],
    [3, 6, 320, 1, 1],
];

impl Size {
    const fn new(
        name: &'static str,
        [width, depth]: [f64; 2],
        resolution: usize,
        dropout: f64,
    ) -> Self {
        let norm = BatchNorm {
            epsilon: 1e-5,
            momentum: 0.1,
        };
        Self {
            name,
            width,
            depth,
            resolution,
            dropout,
            norm,
        }
    }

    /// With the norms of the weights that came from TensorFlow.
    const fn tensorflow(mut self) -> Self {
        self.norm = BatchNorm {
            epsilon: 1e-3,
            momentum: 0.01,
        };
        self
    }

    /// On images of another size.
    fn at(self, name: &'static str, resolution: usize) -> Self {
        Self {
            name,
            resolution,
            ..self
        }
    }

    fn graph(&self, options: &Options) -> Result<Graph, GraphError> {
        let act = Activation::Silu;
        let scaled = |channels: usize| divisible(channels as f64 * self.width);
        let mut b = Builder::new(self.name);
        let image = options.image_or([self.resolution; 2]);
        let mut x = b.input("image", &image, Element::Number)?;
        let stem = ConvNorm::square(scaled(32), 3).stride(2);
        let stem = stem.norm(self.norm.clone()).then(act);
        x = sequence(&mut b, "features.0", &stem, x)?;
        for (stage, &[kernel, expand, channels, repeats, stride]) in STAGES.iter().enumerate() {
            for repeat in 0..(repeats as f64 * self.depth).ceil() as usize {
                let before = b.channels(x);
                let row = Inverted {
                    kernel,
                    stride: if repeat == 0 { stride } else { 1 },
                    activation: act,
                    gate: Some(SqueezeExcite {
                        squeeze: before / 4,
                        inner: act,
                        gate: Activation::Sigmoid,
                    }),
                    norm: self.norm.clone(),
                    ..Inverted::new(scaled(channels), expand * before)
                };
                let path = format!("features.{}.{repeat}", stage + 1);
                let names = InvertedNames::counted(&path, &row, before);
                x = inverted(&mut b, &names, &row, x)?;
            }
        }
        let last = ConvNorm::square(4 * b.channels(x), 1).norm(self.norm.clone());
        x = sequence(&mut b, "features.8", &last.then(act), x)?;
        x = b.add("avgpool", GlobalAverage {}, &[x])?;
        let rate = self.dropout;
        x = b.add("classifier.0", Dropout { rate }, &[x])?;
        x = b.add("classifier.1", Linear::dense(options.image_classes()), &[x])?;
        b.finish(&[x])
    }
}
