//! Texts of different lengths in one run: their rows lie one after the other, and padding has none.
//!
//! In a network whose steps treat each token alone, or each text by its length, a value with a row a token holds the rows of the
//! first text, then those of the second, and so on. What a run computes is then what its texts hold, whatever the plan was made
//! for; only what leaves the network gets its padding back, as zeros.

use std::collections::BTreeSet;
use std::ops::Range;

use squeeze_graph::{Element, Graph, Node, NodeId, Op};

use crate::input::Input;

/// The texts that a network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Texts {
    /// How many there are.
    pub n: usize,
    /// Tokens of the longest one.
    pub tokens: usize,
    /// The input that holds their lengths.
    pub lengths: usize,
}

impl Texts {
    /// The texts of a network that needs no row for padding; `None` where a step would see the padding.
    pub fn of(graph: &Graph) -> Option<Self> {
        let inputs: Vec<&Node> = graph.inputs().iter().map(|&id| graph.node(id)).collect();
        let is_lengths = |node: &&Node| node.shape.len() == 1;
        let ids = inputs.iter().find(|node| node.shape.len() == 2)?;
        let texts = Self {
            n: ids.shape[0],
            tokens: ids.shape[1],
            lengths: inputs.iter().position(is_lengths)?,
        };
        let fits = |node: &Node| {
            let one_a_token = node.shape == ids.shape;
            node.element == Element::Index && (one_a_token || is_lengths(&node))
        };
        let alone = inputs.iter().filter(|node| is_lengths(node)).count() == 1;
        let packs = alone
            && inputs.iter().all(|node| fits(node))
            && graph.nodes().iter().all(|node| texts.packs(graph, node))
            && looks_at_itself(graph);
        packs.then_some(texts)
    }

    /// Whether a value of this shape has a row a token.
    pub fn has_rows(&self, shape: &[usize]) -> bool {
        shape.len() == 3 && shape[..2] == [self.n, self.tokens]
    }

    /// Whether a node needs no row for padding.
    fn packs(&self, graph: &Graph, node: &Node) -> bool {
        let inputs = graph.input_shapes(node);
        let reads_rows = inputs.iter().any(|shape| self.has_rows(shape));
        match &node.op {
            Op::Input(_) | Op::Embedding(_) | Op::Position(_) => true,
            // Its rows are no tokens of the text.
            Op::ClassToken(_) => false,
            _ if !reads_rows => !self.has_rows(&node.shape),
            Op::Linear(_)
            | Op::BatchNorm(_)
            | Op::LayerNorm(_)
            | Op::NoNorm(_)
            | Op::Activation(_)
            | Op::Add(_)
            | Op::Mul(_)
            | Op::Scale(_)
            | Op::Softmax(_)
            | Op::ChannelShuffle(_)
            | Op::Dropout(_)
            | Op::TokenMax(_)
            | Op::TokenMean(_) => true,
            // Without lengths a window reaches into the padding.
            Op::Conv1d(row) => row.kernel == 1 || inputs.len() == 2,
            // Without lengths every token sees the padding.
            Op::Attention(_) => inputs.len() == 4,
            // Every text has a first token.
            Op::Select(row) => row.axis == 1 && row.index == 0,
            Op::Concat(row) => row.axis == 2,
            Op::Slice(row) => row.axis == 2,
            Op::Conv2d(_)
            | Op::Pool(_)
            | Op::GlobalAverage(_)
            | Op::Reshape(_)
            | Op::Transpose(_)
            | Op::Resize(_)
            | Op::Slot(_) => false,
        }
    }
}

/// Whether attention is always that of a text to itself: queries are made of the same inputs as keys and values.
fn looks_at_itself(graph: &Graph) -> bool {
    let mut made_of: Vec<BTreeSet<NodeId>> = vec![];
    for id in graph.ids() {
        let node = graph.node(id);
        let is_text = matches!(node.op, Op::Input(_)) && node.shape.len() == 2;
        let own = is_text.then_some(id);
        let of = |input: &NodeId| made_of[input.0].iter().copied();
        made_of.push(node.inputs.iter().flat_map(of).chain(own).collect());
        if matches!(node.op, Op::Attention(_)) {
            let [q, k, v] = [0, 1, 2].map(|at| &made_of[node.inputs[at].0]);
            if q != k || q != v {
                return false;
            }
        }
    }
    true
}

/// Where the texts of one run lie.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Where the rows of each text begin, and where the last one's end.
    pub starts: Vec<usize>,
    /// For each input its indices, one a row.
    pub indices: Vec<Vec<i32>>,
    /// The place of each row in its text.
    pub positions: Vec<i32>,
}

impl Rows {
    /// Room for so many inputs.
    pub fn new(texts: &Texts, inputs: usize) -> Self {
        let all = texts.n * texts.tokens;
        Self {
            starts: vec![0; texts.n + 1],
            indices: vec![vec![0; all]; inputs],
            positions: vec![0; all],
        }
    }

    /// Takes the texts of a run; inputs were checked.
    pub fn fill(&mut self, texts: &Texts, inputs: &[Input]) {
        let mut end = 0;
        for (text, &length) in indices(&inputs[texts.lengths]).iter().enumerate() {
            let length = usize::try_from(length).expect("lengths were checked");
            let rows = end..end + length;
            let padded = text * texts.tokens..text * texts.tokens + length;
            for (position, to) in (0..).zip(&mut self.positions[rows.clone()]) {
                *to = position;
            }
            for (at, input) in inputs.iter().enumerate() {
                if at != texts.lengths {
                    let from = &indices(input)[padded.clone()];
                    self.indices[at][rows.clone()].copy_from_slice(from);
                }
            }
            end = rows.end;
            self.starts[text + 1] = end;
        }
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// Gives the rows of a result their padding: `[n, tokens, c]` from what lies at its start.
    pub fn unpack(&self, texts: &Texts, values: &mut [f32]) {
        let c = values.len() / (texts.n * texts.tokens);
        // From the last text on: each moves towards the end.
        for text in (0..texts.n).rev() {
            let rows = self.starts[text] * c..self.starts[text + 1] * c;
            let to = text * texts.tokens * c;
            let end = to + rows.len();
            values.copy_within(rows, to);
            values[end..(text + 1) * texts.tokens * c].fill(0.0);
        }
    }
}

fn indices<'a>(input: &Input<'a>) -> &'a [i32] {
    match *input {
        Input::Indices(values) => values,
        Input::Numbers(_) => unreachable!("a network of packed texts takes indices"),
    }
}

/// A stretch of the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// All of it.
    pub range: Range<usize>,
    /// From one row to the next, and numbers in a row, where there is a row a token.
    pub rows: Option<[usize; 2]>,
}

impl Stretch {
    /// What a run uses whose texts have so many rows.
    pub fn used(&self, rows: usize) -> Range<usize> {
        let start = self.range.start;
        match self.rows {
            None => self.range.clone(),
            Some([stride, columns]) => start..start + (rows - 1) * stride + columns,
        }
    }
}
