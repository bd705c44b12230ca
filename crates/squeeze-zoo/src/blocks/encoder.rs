//! The encoder layer of BERT (Devlin et al., 2018) with the groups of SqueezeBERT (Iandola et al.,
//! 2020) in each of its six fully connected layers.

use squeeze_graph::ops::{
    Activation, Add, Attention, ChannelShuffle, Dropout, Embedding, LayerNorm, Linear, Position,
};
use squeeze_graph::{Builder, GraphError, NodeId};

/// Groups of the six fully connected layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Query, key and value.
    pub qkv: usize,
    /// The layer behind attention.
    pub post: usize,
    /// The growing layer of the feed-forward part.
    pub intermediate: usize,
    /// The shrinking layer of the feed-forward part.
    pub output: usize,
}

impl Groups {
    /// No groups anywhere: BERT.
    pub const DENSE: Self = Self {
        qkv: 1,
        post: 1,
        intermediate: 1,
        output: 1,
    };
    /// Groups of four everywhere but behind attention: SqueezeBERT.
    pub const SQUEEZEBERT: Self = Self {
        qkv: 4,
        post: 1,
        intermediate: 4,
        output: 4,
    };
}

/// One encoder layer. Its width is that of what comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncoderLayer {
    /// Attention heads.
    pub heads: usize,
    /// Width between the two feed-forward layers.
    pub inner: usize,
    /// Groups of the fully connected layers.
    pub groups: Groups,
    /// What lies between the two feed-forward layers.
    pub activation: Activation,
    /// Whether channels are shuffled in front of a grouped layer that follows a grouped one.
    pub shuffle: bool,
    /// Share of elements dropped behind each part while training.
    pub dropout: f64,
    /// Added to the variance in layer norms.
    pub epsilon: f64,
}

/// Weight paths inside a layer, as a published family calls them.
#[derive(Clone, Copy, Debug)]
pub struct LayerNames {
    /// Query.
    pub query: &'static str,
    /// Key.
    pub key: &'static str,
    /// Value.
    pub value: &'static str,
    /// Fully connected layer behind attention.
    pub post: &'static str,
    /// Norm of the attention part.
    pub post_norm: &'static str,
    /// Growing feed-forward layer.
    pub intermediate: &'static str,
    /// Shrinking feed-forward layer.
    pub output: &'static str,
    /// Norm of the feed-forward part.
    pub output_norm: &'static str,
}

impl LayerNames {
    /// As in `transformers`' BERT.
    pub const BERT: Self = Self {
        query: "attention.self.query",
        key: "attention.self.key",
        value: "attention.self.value",
        post: "attention.output.dense",
        post_norm: "attention.output.LayerNorm",
        intermediate: "intermediate.dense",
        output: "output.dense",
        output_norm: "output.LayerNorm",
    };
    /// As in `transformers`' SqueezeBERT.
    pub const SQUEEZEBERT: Self = Self {
        query: "attention.query",
        key: "attention.key",
        value: "attention.value",
        post: "post_attention.conv1d",
        post_norm: "post_attention.layernorm",
        intermediate: "intermediate.conv1d",
        output: "output.conv1d",
        output_norm: "output.layernorm",
    };
    /// As in `transformers`' DistilBERT.
    pub const DISTILBERT: Self = Self {
        query: "attention.q_lin",
        key: "attention.k_lin",
        value: "attention.v_lin",
        post: "attention.out_lin",
        post_norm: "sa_layer_norm",
        intermediate: "ffn.lin1",
        output: "ffn.lin2",
        output_norm: "output_layer_norm",
    };
    /// As in `transformers`' ALBERT.
    pub const ALBERT: Self = Self {
        query: "attention.query",
        key: "attention.key",
        value: "attention.value",
        post: "attention.dense",
        post_norm: "attention.LayerNorm",
        intermediate: "ffn",
        output: "ffn_output",
        output_norm: "full_layer_layer_norm",
    };
    /// As in `transformers`' Marian.
    pub const MARIAN: Self = Self {
        query: "self_attn.q_proj",
        key: "self_attn.k_proj",
        value: "self_attn.v_proj",
        post: "self_attn.out_proj",
        post_norm: "self_attn_layer_norm",
        intermediate: "fc1",
        output: "fc2",
        output_norm: "final_layer_norm",
    };
    /// Short ones, for search spaces.
    pub const SHORT: Self = Self {
        query: "query",
        key: "key",
        value: "value",
        post: "post",
        post_norm: "norm",
        intermediate: "intermediate",
        output: "output",
        output_norm: "norm",
    };
}

/// What turns indices into the encoder's input.
#[derive(Clone, Copy, Debug)]
pub struct Embeddings {
    /// Rows of the token table.
    pub vocabulary: usize,
    /// Width of each table.
    pub width: usize,
    /// Rows of the position table.
    pub places: usize,
    /// Row of the first token in it.
    pub first: usize,
    /// Share of elements dropped while training.
    pub dropout: f64,
    /// Added to the variance in the norm.
    pub epsilon: f64,
}

