//! What networks over the patches of images add to those of texts: class tokens, places of tokens, and layers that hold query, key and
//! value one behind the other.

use squeeze_graph::ops::{Add, ClassToken, Embedding, Position, Slice};
use squeeze_graph::{NodeId, channel_axis};
use squeeze_tensor::Tensor;

use super::array::Array;
use super::fold::axis;
use super::import::Import;
use super::layers::unread;
use super::proto::Node;
use super::value::Value;
use crate::error::Broken;
use crate::view::{Atom, View};

impl Import<'_> {
    /// Known rows in front of every text, one text like the other; nothing when a concatenation is something else.
    pub(super) fn class_token(&mut self, node: &Node) -> Result<Option<Value>, Broken> {
        let Some((_, rows)) = node.inputs.split_last() else {
            return Ok(None);
        };
        let mut known = vec![];
        for index in 0..rows.len() {
            match self.value(node, index)? {
                Value::Known(array) => known.push(array),
                _ => return Ok(None),
            }
        }
        if known.is_empty() || axis(node.int("axis", 0), 3) != Some(1) {
            return Ok(None);
        }
        let view = self.view(node, known.len())?;
        let &[n, _, width] = &*view.shape() else {
            return Ok(None);
        };
        let mut values: Vec<f32> = vec![];
        for array in known {
            let rows = match *array.shape {
                [texts, rows, channels] if (texts, channels) == (n, width) => rows * width,
                _ => 0,
            };
            let mut texts = array.data.chunks(rows.max(1));
            let first = texts.next().filter(|_| rows > 0);
            let Some(first) = first.filter(|first| texts.all(|other| other == *first)) else {
                return Err(unread(
                    node,
                    "known rows that are not the same in front of every text",
                ));
            };
            values.extend(first.iter().map(|&value| value as f32));
        }
        let tokens = values.len() / width;
        let weights = vec![("weight", Tensor::from_f32(&[tokens, width], &values))];
        let x = self.materialize(&node.label(), &view)?;
        let id = self.add(&node.outputs[0], ClassToken { tokens }, &[x], weights)?;
        Ok(Some(Value::Node(View::plain(id, self.b.shape(id)))))
    }

    /// Known numbers for each token are embeddings of positions that the exporter looked up.
    pub(super) fn fixed_positions(
        &mut self,
        node: &Node,
        view: &View,
        known: &Array,
    ) -> Result<Value, Broken> {
        if let Some(value) = self.shift(node, view, known)? {
            return Ok(value);
        }
        let shape = self.b.shape(view.node).to_vec();
        let (&[_, s, width], [.., rows, columns]) = (&*shape, &*known.shape) else {
            return Err(unread(node, "a sum with known numbers"));
        };
        let fits = (*rows, *columns) == (s, width)
            && known.data.len() == s * width
            && view.is(&shape, &[0, 1, 2]);
        if !fits {
            return Err(unread(node, "a sum with known numbers"));
        }
        // The places are those of a text's indices, or of the tokens themselves.
        let mut texts = [self.ids, self.target].into_iter().flatten();
        let ids = texts.find(|&id| self.b.shape(id)[1] == s);
        let tokens: NodeId = ids.unwrap_or(view.node);
        let values: Vec<f32> = known.data.iter().map(|&value| value as f32).collect();
        let weights = vec![("weight", Tensor::from_f32(&[s, width], &values))];
        let output = &node.outputs[0];
        let position = Position {
            first: 0,
            places: s,
        };
        let ids = self.add(&format!("{output}.position"), position, &[tokens], vec![])?;
        let table = Embedding { rows: s, width };
        let places = self.add(&format!("{output}.places"), table, &[ids], weights)?;
        let id = self.add(output, Add {}, &[view.node, places], vec![])?;
        Ok(Value::Node(view.on(id)))
    }

    /// A range of an axis that is the outermost part of one of the node's: the queries of a layer that has keys and values behind them.
    /// Nothing when it is something else.
    pub(super) fn part(
        &mut self,
        name: &str,
        view: &View,
        (at, [start, end]): (usize, [usize; 2]),
    ) -> Result<Option<View>, Broken> {
        let shape = self.b.shape(view.node);
        let Some(&[atom]) = view.axes.get(at).map(|axis| &**axis) else {
            return Ok(None);
        };
        let outermost = atom.stride > 1
            && atom.axis == channel_axis(shape)
            && atom.stride.checked_mul(atom.size) == Some(shape[atom.axis]);
        if !outermost || start >= end || end > atom.size {
            return Ok(None);
        }
        let slice = Slice {
            axis: atom.axis,
            start: start * atom.stride,
            end: end * atom.stride,
        };
        let id = self.add(name, slice, &[view.node], vec![])?;
        let mut part = view.on(id);
        let size = end - start;
        part.axes[at] = match size {
            1 => vec![],
            _ => vec![Atom { size, ..atom }],
        };
        Ok(Some(part))
    }
}
