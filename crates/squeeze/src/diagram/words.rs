//! What a box says of its operators, and the colour it has.

use squeeze_graph::Op;
use squeeze_graph::ops::{Activation, PoolKind};

/// The operator in a few words: `conv 3x3, stride 2, groups 4`.
pub(super) fn operator(op: &Op) -> String {
    match op {
        Op::Conv2d(conv) => {
            let mut words = format!("conv {}", size(conv.kernel));
            if conv.stride != [1; 2] {
                words += &format!(", stride {}", side(conv.stride));
            }
            if conv.dilation != [1; 2] {
                words += &format!(", dilation {}", side(conv.dilation));
            }
            words + &groups(conv.groups)
        }
        Op::Conv1d(conv) => {
            let mut words = format!("conv {}", conv.kernel);
            if conv.dilation != 1 {
                words += &format!(", dilation {}", conv.dilation);
            }
            words + &groups(conv.groups)
        }
        Op::Linear(linear) => format!("linear{}", groups(linear.groups)),
        Op::Activation(activation) => curve(activation.kind).into(),
        Op::Pool(pool) => {
            let kind = match pool.kind {
                PoolKind::Max => "max",
                PoolKind::Average | PoolKind::AverageInside => "average",
            };
            format!("{kind} {}, stride {}", size(pool.kernel), side(pool.stride))
        }
        Op::Attention(attention) => {
            let kind = match attention.causal {
                true => "causal attention",
                false => "attention",
            };
            format!("{kind}, {} heads", attention.heads)
        }
        Op::Scale(scale) => format!("times {:.4}", scale.factor),
        Op::Embedding(table) => format!("table of {}", table.rows),
        Op::ClassToken(row) if row.tokens == 1 => "class token".into(),
        Op::ClassToken(row) => format!("{} class tokens", row.tokens),
        Op::ChannelShuffle(shuffle) => format!("shuffle of {} groups", shuffle.groups),
        Op::Slice(slice) => format!("slice {} to {}", slice.start, slice.end),
        Op::Select(select) => format!("select {}", select.index),
        Op::Input(_)
        | Op::BatchNorm(_)
        | Op::LayerNorm(_)
        | Op::NoNorm(_)
        | Op::GlobalAverage(_)
        | Op::TokenMax(_)
        | Op::TokenMean(_)
        | Op::Add(_)
        | Op::Mul(_)
        | Op::Concat(_)
        | Op::Position(_)
        | Op::Softmax(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Resize(_)
        | Op::Dropout(_)
        | Op::Slot(_) => op.name().replace('_', " "),
    }
}

fn groups(groups: usize) -> String {
    if groups == 1 {
        return String::new();
    }
    format!(", groups {groups}")
}

fn size([height, width]: [usize; 2]) -> String {
    format!("{height}x{width}")
}

fn side(pair: [usize; 2]) -> String {
    if pair[0] == pair[1] {
        pair[0].to_string()
    } else {
        size(pair)
    }
}

fn curve(kind: Activation) -> &'static str {
    match kind {
        Activation::Relu => "ReLU",
        Activation::Relu6 => "ReLU6",
        Activation::Gelu => "GELU",
        Activation::GeluTanh => "GELU (tanh)",
        Activation::Silu => "SiLU",
        Activation::HardSwish => "hard swish",
        Activation::HardSigmoid => "hard sigmoid",
        Activation::Sigmoid => "sigmoid",
        Activation::Tanh => "tanh",
    }
}

/// Kinds of boxes: class, colour of the fill, of the edge, and what it stands for.
pub(super) const KINDS: [(&str, &str, &str, &str); 6] = [
    ("product", "#dbeafe", "#2563eb", "convolution, linear"),
    ("depthwise", "#dcfce7", "#16a34a", "groups, depthwise"),
    ("attention", "#fce7f3", "#db2777", "attention"),
    ("table", "#fef3c7", "#d97706", "table"),
    ("join", "#ede9fe", "#7c3aed", "sum, product, concat"),
    ("move", "#f1f5f9", "#64748b", "pool, input, other"),
];

/// The class of a box, after its first operator.
pub(super) fn kind(op: &Op) -> &'static str {
    match op {
        Op::Conv2d(conv) if conv.groups > 1 => "depthwise",
        Op::Conv1d(conv) if conv.groups > 1 => "depthwise",
        Op::Linear(linear) if linear.groups > 1 => "depthwise",
        Op::Conv2d(_) | Op::Conv1d(_) | Op::Linear(_) => "product",
        Op::Attention(_) => "attention",
        Op::Embedding(_) | Op::Position(_) | Op::ClassToken(_) => "table",
        Op::Add(_) | Op::Mul(_) | Op::Concat(_) => "join",
        Op::Input(_)
        | Op::BatchNorm(_)
        | Op::LayerNorm(_)
        | Op::NoNorm(_)
        | Op::Activation(_)
        | Op::Scale(_)
        | Op::Pool(_)
        | Op::GlobalAverage(_)
        | Op::TokenMax(_)
        | Op::TokenMean(_)
        | Op::Softmax(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::ChannelShuffle(_)
        | Op::Slice(_)
        | Op::Select(_)
        | Op::Resize(_)
        | Op::Dropout(_)
        | Op::Slot(_) => "move",
    }
}
