//! Sums, products and choices of two values, and the parts of attention among them.

use squeeze_graph::ops::{Add, Mul, Softmax};
use squeeze_graph::{Op, channel_axis};

use super::attention::Scores;
use super::fold::axis;
use super::import::Import;
use super::layers::unread;
use super::proto::Node;
use super::value::{Mask, Value};
use crate::error::Broken;
use crate::view::View;

impl<'a> Import<'a> {
    pub(super) fn softmax(&mut self, node: &Node) -> Result<Value, Broken> {
        // Before set 13 all axes from this one on are taken together.
        let (joins, default) = (self.opset < 13, if self.opset < 13 { 1 } else { -1 });
        let along = node.int("axis", default);
        match self.value(node, 0)? {
            Value::Scores(scores) if along == -1 || along == 3 => Ok(Value::Scores(Scores {
                softmax: true,
                ..scores
            })),
            Value::Node(view) => {
                let sizes = view.shape();
                let behind = axis(along, sizes.len()).and_then(|at| sizes.get(at + 1..));
                if joins && behind.is_some_and(|behind| behind.iter().any(|&size| size != 1)) {
                    return Err(unread(node, "a softmax over several axes"));
                }
                let view = self.settled(node, view)?;
                let shape = self.b.shape(view.node).to_vec();
                let plain = view.order(&shape).is_some_and(|order| {
                    axis(along, order.len()).is_some_and(|at| order[at] == channel_axis(&shape))
                });
                if !plain || view.factor != 1.0 {
                    return Err(unread(
                        node,
                        "a softmax over another axis than the channels",
                    ));
                }
                self.keep(&node.outputs[0], Softmax {}, &view, vec![])
            }
            _ => Err(unread(
                node,
                "a softmax of something that is no layer's result",
            )),
        }
    }

    pub(super) fn sum(&mut self, node: &'a Node) -> Result<Value, Broken> {
        let (a, b) = (self.value(node, 0)?, self.value(node, 1)?);
        if let Some(value) = self.of_two(node, &a, &b)? {
            return Ok(value);
        }
        match (a, b) {
            (Value::Scores(scores), Value::Mask(mask))
            | (Value::Mask(mask), Value::Scores(scores))
                if node.op == "Add" =>
            {
                self.masked(node, scores, &mask)
            }
            (Value::Scores(scores), Value::Known(known))
            | (Value::Known(known), Value::Scores(scores))
                if node.op == "Add" && known.constant().is_none() =>
            {
                self.masked(node, scores, &Mask::known(known))
            }
            (value @ (Value::Scores(_) | Value::Node(_)), Value::Known(nothing))
                if nothing.scalar() == Some(0.0)
                    || matches!(value, Value::Scores(_)) && nothing.constant() == Some(0.0) =>
            {
                Ok(value)
            }
            (Value::Node(_), Value::Known(known)) if node.op == "Add" => {
                let view = self.view(node, 0)?;
                self.fixed_positions(node, &view, &known)
            }
            (Value::Known(known), Value::Node(_)) if node.op == "Add" => {
                let view = self.view(node, 1)?;
                self.fixed_positions(node, &view, &known)
            }
            (Value::Node(_), Value::Node(_)) if node.op == "Add" => {
                let (a, b) = (self.view(node, 0)?, self.view(node, 1)?);
                self.pair(node, Add {}, [a, b])
            }
            _ => Err(unread(node, "a sum or difference of this kind")),
        }
    }

    /// A step of a layer norm or of a GELU; nothing when it is none.
    fn of_two(&mut self, node: &'a Node, a: &Value, b: &Value) -> Result<Option<Value>, Broken> {
        match self.norm_of_two(node, a, b)? {
            Some(value) => Ok(Some(value)),
            None => self.curve_of_two(node, a, b),
        }
    }

