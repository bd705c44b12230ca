//! Operators that select, pool or move elements.

use std::rc::Rc;

use squeeze_graph::Op;
use squeeze_graph::ops::{
    Concat, Embedding, GlobalAverage, Pool, PoolKind, Resize, ResizeMode, ResizeSize, Select, Slice,
};

use super::array::Array;
use super::fold::{axis, narrowed, ranges, resolved, widened};
use super::import::Import;
use super::layers::{numbers, unread};
use super::proto::Node;
use super::value::{Mask, Value};
use crate::error::Broken;
use crate::view::View;

impl<'a> Import<'a> {
    pub(super) fn gather(&mut self, node: &Node) -> Result<Value, Broken> {
        let table = match node.inputs.first() {
            Some(name) => self.stored.weight(name)?,
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
            let known = match self.value(node, 1)? {
                Value::Known(places) => Some(Mask {
                    half: places.clone(),
                    whole: places,
                }),
                Value::Mask(places) => Some(places),
                _ => None,
            };
            // The same row for every token, or rows of a network that takes no texts, whose places these could be.
            let texts = [self.ids, self.target, self.lengths];
            let is_free = |known: &Mask| known.constant().is_some() || texts == [None; 3];
            if let Some(known) = known.as_ref().filter(|known| is_free(known)) {
                let places = &known.whole;
                self.stored.count(places.data.len().saturating_mul(width))?;
                let values = table.floats();
                let mut data = vec![];
                for place in places.ints() {
                    let row = axis(place, rows);
                    let row = row.ok_or_else(|| unread(node, "a row that is not there"))?;
                    let row = values[row * width..][..width].iter();
                    data.extend(row.map(|&value| f64::from(value)));
                }
                let shape = [&*places.shape, &[width]].concat();
                return Ok(Value::Known(Rc::new(Array { shape, data })));
            }
            let ids = match known {
                Some(places) => self.position(node, &name, &places, rows)?,
                None => {
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
        let place = index.and_then(|index| {
            let at = axis(along, shape.len())?;
            let keeps = !index.shape.is_empty();
            Some((at, axis(index.scalar()? as i64, shape[at])?, keeps))
                .filter(|_| index.shape.len() < 2)
        });
        let Some((at, index, keeps)) = place else {
            return Err(unread(
                node,
                "a selection by something else than one known index",
            ));
        };
        if let Some(mut part) = self.part(&node.outputs[0], &view, (at, [index, index + 1]))? {
            if !keeps {
                part.axes.remove(at);
            }
            return Ok(Value::Node(part));
        }
        let x = self.materialize(&node.label(), &view)?;
        let op: Op = match keeps {
            true => Slice {
                axis: at,
                start: index,
                end: index + 1,
            }
            .into(),
            false => Select { axis: at, index }.into(),
        };
        let id = self.add(&node.outputs[0], op, &[x], vec![])?;
        Ok(Value::Node(View::plain(id, self.b.shape(id))))
    }

    pub(super) fn pool(&mut self, node: &Node, kind: PoolKind) -> Result<Value, Broken> {
        let sizes = |name: &str, default: &[usize]| match node.ints(name) {
            None => Ok(default.to_vec()),
            Some(values) => numbers(node, values),
        };
        let kernel = sizes("kernel_shape", &[])?;
        let (mut pads, strides) = (sizes("pads", &[0; 4])?, sizes("strides", &[1; 2])?);
        let dilations = sizes("dilations", &[1; 2])?;
        let (view, around) = match self.value(node, 0)? {
            // Zeros that were written out count in a mean.
            Value::Padded(view, around) if kind == PoolKind::AverageInside => (view, Some(around)),
            _ => (self.view(node, 0)?, None),
        };
        let windows = Windows {
            kernel: &kernel,
            strides: &strides,
            dilations: &dilations,
        };
        if let Some(chosen) = windows.chosen_pads(node, view.shape().get(2..).unwrap_or(&[]))? {
            pads = chosen;
        }
        let (&[kh, kw], &[top, left, bottom, right], &[sh, sw], &[1, 1]) =
            (&*kernel, &*pads, &*strides, &*dilations)
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
        let x = self.materialize(&node.label(), &view)?;
        let pool = match around {
            Some(around) => self.hanging(node, &pool, around, self.b.shape(x))?,
            None => pool,
        };
        let id = self.add(&node.outputs[0], pool, &[x], vec![])?;
        Ok(Value::Node(View::plain(id, self.b.shape(id))))
    }

    /// A mean that counts the zeros around an image, and no other places that its windows reach.
    fn hanging(
        &self,
        node: &Node,
        pool: &Pool,
        around: [usize; 4],
        shape: &[usize],
    ) -> Result<Pool, Broken> {
        let counted = Pool {
            kind: PoolKind::Average,
            padding: around,
            ceil: pool.padding != [0; 4],
            ..pool.clone()
        };
        let mut whole = shape.to_vec();
        for (size, [before, after]) in whole[2..].iter_mut().zip([[0, 2], [1, 3]]) {
            *size = size
                .saturating_add(around[before])
                .saturating_add(around[after]);
        }
        match (pool.shape(&whole), counted.shape(shape)) {
            (Ok(wanted), Ok(found)) if wanted == found && pool.padding[..2] == [0; 2] => {
                Ok(counted)
            }
            _ => Err(unread(node, "a mean over zeros that are written out")),
        }
    }

    /// An image with zeros around it, for the layer behind, or a text that was moved.
    pub(super) fn pad(&mut self, node: &Node) -> Result<Value, Broken> {
        let pads = match node.inputs.get(1) {
            Some(name) => self.array(name)?,
            None => None,
        };
        let fill = match node.inputs.get(2).map(|name| &**name) {
            None | Some("") => Some(0.0),
            Some(name) => self.scalar(name)?,
        };
        let plain = fill == Some(0.0)
            && matches!(node.text("mode"), "" | "constant")
            && node.inputs.get(3).is_none_or(String::is_empty);
        let pads = pads.filter(|_| plain);
        let pads = pads.ok_or_else(|| unread(node, "padding of this form"))?;
        let pads = numbers(node, &pads.ints())?;
        if let Value::Cut(view, range) = self.value(node, 0)? {
            return self.shifted(node, view, range, &pads);
        }
        let view = self.view(node, 0)?;
        match *pads {
            [0, 0, top, left, 0, 0, bottom, right] => {
                Ok(Value::Padded(view, [top, left, bottom, right]))
            }
            _ => Err(unread(node, "padding of this form")),
        }
    }

    /// Parts of an axis.
    pub(super) fn split(&mut self, node: &'a Node) -> Result<Value, Broken> {
        let view = self.view(node, 0)?;
        let shape = view.shape();
        let at = axis(node.int("axis", 0), shape.len());
        let at = at.ok_or_else(|| unread(node, "an axis that does not exist"))?;
        let given = match (node.ints("split"), node.inputs.get(1)) {
            (Some(sizes), _) => Some(numbers(node, sizes)?),
            (None, Some(name)) if !name.is_empty() => match self.array(name)? {
                Some(sizes) => Some(numbers(node, &sizes.ints())?),
                None => return Err(unread(node, "sizes that are not known beforehand")),
            },
            _ => None,
        };
        let parts = node.outputs.len();
        let each = shape[at].div_ceil(parts);
        let even = (0..parts).map(|part| each.min(shape[at].saturating_sub(part * each)));
        let sizes = given.unwrap_or_else(|| even.collect());
        if sizes.len() != parts {
            return Err(unread(
                node,
                &format!("a split into {sizes:?} with {parts} outputs"),
            ));
        }
        let mut start = 0usize;
        for (output, size) in node.outputs.iter().zip(sizes) {
            let slice = Slice {
                axis: at,
                start,
                end: start.saturating_add(size),
            };
            start = slice.end;
            if let Some(part) = self.part(output, &view, (at, [slice.start, slice.end]))? {
                self.values.insert(output, Value::Node(part));
                continue;
            }
            let x = self.materialize(&node.label(), &view)?;
            let id = self.add(output, slice, &[x], vec![])?;
            let value = Value::Node(View::plain(id, self.b.shape(id)));
            self.values.insert(output, value);
        }
        let first = self.values.get(&*node.outputs[0]);
        Ok(first.expect("a node has an output").clone())
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
                let scaled = sizes.map(|(&size, by)| size as f64 * by);
                let scaled: Vec<f64> = scaled.collect();
                if scaled.iter().any(|size| (size - size.round()).abs() > 1e-4) {
                    return Err(unread(node, &format!("scales that give {scaled:?}")));
                }
                scaled.iter().map(|size| size.round() as usize).collect()
            }
            _ => return Err(unread(node, "a size that is not known beforehand")),
        };
        let (&[n, channels, ..], &[new_n, new_channels, height, width]) = (&*shape, &*sizes) else {
            return Err(unread(node, "a resize of something that is no image"));
        };
        if (n, channels) != (new_n, new_channels) {
            return Err(unread(node, "a resize of other axes than height and width"));
        }
        if place == "pytorch_half_pixel" && [height, width].contains(&1) && sizes != shape {
            return Err(unread(node, "`pytorch_half_pixel` with one row or column"));
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
        if let Some(tokens) = self.class_token(node)? {
            return Ok(tokens);
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
        let (view, fill) = match self.value(node, 0)? {
            Value::Node(view) => (view, None),
            Value::Hidden(view, fill) if node.op == "Transpose" => (view, Some(fill)),
            _ => {
                let what = "a rearrangement of something that is no layer's result";
                return Err(unread(node, what));
            }
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
            ("Squeeze", None) => {
                let kept = shape.iter().copied().filter(|&size| size != 1);
                view.reshaped(&kept.collect::<Vec<_>>())
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
        let moved = moved.ok_or_else(cut)?;
        Ok(match fill {
            Some(fill) => Value::Hidden(moved, fill),
            None => Value::Node(moved),
        })
    }

    pub(super) fn slice(&mut self, node: &Node) -> Result<Value, Broken> {
        let view = self.view(node, 0)?;
        let mut bounds = vec![];
        for name in node.inputs.iter().skip(1) {
            let known = self.array(name)?;
            bounds.push(known.ok_or_else(|| unread(node, "bounds that are not known beforehand"))?);
        }
        let shape = view.shape();
        let found = ranges(&shape, &bounds.iter().map(|b| &**b).collect::<Vec<_>>());
        let found = found.ok_or_else(|| unread(node, "a slice with steps"))?;
        let cut = found.iter().filter(|(at, range)| *range != [0, shape[*at]]);
        let cut: Vec<_> = cut.copied().collect();
        if let Some(tokens) = self.cut(node, &view, &cut) {
            return Ok(tokens);
        }
        if let [cut] = cut[..]
            && let Some(part) = self.part(&node.outputs[0], &view, cut)?
        {
            return Ok(Value::Node(part));
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

/// Windows that slide over something, an entry for each axis.
pub(super) struct Windows<'a> {
    pub kernel: &'a [usize],
    pub strides: &'a [usize],
    pub dilations: &'a [usize],
}

impl Windows<'_> {
    /// The padding that `auto_pad` asks for, so that an output stands at every stride; nothing when the node says it in numbers.
    pub fn chosen_pads(&self, node: &Node, sizes: &[usize]) -> Result<Option<Vec<usize>>, Broken> {
        let at_end = match node.text("auto_pad") {
            "" | "NOTSET" => return Ok(None),
            "VALID" => return Ok(Some(vec![0; 2 * sizes.len()])),
            "SAME_UPPER" => true,
            "SAME_LOWER" => false,
            other => return Err(unread(node, &format!("padding chosen by `{other}`"))),
        };
        let (mut before, mut after) = (vec![], vec![]);
        for (axis, &size) in sizes.iter().enumerate() {
            let of = |values: &[usize]| values.get(axis).copied().filter(|&value| value > 0);
            let all = (of(self.kernel), of(self.strides), of(self.dilations));
            let (Some(kernel), Some(stride), Some(dilation)) = all else {
                return Err(unread(node, "a window of this form"));
            };
            let reach = (kernel - 1).saturating_mul(dilation).saturating_add(1);
            let last = (size.div_ceil(stride).max(1) - 1) * stride;
            let total = last.saturating_add(reach).saturating_sub(size);
            let (less, more) = (total / 2, total - total / 2);
            before.push(if at_end { less } else { more });
            after.push(if at_end { more } else { less });
        }
        Ok(Some([before, after].concat()))
    }
}
