//! What is known while a file is read: constants, shapes, masks, and weights that are made of stored ones.

use std::rc::Rc;

use super::array::{self, Array, MOST_AXES};
use super::fold::{axis, fold};
use super::import::Import;
use super::proto::Node;
use super::stored::Scaling;
use super::value::{Mask, Value};
use crate::error::Broken;

impl<'a> Import<'a> {
    /// Whether a node makes a weight of stored tensors.
    pub(super) fn is_weight(&mut self, node: &'a Node) -> Result<bool, Broken> {
        let Some(output) = node.outputs.first() else {
            return Ok(false);
        };
        if node.op == "Constant"
            && let Some(tensor) = node.tensor("value")
            && matches!(tensor.data_type, 1 | 10 | 11 | 16)
            && !tensor.dims.is_empty()
        {
            self.stored.add(output, array::tensor(tensor)?);
            return Ok(true);
        }
        let Some(input) = node.inputs.first() else {
            return Ok(false);
        };
        if self.values.contains_key(&**input) || !self.stored.has(input) {
            return Ok(false);
        }
        match &*node.op {
            "Identity" => {
                self.stored.alias(output, input);
                Ok(true)
            }
            "Transpose" if node.ints("perm").is_none_or(|order| *order == [1, 0]) => {
                let form = self.stored.form(input);
                if !form.is_some_and(|(_, kind)| matches!(kind, 1 | 10 | 11 | 16)) {
                    return Ok(false);
                }
                self.stored.add_turned(output, input)
            }
            "DequantizeLinear" => {
                let bytes = self.stored.exact(input)?;
                let row = |index: usize| -> Result<Option<Vec<f32>>, Broken> {
                    match node.inputs.get(index) {
                        Some(name) => Ok(self.stored.exact(name)?.map(|tensor| tensor.floats())),
                        None => Ok(Some(vec![])),
                    }
                };
                let (Some(bytes), Some(scales), Some(zeros)) = (bytes, row(1)?, row(2)?) else {
                    return Ok(false);
                };
                let Some(axis) = axis(node.int("axis", 1), bytes.shape().len().max(2)) else {
                    return Ok(false);
                };
                self.spend(&node.outputs[0], 4 * bytes.len())?;
                let scaling = Scaling {
                    scales,
                    zeros,
                    axis,
                };
                Ok(!scaling.scales.is_empty() && self.stored.add_scaled(output, &bytes, &scaling))
            }
            _ => Ok(false),
        }
    }

    /// The value of a node that depends on no number that the user puts in but the mask.
    pub(super) fn computed(&mut self, node: &Node) -> Result<Option<Value>, Broken> {
        if node.op == "Constant" {
            return Ok(Some(Value::Known(Rc::new(constant(node)?))));
        }
        if node.op == "Shape"
            && let Some(shape) = node.inputs.first().and_then(|name| self.shape(name))
        {
            let ends = [node.int("start", 0), node.int("end", i64::MAX)];
            let clamp = |end: i64| {
                let rank = shape.len() as i64;
                (if end < 0 {
                    end.saturating_add(rank)
                } else {
                    end
                })
                .clamp(0, rank) as usize
            };
            let [start, end] = ends.map(clamp);
            let row = Array::row(&shape[start..end.max(start)]);
            return Ok(Some(Value::Known(Rc::new(row))));
        }
        if node.op == "Equal"
            && let Some(mask) = self.padding_of(node)?
        {
            return Ok(Some(Value::Mask(mask)));
        }
        let table = node.inputs.first().and_then(|name| self.stored.form(name));
        if node.op == "Gather" && table.is_some_and(|(shape, kind)| shape.len() == 2 && kind != 7) {
            // An embedding, even where the indices are known.
            return Ok(None);
        }
        let mut inputs = vec![];
        // What a value is cast like does not matter.
        let count = if node.op == "CastLike" {
            1
        } else {
            node.inputs.len()
        };
        for name in node.inputs.iter().take(count) {
            inputs.push(match self.values.get(&**name) {
                Some(Value::Known(array)) => (array.clone(), array.clone()),
                Some(Value::Mask(mask)) => (mask.whole.clone(), mask.half.clone()),
                Some(_) => return Ok(None),
                // An input that is left out; the operator knows.
                None if name.is_empty() => {
                    let nothing = Rc::new(Array::row(&[]));
                    (nothing.clone(), nothing)
                }
                None => match self.array(name)? {
                    Some(array) => (array.clone(), array),
                    None => return Ok(None),
                },
            });
        }
        if inputs.is_empty() {
            return Ok(None);
        }
        let masked = |name: &String| matches!(self.values.get(&**name), Some(Value::Mask(_)));
        let masked = node.inputs.iter().any(masked);
        let whole: Vec<&Array> = inputs.iter().map(|(whole, _)| &**whole).collect();
        let Some(whole) = fold(node, &whole)? else {
            return Ok(None);
        };
        self.stored.count(whole.data.len())?;
        if whole.shape.len() > MOST_AXES {
            let axes = whole.shape.len();
            return Err(Broken::new(format!(
                "{}: a value of {axes} axes",
                node.label()
            )));
        }
        let whole = Rc::new(whole);
        if !masked {
            return Ok(Some(Value::Known(whole)));
        }
        let half: Vec<&Array> = inputs.iter().map(|(_, half)| &**half).collect();
        let Some(half) = fold(node, &half)?.map(Rc::new) else {
            return Ok(None);
        };
        self.stored.count(half.data.len())?;
        Ok(Some(Value::Mask(Mask { whole, half })))
    }

