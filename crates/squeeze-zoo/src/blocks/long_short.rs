//! The long-short range block of Lite Transformer (Wu et al., 2020): half of the channels go through attention, which sees far, the other
//! half through a convolution over neighbouring tokens, which is cheap.

use squeeze_graph::ops::{Activation, Attention, Concat, Conv1d, Linear, Mul, Slice};
use squeeze_graph::{Builder, GraphError, NodeId};

/// One long-short range block. Its width is that of what comes in.
///
/// The convolution is lightweight (Wu et al., 2019): depthwise, its taps the softmax of what was trained, the same for all channels of a
/// head. Here it is what that comes to, a depthwise convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongShort {
    /// Heads of the attention branch.
    pub heads: usize,
    /// Width of the convolution's window in tokens; odd.
    pub kernel: usize,
    /// What lies in front of the convolution.
    pub entry: Entry,
}

/// What lies in front of the convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A fully connected layer.
    Plain,
    /// A fully connected layer of twice the width, one half of which is the gate of the other (Dauphin et al., 2016).
    Gated,
}

/// Adds the block under `path`, with the weight names of `mit-han-lab/lite-transformer`. The inputs are the text and its lengths;
/// neither branch sees padding.
///
/// # Errors
/// When a name is taken, the width is odd or heads do not divide its half.
pub fn long_short(
    b: &mut Builder,
    path: &str,
    row: &LongShort,
    [x, lengths]: [NodeId; 2],
) -> Result<NodeId, GraphError> {
    let width = b.channels(x);
    let half = width / 2;
    let name = |last: &str| format!("{path}.{last}");
    let part = |start, end| Slice {
        axis: 2,
        start,
        end,
    };
    let far = b.add(name("far"), part(0, half), &[x])?;
    let near = b.add(name("near"), part(half, width), &[x])?;

    let linear = Linear::dense(half);
    let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|last| name(&format!("branches.0.{last}")));
    let q = b.add(q, linear.clone(), &[far])?;
    let k = b.add(k, linear.clone(), &[far])?;
    let v = b.add(v, linear.clone(), &[far])?;
    let heads = Attention::new(row.heads);
    let far = b.add(name("branches.0"), heads, &[q, k, v, lengths])?;
    let far = b.add(name("branches.0.out_proj"), linear.clone(), &[far])?;

    let near = match row.entry {
        Entry::Plain => b.add(name("branches.1.linear1"), linear.clone(), &[near])?,
        Entry::Gated => {
            let both = Linear::dense(2 * half);
            let both = b.add(name("branches.1.linear1"), both, &[near])?;
            let value = b.add(name("branches.1.value"), part(0, half), &[both])?;
            let gate = b.add(name("branches.1.gate"), part(half, 2 * half), &[both])?;
            let gate = b.add(name("branches.1.sigmoid"), Activation::Sigmoid, &[gate])?;
            b.add(name("branches.1.glu"), Mul {}, &[value, gate])?
        }
    };
    let window = Conv1d {
        out: half,
        kernel: row.kernel,
        dilation: 1,
        groups: half,
        bias: false,
    };
    let near = b.add(name("branches.1.conv"), window, &[near, lengths])?;
    let near = b.add(name("branches.1.linear2"), linear, &[near])?;
    b.add(path, Concat { axis: 2 }, &[far, near])
}
