//! GPT-2 (Radford et al., 2019): norms in front of each part, each token sees those before it, the last layer is the token table; with the
//! weight names of `transformers`, whose layers are stored with rows and columns exchanged ([`crate::names`]).

use squeeze_graph::ops::{
    Activation, Add, Attention, Dropout, Embedding, LayerNorm, Linear, Position, Slice,
};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{Groups, token_scores};
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
    for index in 0..sizes.layers {
        x = layer(
            &mut b,
            &format!("transformer.h.{index}"),
            sizes,
            [x, lengths],
        )?;
    }
    x = b.add("transformer.ln_f", LayerNorm { epsilon }, &[x])?;
    let y = token_scores(&mut b, (wte, sizes.vocabulary), x)?;
    b.finish(&[y])
}

fn layer(
    b: &mut Builder,
    path: &str,
    sizes: &Encoder,
    [x, lengths]: [NodeId; 2],
) -> Result<NodeId, GraphError> {
    let (width, rate, epsilon) = (sizes.width, 0.1, sizes.epsilon);
    let name = |last: &str| format!("{path}.{last}");
    let y = b.add(name("ln_1"), LayerNorm { epsilon }, &[x])?;
    let qkv = b.add(name("attn.c_attn"), Linear::dense(3 * width), &[y])?;
    let part = |at: usize| Slice {
        axis: 2,
        start: at * width,
        end: (at + 1) * width,
    };
    let query = b.add(name("attn.query"), part(0), &[qkv])?;
    let key = b.add(name("attn.key"), part(1), &[qkv])?;
    let value = b.add(name("attn.value"), part(2), &[qkv])?;
    let heads = Attention::causal(sizes.heads);
    let y = b.add(name("attn"), heads, &[query, key, value, lengths])?;
    let y = b.add(name("attn.c_proj"), Linear::dense(width), &[y])?;
    let y = b.add(name("attn.resid_dropout"), Dropout { rate }, &[y])?;
    let x = b.add(name("attn.sum"), Add {}, &[y, x])?;
    let y = b.add(name("ln_2"), LayerNorm { epsilon }, &[x])?;
    let y = b.add(name("mlp.c_fc"), Linear::dense(sizes.inner), &[y])?;
    let y = b.add(name("mlp.act"), sizes.activation, &[y])?;
    let y = b.add(name("mlp.c_proj"), Linear::dense(width), &[y])?;
    let y = b.add(name("mlp.dropout"), Dropout { rate }, &[y])?;
    b.add(name("mlp.sum"), Add {}, &[y, x])
}
