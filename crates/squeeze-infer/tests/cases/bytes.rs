//! Networks whose images stay in bytes between their layers, where ranges are known.

use squeeze_graph::ops::*;
use squeeze_graph::{Builder, Element, GraphError, NodeId};

use super::Make;

type Built = Result<NodeId, GraphError>;

fn image(b: &mut Builder, c: usize, h: usize, w: usize) -> Built {
    b.input("image", &[2, c, h, w], Element::Number)
}

/// A convolution with a bias and what follows it.
fn conv(b: &mut Builder, name: &str, conv: Conv2d, act: Option<Activation>, x: NodeId) -> Built {
    let x = b.add(name, Conv2d { bias: true, ..conv }, &[x])?;
    match act {
        Some(act) => b.add(format!("{name}_act"), act, &[x]),
        None => Ok(x),
    }
}

fn depthwise(c: usize, kernel: usize) -> Conv2d {
    Conv2d {
        groups: c,
        ..Conv2d::square(c, kernel)
    }
}

pub const CASES: &[(&str, Make)] = &[
    ("bytes_first_layers_and_pools", |b| {
        let x = image(b, 3, 23, 18)?;
        let first = Conv2d {
            stride: [2; 2],
            ..Conv2d::square(20, 3)
        };
        let x = conv(b, "first", first, Some(Activation::Relu), x)?;
        let pool = |kind| Pool {
            kind,
            kernel: [3, 2],
            stride: [2, 1],
            padding: [1, 0, 1, 1],
            ceil: true,
        };
        let x = b.add("max", pool(PoolKind::Max), &[x])?;
        let x = conv(
            b,
            "between",
            Conv2d::square(9, 1),
            Some(Activation::Gelu),
            x,
        )?;
        let x = b.add("average", pool(PoolKind::Average), &[x])?;
        let x = b.add("inside", pool(PoolKind::AverageInside), &[x])?;
        let x = conv(b, "head", Conv2d::square(6, 3), None, x)?;
        Ok(vec![b.add("mean", GlobalAverage {}, &[x])?])
    }),
    ("bytes_squeeze_excite", |b| {
        let x = image(b, 4, 9, 7)?;
        let act = Some(Activation::HardSwish);
        let x = conv(b, "first", Conv2d::square(12, 3), act, x)?;
        let y = conv(b, "up", Conv2d::square(24, 1), Some(Activation::Silu), x)?;
        let y = conv(b, "deep", depthwise(24, 5), act, y)?;
        let gate = b.add("pool", GlobalAverage {}, &[y])?;
        let gate = b.add("fc1", Linear::dense(8), &[gate])?;
        let gate = b.add("fc1_act", Activation::Relu, &[gate])?;
        let gate = b.add("fc2", Linear::dense(24), &[gate])?;
        let gate = b.add("gate", Activation::HardSigmoid, &[gate])?;
        let y = b.add("excite", Mul {}, &[y, gate])?;
        let y = conv(b, "down", Conv2d::square(12, 1), None, y)?;
        let y = b.add("sum", Add {}, &[x, y])?;
        // Only every second pixel, and a sum that no layer can take.
        let half = Conv2d {
            stride: [2; 2],
            ..Conv2d::square(16, 1)
        };
        let a = conv(b, "half", half.clone(), Some(Activation::Relu6), y)?;
        let c = conv(b, "other", half, None, y)?;
        let d = b.add("both", Add {}, &[a, c])?;
        let a = conv(b, "left", Conv2d::square(5, 3), None, a)?;
        let c = conv(b, "right", Conv2d::square(5, 3), None, c)?;
        let d = conv(b, "middle", Conv2d::square(5, 3), None, d)?;
        Ok(vec![a, c, d])
    }),
    ("bytes_fires_and_pyramids", |b| {
        let x = image(b, 3, 12, 10)?;
        let relu = Some(Activation::Relu);
        let x = conv(b, "squeeze", Conv2d::square(8, 3), relu, x)?;
        let one = conv(b, "one", Conv2d::square(20, 1), relu, x)?;
        let three = conv(b, "three", Conv2d::square(12, 3), relu, x)?;
        let x = b.add("fire", Concat { axis: 1 }, &[one, three])?;
        let near = conv(b, "near", Conv2d::square(8, 1), relu, x)?;
        let far = conv(b, "far", Conv2d::square(8, 3).dilated(3), relu, x)?;
        let all = b.add("all", GlobalAverage {}, &[x])?;
        let all = b.add("all_fc", Linear::dense(8), &[all])?;
        let all = b.add(
            "all_image",
            Reshape {
                dims: vec![0, -1, 1, 1],
            },
            &[all],
        )?;
        let like = Resize {
            mode: ResizeMode::Bilinear,
            size: ResizeSize::Like,
        };
        let all = b.add("spread", like, &[all, x])?;
        let y = b.add("pyramid", Concat { axis: 1 }, &[near, far, all])?;
        let y = conv(b, "merge", Conv2d::square(8, 1), relu, y)?;
        let twice = Resize {
            mode: ResizeMode::Nearest,
            size: ResizeSize::Times(2),
        };
        let y = b.add("twice", twice, &[y])?;
        Ok(vec![conv(b, "head", Conv2d::square(3, 1), None, y)?])
    }),
    // A part that others read lies by itself as well; half of the channels, dense, for windows.
    ("bytes_copied", |b| {
        let x = image(b, 4, 6, 7)?;
        let relu = Some(Activation::Relu);
        let a = conv(b, "a", Conv2d::square(8, 3), relu, x)?;
        let c = conv(b, "c", Conv2d::square(8, 1), None, a)?;
        let both = b.add("both", Concat { axis: 1 }, &[a, c])?;
        let y = conv(b, "y", Conv2d::square(12, 3), None, both)?;
        let z = conv(b, "z", Conv2d::square(12, 3), relu, a)?;
        let both = b.add("again", Activation::Tanh, &[both])?;
        let y = b.add("more", Concat { axis: 1 }, &[y, both])?;
        let y = conv(b, "last", Conv2d::square(4, 1), None, y)?;
        Ok(vec![y, z])
    }),
];
