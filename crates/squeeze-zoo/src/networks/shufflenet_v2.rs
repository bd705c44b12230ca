//! ShuffleNetV2 (Ma et al., 2018), with the weight names of torchvision.

use squeeze_graph::ops::{
    Activation, ChannelShuffle, Concat, GlobalAverage, Linear, Pool, PoolKind, Slice,
};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{ConvNorm, conv_norm, sequence};
use crate::list::{Entry, Make, Options, TOP1, Task};

/// The published widths.
pub(crate) const ROWS: &[Entry] = &[
    row(
        "shufflenet_v2_x0_5",
        1_366_792,
        "0.040",
        60.552,
        |options| shufflenet("shufflenet_v2_x0_5", [48, 96, 192, 1024], options),
    ),
    row(
        "shufflenet_v2_x1_0",
        2_278_604,
        "0.145",
        69.362,
        |options| shufflenet("shufflenet_v2_x1_0", [116, 232, 464, 1024], options),
    ),
    row(
        "shufflenet_v2_x1_5",
        3_503_624,
        "0.296",
        72.996,
        |options| shufflenet("shufflenet_v2_x1_5", [176, 352, 704, 1024], options),
    ),
    row(
        "shufflenet_v2_x2_0",
        7_393_996,
        "0.583",
        76.230,
        |options| shufflenet("shufflenet_v2_x2_0", [244, 488, 976, 2048], options),
    ),
];

const fn row(name: &'static str, params: u64, gmacs: &'static str, top1: f64, make: Make) -> Entry {
    Entry::new(
        name,
        Task::Image,
        "Ma et al., 2018; torchvision",
        params,
        make,
    )
    .gmacs(gmacs)
    .accuracy(top1, TOP1)
}

const RELU: Activation = Activation::Relu;

/// Units of each stage.
const REPEATS: [usize; 3] = [4, 8, 4];

/// `channels` of the three stages and of the last convolution.
fn shufflenet(name: &str, channels: [usize; 4], options: &Options) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let mut x = b.input("image", &options.image_shape(), Element::Number)?;
    let stem = ConvNorm::square(24, 3).stride(2).then(RELU);
    x = sequence(&mut b, "conv1", &stem, x)?;
    let pool = Pool {
        kind: PoolKind::Max,
        kernel: [3; 2],
        stride: [2; 2],
        padding: [1; 4],
        ceil: false,
    };
    x = b.add("maxpool", pool, &[x])?;
    for (stage, repeats) in REPEATS.into_iter().enumerate() {
        for repeat in 0..repeats {
            let path = format!("stage{}.{repeat}", stage + 2);
            x = match repeat {
                0 => reducing(&mut b, &path, channels[stage], x)?,
                _ => keeping(&mut b, &path, x)?,
            };
        }
    }
    let last = ConvNorm::square(channels[3], 1).then(RELU);
    x = sequence(&mut b, "conv5", &last, x)?;
    x = b.add("mean", GlobalAverage {}, &[x])?;
    x = b.add("fc", Linear::dense(options.image_classes()), &[x])?;
    b.finish(&[x])
}

/// A unit that halves the image: both branches see all channels.
fn reducing(b: &mut Builder, path: &str, out: usize, x: NodeId) -> Result<NodeId, GraphError> {
    let channels = b.channels(x);
    let filter = ConvNorm::square(channels, 3).groups(channels).stride(2);
    let names = |step: usize| [0, 1].map(|part| format!("{path}.branch1.{}", step + part));
    let mut left = x;
    for (step, row) in [(0, filter), (2, ConvNorm::square(out / 2, 1).then(RELU))] {
        left = conv_norm(b, names(step).each_ref().map(|s| &**s), &row, left)?;
    }
    let right = branch(b, path, [out / 2, 2], x)?;
    join(b, path, [left, right])
}

/// A unit that keeps the image's size: half of the channels pass as they are.
fn keeping(b: &mut Builder, path: &str, x: NodeId) -> Result<NodeId, GraphError> {
    let half = b.channels(x) / 2;
    let part = |start| Slice {
        axis: 1,
        start,
        end: start + half,
    };
    let left = b.add(format!("{path}.left"), part(0), &[x])?;
    let right = b.add(format!("{path}.right"), part(half), &[x])?;
    let right = branch(b, path, [half, 1], right)?;
    join(b, path, [left, right])
}

fn branch(
    b: &mut Builder,
    path: &str,
    [out, stride]: [usize; 2],
    mut x: NodeId,
) -> Result<NodeId, GraphError> {
    let rows = [
        (0, ConvNorm::square(out, 1).then(RELU)),
        (3, ConvNorm::square(out, 3).groups(out).stride(stride)),
        (5, ConvNorm::square(out, 1).then(RELU)),
    ];
    for (step, row) in rows {
        let names = [0, 1].map(|part| format!("{path}.branch2.{}", step + part));
        x = conv_norm(b, names.each_ref().map(|s| &**s), &row, x)?;
    }
    Ok(x)
}

fn join(b: &mut Builder, path: &str, parts: [NodeId; 2]) -> Result<NodeId, GraphError> {
    let x = b.add(format!("{path}.concat"), Concat { axis: 1 }, &parts)?;
    b.add(
        format!("{path}.shuffle"),
        ChannelShuffle { groups: 2 },
        &[x],
    )
}
