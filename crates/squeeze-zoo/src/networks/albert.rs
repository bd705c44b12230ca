//! ALBERT (Lan et al., 2019), version 2: all layers share their weights; with the weight names of
//! `transformers`.

use squeeze_graph::ops::{Activation, Dropout, Linear, Select};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::blocks::{
    Embeddings, EncoderLayer, Groups, LayerNames, attention_part, embeddings, feed_forward,
};
use crate::configured::Encoder;
use crate::list::{Entry, Make, Options, Task};

/// The published sizes.
pub(crate) const ROWS: &[Entry] = &[
    row("albert-base", 11_683_584, |options| {
        albert("albert-base", &sized([12, 768, 12]), options)
    }),
    row("albert-large", 17_683_968, |options| {
        albert("albert-large", &sized([24, 1024, 16]), options)
    }),
    row("albert-xlarge", 58_724_864, |options| {
        albert("albert-xlarge", &sized([24, 2048, 16]), options)
    }),
    row("albert-xxlarge", 222_595_584, |options| {
        albert("albert-xxlarge", &sized([12, 4096, 64]), options)
    }),
];

const fn row(name: &'static str, params: u64, make: Make) -> Entry {
    let source = "Lan et al., 2019; transformers";
    Entry::new(name, Task::Text, source, params, make).head(&["classifier"])
}

/// A published one of `[layers, width, heads]`.
fn sized([layers, width, heads]: [usize; 3]) -> Encoder {
    Encoder {
        layers,
        width,
        heads,
        inner: 4 * width,
        tables: 128,
        vocabulary: 30000,
        places: 512,
        activation: Activation::GeluTanh,
        epsilon: 1e-12,
        groups: Groups::DENSE,
    }
}

pub(crate) fn albert(name: &str, sizes: &Encoder, options: &Options) -> Result<Graph, GraphError> {
    let (text, epsilon, dropout) = ([1, options.text_length()], sizes.epsilon, 0.0);
    let (layers, width) = (sizes.layers, sizes.width);
    let mut b = Builder::new(name);
    let ids = b.input("ids", &text, Element::Index)?;
    let types = b.input("types", &text, Element::Index)?;
    let lengths = b.input("lengths", &[1], Element::Index)?;
    let tables = Embeddings {
        vocabulary: sizes.vocabulary,
        width: sizes.tables,
        places: sizes.places,
        first: 0,
        dropout,
        epsilon,
    };
    let x = embeddings(&mut b, "albert.embeddings", &tables, ids, Some(types))?;
    let project = "albert.encoder.embedding_hidden_mapping_in";
    let x = b.add(project, Linear::dense(width), &[x])?;
    let row = EncoderLayer {
        heads: sizes.heads,
        inner: sizes.inner,
        groups: sizes.groups,
        activation: sizes.activation,
        shuffle: false,
        dropout,
        epsilon,
    };
    let path = "albert.encoder.albert_layer_groups.0.albert_layers.0";
    let mut y = attention_part(&mut b, path, &row, &LayerNames::ALBERT, [x, lengths])?;
    y = feed_forward(&mut b, path, &row, &LayerNames::ALBERT, y)?;
    let layer = x.0 + 1..y.0 + 1;
    for index in 1..layers {
        y = b.repeat(layer.clone(), &format!(".{index}"), [x, y])?;
    }
    let first = Select { axis: 1, index: 0 };
    y = b.add("first_token", first, &[y])?;
    y = b.add("albert.pooler", Linear::dense(width), &[y])?;
    y = b.add("albert.pooler_activation", Activation::Tanh, &[y])?;
    y = b.add("dropout", Dropout { rate: 0.1 }, &[y])?;
    y = b.add("classifier", Linear::dense(options.text_classes()), &[y])?;
    b.finish(&[y])
}
