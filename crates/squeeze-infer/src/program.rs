//! The network between graph and plan: steps in single assignment over values that have a home.

use squeeze_graph::ops::{Attention, Pool, ResizeMode};
use squeeze_graph::{Element, Shape, channel_axis, elements};
use squeeze_kernels::Quantization;
use squeeze_kernels::activation::Activation;
use squeeze_kernels::elementwise::Block;

use crate::input::InputSpec;
use crate::numbers::{Rows, Table, in_turns};
use crate::texts::Texts;
use crate::unread::Unread;

/// Number of a value.
pub(crate) type ValueId = usize;

/// A network as steps in running order.
#[derive(Debug)]
pub(crate) struct Program {
    /// The texts, where their rows are packed.
    pub texts: Option<Texts>,
    pub inputs: Vec<InputSpec>,
    pub values: Vec<Value>,
    pub steps: Vec<Draft>,
    pub outputs: Vec<ValueId>,
    /// Size of each buffer in numbers.
    pub buffers: Vec<usize>,
    /// Tables whose rows wait for being checked.
    pub unread: Vec<Unread>,
}

/// What a step reads or writes: rows of channels at some distance from each other.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// The shape in the network: an image is `[n, c, h, w]`.
    pub shape: Shape,
    pub home: Home,
    /// The smallest and the largest number it was seen to hold, if that is known.
    pub range: Option<[f32; 2]>,
    /// What its bytes stand for, if it is held in bytes; its home then counts bytes.
    pub code: Option<Quantization>,
}

/// Where a value lies: rows `stride` numbers apart from `offset` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub source: Source,
    pub offset: usize,
    pub stride: usize,
}

/// What holds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An input of the network.
    Input(usize),
    /// The place of each token in its text.
    Positions,
    /// A buffer in the arena.
    Buffer(usize),
}

/// A step before its kernel is picked.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Names of the nodes it computes, the one that gives the result first.
    pub name: String,
    /// The operators, as reports show them.
    pub kind: &'static str,
    pub work: Work,
    pub inputs: Vec<ValueId>,
    pub output: ValueId,
    pub macs: u64,
}

/// What a step computes.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// A product with weights; the second input, if any, is added before the activation, times its factors.
    Layer(Layer),
    /// A point layer of one image, in single precision, whose input is multiplied by a gate `[1, c]`, the second input; the third, if any,
    /// is added as for a layer.
    Gated(Layer),
    /// Point, depthwise and point layer, band by band; the second input, if any, is added before the last activation.
    Band(Box<Band>),
    /// A convolution and the pool behind it, some rows at a time.
    Pooled(Box<Pooled>),
    /// Layer norm of the input, or of the sum of two.
    LayerNorm(LayerNorm),
    /// A factor and an addend for each channel: a batch norm that could not be folded.
    Scale(Scale),
    /// An activation alone.
    Activation(Activation),
    /// Windows of an image.
    Pool(Pool),
    /// Mean over the pixels of an image.
    GlobalAverage,
    /// Mean over the tokens inside the length, which is the second input.
    TokenMean,
    /// The largest of the tokens inside the length, which is the second input.
    TokenMax,
    /// Sum of two inputs of one shape, then an activation.
    Add(Activation),
    /// Sum with a gate `[n, c]`.
    AddGate,
    /// Product of two inputs of one shape.
    Mul,
    /// Product with a gate `[n, c]`.
    MulGate,
    /// The value itself, to another home; where one side is in bytes, from or to them.
    Move,
    /// Blocks of numbers, both sides dense.
    Block(BlockCopy),
    /// Axes in another order, both sides dense, in the order of memory.
    Permute {
        shape: [usize; 4],
        order: [usize; 4],
    },
    /// Channels dealt out over groups.
    Shuffle { groups: usize },
    /// Rows of a table.
    Gather { table: Table },
    /// Sum of word, position and segment rows, of which words and positions are the first two inputs.
    Embed(Embed),
    /// The first row of each text, of packed rows.
    First,
    /// The tokens inside the length, which is the second input; zeros beyond.
    Inside,
    /// Attention of query, key and value, three inputs or one, and, if there is another input, lengths.
    Attention(Attention, Sides),
    /// Softmax over the channels.
    Softmax,
    /// An image at another size.
    Resize(ResizeMode),
}