    pub(super) fn product(&mut self, node: &'a Node) -> Result<Value, Broken> {
        let (a, b) = (self.value(node, 0)?, self.value(node, 1)?);
        let multiplies = node.op == "Mul";
        if let Some(value) = self.of_two(node, &a, &b)? {
            return Ok(value);
        }
        match (a, b) {
            (Value::Node(view), Value::Mask(mask)) | (Value::Mask(mask), Value::Node(view))
                if multiplies =>
            {
                if mask.constant() == Some(1.0) {
                    return Ok(Value::Node(view));
                }
                let hidden = self.hidden(&view, &mask, 0.0)?;
                hidden
                    .ok_or_else(|| unread(node, "a product with a mask that does not hide padding"))
            }
            (Value::TokenSum(view), Value::Mask(count)) if !multiplies => {
                self.token_mean(node, &view, &count)
            }
            (Value::Node(_), Value::Known(known)) | (Value::Known(known), Value::Node(_))
                if multiplies && known.scalar().is_none() =>
            {
                self.no_norm(node)
            }
            (value, Value::Known(known)) | (Value::Known(known), value)
                if multiplies || !matches!(self.value(node, 0)?, Value::Known(_)) =>
            {
                let known = known
                    .scalar()
                    .ok_or_else(|| unread(node, "many known numbers"))?;
                let factor = if multiplies { known } else { 1.0 / known };
                match value {
                    Value::Node(view) => {
                        let exact = view.factor * factor;
                        let factor = if (exact - 1.0).abs() < 1e-6 {
                            1.0
                        } else {
                            exact
                        };
                        Ok(Value::Node(View { factor, ..view }))
                    }
                    Value::Scores(scores) => {
                        let late = || unread(node, "a scale behind mask or softmax");
                        Ok(Value::Scores(scores.times(factor).ok_or_else(late)?))
                    }
                    _ => Err(unread(node, "a product of this kind")),
                }
            }
            (Value::Node(_), Value::Node(_)) if multiplies => {
                let (a, b) = (self.view(node, 0)?, self.view(node, 1)?);
                self.pair(node, Mul {}, [a, b])
            }
            _ => Err(unread(node, "a product or quotient of this kind")),
        }
    }

    /// Sum or product of two results under the same axes, or of an image and a gate.
    pub(super) fn pair(
        &mut self,
        node: &Node,
        op: impl Into<Op>,
        [a, b]: [View; 2],
    ) -> Result<Value, Broken> {
        let shape = |view: &View| self.b.shape(view.node).to_vec();
        let (shape_a, shape_b) = (shape(&a), shape(&b));
        let name = &node.outputs[0];
        if a.axes == b.axes && shape_a == shape_b {
            let id = self.add(name, op, &[a.node, b.node], vec![])?;
            return Ok(Value::Node(a.on(id)));
        }
        // A gate is [n, c] and stands as [n, c, 1, 1] at an image, as [n, 1, c] at a text.
        for (x, gate) in [(&a, &b), (&b, &a)] {
            let vector = match (&*x.shape(), &*gate.shape()) {
                (&[n, c, _, _], &[m, d, 1, 1]) if (n, c) == (m, d) => gate.reshaped(&[n, c]),
                (&[n, _, c], &[m, 1, d]) if (n, c) == (m, d) => gate.reshaped(&[n, c]),
                _ => None,
            };
            if let Some(vector) = vector {
                let x = self.materialize(&node.label(), x)?;
                let gate = self.materialize(&node.label(), &vector)?;
                let id = self.add(name, op, &[x, gate], vec![])?;
                return Ok(Value::Node(View::plain(id, self.b.shape(id))));
            }
        }
        let x = self.materialize(&node.label(), &a)?;
        let y = self.materialize(&node.label(), &b)?;
        let id = self.add(name, op, &[x, y], vec![])?;
        Ok(Value::Node(View::plain(id, self.b.shape(id))))
    }

    /// Masks written as a choice: scores where the mask says so, a very low number elsewhere.
    pub(super) fn choose(&mut self, node: &Node) -> Result<Value, Broken> {
        match (
            self.value(node, 0)?,
            self.value(node, 1)?,
            self.value(node, 2)?,
        ) {
            (Value::Never, _, value) => Ok(value),
            (Value::Known(mask), Value::Scores(scores), Value::Known(low)) => {
                let low = low.scalar().unwrap_or(0.0);
                let sums = Mask::known(mask).map(|value| if value != 0.0 { 0.0 } else { low });
                self.masked(node, scores, &sums)
            }
            (Value::Mask(mask), Value::Scores(scores), Value::Known(low)) => {
                let low = low.scalar().unwrap_or(0.0);
                let sums = mask.map(|value| if value != 0.0 { 0.0 } else { low });
                self.masked(node, scores, &sums)
            }
            (Value::Mask(mask), Value::Known(low), Value::Scores(scores)) => {
                let low = low.scalar().unwrap_or(0.0);
                let sums = mask.map(|value| if value != 0.0 { low } else { 0.0 });
                self.masked(node, scores, &sums)
            }
            (Value::Mask(mask), Value::Node(view), Value::Known(fill)) => {
                let fill = fill.scalar();
                let hidden = match fill {
                    Some(fill) => self.hidden(&view, &mask, fill)?,
                    None => None,
                };
                hidden.ok_or_else(|| unread(node, "a choice that does not hide padding"))
            }
            (Value::Mask(mask), Value::Known(fill), Value::Node(view)) => {
                let mask = mask.map(|value| f64::from(u8::from(value == 0.0)));
                let hidden = match fill.scalar() {
                    Some(fill) => self.hidden(&view, &mask, fill)?,
                    None => None,
                };
                hidden.ok_or_else(|| unread(node, "a choice that does not hide padding"))
            }
            _ => Err(unread(node, "a choice outside of attention")),
        }
    }
}
