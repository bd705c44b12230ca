//! The choices between families of kernels that are measured: rows of ways, prices and shapes.

use squeeze_infer::prices::{Least, NEVER, Product, Tile, Tiles, Transform};
use squeeze_infer::{Precision, Prices};

use super::shape::{Shape, Zeros, rows, square, zeros};

/// A choice between families.
pub(super) struct Contest {
    /// What tables call it.
    pub name: &'static str,
    pub precision: Precision,
    pub ways: &'static [Way],
    pub knobs: &'static [Knob],
    /// Groups of layers.
    pub shapes: &'static [&'static [Shape]],
    pub zeros: &'static [Zeros],
}

/// A family's name, and prices by which it is taken wherever it can be.
pub(super) type Way = (&'static str, fn(&mut Prices, Precision));

/// Multiplies one of the prices that a choice depends on.
pub(super) type Knob = fn(&mut Prices, Precision, f64);

pub(super) const CONTESTS: &[Contest] = &[
    Contest {
        name: "winograd",
        precision: Precision::F32,
        ways: &[
            ("direct", |p, _| {
                (p.winograd.two.number, p.winograd.four.number) = (NEVER, NEVER);
            }),
            ("2x2", |p, _| {
                (p.winograd.two, p.winograd.four.number) = (FREE, NEVER);
            }),
            ("4x4", |p, _| {
                (p.winograd.four, p.winograd.two.number) = (FREE, NEVER);
            }),
        ],
        knobs: &[
            |p, _, by| scale(&mut p.winograd.two.number, by),
            |p, _, by| scale(&mut p.winograd.two.weight, by),
            |p, _, by| scale(&mut p.winograd.four.number, by),
            |p, _, by| scale(&mut p.winograd.four.weight, by),
            |p, _, by| scale(&mut p.winograd.weight, by),
            |p, _, by| scale(&mut p.winograd.far, by),
        ],
        shapes: &[WINDOWS, NARROW_WINDOWS, MORE_WINDOWS],
        zeros: DENSE,
    },
    tiles("tiles-f32", Precision::F32),
    tiles("tiles-bf16x3", Precision::Bf16x3),
    tiles("tiles-bf16", Precision::Bf16),
    tiles("tiles-f16", Precision::F16),
    Contest {
        name: "bytes",
        precision: Precision::Int8,
        ways: &[
            ("f32", |p, _| p.bytes.product = NEVER_LEAST),
            ("bytes", |p, _| p.bytes.product = ALWAYS_LEAST),
        ],
        knobs: &[
            |p, _, by| scale_size(&mut p.bytes.product.inputs, by),
            |p, _, by| scale_size(&mut p.bytes.product.outputs, by),
            |p, _, by| scale_size(&mut p.bytes.product.weights, by),
        ],
        shapes: &[POINTS, NARROW_POINTS],
        zeros: DENSE,
    },
    Contest {
        name: "byte-windows",
        precision: Precision::Int8,
        ways: &[
            ("f32", |p, _| p.bytes.window = NEVER_LEAST),
            ("bytes", |p, _| p.bytes.window = ALWAYS_LEAST),
        ],
        knobs: &[
            |p, _, by| scale_size(&mut p.bytes.window.inputs, by),
            |p, _, by| scale_size(&mut p.bytes.window.outputs, by),
        ],
        shapes: &[WINDOWS, NARROW_WINDOWS, STRIDED_WINDOWS, THIN_WINDOWS],
        zeros: DENSE,
    },
    sparse("sparse-f32", Precision::F32),
    sparse("sparse-int8", Precision::Int8),
];

const fn tiles(name: &'static str, precision: Precision) -> Contest {
    Contest {
        name,
        precision,
        ways: &[
            ("vectors", |p, _| p.tiles = Tiles::default()),
            ("tiles", |p, precision| {
                tile(p, precision, |t| *t = NOTHING);
            }),
            // The same as one of the others where the precision has no more exact tiles.
            ("exact tiles", |p, precision| {
                *p.tiles.of_mut(precision) = None;
                tile(p, Precision::Bf16x3, |t| *t = NOTHING);
            }),
        ],
        knobs: &[
            |p, precision, by| tile(p, precision, |t| scale(&mut t.mac, by)),
            |p, precision, by| tile(p, precision, |t| scale(&mut t.split, by)),
            |p, precision, by| tile(p, precision, |t| scale(&mut t.finish, by)),
            |p, precision, by| tile(p, precision, |t| scale(&mut t.weight, by)),
        ],
        shapes: &[POINTS, WIDE_POINTS, WINDOWS, STRIDED_WINDOWS],
        zeros: DENSE,
    }
}

const fn sparse(name: &'static str, precision: Precision) -> Contest {
    Contest {
        name,
        precision,
        ways: &[
            ("dense", |p, precision| {
                *p.sparse.under.of_mut(precision) = 0.0
            }),
            ("1x1", |p, precision| {
                product(p, precision).one = only(p, precision)
            }),
            ("4x1", |p, precision| {
                product(p, precision).four = only(p, precision)
            }),
            ("16x1", |p, precision| {
                product(p, precision).sixteen = only(p, precision)
            }),
        ],
        knobs: &[
            |p, precision, by| scale(&mut product(p, precision).dense[1], by),
            |p, precision, by| scale(&mut product(p, precision).dense[2], by),
            |p, precision, by| scale(&mut product(p, precision).turned, by),
            |p, precision, by| scale(&mut product(p, precision).finished, by),
            |p, precision, by| scale(&mut product(p, precision).one[0], by),
            |p, precision, by| scale(&mut product(p, precision).one[1], by),
            |p, precision, by| scale(&mut product(p, precision).four[0], by),
            |p, precision, by| scale(&mut product(p, precision).four[1], by),
            |p, precision, by| scale(&mut product(p, precision).sixteen[0], by),
            |p, precision, by| scale(&mut product(p, precision).sixteen[1], by),
            |p, precision, by| scale(p.sparse.under.of_mut(precision), by),
        ],
        shapes: &[PRUNED],
        zeros: ZEROS,
    }
}

const NOTHING: Tile = Tile {
    mac: 0.0,
    split: 0.0,
    finish: 0.0,
    weight: 0.0,
};

const NEVER_LEAST: Least = Least {
    inputs: usize::MAX,
    outputs: 0,
    weights: 0,
};

const ALWAYS_LEAST: Least = Least {
    inputs: 0,
    outputs: 0,
    weights: 0,
};

const FREE: Transform = Transform {
    number: 0.0,
    weight: 0.0,
};

/// Multiplies a price; nothing becomes something.
fn scale(price: &mut f64, by: f64) {
    *price = match *price {
        0.0 if by > 1.0 => by / 4.0,
        price => price * by,
    };
}

/// Multiplies a size, which stays one at least.
fn scale_size(size: &mut usize, by: f64) {
    *size = ((*size as f64 * by).round() as usize).max(1);
}

/// Changes the price of tiles; where the table knows of none there is nothing to weigh.
fn tile(prices: &mut Prices, precision: Precision, change: impl FnOnce(&mut Tile)) {
    if let Some(tile) = prices.tiles.of_mut(precision) {
        change(tile);
    }
}

fn product(prices: &mut Prices, precision: Precision) -> &mut Product {
    match precision {
        Precision::Int8 => &mut prices.sparse.int8,
        Precision::F32 | Precision::Bf16x3 | Precision::Bf16 | Precision::F16 => {
            &mut prices.sparse.f32
        }
    }
}

/// Makes every block unaffordable and all else of a product without zeros free; gives the price of the block that is to be taken.
fn only(prices: &mut Prices, precision: Precision) -> [f64; 2] {
    let product = product(prices, precision);
    (product.turned, product.finished) = (0.0, 0.0);
    (product.one, product.four, product.sixteen) = ([NEVER; 2], [NEVER; 2], [NEVER; 2]);
    [0.0; 2]
}

const DENSE: &[Zeros] = &[zeros(0.0, 1)];

const ZEROS: &[Zeros] = &[
    zeros(0.5, 1),
    zeros(0.65, 1),
    zeros(0.8, 1),
    zeros(0.95, 1),
    zeros(0.3, 4),
    zeros(0.6, 4),
    zeros(0.9, 4),
    zeros(0.9, 16),
];

/// Point layers of texts and images.
const POINTS: &[Shape] = &[
    rows(128, 768, 768),
    rows(128, 768, 3072),
    rows(16, 768, 768),
    rows(1, 1024, 1000),
    rows(128, 768, 768).grouped(4),
    rows(128, 128, 128),
    rows(12_544, 32, 16),
    rows(3136, 24, 144),
    rows(3136, 144, 24),
    rows(784, 32, 32),
    rows(196, 384, 64),
    rows(49, 960, 160),
];

/// Point layers with few channels on one side.
const NARROW_POINTS: &[Shape] = &[
    rows(12_544, 16, 16),
    rows(3136, 16, 64),
    rows(3136, 64, 16),
    rows(3136, 8, 64),
    rows(3136, 64, 8),
    rows(784, 16, 32),
    rows(784, 16, 96),
    rows(784, 32, 48),
    rows(784, 48, 32),
    rows(784, 48, 48),
];

/// A point layer of ResNet-50 that widens.
const WIDE_POINTS: &[Shape] = &[rows(3136, 64, 256)];

/// 3 x 3 windows of ResNet-50 and SqueezeNet.
const WINDOWS: &[Shape] = &[
    square(56, 64, 64),
    square(28, 128, 128),
    square(14, 256, 256),
    square(7, 512, 512),
    square(55, 16, 64),
    square(13, 48, 192),
    square(28, 16, 16),
    square(7, 64, 64),
    square(14, 128, 128).grouped(4),
];

/// 3 x 3 windows of few channels, or of many groups.
const NARROW_WINDOWS: &[Shape] = &[
    square(56, 8, 8),
    square(56, 16, 16),
    square(28, 256, 256).grouped(32),
];

/// More windows that Winograd's transforms may be for: of DeepLabV3 and of small images.
const MORE_WINDOWS: &[Shape] = &[
    square(27, 32, 128),
    square(13, 64, 256),
    square(112, 32, 32),
    square(14, 16, 16),
    square(14, 32, 32),
    square(4, 128, 128),
    square(8, 128, 128),
    square(4, 256, 256),
    square(6, 256, 256),
    square(4, 512, 512),
    square(2, 512, 512),
];

/// Windows that move by two, first layers among them.
const STRIDED_WINDOWS: &[Shape] = &[
    square(224, 3, 32).windows(3, 2),
    square(224, 3, 64).windows(7, 2),
    square(56, 128, 128).windows(3, 2),
];

/// Windows of very few channels, in all or in a group.
const THIN_WINDOWS: &[Shape] = &[
    square(224, 3, 16).windows(3, 2),
    square(56, 4, 4),
    square(28, 128, 128).grouped(32),
];

/// Layers that are pruned.
const PRUNED: &[Shape] = &[
    rows(128, 768, 768),
    rows(16, 768, 768),
    rows(128, 768, 768).grouped(4),
    rows(3136, 24, 144),
    rows(3136, 64, 256),
    rows(196, 384, 64),
    rows(49, 960, 160),
    rows(49, 512, 2048),
];
