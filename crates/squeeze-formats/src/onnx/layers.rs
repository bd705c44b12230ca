//! Layers: which of our operators each ONNX operator is.

use squeeze_graph::Op;
use squeeze_graph::ops::{Activation, BatchNorm, Conv1d, Conv2d, LayerNorm, Linear, PoolKind};
use squeeze_tensor::Tensor;

use super::array::transposed;
use super::attention::Scores;
use super::fold::axis;
use super::import::Import;
use super::moves::Windows;
use super::proto::Node;
use super::value::Value;
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
            "Tanh" => self.tanh(node),
            "Sigmoid" => self.sigmoid(node),
            "HardSwish" => self.activation(node, Activation::HardSwish),
            "HardSigmoid" => self.hard_sigmoid(node),
            "Gelu" if node.text("approximate") == "tanh" => {
                self.activation(node, Activation::GeluTanh)
            }
            "Gelu" => self.activation(node, Activation::Gelu),
            "Erf" => self.erf(node),
            "Pow" => self.power(node),
            "Sqrt" | "Reciprocal" => self.norm_step(node),
            "Clip" => self.clip(node),
            "Softmax" => self.softmax(node),
            "MaxPool" => self.pool(node, PoolKind::Max),
            "AveragePool" if node.int("count_include_pad", 0) == 0 => {
                self.pool(node, PoolKind::AverageInside)
            }
            "AveragePool" => self.pool(node, PoolKind::Average),
            "GlobalAveragePool" => self.global_average(node, &[-1, -2]),
            "ReduceMean" => self.mean(node),
            "ReduceSum" | "ReduceMax" => self.of_tokens(node),
            "Split" => self.split(node),
            "Pad" => self.pad(node),
            "Concat" => self.concat(node),
            "Where" => self.choose(node),
            "IsNaN" if matches!(self.value(node, 0)?, Value::Scores(s) if s.softmax) => {
                Ok(Value::Never)
            }
            "Identity" | "Dropout" => self.value(node, 0),
            // Half and double precision are computed in single.
            "Cast" if matches!(node.int("to", 0), 1 | 10 | 11 | 16) => self.value(node, 0),
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

    pub(super) fn activation(&mut self, node: &Node, kind: Activation) -> Result<Value, Broken> {
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
            let pair = [node.inputs.first(), Some(output)];
            let is_gate = [[a, b], [b, a]].iter().any(|both| both.map(Some) == pair);
            product.op == "Mul" && is_gate
        });
        let Some(product) = product else {
            return self.activation(node, Activation::Sigmoid);
        };
        let view = self.view(node, 0)?;
        let value = self.keep(&product.outputs[0], Activation::Silu, &view, vec![])?;
        self.values.insert(&product.outputs[0], value.clone());
        Ok(value)
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
        let (view, around, hidden) = match self.value(node, 0)? {
            Value::Padded(view, pads) => (view, pads, false),
            Value::Hidden(view, 0.0) => (view, [0; 4], true),
            _ => (self.view(node, 0)?, [0; 4], false),
        };
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
        let (mut pads, strides) = (sizes("pads", 0)?, sizes("strides", 1)?);
        let dilations = sizes("dilations", 1)?;
        let windows = Windows {
            kernel: &weight.shape()[2.min(weight.shape().len())..],
            strides: &strides,
            dilations: &dilations,
        };
        if let Some(chosen) = windows.chosen_pads(node, view.shape().get(2..).unwrap_or(&[]))? {
            pads = chosen;
        }
        pads.iter_mut()
            .zip(around)
            .for_each(|(pad, more)| *pad = pad.saturating_add(more));
        let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
        let name = self.path(&node.inputs[1], &node.outputs[0]);
        let bias_on = bias.is_some();
        let mut weights = vec![];
        weights.extend(bias.map(|bias| ("bias", bias)));
        if let (&[out, inner, 1], [n, channels, 1]) = (weight.shape(), &*view.shape())
            && shape == [*n, *channels]
        {
            // A vector as a text of one token.
            let flat = weight.reshaped(&[out, inner]).expect("a window of 1");
            weights.push(("weight", flat));
            let linear = Linear {
                out,
                groups,
                bias: bias_on,
            };
            let vector = view.reshaped(&shape).expect("one token");
            let x = self.materialize(&node.label(), &vector)?;
            let id = self.add(&name, linear, &[x], weights)?;
            let mut view = View::plain(id, self.b.shape(id));
            view.axes.push(vec![]);
            return Ok(Value::Node(view));
        }
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
            (&[out, inner, kernel], &[before, after], &[1], &[dilation]) if shape.len() == 3 => {
                let text = view.transposed(&[0, 2, 1]);
                let text = text.ok_or_else(|| unread(node, "a convolution of this form"))?;
                let x = self.materialize(&node.label(), &text)?;
                let same = kernel / 2 * dilation;
                if kernel % 2 == 0 || [before, after] != [same; 2] {
                    return Err(unread(node, "a 1-D convolution that changes the length"));
                }
                let mut inputs = vec![x];
                inputs.extend(self.lengths.filter(|_| hidden));
                let op: Op = if kernel == 1 && !hidden {
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
                let id = self.add(&name, op, &inputs, weights)?;
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
        let weight = match node.int("transB", 0) {
            0 => self.turned_weight(node)?,
            _ => self.weight(node, 1)?,
        };
        if weight.shape().len() != 2 {
            return Err(unread(node, "a weight that is no matrix"));
        }
        let bias = match node.inputs.get(2).map(|name| &**name) {
            None | Some("") => None,
            Some(_) => {
                let bias = self.weight(node, 2)?.reshaped(&weight.shape()[..1]);
                Some(bias.map_err(|_| unread(node, "a bias that is not one row"))?)
            }
        };
        let name = self.path(&node.inputs[1], &node.outputs[0]);
        let view = self.view(node, 0)?;
        // The tokens of all texts as rows of one matrix, as GPT-2's layers have them, or torch's attention with texts behind tokens.
        let shape = self.b.shape(view.node).to_vec();
        let as_text = |sizes: [usize; 3], order: [usize; 3]| {
            let text = view.reshaped(&sizes);
            text.filter(|text| text.is(&shape, &order))
        };
        if let &[n, s, c] = &*shape
            && view.axes.len() == 2
            && let Some(text) =
                as_text([n, s, c], [0, 1, 2]).or_else(|| as_text([s, n, c], [1, 0, 2]))
        {
            let out = weight.shape()[0];
            let value = self.linear(node, &name, &text, weight, bias)?;
            let Value::Node(result) = &value else {
                return Ok(value);
            };
            let rows = result.reshaped(&[n * s, out]);
            return Ok(Value::Node(rows.expect("texts are rows of tokens")));
        }
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
        let shape = self.b.shape(view.node).to_vec();
        if view.is(&shape, &[0, 2, 3, 1]) && shape.len() == 4 && shape[1] == weight.shape()[1] {
            // A layer over the pixels of an image whose channels stand last.
            let &[out, inner] = weight.shape() else {
                return Err(unread(node, "a weight that is no matrix"));
            };
            let conv = Conv2d {
                bias: bias.is_some(),
                ..Conv2d::square(out, 1)
            };
            let weight = weight.reshaped(&[out, inner, 1, 1]).expect("a window of 1");
            let mut weights = vec![("weight", weight)];
            weights.extend(bias.map(|bias| ("bias", bias)));
            let id = self.add(name, conv, &[view.node], weights)?;
            let plain = View::plain(id, self.b.shape(id));
            return Ok(Value::Node(
                plain.transposed(&[0, 2, 3, 1]).expect("an order"),
            ));
        }
        let linear = Linear {
            out: weight.shape()[0],
            groups: 1,
            bias: bias.is_some(),
        };
        // Texts whose tokens stand in front, as torch's attention has them, stay so.
        let turned = shape.len() == 3 && view.is(&shape, &[1, 0, 2]) && shape[1] > 1;
        let x = match turned {
            true => view.node,
            false => self.materialize(&node.label(), view)?,
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
        let plain = View::plain(id, self.b.shape(id));
        Ok(Value::Node(match turned {
            true => plain.transposed(&[1, 0, 2]).expect("an order"),
            false => plain,
        }))
    }

    fn matmul(&mut self, node: &'a Node) -> Result<Value, Broken> {
        let known = node.inputs.get(1).is_some_and(|name| {
            self.stored.has(name) || matches!(self.values.get(&**name), Some(Value::Known(_)))
        });
        if known {
            if let Value::Window(text, moves) = self.value(node, 0)? {
                let weight = self.weight(node, 1)?;
                return self.over_window(node, (&text, &moves), &weight);
            }
            let weight = self.turned_weight(node)?;
            let view = self.view(node, 0)?;
            let (name, bias, sum) = self.bias_behind(node, &weight.shape()[..1])?;
            let value = self.linear(node, &name, &view, weight, bias)?;
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
        form: &[usize],
    ) -> Result<(String, Option<Tensor>, Option<&'a Node>), Broken> {
        let output = &node.outputs[0];
        let sum = self.follower(output);
        if let Some(sum) = sum.filter(|sum| sum.op == "Add")
            && let Some(other) = sum.inputs.iter().find(|name| *name != output)
            && let Some(bias) = self.stored.weight(other)?
            && bias.shape() == form
        {
            let name = other.strip_suffix(".bias").unwrap_or(output);
            return Ok((name.to_owned(), Some(bias), Some(sum)));
        }
        Ok((self.path(&node.inputs[1], output), None, None))
    }

    /// The view, or where its channels were cut a node of its own.
    pub(super) fn settled(&mut self, node: &Node, view: View) -> Result<View, Broken> {
        if view.factor != 1.0 || view.order(self.b.shape(view.node)).is_some() {
            return Ok(view);
        }
        let id = self.materialize(&node.label(), &view)?;
        Ok(View::plain(id, self.b.shape(id)))
    }

    fn layer_norm(&mut self, node: &Node) -> Result<Value, Broken> {
        let view = self.view(node, 0)?;
        let sizes = view.shape();
        let along = axis(node.int("axis", -1), sizes.len());
        let is_last = along.is_some_and(|at| at + 1 == sizes.len());
        // A vector or text may have more axes of size 1 than its node.
        let shape = self.b.shape(view.node);
        let plain = View::plain(view.node, shape);
        let stretched = shape.len() < 4
            && sizes.last() == shape.last()
            && view.reshaped(shape).is_some_and(|flat| flat == plain);
        let view = match stretched {
            true => view,
            false => self.settled(node, view)?,
        };
        if !is_last || !(stretched || self.ends_in_channels(&view)) {
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

    fn batch_norm(&mut self, node: &Node) -> Result<Value, Broken> {
        let view = self.view(node, 0)?;
        let shape = self.b.shape(view.node).to_vec();
        let is_text = view.is(&shape, &[0, 2, 1]);
        let x = match is_text {
            true => view.node,
            false => self.materialize(&node.label(), &view)?,
        };
        if !is_text && self.b.shape(x).len() == 3 {
            return Err(unread(node, "a norm over something else than the channels"));
        }
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
        Ok(Value::Node(match is_text {
            true => view.on(id),
            false => View::plain(id, self.b.shape(id)),
        }))
    }

    /// A stored matrix with rows and columns exchanged.
    fn turned_weight(&self, node: &Node) -> Result<Tensor, Broken> {
        let stored = match node.inputs.get(1) {
            Some(name) => self.stored.turned(name)?,
            None => None,
        };
        match stored {
            Some(weight) => Ok(weight),
            None => transposed(&self.weight(node, 1)?)
                .ok_or_else(|| unread(node, "a weight that is no matrix")),
        }
    }

    /// A stored weight in single precision.
    pub(super) fn weight(&self, node: &Node, index: usize) -> Result<Tensor, Broken> {
        let stored = match node.inputs.get(index) {
            Some(name) => match self.stored.weight(name)? {
                Some(stored) => Some(stored),
                None => self.array(name)?.map(|known| {
                    let values: Vec<f32> = known.data.iter().map(|&v| v as f32).collect();
                    Tensor::from_f32(&known.shape, &values)
                }),
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

/// Sizes, none negative and none beyond what any activation has.
pub(super) fn numbers(node: &Node, values: &[i64]) -> Result<Vec<usize>, Broken> {
    let size = |&value: &i64| usize::try_from(value).ok().filter(|&size| size <= 1 << 40);
    let sizes: Option<Vec<usize>> = values.iter().map(size).collect();
    sizes.ok_or_else(|| {
        let shown = &values[..values.len().min(8)];
        unread(node, &format!("{shown:?}"))
    })
}
