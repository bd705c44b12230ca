//! MobileNetV3 (Howard et al., 2019), with the weight names of torchvision.

use squeeze_graph::ops::{Activation, BatchNorm, Dropout, GlobalAverage, Linear};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{
    ConvNorm, Inverted, InvertedNames, SqueezeExcite, divisible, inverted, sequence,
};
use crate::list::{Entry, Make, Options, TOP1, Task};

/// The published sizes.
pub(crate) const ROWS: &[Entry] = &[
    row(
        "mobilenet_v3_large",
        5_483_032,
        "0.217",
        74.042,
        |options| mobilenet_v3("mobilenet_v3_large", LARGE, 1280, options),
    ),
    row(
        "mobilenet_v3_small",
        2_542_856,
        "0.057",
        67.668,
        |options| mobilenet_v3("mobilenet_v3_small", SMALL, 1024, options),
    ),
];

const fn row(name: &'static str, params: u64, gmacs: &'static str, top1: f64, make: Make) -> Entry {
    let source = "Howard et al., 2019; torchvision";
    Entry::new(name, Task::Image, source, params, make)
        .gmacs(gmacs)
        .accuracy(top1, TOP1)
}

/// Window, channels inside, output channels, gate, activation, stride.
pub(crate) type Row = (usize, usize, usize, Gate, Activation, usize);

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Gate {
    Se,
    No,
}

use Activation::{HardSwish as Hs, Relu as Re};
use Gate::{No, Se};

pub(crate) const LARGE: &[Row] = &[
    (3, 16, 16, No, Re, 1),
    (3, 64, 24, No, Re, 2),
    (3, 72, 24, No, Re, 1),
    (5, 72, 40, Se, Re, 2),
    (5, 120, 40, Se, Re, 1),
    (5, 120, 40, Se, Re, 1),
    (3, 240, 80, No, Hs, 2),
    (3, 200, 80, No, Hs, 1),
    (3, 184, 80, No, Hs, 1),
    (3, 184, 80, No, Hs, 1),
    (3, 480, 112, Se, Hs, 1),
    (3, 672, 112, Se, Hs, 1),
    (5, 672, 160, Se, Hs, 2),
    (5, 960, 160, Se, Hs, 1),
    (5, 960, 160, Se, Hs, 1),
];

const SMALL: &[Row] = &[
    (3, 16, 16, Se, Re, 2),
    (3, 72, 24, No, Re, 2),
    (3, 88, 24, No, Re, 1),
    (5, 96, 40, Se, Hs, 2),
    (5, 240, 40, Se, Hs, 1),
    (5, 240, 40, Se, Hs, 1),
    (5, 120, 48, Se, Hs, 1),
    (5, 144, 48, Se, Hs, 1),
    (5, 288, 96, Se, Hs, 2),
    (5, 576, 96, Se, Hs, 1),
    (5, 576, 96, Se, Hs, 1),
];

/// The block of a row, its taps side by side.
pub(crate) fn block(row: &Row, norm: &BatchNorm) -> Inverted {
    let &(kernel, hidden, out, gate, activation, stride) = row;
    Inverted {
        kernel,
        stride,
        activation,
        gate: (gate == Se).then(|| SqueezeExcite {
            squeeze: divisible((hidden / 4) as f64),
            inner: Activation::Relu,
            gate: Activation::HardSigmoid,
        }),
        norm: norm.clone(),
        ..Inverted::new(out, hidden)
    }
}

/// Adds all convolutions under `prefix`; gives what comes out of each of its entries. A stride
/// beyond `output_stride` becomes dilation by 2, of its own block as well.
pub(crate) fn features(
    b: &mut Builder,
    prefix: &str,
    rows: &[Row],
    output_stride: usize,
    x: NodeId,
) -> Result<Vec<NodeId>, GraphError> {
    let norm = BatchNorm {
        epsilon: 1e-3,
        momentum: 0.01,
    };
    let stem = ConvNorm::square(16, 3).stride(2).norm(norm.clone());
    let mut outputs = vec![sequence(b, &format!("{prefix}.0"), &stem.then(Hs), x)?];
    let (mut strides, mut dilation) = (2, 1);
    for (index, &(.., stride)) in rows.iter().enumerate() {
        let x = outputs[index];
        let mut row = block(&rows[index], &norm);
        if strides * stride > output_stride {
            (row.stride, dilation) = (1, 2);
        } else {
            strides *= stride;
        }
        row.dilation = dilation;
        let (path, channels) = (format!("{prefix}.{}", index + 1), b.channels(x));
        let names = InvertedNames::counted(&path, &row, channels);
        outputs.push(inverted(b, &names, &row, x)?);
    }
    let x = outputs[rows.len()];
    let last = ConvNorm::square(6 * b.channels(x), 1).norm(norm).then(Hs);
    outputs.push(sequence(
        b,
        &format!("{prefix}.{}", rows.len() + 1),
        &last,
        x,
    )?);
    Ok(outputs)
}

fn mobilenet_v3(
    name: &str,
    rows: &[Row],
    last: usize,
    options: &Options,
) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let x = b.input("image", &options.image_shape(), Element::Number)?;
    let mut x = features(&mut b, "features", rows, 32, x)?[rows.len() + 1];
    x = b.add("avgpool", GlobalAverage {}, &[x])?;
    x = b.add("classifier.0", Linear::dense(last), &[x])?;
    x = b.add("classifier.1", Hs, &[x])?;
    x = b.add("classifier.2", Dropout { rate: 0.2 }, &[x])?;
    x = b.add("classifier.3", Linear::dense(options.image_classes()), &[x])?;
    b.finish(&[x])
}
