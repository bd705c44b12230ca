//! Neighbouring tokens put side by side before a linear layer, as in MobileBERT's embeddings, are a
//! convolution over the tokens.

use squeeze_graph::ops::Conv1d;
use squeeze_tensor::Tensor;

use super::fold::axis;
use super::import::Import;
use super::layers::unread;
use super::proto::Node;
use super::value::Value;
use crate::error::Broken;
use crate::view::View;

impl<'a> Import<'a> {
    /// A slice of the tokens `[n, s, c]` whose only use is to be padded; nothing when it is another one.
    pub(super) fn cut(
        &self,
        node: &Node,
        view: &View,
        ranges: &[(usize, [usize; 2])],
    ) -> Option<Value> {
        let pad = self.follower(&node.outputs[0])?;
        let whole = view.is(self.b.shape(view.node), &[0, 1, 2]);
        match ranges {
            &[(1, range)] if pad.op == "Pad" && whole => Some(Value::Cut(view.clone(), range)),
            _ => None,
        }
    }

    /// Tokens that were cut off, with zeros in their place on the other side: a text that was moved.
    pub(super) fn shifted(
        &self,
        node: &Node,
        view: View,
        [start, end]: [usize; 2],
        pads: &[usize],
    ) -> Result<Value, Broken> {
        let tokens = self.b.shape(view.node)[1];
        let (behind, ahead) = (start, tokens - end);
        let moved = *pads == [0, ahead, 0, 0, behind, 0] && (behind == 0 || ahead == 0);
        if !moved {
            return Err(unread(node, "padding of this form"));
        }
        Ok(Value::Shifted(view, ahead as i64 - behind as i64))
    }

    /// A text beside itself moved, along the channels; nothing when the parts are something else.
    pub(super) fn window(&self, node: &Node) -> Result<Option<Value>, Broken> {
        let mut moves = vec![];
        let mut text: Option<View> = None;
        for index in 0..node.inputs.len() {
            let (view, by) = match self.value(node, index)? {
                Value::Shifted(view, by) => (view, by),
                Value::Node(view) if view.axes.len() == 3 => (view, 0),
                _ => return Ok(None),
            };
            if text.as_ref().is_some_and(|text| *text != view) {
                return Ok(None);
            }
            text = Some(view);
            moves.push(by);
        }
        let last = axis(node.int("axis", 0), 3) == Some(2);
        let moved = moves.iter().any(|&by| by != 0);
        Ok(text
            .filter(|_| last && moved)
            .map(|text| Value::Window(text, moves)))
    }

    /// The linear layer on a window.
    pub(super) fn over_window(
        &mut self,
        node: &'a Node,
        (view, moves): (&View, &[i64]),
        weight: &Tensor,
    ) -> Result<Value, Broken> {
        let &[rows, out] = weight.shape() else {
            return Err(unread(node, "a weight that is no matrix"));
        };
        let width = self.b.channels(view.node);
        let reach = moves.iter().map(|by| by.abs()).max().unwrap_or(0);
        let kernel = 2 * reach as usize + 1;
        let mut sorted = moves.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(-reach..=reach) || kernel.checked_mul(width) != Some(rows) {
            return Err(unread(node, "a window over tokens that are no neighbours"));
        }
        // From `[moves, width, out]` to `[out, width, kernel]`; what is moved forward lies behind.
        let given = weight.floats();
        let mut values = vec![0.0; given.len()];
        for (part, &by) in moves.iter().enumerate() {
            let at = (reach - by) as usize;
            for c in 0..width {
                for o in 0..out {
                    values[(o * width + c) * kernel + at] = given[(part * width + c) * out + o];
                }
            }
        }
        let (name, bias, sum) = self.bias_behind(node, &[out])?;
        let conv = Conv1d {
            out,
            kernel,
            dilation: 1,
            groups: 1,
            bias: bias.is_some(),
        };
        let weight = Tensor::from_f32(&[out, width, kernel], &values);
        let mut weights = vec![("weight", weight)];
        weights.extend(bias.map(|bias| ("bias", bias)));
        let id = self.add(&name, conv, &[view.node], weights)?;
        let value = Value::Node(View::plain(id, self.b.shape(id)));
        if let Some(sum) = sum {
            self.values.insert(&sum.outputs[0], value.clone());
        }
        Ok(value)
    }
}