/// Adds token, position and (when there are types) type embeddings under `path`, their norm and
/// dropout.
///
/// # Errors
/// When a name is taken or the text is longer than there are places.
pub fn embeddings(
    b: &mut Builder,
    path: &str,
    row: &Embeddings,
    ids: NodeId,
    types: Option<NodeId>,
) -> Result<NodeId, GraphError> {
    let table = |rows| Embedding {
        rows,
        width: row.width,
    };
    let name = |last: &str| join(path, last);
    let tokens = b.add(name("word_embeddings"), table(row.vocabulary), &[ids])?;
    let position = Position {
        first: row.first,
        places: row.places,
    };
    let places = b.add(name("position_ids"), position, &[ids])?;
    let places = b.add(name("position_embeddings"), table(row.places), &[places])?;
    let mut parts = vec![tokens, places];
    if let Some(types) = types {
        parts.push(b.add(name("token_type_embeddings"), table(2), &[types])?);
    }
    let x = b.add(name("sum"), Add {}, &parts)?;
    let epsilon = row.epsilon;
    let x = b.add(name("LayerNorm"), LayerNorm { epsilon }, &[x])?;
    b.add(name("dropout"), Dropout { rate: row.dropout }, &[x])
}

/// Adds the attention part of a layer under `path`: attention, a fully connected layer, dropout,
/// sum with `x` and norm. The inputs are the text and its lengths.
///
/// # Errors
/// When a name is taken or heads or groups do not divide the width.
pub fn attention_part(
    b: &mut Builder,
    path: &str,
    row: &EncoderLayer,
    names: &LayerNames,
    [x, lengths]: [NodeId; 2],
) -> Result<NodeId, GraphError> {
    let width = b.channels(x);
    let qkv = Linear::grouped(width, row.groups.qkv);
    let query = b.add(join(path, names.query), qkv.clone(), &[x])?;
    let key = b.add(join(path, names.key), qkv.clone(), &[x])?;
    let value = b.add(join(path, names.value), qkv, &[x])?;
    let heads = Attention::new(row.heads);
    let mut y = b.add(
        join(path, "attention"),
        heads,
        &[query, key, value, lengths],
    )?;
    if row.shuffle && row.groups.post > 1 {
        let groups = row.groups.post;
        y = b.add(join(path, "shuffle"), ChannelShuffle { groups }, &[y])?;
    }
    let post = Linear::grouped(width, row.groups.post);
    let y = b.add(join(path, names.post), post, &[y])?;
    finish(b, row, [path, "attention", names.post_norm], [x, y])
}

/// Adds the feed-forward part of a layer under `path`: two fully connected layers with an
/// activation between them, dropout, sum with `x` and norm.
///
/// # Errors
/// When a name is taken or groups do not divide a width.
pub fn feed_forward(
    b: &mut Builder,
    path: &str,
    row: &EncoderLayer,
    names: &LayerNames,
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let width = b.channels(x);
    let grow = Linear::grouped(row.inner, row.groups.intermediate);
    let y = b.add(join(path, names.intermediate), grow, &[x])?;
    let mut y = b.add(join(path, "gelu"), row.activation, &[y])?;
    if row.shuffle && row.groups.intermediate > 1 && row.groups.output > 1 {
        let groups = row.groups.intermediate;
        y = b.add(join(path, "shuffle"), ChannelShuffle { groups }, &[y])?;
    }
    let shrink = Linear::grouped(width, row.groups.output);
    let y = b.add(join(path, names.output), shrink, &[y])?;
    finish(b, row, [path, "ffn", names.output_norm], [x, y])
}

/// Adds the scores of every token at each place of `x`: its products with the rows of the tokens' table (Press and Wolf, 2016).
///
/// # Errors
/// When there are scores already, or the table has not so many rows as wide as `x`.
pub fn token_scores(
    b: &mut Builder,
    (table, rows): (NodeId, usize),
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let layer = Linear {
        bias: false,
        ..Linear::dense(rows)
    };
    b.tied("lm_head", table, layer, &[x])
}

/// Dropout, residual sum and norm.
pub(crate) fn finish(
    b: &mut Builder,
    row: &EncoderLayer,
    [path, part, norm]: [&str; 3],
    [x, y]: [NodeId; 2],
) -> Result<NodeId, GraphError> {
    let dropout = Dropout { rate: row.dropout };
    let y = b.add(join(path, &format!("{part}_dropout")), dropout, &[y])?;
    let y = b.add(join(path, &format!("{part}_sum")), Add {}, &[y, x])?;
    let epsilon = row.epsilon;
    b.add(join(path, norm), LayerNorm { epsilon }, &[y])
}

/// A path and its last part; no dot in front when the path is empty.
fn join(path: &str, last: &str) -> String {
    match path {
        "" => last.to_owned(),
        _ => format!("{path}.{last}"),
    }
}
