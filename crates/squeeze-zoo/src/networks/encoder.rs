//! Encoders that classify text, with the weight names of `transformers`: BERT (Devlin et al., 2018)
//! in the sizes of Turc et al. (2019), MiniLM (Wang et al., 2020), TinyBERT (Jiao et al., 2019),
//! RoBERTa (Liu et al., 2019), ELECTRA (Clark et al., 2020), DistilBERT (Sanh et al., 2019) and
//! SqueezeBERT (Iandola et al., 2020).

use squeeze_graph::ops::{Activation, Dropout, Linear, Select, TokenMax, TokenMean};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::blocks::{
    Embeddings, EncoderLayer, Groups, LayerNames, attention_part, embeddings, feed_forward,
};
use crate::configured::{Encoder, Pooling};
use crate::list::{Beyond, Entry, Make, Options, Task};

/// The published encoders.
pub(crate) const ROWS: &[Entry] = &[
    bert("bert-large", DEVLIN, 335_141_888, |options| {
        Row::bert("bert-large", [24, 1024, 16]).graph(options)
    }),
    bert("bert-base", DEVLIN, 109_482_240, |options| {
        Row::bert("bert-base", [12, 768, 12]).graph(options)
    })
    .gmacs("11.174")
    .accuracy(
        78.3,
        "GLUE score on test (from MobileBERT, Sun et al., 2020)",
    ),
    bert("bert-medium", TURC, 41_373_184, |options| {
        Row::bert("bert-medium", [8, 512, 8]).graph(options)
    })
    .accuracy(73.5, GLUE),
    bert("bert-small", TURC, 28_763_648, |options| {
        Row::bert("bert-small", [4, 512, 8]).graph(options)
    })
    .accuracy(71.2, GLUE),
    bert("bert-mini", TURC, 11_170_560, |options| {
        Row::bert("bert-mini", [4, 256, 4]).graph(options)
    })
    .accuracy(65.8, GLUE),
    bert("bert-tiny", TURC, 4_385_920, |options| {
        Row::bert("bert-tiny", [2, 128, 2]).graph(options)
    })
    .accuracy(64.2, GLUE),
    bert("minilm-l12-h384", WANG, 33_360_000, |options| {
        Row::bert("minilm-l12-h384", [12, 384, 12]).graph(options)
    }),
    bert("minilm-l6-h384", WANG, 22_713_216, |options| {
        Row::bert("minilm-l6-h384", [6, 384, 12]).graph(options)
    }),
    bert("tinybert-l6-h768", JIAO, 66_955_008, |options| {
        Row::bert("tinybert-l6-h768", [6, 768, 12]).graph(options)
    }),
    bert("tinybert-l4-h312", JIAO, 14_350_248, |options| {
        let row = Row {
            inner: 1200,
            ..Row::bert("tinybert-l4-h312", [4, 312, 12])
        };
        row.graph(options)
    }),
    roberta("roberta-large", LIU, 354_310_144, 1024, |options| {
        Row::roberta("roberta-large", [24, 1024, 16]).graph(options)
    }),
    roberta("roberta-base", LIU, 124_055_040, 768, |options| {
        Row::roberta("roberta-base", [12, 768, 12]).graph(options)
    }),
    roberta("distilroberta", SANH, 81_527_808, 768, |options| {
        Row::roberta("distilroberta", [6, 768, 12]).graph(options)
    }),
    electra("electra-large", 334_092_288, |options| {
        Row::electra("electra-large", [24, 1024, 16], 1024).graph(options)
    }),
    electra("electra-base", 108_891_648, |options| {
        Row::electra("electra-base", [12, 768, 12], 768).graph(options)
    }),
    electra("electra-base-generator", 33_511_168, |options| {
        Row::electra("electra-base-generator", [12, 256, 4], 768).graph(options)
    }),
    electra("electra-small", 13_483_008, |options| {
        Row::electra("electra-small", [12, 256, 4], 128).graph(options)
    }),
    Entry::new("distilbert", Task::Text, SANH, 66_362_880, |options| {
        let row = Row {
            family: DISTILBERT,
            ..Row::bert("distilbert", [6, 768, 12])
        };
        row.graph(options)
    })
    .head(&["pre_classifier", "classifier"]),
    bert(
        "squeezebert",
        "Iandola et al., 2020; transformers",
        51_089_664,
        |options| {
            let row = Row {
                family: SQUEEZEBERT,
                groups: Groups::SQUEEZEBERT,
                ..Row::bert("squeezebert", [12, 768, 12])
            };
            row.graph(options)
        },
    )
    .gmacs("3.699")
    .accuracy(78.1, "GLUE score on test (the paper)"),
];

