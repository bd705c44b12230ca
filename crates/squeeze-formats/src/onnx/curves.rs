//! GELU that is written out, with the error function or with the hyperbolic tangent.

use squeeze_graph::ops::Activation;

use super::import::Import;
use super::layers::unread;
use super::proto::Node;
use super::value::{Curve, Norm, Value};
use crate::error::Broken;
use crate::view::View;

/// What the cube is multiplied by (Hendrycks and Gimpel, 2016), and the root of 2 / pi.
const CUBIC: f64 = 0.044_715;
const ROOT: f64 = 0.797_884_560_802_865_4;

/// How far constants may be from what they stand for, as a share: half precision keeps eleven bits, and some are products of two.
const ROUNDED: f64 = 2e-3;

/// Whether a constant stands for this number.
pub(super) fn stands_for(constant: f64, number: f64) -> bool {
    (constant - number).abs() <= ROUNDED * number.abs()
}

impl Import<'_> {
    /// The first half of a GELU that is written out.
    pub(super) fn erf(&mut self, node: &Node) -> Result<Value, Broken> {
        match self.value(node, 0)? {
            Value::Node(view) if stands_for(view.factor, 0.5f64.sqrt()) => Ok(Value::Curve(
                View {
                    factor: 1.0,
                    ..view
                },
                Curve::Erf,
            )),
            _ => Err(unread(node, "an error function outside of GELU")),
        }
    }

    /// A hyperbolic tangent, of a result or in a GELU.
    pub(super) fn tanh(&mut self, node: &Node) -> Result<Value, Broken> {
        match self.value(node, 0)? {
            Value::Curve(view, Curve::Inner { cubic, factor })
                if stands_for(cubic, CUBIC) && stands_for(factor, ROOT) =>
            {
                Ok(Value::Curve(view, Curve::Tanh))
            }
            _ => self.activation(node, Activation::Tanh),
        }
    }

    /// A square or a cube, of which GELU and layer norms are made.
    pub(super) fn power(&mut self, node: &Node) -> Result<Value, Broken> {
        let by = match node.inputs.get(1) {
            Some(name) => self.scalar(name)?,
            None => None,
        };
        match (self.value(node, 0)?, by) {
            (Value::Node(view), Some(3.0)) if view.factor == 1.0 => {
                Ok(Value::Curve(view, Curve::Cube(1.0)))
            }
            (Value::Norm(view, Norm::Centred), Some(2.0)) => Ok(Value::Norm(view, Norm::Squares)),
            (Value::Norm(view, Norm::Variance(epsilon)), Some(0.5)) => {
                Ok(Value::Norm(view, Norm::Deviation(epsilon)))
            }
            (Value::Norm(view, Norm::Variance(epsilon)), Some(-0.5)) => {
                Ok(Value::Norm(view, Norm::Inverse(epsilon)))
            }
            (_, by) => Err(unread(
                node,
                &format!("a power of {by:?} outside of GELU and layer norms"),
            )),
        }
    }

    /// Two values of a GELU combined; nothing when they are none.
    pub(super) fn curve_of_two(
        &mut self,
        node: &Node,
        a: &Value,
        b: &Value,
    ) -> Result<Option<Value>, Broken> {
        let same = |x: &View, y: &View| (x.node, &x.axes) == (y.node, &y.axes);
        Ok(Some(match (&*node.op, a, b) {
            ("Add", Value::Curve(view, curve @ (Curve::Erf | Curve::Tanh)), Value::Known(one))
                if one.scalar() == Some(1.0) =>
            {
                let next = match curve {
                    Curve::Erf => Curve::ErfAndOne,
                    _ => Curve::TanhAndOne,
                };
                Value::Curve(view.clone(), next)
            }
            ("Mul", Value::Node(x), Value::Node(y)) if x == y && self.is_cubed(node) => {
                Value::Curve(x.clone(), Curve::Square)
            }
            ("Mul", Value::Curve(view, Curve::Square), Value::Node(x)) if same(x, view) => {
                Value::Curve(view.clone(), Curve::Cube(1.0))
            }
            ("Add", Value::Curve(view, Curve::Cube(cubic)), Value::Node(x))
                if same(x, view) && x.factor == 1.0 =>
            {
                let (cubic, factor) = (*cubic, 1.0);
                Value::Curve(view.clone(), Curve::Inner { cubic, factor })
            }
            ("Mul", Value::Curve(view, curve), Value::Known(known)) => {
                let Some(by) = known.scalar() else {
                    return Ok(None);
                };
                match *curve {
                    Curve::Cube(cubic) => Value::Curve(view.clone(), Curve::Cube(cubic * by)),
                    Curve::Inner { cubic, factor } => {
                        let factor = factor * by;
                        Value::Curve(view.clone(), Curve::Inner { cubic, factor })
                    }
                    Curve::ErfAndOne | Curve::TanhAndOne => {
                        let factor = view.factor * by;
                        Value::Curve(
                            View {
                                factor,
                                ..view.clone()
                            },
                            *curve,
                        )
                    }
                    Curve::Erf | Curve::Tanh | Curve::Square => return Ok(None),
                }
            }
            ("Mul", Value::Curve(view, curve), Value::Node(x)) if same(x, view) => {
                let kind = match curve {
                    Curve::ErfAndOne => Activation::Gelu,
                    Curve::TanhAndOne => Activation::GeluTanh,
                    _ => return Ok(None),
                };
                let id = self.add(&node.outputs[0], kind, &[x.node], vec![])?;
                let exact = 2.0 * x.factor * view.factor;
                let factor = if (exact - 1.0).abs() < 1e-6 {
                    1.0
                } else {
                    exact
                };
                Value::Node(View { factor, ..x.on(id) })
            }
            ("Add" | "Mul", Value::Node(_) | Value::Known(_), Value::Curve(..)) => {
                return self.curve_of_two(node, b, a);
            }
            _ => return Ok(None),
        }))
    }

    /// Whether the only use of a square is to be multiplied by what was squared.
    fn is_cubed(&self, node: &Node) -> bool {
        let output = &node.outputs[0];
        let next = self.follower(output).filter(|next| next.op == "Mul");
        next.is_some_and(|next| next.inputs.iter().any(|name| *name == node.inputs[0]))
    }
}
