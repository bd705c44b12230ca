//! What texts need in ONNX: masks in the place of lengths, positions, attention, convolutions and pools over tokens.

use squeeze_graph::ops::{Attention, Conv1d, Position};
use squeeze_graph::{Node, NodeId, Op};

use super::export::{Export, FLOAT, Form, fixed, int, ints};
use super::proto;
use crate::error::Broken;

/// What is added to the scores of padding: the lowest number there is.
const LOW: f32 = f32::MIN;

impl Export<'_> {
    /// The axes of the mask that stands for an input of lengths: those of the texts whose tokens it hides.
    pub(super) fn mask_dims(&self, lengths: NodeId) -> Result<Vec<proto::Dim>, Broken> {
        let mut texts = vec![];
        for node in self.source.nodes() {
            let place = node.inputs.iter().position(|&id| id == lengths);
            match (&node.op, place) {
                (Op::Attention(_), Some(3)) => texts.push(node.inputs[1]),
                (Op::Conv1d(_) | Op::TokenMax(_) | Op::TokenMean(_), Some(1)) => {
                    texts.push(node.inputs[0]);
                }
                _ => {}
            }
        }
        let is_text = |id: &NodeId| self.source.node(*id).shape.len() > 1;
        texts.extend(self.source.inputs().into_iter().filter(is_text));
        let name = &self.source.node(lengths).name;
        let Some(&first) = texts.first() else {
            return Err(Broken::new(format!(
                "{name}: there is no text of these lengths"
            )));
        };
        let size = |id: NodeId| self.source.node(id).shape[1];
        let uses = self.source.uses()[lengths.0];
        if texts.iter().take(uses).any(|&id| size(id) != size(first)) {
            return Err(Broken::new(format!(
                "{name}: one mask cannot stand for the lengths of texts of {} and other tokens",
                size(first)
            )));
        }
        let dims = self.dims(first);
        let batch = fixed(self.source.node(lengths).shape[0]);
        let mut dims = dims.into_iter();
        Ok(vec![
            dims.next().unwrap_or(batch),
            dims.next().expect("it has two axes"),
        ])
    }

    /// The mask of a text as numbers, one and zero: `[n, s]`.
    fn mask(&mut self, mask: &str) -> String {
        let to = int("to", i64::from(FLOAT));
        self.once(format!("{mask}/number"), |this| {
            this.step("Cast", &[mask], mask, vec![to])
        })
    }

    /// The mask with an axis of size 1 behind: `[n, s, 1]`.
    fn mask_column(&mut self, mask: &str) -> String {
        let numbers = self.mask(mask);
        self.once(format!("{mask}/column"), |this| {
            let axis = this.ints(&[2]);
            this.step("Unsqueeze", &[&numbers, &axis], mask, vec![])
        })
    }

    /// How many tokens a text has: `[n, 1]`.
    fn count(&mut self, mask: &str) -> String {
        let numbers = self.mask(mask);
        self.once(format!("{mask}/count"), |this| {
            let axis = this.ints(&[1]);
            this.step("ReduceSum", &[&numbers, &axis], mask, vec![])
        })
    }

    /// What is added to scores: zero, and the lowest number for padding, `[n, 1, 1, s]`.
    fn mask_sums(&mut self, mask: &str) -> String {
        let numbers = self.mask(mask);
        self.once(format!("{mask}/sums"), |this| {
            let [one, low] = [1.0, LOW].map(|value| this.number(value));
            let padding = this.step("Sub", &[&one, &numbers], mask, vec![]);
            let sums = this.step("Mul", &[&padding, &low], mask, vec![]);
            let axes = this.ints(&[1, 2]);
            this.step("Unsqueeze", &[&sums, &axes], mask, vec![])
        })
    }

    pub(super) fn position(&mut self, node: &Node, position: &Position) -> String {
        let (path, text) = (&*node.name, self.value(node, 0));
        let mut shape = self.step("Shape", &[&text], path, vec![]);
        if self.shape(node, 0).len() > 2 {
            // Of tokens themselves, without their channels.
            let [from, to] = [0, 2].map(|at| self.ints(&[at]));
            shape = self.step("Slice", &[&shape, &from, &to], path, vec![]);
        }
        let first = self.int(position.first as i64);
        let one = self.int(1);
        let length = self.step("Gather", &[&shape, &one], path, vec![]);
        let end = match position.first {
            0 => length,
            _ => self.step("Add", &[&length, &first], path, vec![]),
        };
        let places = self.step("Range", &[&first, &end, &one], path, vec![]);
        let axis = self.ints(&[0]);
        let row = self.step("Unsqueeze", &[&places, &axis], path, vec![]);
        self.emit("Expand", &[&row, &shape], path, vec![])
    }

    /// The same rows in front of each text.
    pub(super) fn class_token(&mut self, node: &Node) -> String {
        let (path, x) = (&*node.name, self.value(node, 0));
        let rows = self.weight(node, "weight", Form::Same);
        let shape = self.step("Shape", &[&x], path, vec![]);
        let [from, to] = [0, 1].map(|at| self.ints(&[at]));
        let texts = self.step("Slice", &[&shape, &from, &to], path, vec![]);
        let ones = self.ints(&[1, 1]);
        let dims = self.step("Concat", &[&texts, &ones], path, vec![int("axis", 0)]);
        let rows = self.step("Expand", &[&rows, &dims], path, vec![]);
        self.emit("Concat", &[&rows, &x], path, vec![int("axis", 1)])
    }

    /// What is added to the scores of later tokens: the lowest number, `[s, s]`, and zero elsewhere.
    fn later_sums(&mut self, node: &Node) -> String {
        // One for all layers over one text, where the queries have its tokens.
        let mut root = node.inputs[0];
        while let Some(&before) = self.source.node(root).inputs.first() {
            root = before;
        }
        let is_own = |this: &Self| {
            let [own, text] = [node.inputs[0], root].map(|id| this.dims(id));
            text.get(1) == own.get(1)
        };
        let text = if is_own(self) { root } else { node.inputs[0] };
        let value = self.result(text);
        self.once(format!("{value}/later"), |this| {
            let path = &*value;
            let [none, one] = [0, 1].map(|value| this.int(value));
            let shape = this.step("Shape", &[&value], path, vec![]);
            let length = this.step("Gather", &[&shape, &one], path, vec![]);
            let places = this.step("Range", &[&none, &length, &one], path, vec![]);
            let axes = [0, 1].map(|axis| this.ints(&[axis]));
            let [keys, queries] =
                axes.map(|axis| this.step("Unsqueeze", &[&places, &axis], path, vec![]));
            let later = this.step("Greater", &[&keys, &queries], path, vec![]);
            let to = int("to", i64::from(FLOAT));
            let later = this.step("Cast", &[&later], path, vec![to]);
            let low = this.number(LOW);
            this.step("Mul", &[&later, &low], path, vec![])
        })
    }

    pub(super) fn attention(
        &mut self,
        node: &Node,
        attention: &Attention,
    ) -> Result<String, Broken> {
        let path = &*node.name;
        let heads = attention.heads;
        let widths = [0, 2].map(|index| self.shape(node, index)[2] / heads);
        let [cut, value_cut] = widths.map(|width| self.ints(&[0, 0, heads as i64, width as i64]));
        let turns: [(&str, &[usize]); 3] = [
            (&cut, &[0, 2, 1, 3]),
            (&cut, &[0, 2, 3, 1]),
            (&value_cut, &[0, 2, 1, 3]),
        ];
        let mut parts = vec![];
        for (index, (cut, order)) in turns.into_iter().enumerate() {
            let part = self.step("Reshape", &[&self.value(node, index), cut], path, vec![]);
            parts.push(self.step("Transpose", &[&part], path, vec![ints("perm", order)]));
        }
        let mut scores = self.step("MatMul", &[&parts[0], &parts[1]], path, vec![]);
        let scale = self.number((1.0 / (widths[0] as f64).sqrt()) as f32);
        scores = self.step("Mul", &[&scores, &scale], path, vec![]);
        if node.inputs.len() > 3 {
            let sums = self.mask_sums(&self.value(node, 3));
            scores = self.step("Add", &[&scores, &sums], path, vec![]);
        }
        if attention.causal {
            let sums = self.later_sums(node);
            scores = self.step("Add", &[&scores, &sums], path, vec![]);
        }
        let shares = self.step("Softmax", &[&scores], path, vec![int("axis", -1)]);
        let y = self.step("MatMul", &[&shares, &parts[2]], path, vec![]);
        let y = self.step("Transpose", &[&y], path, vec![ints("perm", &[0, 2, 1, 3])]);
        let whole = self.ints(&[0, 0, (heads * widths[1]) as i64]);
        Ok(self.emit("Reshape", &[&y, &whole], path, vec![]))
    }

    pub(super) fn conv1d(&mut self, node: &Node, conv: &Conv1d) -> Result<String, Broken> {
        let (path, mut x) = (&*node.name, self.value(node, 0));
        if node.inputs.len() > 1 {
            let column = self.mask_column(&self.value(node, 1));
            x = self.step("Mul", &[&x, &column], path, vec![]);
        }
        let mut inputs = vec![
            self.turned(&x, path),
            self.weight(node, "weight", Form::Same),
        ];
        if conv.bias {
            inputs.push(self.weight(node, "bias", Form::Same));
        }
        let attributes = vec![
            ints("kernel_shape", &[conv.kernel]),
            ints("pads", &[conv.padding(); 2]),
            ints("dilations", &[conv.dilation]),
            int("group", conv.groups as i64),
        ];
        let inputs: Vec<&str> = inputs.iter().map(|name| &**name).collect();
        let y = self.step("Conv", &inputs, path, attributes);
        Ok(self.emit("Transpose", &[&y], path, vec![ints("perm", &[0, 2, 1])]))
    }

    /// The mean of the tokens before the padding; zeros for an empty text.
    pub(super) fn token_mean(&mut self, node: &Node) -> Result<String, Broken> {
        let (path, mask) = (&*node.name, self.value(node, 1));
        let column = self.mask_column(&mask);
        let kept = self.step("Mul", &[&self.value(node, 0), &column], path, vec![]);
        let axis = self.ints(&[1]);
        let keep = int("keepdims", 0);
        let sum = self.step("ReduceSum", &[&kept, &axis], path, vec![keep]);
        let count = self.count(&mask);
        let one = self.number(1.0);
        let divisor = self.once(format!("{mask}/divisor"), |this| {
            this.step("Max", &[&count, &one], &mask, vec![])
        });
        Ok(self.emit("Div", &[&sum, &divisor], path, vec![]))
    }

    /// The largest of the tokens before the padding; zeros for an empty text.
    pub(super) fn token_max(&mut self, node: &Node) -> Result<String, Broken> {
        let (path, mask) = (&*node.name, self.value(node, 1));
        let column = self.mask_column(&mask);
        let truth = self.once(format!("{mask}/truth"), |this| {
            this.step("Cast", &[&column], &mask, vec![int("to", 9)])
        });
        let low = self.number(LOW);
        let kept = self.step("Where", &[&truth, &self.value(node, 0), &low], path, vec![]);
        let attributes = vec![ints("axes", &[1]), int("keepdims", 0)];
        let largest = self.step("ReduceMax", &[&kept], path, attributes);
        let count = self.count(&mask);
        let one = self.number(1.0);
        let any = self.once(format!("{mask}/any"), |this| {
            this.step("Min", &[&count, &one], &mask, vec![])
        });
        Ok(self.emit("Mul", &[&largest, &any], path, vec![]))
    }
}
