//! Networks over text.

use squeeze_graph::ops::*;
use squeeze_graph::{Builder, Element, GraphError, NodeId};

use super::Make;

type Built = Result<NodeId, GraphError>;

fn text(b: &mut Builder) -> Built {
    b.input("x", &[2, 5, 8], Element::Number)
}

/// Word, position and segment embeddings, normalised.
fn embeddings(b: &mut Builder, types: bool) -> Result<[NodeId; 2], GraphError> {
    let ids = b.input("ids", &[2, 6], Element::Index)?;
    let mut parts = vec![b.add(
        "word",
        Embedding {
            rows: 256,
            width: 8,
        },
        &[ids],
    )?];
    if types {
        let types = b.input("types", &[2, 6], Element::Index)?;
        parts.push(b.add("type", Embedding { rows: 2, width: 8 }, &[types])?);
    }
    let lengths = b.input("lengths", &[2], Element::Index)?;
    let positions = Position {
        first: 2,
        places: 9,
    };
    let positions = b.add("positions", positions, &[ids])?;
    parts.push(b.add("position", Embedding { rows: 9, width: 8 }, &[positions])?);
    let x = b.add("sum", Add {}, &parts)?;
    let x = b.add("norm", LayerNorm::default(), &[x])?;
    Ok([x, lengths])
}

/// An encoder layer of width 8.
fn layer(b: &mut Builder, name: &str, [x, lengths]: [NodeId; 2], groups: usize) -> Built {
    let linear = |b: &mut Builder, part: &str, out, groups, x| {
        b.add(format!("{name}.{part}"), Linear::grouped(out, groups), &[x])
    };
    let q = linear(b, "query", 8, groups, x)?;
    let k = linear(b, "key", 8, groups, x)?;
    let v = linear(b, "value", 8, groups, x)?;
    let y = b.add(
        format!("{name}.attention"),
        Attention::new(2),
        &[q, k, v, lengths],
    )?;
    let y = linear(b, "after", 8, 1, y)?;
    let y = b.add(format!("{name}.drop"), Dropout { rate: 0.1 }, &[y])?;
    let y = b.add(format!("{name}.sum1"), Add {}, &[y, x])?;
    let x = b.add(format!("{name}.norm1"), LayerNorm::default(), &[y])?;
    let y = linear(b, "up", 20, groups, x)?;
    let y = b.add(format!("{name}.gelu"), Activation::Gelu, &[y])?;
    let y = linear(b, "down", 8, groups, y)?;
    let y = b.add(format!("{name}.sum2"), Add {}, &[x, y])?;
    b.add(format!("{name}.norm2"), LayerNorm::default(), &[y])
}

/// A text of its own length that looks at another one, and at itself only backwards.
fn two_texts(b: &mut Builder, tokens: usize) -> Result<Vec<NodeId>, GraphError> {
    let [x, lengths] = embeddings(b, false)?;
    let memory = layer(b, "encoder", [x, lengths], 1)?;
    let target = b.input("target", &[2, tokens], Element::Index)?;
    let table = Embedding { rows: 40, width: 8 };
    let table = b.add("target_word", table, &[target])?;
    let x = b.add("scaled", Scale { factor: 2.5 }, &[table])?;
    let y = b.add("self", Attention::causal(2), &[x, x, x])?;
    let x = b.add("self_sum", Add {}, &[x, y])?;
    let q = b.add("cross_query", Linear::dense(8), &[x])?;
    let k = b.add("cross_key", Linear::dense(8), &[memory])?;
    let v = b.add("cross_value", Linear::dense(8), &[memory])?;
    let y = b.add("cross", Attention::new(4), &[q, k, v, lengths])?;
    let x = b.add("cross_sum", Add {}, &[x, y])?;
    let bare = Linear {
        bias: false,
        ..Linear::dense(40)
    };
    Ok(vec![b.tied("head", table, bare, &[x])?, memory])
}