/// How queries, keys and values come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sides {
    /// As three inputs.
    Apart,
    /// As one: query, key and value of the first head, then those of the next.
    ByHead,
}

/// A convolution or linear layer with what follows it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// `[out, in / groups, kh, kw]`.
    pub weight: Rows,
    pub bias: Option<Vec<f32>>,
    /// What each channel of the second input is multiplied by, if that is not one.
    pub factors: Option<Vec<f32>>,
    pub out: usize,
    pub groups: usize,
    pub window: Window,
    pub activation: Activation,
}

/// A depthwise layer with the layer before it and the point layer behind it.
#[derive(Clone, Debug)]
pub(crate) struct Band {
    /// A point layer, or windows in single precision.
    pub expand: Option<Layer>,
    pub depthwise: Layer,
    pub project: Option<Layer>,
    /// Whether the last layer adds what the first one gave.
    pub adds_expanded: bool,
}

/// A convolution and the pool behind it.
#[derive(Clone, Debug)]
pub(crate) struct Pooled {
    pub layer: Layer,
    /// Whether its products are of bytes.
    pub in_bytes: bool,
    /// The image between, in the order of memory.
    pub shape: Shape,
    pub pool: Pool,
}

/// What lies between the layers of a band may fill so much of a core's second cache.
const BAND_BYTES: usize = 640 << 10;

impl Window {
    /// Rows and columns of what is written.
    pub fn out(&self) -> [usize; 2] {
        let [_, h, w] = self.size;
        let [top, left, bottom, right] = self.padding;
        let out = |axis: usize, padded: usize| {
            let reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            padded
                .checked_sub(reach)
                .map_or(0, |room| room / self.stride[axis] + 1)
        };
        [out(0, h + top + bottom), out(1, w + left + right)]
    }

    /// How many rows more than there are so many threads read that share the rows of the output.
    pub fn rows_read_twice(&self, threads: usize) -> usize {
        let rows = self.out()[0];
        let threads = threads.clamp(1, rows.max(1));
        let reach = (self.kernel[0] - 1) * self.dilation[0] + 1;
        let each = (rows.div_ceil(threads).max(1) - 1) * self.stride[0] + reach;
        (each * threads).saturating_sub(self.size[1] + self.padding[0] + self.padding[2])
    }

    /// Rows that so many rows of the output read.
    pub fn rows_read(&self, rows: usize) -> usize {
        let reach = (self.kernel[0] - 1) * self.dilation[0] + 1;
        ((rows - 1) * self.stride[0] + reach).min(self.size[1])
    }
}

impl Band {
    /// Whether the layer before is one of windows.
    pub fn expands_windows(&self) -> bool {
        self.expand
            .as_ref()
            .is_some_and(|layer| !layer.window.is_point())
    }

    /// Rows of the output that pass at a time: as many as keep what lies between in the second cache, evenly many.
    pub fn rows(&self) -> usize {
        let window = &self.depthwise.window;
        let [height, width] = window.out();
        let bytes = |rows: usize| {
            let read = window.rows_read(rows) * window.size[2];
            let pixels = self.expand.as_ref().map_or(0, |_| read)
                + self.project.as_ref().map_or(0, |_| rows * width);
            4 * pixels * self.depthwise.out
        };
        let most = (1..=height).rev().find(|&rows| bytes(rows) <= BAND_BYTES);
        height.div_ceil(height.div_ceil(most.unwrap_or(1)))
    }
}

