//! Operators that treat every number, or every pixel's channels, alike.

use squeeze_graph::ops::{Activation, Add, Mul, NoNorm, Softmax};
use squeeze_graph::{NodeId, Op};
use squeeze_tensor::Tensor as Stored;

use super::import::{CHANNELS_LAST, Import, Value};
use super::layers::for_each_channel;
use super::schema::{Operator, unread};
use crate::error::Broken;
use crate::view::View;

impl Import<'_> {
    /// A sigmoid, which waits for its product with what it takes to become SiLU.
    pub(super) fn logistic(&mut self, operator: &Operator) -> Result<Value, Broken> {
        match self.is_half_of_silu(operator)? {
            true => Ok(Value::Sigmoid(self.view(operator, 0)?)),
            false => self.activation(operator, Activation::Sigmoid),
        }
    }

    /// Whether nothing takes a sigmoid but its product with its own input.
    fn is_half_of_silu(&self, sigmoid: &Operator) -> Result<bool, Broken> {
        let (&[x], &[y]) = (&*sigmoid.inputs, &*sigmoid.outputs) else {
            return Ok(false);
        };
        let Some(&[user]) = self.users.get(&y).map(|users| &**users) else {
            return Ok(false);
        };
        let product = self.model.operator(user)?;
        let is_y = |&input: &i32| usize::try_from(input) == Ok(y);
        let takes_both = match &*product.inputs {
            [a, b] => (*a == x && is_y(b)) || (*b == x && is_y(a)),
            _ => false,
        };
        Ok(product.kind == "MUL" && takes_both && !self.model.outputs.contains(&y))
    }

    pub(super) fn softmax(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let view = self.view(operator, 0)?;
        let beta = operator.float(0, 0.0)?;
        if beta != 1.0 || !self.ends_in_channels(&view) {
            let sizes = view.shape();
            return Err(unread(&format!("a softmax of {sizes:?} times {beta}")));
        }
        let view = self.keep(&self.name(operator)?, Softmax {}, &view)?;
        Ok(Value::Node(view))
    }

    /// A sum or difference.
    pub(super) fn sum(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let sign = if operator.kind == "SUB" { -1.0 } else { 1.0 };
        let view = match (self.value(operator, 0)?, self.value(operator, 1)?) {
            (_, Value::Constant(_)) => {
                self.scaled(operator, [0, 1], |known| [1.0, sign * known])?
            }
            (Value::Constant(_), _) => self.scaled(operator, [1, 0], |known| [sign, known])?,
            _ if operator.kind == "SUB" => {
                return Err(unread("the difference of two layers' results"));
            }
            _ => self.pair(operator, Add {})?,
        };
        let view = self.ended(operator, view, operator.byte(0)?)?;
        Ok(Value::Node(view))
    }

    /// A product or quotient.
    pub(super) fn product(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let divides = operator.kind == "DIV";
        let view = match (self.value(operator, 0)?, self.value(operator, 1)?) {
            (_, Value::Constant(_)) if divides => {
                self.scaled(operator, [0, 1], |known| [1.0 / known, 0.0])?
            }
            _ if divides => return Err(unread("a quotient by a layer's result")),
            (Value::Sigmoid(x), _) | (_, Value::Sigmoid(x)) => {
                self.keep(&self.name(operator)?, Activation::Silu, &x)?
            }
            (_, Value::Constant(_)) => self.scaled(operator, [0, 1], |known| [known, 0.0])?,
            (Value::Constant(_), _) => self.scaled(operator, [1, 0], |known| [known, 0.0])?,
            _ => self.pair(operator, Mul {})?,
        };
        let view = self.ended(operator, view, operator.byte(0)?)?;
        Ok(Value::Node(view))
    }

    /// A layer's result with each channel times a factor and plus an addend, both made of the constant.
    fn scaled(
        &mut self,
        operator: &Operator,
        [layer, constant]: [usize; 2],
        make: impl Fn(f32) -> [f32; 2],
    ) -> Result<View, Broken> {
        let (view, tensor) = (
            self.view(operator, layer)?,
            self.constant(operator, constant)?,
        );
        let channels = self.b.channels(view.node);
        let values = match self.ends_in_channels(&view) {
            true => for_each_channel(self, &tensor, channels)?,
            false => None,
        };
        let Some(values) = values else {
            let (sizes, shape) = (view.shape(), &tensor.shape);
            return Err(unread(&format!("{sizes:?} with a constant of {shape:?}")));
        };
        let made: Vec<[f32; 2]> = values.into_iter().map(make).collect();
        let [factors, addends] = [0, 1].map(|part| {
            let part: Vec<f32> = made.iter().map(|pair| pair[part]).collect();
            Stored::from_f32(&[channels], &part)
        });
        let weights = vec![("weight", factors), ("bias", addends)];
        let id = self.add(&self.name(operator)?, NoNorm {}, &[view.node], weights)?;
        Ok(view.on(id))
    }

    /// Sum or product of two results of one shape, or of an image and a number for each of its channels.
    fn pair(&mut self, operator: &Operator, op: impl Into<Op>) -> Result<View, Broken> {
        let (a, b) = (self.view(operator, 0)?, self.view(operator, 1)?);
        let (name, op) = (self.name(operator)?, op.into());
        let alike = a.axes == b.axes && self.b.shape(a.node) == self.b.shape(b.node);
        if alike {
            let id = self.add(&name, op, &[a.node, b.node], vec![])?;
            return Ok(a.on(id));
        }
        for (image, gate) in [(&a, &b), (&b, &a)] {
            let (sizes, of_gate) = (image.shape(), gate.shape());
            let (&[n, .., channels], false) = (&*sizes, sizes == of_gate) else {
                continue;
            };
            let Some(vector) = gate.reshaped(&[n, channels]) else {
                continue;
            };
            if sizes.len() == 4 && of_gate == [n, 1, 1, channels] {
                let x = self.image(&name, image)?;
                let gate = self.materialize(&name, &vector)?;
                let id = self.add(&name, op, &[x, gate], vec![])?;
                return Ok(self.plain(id));
            }
        }
        let (sizes, others) = (a.shape(), b.shape());
        if sizes != others {
            return Err(unread(&format!("{sizes:?} with {others:?}")));
        }
        let [x, y] = [self.in_our_order(&name, &a)?, self.in_our_order(&name, &b)?];
        let id = self.add(&name, op, &[x, y], vec![])?;
        Ok(self.plain(id))
    }

    /// A node of the view's axes, channels second where there are four.
    pub(super) fn in_our_order(&mut self, name: &str, view: &View) -> Result<NodeId, Broken> {
        match view.axes.len() {
            4 => self.image(name, view),
            _ => self.materialize(name, view),
        }
    }

    /// The axis of our node that an axis of the file is.
    pub(super) fn our_axis(&self, view: &View, axis: usize) -> usize {
        match view.axes.len() {
            4 => CHANNELS_LAST[axis],
            _ => axis,
        }
    }
}