pub const CASES: &[(&str, Make)] = &[
    ("causal", |b| {
        let [x, lengths] = embeddings(b, false)?;
        let q = b.add("query", Linear::dense(8), &[x])?;
        let k = b.add("key", Linear::dense(8), &[x])?;
        let v = b.add("value", Linear::dense(8), &[x])?;
        let y = b.add("see", Attention::causal(2), &[q, k, v, lengths])?;
        let y = b.add("both", Add {}, &[y, x])?;
        let table = NodeId(1);
        let bare = Linear {
            bias: false,
            ..Linear::dense(256)
        };
        let y = b.add("half", Scale { factor: 0.5 }, &[y])?;
        Ok(vec![b.tied("head", table, bare, &[y])?])
    }),
    ("two_texts_of_one_length", |b| two_texts(b, 6)),
    ("a_longer_and_a_shorter_text", |b| two_texts(b, 4)),
    ("encoder", |b| {
        let [x, lengths] = embeddings(b, true)?;
        let x = layer(b, "0", [x, lengths], 1)?;
        let x = layer(b, "1", [x, lengths], 1)?;
        let x = b.add("first", Select { axis: 1, index: 0 }, &[x])?;
        let x = b.add("pooler", Linear::dense(8), &[x])?;
        let x = b.add("tanh", Activation::Tanh, &[x])?;
        Ok(vec![b.add("head", Linear::dense(3), &[x])?])
    }),
    ("shared_layers", |b| {
        let [x, lengths] = embeddings(b, true)?;
        let y = layer(b, "0", [x, lengths], 1)?;
        let nodes = x.0 + 1..y.0 + 1;
        let y = b.repeat(nodes.clone(), ".1", [x, y])?;
        let y = b.repeat(nodes, ".2", [x, y])?;
        let y = b.add("first", Select { axis: 1, index: 0 }, &[y])?;
        Ok(vec![b.add("head", Linear::dense(3), &[y])?])
    }),
    ("shared_layer_in_bytes", |b| {
        let x = text(b)?;
        let x = b.add("wide", Linear::dense(64), &[x])?;
        let y = b.add("layer", Linear::dense(64), &[x])?;
        let y = b.add("gelu", Activation::Gelu, &[y])?;
        Ok(vec![b.repeat(x.0 + 1..y.0 + 1, ".1", [x, y])?])
    }),
    ("grouped_encoder", |b| {
        let [x, lengths] = embeddings(b, false)?;
        let x = layer(b, "0", [x, lengths], 4)?;
        let x = layer(b, "1", [x, lengths], 2)?;
        let mean = b.add("mean", TokenMean {}, &[x, lengths])?;
        let max = b.add("max", TokenMax {}, &[x, lengths])?;
        let x = b.add("both", Concat { axis: 1 }, &[mean, max])?;
        Ok(vec![b.add("head", Linear::dense(3), &[x])?])
    }),
    ("bottleneck_of_scales", |b| {
        let [x, lengths] = embeddings(b, true)?;
        let x = b.add("wide", Linear::dense(40), &[x])?;
        let x = b.add("wide.scale", NoNorm {}, &[x])?;
        let narrow = b.add("narrow", Linear::dense(32), &[x])?;
        let narrow = b.add("narrow.scale", NoNorm {}, &[narrow])?;
        let shared = b.add("shared", Linear::dense(32), &[x])?;
        let shared = b.add("shared.scale", NoNorm {}, &[shared])?;
        let q = b.add("query", Linear::dense(32), &[shared])?;
        let k = b.add("key", Linear::dense(32), &[shared])?;
        let v = b.add("value", Linear::dense(32), &[x])?;
        let y = b.add("attention", Attention::new(4), &[q, k, v, lengths])?;
        let mut y = b.add("after", Linear::dense(32), &[y])?;
        let mut other = narrow;
        for part in ["0", "1"] {
            let sum = b.add(format!("{part}.sum"), Add {}, &[y, other])?;
            other = b.add(format!("{part}.scale"), NoNorm {}, &[sum])?;
            let up = b.add(format!("{part}.up"), Linear::dense(48), &[other])?;
            let up = b.add(format!("{part}.relu"), Activation::Relu, &[up])?;
            y = b.add(format!("{part}.down"), Linear::dense(32), &[up])?;
        }
        let y = b.add("out", Linear::grouped(40, 2), &[y])?;
        let y = b.add("first.sum", Add {}, &[y, x])?;
        let y = b.add("first.scale", NoNorm {}, &[y])?;
        let y = b.add("second.scale", NoNorm {}, &[y])?;
        let y = b.add("gelu", Activation::Gelu, &[y])?;
        let first = b.add("first", Select { axis: 1, index: 0 }, &[y])?;
        let pooled = b.add("pooler", Linear::dense(40), &[first])?;
        Ok(vec![y, pooled])
    }),
    ("tagger", |b| {
        let [x, lengths] = embeddings(b, true)?;
        let x = layer(b, "0", [x, lengths], 1)?;
        let tags = b.add("tags", Linear::dense(3), &[x])?;
        let tags = b.add("softmax", Softmax {}, &[tags])?;
        let mean = b.add("mean", TokenMean {}, &[x, lengths])?;
        Ok(vec![tags, mean, x])
    }),
    ("gated_tokens", |b| {
        let [x, lengths] = embeddings(b, false)?;
        let mean = b.add("mean", TokenMean {}, &[x, lengths])?;
        let max = b.add("max", TokenMax {}, &[x, lengths])?;
        let gate = b.add("squeeze", Linear::dense(8), &[mean])?;
        let gate = b.add("sigmoid", Activation::Sigmoid, &[gate])?;
        let y = b.add("gated", Mul {}, &[x, gate])?;
        let y = b.add("raised", Add {}, &[y, max, x])?;
        let y = b.add("deep", Linear::grouped(8, 8), &[y])?;
        let y = b.add("batch_norm", BatchNorm::default(), &[y])?;
        let y = b.add("no_norm", NoNorm {}, &[y])?;
        let y = b.add("shuffle", ChannelShuffle { groups: 2 }, &[y])?;
        let half = |start, end| Slice {
            axis: 2,
            start,
            end,
        };
        let left = b.add("left", half(0, 3), &[y])?;
        let right = b.add("right", half(3, 8), &[y])?;
        let y = b.add("swapped", Concat { axis: 2 }, &[right, left, x])?;
        let y = b.add("product", Mul {}, &[y, y])?;
        let first = b.add("first", Select { axis: 1, index: 0 }, &[y])?;
        Ok(vec![y, b.add("head", Linear::dense(3), &[first])?])
    }),
    ("windows_over_texts", |b| {
        let [x, lengths] = embeddings(b, false)?;
        let conv = |kernel, dilation, groups| Conv1d {
            out: 8,
            kernel,
            dilation,
            groups,
            bias: true,
        };
        let y = b.add("dense", conv(3, 1, 1), &[x, lengths])?;
        let y = b.add("raised", Add {}, &[y, x])?;
        let y = b.add("relu", Activation::Relu, &[y])?;
        let z = b.add("grouped", conv(5, 1, 2), &[y, lengths])?;
        let y = b.add("deep", conv(3, 2, 8), &[y, lengths])?;
        let y = b.add("both", Concat { axis: 2 }, &[y, z])?;
        let y = b.add("narrow", Linear::dense(8), &[y])?;
        let y = b.add("point", conv(1, 1, 4), &[y, lengths])?;
        let mean = b.add("mean", TokenMean {}, &[y, lengths])?;
        Ok(vec![y, mean])
    }),
    ("windows_that_see_padding", |b| {
        let [x, lengths] = embeddings(b, false)?;
        let conv = Conv1d {
            out: 8,
            kernel: 3,
            dilation: 1,
            groups: 8,
            bias: true,
        };
        let y = b.add("deep", conv.clone(), &[x])?;
        let y = b.add("inside", conv, &[y, lengths])?;
        Ok(vec![b.add("max", TokenMax {}, &[y, lengths])?])
    }),
    ("lone_embeddings", |b| {
        let ids = b.input("ids", &[3, 4], Element::Index)?;
        let positions = Position {
            first: 0,
            places: 4,
        };
        let positions = b.add("positions", positions, &[ids])?;
        let word = b.add(
            "word",
            Embedding {
                rows: 256,
                width: 5,
            },
            &[ids],
        )?;
        let place = b.add("place", Embedding { rows: 4, width: 5 }, &[positions])?;
        let sum = b.add("sum", Mul {}, &[word, place])?;
        let again = b.add("again", Add {}, &[word, word])?;
        Ok(vec![sum, again, word])
    }),
    ("attention_without_lengths", |b| {
        let x = text(b)?;
        let y = b.add("self", Attention::new(4), &[x, x, x])?;
        let q = b.add("q", Linear::dense(8), &[y])?;
        let k = b.add("k", Linear::dense(8), &[y])?;
        let z = b.add("mixed", Attention::new(1), &[q, k, y])?;
        Ok(vec![z, k])
    }),
    ("token_layers", |b| {
        let x = text(b)?;
        let conv = |out, kernel, dilation, groups| Conv1d {
            out,
            kernel,
            dilation,
            groups,
            bias: true,
        };
        let y = b.add("dense", conv(6, 3, 1, 1), &[x])?;
        let y = b.add("relu", Activation::Relu, &[y])?;
        let y = b.add("grouped", conv(8, 3, 2, 2), &[y])?;
        let y = b.add("deep", conv(8, 5, 1, 8), &[y])?;
        let y = b.add("shuffle", ChannelShuffle { groups: 2 }, &[y])?;
        let y = b.add("norm", BatchNorm::default(), &[y])?;
        let y = b.add("softmax", Softmax {}, &[y])?;
        let gate = b.add("gate", Select { axis: 1, index: 3 }, &[y])?;
        Ok(vec![b.add("gated", Mul {}, &[y, gate])?])
    }),
    ("token_slices", |b| {
        let x = text(b)?;
        let slice = |axis, start, end| Slice { axis, start, end };
        let some = b.add("some", slice(1, 1, 4), &[x])?;
        let one = b.add("one", slice(1, 2, 3), &[x])?;
        let one = b.add("head", Linear::dense(5), &[one])?;
        let half = b.add("half", slice(2, 4, 8), &[x])?;
        let half = b.add("half_head", Linear::grouped(6, 2), &[half])?;
        let half = b.add("long", Concat { axis: 1 }, &[half, half])?;
        let row = b.add("row", Select { axis: 1, index: 4 }, &[x])?;
        let column = b.add("column", Select { axis: 2, index: 4 }, &[x])?;
        let order = vec![0, 2, 1];
        let turned = b.add("turned", Transpose { order }, &[x])?;
        Ok(vec![some, one, half, row, column, turned])
    }),
    // Wide enough to leave out zeros, when most weights are zero.
    ("feed_forward_wide", |b| {
        let x = b.input("x", &[2, 40, 128], Element::Number)?;
        let y = b.add("up", Linear::dense(256), &[x])?;
        let y = b.add("act", Activation::Gelu, &[y])?;
        let y = b.add("down", Linear::dense(128), &[y])?;
        let y = b.add("sum", Add {}, &[y, x])?;
        let y = b.add("grouped", Linear::grouped(256, 2), &[y])?;
        Ok(vec![b.add("norm", LayerNorm::default(), &[y])?])
    }),
    ("picked_row", |b| {
        let x = text(b)?;
        let y = b.add("up", Linear::dense(9), &[x])?;
        let y = b.add("act", Activation::Silu, &[y])?;
        let y = b.add("down", Linear::dense(8), &[y])?;
        let y = b.add("sum", Add {}, &[x, y])?;
        let y = b.add("norm", LayerNorm::default(), &[y])?;
        let y = b.add("pick", Select { axis: 1, index: 2 }, &[y])?;
        Ok(vec![b.add("head", Linear::dense(2), &[y])?])
    }),
];
