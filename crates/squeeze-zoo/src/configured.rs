//! Text networks in sizes of one's own, in the families of the published ones: encoders with their heads or for sentence vectors, and GPT-2.

use squeeze_graph::Graph;
use squeeze_graph::ops::Activation;

use crate::blocks::Groups;
use crate::list::{Options, ZooError};
use crate::networks::encoder::{self, Row};
use crate::networks::{albert, gpt2, mobilebert};

/// Sizes of an encoder, as the configurations of `transformers` have them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoder {
    /// How many layers.
    pub layers: usize,
    /// Width between layers.
    pub width: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Width between the two feed-forward layers.
    pub inner: usize,
    /// Width of the tables.
    pub tables: usize,
    /// Rows of the token table.
    pub vocabulary: usize,
    /// Rows of the position table.
    pub places: usize,
    /// Between the two feed-forward layers.
    pub activation: Activation,
    /// Added to the variance in norms.
    pub epsilon: f64,
    /// Groups of the layers.
    pub groups: Groups,
}

/// A family of encoders: how weights are called, and what follows the first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderFamily {
    /// BERT and all that have its form.
    Bert,
    /// RoBERTa.
    Roberta,
    /// ELECTRA.
    Electra,
    /// DistilBERT.
    DistilBert,
    /// SqueezeBERT.
    SqueezeBert,
    /// ALBERT: all layers share their weights.
    Albert,
    /// MobileBERT, in its published sizes alone.
    MobileBert,
    /// GPT-2, which classifies nothing: it scores the token that follows.
    Gpt2,
}

/// What a sentence's vector is made of (Reimers and Gurevych, 2019).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The vector of the first token.
    First,
    /// The mean over the tokens.
    Mean,
    /// The largest of each channel.
    Max,
}

impl EncoderFamily {
    /// The encoder alone: a vector for a text, `[n, width]`.
    ///
    /// # Errors
    /// When the sizes do not fit together, or the family is not known without its head.
    pub fn sentence(
        self,
        name: &str,
        sizes: &Encoder,
        options: &Options,
        pooling: Pooling,
    ) -> Result<Graph, ZooError> {
        let Some(family) = self.family() else {
            let network = "sentence encoder";
            let reason = format!("{self:?} is not known without its head");
            return Err(ZooError::Option { network, reason });
        };
        Ok(Row::configured(name, sizes, family.sentence(pooling)).graph(options)?)
    }

    /// The row of a family whose layers each have weights of their own.
    fn family(self) -> Option<encoder::Family> {
        Some(match self {
            Self::Bert => encoder::BERT,
            Self::Roberta => encoder::ROBERTA,
            Self::Electra => encoder::ELECTRA,
            Self::DistilBert => encoder::DISTILBERT,
            Self::SqueezeBert => encoder::SQUEEZEBERT,
            Self::Albert | Self::MobileBert | Self::Gpt2 => return None,
        })
    }

    /// The network of this family and these sizes.
    ///
    /// # Errors
    /// When the sizes do not fit together, or the family has none but its published ones.
    pub fn graph(self, name: &str, sizes: &Encoder, options: &Options) -> Result<Graph, ZooError> {
        if let Some(family) = self.family() {
            return Ok(Row::configured(name, sizes, family).graph(options)?);
        }
        match self {
            Self::Gpt2 => return Ok(gpt2::gpt2(name, sizes, options)?),
            Self::Albert => return Ok(albert::albert(name, sizes, options)?),
            _ => {}
        }
        if *sizes != mobilebert::SIZES {
            let (wanted, network) = (mobilebert::SIZES, "mobilebert");
            let reason = format!("{sizes:?}: of this family only {wanted:?} is known");
            return Err(ZooError::Option { network, reason });
        }
        Ok(mobilebert::mobilebert(options)?.named(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build;

    fn base(tables: usize) -> Encoder {
        Encoder {
            layers: 12,
            width: 768,
            heads: 12,
            inner: 3072,
            tables,
            vocabulary: 30522,
            places: 512,
            activation: Activation::Gelu,
            epsilon: 1e-12,
            groups: Groups::DENSE,
        }
    }

    #[track_caller]
    fn check(name: &str, family: EncoderFamily, sizes: &Encoder) {
        let options = Options::default();
        let graph = family.graph(name, sizes, &options).expect("they fit");
        assert_eq!(graph, build(name, &options).expect("a known name"));
    }

    #[test]
    fn published_sizes_give_the_published_networks() {
        let roberta = Encoder {
            vocabulary: 50265,
            places: 514,
            epsilon: 1e-5,
            ..base(768)
        };
        let albert = Encoder {
            vocabulary: 30000,
            activation: Activation::GeluTanh,
            ..base(128)
        };
        let distilbert = Encoder {
            layers: 6,
            ..base(768)
        };
        let squeezebert = Encoder {
            groups: Groups::SQUEEZEBERT,
            ..base(768)
        };
        let gpt2 = Encoder {
            vocabulary: 50257,
            places: 1024,
            activation: Activation::GeluTanh,
            epsilon: 1e-5,
            ..base(768)
        };
        check("gpt2", EncoderFamily::Gpt2, &gpt2);
        check("bert-base", EncoderFamily::Bert, &base(768));
        check("roberta-base", EncoderFamily::Roberta, &roberta);
        check("electra-base", EncoderFamily::Electra, &base(768));
        check("distilbert", EncoderFamily::DistilBert, &distilbert);
        check("squeezebert", EncoderFamily::SqueezeBert, &squeezebert);
        check("albert-base", EncoderFamily::Albert, &albert);
        check("mobilebert", EncoderFamily::MobileBert, &mobilebert::SIZES);
    }

    #[test]
    fn a_sentence_is_a_vector_as_wide_as_the_encoder() {
        let options = Options::default();
        for pooling in [Pooling::First, Pooling::Mean, Pooling::Max] {
            let graph = EncoderFamily::Bert.sentence("s", &base(768), &options, pooling);
            let graph = graph.expect("they fit");
            assert_eq!(graph.node(graph.outputs()[0]).shape, [1, 768]);
            // Published: 109,482,240 with the pooler.
            assert_eq!(graph.cost().params, 109_482_240 - 768 * 768 - 768);
        }
        let albert = EncoderFamily::Albert.sentence("s", &base(128), &options, Pooling::Mean);
        assert!(
            albert
                .expect_err("no such row")
                .to_string()
                .contains("Albert")
        );
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let odd = Encoder {
            heads: 7,
            ..base(768)
        };
        let options = Options::default();
        assert!(EncoderFamily::Bert.graph("x", &odd, &options).is_err());
        let error = EncoderFamily::MobileBert.graph("x", &odd, &options);
        assert!(error.expect_err("one size").to_string().contains("only"));
    }
}
