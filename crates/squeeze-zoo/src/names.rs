//! How weights are called, and shaped, in published files where they differ from ours.
//!
//! Node names follow the reference implementations, so that most weights are found under their
//! own name. What is left are rows here.

use crate::list::list;

/// Endings that some files have in place of ours.
const ENDINGS: &[[&str; 2]] = &[
    // Checkpoints converted from TensorFlow keep its names for norms.
    ["LayerNorm.weight", "LayerNorm.gamma"],
    ["LayerNorm.bias", "LayerNorm.beta"],
    // Vision Transformers hold rows and packed layers without a module of their own.
    ["class_token.weight", "class_token"],
    ["pos_embedding.weight", "pos_embedding"],
    ["cls_token.weight", "cls_token"],
    ["pos_embed.weight", "pos_embed"],
    ["in_proj.weight", "in_proj_weight"],
    ["in_proj.bias", "in_proj_bias"],
    // torchvision's files of them are older than its code.
    ["mlp.0.weight", "mlp.linear_1.weight"],
    ["mlp.0.bias", "mlp.linear_1.bias"],
    ["mlp.3.weight", "mlp.linear_2.weight"],
    ["mlp.3.bias", "mlp.linear_2.bias"],
];

/// First parts that some files leave out or add: encoders saved without their head, or wrapped.
const ROOTS: &[[&str; 2]] = &[
    ["bert.", ""],
    ["transformer.", ""],
    ["distilbert.", ""],
    ["roberta.", ""],
    ["electra.", ""],
    ["albert.", ""],
    ["mobilebert.", ""],
    ["", "m."],
    ["", "module."],
    ["", "model."],
];

/// The names under which a published file may hold our weight `name`, the likeliest first.
pub fn published(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    for [ours, theirs] in ENDINGS {
        if let Some(path) = name.strip_suffix(ours) {
            names.push(format!("{path}{theirs}"));
        }
    }
    for [ours, theirs] in ROOTS {
        let known = names.clone();
        let stripped = known.iter().filter_map(|name| name.strip_prefix(ours));
        names.extend(stripped.map(|rest| format!("{theirs}{rest}")));
    }
    let copies = COPIES.iter().filter(|[_, ours]| *ours == name);
    names.extend(copies.map(|[theirs, _]| (*theirs).to_owned()));
    names.dedup();
    names
}

/// Names under which published files hold a table once more, and ours.
const COPIES: &[[&str; 2]] = &[
    ["lm_head.weight", "transformer.wte.weight"],
    ["lm_head.weight", "model.shared.weight"],
    ["model.encoder.embed_tokens.weight", "model.shared.weight"],
    ["model.decoder.embed_tokens.weight", "model.shared.weight"],
];

/// Our weights of which a published tensor of this name may be a copy, where networks tie a table to layers.
pub fn copy_of(name: &str) -> impl Iterator<Item = &'static str> {
    let copies = COPIES.iter().filter(move |[theirs, _]| *theirs == name);
    copies.map(|&[_, ours]| ours)
}

/// Tensors of published files that have no place in our networks and must be zero.
const ZEROS: &[&str] = &["final_logits_bias"];

/// Whether a tensor of this name may be left out where it is zero.
pub fn may_be_zero(name: &str) -> bool {
    ZEROS.contains(&name)
}

/// Tables that published files leave out, since a formula gives them.
const SINUSOIDS: &[&str] = &[
    "model.encoder.embed_positions.weight",
    "model.decoder.embed_positions.weight",
];

/// Whether our weight `name` is the table of sinusoids of Marian, which its files may leave out: sines in the first half of a row, cosines
/// in the second.
pub fn is_sinusoids(name: &str) -> bool {
    SINUSOIDS.contains(&name)
}

/// Endings of GPT-2's layers.
const TURNED: &[&str] = &[
    ".attn.c_attn.weight",
    ".attn.c_proj.weight",
    ".mlp.c_fc.weight",
    ".mlp.c_proj.weight",
];

/// For a weight `[out, in]` of ours that published files hold as `[in, out]`, the name of another one of theirs that is not square and so
/// shows whether a file has them so.
pub fn turned(name: &str) -> Option<String> {
    let rest = name.strip_prefix("transformer.h.")?;
    TURNED.iter().find(|ending| rest.ends_with(**ending))?;
    let (index, _) = rest.split_once('.')?;
    Some(format!("transformer.h.{index}.attn.c_attn.weight"))
}

/// Weights of ours that are a published one with the only row of a published table added to each
/// of its rows.
const ADDED: &[[&str; 2]] = &[
    // RoBERTa knows one type of token, so that its embedding is added at every position.
    [
        "roberta.embeddings.position_embeddings.weight",
        "roberta.embeddings.token_type_embeddings.weight",
    ],
];

/// The published table whose only row is added to each row of our weight `name`.
pub fn added(name: &str) -> Option<&'static str> {
    let row = ADDED.iter().find(|[ours, _]| *ours == name);
    row.map(|&[_, table]| table)
}

/// Endings of tensors that published files hold beside weights.
const COUNTERS: &[&str] = &[
    ".num_batches_tracked",
    ".position_ids",
    // GPT-2's masks.
    ".attn.bias",
    ".attn.masked_bias",
];

