//! Layers: which of our operators each ONNX operator is.

use squeeze_graph::ops::{
    Activation, BatchNorm, Conv1d, Conv2d, LayerNorm, Linear, NoNorm, PoolKind,
};
use squeeze_graph::{Op, channel_axis};
use squeeze_tensor::Tensor;

use super::array::transposed;
use super::attention::Scores;
use super::fold::axis;
use super::import::{Import, Value};
use super::proto::{Node, uses};
use crate::error::Broken;
use crate::view::View;

impl<'a> Import<'a> {
    /// Translates a node that depends on numbers which the user puts in.
    pub fn layer(&mut self, node: &'a Node) -> Result<Value, Broken> {
        match &*node.op {
            "Conv" => self.conv(node),
            "Gemm" => self.gemm(node),
            "MatMul" => self.matmul(node),
            "Gather" => self.gather(node),
            "LayerNormalization" => self.layer_norm(node),
            "BatchNormalization" => self.batch_norm(node),
            "Add" | "Sub" => self.sum(node),
            "Mul" | "Div" => self.product(node),
            "Relu" => self.activation(node, Activation::Relu),
            "Tanh" => self.activation(node, Activation::Tanh),
            "Sigmoid" => self.sigmoid(node),
            "HardSwish" => self.activation(node, Activation::HardSwish),
            "HardSigmoid" => self.hard_sigmoid(node),
            "Gelu" if node.text("approximate") == "tanh" => {
                self.activation(node, Activation::GeluTanh)
            }
            "Gelu" => self.activation(node, Activation::Gelu),
            "Erf" => self.erf(node),
            "Clip" => self.clip(node),
            "Softmax" => self.softmax(node),
            "MaxPool" => self.pool(node, PoolKind::Max),
            "AveragePool" if node.int("count_include_pad", 0) == 0 => {
                self.pool(node, PoolKind::AverageInside)
            }
            "AveragePool" => self.pool(node, PoolKind::Average),
            "GlobalAveragePool" => self.global_average(node, &[-1, -2]),
            "ReduceMean" => {
                let axes = self.axes(node)?;
                self.global_average(node, &axes)
            }
            "Concat" => self.concat(node),
            "Where" => self.choose(node),
            "IsNaN" if matches!(self.value(node, 0)?, Value::Scores(s) if s.softmax) => {
                Ok(Value::Never)
            }
            "Identity" | "Dropout" => self.value(node, 0),
            "Cast" if node.int("to", 0) == 1 => self.value(node, 0),
            // Indices stay indices.
            "Cast" if matches!(node.int("to", 0), 6 | 7) => self.value(node, 0),
            "Transpose" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => self.rearranged(node),
            "Slice" => self.slice(node),
            "Resize" => self.resize(node),
            _ => Err(Broken::new(format!(
                "{} is an operator that is not read",
                node.label()
            ))),
        }
    }

    /// Adds `op` on `view`'s node and keeps its axes.
    pub(super) fn keep(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        view: &View,
        weights: Vec<(&str, Tensor)>,
    ) -> Result<Value, Broken> {
        let id = self.add(name, op, &[view.node], weights)?;
        Ok(Value::Node(view.on(id)))
    }

    fn activation(&mut self, node: &Node, kind: Activation) -> Result<Value, Broken> {
        let view = self.view(node, 0)?;
        self.keep(&node.outputs[0], kind, &view, vec![])
    }

    /// A sigmoid; with the product of it and its own input, SiLU.
    fn sigmoid(&mut self, node: &'a Node) -> Result<Value, Broken> {
        let output = &node.outputs[0];
        let product = self.follower(output).filter(|product| {
            let [a, b] = &*product.inputs else {
                return false;
            };
            let input = &node.inputs[0];
            product.op == "Mul" && ((a, b) == (input, output) || (a, b) == (output, input))
        });
        let Some(product) = product else {
            return self.activation(node, Activation::Sigmoid);
        };
        let view = self.view(node, 0)?;
        let value = self.keep(&product.outputs[0], Activation::Silu, &view, vec![])?;
        self.values.insert(&product.outputs[0], value.clone());
        Ok(value)
    }

