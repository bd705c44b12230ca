//! The units of ShuffleNetV2 (Ma et al., 2018): two branches, whose channels are dealt out over both.

use squeeze_graph::ops::{Activation, ChannelShuffle, Concat, Slice};
use squeeze_graph::{Builder, GraphError, NodeId};

use super::{ConvNorm, conv_norm};

/// A unit of two branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShuffleUnit {
    /// Halves the image: both branches see all channels.
    Reducing {
        /// Channels that come out, half of them from each branch.
        out: usize,
    },
    /// Keeps image and channels: half of the channels pass as they are.
    Keeping,
}

/// Adds a unit under `path`, with torchvision's names.
///
/// # Errors
/// When a name is taken, `x` is no image, or channels are odd.
pub fn shuffle_unit(
    b: &mut Builder,
    path: &str,
    row: ShuffleUnit,
    x: NodeId,
) -> Result<NodeId, GraphError> {
    match row {
        ShuffleUnit::Reducing { out } => reducing(b, path, out, x),
        ShuffleUnit::Keeping => keeping(b, path, x),
    }
}

const RELU: Activation = Activation::Relu;

fn reducing(b: &mut Builder, path: &str, out: usize, x: NodeId) -> Result<NodeId, GraphError> {
    let channels = b.channels(x);
    let filter = ConvNorm::square(channels, 3).groups(channels).stride(2);
    let names = |step: usize| [0, 1].map(|part| format!("{path}.branch1.{}", step + part));
    let mut left = x;
    for (step, row) in [(0, filter), (2, ConvNorm::square(out / 2, 1).then(RELU))] {
        left = conv_norm(b, names(step).each_ref().map(|s| &**s), &row, left)?;
    }
    let right = branch(b, path, [out / 2, 2], x)?;
    join(b, path, [left, right])
}

fn keeping(b: &mut Builder, path: &str, x: NodeId) -> Result<NodeId, GraphError> {
    let half = b.channels(x) / 2;
    let part = |start| Slice {
        axis: 1,
        start,
        end: start + half,
    };
    let left = b.add(format!("{path}.left"), part(0), &[x])?;
    let right = b.add(format!("{path}.right"), part(half), &[x])?;
    let right = branch(b, path, [half, 1], right)?;
    join(b, path, [left, right])
}

fn branch(
    b: &mut Builder,
    path: &str,
    [out, stride]: [usize; 2],
    mut x: NodeId,
) -> Result<NodeId, GraphError> {
    let rows = [
        (0, ConvNorm::square(out, 1).then(RELU)),
        (3, ConvNorm::square(out, 3).groups(out).stride(stride)),
        (5, ConvNorm::square(out, 1).then(RELU)),
    ];
    for (step, row) in rows {
        let names = [0, 1].map(|part| format!("{path}.branch2.{}", step + part));
        x = conv_norm(b, names.each_ref().map(|s| &**s), &row, x)?;
    }
    Ok(x)
}

fn join(b: &mut Builder, path: &str, parts: [NodeId; 2]) -> Result<NodeId, GraphError> {
    let x = b.add(format!("{path}.concat"), Concat { axis: 1 }, &parts)?;
    b.add(
        format!("{path}.shuffle"),
        ChannelShuffle { groups: 2 },
        &[x],
    )
}
