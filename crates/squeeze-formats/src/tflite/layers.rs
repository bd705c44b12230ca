//! Which of our operators each operator of a file is, and those with weights or windows.

use squeeze_graph::ops::{Activation, Conv2d, GlobalAverage, Linear, Pool, PoolKind};
use squeeze_graph::{Op, channel_axis};
use squeeze_tensor::Tensor as Stored;

use super::constants::{numbers, weight};
use super::import::{CHANNELS_LAST, Import, Value};
use super::schema::{Operator, Tensor, unread};
use crate::error::Broken;
use crate::view::View;

/// Operators that are read, with the highest version of each.
#[rustfmt::skip]
const READ: &[(&str, i32)] = &[
    ("ADD", 5), ("ARG_MAX", 3), ("AVERAGE_POOL_2D", 3), ("CAST", 7), ("CONCATENATION", 5), ("CONV_2D", 8), ("DEPTHWISE_CONV_2D", 7), ("DEQUANTIZE", 6),
    ("DIV", 2), ("EXPAND_DIMS", 1), ("FULLY_CONNECTED", 14), ("GELU", 2), ("HARD_SWISH", 1), ("LOGISTIC", 3), ("MAX_POOL_2D", 3), ("MEAN", 3), ("MUL", 7),
    ("PACK", 4), ("PAD", 4), ("QUANTIZE", 4), ("RELU", 3), ("RELU6", 3), ("RESHAPE", 2), ("RESIZE_BILINEAR", 4), ("RESIZE_NEAREST_NEIGHBOR", 4), ("SHAPE", 1),
    ("SLICE", 6), ("SOFTMAX", 3), ("SPLIT", 4), ("SPLIT_V", 2), ("SQUEEZE", 2), ("STRIDED_SLICE", 8), ("SUB", 5), ("TANH", 3), ("TRANSPOSE", 7),
];

/// What helps against some of those that are not.
const REMEDIES: &[(&str, &str)] = &[
    (
        "BATCH_TO_SPACE_ND",
        "convert with a TensorFlow since 2.4, which writes dilated convolutions",
    ),
    (
        "SPACE_TO_BATCH_ND",
        "convert with a TensorFlow since 2.4, which writes dilated convolutions",
    ),
    (
        "CUSTOM",
        "convert without custom and Flex operators, or cut the network before it",
    ),
    ("DENSIFY", "convert it without sparsity"),
    ("LEAKY_RELU", "train it with RELU, RELU6 or HARD_SWISH"),
    ("PRELU", "train it with RELU, RELU6 or HARD_SWISH"),
    ("ELU", "train it with RELU, RELU6 or HARD_SWISH"),
    ("TRANSPOSE_CONV", "use RESIZE_BILINEAR and a convolution"),
];

/// The functions that operators may end with, by their numbers in the schema; LiteRT computes no others.
const ENDINGS: [Option<Option<Activation>>; 4] = [
    Some(None),
    Some(Some(Activation::Relu)),
    None,
    Some(Some(Activation::Relu6)),
];

