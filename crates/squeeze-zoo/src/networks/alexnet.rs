//! AlexNet as torchvision has it (Krizhevsky, 2014), the yardstick of SqueezeNet's title.

use squeeze_graph::ops::{Activation, Conv2d, Dropout, Linear, Pool, PoolKind, Reshape};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::list::{Entry, Options, TOP1, Task};

/// The published network.
pub(crate) const ROWS: &[Entry] = &[Entry::new(
    "alexnet",
    Task::Image,
    "Krizhevsky, 2014; torchvision",
    61_100_840,
    alexnet,
)
.gmacs("0.714")
.accuracy(56.522, TOP1)];

/// Index in torchvision, output channels, window, stride, padding, and whether a pool follows.
const FEATURES: &[(usize, [usize; 4], Then)] = &[
    (0, [64, 11, 4, 2], Then::Max),
    (3, [192, 5, 1, 2], Then::Max),
    (6, [384, 3, 1, 1], Then::Nothing),
    (8, [256, 3, 1, 1], Then::Nothing),
    (10, [256, 3, 1, 1], Then::Max),
];

#[derive(Clone, Copy, PartialEq)]
enum Then {
    Max,
    Nothing,
}

fn alexnet(options: &Options) -> Result<Graph, GraphError> {
    let mut b = Builder::new("alexnet");
    let mut x = b.input("image", &options.image_shape(), Element::Number)?;
    let name = |index: usize| format!("features.{index}");
    for &(index, [out, kernel, stride, padding], then) in FEATURES {
        let conv = Conv2d {
            stride: [stride; 2],
            padding: [padding; 4],
            bias: true,
            ..Conv2d::square(out, kernel)
        };
        x = b.add(name(index), conv, &[x])?;
        x = b.add(name(index + 1), Activation::Relu, &[x])?;
        if then == Then::Max {
            let pool = Pool {
                kind: PoolKind::Max,
                kernel: [3; 2],
                stride: [2; 2],
                padding: [0; 4],
                ceil: false,
            };
            x = b.add(name(index + 2), pool, &[x])?;
        }
    }
    x = b.add("flatten", Reshape::flatten(), &[x])?;
    for (dropout, linear) in [(0, 1), (3, 4)] {
        let rate = 0.5;
        x = b.add(format!("classifier.{dropout}"), Dropout { rate }, &[x])?;
        x = b.add(format!("classifier.{linear}"), Linear::dense(4096), &[x])?;
        let relu = format!("classifier.{}", linear + 1);
        x = b.add(relu, Activation::Relu, &[x])?;
    }
    x = b.add("classifier.6", Linear::dense(options.image_classes()), &[x])?;
    b.finish(&[x])
}
