//! ShuffleNetV2 (Ma et al., 2018), with the weight names of torchvision.

use squeeze_graph::ops::{Activation, GlobalAverage, Linear, Pool, PoolKind};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::blocks::{ConvNorm, ShuffleUnit, sequence, shuffle_unit};
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
            let unit = match repeat {
                0 => ShuffleUnit::Reducing {
                    out: channels[stage],
                },
                _ => ShuffleUnit::Keeping,
            };
            x = shuffle_unit(&mut b, &path, unit, x)?;
        }
    }
    let last = ConvNorm::square(channels[3], 1).then(RELU);
    x = sequence(&mut b, "conv5", &last, x)?;
    x = b.add("mean", GlobalAverage {}, &[x])?;
    x = b.add("fc", Linear::dense(options.image_classes()), &[x])?;
    b.finish(&[x])
}