impl Import<'_> {
    /// What an operator gives.
    pub fn translated(&mut self, operator: &Operator) -> Result<Vec<Value>, Broken> {
        let Some((_, latest)) = READ.iter().find(|(kind, _)| *kind == operator.kind) else {
            let remedy = REMEDIES.iter().find(|(kind, _)| *kind == operator.kind);
            let remedy = remedy.map_or("cut the network before it, or export it as ONNX", |row| {
                row.1
            });
            return Err(Broken::new(format!("this operator is not read: {remedy}")));
        };
        if !(1..=*latest).contains(&operator.version) {
            let version = operator.version;
            return Err(Broken::new(format!(
                "its version {version} is not read, 1 to {latest} are: convert with an older TensorFlow or LiteRT"
            )));
        }
        let one = match operator.kind {
            "CONV_2D" => self.conv(operator, Channels::Mixed),
            "DEPTHWISE_CONV_2D" => self.conv(operator, Channels::Apart),
            "FULLY_CONNECTED" => self.fully_connected(operator),
            "AVERAGE_POOL_2D" => self.pool(operator, PoolKind::AverageInside),
            "MAX_POOL_2D" => self.pool(operator, PoolKind::Max),
            "MEAN" => self.mean(operator),
            "RELU" => self.activation(operator, Activation::Relu),
            "RELU6" => self.activation(operator, Activation::Relu6),
            "TANH" => self.activation(operator, Activation::Tanh),
            "HARD_SWISH" => self.activation(operator, Activation::HardSwish),
            "GELU" if operator.flag(0)? => self.activation(operator, Activation::GeluTanh),
            "GELU" => self.activation(operator, Activation::Gelu),
            "LOGISTIC" => self.logistic(operator),
            "SOFTMAX" => self.softmax(operator),
            "ADD" | "SUB" => self.sum(operator),
            "MUL" | "DIV" => self.product(operator),
            "CONCATENATION" => self.concat(operator),
            "PAD" => self.pad(operator),
            "RESIZE_BILINEAR" => self.bilinear(operator),
            "RESIZE_NEAREST_NEIGHBOR" => self.nearest(operator),
            "TRANSPOSE" => self.transpose(operator),
            "RESHAPE" | "SQUEEZE" | "EXPAND_DIMS" => self.reshape(operator),
            "SHAPE" => self.shape(operator),
            "PACK" => self.pack(operator),
            "STRIDED_SLICE" => self.strided_slice(operator),
            "SLICE" => self.slice(operator),
            "SPLIT" | "SPLIT_V" => return self.split(operator),
            "ARG_MAX" => self.arg_max(operator),
            // The same numbers, in bytes or not.
            "QUANTIZE" | "DEQUANTIZE" | "CAST" => self.value(operator, 0),
            _ => unreachable!("a row of `READ` without a line here"),
        };
        Ok(vec![one?])
    }

    /// Adds `op` and the function that the operator ends with, by its number in the schema.
    pub(super) fn ended(
        &mut self,
        operator: &Operator,
        view: View,
        ending: i8,
    ) -> Result<View, Broken> {
        let known = usize::try_from(ending)
            .ok()
            .and_then(|at| *ENDINGS.get(at)?);
        match known {
            None => Err(unread(&format!("an ending of type {ending} of the schema"))),
            Some(None) => Ok(view),
            Some(Some(kind)) => {
                let name = format!("{}.activation", self.name(operator)?);
                self.keep(&name, kind, &view)
            }
        }
    }

    /// Adds `op` on a view's node and keeps its axes.
    pub(super) fn keep(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        view: &View,
    ) -> Result<View, Broken> {
        let id = self.add(name, op, &[view.node], vec![])?;
        Ok(view.on(id))
    }

    pub(super) fn activation(
        &mut self,
        operator: &Operator,
        kind: Activation,
    ) -> Result<Value, Broken> {
        let view = self.view(operator, 0)?;
        let view = self.keep(&self.name(operator)?, kind, &view)?;
        Ok(Value::Node(view))
    }

    /// A layer's weight with its axes in this order.
    fn weight(&mut self, operator: &Operator, order: &[usize]) -> Result<Stored, Broken> {
        let tensor = self.constant(operator, 1)?;
        let weight = weight(self.model, &tensor, order)?;
        self.widened += usize::from(weight.was_widened);
        Ok(weight.tensor)
    }

    /// A layer's bias, if it has one.
    fn bias(&mut self, operator: &Operator, out: usize) -> Result<Option<Stored>, Broken> {
        if !self.has(operator, 2) {
            return Ok(None);
        }
        let tensor = self.constant(operator, 2)?;
        let values = numbers(self.model, &tensor)?;
        match values.len() == out {
            true => Ok(Some(Stored::from_f32(&[out], &values))),
            false => Err(unread(&format!(
                "a bias of {} for {out} outputs",
                values.len()
            ))),
        }
    }

    fn conv(&mut self, operator: &Operator, channels: Channels) -> Result<Value, Broken> {
        let tensor = self.constant(operator, 1)?;
        let &[first, kh, kw, last] = &*tensor.shape else {
            return Err(unread("a weight that has not four axes"));
        };
        let (view, around) = match self.value(operator, 0)? {
            Value::Padded(view, around) => (view, around),
            _ => (self.view(operator, 0)?, [0; 4]),
        };
        let sizes = view.shape();
        let &[_, height, width, inner] = &*sizes else {
            return Err(unread(&format!(
                "a convolution over {sizes:?}, which is no image"
            )));
        };
        // Depthwise options have the number of filters for each channel before these two.
        let (ending, dilation) = match channels {
            Channels::Mixed => (3, [5, 4]),
            Channels::Apart => (4, [6, 5]),
        };
        let window = Window {
            kernel: [kh, kw],
            stride: operator.sizes([2, 1], 0)?,
            dilation: operator.sizes(dilation, 1)?,
        };
        let (out, groups, order) = match channels {
            Channels::Mixed if last > 0 && inner.is_multiple_of(last) => {
                (first, inner / last, [0, 3, 1, 2])
            }
            Channels::Apart if first == 1 && inner > 0 && last.is_multiple_of(inner) => {
                (last, inner, [3, 0, 1, 2])
            }
            _ => {
                let shape = &tensor.shape;
                return Err(unread(&format!(
                    "a weight of {shape:?} for {inner} channels"
                )));
            }
        };
        let whole = [
            height + around[0] + around[2],
            width + around[1] + around[3],
        ];
        let inside = window.padding(operator, whole)?;
        let padding = [0, 1, 2, 3].map(|side| around[side] + inside[side]);
        let weight = self.weight(operator, &order)?;
        let bias = self.bias(operator, out)?;
        let name = self.name(operator)?;
        let is_pixel = [height, width, kh, kw] == [1; 4] && padding == [0; 4] && groups == 1;
        let view = if is_pixel {
            // An image of one pixel is a vector.
            let flat = weight.reshaped(&[out, inner]).expect("a window of one tap");
            let vector = view.reshaped(&[sizes[0], inner]);
            let vector = vector.ok_or_else(|| unread("a pixel of parts of axes"))?;
            let made = self.linear(&name, &vector, flat, bias)?;
            made.reshaped(&[sizes[0], 1, 1, out])
                .expect("as many numbers")
        } else {
            let conv = Conv2d {
                out,
                kernel: window.kernel,
                stride: window.stride,
                padding,
                dilation: window.dilation,
                groups,
                bias: bias.is_some(),
            };
            let mut weights = vec![("weight", weight)];
            weights.extend(bias.map(|bias| ("bias", bias)));
            let x = self.image(&name, &view)?;
            let id = self.add(&name, conv, &[x], weights)?;
            self.plain(id)
        };
        let view = self.ended(operator, view, operator.byte(ending)?)?;
        Ok(Value::Node(view))
    }

    fn fully_connected(&mut self, operator: &Operator) -> Result<Value, Broken> {
        if operator.byte(1)? != 0 {
            return Err(unread("a weight in shuffled order"));
        }
        let tensor = self.constant(operator, 1)?;
        let &[out, inner] = &*tensor.shape else {
            return Err(unread("a weight that is no matrix"));
        };
        let view = self.view(operator, 0)?;
        let (weight, bias) = (self.weight(operator, &[0, 1])?, self.bias(operator, out)?);
        let name = self.name(operator)?;
        let sizes = view.shape();
        let rows = sizes.iter().product::<usize>() / inner.max(1);
        let shape = self.b.shape(view.node).to_vec();
        let view = if shape.len() == 4 && rows == shape[0] && view.is_image_in_rows(&shape) {
            // The columns change their order instead of the image.
            let [_, channels, height, width] = [0, 1, 2, 3].map(|axis| shape[axis]);
            let pixels = height * width;
            let order = 0..channels * pixels;
            let order: Vec<usize> = order
                .map(|at| at % pixels * channels + at / pixels)
                .collect();
            let flat = View::plain(view.node, &shape).reshaped(&[rows, inner]);
            let flat = flat.ok_or_else(|| unread(&format!("{inner} inputs of {sizes:?}")))?;
            self.linear(&name, &flat, weight.columns_in(&order), bias)?
        } else if sizes.len() == 3 && sizes[2] == inner {
            self.linear(&name, &view, weight, bias)?
        } else {
            let flat = view.reshaped(&[rows, inner]);
            let flat = flat.ok_or_else(|| unread(&format!("{inner} inputs of {sizes:?}")))?;
            self.linear(&name, &flat, weight, bias)?
        };
        let output = self.model.tensor(operator.outputs[0])?;
        let view = view.reshaped(&output.shape).unwrap_or(view);
        let view = self.ended(operator, view, operator.byte(0)?)?;
        Ok(Value::Node(view))
    }

    fn linear(
        &mut self,
        name: &str,
        view: &View,
        weight: Stored,
        bias: Option<Stored>,
    ) -> Result<View, Broken> {
        let linear = Linear {
            out: weight.shape()[0],
            groups: 1,
            bias: bias.is_some(),
        };
        let x = self.materialize(name, view)?;
        if self.b.channels(x) != weight.shape()[1] {
            let (found, wanted) = (self.b.channels(x), weight.shape()[1]);
            return Err(unread(&format!("{found} inputs for a weight of {wanted}")));
        }
        let mut weights = vec![("weight", weight)];
        weights.extend(bias.map(|bias| ("bias", bias)));
        let id = self.add(name, linear, &[x], weights)?;
        Ok(self.plain(id))
    }

    fn pool(&mut self, operator: &Operator, kind: PoolKind) -> Result<Value, Broken> {
        let view = self.view(operator, 0)?;
        let sizes = view.shape();
        let &[_, height, width, _] = &*sizes else {
            return Err(unread(&format!("a pool over {sizes:?}, which is no image")));
        };
        let window = Window {
            kernel: operator.sizes([4, 3], 0)?,
            stride: operator.sizes([2, 1], 0)?,
            dilation: [1; 2],
        };
        let padding = window.padding(operator, [height, width])?;
        let ending = operator.byte(5)?;
        let is_whole = window.kernel == [height, width] && padding == [0; 4];
        if kind == PoolKind::AverageInside && is_whole {
            let view = self.average(operator, &view)?;
            let view = self.ended(operator, view, ending)?;
            return Ok(Value::Node(view));
        }
        let pool = Pool {
            kind,
            kernel: window.kernel,
            stride: window.stride,
            padding,
            ceil: false,
        };
        let name = self.name(operator)?;
        let x = self.image(&name, &view)?;
        let id = self.add(&name, pool, &[x], vec![])?;
        let view = self.ended(operator, self.plain(id), ending)?;
        Ok(Value::Node(view))
    }

    fn mean(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let view = self.view(operator, 0)?;
        let sizes = view.shape();
        let mut axes = vec![];
        for axis in self.known(operator, 1)? {
            axes.push(at(axis, sizes.len())?);
        }
        axes.sort_unstable();
        axes.dedup();
        if sizes.len() != 4 || axes != [1, 2] {
            return Err(unread(&format!(
                "a mean of {sizes:?} over the axes {axes:?}"
            )));
        }
        let view = self.average(operator, &view)?;
        let view = match operator.flag(0)? {
            true => view,
            false => view.reshaped(&[sizes[0], sizes[3]]).expect("two are left"),
        };
        Ok(Value::Node(view))
    }

    /// The mean of an image as an image of one pixel.
    fn average(&mut self, operator: &Operator, view: &View) -> Result<View, Broken> {
        let name = self.name(operator)?;
        let x = self.image(&name, view)?;
        let id = self.add(&name, GlobalAverage {}, &[x], vec![])?;
        let [n, channels] = [self.b.shape(id)[0], self.b.shape(id)[1]];
        let pixel = self.plain(id).reshaped(&[n, 1, 1, channels]);
        Ok(pixel.expect("as many numbers"))
    }

    /// Whether a view's last axis is its node's channels, whole.
    pub(super) fn ends_in_channels(&self, view: &View) -> bool {
        let shape = self.b.shape(view.node);
        let whole = View::plain(view.node, shape);
        view.axes.last() == Some(&whole.axes[channel_axis(shape)])
    }
}

