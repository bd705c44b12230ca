//! Operators that select, pool or move elements.

use squeeze_graph::NodeId;
use squeeze_graph::ops::{
    Concat, Embedding, GlobalAverage, Pool, PoolKind, Position, Resize, ResizeMode, ResizeSize,
    Select, Slice,
};

use super::array::Array;
use super::fold::{axis, narrowed, ranges, resolved, widened};
use super::import::{Import, Value};
use super::layers::{numbers, unread};
use super::proto::Node;
use crate::error::Broken;
use crate::view::View;

impl<'a> Import<'a> {
    pub(super) fn gather(&mut self, node: &Node) -> Result<Value, Broken> {
        let table = match node.inputs.first() {
            Some(name) => self.stored(name)?,
            None => None,
        };
        let along = node.int("axis", 0);
        if let Some(table) = table {
            let &[rows, width] = table.shape() else {
                return Err(unread(node, "a table that is no matrix"));
            };
            if along != 0 {
                return Err(unread(node, "a table looked up by columns"));
            }
            let name = self.path(&node.inputs[0], &node.outputs[0]);
            let ids = match self.value(node, 1)? {
                Value::Known(places) => self.position(node, &name, &places, rows)?,
                _ => {
                    let view = self.view(node, 1)?;
                    self.materialize(&node.label(), &view)?
                }
            };
            let weights = vec![("weight", table)];
            let id = self.add(&name, Embedding { rows, width }, &[ids], weights)?;
            return Ok(Value::Node(View::plain(id, self.b.shape(id))));
        }
        let view = self.view(node, 0)?;
        let shape = view.shape();
        let index = match &node.inputs.get(1) {
            Some(name) => self.array(name)?,
            None => None,
        };
        let place = index
            .filter(|index| index.shape.is_empty())
            .and_then(|index| {
                let at = axis(along, shape.len())?;
                Some((at, axis(index.scalar()? as i64, shape[at])?))
            });
        let Some((at, index)) = place else {
            return Err(unread(
                node,
                "a selection by something else than one known index",
            ));
        };
        let x = self.materialize(&node.label(), &view)?;
        let id = self.add(&node.outputs[0], Select { axis: at, index }, &[x], vec![])?;
        Ok(Value::Node(View::plain(id, self.b.shape(id))))
    }

