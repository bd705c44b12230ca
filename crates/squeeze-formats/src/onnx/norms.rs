//! Layer norms that are written out, and scales without a norm.

use squeeze_graph::channel_axis;
use squeeze_graph::ops::{LayerNorm, NoNorm};
use squeeze_tensor::Tensor;

use super::array::Array;
use super::fold::axis;
use super::import::Import;
use super::layers::unread;
use super::proto::Node;
use super::value::{Norm, Value};
use crate::error::Broken;
use crate::view::View;

impl<'a> Import<'a> {
    /// A mean: of height and width, or of the channels on the way to a layer norm.
    pub(super) fn mean(&mut self, node: &Node) -> Result<Value, Broken> {
        let axes = self.axes(node)?;
        let keeps = node.int("keepdims", 1) == 1;
        let last = |view: &View| {
            let rank = view.axes.len();
            let places: Vec<_> = axes.iter().filter_map(|&at| axis(at, rank)).collect();
            keeps
                && places.len() == axes.len()
                && places == [rank - 1]
                && self.ends_in_channels(view)
        };
        match self.value(node, 0)? {
            Value::Node(view) if view.factor == 1.0 && !view.axes.is_empty() && last(&view) => {
                Ok(Value::Norm(view, Norm::Mean))
            }
            Value::Norm(view, Norm::Squares) if last(&view) => {
                Ok(Value::Norm(view, Norm::Variance(0.0)))
            }
            _ => self.global_average(node, &axes),
        }
    }

    /// Whether the last axis of a view is its node's channels.
    pub(super) fn ends_in_channels(&self, view: &View) -> bool {
        let shape = self.b.shape(view.node);
        let order = view.order(shape);
        order.is_some_and(|order| order.last() == Some(&channel_axis(shape)))
    }

    /// A root or an inverse on the way to a layer norm.
    pub(super) fn norm_step(&self, node: &Node) -> Result<Value, Broken> {
        match (&*node.op, self.value(node, 0)?) {
            ("Sqrt", Value::Norm(view, Norm::Variance(epsilon))) => {
                Ok(Value::Norm(view, Norm::Deviation(epsilon)))
            }
            ("Reciprocal", Value::Norm(view, Norm::Deviation(epsilon))) => {
                Ok(Value::Norm(view, Norm::Inverse(epsilon)))
            }
            _ => Err(unread(node, "it outside of a layer norm")),
        }
    }

    /// Two values of a layer norm combined; nothing when they are none.
    pub(super) fn norm_of_two(
        &mut self,
        node: &'a Node,
        a: &Value,
        b: &Value,
    ) -> Result<Option<Value>, Broken> {
        let same = |x: &View, y: &View| (x.node, &x.axes) == (y.node, &y.axes);
        let next = match (&*node.op, a, b) {
            ("Sub", Value::Node(x), Value::Norm(y, Norm::Mean))
                if same(x, y) && x.factor == 1.0 =>
            {
                Norm::Centred
            }
            ("Mul", Value::Norm(x, Norm::Centred), Value::Norm(y, Norm::Centred)) if same(x, y) => {
                Norm::Squares
            }
            ("Add", Value::Norm(_, Norm::Variance(sum)), Value::Known(more))
            | ("Add", Value::Known(more), Value::Norm(_, Norm::Variance(sum))) => {
                match more.scalar() {
                    Some(more) => Norm::Variance(sum + more),
                    None => return Ok(None),
                }
            }
            ("Div", Value::Known(one), Value::Norm(_, Norm::Deviation(epsilon)))
                if one.scalar() == Some(1.0) =>
            {
                Norm::Inverse(*epsilon)
            }
            ("Div", Value::Norm(x, Norm::Centred), Value::Norm(y, Norm::Deviation(epsilon)))
            | ("Mul", Value::Norm(x, Norm::Centred), Value::Norm(y, Norm::Inverse(epsilon)))
            | ("Mul", Value::Norm(y, Norm::Inverse(epsilon)), Value::Norm(x, Norm::Centred))
                if same(x, y) =>
            {
                return self.whole_norm(node, x, *epsilon).map(Some);
            }
            _ => return Ok(None),
        };
        let ((Value::Norm(view, _), _) | (_, Value::Norm(view, _))) = (a, b) else {
            return Ok(None);
        };
        Ok(Some(Value::Norm(view.clone(), next)))
    }

