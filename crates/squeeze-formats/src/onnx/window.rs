//! Neighbouring tokens put side by side before a linear layer, as in MobileBERT's embeddings, are a
//! convolution over the tokens.

use squeeze_graph::ops::Conv1d;
use squeeze_tensor::Tensor;

use super::fold::axis;
use super::import::{Import, Value};
use super::layers::unread;
use super::proto::Node;
use crate::error::Broken;
use crate::view::View;

impl<'a> Import<'a> {
    /// A slice of the tokens `[n, s, c]` whose only use is to be padded back to their number.
    pub(super) fn shifted(
        &mut self,
        node: &Node,
        view: &View,
        ranges: &[(usize, [usize; 2])],
    ) -> Result<Option<Value>, Broken> {
        let shape = self.b.shape(view.node).to_vec();
        let pad = self.follower(&node.outputs[0]);
        let Some(pad) = pad.filter(|pad| pad.op == "Pad") else {
            return Ok(None);
        };
        let known = match pad.inputs.get(1) {
            Some(name) => self.array(name)?,
            None => None,
        };
        let fill = match pad.inputs.get(2).map(|name| &**name) {
            None | Some("") => Some(0.0),
            Some(name) => self.scalar(name)?,
        };
        let zeros = fill == Some(0.0) && matches!(pad.text("mode"), "" | "constant");
        let (&[_, tokens, _], Some(pads)) = (&*shape, known.filter(|_| zeros)) else {
            return Ok(None);
        };
        let (&[0, before, 0, 0, after, 0], &[(1, [start, end])]) = (&*pads.ints(), ranges) else {
            return Ok(None);
        };
        let (behind, ahead) = (start as i64, tokens as i64 - end as i64);
        let whole = view.is(&shape, &[0, 1, 2]);
        if !whole || (behind, ahead) != (after, before) || behind * ahead != 0 {
            return Ok(None);
        }
        let value = Value::Shifted(view.clone(), ahead - behind);
        self.values.insert(&pad.outputs[0], value.clone());
        Ok(Some(value))
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
        if !sorted.iter().copied().eq(-reach..=reach) || rows != kernel * width {
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
        let (name, bias, sum) = self.bias_behind(node, out)?;
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
