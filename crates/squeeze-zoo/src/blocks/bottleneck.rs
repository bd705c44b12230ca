//! The layer of MobileBERT (Sun et al., 2020): attention and several feed-forward parts in a narrow bottleneck, with scales where other
//! networks have norms.

use squeeze_graph::ops::{Activation, Add, Attention, Linear, NoNorm};
use squeeze_graph::{Builder, GraphError, NodeId};

/// A layer's sizes; its width is that of what comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BottleneckLayer {
    /// Width inside.
    pub narrow: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Width between the two layers of a feed-forward part.
    pub inner: usize,
    /// Feed-forward parts, at least one.
    pub parts: usize,
    /// What stands between those two layers.
    pub activation: Activation,
}

/// Adds a layer under `path`, with the names of `transformers`: down to the narrow width, attention, feed-forward parts, up again.
/// `lengths` says how many tokens of each text count.
///
/// # Errors
/// When a name is taken or `x` is no text.
pub fn bottleneck_layer(
    b: &mut Builder,
    path: &str,
    row: BottleneckLayer,
    [x, lengths]: [NodeId; 2],
) -> Result<NodeId, GraphError> {
    let name = |last: &str| format!("{path}.{last}");
    let narrow = scaled(b, &name("bottleneck.input"), row.narrow, x)?;
    let shared = scaled(b, &name("bottleneck.attention"), row.narrow, x)?;
    let linear = Linear::dense(row.narrow);
    let query = b.add(name("attention.self.query"), linear.clone(), &[shared])?;
    let key = b.add(name("attention.self.key"), linear.clone(), &[shared])?;
    let value = b.add(name("attention.self.value"), linear, &[x])?;
    let heads = Attention::new(row.heads);
    let mut y = b.add(name("attention"), heads, &[query, key, value, lengths])?;
    y = summed(b, &name("attention.output"), [y, narrow])?;
    for part in 1..row.parts {
        let path = name(&format!("ffn.{}", part - 1));
        y = feed_forward(b, &path, row, y)?;
    }
    y = feed_forward(b, path, row, y)?;
    summed(b, &name("output.bottleneck"), [y, x])
}

fn feed_forward(
    b: &mut Builder,
    path: &str,
    row: BottleneckLayer,
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let grow = format!("{path}.intermediate");
    let y = b.add(format!("{grow}.dense"), Linear::dense(row.inner), &[x])?;
    let y = b.add(format!("{grow}.act"), row.activation, &[y])?;
    summed(b, &format!("{path}.output"), [y, x])
}

/// A linear layer with a scale.
fn scaled(b: &mut Builder, path: &str, width: usize, x: NodeId) -> Result<NodeId, GraphError> {
    let x = b.add(format!("{path}.dense"), Linear::dense(width), &[x])?;
    b.add(format!("{path}.LayerNorm"), NoNorm {}, &[x])
}

/// A linear layer to the width of `x`, the sum with it, a scale.
fn summed(b: &mut Builder, path: &str, [y, x]: [NodeId; 2]) -> Result<NodeId, GraphError> {
    let width = b.channels(x);
    let y = b.add(format!("{path}.dense"), Linear::dense(width), &[y])?;
    let y = b.add(format!("{path}.sum"), Add {}, &[y, x])?;
    b.add(format!("{path}.LayerNorm"), NoNorm {}, &[y])
}
