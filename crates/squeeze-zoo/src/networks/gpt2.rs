//! GPT-2 (Radford et al., 2019): norms in front of each part, each token sees those before it, the last layer is the token table; with the
//! weight names of `transformers`, whose layers are stored with rows and columns exchanged ([`crate::names`]).

use squeeze_graph::ops::{Activation, Add, Attention, Dropout, Embedding, LayerNorm, Position};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::blocks::{Groups, PreNorm, PreNormNames, pre_norm, token_scores};
use crate::configured::Encoder;
use crate::list::{Entry, Make, Options, Task};

/// The published sizes.
pub(crate) const ROWS: &[Entry] = &[
    row("gpt2", RADFORD, 124_439_808, |options| {
        gpt2("gpt2", &sized([12, 768, 12], 1024), options)
    })
    .gmacs("16.114"),
    row("distilgpt2", SANH, 81_912_576, |options| {
        gpt2("distilgpt2", &sized([6, 768, 12], 1024), options)
    })
    .gmacs("10.527"),
];

const RADFORD: &str = "Radford et al., 2019; transformers";
const SANH: &str = "Sanh et al., 2019; transformers";

const fn row(name: &'static str, source: &'static str, params: u64, make: Make) -> Entry {
    Entry::new(name, Task::Language, source, params, make)
}

/// One of `[layers, width, heads]`.
fn sized([layers, width, heads]: [usize; 3], places: usize) -> Encoder {
    Encoder {
        layers,
        width,
        heads,
        inner: 4 * width,
        tables: width,
        vocabulary: 50257,
        places,
        activation: Activation::GeluTanh,
        epsilon: 1e-5,
        groups: Groups::DENSE,
    }
}

pub(crate) fn gpt2(name: &str, sizes: &Encoder, options: &Options) -> Result<Graph, GraphError> {
    let rate = 0.1;
    let epsilon = sizes.epsilon;
    let mut b = Builder::new(name);
    let ids = b.input("ids", &[1, options.text_length()], Element::Index)?;
    let lengths = b.input("lengths", &[1], Element::Index)?;
    let table = |rows| Embedding {
        rows,
        width: sizes.width,
    };
    let wte = b.add("transformer.wte", table(sizes.vocabulary), &[ids])?;
    let position = Position {
        first: 0,
        places: sizes.places,
    };
    let places = b.add("transformer.position_ids", position, &[ids])?;
    let places = b.add("transformer.wpe", table(sizes.places), &[places])?;
    let x = b.add("transformer.sum", Add {}, &[wte, places])?;
    let mut x = b.add("transformer.drop", Dropout { rate }, &[x])?;
    let row = PreNorm {
        attention: Attention::causal(sizes.heads),
        inner: sizes.inner,
        activation: sizes.activation,
        dropout: rate,
        epsilon,
    };
    for index in 0..sizes.layers {
        let path = format!("transformer.h.{index}");
        let names = &PreNormNames::GPT2;
        x = pre_norm(&mut b, &path, &row, names, (x, Some(lengths)))?;
    }
    x = b.add("transformer.ln_f", LayerNorm { epsilon }, &[x])?;
    let y = token_scores(&mut b, (wte, sizes.vocabulary), x)?;
    b.finish(&[y])
}