/// Whether a tensor of a published file has no part in what `network` answers: counters, indices,
/// and what the list says is published beside its weights.
pub fn is_beside(network: &str, name: &str) -> bool {
    let entry = list().iter().find(|entry| entry.name == network);
    let path = entry
        .and_then(|entry| entry.beyond)
        .map(|beyond| beyond.path);
    let below = |path: &str| {
        name.strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    COUNTERS.iter().any(|ending| name.ends_with(ending)) || path.is_some_and(below)
}

/// How the numbers of a published weight are those of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As they are.
    Same,
    /// Ours is a window over tokens `[out, in, taps]`, theirs a layer over neighbouring tokens side
    /// by side `[out, taps * in]`, the last tap first: MobileBERT's embeddings.
    Neighbours,
    /// Ours is `[out, in]`, theirs `[in, out]`: GPT-2's layers, see [`turned`].
    Turned,
    /// Ours is a depthwise window `[channels, 1, taps]`, theirs `[heads, 1, taps]`, whose softmax all channels of a head share:
    /// lightweight convolutions (Wu et al., 2019).
    Heads,
}

/// The layout of a published weight of shape `theirs` for one of ours; nothing when it does not
/// fit. Windows of size 1 behind are left out, as SqueezeBERT's 1-D convolutions have them, and a batch of 1 in front, as the rows of vision
/// Transformers have it.
pub fn layout(ours: &[usize], theirs: &[usize]) -> Option<Layout> {
    if let Some(rest) = theirs.strip_prefix(ours) {
        return rest.iter().all(|&size| size == 1).then_some(Layout::Same);
    }
    match (ours, theirs) {
        (_, [1, rest @ ..]) if ours == rest => Some(Layout::Same),
        (&[out, channels, taps], &[rows, columns]) if out == rows && channels * taps == columns => {
            Some(Layout::Neighbours)
        }
        (&[channels, 1, taps], &[heads, 1, same])
            if taps == same && heads > 0 && channels.is_multiple_of(heads) =>
        {
            Some(Layout::Heads)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_name_comes_first() {
        let names = published("bert.embeddings.LayerNorm.weight");
        assert_eq!(names[0], "bert.embeddings.LayerNorm.weight");
        assert!(names.contains(&"bert.embeddings.LayerNorm.gamma".into()));
        assert!(names.contains(&"embeddings.LayerNorm.weight".into()));
        assert!(names.contains(&"m.bert.embeddings.LayerNorm.weight".into()));
    }

    #[test]
    fn shapes_that_fit() {
        assert_eq!(layout(&[768, 192], &[768, 192, 1]), Some(Layout::Same));
        assert_eq!(layout(&[768], &[768]), Some(Layout::Same));
        assert_eq!(layout(&[768, 192], &[768, 768, 1]), None);
        assert_eq!(layout(&[768, 192], &[768, 192, 3]), None);
        assert_eq!(layout(&[197, 192], &[1, 197, 192]), Some(Layout::Same));
        assert_eq!(layout(&[1, 192], &[1, 1, 192]), Some(Layout::Same));
        assert_eq!(layout(&[197, 192], &[2, 197, 192]), None);
        let neighbours = layout(&[512, 128, 3], &[512, 384]);
        assert_eq!(neighbours, Some(Layout::Neighbours));
        assert_eq!(layout(&[512, 128, 3], &[512, 128]), None);
        assert_eq!(layout(&[80, 1, 7], &[4, 1, 7]), Some(Layout::Heads));
        assert_eq!(layout(&[80, 1, 7], &[3, 1, 7]), None);
    }

    #[test]
    fn layers_of_gpt2_are_turned() {
        let witness = Some("transformer.h.11.attn.c_attn.weight".to_owned());
        assert_eq!(turned("transformer.h.11.mlp.c_proj.weight"), witness);
        assert_eq!(turned("transformer.h.11.mlp.c_proj.bias"), None);
        assert_eq!(turned("bert.h.11.mlp.c_proj.weight"), None);
    }

    #[test]
    fn rows_and_packed_layers_of_vision_transformers() {
        let has = |ours: &str, theirs: &str| published(ours).contains(&theirs.to_owned());
        assert!(has("class_token.weight", "class_token"));
        assert!(has("encoder.pos_embedding.weight", "encoder.pos_embedding"));
        assert!(has("cls_token.weight", "cls_token"));
        let layer = "encoder.layers.encoder_layer_3";
        let (ours, theirs) = ("self_attention.in_proj.bias", "self_attention.in_proj_bias");
        assert!(has(
            &format!("{layer}.{ours}"),
            &format!("{layer}.{theirs}")
        ));
        let (ours, theirs) = ("mlp.3.weight", "mlp.linear_2.weight");
        assert!(has(
            &format!("{layer}.{ours}"),
            &format!("{layer}.{theirs}")
        ));
    }

    #[test]
    fn a_table_may_be_there_twice() {
        let names = published("model.shared.weight");
        assert!(names.contains(&"lm_head.weight".into()));
        let ours: Vec<_> = copy_of("lm_head.weight").collect();
        assert_eq!(ours, ["transformer.wte.weight", "model.shared.weight"]);
    }

    #[test]
    fn what_lies_beside_weights() {
        assert!(is_beside("resnet50", "layer1.0.bn1.num_batches_tracked"));
        assert!(is_beside("fcn_resnet50", "aux_classifier.4.weight"));
        assert!(!is_beside("fcn_resnet50", "aux_classifiers.weight"));
        assert!(!is_beside("resnet50", "aux_classifier.4.weight"));
    }

    #[test]
    fn the_only_type_is_added_to_positions() {
        let table = added("roberta.embeddings.position_embeddings.weight");
        let graph = crate::build("roberta-base", &crate::Options::default()).expect("fits");
        let beyond = crate::list()
            .iter()
            .find(|entry| entry.name == graph.name())
            .and_then(|entry| entry.beyond);
        let path = beyond.map(|beyond| format!("{}.weight", beyond.path));
        assert_eq!(table, path.as_deref());
        assert_eq!(added("bert.embeddings.position_embeddings.weight"), None);
    }
}
