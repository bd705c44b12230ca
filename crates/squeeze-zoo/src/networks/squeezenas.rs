//! The six SqueezeNAS networks (Shaw et al., 2019) for street images, found by a supernet search
//! for latency (LAT) or multiply-adds (MAC), with the weight names of ashaw596/squeezenas.

use squeeze_graph::ops::{
    Activation, Add, Concat, Conv2d, GlobalAverage, Mul, Pool, PoolKind, Resize, ResizeMode,
    ResizeSize,
};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{ConvNorm, bilinear_like, conv_norm, sequence, spread};
use crate::list::{Entry, Make, Options, Task};

/// The published networks, at 1024 x 2048 pixels with 19 classes.
pub(crate) const ROWS: &[Entry] = &[
    row("squeezenas_lat_small", 465_774, "4.465", 68.01, |options| {
        squeezenas("squeezenas_lat_small", &SMALL, LAT_SMALL, options)
    }),
    row(
        "squeezenas_lat_large",
        1_918_734,
        "19.575",
        73.51,
        |options| squeezenas("squeezenas_lat_large", &LARGE, LAT_LARGE, options),
    ),
    row(
        "squeezenas_lat_xlarge",
        3_059_323,
        "32.729",
        75.06,
        |options| squeezenas("squeezenas_lat_xlarge", &XLARGE, LAT_XLARGE, options),
    ),
    row("squeezenas_mac_small", 277_598, "3.008", 66.77, |options| {
        squeezenas("squeezenas_mac_small", &SMALL, MAC_SMALL, options)
    }),
    row("squeezenas_mac_large", 704_382, "9.386", 72.40, |options| {
        squeezenas("squeezenas_mac_large", &LARGE, MAC_LARGE, options)
    }),
    row(
        "squeezenas_mac_xlarge",
        1_819_563,
        "21.838",
        74.62,
        |options| squeezenas("squeezenas_mac_xlarge", &XLARGE, MAC_XLARGE, options),
    ),
];

const fn row(name: &'static str, params: u64, gmacs: &'static str, miou: f64, make: Make) -> Entry {
    let source = "Shaw et al., 2019; ashaw596/squeezenas";
    let of = "% mean IoU on Cityscapes, validation (ashaw596/squeezenas)";
    Entry::new(name, Task::Segment, source, params, make)
        .gmacs(gmacs)
        .accuracy(miou, of)
}

/// What all networks of a size share.
struct Skeleton {
    stem: usize,
    /// Channels, repeats, stride of the first.
    stages: &'static [[usize; 3]],
    /// The block whose output the decoder sees beside the last.
    skip: usize,
    /// Channels inside the decoder.
    inner: usize,
    decoder: Decoder,
}

#[derive(Clone, Copy, PartialEq)]
enum Decoder {
    /// Gate from large means, two classifiers; behind a last convolution of so many channels.
    LrAspp { last: Option<usize> },
    /// Pyramid of depthwise dilated convolutions, then a convolution at higher resolution.
    Aspp,
}

const SMALL: Skeleton = Skeleton {
    stem: 16,
    stages: &[[16, 4, 2], [24, 4, 2], [40, 4, 2], [48, 4, 1], [96, 4, 1]],
    skip: 7,
    inner: 128,
    decoder: Decoder::LrAspp { last: Some(256) },
};

const LARGE: Skeleton = Skeleton {
    stem: 16,
    stages: &[
        [16, 1, 1],
        [24, 4, 2],
        [32, 4, 2],
        [64, 4, 2],
        [96, 4, 1],
        [160, 4, 1],
        [160, 1, 1],
    ],
    skip: 8,
    inner: 128,
    decoder: Decoder::LrAspp { last: None },
};

const XLARGE: Skeleton = Skeleton {
    stem: 48,
    stages: &[
        [24, 1, 1],
        [32, 4, 2],
        [48, 4, 2],
        [96, 4, 2],
        [144, 4, 1],
        [240, 4, 1],
        [320, 1, 1],
    ],
    skip: 4,
    inner: 160,
    decoder: Decoder::Aspp,
};

/// What the search chose for a block.
#[derive(Clone, Copy, PartialEq)]
enum Pick {
    /// Inverted residual: window, expansion, groups of the 1x1 convolutions, dilation.
    Inv(usize, usize, usize, usize),
    /// Nothing beside the residual; where the channels change, ReLU and a 1x1 convolution.
    Skip,
}

use Pick::{Inv, Skip};