    /// A layer norm whose last step is this node, with the scale and the addends that come right behind.
    fn whole_norm(&mut self, node: &'a Node, view: &View, epsilon: f64) -> Result<Value, Broken> {
        let width = self.b.channels(view.node);
        let mut name = node.outputs[0].clone();
        let mut taken = vec![node];
        let mut weights = [None, None];
        for (weight, op) in weights.iter_mut().zip(["Mul", "Add"]) {
            let output = &taken[taken.len() - 1].outputs[0];
            let next = self.follower(output).filter(|next| next.op == op);
            if let Some(next) = next
                && let Some(other) = next.inputs.iter().find(|name| *name != output)
                && let Some(tensor) = self.stored.weight(other)?
                && tensor.shape() == [width]
            {
                name = other.strip_suffix(".weight").map_or(name, str::to_owned);
                *weight = Some(tensor);
                taken.push(next);
            }
        }
        let [scale, shift] = weights;
        let scale = scale.unwrap_or_else(|| Tensor::from_f32(&[width], &vec![1.0; width]));
        let shift = shift.unwrap_or_else(|| Tensor::zeros(&[width]));
        let weights = vec![("weight", scale), ("bias", shift)];
        let value = self.keep(&name, LayerNorm { epsilon }, view, weights)?;
        for node in taken {
            self.values.insert(&node.outputs[0], value.clone());
        }
        Ok(value)
    }

    /// Whether known numbers of this shape are one for each channel of a view.
    fn one_a_channel(&self, view: &View, known: &[usize]) -> bool {
        let shape = self.b.shape(view.node);
        let Some(order) = view.order(shape) else {
            return false;
        };
        let skipped = order.len().checked_sub(known.len());
        let at = order.iter().position(|&axis| axis == channel_axis(shape));
        let (Some(skipped), Some(at)) = (skipped, at) else {
            return false;
        };
        let size = |axis: usize| axis.checked_sub(skipped).map_or(1, |axis| known[axis]);
        (0..order.len()).all(|axis| size(axis) == if axis == at { shape[order[at]] } else { 1 })
    }

    /// A result times a number for each channel, and their addends where they come right behind it.
    pub(super) fn no_norm(&mut self, node: &'a Node) -> Result<Value, Broken> {
        let place = usize::from(!matches!(self.value(node, 0)?, Value::Node(_)));
        let view = self.view(node, place)?;
        let view = self.settled(node, view)?;
        let scale = self.weight(node, 1 - place)?;
        if !self.one_a_channel(&view, scale.shape()) {
            return Err(unread(node, "many known numbers"));
        }
        let width = self.b.channels(view.node);
        let (name, bias, sum) = self.bias_behind(node, scale.shape())?;
        let bias = bias.unwrap_or_else(|| Tensor::zeros(&[width]));
        let flat = |tensor: Tensor| tensor.reshaped(&[width]).expect("one a channel");
        let weights = vec![("weight", flat(scale)), ("bias", flat(bias))];
        let value = self.keep(&name, NoNorm {}, &view, weights)?;
        if let Some(sum) = sum {
            self.values.insert(&sum.outputs[0], value.clone());
        }
        Ok(value)
    }

    /// A result and the same number for each channel everywhere; nothing when the known numbers are not that.
    pub(super) fn shift(
        &mut self,
        node: &Node,
        view: &View,
        known: &Array,
    ) -> Result<Option<Value>, Broken> {
        let width = self.b.channels(view.node);
        let same = known
            .data
            .chunks(width)
            .all(|row| row == &known.data[..width.min(known.data.len())]);
        let rows = known.shape.last() == Some(&width)
            && same
            && self.ends_in_channels(view)
            && known.shape.len() <= view.axes.len()
            && known
                .shape
                .iter()
                .rev()
                .zip(view.shape().iter().rev())
                .all(|(a, b)| a == b || *a == 1);
        if !rows && !self.one_a_channel(view, &known.shape) {
            return Ok(None);
        }
        let values: Vec<f32> = known.data[..width]
            .iter()
            .map(|&value| value as f32)
            .collect();
        let weights = vec![
            ("weight", Tensor::from_f32(&[width], &vec![1.0; width])),
            ("bias", Tensor::from_f32(&[width], &values)),
        ];
        self.keep(&node.outputs[0], NoNorm {}, view, weights)
            .map(Some)
    }
}