impl View {
    /// Whether the elements are those of an image `[n, h, w, c]`, and ours is a node of this shape `[n, c, h, w]`.
    fn is_image_in_rows(&self, shape: &[usize]) -> bool {
        let image = Self::plain(self.node, shape).transposed(&CHANNELS_LAST);
        let flat = |view: &Self| view.reshaped(&[view.shape().iter().product()]);
        image.is_some_and(|image| flat(&image) == flat(self))
    }
}

/// Whether a convolution's outputs see all channels, or each sees one.
#[derive(Clone, Copy)]
enum Channels {
    Mixed,
    Apart,
}

/// A window over an image.
struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
}

impl Window {
    /// Zeros around an image of this height and width: top, left, bottom, right.
    ///
    /// With SAME there are as many windows as strides begin in the image, and an odd zero comes last.
    fn padding(&self, operator: &Operator, image: [usize; 2]) -> Result<[usize; 4], Broken> {
        const SAME: i8 = 0;
        const VALID: i8 = 1;
        match operator.byte(0)? {
            SAME => self.same(image),
            VALID => self.same(image).map(|_| [0; 4]),
            other => Err(unread(&format!("padding of type {other} of the schema"))),
        }
    }

    fn same(&self, image: [usize; 2]) -> Result<[usize; 4], Broken> {
        let mut ends = [[0; 2]; 2];
        for axis in 0..2 {
            let (stride, dilation) = (self.stride[axis], self.dilation[axis]);
            if stride == 0 || dilation == 0 || self.kernel[axis] == 0 {
                return Err(unread("a window, stride or dilation of 0"));
            }
            let window = (self.kernel[axis] - 1)
                .saturating_mul(dilation)
                .saturating_add(1);
            let reached = (image[axis].div_ceil(stride).saturating_sub(1)).saturating_mul(stride);
            let lacking = reached.saturating_add(window).saturating_sub(image[axis]);
            ends[axis] = [lacking / 2, lacking - lacking / 2];
        }
        let [[top, bottom], [left, right]] = ends;
        Ok([top, left, bottom, right])
    }
}

