//! A `config.json` of `transformers`: which of our networks it describes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use squeeze_graph::Graph;
use squeeze_graph::ops::Activation;
use squeeze_zoo::blocks::Groups;
use squeeze_zoo::{Encoder, EncoderFamily, Options, Pooling};

/// What is read of it. Some families call the same size otherwise.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Config {
    model_type: String,
    #[serde(alias = "n_layers", alias = "n_layer")]
    num_hidden_layers: usize,
    #[serde(alias = "dim", alias = "n_embd")]
    hidden_size: usize,
    #[serde(alias = "n_heads", alias = "n_head")]
    num_attention_heads: usize,
    #[serde(alias = "hidden_dim", alias = "n_inner")]
    intermediate_size: Option<usize>,
    embedding_size: Option<usize>,
    vocab_size: usize,
    #[serde(alias = "n_positions")]
    max_position_embeddings: usize,
    type_vocab_size: Option<usize>,
    #[serde(alias = "activation", alias = "activation_function")]
    hidden_act: Option<String>,
    #[serde(alias = "layer_norm_epsilon")]
    layer_norm_eps: Option<f64>,
    position_embedding_type: Option<String>,
    #[serde(default)]
    id2label: BTreeMap<String, String>,
    num_labels: Option<usize>,
    problem_type: Option<String>,
    pad_token_id: Option<usize>,
    q_groups: Option<usize>,
    k_groups: Option<usize>,
    v_groups: Option<usize>,
    post_attention_groups: Option<usize>,
    intermediate_groups: Option<usize>,
    output_groups: Option<usize>,
    num_hidden_groups: Option<usize>,
    classifier_activation: Option<bool>,
    inner_group_num: Option<usize>,
    tie_word_embeddings: Option<bool>,
    scale_attn_weights: Option<bool>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    add_cross_attention: Option<bool>,
}

/// Model types with their families, the width of the tables where the file does not say it, and the types of tokens.
const FAMILIES: &[(&str, EncoderFamily, Option<usize>, usize)] = &[
    ("bert", EncoderFamily::Bert, None, 2),
    ("roberta", EncoderFamily::Roberta, None, 1),
    ("electra", EncoderFamily::Electra, Some(128), 2),
    ("distilbert", EncoderFamily::DistilBert, None, 0),
    ("squeezebert", EncoderFamily::SqueezeBert, None, 2),
    ("albert", EncoderFamily::Albert, Some(128), 2),
    ("mobilebert", EncoderFamily::MobileBert, Some(128), 2),
    ("gpt2", EncoderFamily::Gpt2, None, 0),
];

