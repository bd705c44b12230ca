//! MNASNet-B1 (Tan et al., 2018) in any width, with the weight names of torchvision.

use squeeze_graph::ops::{Activation, BatchNorm, Dropout, GlobalAverage, Linear};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{ConvNorm, Inverted, InvertedNames, conv_norm, divisible, inverted};
use crate::list::{Entry, Make, Options, TOP1, Task};

/// The published widths.
pub(crate) const ROWS: &[Entry] = &[
    row("mnasnet0_5", 2_218_512, "0.104", 67.734, |options| {
        mnasnet("mnasnet0_5", 0.5, options)
    }),
    row("mnasnet0_75", 3_170_208, "0.215", 71.180, |options| {
        mnasnet("mnasnet0_75", 0.75, options)
    }),
    row("mnasnet1_0", 4_383_312, "0.314", 73.456, |options| {
        mnasnet("mnasnet1_0", 1.0, options)
    }),
    row("mnasnet1_3", 6_282_256, "0.526", 76.506, |options| {
        mnasnet("mnasnet1_3", 1.3, options)
    }),
];

const fn row(name: &'static str, params: u64, gmacs: &'static str, top1: f64, make: Make) -> Entry {
    Entry::new(
        name,
        Task::Image,
        "Tan et al., 2018; torchvision",
        params,
        make,
    )
    .gmacs(gmacs)
    .accuracy(top1, TOP1)
}

/// Window, expansion, channels, repeats, stride of the first.
const STAGES: &[[usize; 5]] = &[
    [3, 3, 24, 3, 2],
    [5, 3, 40, 3, 2],
    [5, 6, 80, 3, 2],
    [3, 6, 96, 2, 1],
    [5, 6, 192, 4, 2],
    [3, 6, 320, 1, 1],
];

fn mnasnet(name: &str, width: f64, options: &Options) -> Result<Graph, GraphError> {
    let scaled = |channels: usize| divisible(channels as f64 * width);
    let act = Activation::Relu;
    let norm = BatchNorm {
        momentum: 3e-4,
        ..BatchNorm::default()
    };
    let mut b = Builder::new(name);
    let layer = |b: &mut Builder, index: usize, row: ConvNorm, x: NodeId| {
        let names = [index, index + 1].map(|index| format!("layers.{index}"));
        let row = row.norm(norm.clone());
        conv_norm(b, names.each_ref().map(|s| &**s), &row, x)
    };
    let mut x = b.input("image", &options.image_shape(), Element::Number)?;
    let stem = scaled(32);
    let first = ConvNorm::square(stem, 3).stride(2).then(act);
    x = layer(&mut b, 0, first, x)?;
    let filter = ConvNorm::square(stem, 3).groups(stem).then(act);
    x = layer(&mut b, 3, filter, x)?;
    x = layer(&mut b, 6, ConvNorm::square(scaled(16), 1), x)?;
    for (stage, &[kernel, expand, channels, repeats, stride]) in STAGES.iter().enumerate() {
        for repeat in 0..repeats {
            let row = Inverted {
                kernel,
                stride: if repeat == 0 { stride } else { 1 },
                norm: norm.clone(),
                ..Inverted::new(scaled(channels), expand * b.channels(x))
            };
            let path = format!("layers.{}.{repeat}", stage + 8);
            x = inverted(&mut b, &names(&path), &row, x)?;
        }
    }
    x = layer(&mut b, 14, ConvNorm::square(1280, 1).then(act), x)?;
    x = b.add("mean", GlobalAverage {}, &[x])?;
    x = b.add("classifier.0", Dropout { rate: 0.2 }, &[x])?;
    x = b.add("classifier.1", Linear::dense(options.image_classes()), &[x])?;
    b.finish(&[x])
}

/// torchvision's names: one sequence of convolutions, norms and activations.
fn names(path: &str) -> InvertedNames {
    let pair = |at: usize| [at, at + 1].map(|index| format!("{path}.layers.{index}"));
    InvertedNames {
        steps: [pair(0), pair(3), pair(6)],
        gate: format!("{path}.gate"),
        sum: format!("{path}.sum"),
    }
}