    /// The node that uses a value, when it is the only use.
    pub(super) fn follower(&self, output: &str) -> Option<&'a Node> {
        let alone = uses(self.graph).get(output) == Some(&1);
        let takes = |node: &&Node| node.inputs.iter().any(|name| name == output);
        self.graph.nodes.iter().find(takes).filter(|_| alone)
    }

    fn hard_sigmoid(&mut self, node: &Node) -> Result<Value, Broken> {
        let (alpha, beta) = (node.float("alpha", 0.2), node.float("beta", 0.5));
        if (alpha - 1.0 / 6.0).abs() > 1e-6 || beta != 0.5 {
            return Err(unread(
                node,
                "another slope than 1/6 or another offset than 1/2",
            ));
        }
        self.activation(node, Activation::HardSigmoid)
    }

    fn clip(&mut self, node: &Node) -> Result<Value, Broken> {
        let bound = |index: usize| match node.inputs.get(index).map(|name| &**name) {
            None | Some("") => Ok(None),
            Some(name) => self.scalar(name),
        };
        let kind = match (bound(1)?, bound(2)?) {
            (Some(0.0), Some(6.0)) => Activation::Relu6,
            (Some(0.0), None) => Activation::Relu,
            (low, high) => {
                return Err(unread(node, &format!("bounds {low:?} and {high:?}")));
            }
        };
        self.activation(node, kind)
    }

    fn conv(&mut self, node: &Node) -> Result<Value, Broken> {
        let view = self.view(node, 0)?;
        let weight = self.weight(node, 1)?;
        let bias = match node.inputs.get(2).map(|name| &**name) {
            None | Some("") => None,
            Some(_) => Some(self.weight(node, 2)?),
        };
        let shape = self.b.shape(view.node).to_vec();
        let sizes = |name: &str, default: usize| -> Result<Vec<usize>, Broken> {
            let rank = weight.shape().len().saturating_sub(2);
            match node.ints(name) {
                None => Ok(vec![default; if name == "pads" { 2 * rank } else { rank }]),
                Some(values) => numbers(node, values),
            }
        };
        if !matches!(node.text("auto_pad"), "" | "NOTSET") {
            return Err(unread(node, "padding chosen by auto_pad"));
        }
        let (pads, strides) = (sizes("pads", 0)?, sizes("strides", 1)?);
        let dilations = sizes("dilations", 1)?;
        let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
        let name = self.path(&node.inputs[1], &node.outputs[0]);
        let bias_on = bias.is_some();
        let mut weights = vec![];
        weights.extend(bias.map(|bias| ("bias", bias)));
        if let (&[out, inner, 1, 1], [n, channels, 1, 1], 1) =
            (weight.shape(), &*view.shape(), groups)
            && shape == [*n, *channels]
        {
            // An image of one pixel that was made a vector.
            let flat = weight.reshaped(&[out, inner]).expect("a window of 1");
            let vector = view.reshaped(&shape).expect("one pixel");
            let bias = weights.pop().map(|(_, bias)| bias);
            let Value::Node(mut view) = self.linear(node, &name, &vector, flat, bias)? else {
                return Err(unread(node, "a convolution of this form"));
            };
            view.axes.extend([vec![], vec![]]);
            return Ok(Value::Node(view));
        }
        match (weight.shape(), &*pads, &*strides, &*dilations) {
            (&[out, _, kh, kw], &[top, left, bottom, right], &[sh, sw], &[dh, dw]) => {
                let conv = Conv2d {
                    out,
                    kernel: [kh, kw],
                    stride: [sh, sw],
                    padding: [top, left, bottom, right],
                    dilation: [dh, dw],
                    groups,
                    bias: bias_on,
                };
                weights.push(("weight", weight));
                let x = self.materialize(&node.label(), &view)?;
                let id = self.add(&name, conv, &[x], weights)?;
                Ok(Value::Node(View::plain(id, self.b.shape(id))))
            }
            (&[out, inner, kernel], &[before, after], &[1], &[dilation])
                if view.is(&shape, &[0, 2, 1]) =>
            {
                let same = kernel / 2 * dilation;
                if kernel % 2 == 0 || [before, after] != [same; 2] {
                    return Err(unread(node, "a 1-D convolution that changes the length"));
                }
                let op: Op = if kernel == 1 {
                    let flat = weight.reshaped(&[out, inner]);
                    weights.push(("weight", flat.expect("a window of 1")));
                    let linear = Linear {
                        out,
                        groups,
                        bias: bias_on,
                    };
                    linear.into()
                } else {
                    weights.push(("weight", weight));
                    let conv = Conv1d {
                        out,
                        kernel,
                        dilation,
                        groups,
                        bias: bias_on,
                    };
                    conv.into()
                };
                let id = self.add(&name, op, &[view.node], weights)?;
                let plain = View::plain(id, self.b.shape(id));
                Ok(Value::Node(plain.transposed(&[0, 2, 1]).expect("an order")))
            }
            _ => Err(unread(node, "a convolution of this form")),
        }
    }

    fn gemm(&mut self, node: &Node) -> Result<Value, Broken> {
        let plain = node.float("alpha", 1.0) == 1.0
            && node.float("beta", 1.0) == 1.0
            && node.int("transA", 0) == 0;
        if !plain {
            return Err(unread(node, "a product with alpha, beta or transA"));
        }
        let mut weight = self.weight(node, 1)?;
        if weight.shape().len() != 2 {
            return Err(unread(node, "a weight that is no matrix"));
        }
        if node.int("transB", 0) == 0 {
            weight = transposed(&weight);
        }
        let bias = match node.inputs.get(2).map(|name| &**name) {
            None | Some("") => None,
            Some(_) => Some(self.weight(node, 2)?),
        };
        let name = self.path(&node.inputs[1], &node.outputs[0]);
        let view = self.view(node, 0)?;
        self.linear(node, &name, &view, weight, bias)
    }

    fn linear(
        &mut self,
        node: &Node,
        name: &str,
        view: &View,
        weight: Tensor,
        bias: Option<Tensor>,
    ) -> Result<Value, Broken> {
        let x = self.materialize(&node.label(), view)?;
        let linear = Linear {
            out: weight.shape()[0],
            groups: 1,
            bias: bias.is_some(),
        };
        if self.b.channels(x) != weight.shape()[1] {
            let (found, wanted) = (self.b.channels(x), weight.shape()[1]);
            return Err(unread(
                node,
                &format!("{found} channels for a weight of {wanted}"),
            ));
        }
        let mut weights = vec![("weight", weight)];
        weights.extend(bias.map(|bias| ("bias", bias)));
        let id = self.add(name, linear, &[x], weights)?;
        Ok(Value::Node(View::plain(id, self.b.shape(id))))
    }

    fn matmul(&mut self, node: &'a Node) -> Result<Value, Broken> {
        let weight = match node.inputs.get(1) {
            Some(name) => self.stored(name)?,
            None => None,
        };
        if let Some(weight) = weight {
            if weight.shape().len() != 2 {
                return Err(unread(node, "a weight that is no matrix"));
            }
            if let Value::Window(text, moves) = self.value(node, 0)? {
                return self.over_window(node, (&text, &moves), &weight);
            }
            let view = self.view(node, 0)?;
            let (name, bias, sum) = self.bias_behind(node, weight.shape()[1])?;
            let value = self.linear(node, &name, &view, transposed(&weight), bias)?;
            if let Some(sum) = sum {
                self.values.insert(&sum.outputs[0], value.clone());
            }
            return Ok(value);
        }
        match (self.value(node, 0)?, self.value(node, 1)?) {
            (Value::Node(query), Value::Node(key)) => Ok(Value::Scores(Scores::new(query, key))),
            (Value::Scores(scores), Value::Node(value)) => self.attention(node, &scores, &value),
            _ => Err(unread(node, "a product of two values outside of attention")),
        }
    }

    /// The bias added right behind a product, with the layer's name and the node that adds it.
    pub(super) fn bias_behind(
        &self,
        node: &Node,
        out: usize,
    ) -> Result<(String, Option<Tensor>, Option<&'a Node>), Broken> {
        let output = &node.outputs[0];
        let sum = self.follower(output);
        if let Some(sum) = sum.filter(|sum| sum.op == "Add")
            && let Some(other) = sum.inputs.iter().find(|name| *name != output)
            && let Some(bias) = self.stored(other)?
            && bias.shape() == [out]
        {
            let name = other.strip_suffix(".bias").unwrap_or(output);
            return Ok((name.to_owned(), Some(bias), Some(sum)));
        }
        Ok((self.path(&node.inputs[1], output), None, None))
    }

    fn layer_norm(&mut self, node: &Node) -> Result<Value, Broken> {
        let view = self.view(node, 0)?;
        let shape = self.b.shape(view.node).to_vec();
        let order = view.order(&shape);
        let along = node.int("axis", -1);
        let last = order.as_ref().is_some_and(|order| {
            axis(along, order.len()) == Some(order.len() - 1)
                && order.last() == Some(&channel_axis(&shape))
        });
        if !last || shape.len() == 4 {
            return Err(unread(node, "a norm over something else than the channels"));
        }
        let scale = self.weight(node, 1)?;
        let bias = match node.inputs.get(2) {
            Some(_) => self.weight(node, 2)?,
            None => Tensor::zeros(scale.shape()),
        };
        let epsilon = f64::from(node.float("epsilon", 1e-5));
        let name = self.path(&node.inputs[1], &node.outputs[0]);
        let weights = vec![("weight", scale), ("bias", bias)];
        self.keep(&name, LayerNorm { epsilon }, &view, weights)
    }

    /// A result times a number for each channel, and their addends where they come right behind it.
    pub(super) fn no_norm(&mut self, node: &'a Node) -> Result<Value, Broken> {
        let place = usize::from(!matches!(self.value(node, 0)?, Value::Node(_)));
        let view = self.view(node, place)?;
        let shape = self.b.shape(view.node).to_vec();
        let order = view.order(&shape);
        let last = order.is_some_and(|order| order.last() == Some(&channel_axis(&shape)));
        let scale = self.weight(node, 1 - place)?;
        if !last || shape.len() == 4 || scale.shape() != [self.b.channels(view.node)] {
            return Err(unread(node, "many known numbers"));
        }
        let width = scale.shape()[0];
        let (name, bias, sum) = self.bias_behind(node, width)?;
        let bias = bias.unwrap_or_else(|| Tensor::zeros(&[width]));
        let weights = vec![("weight", scale), ("bias", bias)];
        let value = self.keep(&name, NoNorm {}, &view, weights)?;
        if let Some(sum) = sum {
            self.values.insert(&sum.outputs[0], value.clone());
        }
        Ok(value)
    }

    fn batch_norm(&mut self, node: &Node) -> Result<Value, Broken> {
        let view = self.view(node, 0)?;
        let x = self.materialize(&node.label(), &view)?;
        let norm = BatchNorm {
            epsilon: f64::from(node.float("epsilon", 1e-5)),
            ..BatchNorm::default()
        };
        let mut weights = vec![];
        let suffixes = ["weight", "bias", "running_mean", "running_var"];
        for (index, suffix) in suffixes.into_iter().enumerate() {
            weights.push((suffix, self.weight(node, index + 1)?));
        }
        let name = self.path(&node.inputs[1], &node.outputs[0]);
        let id = self.add(&name, norm, &[x], weights)?;
        Ok(Value::Node(View::plain(id, self.b.shape(id))))
    }

    /// A stored weight in single precision.
    pub(super) fn weight(&self, node: &Node, index: usize) -> Result<Tensor, Broken> {
        let stored = match node.inputs.get(index) {
            Some(name) => match (self.stored(name)?, self.array(name)?) {
                (None, Some(known)) => {
                    let values: Vec<f32> = known.data.iter().map(|&v| v as f32).collect();
                    Some(Tensor::from_f32(&known.shape, &values))
                }
                (stored, _) => stored,
            },
            None => None,
        };
        stored.ok_or_else(|| {
            unread(
                node,
                &format!("a weight (input {index}) that is not stored"),
            )
        })
    }

    /// The path of a weight's layer, or the value's name when the weight has none of its own.
    pub(super) fn path(&self, weight: &str, output: &str) -> String {
        weight.strip_suffix(".weight").unwrap_or(output).to_owned()
    }
}

/// Something about a node that is not understood.
pub(super) fn unread(node: &Node, what: &str) -> Broken {
    Broken::new(format!("{}: {what} is not read", node.label()))
}

/// Sizes, none negative.
pub(super) fn numbers(node: &Node, values: &[i64]) -> Result<Vec<usize>, Broken> {
    let sizes: Result<Vec<usize>, _> = values.iter().map(|&v| usize::try_from(v)).collect();
    sizes.map_err(|_| unread(node, &format!("{values:?}")))
}
