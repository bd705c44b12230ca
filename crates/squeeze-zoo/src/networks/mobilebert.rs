//! MobileBERT (Sun et al., 2020), with the weight names of `transformers`.
//!
//! As in `google/mobilebert-uncased`, no layer lies between the first token and the classifier.
//! Three neighbouring tokens side by side and the layer behind them are a convolution over tokens.

use squeeze_graph::ops::{
    Activation, Add, Conv1d, Dropout, Embedding, Linear, NoNorm, Position, Select,
};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{BottleneckLayer, Groups, bottleneck_layer};
use crate::configured::Encoder;
use crate::list::{Entry, Options, Task};

/// The published network.
pub(crate) const ROWS: &[Entry] = &[Entry::new(
    "mobilebert",
    Task::Text,
    "Sun et al., 2020; transformers",
    24_581_888,
    mobilebert,
)
.head(&["classifier"])
.gmacs("2.693")
.accuracy(77.7, "GLUE score on test (the paper)")];

/// The sizes as configurations have them.
pub(crate) const SIZES: Encoder = Encoder {
    layers: LAYERS,
    width: WIDTH,
    heads: HEADS,
    inner: INNER,
    tables: NARROW,
    vocabulary: 30522,
    places: 512,
    activation: Activation::Relu,
    epsilon: 1e-12,
    groups: Groups::DENSE,
};

const LAYERS: usize = 24;
const HEADS: usize = 4;
/// Width between layers.
const WIDTH: usize = 512;
/// Width inside a layer, and of the token table.
const NARROW: usize = 128;
/// Width between the two layers of a feed-forward part.
const INNER: usize = 512;
const LAYER: BottleneckLayer = BottleneckLayer {
    narrow: NARROW,
    heads: HEADS,
    inner: INNER,
    parts: 4,
    activation: SIZES.activation,
};

pub(crate) fn mobilebert(options: &Options) -> Result<Graph, GraphError> {
    let text = [1, options.text_length()];
    let mut b = Builder::new("mobilebert");
    let ids = b.input("ids", &text, Element::Index)?;
    let types = b.input("types", &text, Element::Index)?;
    let lengths = b.input("lengths", &[1], Element::Index)?;
    let mut x = embeddings(&mut b, [ids, types, lengths])?;
    for index in 0..LAYERS {
        let path = format!("mobilebert.encoder.layer.{index}");
        x = bottleneck_layer(&mut b, &path, LAYER, [x, lengths])?;
    }
    let first = Select { axis: 1, index: 0 };
    x = b.add("first_token", first, &[x])?;
    x = b.add("dropout", Dropout { rate: 0.0 }, &[x])?;
    x = b.add("classifier", Linear::dense(options.text_classes()), &[x])?;
    b.finish(&[x])
}

fn embeddings(b: &mut Builder, [ids, types, lengths]: [NodeId; 3]) -> Result<NodeId, GraphError> {
    let name = |last: &str| format!("mobilebert.embeddings.{last}");
    let table = |rows, width| Embedding { rows, width };
    let tokens = b.add(name("word_embeddings"), table(30522, NARROW), &[ids])?;
    let neighbours = Conv1d {
        out: WIDTH,
        kernel: 3,
        dilation: 1,
        groups: 1,
        bias: true,
    };
    let tokens = b.add(
        name("embedding_transformation"),
        neighbours,
        &[tokens, lengths],
    )?;
    let position = Position {
        first: 0,
        places: 512,
    };
    let places = b.add(name("position_ids"), position, &[ids])?;
    let places = b.add(name("position_embeddings"), table(512, WIDTH), &[places])?;
    let types = b.add(name("token_type_embeddings"), table(2, WIDTH), &[types])?;
    let x = b.add(name("sum"), Add {}, &[tokens, places, types])?;
    b.add(name("LayerNorm"), NoNorm {}, &[x])
}