    /// Known indices that count the tokens become positions.
    pub(super) fn position(
        &mut self,
        node: &Node,
        name: &str,
        places: &Array,
        rows: usize,
    ) -> Result<NodeId, Broken> {
        let first = places.data.first().copied().unwrap_or(-1.0);
        let counts = places.shape.last() == Some(&self.length)
            && places.data.len() == self.length
            && first >= 0.0
            && places
                .data
                .iter()
                .enumerate()
                .all(|(at, &place)| place == first + at as f64);
        let Some(ids) = self.ids.filter(|_| counts) else {
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

    pub(super) fn pool(&mut self, node: &Node, kind: PoolKind) -> Result<Value, Broken> {
        let sizes = |name: &str, default: &[usize]| match node.ints(name) {
            None => Ok(default.to_vec()),
            Some(values) => numbers(node, values),
        };
        let kernel = sizes("kernel_shape", &[])?;
        let (pads, strides) = (sizes("pads", &[0; 4])?, sizes("strides", &[1; 2])?);
        let plain = sizes("dilations", &[1; 2])? == [1; 2]
            && matches!(node.text("auto_pad"), "" | "NOTSET");
        let (&[kh, kw], &[top, left, bottom, right], &[sh, sw], true) =
            (&*kernel, &*pads, &*strides, plain)
        else {
            return Err(unread(node, "a pool of this form"));
        };
        let pool = Pool {
            kind,
            kernel: [kh, kw],
            stride: [sh, sw],
            padding: [top, left, bottom, right],
            ceil: node.int("ceil_mode", 0) == 1,
        };
        let view = self.view(node, 0)?;
        let x = self.materialize(&node.label(), &view)?;
        let id = self.add(&node.outputs[0], pool, &[x], vec![])?;
        Ok(Value::Node(View::plain(id, self.b.shape(id))))
    }

    /// The axes of a reduction: an attribute or an input.
    pub(super) fn axes(&self, node: &Node) -> Result<Vec<i64>, Broken> {
        if let Some(axes) = node.ints("axes") {
            return Ok(axes.to_vec());
        }
        let axes = match node.inputs.get(1) {
            Some(name) => self.array(name)?,
            None => None,
        };
        let axes = axes.ok_or_else(|| unread(node, "axes that are not known beforehand"))?;
        Ok(axes.ints())
    }

    pub(super) fn global_average(&mut self, node: &Node, axes: &[i64]) -> Result<Value, Broken> {
        let view = self.view(node, 0)?;
        let rank = view.axes.len();
        let mut axes: Vec<_> = axes.iter().filter_map(|&value| axis(value, rank)).collect();
        axes.sort_unstable();
        if rank != 4 || axes != [2, 3] {
            return Err(unread(
                node,
                "a mean over something else than height and width",
            ));
        }
        let x = self.materialize(&node.label(), &view)?;
        let id = self.add(&node.outputs[0], GlobalAverage {}, &[x], vec![])?;
        let mut mean = View::plain(id, self.b.shape(id));
        if node.op == "GlobalAveragePool" || node.int("keepdims", 1) == 1 {
            mean.axes.extend([vec![], vec![]]);
        }
        Ok(Value::Node(mean))
    }

    /// An image made larger or smaller, as PyTorch does it.
    pub(super) fn resize(&mut self, node: &Node) -> Result<Value, Broken> {
        let place = match node.text("coordinate_transformation_mode") {
            "" => "half_pixel",
            named => named,
        };
        let nearest = matches!(node.text("nearest_mode"), "floor");
        let mode = match (node.text("mode"), place) {
            ("linear", "half_pixel" | "pytorch_half_pixel") => ResizeMode::Bilinear,
            ("linear", "align_corners") => ResizeMode::BilinearCorners,
            ("" | "nearest", "asymmetric") if nearest => ResizeMode::Nearest,
            (mode, place) => {
                return Err(unread(node, &format!("mode `{mode}` with `{place}`")));
            }
        };
        if node.int("antialias", 0) != 0 || node.int("exclude_outside", 0) != 0 {
            return Err(unread(node, "`antialias` or `exclude_outside`"));
        }
        let view = self.view(node, 0)?;
        let shape = view.shape();
        let known = |index: usize| match node.inputs.get(index) {
            Some(name) if !name.is_empty() => self.array(name),
            _ => Ok(None),
        };
        let sizes = match (known(3)?, known(2)?) {
            (Some(sizes), _) => numbers(node, &sizes.ints())?,
            (None, Some(scales)) if scales.data.len() == shape.len() => {
                let sizes = shape.iter().zip(&scales.data);
                sizes
                    .map(|(&size, by)| (size as f64 * by) as usize)
                    .collect()
            }
            _ => return Err(unread(node, "a size that is not known beforehand")),
        };
        let (&[n, channels, ..], &[new_n, new_channels, height, width]) = (&*shape, &*sizes) else {
            return Err(unread(node, "a resize of something that is no image"));
        };
        if (n, channels) != (new_n, new_channels) {
            return Err(unread(node, "a resize of other axes than height and width"));
        }
        let x = self.materialize(&node.label(), &view)?;
        let size = ResizeSize::To([height, width]);
        let id = self.add(&node.outputs[0], Resize { mode, size }, &[x], vec![])?;
        Ok(Value::Node(View::plain(id, self.b.shape(id))))
    }

    pub(super) fn concat(&mut self, node: &Node) -> Result<Value, Broken> {
        if let Some(window) = self.window(node)? {
            return Ok(window);
        }
        let mut parts = vec![];
        let mut rank = 0;
        for index in 0..node.inputs.len() {
            let view = self.view(node, index)?;
            rank = view.axes.len();
            parts.push(self.materialize(&node.label(), &view)?);
        }
        let Some(axis) = axis(node.int("axis", 0), rank) else {
            return Err(unread(node, "an axis that does not exist"));
        };
        let id = self.add(&node.outputs[0], Concat { axis }, &parts, vec![])?;
        Ok(Value::Node(View::plain(id, self.b.shape(id))))
    }

    /// Follows a node that only moves axes.
    pub(super) fn rearranged(&mut self, node: &Node) -> Result<Value, Broken> {
        let Value::Node(view) = self.value(node, 0)? else {
            return Err(unread(
                node,
                "a rearrangement of something that is no layer's result",
            ));
        };
        let shape = view.shape();
        let known = |index: usize| match node.inputs.get(index) {
            Some(name) => Ok(self.array(name)?.map(|array| array.ints())),
            None => Ok(None),
        };
        let given = match node.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => known(1)?,
        };
        let moved = match (&*node.op, given) {
            ("Transpose", _) => match node.ints("perm") {
                Some(order) => view.transposed(&numbers(node, order)?),
                None => view.transposed(&(0..shape.len()).rev().collect::<Vec<_>>()),
            },
            ("Flatten", _) => axis(node.int("axis", 1), shape.len() + 1).and_then(|at| {
                let (front, back) = shape.split_at(at);
                view.reshaped(&[front.iter().product(), back.iter().product()])
            }),
            ("Reshape", Some(dims)) => {
                resolved(&dims, &shape).and_then(|shape| view.reshaped(&shape))
            }
            ("Squeeze", Some(axes)) => narrowed(&shape, &axes).and_then(|to| view.reshaped(&to)),
            ("Unsqueeze", Some(axes)) => widened(&shape, &axes).and_then(|to| view.reshaped(&to)),
            _ => None,
        };
        let cut = || {
            unread(
                node,
                &format!("a rearrangement of {shape:?} that cuts across axes"),
            )
        };
        Ok(Value::Node(moved.ok_or_else(cut)?))
    }

    pub(super) fn slice(&mut self, node: &Node) -> Result<Value, Broken> {
        let view = self.view(node, 0)?;
        let mut bounds = vec![];
        for name in node.inputs.iter().skip(1) {
            let known = self.array(name)?;
            bounds.push(known.ok_or_else(|| unread(node, "bounds that are not known beforehand"))?);
        }
        let shape = view.shape();
        let found = ranges(&shape, &bounds.iter().collect::<Vec<_>>());
        let found = found.ok_or_else(|| unread(node, "a slice with steps"))?;
        let cut = found.iter().filter(|(at, range)| *range != [0, shape[*at]]);
        let cut: Vec<_> = cut.copied().collect();
        if let Some(shifted) = self.shifted(node, &view, &cut)? {
            return Ok(shifted);
        }
        let mut x = self.materialize(&node.label(), &view)?;
        for (axis, [start, end]) in found {
            if [start, end] != [0, shape[axis]] {
                let slice = Slice { axis, start, end };
                x = self.add(&node.outputs[0], slice, &[x], vec![])?;
            }
        }
        Ok(Value::Node(View::plain(x, self.b.shape(x))))
    }
}