const K3E1: Pick = Inv(3, 1, 1, 1);
const K3E1G2: Pick = Inv(3, 1, 2, 1);
const K3E3: Pick = Inv(3, 3, 1, 1);
const K3E6: Pick = Inv(3, 6, 1, 1);
const K5E1: Pick = Inv(5, 1, 1, 1);
const K5E1G2: Pick = Inv(5, 1, 2, 1);
const K5E6: Pick = Inv(5, 6, 1, 1);
const K3E1D2: Pick = Inv(3, 1, 1, 2);
const K3E1G2D2: Pick = Inv(3, 1, 2, 2);
const K3E3D2: Pick = Inv(3, 3, 1, 2);
const K3E6D2: Pick = Inv(3, 6, 1, 2);

const LAT_LARGE: &[Pick] = &[
    Skip, K3E6, K3E3, K3E1D2, K3E3, K5E6, K3E6, K3E3, K3E6D2, K5E6, K5E1, K5E1, K5E1G2, K3E6D2,
    K3E6D2, K3E6D2, K3E1, K3E6D2, K3E6D2, K3E6D2, K3E6D2, K3E6D2,
];

const LAT_SMALL: &[Pick] = &[
    K3E1, Skip, Skip, Skip, K3E6, K3E6, Skip, Skip, K5E6, K3E6D2, K5E1G2, K3E1G2, K3E6D2, K3E6D2,
    K3E6D2, K3E1D2, K3E6D2, K3E3D2, K3E3D2, K3E3D2,
];

const LAT_XLARGE: &[Pick] = &[
    Skip, K3E3, K3E3, K3E3, K3E1D2, K3E6, K3E3, K5E6, K5E1G2, K5E6, K3E6, K3E1G2D2, K3E6, K5E6,
    K3E3D2, K3E1G2D2, K3E3, K3E6D2, K3E3D2, K5E1, K3E3D2, K3E6D2,
];

const MAC_LARGE: &[Pick] = &[
    K3E1G2, K3E6, K3E1G2D2, K3E1G2, K3E1G2, K5E6, K5E6, K3E6D2, K5E6, K5E6, K5E6, K5E1, K3E3, K5E6,
    K3E1, K5E1, K3E3D2, K3E6D2, K3E1G2D2, K3E1G2D2, K3E1G2D2, K3E1D2,
];

const MAC_SMALL: &[Pick] = &[
    K3E1G2, K3E1, K3E1, K3E1G2, K5E6, K3E1, K3E1, K3E1G2D2, K5E6, K3E6D2, Skip, K3E1G2, K5E6,
    K3E3D2, K3E1D2, K3E1D2, K3E6D2, K3E1G2D2, K3E1G2D2, K3E1G2D2,
];

const MAC_XLARGE: &[Pick] = &[
    K3E1G2, K3E3, K3E1G2, K5E1, K3E3D2, K5E6, K5E1G2, K3E1G2D2, K3E3, K5E6, K3E3, Skip, K3E1G2D2,
    K5E6, K3E1, K5E6, Skip, K3E6D2, K3E1G2D2, K3E1G2D2, K3E1G2D2, K3E3D2,
];

const RELU: Activation = Activation::Relu;

fn squeezenas(
    name: &str,
    row: &Skeleton,
    picks: &[Pick],
    options: &Options,
) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let image = options.image_or([1024, 2048]);
    let mut x = b.input("image", &image, Element::Number)?;
    let stem = ConvNorm::square(row.stem, 3).stride(2).then(RELU);
    x = sequence(&mut b, "encoder.conv1", &stem, x)?;
    let strides = row.stages.iter().flat_map(|&[out, repeats, stride]| {
        (0..repeats).map(move |repeat| [out, if repeat == 0 { stride } else { 1 }])
    });
    let mut low = x;
    for (index, ([out, stride], &pick)) in strides.zip(picks).enumerate() {
        let path = format!("encoder.residuals.{index}");
        x = block(&mut b, &path, pick, [out, stride], x)?;
        if index == row.skip {
            low = x;
        }
    }
    let classes = options.classes.unwrap_or(19);
    let x = match row.decoder {
        Decoder::LrAspp { last } => {
            if let Some(last) = last {
                let last = ConvNorm::square(last, 1).then(RELU);
                x = sequence(&mut b, "encoder.last_conv", &last, x)?;
            }
            let x = lr_aspp(&mut b, [row.inner, classes], [x, low])?;
            larger(&mut b, "preds", 8, x)?
        }
        Decoder::Aspp => {
            let x = aspp(&mut b, row.inner, x)?;
            let x = larger(&mut b, "decoder.larger", 4, x)?;
            let channels = b.channels(low);
            let low = b.add("lowlevel1x1", biased(channels), &[low])?;
            let x = b.add("concat", Concat { axis: 1 }, &[x, low])?;
            let channels = b.channels(x);
            let filter = ConvNorm::square(channels, 3).groups(channels);
            let x = named(&mut b, "logits2", filter, x)?;
            let x = b.add("logits3", biased(classes), &[x])?;
            larger(&mut b, "preds", 4, x)?
        }
    };
    b.finish(&[x])
}

