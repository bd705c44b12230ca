//! Which ONNX operators each of ours becomes.

use squeeze_graph::ops::{
    Activation, BatchNorm, Conv2d, LayerNorm, Linear, Pool, PoolKind, Resize, ResizeMode,
};
use squeeze_graph::{Node, Op, channel_axis};

use super::export::{Export, Form, float, int, ints, text};
use crate::error::Broken;

impl Export<'_> {
    /// Adds what a node is, and gives the name of its result.
    pub(super) fn node(&mut self, node: &Node) -> Result<String, Broken> {
        let path = &*node.name;
        Ok(match &node.op {
            Op::Input(_) => unreachable!("inputs were added before"),
            Op::Conv2d(conv) => self.conv2d(node, conv),
            Op::Conv1d(conv) => self.conv1d(node, conv)?,
            Op::Linear(linear) => self.linear(node, linear),
            Op::BatchNorm(norm) => self.batch_norm(node, norm),
            Op::LayerNorm(norm) => self.layer_norm(node, norm),
            Op::NoNorm(_) => {
                let channels = self.channels(node);
                let form = match node.shape.len() {
                    4 => Form::Shape(vec![channels, 1, 1]),
                    _ => Form::Same,
                };
                let [scale, shift] =
                    ["weight", "bias"].map(|suffix| self.weight(node, suffix, form.clone()));
                let scaled = self.step("Mul", &[&self.value(node, 0), &scale], path, vec![]);
                self.emit("Add", &[&scaled, &shift], path, vec![])
            }
            Op::Activation(activation) => self.activation(node, activation.kind),
            Op::Pool(pool) => self.pool(node, pool),
            Op::GlobalAverage(_) => {
                let mean = self.step("GlobalAveragePool", &[&self.value(node, 0)], path, vec![]);
                self.emit("Flatten", &[&mean], path, vec![int("axis", 1)])
            }
            Op::TokenMax(_) => self.token_max(node)?,
            Op::TokenMean(_) => self.token_mean(node)?,
            Op::Add(_) => self.combined(node, "Add"),
            Op::Mul(_) => self.combined(node, "Mul"),
            Op::Scale(scale) => {
                let factor = self.number(scale.factor as f32);
                self.emit("Mul", &[&self.value(node, 0), &factor], path, vec![])
            }
            Op::Concat(concat) => {
                let parts: Vec<_> = (0..node.inputs.len())
                    .map(|index| self.value(node, index))
                    .collect();
                let parts: Vec<&str> = parts.iter().map(|part| &**part).collect();
                let axis = int("axis", concat.axis as i64);
                self.emit("Concat", &parts, path, vec![axis])
            }
            Op::Embedding(_) => {
                let table = self.weight(node, "weight", Form::Same);
                self.emit("Gather", &[&table, &self.value(node, 0)], path, vec![])
            }
            Op::Position(position) => self.position(node, position),
            Op::ClassToken(_) => self.class_token(node),
            Op::Attention(attention) => self.attention(node, attention)?,
            Op::Softmax(_) => {
                let axis = int("axis", channel_axis(&node.shape) as i64);
                self.emit("Softmax", &[&self.value(node, 0)], path, vec![axis])
            }
            Op::Reshape(reshape) => {
                let dims = self.ints(&reshape.dims);
                self.emit("Reshape", &[&self.value(node, 0), &dims], path, vec![])
            }
            Op::Transpose(transpose) => {
                let order = ints("perm", &transpose.order);
                self.emit("Transpose", &[&self.value(node, 0)], path, vec![order])
            }
            Op::ChannelShuffle(shuffle) => self.shuffle(node, shuffle.groups),
            Op::Slice(slice) => {
                let bounds = [slice.start, slice.end, slice.axis];
                let [start, end, axis] = bounds.map(|value| self.ints(&[value as i64]));
                let x = self.value(node, 0);
                self.emit("Slice", &[&x, &start, &end, &axis], path, vec![])
            }
            Op::Select(select) => {
                let index = self.int(select.index as i64);
                let axis = int("axis", select.axis as i64);
                self.emit("Gather", &[&self.value(node, 0), &index], path, vec![axis])
            }
            Op::Resize(resize) => self.resize(node, resize),
            Op::Dropout(_) => self.value(node, 0),
            Op::Slot(_) => {
                return Err(Broken::new(format!(
                    "{path}: a slot is no operator of ONNX: export a network in which it is filled"
                )));
            }
        })
    }

    fn channels(&self, node: &Node) -> usize {
        node.shape[channel_axis(&node.shape)]
    }

    /// A text `[n, s, c]` as `[n, c, s]`, and back.
    pub(super) fn turned(&mut self, x: &str, path: &str) -> String {
        self.step("Transpose", &[x], path, vec![ints("perm", &[0, 2, 1])])
    }

    fn conv2d(&mut self, node: &Node, conv: &Conv2d) -> String {
        let mut inputs = vec![self.value(node, 0), self.weight(node, "weight", Form::Same)];
        if conv.bias {
            inputs.push(self.weight(node, "bias", Form::Same));
        }
        let attributes = vec![
            ints("kernel_shape", &conv.kernel),
            ints("strides", &conv.stride),
            ints("pads", &conv.padding),
            ints("dilations", &conv.dilation),
            int("group", conv.groups as i64),
        ];
        let inputs: Vec<&str> = inputs.iter().map(|name| &**name).collect();
        self.emit("Conv", &inputs, &node.name, attributes)
    }

    /// A product, or for groups a convolution of one tap.
    fn linear(&mut self, node: &Node, linear: &Linear) -> String {
        let (path, x) = (&*node.name, self.value(node, 0));
        let is_text = node.shape.len() == 3;
        let bias = linear.bias.then(|| self.weight(node, "bias", Form::Same));
        if linear.groups > 1 {
            let inner = self.shape(node, 0).last().copied().unwrap_or(1) / linear.groups;
            let form = Form::Shape(vec![linear.out, inner, 1]);
            let weight = self.weight(node, "weight", form);
            let axis = self.ints(&[2]);
            let columns = match is_text {
                true => self.turned(&x, path),
                false => self.step("Unsqueeze", &[&x, &axis], path, vec![]),
            };
            let inputs = [Some(&columns), Some(&weight), bias.as_ref()];
            let inputs: Vec<&str> = inputs.into_iter().flatten().map(|name| &**name).collect();
            let group = int("group", linear.groups as i64);
            let y = self.step(
                "Conv",
                &inputs,
                path,
                vec![ints("kernel_shape", &[1]), group],
            );
            return match is_text {
                true => self.emit("Transpose", &[&y], path, vec![ints("perm", &[0, 2, 1])]),
                false => self.emit("Squeeze", &[&y, &axis], path, vec![]),
            };
        }
        if !is_text {
            let weight = self.weight(node, "weight", Form::Same);
            let inputs = [Some(&x), Some(&weight), bias.as_ref()];
            let inputs: Vec<&str> = inputs.into_iter().flatten().map(|name| &**name).collect();
            return self.emit("Gemm", &inputs, path, vec![int("transB", 1)]);
        }
        let weight = self.weight(node, "weight", Form::Turned);
        match bias {
            None => self.emit("MatMul", &[&x, &weight], path, vec![]),
            Some(bias) => {
                let product = self.step("MatMul", &[&x, &weight], path, vec![]);
                self.emit("Add", &[&product, &bias], path, vec![])
            }
        }
    }

    fn batch_norm(&mut self, node: &Node, norm: &BatchNorm) -> String {
        let path = &*node.name;
        let suffixes = ["weight", "bias", "running_mean", "running_var"];
        let weights = suffixes.map(|suffix| self.weight(node, suffix, Form::Same));
        let x = self.value(node, 0);
        let is_text = node.shape.len() == 3;
        let x = if is_text { self.turned(&x, path) } else { x };
        let mut inputs = vec![&*x];
        inputs.extend(weights.iter().map(|name| &**name));
        let epsilon = vec![float("epsilon", norm.epsilon as f32)];
        match is_text {
            false => self.emit("BatchNormalization", &inputs, path, epsilon),
            true => {
                let y = self.step("BatchNormalization", &inputs, path, epsilon);
                self.emit("Transpose", &[&y], path, vec![ints("perm", &[0, 2, 1])])
            }
        }
    }

    fn layer_norm(&mut self, node: &Node, norm: &LayerNorm) -> String {
        let (path, x) = (&*node.name, self.value(node, 0));
        let [scale, shift] = ["weight", "bias"].map(|suffix| self.weight(node, suffix, Form::Same));
        let attributes = vec![int("axis", -1), float("epsilon", norm.epsilon as f32)];
        if node.shape.len() != 4 {
            return self.emit(
                "LayerNormalization",
                &[&x, &scale, &shift],
                path,
                attributes,
            );
        }
        let last = ints("perm", &[0, 2, 3, 1]);
        let x = self.step("Transpose", &[&x], path, vec![last]);
        let y = self.step(
            "LayerNormalization",
            &[&x, &scale, &shift],
            path,
            attributes,
        );
        self.emit("Transpose", &[&y], path, vec![ints("perm", &[0, 3, 1, 2])])
    }

    fn activation(&mut self, node: &Node, kind: Activation) -> String {
        let (path, x) = (&*node.name, self.value(node, 0));
        match kind {
            Activation::Relu => self.emit("Relu", &[&x], path, vec![]),
            Activation::Relu6 => {
                let [low, high] = [0.0, 6.0].map(|bound| self.number(bound));
                self.emit("Clip", &[&x, &low, &high], path, vec![])
            }
            Activation::Gelu => {
                let [root, one, half] =
                    [std::f32::consts::SQRT_2, 1.0, 0.5].map(|value| self.number(value));
                let y = self.step("Div", &[&x, &root], path, vec![]);
                let y = self.step("Erf", &[&y], path, vec![]);
                let y = self.step("Add", &[&y, &one], path, vec![]);
                let y = self.step("Mul", &[&x, &y], path, vec![]);
                self.emit("Mul", &[&y, &half], path, vec![])
            }
            Activation::GeluTanh => {
                // sqrt(2 / pi), and the factor of the cube.
                let root = (2.0 / std::f64::consts::PI).sqrt() as f32;
                let values = [3.0, 0.044_715, root, 1.0, 0.5];
                let [three, cubic, root, one, half] = values.map(|value| self.number(value));
                let y = self.step("Pow", &[&x, &three], path, vec![]);
                let y = self.step("Mul", &[&y, &cubic], path, vec![]);
                let y = self.step("Add", &[&x, &y], path, vec![]);
                let y = self.step("Mul", &[&y, &root], path, vec![]);
                let y = self.step("Tanh", &[&y], path, vec![]);
                let y = self.step("Add", &[&y, &one], path, vec![]);
                let x = self.step("Mul", &[&x, &half], path, vec![]);
                self.emit("Mul", &[&x, &y], path, vec![])
            }
            Activation::Silu => {
                let gate = self.step("Sigmoid", &[&x], path, vec![]);
                self.emit("Mul", &[&x, &gate], path, vec![])
            }
            Activation::HardSwish => self.emit("HardSwish", &[&x], path, vec![]),
            Activation::HardSigmoid => {
                let slope = float("alpha", 1.0 / 6.0);
                self.emit("HardSigmoid", &[&x], path, vec![slope, float("beta", 0.5)])
            }
            Activation::Sigmoid => self.emit("Sigmoid", &[&x], path, vec![]),
            Activation::Tanh => self.emit("Tanh", &[&x], path, vec![]),
        }
    }

    /// A pool. Windows that hang over the border reach into padding that is written out, so that it does not matter what a program
    /// takes `ceil_mode` for; there an average over padding counts zeros of its own.
    fn pool(&mut self, node: &Node, pool: &Pool) -> String {
        let (path, mut x) = (&*node.name, self.value(node, 0));
        let sizes = &self.shape(node, 0)[2..];
        let hangs: [usize; 2] = [0, 1].map(|axis| {
            let covered = (node.shape[2 + axis] - 1) * pool.stride[axis] + pool.kernel[axis];
            covered.saturating_sub(sizes[axis] + pool.padding[axis] + pool.padding[axis + 2])
        });
        let mut pads = pool.padding;
        let mut counts_padding = pool.kind == PoolKind::Average;
        if counts_padding && hangs != [0; 2] {
            let [top, left, bottom, right] = pads.map(|size| size as i64);
            let zeros = self.ints(&[0, 0, top, left, 0, 0, bottom, right]);
            x = self.step("Pad", &[&x, &zeros], path, vec![]);
            (pads, counts_padding) = ([0; 4], false);
        }
        pads[2] += hangs[0];
        pads[3] += hangs[1];
        let mut attributes = vec![
            ints("kernel_shape", &pool.kernel),
            ints("strides", &pool.stride),
            ints("pads", &pads),
        ];
        match pool.kind {
            PoolKind::Max => self.emit("MaxPool", &[&x], path, attributes),
            PoolKind::Average | PoolKind::AverageInside => {
                let counts = i64::from(counts_padding);
                attributes.push(int("count_include_pad", counts));
                self.emit("AveragePool", &[&x], path, attributes)
            }
        }
    }

    /// A sum or product; what is one number a channel gets axes of size 1.
    fn combined(&mut self, node: &Node, op: &str) -> String {
        let path = &*node.name;
        let mut sum = self.value(node, 0);
        for index in 1..node.inputs.len() {
            let mut other = self.value(node, index);
            if self.shape(node, index) != node.shape {
                let axes = match node.shape.len() {
                    4 => self.ints(&[2, 3]),
                    _ => self.ints(&[1]),
                };
                other = self.step("Unsqueeze", &[&other, &axes], path, vec![]);
            }
            sum = match index + 1 == node.inputs.len() {
                true => self.emit(op, &[&sum, &other], path, vec![]),
                false => self.step(op, &[&sum, &other], path, vec![]),
            };
        }
        sum
    }

    fn shuffle(&mut self, node: &Node, groups: usize) -> String {
        let (path, x) = (&*node.name, self.value(node, 0));
        let (groups, each) = (groups as i64, (self.channels(node) / groups) as i64);
        let (cut, order, whole): (Vec<i64>, &[usize], Vec<i64>) = match *node.shape {
            [_, c, h, w] => {
                let [c, h, w] = [c, h, w].map(|size| size as i64);
                let cut = vec![0, groups, each, h, w];
                (cut, &[0, 2, 1, 3, 4], vec![0, c, h, w])
            }
            [_, _, c] => (
                vec![0, 0, groups, each],
                &[0, 1, 3, 2],
                vec![0, 0, c as i64],
            ),
            _ => (vec![0, groups, each], &[0, 2, 1], vec![0, -1]),
        };
        let [cut, whole] = [cut, whole].map(|dims| self.ints(&dims));
        let y = self.step("Reshape", &[&x, &cut], path, vec![]);
        let y = self.step("Transpose", &[&y], path, vec![ints("perm", order)]);
        self.emit("Reshape", &[&y, &whole], path, vec![])
    }

    fn resize(&mut self, node: &Node, resize: &Resize) -> String {
        let (path, x) = (&*node.name, self.value(node, 0));
        let attributes = match resize.mode {
            ResizeMode::Nearest => vec![
                text("mode", "nearest"),
                text("coordinate_transformation_mode", "asymmetric"),
                text("nearest_mode", "floor"),
            ],
            ResizeMode::Bilinear => vec![
                text("mode", "linear"),
                text("coordinate_transformation_mode", "half_pixel"),
            ],
            ResizeMode::BilinearCorners => vec![
                text("mode", "linear"),
                text("coordinate_transformation_mode", "align_corners"),
            ],
        };
        // Images keep their height and width, so what another one has is known too.
        let size = [2, 3].map(|axis| node.shape[axis] as i64);
        let shape = self.step("Shape", &[&x], path, vec![]);
        let [from, to] = [0, 2].map(|at| self.ints(&[at]));
        let kept = self.step("Slice", &[&shape, &from, &to], path, vec![]);
        let size = self.ints(&size);
        let sizes = self.step("Concat", &[&kept, &size], path, vec![int("axis", 0)]);
        self.emit("Resize", &[&x, "", "", &sizes], path, attributes)
    }
}