/// An axis counted from the front.
pub(super) fn at(axis: i64, rank: usize) -> Result<usize, Broken> {
    let front = if axis < 0 {
        axis.saturating_add(rank as i64)
    } else {
        axis
    };
    let front = usize::try_from(front).ok().filter(|&front| front < rank);
    front.ok_or_else(|| unread(&format!("axis {axis} of {rank}")))
}

/// A constant's numbers as one for each of so many channels; nothing when it has another form.
pub(super) fn for_each_channel(
    import: &Import,
    tensor: &Tensor,
    channels: usize,
) -> Result<Option<Vec<f32>>, Broken> {
    let (last, rest) = match &*tensor.shape {
        [] => (1, &[][..]),
        [rest @ .., last] => (*last, rest),
    };
    if rest.iter().any(|&size| size != 1) || ![1, channels].contains(&last) {
        return Ok(None);
    }
    import.model.file.charge(channels.saturating_mul(4))?;
    let values = numbers(import.model, tensor)?;
    Ok(Some(
        (0..channels).map(|at| values[at % values.len()]).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of TensorFlow's SAME.
    #[test]
    fn an_odd_zero_comes_last() {
        let lacking = |image: usize, kernel: usize, stride: usize, dilation: usize| {
            let window = Window {
                kernel: [kernel; 2],
                stride: [stride; 2],
                dilation: [dilation; 2],
            };
            window.same([image; 2]).expect("a window")
        };
        assert_eq!(lacking(224, 3, 2, 1), [0, 0, 1, 1]);
        assert_eq!(lacking(225, 3, 2, 1), [1, 1, 1, 1]);
        assert_eq!(lacking(7, 5, 1, 1), [2, 2, 2, 2]);
        assert_eq!(lacking(33, 3, 1, 2), [2, 2, 2, 2]);
        assert_eq!(lacking(16, 1, 2, 1), [0, 0, 0, 0]);
        assert_eq!(lacking(8, 4, 3, 1), [1, 1, 1, 1]);
        assert_eq!(lacking(7, 2, 1, 1), [0, 0, 1, 1]);
    }
}
