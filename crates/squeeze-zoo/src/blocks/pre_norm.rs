//! The Transformer layer whose norms stand in front of its parts (Radford et al., 2019; Dosovitskiy et al., 2020), with one layer for query,
//! key and value.

use squeeze_graph::ops::{Activation, Add, Attention, Dropout, LayerNorm, Linear, Slice};
use squeeze_graph::{Builder, GraphError, NodeId};

/// One layer. Its width is that of what comes in.
#[derive(Clone, Debug, PartialEq)]
pub struct PreNorm {
    /// How tokens see each other.
    pub attention: Attention,
    /// Width between the two feed-forward layers.
    pub inner: usize,
    /// What lies between them.
    pub activation: Activation,
    /// Share of elements dropped behind each part while training.
    pub dropout: f64,
    /// Added to the variance in the norms.
    pub epsilon: f64,
}

/// Weight paths inside a layer, as a published family calls them.
#[derive(Clone, Copy, Debug)]
pub struct PreNormNames {
    /// Norms in front of the two parts.
    pub norms: [&'static str; 2],
    /// The attention part.
    pub attention: &'static str,
    /// Query, key and value, inside of it.
    pub qkv: &'static str,
    /// The layer behind attention, inside of it.
    pub out: &'static str,
    /// The two feed-forward layers.
    pub mlp: [&'static str; 2],
}

impl PreNormNames {
    /// As in `transformers`' GPT-2.
    pub const GPT2: Self = Self {
        norms: ["ln_1", "ln_2"],
        attention: "attn",
        qkv: "c_attn",
        out: "c_proj",
        mlp: ["mlp.c_fc", "mlp.c_proj"],
    };
    /// As in torchvision's vision Transformers.
    pub const TORCHVISION: Self = Self {
        norms: ["ln_1", "ln_2"],
        attention: "self_attention",
        qkv: "in_proj",
        out: "out_proj",
        mlp: ["mlp.0", "mlp.3"],
    };
    /// As in timm's vision Transformers.
    pub const TIMM: Self = Self {
        norms: ["norm1", "norm2"],
        attention: "attn",
        qkv: "qkv",
        out: "proj",
        mlp: ["mlp.fc1", "mlp.fc2"],
    };
}

/// Adds a layer under `path`. The inputs are the tokens and, where texts are padded, their lengths.
///
/// # Errors
/// When a name is taken or heads do not divide the width.
pub fn pre_norm(
    b: &mut Builder,
    path: &str,
    row: &PreNorm,
    names: &PreNormNames,
    (x, lengths): (NodeId, Option<NodeId>),
) -> Result<NodeId, GraphError> {
    let (width, epsilon, rate) = (b.channels(x), row.epsilon, row.dropout);
    let name = |last: &str| format!("{path}.{last}");
    let inside = |last: &str| format!("{path}.{}.{last}", names.attention);
    let dropped = |b: &mut Builder, name: String, y: NodeId| match rate {
        0.0 => Ok(y),
        _ => b.add(name, Dropout { rate }, &[y]),
    };
    let y = b.add(name(names.norms[0]), LayerNorm { epsilon }, &[x])?;
    let qkv = b.add(inside(names.qkv), Linear::dense(3 * width), &[y])?;
    let part = |at: usize| Slice {
        axis: 2,
        start: at * width,
        end: (at + 1) * width,
    };
    let mut inputs = vec![
        b.add(inside("query"), part(0), &[qkv])?,
        b.add(inside("key"), part(1), &[qkv])?,
        b.add(inside("value"), part(2), &[qkv])?,
    ];
    inputs.extend(lengths);
    let y = b.add(name(names.attention), row.attention.clone(), &inputs)?;
    let y = b.add(inside(names.out), Linear::dense(width), &[y])?;
    let y = dropped(b, inside("resid_dropout"), y)?;
    let x = b.add(inside("sum"), Add {}, &[y, x])?;
    let y = b.add(name(names.norms[1]), LayerNorm { epsilon }, &[x])?;
    let y = b.add(name(names.mlp[0]), Linear::dense(row.inner), &[y])?;
    let y = b.add(name("mlp.act"), row.activation, &[y])?;
    let y = b.add(name(names.mlp[1]), Linear::dense(width), &[y])?;
    let y = dropped(b, name("mlp.dropout"), y)?;
    b.add(name("mlp.sum"), Add {}, &[y, x])
}
