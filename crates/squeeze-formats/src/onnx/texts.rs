//! Texts whose padding is hidden by the mask: convolutions, sums and largest values over tokens; positions.

use squeeze_graph::NodeId;
use squeeze_graph::ops::{Position, TokenMax, TokenMean};

use super::array::{Array, broadcast};
use super::fold::axis;
use super::import::Import;
use super::layers::unread;
use super::proto::Node;
use super::value::{Mask, Value};
use crate::error::Broken;
use crate::view::View;

impl Import<'_> {
    /// A text `[n, s, c]` under a mask that is 1 for its tokens and 0 for its padding, in a product or a choice with `fill`;
    /// nothing when the mask is something else.
    pub(super) fn hidden(
        &self,
        view: &View,
        mask: &Mask,
        fill: f64,
    ) -> Result<Option<Value>, Broken> {
        let shape = view.shape();
        let whole = view.is(self.b.shape(view.node), &[0, 1, 2]) && view.factor == 1.0;
        let &[n, s, _] = &*shape else {
            return Ok(None);
        };
        let fits = |array: &Array| {
            array.shape.len() <= 3 && broadcast(&array.shape, &shape).as_ref() == Some(&shape)
        };
        if !whole || s != self.length || !fits(&mask.whole) || !fits(&mask.half) {
            return Ok(None);
        }
        self.stored.count(mask.whole.data.len())?;
        let hides = |array: &Array, length: &dyn Fn(usize) -> usize| {
            let width = array.shape.last().copied().unwrap_or(1);
            let right = |text: usize, token: usize| f64::from(u8::from(token < length(text)));
            (0..n).all(|text| {
                (0..s).all(|token| {
                    (0..width).all(|c| array.at(&[text, token, c]) == right(text, token))
                })
            })
        };
        let hides = hides(&mask.whole, &|_| s) && hides(&mask.half, &|text| self.half_length(text));
        Ok(hides.then(|| Value::Hidden(view.clone(), fill)))
    }

    /// A sum or a largest value over the tokens of a text.
    pub(super) fn of_tokens(&mut self, node: &Node) -> Result<Value, Broken> {
        let other = || {
            unread(
                node,
                "it over something else than the tokens of a text under its mask",
            )
        };
        let axes = self.axes(node)?;
        let over_tokens = |view: &View| match *axes {
            [at] => axis(at, view.axes.len()) == Some(1) && node.int("keepdims", 1) == 0,
            _ => false,
        };
        match (&*node.op, self.value(node, 0)?) {
            ("ReduceSum", Value::Hidden(view, 0.0)) if over_tokens(&view) => {
                Ok(Value::TokenSum(view))
            }
            ("ReduceMax", Value::Hidden(view, fill)) if over_tokens(&view) && fill <= -9999.0 => {
                let lengths = self.lengths.ok_or_else(other)?;
                let inputs = [view.node, lengths];
                let id = self.add(&node.outputs[0], TokenMax {}, &inputs, vec![])?;
                Ok(Value::Node(View::plain(id, self.b.shape(id))))
            }
            _ => Err(other()),
        }
    }

    /// A sum over tokens by what must be the number of tokens, at least one or nearly none.
    pub(super) fn token_mean(
        &mut self,
        node: &Node,
        view: &View,
        count: &Mask,
    ) -> Result<Value, Broken> {
        let texts = self.b.shape(view.node)[0];
        let counts = |array: &Array, length: &dyn Fn(usize) -> usize| {
            let each = array.data.len() / texts;
            array.data.len() == each * texts
                && array.shape.first() == Some(&texts)
                && (array.data.iter().enumerate())
                    .all(|(at, &value)| value == length(at / each) as f64)
        };
        let counts = counts(&count.whole, &|_| self.length)
            && counts(&count.half, &|text| self.half_length(text));
        let Some(lengths) = self.lengths.filter(|_| counts) else {
            return Err(unread(
                node,
                "a sum of tokens by something else than their number",
            ));
        };
        let inputs = [view.node, lengths];
        let id = self.add(&node.outputs[0], TokenMean {}, &inputs, vec![])?;
        Ok(Value::Node(View::plain(id, self.b.shape(id))))
    }

    /// Known indices that count the tokens become positions.
    pub(super) fn position(
        &mut self,
        node: &Node,
        name: &str,
        places: &Mask,
        rows: usize,
    ) -> Result<NodeId, Broken> {
        let first = places.whole.data.first().copied().unwrap_or(-1.0);
        let tokens = places.whole.shape.last().copied().unwrap_or(0);
        let texts = [self.ids, self.target].into_iter().flatten();
        let mut texts = texts.filter(|&id| self.b.shape(id)[1] == tokens);
        // What place a padded token has is nobody's concern.
        let counts = |array: &Array, length: &dyn Fn(usize) -> usize| {
            array.shape.last() == Some(&tokens)
                && array.data.iter().enumerate().all(|(at, &place)| {
                    let (text, token) = (at / tokens, at % tokens);
                    token >= length(text) || place == first + token as f64
                })
        };
        let own = self.lengths.is_some() && tokens == self.length;
        let half = |text| if own { self.half_length(text) } else { tokens };
        let counts = first >= 0.0
            && tokens > 0
            && counts(&places.whole, &|_| tokens)
            && counts(&places.half, &half);
        let Some(ids) = texts.next().filter(|_| counts) else {
            return Err(unread(
                node,
                "a table looked up by fixed indices that are no positions",
            ));
        };
        let position = Position {
            first: first as usize,
            places: rows,
        };
        self.add(&format!("{name}.position"), position, &[ids], vec![])
    }
}