impl Layer {
    /// Layers that read the same as one: the first of so many parts of each one's output, then the next of each.
    ///
    /// # Panics
    /// If there are none.
    pub fn joined(layers: Vec<Layer>, turns: usize) -> Layer {
        let out = layers.iter().map(|layer| layer.out).sum();
        let biases: Option<Vec<&[f32]>> = layers.iter().map(|row| row.bias.as_deref()).collect();
        let bias = biases.map(|biases| in_turns(&biases, turns));
        let first = layers[0].clone();
        let weights = layers.into_iter().map(|layer| layer.weight);
        Layer {
            out,
            bias,
            weight: Rows::by_turns(weights, turns),
            ..first
        }
    }

    /// Whether each channel has a window of its own.
    pub fn is_depthwise(&self) -> bool {
        let taps = self.window.kernel[0] * self.window.kernel[1];
        self.groups == self.out && self.weight.len() == self.out * taps
    }
}

/// How a convolution's window moves over `[n, h, w]`. A linear layer has one tap over one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Examples, rows and columns of what is read.
    pub size: [usize; 3],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Top, left, bottom, right.
    pub padding: [usize; 4],
}

impl Window {
    /// One tap on each of so many rows.
    pub fn rows(rows: usize) -> Self {
        Self {
            size: [1, 1, rows],
            kernel: [1; 2],
            stride: [1; 2],
            dilation: [1; 2],
            padding: [0; 4],
        }
    }

    /// Whether each position of the output is computed from one pixel alone.
    pub fn has_one_tap(&self) -> bool {
        self.kernel == [1; 2] && self.padding == [0; 4]
    }

    /// Whether each position is computed from itself alone.
    pub fn is_point(&self) -> bool {
        self.has_one_tap() && self.stride == [1; 2]
    }
}

/// Layer norm's numbers.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    pub epsilon: f32,
}

/// What each channel is multiplied by, and what is added.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub factor: Vec<f32>,
    pub addend: Vec<f32>,
    /// Zeros and ones: the statistics are in factor and addend.
    pub mean: Vec<f32>,
    pub variance: Vec<f32>,
    pub activation: Activation,
}

/// A copy of blocks between two dense buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockCopy {
    pub block: Block,
    pub from: usize,
    pub to: usize,
}

/// The tables of a text network's first step.
#[derive(Clone, Debug)]
pub(crate) struct Embed {
    pub word: Table,
    pub position: Table,
    pub segment: Table,
}

impl Value {
    /// Length of a row in memory: the channels.
    pub fn columns(&self) -> usize {
        self.shape[channel_axis(&self.shape)]
    }

    /// Number of rows in memory.
    pub fn rows(&self) -> usize {
        elements(&self.shape) / self.columns()
    }

    /// Whether rows follow each other without a gap.
    pub fn is_dense(&self) -> bool {
        self.home.stride == self.columns() || self.rows() == 1
    }

    /// Numbers, or bytes, from the first to the last.
    pub fn span(&self) -> usize {
        (self.rows() - 1) * self.home.stride + self.columns()
    }

    /// Bytes of all of its elements.
    pub fn bytes(&self) -> usize {
        let each = self.code.map_or(size_of::<f32>(), |_| 1);
        each * elements(&self.shape)
    }

    /// The shape in the order of memory: images channels-last.
    pub fn memory_shape(&self) -> Shape {
        memory_shape(&self.shape)
    }
}

/// The name of a step that computes two: the module that both are of stands once.
pub(crate) fn joined_name(name: &str, other: &str) -> String {
    let module = name.rsplit_once('.').map_or("", |(module, _)| module);
    let own = other
        .strip_prefix(module)
        .and_then(|own| own.strip_prefix('.'));
    format!("{name} + {}", own.unwrap_or(other))
}

/// A shape in the order of memory: images channels-last.
pub(crate) fn memory_shape(shape: &[usize]) -> Shape {
    match *shape {
        [n, c, h, w] => vec![n, h, w, c],
        _ => shape.to_vec(),
    }
}

