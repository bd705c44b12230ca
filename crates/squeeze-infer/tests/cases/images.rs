//! Networks over images and vectors.

use squeeze_graph::ops::*;
use squeeze_graph::{Builder, Element, GraphError, NodeId};

use super::Make;

type Built = Result<NodeId, GraphError>;

fn image(b: &mut Builder, c: usize, h: usize, w: usize) -> Built {
    b.input("image", &[2, c, h, w], Element::Number)
}

fn bias(conv: Conv2d) -> Conv2d {
    Conv2d { bias: true, ..conv }
}

fn strided(conv: Conv2d) -> Conv2d {
    Conv2d {
        stride: [2, 2],
        ..conv
    }
}

/// A group for each channel.
fn grouped(conv: Conv2d) -> Conv2d {
    Conv2d {
        groups: conv.out,
        ..conv
    }
}

pub const CASES: &[(&str, Make)] = &[
    ("conv_dense", |b| {
        let x = image(b, 3, 9, 7)?;
        Ok(vec![b.add("conv", bias(Conv2d::square(5, 3)), &[x])?])
    }),
    ("shared_conv_batch_norm", |b| {
        let x = image(b, 8, 9, 7)?;
        let y = b.add("conv", bias(Conv2d::square(8, 3)), &[x])?;
        let y = b.add("norm", BatchNorm::default(), &[y])?;
        let y = b.add("relu", Activation::Relu, &[y])?;
        Ok(vec![b.repeat(x.0 + 1..y.0 + 1, ".1", [x, y])?])
    }),
    ("conv_strided_batch_norm_relu", |b| {
        let x = image(b, 3, 11, 8)?;
        let conv = Conv2d {
            stride: [2, 2],
            padding: [0, 1, 1, 0],
            ..Conv2d::square(17, 3)
        };
        let x = b.add("conv", conv, &[x])?;
        let x = b.add("norm", BatchNorm::default(), &[x])?;
        Ok(vec![b.add("relu", Activation::Relu, &[x])?])
    }),
    ("conv_grouped_dilated", |b| {
        let x = image(b, 8, 9, 10)?;
        let conv = Conv2d {
            groups: 4,
            ..Conv2d::square(12, 3).dilated(2)
        };
        let x = b.add("conv", conv, &[x])?;
        Ok(vec![b.add("act", Activation::Relu6, &[x])?])
    }),
    ("conv_point_grouped_silu", |b| {
        let x = image(b, 12, 5, 5)?;
        let conv = Conv2d {
            groups: 3,
            ..bias(Conv2d::square(18, 1))
        };
        let x = b.add("conv", conv, &[x])?;
        Ok(vec![b.add("act", Activation::Silu, &[x])?])
    }),
    // Large enough to run some rows at a time where it is in bytes.
    ("conv_then_pool", |b| {
        let x = image(b, 3, 70, 65)?;
        let conv = Conv2d {
            stride: [2, 1],
            ..bias(Conv2d::square(40, 3))
        };
        let x = b.add("conv", conv, &[x])?;
        let x = b.add("relu", Activation::Relu, &[x])?;
        let pool = Pool {
            kind: PoolKind::Max,
            kernel: [3; 2],
            stride: [2; 2],
            padding: [1, 0, 1, 1],
            ceil: true,
        };
        Ok(vec![b.add("pool", pool, &[x])?])
    }),
    // One tap for every second pixel, enough channels for bytes.
    ("conv_point_strided_wide", |b| {
        let x = image(b, 36, 5, 7)?;
        let conv = Conv2d {
            stride: [2, 2],
            ..Conv2d::square(40, 1)
        };
        Ok(vec![b.add("conv", conv, &[x])?])
    }),
    ("conv_windows_wide", |b| {
        let x = image(b, 20, 9, 7)?;
        let x = b.add("conv", bias(Conv2d::square(34, 3)), &[x])?;
        let conv = Conv2d {
            stride: [2, 2],
            ..Conv2d::square(34, 3).dilated(2)
        };
        let x = b.add("dilated", conv, &[x])?;
        Ok(vec![b.add("silu", Activation::Silu, &[x])?])
    }),
    ("conv_point_strided", |b| {
        let x = image(b, 6, 5, 7)?;
        let conv = Conv2d {
            stride: [2, 2],
            ..Conv2d::square(4, 1)
        };
        Ok(vec![b.add("conv", conv, &[x])?])
    }),
    // Wide enough for matrix registers, with more rows than one block of them.
    ("conv_wide", |b| {
        let x = image(b, 32, 20, 18)?;
        let x = b.add("point", bias(Conv2d::square(64, 1)), &[x])?;
        let x = b.add("act", Activation::HardSwish, &[x])?;
        let y = b.add("window", bias(Conv2d::square(64, 3)), &[x])?;
        let y = b.add("sum", Add {}, &[x, y])?;
        let strided = Conv2d {
            stride: [2, 2],
            ..Conv2d::square(48, 3)
        };
        Ok(vec![b.add("strided", strided, &[y])?])
    }),
    ("inverted_residual", |b| {
        let x = image(b, 8, 7, 6)?;
        let y = b.add("up", Conv2d::square(24, 1), &[x])?;
        let y = b.add("up_norm", BatchNorm::default(), &[y])?;
        let y = b.add("up_act", Activation::HardSwish, &[y])?;
        let depthwise = Conv2d {
            groups: 24,
            ..Conv2d::square(24, 3)
        };
        let y = b.add("deep", depthwise, &[y])?;
        let y = b.add("deep_norm", BatchNorm::default(), &[y])?;
        let y = b.add("deep_act", Activation::HardSwish, &[y])?;
        let gate = b.add("pool", GlobalAverage {}, &[y])?;
        let gate = b.add("gate", Linear::dense(24), &[gate])?;
        let gate = b.add("gate_act", Activation::HardSigmoid, &[gate])?;
        let y = b.add("excite", Mul {}, &[y, gate])?;
        let y = b.add("down", Conv2d::square(8, 1), &[y])?;
        let y = b.add("down_norm", BatchNorm::default(), &[y])?;
        Ok(vec![b.add("sum", Add {}, &[x, y])?])
    }),
    // Of one image the gate becomes factors of the weight, where it has fewer columns than the image pixels.
    ("gates_of_one_image", |b| {
        let x = b.input("image", &[1, 24, 9, 10], Element::Number)?;
        let y = b.add("up", Conv2d::square(50, 1), &[x])?;
        let gate = b.add("pool", GlobalAverage {}, &[y])?;
        let gate = b.add("gate", Linear::dense(50), &[gate])?;
        let gate = b.add("gate_act", Activation::HardSigmoid, &[gate])?;
        let y = b.add("excite", Mul {}, &[y, gate])?;
        let y = b.add("down", bias(Conv2d::square(24, 1)), &[y])?;
        let y = b.add("sum", Add {}, &[x, y])?;
        let gate = b.add("gate2", Linear::dense(24), &[gate])?;
        let wide = b.add("excite2", Mul {}, &[y, gate])?;
        Ok(vec![y, b.add("wide", Conv2d::square(91, 1), &[wide])?])
    }),
    // Large enough for bands that begin with windows, of which one adds what it expanded.
    ("first_block", |b| {
        let x = image(b, 3, 96, 87)?;
        let x = b.add("stem", strided(bias(Conv2d::square(16, 3))), &[x])?;
        let x = b.add("stem_act", Activation::HardSwish, &[x])?;
        let y = b.add("deep", grouped(bias(Conv2d::square(16, 3))), &[x])?;
        let y = b.add("deep_act", Activation::Relu, &[y])?;
        let y = b.add("down", bias(Conv2d::square(16, 1)), &[y])?;
        Ok(vec![b.add("sum", Add {}, &[x, y])?])
    }),
    ("first_windows", |b| {
        let x = image(b, 3, 112, 99)?;
        let x = b.add("stem", strided(Conv2d::square(24, 5)), &[x])?;
        let x = b.add("stem_act", Activation::Silu, &[x])?;
        let y = b.add("deep", strided(grouped(Conv2d::square(24, 5))), &[x])?;
        Ok(vec![b.add("deep_act", Activation::Silu, &[y])?])
    }),
    ("first_pool", |b| {
        let x = image(b, 3, 128, 131)?;
        let x = b.add("stem", strided(bias(Conv2d::square(17, 3))), &[x])?;
        let x = b.add("act", Activation::Relu, &[x])?;
        let pool = Pool {
            kind: PoolKind::Max,
            kernel: [3; 2],
            stride: [2; 2],
            padding: [1, 0, 0, 1],
            ceil: true,
        };
        Ok(vec![b.add("pool", pool, &[x])?])
    }),
    ("residual_then_relu", |b| {
        let x = image(b, 4, 6, 5)?;
        let y = b.add("first", bias(Conv2d::square(6, 3)), &[x])?;
        let y = b.add("act", Activation::Relu, &[y])?;
        let y = b.add("second", Conv2d::square(6, 3), &[y])?;
        let skip = b.add("skip", Conv2d::square(6, 1), &[x])?;
        let y = b.add("sum", Add {}, &[y, skip])?;
        let y = b.add("relu", Activation::Relu, &[y])?;
        let deep = Conv2d {
            groups: 6,
            ..bias(Conv2d::square(6, 5))
        };
        let z = b.add("deep", deep, &[y])?;
        Ok(vec![b.add("again", Add {}, &[z, y])?])
    }),
    ("fire", |b| {
        let x = image(b, 6, 7, 7)?;
        let pool = Pool {
            kind: PoolKind::Max,
            kernel: [3; 2],
            stride: [2; 2],
            padding: [0; 4],
            ceil: true,
        };
        let x = b.add("pool", pool, &[x])?;
        let x = b.add("squeeze", bias(Conv2d::square(4, 1)), &[x])?;
        let x = b.add("squeeze_act", Activation::Relu, &[x])?;
        let one = b.add("one", bias(Conv2d::square(7, 1)), &[x])?;
        let one = b.add("one_act", Activation::Relu, &[one])?;
        let three = b.add("three", bias(Conv2d::square(9, 3)), &[x])?;
        let three = b.add("three_act", Activation::Relu, &[three])?;
        let y = b.add("concat", Concat { axis: 1 }, &[one, three])?;
        let y = b.add("shuffle", ChannelShuffle { groups: 4 }, &[y])?;
        let y = b.add("head", bias(Conv2d::square(3, 1)), &[y])?;
        Ok(vec![b.add("mean", GlobalAverage {}, &[y])?])
    }),
    ("concat_of_what_others_read", |b| {
        let x = image(b, 3, 4, 5)?;
        let y = b.add("a", Conv2d::square(5, 3), &[x])?;
        let z = b.add("b", Conv2d::square(5, 3), &[y])?;
        let dense = b.add("dense", Concat { axis: 1 }, &[x, y, z, y])?;
        let tall = b.add("tall", Concat { axis: 2 }, &[y, z])?;
        let wide = b.add("wide", Concat { axis: 3 }, &[y, z])?;
        Ok(vec![dense, tall, wide])
    }),
    ("average_pools", |b| {
        let x = image(b, 5, 8, 9)?;
        let pool = |kind, ceil| Pool {
            kind,
            kernel: [3, 2],
            stride: [2, 2],
            padding: [1, 0, 1, 1],
            ceil,
        };
        let a = b.add("a", pool(PoolKind::Average, true), &[x])?;
        let c = b.add("c", pool(PoolKind::AverageInside, false), &[x])?;
        Ok(vec![a, c])
    }),
    ("resizes", |b| {
        let x = image(b, 3, 4, 5)?;
        let resize = |mode, size| Resize { mode, size };
        let a = resize(ResizeMode::Nearest, ResizeSize::Times(2));
        let c = resize(ResizeMode::Bilinear, ResizeSize::To([7, 3]));
        let d = resize(ResizeMode::BilinearCorners, ResizeSize::Like);
        let a = b.add("a", a, &[x])?;
        let c = b.add("c", c, &[x])?;
        let d = b.add("d", d, &[x, a])?;
        Ok(vec![a, c, d])
    }),
    ("flatten", |b| {
        let x = image(b, 3, 4, 5)?;
        let y = b.add("conv", Conv2d::square(4, 3), &[x])?;
        let y = b.add("flat", Reshape::flatten(), &[y])?;
        let y = b.add("head", Linear::dense(6), &[y])?;
        Ok(vec![b.add("softmax", Softmax {}, &[y])?])
    }),
    ("reshapes", |b| {
        let x = image(b, 6, 4, 5)?;
        let wide = Reshape {
            dims: vec![0, 3, 8, -1],
        };
        let wide = b.add("wide", wide, &[x])?;
        let text = Reshape {
            dims: vec![0, 10, 12],
        };
        let text = b.add("text", text, &[x])?;
        let back = Reshape {
            dims: vec![0, 2, 5, -1],
        };
        let back = b.add("back", back, &[text])?;
        Ok(vec![wide, text, back])
    }),
    // Numbers a pixel side by side, as detectors have them; where another reads them too they are really turned.
    ("channels_last", |b| {
        let x = image(b, 6, 4, 5)?;
        let turned = || Transpose {
            order: vec![0, 2, 3, 1],
        };
        let rows = |width| Reshape {
            dims: vec![0, -1, width],
        };
        let y = b.add("conv", bias(Conv2d::square(12, 1)), &[x])?;
        let y = b.add("turned", turned(), &[y])?;
        let flat = b.add("flat", rows(4), &[y])?;
        let z = b.add("strided", Conv2d::square(8, 3), &[x])?;
        let part = Slice {
            axis: 1,
            start: 2,
            end: 6,
        };
        let part = b.add("part", part, &[z])?;
        let part = b.add("part.turned", turned(), &[part])?;
        let part = b.add("part.flat", rows(4), &[part])?;
        let all = b.add("all", Concat { axis: 1 }, &[flat, part])?;
        let back = Reshape {
            dims: vec![0, 3, 8, -1],
        };
        let back = b.add("back", back, &[y])?;
        let own = b.add("own.turned", turned(), &[x])?;
        let own = b.add("own.flat", rows(2), &[own])?;
        let read = b.add("read.turned", turned(), &[z])?;
        let flat = b.add("read.flat", rows(8), &[read])?;
        let read = b.add("read.act", Activation::Relu, &[read])?;
        Ok(vec![all, back, own, flat, read])
    }),
    ("transposes_and_slices", |b| {
        let x = image(b, 6, 4, 5)?;
        let order = vec![0, 3, 1, 2];
        let turned = b.add("turned", Transpose { order }, &[x])?;
        let slice = |axis, start, end| Slice { axis, start, end };
        let some = b.add("channels", slice(1, 2, 5), &[x])?;
        let some = b.add("act", Activation::Tanh, &[some])?;
        let rows = b.add("rows", slice(2, 1, 3), &[x])?;
        let columns = b.add("columns", slice(3, 4, 5), &[x])?;
        let point = b.add("point", Conv2d::square(3, 1), &[rows])?;
        let select = |axis, index| Select { axis, index };
        let a = b.add("one_channel", select(1, 2), &[x])?;
        let c = b.add("one_row", select(2, 3), &[x])?;
        let d = b.add("one_column", select(3, 0), &[x])?;
        Ok(vec![turned, some, columns, point, a, c, d])
    }),
    ("lone_norms_and_activations", |b| {
        let x = image(b, 6, 3, 5)?;
        let norm = b.add("norm", BatchNorm::default(), &[x])?;
        let act = b.add("act", Activation::Sigmoid, &[norm])?;
        let scaled = b.add("scaled", NoNorm {}, &[act])?;
        let layer = b.add("layer", LayerNorm { epsilon: 1e-5 }, &[scaled])?;
        let gelu = b.add("gelu", Activation::GeluTanh, &[x])?;
        let drop = b.add("drop", Dropout { rate: 0.5 }, &[gelu])?;
        let square = b.add("square", Mul {}, &[drop, drop])?;
        Ok(vec![layer, square, act])
    }),
    ("norms_behind_sums", |b| {
        let x = image(b, 20, 6, 7)?;
        let y = b.add("conv", Conv2d::square(20, 3), &[x])?;
        let y = b.add("sum", Add {}, &[y, x])?;
        let y = b.add("norm", BatchNorm::default(), &[y])?;
        let z = b.add("relu", Activation::Relu6, &[y])?;
        let point = b.add("point", Conv2d::square(20, 1), &[z])?;
        let point = b.add("point.sum", Add {}, &[x, point])?;
        let point = b.add("point.norm", BatchNorm::default(), &[point])?;
        let deep = Conv2d {
            groups: 20,
            ..bias(Conv2d::square(20, 3))
        };
        let deep = b.add("deep", deep, &[point])?;
        let deep = b.add("deep.sum", Add {}, &[deep, point])?;
        Ok(vec![b.add("deep.norm", BatchNorm::default(), &[deep])?])
    }),
    ("sums", |b| {
        let x = image(b, 4, 3, 3)?;
        let gate = b.add("gate", GlobalAverage {}, &[x])?;
        let y = b.add("conv", Conv2d::square(4, 3), &[x])?;
        let sum = b.add("sum", Add {}, &[x, y, x, gate])?;
        let double = b.add("double", Add {}, &[sum, sum])?;
        let gated = b.add("gated", Add {}, &[x, gate])?;
        Ok(vec![double, gated, x])
    }),
    ("shuffles", |b| {
        let x = image(b, 6, 3, 4)?;
        let grouped = |out| Conv2d {
            groups: 3,
            ..bias(Conv2d::square(out, 1))
        };
        let y = b.add("before", grouped(12), &[x])?;
        let y = b.add("into_reader", ChannelShuffle { groups: 3 }, &[y])?;
        let y = b.add("dense", bias(Conv2d::square(12, 3)), &[y])?;
        let y = b.add("act", Activation::Relu, &[y])?;
        let y = b.add("into_writer", ChannelShuffle { groups: 4 }, &[y])?;
        let y = b.add("middle", grouped(15), &[y])?;
        let y = b.add("copied", ChannelShuffle { groups: 3 }, &[y])?;
        Ok(vec![b.add("after", grouped(6), &[y])?])
    }),
    ("vectors", |b| {
        let x = b.input("x", &[3, 10], Element::Number)?;
        let y = b.add("grouped", Linear::grouped(12, 2), &[x])?;
        let y = b.add("gelu", Activation::Gelu, &[y])?;
        let y = b.add("norm", BatchNorm::default(), &[y])?;
        let part = Slice {
            axis: 1,
            start: 2,
            end: 9,
        };
        let part = b.add("part", part, &[y])?;
        let head = b.add("head", Linear::dense(4), &[part])?;
        let cat = b.add("cat", Concat { axis: 1 }, &[head, part, y])?;
        Ok(vec![b.add("last", Linear::dense(33), &[cat])?])
    }),
];