const ACTIVATIONS: &[(&str, Activation)] = &[
    ("gelu", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
];

impl Config {
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let kind: Value = serde_json::from_str(&text).with_context(|| shown.to_string())?;
        let kind = kind["model_type"].as_str().unwrap_or("none");
        if !FAMILIES.iter().any(|(known, ..)| *known == kind) {
            let known: Vec<&str> = FAMILIES.iter().map(|row| row.0).collect();
            bail!(
                "{shown}: model_type `{kind}` is not known, {} are",
                known.join(", ")
            );
        }
        serde_json::from_str(&text).with_context(|| shown.to_string())
    }

    pub fn model_type(&self) -> &str {
        &self.model_type
    }

    /// Whether it scores the token that follows, in the place of classes.
    pub fn is_language(&self) -> bool {
        self.model_type == "gpt2"
    }

    /// Rows of the token table.
    pub fn vocabulary(&self) -> usize {
        self.vocab_size
    }

    pub fn classes(&self) -> usize {
        let classes = self.num_labels.unwrap_or(self.id2label.len());
        // What is left out in a file is two.
        if classes == 0 { 2 } else { classes }
    }

    pub fn is_regression(&self) -> bool {
        match self.problem_type.as_deref() {
            Some(kind) => kind == "regression",
            None => self.classes() == 1,
        }
    }

    /// Names of the classes in their order.
    pub fn labels(&self) -> Vec<String> {
        let named = |class: usize| {
            let name = self.id2label.get(&class.to_string()).cloned();
            name.unwrap_or_else(|| format!("LABEL_{class}"))
        };
        (0..self.classes()).map(named).collect()
    }

    /// Most tokens that a text has.
    pub fn longest(&self) -> usize {
        let before = match &*self.model_type {
            // Positions count from behind that of padding.
            "roberta" => 2,
            _ => 0,
        };
        self.max_position_embeddings.saturating_sub(before).max(1)
    }

    /// The network with its head, or the encoder alone with what makes a vector of its tokens.
    pub fn graph(&self, name: &str, options: &Options, sentence: Option<Pooling>) -> Result<Graph> {
        let row = FAMILIES.iter().find(|row| row.0 == self.model_type);
        let &(kind, family, tables, types) = row.expect("`read` looked for it");
        let usual = if self.is_language() {
            "gelu_new"
        } else {
            "gelu"
        };
        let act = self.hidden_act.as_deref().unwrap_or(usual);
        let Some((_, activation)) = ACTIVATIONS.iter().find(|(known, _)| *known == act) else {
            bail!("hidden_act `{act}` is not known");
        };
        if let Some(other) = self
            .position_embedding_type
            .as_deref()
            .filter(|kind| *kind != "absolute")
        {
            bail!("position_embedding_type `{other}` is not known, absolute is");
        }
        if types > 0 && self.type_vocab_size.unwrap_or(types) != types {
            let found = self.type_vocab_size.unwrap_or_default();
            bail!("type_vocab_size {found} is not known of {kind}, {types} is");
        }
        if kind == "roberta" && self.pad_token_id.unwrap_or(1) != 1 {
            bail!(
                "pad_token_id {:?} is not known of roberta, 1 is",
                self.pad_token_id
            );
        }
        if [self.num_hidden_groups, self.inner_group_num]
            .iter()
            .flatten()
            .any(|&groups| groups != 1)
        {
            bail!("layers of more than one group are not known");
        }
        if kind == "mobilebert" && self.classifier_activation.unwrap_or(true) {
            bail!(
                "a mobilebert with classifier_activation is not known, the published one has none"
            );
        }
        let unusual = [
            ("tie_word_embeddings", self.tie_word_embeddings, true),
            ("scale_attn_weights", self.scale_attn_weights, true),
            (
                "scale_attn_by_inverse_layer_idx",
                self.scale_attn_by_inverse_layer_idx,
                false,
            ),
            ("add_cross_attention", self.add_cross_attention, false),
        ];
        let unusual = unusual
            .iter()
            .find(|(_, found, usual)| found.is_some_and(|found| found != *usual));
        if let Some((key, found, _)) = unusual.filter(|_| self.is_language()) {
            let found = found.unwrap_or_default();
            bail!("{key} {found} is not known of {kind}, {} is", !found);
        }
        let inner = match self.intermediate_size {
            Some(inner) => inner,
            None if self.is_language() => 4 * self.hidden_size,
            None => bail!("there is no intermediate_size"),
        };
        let sizes = Encoder {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            heads: self.num_attention_heads,
            inner,
            tables: match family {
                // Tables are as wide as the encoder.
                EncoderFamily::SqueezeBert => self.hidden_size,
                _ => self.embedding_size.or(tables).unwrap_or(self.hidden_size),
            },
            vocabulary: self.vocab_size,
            places: self.max_position_embeddings,
            activation: *activation,
            epsilon: self.layer_norm_eps.unwrap_or(match self.is_language() {
                true => 1e-5,
                false => 1e-12,
            }),
            groups: self.groups(family)?,
        };
        Ok(match sentence {
            Some(pooling) => family.sentence(name, &sizes, options, pooling)?,
            None => family.graph(name, &sizes, options)?,
        })
    }

    fn groups(&self, family: EncoderFamily) -> Result<Groups> {
        if family != EncoderFamily::SqueezeBert {
            return Ok(Groups::DENSE);
        }
        let usual = Groups::SQUEEZEBERT;
        let [q, k, v] =
            [self.q_groups, self.k_groups, self.v_groups].map(|groups| groups.unwrap_or(usual.qkv));
        if q != k || q != v {
            bail!(
                "{q}, {k} and {v} groups of query, key and value are not known, equal numbers are"
            );
        }
        Ok(Groups {
            qkv: q,
            post: self.post_attention_groups.unwrap_or(usual.post),
            intermediate: self.intermediate_groups.unwrap_or(usual.intermediate),
            output: self.output_groups.unwrap_or(usual.output),
        })
    }
}