impl Program {
    /// A value in a buffer of its own.
    pub fn fresh(&mut self, shape: &[usize]) -> ValueId {
        self.buffers.push(elements(shape));
        let home = Home {
            source: Source::Buffer(self.buffers.len() - 1),
            offset: 0,
            stride: shape[channel_axis(shape)],
        };
        self.value(shape, home)
    }

    /// A value at a home that exists.
    pub fn value(&mut self, shape: &[usize], home: Home) -> ValueId {
        self.values.push(Value {
            shape: shape.to_vec(),
            home,
            range: None,
            code: None,
        });
        self.values.len() - 1
    }

    /// Whether a value has a row for each token of the texts, and none for padding.
    pub fn is_packed(&self, id: ValueId) -> bool {
        let shape = &self.values[id].shape;
        self.texts.is_some_and(|texts| texts.has_rows(shape))
    }

    /// Which steps are of a text's head: what they make of one row for each text, behind the last layer norm if there is one, is few
    /// multiply-adds, whose errors nothing averages out.
    pub fn heads(&self) -> Vec<bool> {
        let tokens = |input: &InputSpec| input.element == Element::Index && input.shape.len() == 2;
        let is_text = self.inputs.iter().any(tokens);
        let is_norm = |step: &Draft| matches!(step.work, Work::LayerNorm(_));
        let last = self.steps.iter().rposition(is_norm).unwrap_or(0);
        let is_head = |(at, step): (usize, &Draft)| {
            is_text && at >= last && self.values[step.output].shape.len() == 2
        };
        self.steps.iter().enumerate().map(is_head).collect()
    }

    /// How many steps read each value; an output counts as a reader.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.values.len()];
        let reads = self.steps.iter().flat_map(|step| &step.inputs);
        reads.chain(&self.outputs).for_each(|&id| uses[id] += 1);
        uses
    }

    /// Whether another value shares this one's buffer, or it is an input or output of the network.
    pub fn is_shared(&self, id: ValueId) -> bool {
        let source = self.values[id].home.source;
        let others = self.values.iter().enumerate();
        !matches!(source, Source::Buffer(_))
            || self.outputs.contains(&id)
            || others
                .filter(|&(other, value)| other != id && value.home.source == source)
                .count()
                > 0
    }
}

impl Work {
    /// Whether rows of this input may have gaps between them.
    pub fn reads_strided(&self, input: usize) -> bool {
        match self {
            Self::Move | Self::First => true,
            Self::Attention(_, sides) => *sides == Sides::Apart && input < 3,
            Self::Layer(layer) => input == 0 && layer.window.is_point() && !layer.is_depthwise(),
            _ => false,
        }
    }

    /// Whether rows of the result may have gaps between them.
    pub fn writes_strided(&self) -> bool {
        match self {
            Self::Move => true,
            Self::Layer(layer) => !layer.is_depthwise(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_stand_once() {
        let two = joined_name("layer.0.query", "layer.0.key");
        assert_eq!(two, "layer.0.query + key");
        assert_eq!(
            joined_name(&two, "layer.0.value"),
            "layer.0.query + key + value"
        );
        assert_eq!(
            joined_name("layer.0.query", "layer.1.key"),
            "layer.0.query + layer.1.key"
        );
        assert_eq!(joined_name("shared", "value"), "shared + value");
    }

    #[test]
    fn threads_read_the_rows_between_them_twice() {
        let mut window = Window {
            size: [1, 14, 14],
            kernel: [5; 2],
            padding: [2; 4],
            ..Window::rows(1)
        };
        assert_eq!([1, 2, 7].map(|n| window.rows_read_twice(n)), [0, 4, 24]);
        window.stride = [2; 2];
        assert_eq!([1, 2].map(|n| window.rows_read_twice(n)), [0, 4]);
        window.kernel = [1; 2];
        window.padding = [0; 4];
        assert_eq!(window.rows_read_twice(2), 0);
    }
}