const DEVLIN: &str = "Devlin et al., 2018; transformers";
const TURC: &str = "Turc et al., 2019; transformers";
const WANG: &str = "Wang et al., 2020; transformers";
const JIAO: &str = "Jiao et al., 2019; transformers";
const LIU: &str = "Liu et al., 2019; transformers";
const SANH: &str = "Sanh et al., 2019; transformers";
const GLUE: &str = "GLUE score on test (google-research/bert)";

const fn bert(name: &'static str, source: &'static str, params: u64, make: Make) -> Entry {
    Entry::new(name, Task::Text, source, params, make).head(&["classifier"])
}

const fn roberta(
    name: &'static str,
    source: &'static str,
    params: u64,
    width: u64,
    make: Make,
) -> Entry {
    let only_type = Beyond {
        params: width,
        macs: 0,
        path: "roberta.embeddings.token_type_embeddings",
        what: "the only type embedding, which import adds to the positions",
    };
    Entry::new(name, Task::Text, source, params, make)
        .head(LAYERS_HEAD)
        .beyond(only_type)
}

const fn electra(name: &'static str, params: u64, make: Make) -> Entry {
    let source = "Clark et al., 2020; transformers";
    Entry::new(name, Task::Text, source, params, make).head(LAYERS_HEAD)
}

const LAYERS_HEAD: &[&str] = &["classifier.dense", "classifier.out_proj"];

/// An encoder with its head.
pub(crate) struct Row<'a> {
    name: &'a str,
    layers: usize,
    width: usize,
    heads: usize,
    /// Width between the two feed-forward layers.
    inner: usize,
    /// Width of the tables; where it is not the encoder's, a linear layer follows them.
    tables: usize,
    groups: Groups,
    activation: Activation,
    family: Family,
}

/// How a family names its weights and ends, and the words that it knows.
#[derive(Clone, Copy)]
pub(crate) struct Family {
    root: &'static str,
    layer: &'static str,
    names: LayerNames,
    types: Types,
    head: Head,
    vocabulary: usize,
    /// Rows of the position table, and the row of the first token.
    places: [usize; 2],
    epsilon: f64,
}

/// Whether the types of tokens come in.
#[derive(Clone, Copy, PartialEq)]
enum Types {
    Two,
    None,
}

/// What follows the first token.
#[derive(Clone, Copy, PartialEq)]
enum Head {
    /// A pooler with tanh, a layer for the classes.
    Pooler,
    /// A layer with ReLU, one for the classes.
    PreClassifier,
    /// Two layers under `classifier`, with this between them.
    Layers(Activation),
    /// Nothing: the text's vector is made of those of its tokens.
    Sentence(Pooling),
}

impl Family {
    /// The family's encoder without a head.
    pub(crate) fn sentence(self, pooling: Pooling) -> Self {
        let head = Head::Sentence(pooling);
        Self { head, ..self }
    }
}

pub(crate) const BERT: Family = Family {
    root: "bert",
    layer: "encoder.layer",
    names: LayerNames::BERT,
    types: Types::Two,
    head: Head::Pooler,
    vocabulary: 30522,
    places: [512, 0],
    epsilon: 1e-12,
};
pub(crate) const SQUEEZEBERT: Family = Family {
    root: "transformer",
    layer: "encoder.layers",
    names: LayerNames::SQUEEZEBERT,
    ..BERT
};
pub(crate) const DISTILBERT: Family = Family {
    root: "distilbert",
    layer: "transformer.layer",
    names: LayerNames::DISTILBERT,
    types: Types::None,
    head: Head::PreClassifier,
    ..BERT
};
pub(crate) const ROBERTA: Family = Family {
    root: "roberta",
    types: Types::None,
    head: Head::Layers(Activation::Tanh),
    vocabulary: 50265,
    places: [514, 2],
    epsilon: 1e-5,
    ..BERT
};
pub(crate) const ELECTRA: Family = Family {
    root: "electra",
    head: Head::Layers(Activation::Gelu),
    ..BERT
};

impl<'a> Row<'a> {
    /// The encoder of a configuration.
    pub(crate) fn configured(name: &'a str, sizes: &Encoder, family: Family) -> Self {
        let [_, first] = family.places;
        Self {
            name,
            layers: sizes.layers,
            width: sizes.width,
            heads: sizes.heads,
            inner: sizes.inner,
            tables: sizes.tables,
            groups: sizes.groups,
            activation: sizes.activation,
            family: Family {
                vocabulary: sizes.vocabulary,
                places: [sizes.places, first],
                epsilon: sizes.epsilon,
                ..family
            },
        }
    }

    /// A dense encoder of `[layers, width, heads]`.
    fn bert(name: &'a str, [layers, width, heads]: [usize; 3]) -> Self {
        Self {
            name,
            layers,
            width,
            heads,
            inner: 4 * width,
            tables: width,
            groups: Groups::DENSE,
            activation: Activation::Gelu,
            family: BERT,
        }
    }

    fn roberta(name: &'a str, sizes: [usize; 3]) -> Self {
        Self {
            family: ROBERTA,
            ..Self::bert(name, sizes)
        }
    }

