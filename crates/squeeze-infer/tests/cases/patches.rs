//! Networks over the patches of images, with class tokens.

use squeeze_graph::ops::*;
use squeeze_graph::{Builder, Element, GraphError, NodeId};

use super::Make;

type Built = Result<NodeId, GraphError>;

/// The patches of `n` images as tokens, class tokens before them.
fn patches(b: &mut Builder, n: usize, tokens: usize) -> Built {
    let x = b.input("image", &[n, 3, 9, 6], Element::Number)?;
    let conv = Conv2d {
        stride: [3; 2],
        padding: [0; 4],
        bias: true,
        ..Conv2d::square(8, 3)
    };
    let x = b.add("patch", conv, &[x])?;
    let order = vec![0, 2, 3, 1];
    let x = b.add("last", Transpose { order }, &[x])?;
    let dims = vec![0, -1, 8];
    let x = b.add("tokens", Reshape { dims }, &[x])?;
    b.add("class", ClassToken { tokens }, &[x])
}

/// Learned places added to tokens.
fn placed(b: &mut Builder, x: NodeId) -> Built {
    let rows = b.shape(x)[1];
    let position = Position {
        first: 0,
        places: rows,
    };
    let places = b.add("positions", position, &[x])?;
    let places = b.add("places", Embedding { rows, width: 8 }, &[places])?;
    b.add("placed", Add {}, &[x, places])
}

/// A layer with its norms in front, and the scores of the first token.
fn encoder(b: &mut Builder, x: NodeId) -> Built {
    let y = b.add("norm1", LayerNorm::default(), &[x])?;
    let qkv = b.add("qkv", Linear::dense(24), &[y])?;
    let part = |at: usize| Slice {
        axis: 2,
        start: 8 * at,
        end: 8 * (at + 1),
    };
    let q = b.add("q", part(0), &[qkv])?;
    let k = b.add("k", part(1), &[qkv])?;
    let v = b.add("v", part(2), &[qkv])?;
    let y = b.add("attention", Attention::new(2), &[q, k, v])?;
    let y = b.add("out", Linear::dense(8), &[y])?;
    let x = b.add("sum1", Add {}, &[y, x])?;
    let y = b.add("norm2", LayerNorm::default(), &[x])?;
    let y = b.add("up", Linear::dense(20), &[y])?;
    let y = b.add("gelu", Activation::Gelu, &[y])?;
    let y = b.add("down", Linear::dense(8), &[y])?;
    let x = b.add("sum2", Add {}, &[y, x])?;
    b.add("norm", LayerNorm::default(), &[x])
}

pub const CASES: &[(&str, Make)] = &[
    ("patches", |b| {
        let x = patches(b, 2, 1)?;
        let x = placed(b, x)?;
        let x = encoder(b, x)?;
        let x = b.add("first", Select { axis: 1, index: 0 }, &[x])?;
        Ok(vec![b.add("head", Linear::dense(5), &[x])?])
    }),
    ("patches_of_one_image", |b| {
        let x = patches(b, 1, 1)?;
        let x = placed(b, x)?;
        let x = encoder(b, x)?;
        let x = b.add("first", Select { axis: 1, index: 0 }, &[x])?;
        Ok(vec![b.add("head", Linear::dense(5), &[x])?])
    }),
    ("patches_of_one_image_distilled", |b| {
        let x = patches(b, 1, 2)?;
        let x = placed(b, x)?;
        let x = encoder(b, x)?;
        let first = b.add("first", Select { axis: 1, index: 0 }, &[x])?;
        let second = b.add("second", Select { axis: 1, index: 1 }, &[x])?;
        let first = b.add("head", Linear::dense(5), &[first])?;
        let second = b.add("head_dist", Linear::dense(5), &[second])?;
        let both = b.add("both", Add {}, &[first, second])?;
        Ok(vec![b.add("mean", Scale { factor: 0.5 }, &[both])?])
    }),
    // A sum of which nobody reads all rows.
    ("rows_of_a_sum", |b| {
        let x = b.input("x", &[2, 5, 8], Element::Number)?;
        let y = b.add("double", Add {}, &[x, x])?;
        let y = b.add("sum", Add {}, &[y, x])?;
        let row = b.add("row", Select { axis: 1, index: 3 }, &[y])?;
        Ok(vec![
            row,
            b.add("other", Select { axis: 1, index: 1 }, &[y])?,
        ])
    }),
    // What stands before the tokens is an output, and what reads it may write over it.
    ("class_tokens_alone", |b| {
        let x = b.input("x", &[3, 2, 5], Element::Number)?;
        let y = b.add("class", ClassToken { tokens: 3 }, &[x])?;
        let z = b.add("relu", Activation::Relu, &[y])?;
        Ok(vec![y, z])
    }),
    ("class_tokens_twice", |b| {
        let x = b.input("x", &[1, 2, 5], Element::Number)?;
        let y = b.add("class", ClassToken { tokens: 1 }, &[x])?;
        let y = b.add("again", ClassToken { tokens: 2 }, &[y])?;
        Ok(vec![b.add("relu", Activation::Relu, &[y])?])
    }),
];
