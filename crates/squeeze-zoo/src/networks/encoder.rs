//! Encoders that classify text: BERT (Devlin et al., 2018) in the sizes of Turc et al. (2019),
//! MiniLM, DistilBERT (Sanh et al., 2019) and SqueezeBERT (Iandola et al., 2020), with the weight
//! names of `transformers`.

use squeeze_graph::ops::{Activation, Dropout, Linear, Select};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::blocks::{
    Embeddings, EncoderLayer, Groups, LayerNames, attention_part, embeddings, feed_forward,
};
use crate::list::{Entry, Make, Options, Task};

/// The published encoders.
pub(crate) const ROWS: &[Entry] = &[
    text("bert-base", DEVLIN, 109_482_240, |options| {
        Row::bert("bert-base", [12, 768, 12]).graph(options)
    })
    .gmacs("11.174")
    .accuracy(
        78.3,
        "GLUE score on test (from MobileBERT, Sun et al., 2020)",
    ),
    text("bert-medium", TURC, 41_373_184, |options| {
        Row::bert("bert-medium", [8, 512, 8]).graph(options)
    })
    .accuracy(73.5, GLUE),
    text("bert-small", TURC, 28_763_648, |options| {
        Row::bert("bert-small", [4, 512, 8]).graph(options)
    })
    .accuracy(71.2, GLUE),
    text("bert-mini", TURC, 11_170_560, |options| {
        Row::bert("bert-mini", [4, 256, 4]).graph(options)
    })
    .accuracy(65.8, GLUE),
    text("bert-tiny", TURC, 4_385_920, |options| {
        Row::bert("bert-tiny", [2, 128, 2]).graph(options)
    })
    .accuracy(64.2, GLUE),
    text(
        "minilm-l6-h384",
        "Wang et al., 2020; transformers",
        22_713_216,
        |options| Row::bert("minilm-l6-h384", [6, 384, 12]).graph(options),
    ),
    text(
        "distilbert",
        "Sanh et al., 2019; transformers",
        66_362_880,
        |options| {
            let row = Row {
                family: DISTILBERT,
                ..Row::bert("distilbert", [6, 768, 12])
            };
            row.graph(options)
        },
    )
    .head(&["pre_classifier", "classifier"]),
    text(
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
const GLUE: &str = "GLUE score on test (google-research/bert)";

const fn text(name: &'static str, source: &'static str, params: u64, make: Make) -> Entry {
    Entry::new(name, Task::Text, source, params, make).head(&["classifier"])
}

/// An encoder with its head.
struct Row {
    name: &'static str,
    layers: usize,
    width: usize,
    heads: usize,
    groups: Groups,
    family: Family,
}

/// How a family names its weights and ends.
#[derive(Clone, Copy)]
struct Family {
    root: &'static str,
    layer: &'static str,
    names: LayerNames,
    head: Head,
}

#[derive(Clone, Copy, PartialEq)]
enum Head {
    /// Types come in; the first token goes through a pooler with tanh.
    Pooler,
    /// No types; the first token goes through a layer with ReLU.
    PreClassifier,
}

const BERT_FAMILY: Family = Family {
    root: "bert",
    layer: "encoder.layer",
    names: LayerNames::BERT,
    head: Head::Pooler,
};
const SQUEEZEBERT: Family = Family {
    root: "transformer",
    layer: "encoder.layers",
    names: LayerNames::SQUEEZEBERT,
    head: Head::Pooler,
};
const DISTILBERT: Family = Family {
    root: "distilbert",
    layer: "transformer.layer",
    names: LayerNames::DISTILBERT,
    head: Head::PreClassifier,
};

impl Row {
    /// A dense encoder of `[layers, width, heads]`.
    fn bert(name: &'static str, [layers, width, heads]: [usize; 3]) -> Self {
        Self {
            name,
            layers,
            width,
            heads,
            groups: Groups::DENSE,
            family: BERT_FAMILY,
        }
    }

    fn graph(&self, options: &Options) -> Result<Graph, GraphError> {
        let Family {
            root,
            layer,
            names,
            head,
        } = self.family;
        let (text, epsilon, dropout) = ([1, options.text_length()], 1e-12, 0.1);
        let mut b = Builder::new(self.name);
        let ids = b.input("ids", &text, Element::Index)?;
        let types = match head {
            Head::Pooler => Some(b.input("types", &text, Element::Index)?),
            Head::PreClassifier => None,
        };
        let lengths = b.input("lengths", &[1], Element::Index)?;
        let tables = Embeddings {
            vocabulary: 30522,
            width: self.width,
            places: 512,
            dropout,
            epsilon,
        };
        let mut x = embeddings(&mut b, &format!("{root}.embeddings"), &tables, ids, types)?;
        let row = EncoderLayer {
            heads: self.heads,
            inner: 4 * self.width,
            groups: self.groups,
            shuffle: false,
            dropout,
            epsilon,
        };
        for index in 0..self.layers {
            let path = format!("{root}.{layer}.{index}");
            x = attention_part(&mut b, &path, &row, &names, [x, lengths])?;
            x = feed_forward(&mut b, &path, &row, &names, x)?;
        }
        let first = Select { axis: 1, index: 0 };
        x = b.add("first_token", first, &[x])?;
        let (path, activation) = match head {
            Head::Pooler => (format!("{root}.pooler.dense"), Activation::Tanh),
            Head::PreClassifier => ("pre_classifier".into(), Activation::Relu),
        };
        x = b.add(path.clone(), Linear::dense(self.width), &[x])?;
        x = b.add(format!("{path}.act"), activation, &[x])?;
        x = b.add("dropout", Dropout { rate: dropout }, &[x])?;
        x = b.add("classifier", Linear::dense(options.text_classes()), &[x])?;
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