    fn electra(name: &'a str, sizes: [usize; 3], tables: usize) -> Self {
        Self {
            family: ELECTRA,
            tables,
            ..Self::bert(name, sizes)
        }
    }

    pub(crate) fn graph(&self, options: &Options) -> Result<Graph, GraphError> {
        let family = &self.family;
        let (root, names) = (family.root, &family.names);
        let (text, dropout) = ([1, options.text_length()], 0.1);
        let epsilon = family.epsilon;
        let mut b = Builder::new(self.name);
        let ids = b.input("ids", &text, Element::Index)?;
        let types = match family.types {
            Types::Two => Some(b.input("types", &text, Element::Index)?),
            Types::None => None,
        };
        let lengths = b.input("lengths", &[1], Element::Index)?;
        let [places, first] = family.places;
        let tables = Embeddings {
            vocabulary: family.vocabulary,
            width: self.tables,
            places,
            first,
            dropout,
            epsilon,
        };
        let mut x = embeddings(&mut b, &format!("{root}.embeddings"), &tables, ids, types)?;
        if self.tables != self.width {
            let project = Linear::dense(self.width);
            x = b.add(format!("{root}.embeddings_project"), project, &[x])?;
        }
        let row = EncoderLayer {
            heads: self.heads,
            inner: self.inner,
            groups: self.groups,
            activation: self.activation,
            shuffle: false,
            dropout,
            epsilon,
        };
        for index in 0..self.layers {
            let path = format!("{root}.{}.{index}", family.layer);
            x = attention_part(&mut b, &path, &row, names, [x, lengths])?;
            x = feed_forward(&mut b, &path, &row, names, x)?;
        }
        let first = Select { axis: 1, index: 0 };
        x = match family.head {
            Head::Sentence(Pooling::Mean) => b.add("mean", TokenMean {}, &[x, lengths])?,
            Head::Sentence(Pooling::Max) => b.add("max", TokenMax {}, &[x, lengths])?,
            _ => b.add("first_token", first, &[x])?,
        };
        let (path, activation, last) = match family.head {
            Head::Sentence(_) => return b.finish(&[x]),
            Head::Pooler => (
                format!("{root}.pooler.dense"),
                Activation::Tanh,
                "classifier",
            ),
            Head::PreClassifier => ("pre_classifier".into(), Activation::Relu, "classifier"),
            Head::Layers(activation) => {
                ("classifier.dense".into(), activation, "classifier.out_proj")
            }
        };
        x = b.add(path.clone(), Linear::dense(self.width), &[x])?;
        x = b.add(format!("{path}.act"), activation, &[x])?;
        x = b.add("dropout", Dropout { rate: dropout }, &[x])?;
        x = b.add(last, Linear::dense(options.text_classes()), &[x])?;
        b.finish(&[x])
    }
}

#[cfg(test)]
mod tests {
    use crate::list::tests::encoder_macs;
    use crate::{Options, build};

    /// FLOP ratios of BERT-base and SqueezeBERT, two digits behind the point, from the
    /// configurations (linear layers and the two products of attention, without the pooler).
    #[test]
    fn ratio_by_length() {
        let wanted = [
            (16, 3.18),
            (32, 3.15),
            (64, 3.11),
            (128, 3.02),
            (256, 2.87),
            (384, 2.74),
            (512, 2.62),
        ];
        for (length, ratio) in wanted {
            let macs = |name| {
                let options = Options {
                    length: Some(length),
                    ..Options::default()
                };
                encoder_macs(&build(name, &options).expect("fits")) as f64
            };
            let found = macs("bert-base") / macs("squeezebert");
            assert_eq!(
                format!("{found:.2}"),
                format!("{ratio:.2}"),
                "{length} tokens"
            );
        }
    }

    #[test]
    fn weights_are_named_as_published() {
        let has = |network: &str, weight: &str, shape: &[usize]| {
            let graph = build(network, &Options::default()).expect("fits");
            let params = graph.params();
            let found = params.iter().find(|(name, _)| name == weight);
            assert_eq!(
                found.map(|(_, param)| &*param.shape),
                Some(shape),
                "{weight}"
            );
        };
        let query = "bert.encoder.layer.11.attention.self.query.weight";
        has("bert-base", query, &[768, 768]);
        let query = "transformer.encoder.layers.0.attention.query.weight";
        has("squeezebert", query, &[768, 192]);
        let norm = "distilbert.transformer.layer.5.sa_layer_norm.bias";
        has("distilbert", norm, &[768]);
        has("resnet18", "layer2.0.downsample.0.weight", &[128, 64, 1, 1]);
        has("mobilenet_v2", "features.2.conv.1.0.weight", &[96, 1, 3, 3]);
        has("squeezenet1_1", "features.3.expand3x3.bias", &[64]);
    }
}