    /// Whether what is not equal becomes a running sum, as where RoBERTa counts the tokens that are no padding.
    fn counts_tokens(&self, equal: &Node) -> bool {
        let mut at = equal;
        for _ in 0..6 {
            let user = at.outputs.first().and_then(|name| self.first_user(name));
            match (&*at.op, user.map(|user| (&*user.op, user))) {
                ("Equal", Some(("Not", user))) => at = user,
                ("Not" | "Cast", Some(("Cast", user))) => at = user,
                ("Cast", Some(("CumSum", _))) => return true,
                _ => return false,
            }
        }
        false
    }

    /// Where indices are those of padding, for a network that is given a mask too: there, and nowhere else, the mask is zero.
    fn padding_of(&self, node: &Node) -> Result<Option<Mask>, Broken> {
        let [ids, _] = &*node.inputs else {
            return Ok(None);
        };
        let is_ids = match self.values.get(&**ids) {
            Some(Value::Node(view)) => Some(view.node) == self.ids && view.axes.len() == 2,
            _ => false,
        };
        if !is_ids || self.lengths.is_none() || !self.counts_tokens(node) {
            return Ok(None);
        }
        let Value::Node(view) = self.value(node, 0)? else {
            return Ok(None);
        };
        let shape = view.shape();
        self.stored.count(2 * shape.iter().product::<usize>())?;
        Ok(Some(Mask {
            whole: Rc::new(Array::filled(shape.clone(), 0.0)),
            half: Rc::new(Array::from_places(shape, |place| {
                f64::from(u8::from(place[1] >= self.half_length(place[0])))
            })),
        }))
    }

    /// Shape of a layer's result or a stored tensor.
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        match self.values.get(name) {
            Some(Value::Node(view)) => Some(view.shape()),
            Some(_) => None,
            None => self.stored.form(name).map(|(shape, _)| shape),
        }
    }
}

/// What a constant node holds.
fn constant(node: &Node) -> Result<Array, Broken> {
    if let Some(tensor) = node.tensor("value") {
        return Ok(Array::from(&array::tensor(tensor)?));
    }
    if let Some(values) = node.ints("value_ints") {
        return Ok(Array {
            shape: vec![values.len()],
            data: values.iter().map(|&value| value as f64).collect(),
        });
    }
    let int = node.attribute("value_int").map(|a| a.int as f64);
    let float = node.attribute("value_float").map(|a| f64::from(a.float));
    match int.or(float) {
        Some(value) => Ok(Array::filled(vec![], value)),
        None => Err(Broken::new(format!(
            "{}: a constant of this kind is not read",
            node.label()
        ))),
    }
}
