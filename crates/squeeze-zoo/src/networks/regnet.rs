//! RegNet-Y (Radosavovic et al., 2020), with the weight names of torchvision.

use squeeze_graph::ops::{Activation, Add, GlobalAverage, Linear};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{ConvNorm, SqueezeExcite, sequence, squeeze_excite};
use crate::list::{Entry, Options, TOP1, Task};

/// The published network.
pub(crate) const ROWS: &[Entry] = &[Entry::new(
    "regnet_y_400mf",
    Task::Image,
    "Radosavovic et al., 2020; torchvision",
    4_344_144,
    |options| {
        let row = Regnet {
            name: "regnet_y_400mf",
            depth: 16,
            initial: 48,
            slope: 27.89,
            factor: 2.09,
            group_width: 8,
        };
        row.graph(options)
    },
)
.gmacs("0.402")
.accuracy(74.046, TOP1)];

/// A network of the design space.
struct Regnet {
    name: &'static str,
    /// Blocks.
    depth: usize,
    /// Width of the first block, before it is rounded.
    initial: usize,
    /// What each further block is wider by, before it is rounded.
    slope: f64,
    /// Widths are `initial` times a power of this.
    factor: f64,
    /// Channels of a group.
    group_width: usize,
}

const RELU: Activation = Activation::Relu;

impl Regnet {
    /// Width of every block: the power of `factor` nearest to a straight line, in multiples of 8
    /// and of the groups' width.
    fn widths(&self) -> Vec<usize> {
        let initial = self.initial as f64;
        let width = |block: usize| {
            let line = (block as f64 * self.slope + initial) / initial;
            let power = (line.ln() / self.factor.ln()).round_ties_even();
            let width = (initial * self.factor.powf(power) / 8.0).round_ties_even() * 8.0;
            let group = self.group_width as f64;
            ((width / group).round() * group) as usize
        };
        (0..self.depth).map(width).collect()
    }

    fn graph(&self, options: &Options) -> Result<Graph, GraphError> {
        let mut b = Builder::new(self.name);
        let mut x = b.input("image", &options.image_shape(), Element::Number)?;
        let stem = ConvNorm::square(32, 3).stride(2).then(RELU);
        x = sequence(&mut b, "stem", &stem, x)?;
        let widths = self.widths();
        for (stage, stage_widths) in widths.chunk_by(|a, b| a == b).enumerate() {
            let stage = stage + 1;
            for (repeat, &width) in stage_widths.iter().enumerate() {
                let path = format!("trunk_output.block{stage}.block{stage}-{repeat}");
                let stride = if repeat == 0 { 2 } else { 1 };
                x = self.residual(&mut b, &path, [width, stride], x)?;
            }
        }
        x = b.add("avgpool", GlobalAverage {}, &[x])?;
        x = b.add("fc", Linear::dense(options.image_classes()), &[x])?;
        b.finish(&[x])
    }

    fn residual(
        &self,
        b: &mut Builder,
        path: &str,
        [width, stride]: [usize; 2],
        x: NodeId,
    ) -> Result<NodeId, GraphError> {
        let name = |last: &str| format!("{path}.{last}");
        let gate = SqueezeExcite {
            squeeze: b.channels(x) / 4,
            inner: RELU,
            gate: Activation::Sigmoid,
        };
        let window = ConvNorm::square(width, 3)
            .groups(width / self.group_width)
            .stride(stride);
        let mut y = sequence(b, &name("f.a"), &ConvNorm::square(width, 1).then(RELU), x)?;
        y = sequence(b, &name("f.b"), &window.then(RELU), y)?;
        y = squeeze_excite(b, &name("f.se"), gate, y)?;
        y = sequence(b, &name("f.c"), &ConvNorm::square(width, 1), y)?;
        let mut shortcut = x;
        if b.shape(x) != b.shape(y) {
            let fit = ConvNorm::square(width, 1).stride(stride);
            shortcut = sequence(b, &name("proj"), &fit, x)?;
        }
        y = b.add(name("sum"), Add {}, &[y, shortcut])?;
        b.add(name("activation"), RELU, &[y])
    }
}
