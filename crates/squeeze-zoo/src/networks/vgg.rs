//! VGG (Simonyan and Zisserman, 2014) with and without batch norms, with the weight names of
//! torchvision.

use squeeze_graph::ops::{Activation, BatchNorm, Conv2d, Dropout, Linear, Pool, PoolKind, Reshape};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::list::{Entry, Make, Options, TOP1, Task};

/// The published depths.
pub(crate) const ROWS: &[Entry] = &[
    row("vgg11", 132_863_336, "7.609", 69.020, |options| {
        vgg("vgg11", A, Norm::Without, options)
    }),
    row("vgg11_bn", 132_868_840, "7.609", 70.370, |options| {
        vgg("vgg11_bn", A, Norm::With, options)
    }),
    row("vgg13", 133_047_848, "11.308", 69.928, |options| {
        vgg("vgg13", B, Norm::Without, options)
    }),
    row("vgg13_bn", 133_053_736, "11.308", 71.586, |options| {
        vgg("vgg13_bn", B, Norm::With, options)
    }),
    row("vgg16", 138_357_544, "15.470", 71.592, |options| {
        vgg("vgg16", D, Norm::Without, options)
    }),
    row("vgg16_bn", 138_365_992, "15.470", 73.360, |options| {
        vgg("vgg16_bn", D, Norm::With, options)
    }),
    row("vgg19", 143_667_240, "19.632", 72.376, |options| {
        vgg("vgg19", E, Norm::Without, options)
    }),
    row("vgg19_bn", 143_678_248, "19.632", 74.218, |options| {
        vgg("vgg19_bn", E, Norm::With, options)
    }),
];

const fn row(name: &'static str, params: u64, gmacs: &'static str, top1: f64, make: Make) -> Entry {
    let source = "Simonyan and Zisserman, 2014; torchvision";
    Entry::new(name, Task::Image, source, params, make)
        .gmacs(gmacs)
        .accuracy(top1, TOP1)
}

/// Convolutions of each stage; the letters are the paper's.
const A: [usize; 5] = [1, 1, 2, 2, 2];
const B: [usize; 5] = [2, 2, 2, 2, 2];
const D: [usize; 5] = [2, 2, 3, 3, 3];
const E: [usize; 5] = [2, 2, 4, 4, 4];

/// Channels of each stage.
const CHANNELS: [usize; 5] = [64, 128, 256, 512, 512];

#[derive(Clone, Copy, PartialEq)]
enum Norm {
    With,
    Without,
}

/// At 224 pixels as published. At other sizes the first linear layer takes what comes, where
/// torchvision pools to 7 x 7.
fn vgg(
    name: &str,
    repeats: [usize; 5],
    norm: Norm,
    options: &Options,
) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let mut x = b.input("image", &options.image_shape(), Element::Number)?;
    let mut index = 0;
    let mut next = || {
        index += 1;
        format!("features.{}", index - 1)
    };
    for (out, repeats) in CHANNELS.into_iter().zip(repeats) {
        for _ in 0..repeats {
            let conv = Conv2d {
                bias: true,
                ..Conv2d::square(out, 3)
            };
            x = b.add(next(), conv, &[x])?;
            if norm == Norm::With {
                x = b.add(next(), BatchNorm::default(), &[x])?;
            }
            x = b.add(next(), Activation::Relu, &[x])?;
        }
        let pool = Pool {
            kind: PoolKind::Max,
            kernel: [2; 2],
            stride: [2; 2],
            padding: [0; 4],
            ceil: false,
        };
        x = b.add(next(), pool, &[x])?;
    }
    x = b.add("flatten", Reshape::flatten(), &[x])?;
    for index in [0, 3] {
        let name = |step: usize| format!("classifier.{}", index + step);
        x = b.add(name(0), Linear::dense(4096), &[x])?;
        x = b.add(name(1), Activation::Relu, &[x])?;
        x = b.add(name(2), Dropout { rate: 0.5 }, &[x])?;
    }
    x = b.add("classifier.6", Linear::dense(options.image_classes()), &[x])?;
    b.finish(&[x])
}
