//! The Transformer (Vaswani et al., 2017): an encoder, a decoder that looks at it and at its own tokens so far, one table for both texts and
//! the last layer; with the weight names of Marian in `transformers`.
//!
//! The table of sinusoids is a weight here, as Marian has it, and no parameter of the published figures.

use squeeze_graph::ops::{Activation, Add, Attention, Dropout, Embedding, Linear, Position, Scale};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{
    EncoderLayer, Groups, LayerNames, attention_part, feed_forward, finish, token_scores,
};
use crate::configured::Encoder;
use crate::list::{Entry, Make, Options, Task};

/// The published sizes.
pub(crate) const ROWS: &[Entry] = &[
    row("transformer-base", VASWANI, 63_082_496, |options| {
        let sizes = sized([6, 512, 8], 37_000, Activation::Relu);
        transformer("transformer-base", &sizes, options)
    })
    .gmacs("8.364")
    .remark("the paper prints 65 million"),
    row(
        "transformer-small",
        "Vaswani et al., 2018; tensor2tensor",
        13_158_400,
        |options| {
            let sizes = sized([2, 256, 4], 37_000, Activation::Relu);
            transformer("transformer-small", &sizes, options)
        },
    )
    .gmacs("1.733")
    .remark("the sizes of `transformer_small` with the vocabulary of the paper"),
    row(
        "opus-mt",
        "Tiedemann and Thottingal, 2020; transformers",
        73_886_208,
        |options| {
            let sizes = sized([6, 512, 8], 58_101, Activation::Silu);
            transformer("opus-mt", &sizes, options)
        },
    )
    .gmacs("9.747")
    .remark("the sizes of opus-mt-en-de"),
];

const VASWANI: &str = "Vaswani et al., 2017; transformers";

const fn row(name: &'static str, source: &'static str, params: u64, make: Make) -> Entry {
    Entry::new(name, Task::Translate, source, params, make).head(&[
        "model.encoder.embed_positions",
        "model.decoder.embed_positions",
    ])
}

/// One of `[layers, width, heads]`.
fn sized([layers, width, heads]: [usize; 3], vocabulary: usize, activation: Activation) -> Encoder {
    Encoder {
        layers,
        width,
        heads,
        inner: 4 * width,
        tables: width,
        vocabulary,
        places: 512,
        activation,
        epsilon: 1e-5,
        groups: Groups::DENSE,
    }
}

/// The network of these sizes, with as many layers in its decoder as in its encoder.
pub(crate) fn transformer(
    name: &str,
    sizes: &Encoder,
    options: &Options,
) -> Result<Graph, GraphError> {
    let (text, width) = ([1, options.text_length()], sizes.width);
    let mut b = Builder::new(name);
    let ids = b.input("ids", &text, Element::Index)?;
    let lengths = b.input("lengths", &[1], Element::Index)?;
    let target = b.input("target", &text, Element::Index)?;
    let row = EncoderLayer {
        heads: sizes.heads,
        inner: sizes.inner,
        groups: Groups::DENSE,
        activation: sizes.activation,
        shuffle: false,
        dropout: 0.1,
        epsilon: sizes.epsilon,
    };
    let names = &LayerNames::MARIAN;
    let words = Embedding {
        rows: sizes.vocabulary,
        width,
    };
    let shared = b.add("model.shared", words.clone(), &[ids])?;
    let mut x = placed(&mut b, "model.encoder", sizes, [shared, ids])?;
    for index in 0..sizes.layers {
        let path = format!("model.encoder.layers.{index}");
        x = attention_part(&mut b, &path, &row, names, [x, lengths])?;
        x = feed_forward(&mut b, &path, &row, names, x)?;
    }
    let memory = x;
    let tokens = b.tied("model.decoder.embed_tokens", shared, words, &[target])?;
    x = placed(&mut b, "model.decoder", sizes, [tokens, target])?;
    for index in 0..sizes.layers {
        let path = format!("model.decoder.layers.{index}");
        let own = Look {
            path: &path,
            part: "self_attn",
            attention: Attention::causal(row.heads),
        };
        x = look(&mut b, &row, &own, [x, x], None)?;
        let other = Look {
            path: &path,
            part: "encoder_attn",
            attention: Attention::new(row.heads),
        };
        x = look(&mut b, &row, &other, [x, memory], Some(lengths))?;
        x = feed_forward(&mut b, &path, &row, names, x)?;
    }
    let y = token_scores(&mut b, (shared, sizes.vocabulary), x)?;
    b.finish(&[y])
}

/// Tokens times the root of the width, and their places; `[tokens, ids]`.
fn placed(
    b: &mut Builder,
    path: &str,
    sizes: &Encoder,
    [tokens, ids]: [NodeId; 2],
) -> Result<NodeId, GraphError> {
    let name = |last: &str| format!("{path}.{last}");
    let factor = (sizes.width as f64).sqrt();
    let tokens = b.add(name("embed_scale"), Scale { factor }, &[tokens])?;
    let position = Position {
        first: 0,
        places: sizes.places,
    };
    let places = b.add(name("position_ids"), position, &[ids])?;
    let table = Embedding {
        rows: sizes.places,
        width: sizes.width,
    };
    let places = b.add(name("embed_positions"), table, &[places])?;
    let x = b.add(name("sum"), Add {}, &[tokens, places])?;
    b.add(name("dropout"), Dropout { rate: 0.1 }, &[x])
}

/// An attention part of the decoder.
struct Look<'a> {
    path: &'a str,
    part: &'a str,
    attention: Attention,
}

/// Adds a part in which `x` looks at `memory`, of which so many tokens count.
fn look(
    b: &mut Builder,
    row: &EncoderLayer,
    part: &Look,
    [x, memory]: [NodeId; 2],
    lengths: Option<NodeId>,
) -> Result<NodeId, GraphError> {
    let width = b.channels(x);
    let name = |last: &str| format!("{}.{}.{last}", part.path, part.part);
    let query = b.add(name("q_proj"), Linear::dense(width), &[x])?;
    let key = b.add(name("k_proj"), Linear::dense(width), &[memory])?;
    let value = b.add(name("v_proj"), Linear::dense(width), &[memory])?;
    let mut inputs = vec![query, key, value];
    inputs.extend(lengths);
    let y = b.add(name("heads"), part.attention.clone(), &inputs)?;
    let y = b.add(name("out_proj"), Linear::dense(width), &[y])?;
    let norm = format!("{}_layer_norm", part.part);
    finish(b, row, [part.path, part.part, &norm], [x, y])
}
