//! Encoders of Lite Transformer (Wu et al., 2020) that classify text: long-short range blocks and a feed-forward part that does not widen,
//! with the weight names of `mit-han-lab/lite-transformer`.
//!
//! The published networks translate; here the encoder's tokens are averaged and classified. Its decoder is left out: its windows would
//! have to end at each token. Where the published code zeroes padding in front of a layer with bias, here it is zeroed in front of the
//! convolution, so that no bias leaks out of it.

use squeeze_graph::ops::{Activation, Add, Dropout, Embedding, Linear, Position, Scale, TokenMean};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::blocks::long_short::{Entry as Front, LongShort, long_short};
use crate::blocks::{EncoderLayer, Groups, LayerNames, feed_forward, finish};
use crate::list::{Entry, Make, Options, Task};

/// The encoders of the published configurations.
pub(crate) const ROWS: &[Entry] = &[
    row("lite-transformer-160", 2_155_680, |options| {
        encoder("lite-transformer-160", 160, 10_000, Front::Plain, options)
    })
    .remark("the encoder of the IWSLT configuration `embed160`; vocabulary and head are ours, taps are counted for each channel"),
    row("lite-transformer-320", 5_386_560, |options| {
        encoder("lite-transformer-320", 320, 10_000, Front::Plain, options)
    })
    .remark("the encoder of the IWSLT configuration `embed320`; vocabulary and head are ours, taps are counted for each channel"),
    row("lite-transformer-200", 8_923_200, |options| {
        encoder("lite-transformer-200", 200, 40_000, Front::Gated, options)
    })
    .remark(
        "the encoder of the WMT configuration `embed200`, with the paper's lightweight convolution where that has a dynamic one; vocabulary \
         and head are ours, taps are counted for each channel",
    ),
];

const fn row(name: &'static str, params: u64, make: Make) -> Entry {
    let source = "Wu et al., 2020; mit-han-lab/lite-transformer";
    Entry::new(name, Task::Text, source, params, make)
        .head(&["encoder.embed_positions", "classifier"])
}

/// Windows of the layers, in tokens.
const KERNELS: [usize; 6] = [3, 7, 15, 31, 31, 31];
/// Rows of the position table.
const PLACES: usize = 1024;

fn encoder(
    name: &str,
    width: usize,
    vocabulary: usize,
    entry: Front,
    options: &Options,
) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let ids = b.input("ids", &[1, options.text_length()], Element::Index)?;
    let lengths = b.input("lengths", &[1], Element::Index)?;
    let table = |rows| Embedding { rows, width };
    let tokens = b.add("encoder.embed_tokens", table(vocabulary), &[ids])?;
    let factor = (width as f64).sqrt();
    let tokens = b.add("encoder.embed_scale", Scale { factor }, &[tokens])?;
    let position = Position {
        first: 0,
        places: PLACES,
    };
    let places = b.add("encoder.position_ids", position, &[ids])?;
    let places = b.add("encoder.embed_positions", table(PLACES), &[places])?;
    let x = b.add("encoder.sum", Add {}, &[tokens, places])?;
    let mut x = b.add("encoder.dropout", Dropout { rate: 0.1 }, &[x])?;
    let row = EncoderLayer {
        heads: 4,
        inner: width,
        groups: Groups::DENSE,
        activation: Activation::Relu,
        shuffle: false,
        dropout: 0.1,
        epsilon: 1e-5,
    };
    for (index, kernel) in KERNELS.into_iter().enumerate() {
        let path = format!("encoder.layers.{index}");
        let block = LongShort {
            heads: row.heads,
            kernel,
            entry,
        };
        let y = long_short(&mut b, &format!("{path}.self_attn"), &block, [x, lengths])?;
        let names = &LayerNames::MARIAN;
        x = finish(&mut b, &row, [&path, "self_attn", names.post_norm], [x, y])?;
        x = feed_forward(&mut b, &path, &row, names, x)?;
    }
    x = b.add("mean", TokenMean {}, &[x, lengths])?;
    x = b.add("dropout", Dropout { rate: 0.1 }, &[x])?;
    x = b.add("classifier", Linear::dense(options.text_classes()), &[x])?;
    b.finish(&[x])
}
