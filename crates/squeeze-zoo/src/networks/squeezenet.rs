//! SqueezeNet (Iandola et al., 2016), with the weight names of torchvision.

use squeeze_graph::ops::{Activation, Conv2d, Dropout, GlobalAverage, Pool, PoolKind};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::blocks::{Fire, fire};
use crate::list::{Entry, Make, Options, TOP1, Task};

/// The published versions.
pub(crate) const ROWS: &[Entry] = &[
    row("squeezenet1_0", 1_248_424, "0.819", 58.092, |options| {
        squeezenet("squeezenet1_0", V1_0, options)
    }),
    row("squeezenet1_1", 1_235_496, "0.349", 58.178, |options| {
        squeezenet("squeezenet1_1", V1_1, options)
    }),
];

const fn row(name: &'static str, params: u64, gmacs: &'static str, top1: f64, make: Make) -> Entry {
    let source = "Iandola et al., 2016; torchvision";
    Entry::new(name, Task::Image, source, params, make)
        .gmacs(gmacs)
        .accuracy(top1, TOP1)
}

enum Layer {
    /// Output channels and window, stride 2, with ReLU.
    Conv(usize, usize),
    /// The largest of 3x3, stride 2.
    Max,
    /// Squeeze channels, and channels of each expanding convolution.
    Fire(usize, usize),
}

use Layer::{Conv, Max};

const V1_0: &[Layer] = &[
    Conv(96, 7),
    Max,
    Layer::Fire(16, 64),
    Layer::Fire(16, 64),
    Layer::Fire(32, 128),
    Max,
    Layer::Fire(32, 128),
    Layer::Fire(48, 192),
    Layer::Fire(48, 192),
    Layer::Fire(64, 256),
    Max,
    Layer::Fire(64, 256),
];

const V1_1: &[Layer] = &[
    Conv(64, 3),
    Max,
    Layer::Fire(16, 64),
    Layer::Fire(16, 64),
    Max,
    Layer::Fire(32, 128),
    Layer::Fire(32, 128),
    Max,
    Layer::Fire(48, 192),
    Layer::Fire(48, 192),
    Layer::Fire(64, 256),
    Layer::Fire(64, 256),
];

fn squeezenet(name: &str, layers: &[Layer], options: &Options) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let mut x = b.input("image", &options.image_shape(), Element::Number)?;
    let mut index = 0;
    for layer in layers {
        let path = format!("features.{index}");
        index += 1;
        match *layer {
            Conv(out, kernel) => {
                let conv = Conv2d {
                    stride: [2; 2],
                    padding: [0; 4],
                    bias: true,
                    ..Conv2d::square(out, kernel)
                };
                x = b.add(path, conv, &[x])?;
                x = b.add(format!("features.{index}"), Activation::Relu, &[x])?;
                index += 1;
            }
            Max => {
                let pool = Pool {
                    kind: PoolKind::Max,
                    kernel: [3; 2],
                    stride: [2; 2],
                    padding: [0; 4],
                    ceil: true,
                };
                x = b.add(path, pool, &[x])?;
            }
            Layer::Fire(squeeze, expand) => {
                x = fire(&mut b, &path, Fire { squeeze, expand }, x)?;
            }
        }
    }
    x = b.add("classifier.0", Dropout { rate: 0.5 }, &[x])?;
    let conv = Conv2d {
        bias: true,
        ..Conv2d::square(options.image_classes(), 1)
    };
    x = b.add("classifier.1", conv, &[x])?;
    x = b.add("classifier.2", Activation::Relu, &[x])?;
    x = b.add("classifier.3", GlobalAverage {}, &[x])?;
    b.finish(&[x])
}