fn block(
    b: &mut Builder,
    path: &str,
    pick: Pick,
    [out, stride]: [usize; 2],
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let channels = b.channels(x);
    let keeps = stride == 1 && channels == out;
    let Inv(kernel, expand, groups, dilation) = pick else {
        if keeps {
            return Ok(x);
        }
        let y = b.add(format!("{path}.op.op.0"), RELU, &[x])?;
        let names = [1, 2].map(|step| format!("{path}.op.op.{step}"));
        let fit = ConvNorm::square(out, 1).stride(stride);
        return conv_norm(b, names.each_ref().map(|s| &**s), &fit, y);
    };
    let hidden = expand * channels;
    let filter = ConvNorm::square(hidden, kernel).groups(hidden);
    let steps = [
        ConvNorm::square(hidden, 1).groups(groups).then(RELU),
        filter.stride(stride).dilated(dilation).then(RELU),
        ConvNorm::square(out, 1).groups(groups),
    ];
    let mut y = x;
    for (step, row) in steps.iter().enumerate() {
        let names = [0, 1].map(|part| format!("{path}.op.{}", 3 * step + part));
        y = conv_norm(b, names.each_ref().map(|s| &**s), row, y)?;
    }
    match keeps {
        true => b.add(format!("{path}.sum"), Add {}, &[x, y]),
        false => Ok(y),
    }
}

/// The decoder of MobileNetV3 as SqueezeNAS has it: means over windows of 49 x 49.
fn lr_aspp(
    b: &mut Builder,
    [inner, classes]: [usize; 2],
    [high, low]: [NodeId; 2],
) -> Result<NodeId, GraphError> {
    let x = named(b, "decoder._1x1_TL", ConvNorm::square(inner, 1), high)?;
    let pool = Pool {
        kind: PoolKind::AverageInside,
        kernel: [49; 2],
        stride: [16, 20],
        padding: [0; 4],
        ceil: false,
    };
    let gate = b.add("decoder.avgpool", pool, &[high])?;
    let gate = b.add("decoder._1x1_BL", biased(inner), &[gate])?;
    let gate = b.add("decoder.sigmoid", Activation::Sigmoid, &[gate])?;
    let gate = bilinear_like(b, "decoder.gate", [gate, x])?;
    let x = b.add("decoder.product", Mul {}, &[x, gate])?;
    let resize = Resize {
        mode: ResizeMode::Bilinear,
        size: ResizeSize::Times(2),
    };
    let x = b.add("decoder.larger", resize, &[x])?;
    let x = b.add("decoder._1x1_TR", biased(classes), &[x])?;
    let low = b.add("decoder._1x1_BR", biased(classes), &[low])?;
    b.add("decoder.sum", Add {}, &[x, low])
}

fn aspp(b: &mut Builder, inner: usize, x: NodeId) -> Result<NodeId, GraphError> {
    let mut parts = vec![named(
        b,
        "decoder._1x1_1_conv",
        ConvNorm::square(inner, 1),
        x,
    )?];
    for (index, rate) in [6, 12, 18].into_iter().enumerate() {
        let filter = ConvNorm::square(inner, 3).groups(inner).dilated(rate);
        let path = format!("decoder._3x3_{}_conv", index + 1);
        parts.push(named(b, &path, filter, x)?);
    }
    let mean = b.add("decoder.mean", GlobalAverage {}, &[x])?;
    parts.push(spread(b, "decoder.mean", mean, x)?);
    let x = b.add("decoder.concat", Concat { axis: 1 }, &parts)?;
    named(b, "decoder._1x1_2_conv", ConvNorm::square(inner, 1), x)
}

/// Convolution, norm and ReLU with the names `conv` and `bn`.
fn named(b: &mut Builder, path: &str, row: ConvNorm, x: NodeId) -> Result<NodeId, GraphError> {
    let names = [&*format!("{path}.conv"), &format!("{path}.bn")];
    conv_norm(b, names, &row.then(RELU), x)
}

/// A 1x1 convolution with bias.
fn biased(out: usize) -> Conv2d {
    Conv2d {
        bias: true,
        ..Conv2d::square(out, 1)
    }
}

/// So many times as large, with the corners kept.
fn larger(b: &mut Builder, name: &str, times: usize, x: NodeId) -> Result<NodeId, GraphError> {
    let resize = Resize {
        mode: ResizeMode::BilinearCorners,
        size: ResizeSize::Times(times),
    };
    b.add(name, resize, &[x])
}
