//! Operators that move numbers, choose among them or look at shapes.

use squeeze_graph::NodeId;
use squeeze_graph::ops::{Concat, Resize, ResizeMode, ResizeSize, Slice};

use super::import::{Import, Value};
use super::layers::at;
use super::schema::{Operator, unread};
use crate::error::Broken;
use crate::view::View;

/// Most zeros on one side of an image.
const MOST_ZEROS: usize = 1 << 16;

impl Import<'_> {
    pub(super) fn concat(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let name = self.name(operator)?;
        let mut parts = vec![];
        let mut axis = 0;
        for place in 0..operator.inputs.len() {
            let view = self.view(operator, place)?;
            let along = at(i64::from(operator.int(0, 0)?), view.axes.len())?;
            axis = self.our_axis(&view, along);
            parts.push(self.in_our_order(&name, &view)?);
        }
        let id = self.add(&name, Concat { axis }, &parts, vec![])?;
        let view = self.ended(operator, self.plain(id), operator.byte(1)?)?;
        Ok(Value::Node(view))
    }

    /// Zeros around an image; the window that takes it may have them.
    pub(super) fn pad(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let view = self.view(operator, 0)?;
        let sizes: Option<Vec<usize>> = {
            let known = self.known(operator, 1)?.into_iter();
            known
                .map(|size| {
                    usize::try_from(size)
                        .ok()
                        .filter(|&size| size <= MOST_ZEROS)
                })
                .collect()
        };
        match (sizes.as_deref(), view.axes.len()) {
            (Some(&[0, 0, top, bottom, left, right, 0, 0]), 4) => {
                Ok(Value::Padded(view, [top, left, bottom, right]))
            }
            _ => {
                let shape = view.shape();
                Err(unread(&format!(
                    "zeros beside {shape:?} elsewhere than around an image"
                )))
            }
        }
    }

    pub(super) fn bilinear(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let (corners, centres) = (operator.flag(2)?, operator.flag(3)?);
        self.resize(operator, |from, _| match (corners, centres) {
            (true, false) => Some(ResizeMode::BilinearCorners),
            (false, true) => Some(ResizeMode::Bilinear),
            // One pixel everywhere, however it is read.
            (false, false) if from == [1, 1] => Some(ResizeMode::Bilinear),
            _ => None,
        })
    }

    pub(super) fn nearest(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let (corners, centres) = (operator.flag(0)?, operator.flag(1)?);
        self.resize(operator, |from, to| {
            // With pixel centres at halves the same pixels are nearest when each becomes so many.
            let is_whole = (0..2).all(|axis| to[axis].is_multiple_of(from[axis]));
            (!corners && (!centres || is_whole)).then_some(ResizeMode::Nearest)
        })
    }

    fn resize(
        &mut self,
        operator: &Operator,
        mode: impl Fn([usize; 2], [usize; 2]) -> Option<ResizeMode>,
    ) -> Result<Value, Broken> {
        let view = self.view(operator, 0)?;
        let sizes: Result<Vec<usize>, _> = self
            .known(operator, 1)?
            .into_iter()
            .map(usize::try_from)
            .collect();
        let shape = view.shape();
        let (&[_, height, width, _], Ok(&[to_height, to_width])) = (&*shape, sizes.as_deref())
        else {
            return Err(unread(&format!("resizing {shape:?}")));
        };
        let (from, to) = ([height, width], [to_height, to_width]);
        if from == to {
            return Ok(Value::Node(view));
        }
        let Some(mode) = mode(from, to) else {
            return Err(unread(
                "this placing of pixels: convert with half_pixel_centers (bilinear: or align_corners), then it",
            ));
        };
        let name = self.name(operator)?;
        let x = self.image(&name, &view)?;
        let size = ResizeSize::To(to);
        let id = self.add(&name, Resize { mode, size }, &[x], vec![])?;
        Ok(Value::Node(self.plain(id)))
    }

    pub(super) fn transpose(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let view = self.view(operator, 0)?;
        let order: Result<Vec<usize>, _> = self
            .known(operator, 1)?
            .into_iter()
            .map(usize::try_from)
            .collect();
        let moved = order.ok().and_then(|order| view.transposed(&order));
        moved
            .map(Value::Node)
            .ok_or_else(|| unread("an order of axes that is none"))
    }

    /// Another shape of the same numbers.
    pub(super) fn reshape(&mut self, operator: &Operator) -> Result<Value, Broken> {
        if let Value::Known(ints) = self.value(operator, 0)? {
            return Ok(Value::Known(ints));
        }
        let view = self.view(operator, 0)?;
        let from = view.shape();
        let output = operator
            .outputs
            .first()
            .ok_or_else(|| unread("no result"))?;
        let output = self.model.tensor(*output)?;
        let is_known = output.signature.iter().all(|&size| size >= 0);
        let asked = match operator.kind == "RESHAPE" && !is_known {
            true if self.has(operator, 1) => self.known(operator, 1)?,
            true => operator.ints(0)?.into_iter().map(i64::from).collect(),
            false => vec![],
        };
        let shape = match asked.is_empty() {
            true => output.shape,
            false => {
                resolved(&asked, &from).ok_or_else(|| unread(&format!("the shape {asked:?}")))?
            }
        };
        let moved = view.reshaped(&shape);
        let cut = || {
            unread(&format!(
                "{shape:?} made of {from:?}, which cuts across axes,"
            ))
        };
        moved.map(Value::Node).ok_or_else(cut)
    }

    pub(super) fn shape(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let view = self.view(operator, 0)?;
        Ok(Value::Known(
            view.shape().into_iter().map(|size| size as i64).collect(),
        ))
    }

    /// Known numbers behind each other.
    pub(super) fn pack(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let mut all = vec![];
        for place in 0..operator.inputs.len() {
            let ints = self.known(operator, place)?;
            let &[int] = &*ints else {
                return Err(unread("something else than single numbers put together"));
            };
            all.push(int);
        }
        Ok(Value::Known(all))
    }

    pub(super) fn strided_slice(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let [begin, end, strides] = [1, 2, 3].map(|place| self.known(operator, place));
        let (begin, end, strides) = (begin?, end?, strides?);
        let masks = [0, 1, 2, 3, 4].map(|field| operator.int(field, 0));
        let [from_start, to_end, ellipsis, new_axes, gone] = masks;
        let (from_start, to_end, gone) = (from_start?, to_end?, gone?);
        let is_plain = ellipsis? == 0
            && new_axes? == 0
            && !operator.flag(5)?
            && strides.iter().all(|&stride| stride == 1)
            && end.len() == begin.len()
            && strides.len() == begin.len();
        if !is_plain {
            return Err(unread("a slice with steps, an ellipsis or axes of its own"));
        }
        let bit = |mask: i32, axis: usize| axis < 32 && mask >> axis & 1 == 1;
        let range = |axis: usize, size: usize| -> [usize; 2] {
            let size = size as i64;
            let place =
                |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size);
            let start = if bit(from_start, axis) {
                0
            } else {
                place(begin[axis])
            };
            let end = match () {
                () if bit(gone, axis) => (start + 1).min(size),
                () if bit(to_end, axis) => size,
                () => place(end[axis]),
            };
            [start, end].map(|place| usize::try_from(place).expect("it was clamped"))
        };
        if let Value::Known(ints) = self.value(operator, 0)? {
            let [start, end] = match begin.len() {
                1 => range(0, ints.len()),
                _ => return Err(unread("a slice of known numbers along many axes")),
            };
            return Ok(Value::Known(
                ints.get(start..end).unwrap_or_default().to_vec(),
            ));
        }
        let view = self.view(operator, 0)?;
        let sizes = view.shape();
        let sliced = sizes.iter().enumerate().take(begin.len());
        let ranges: Vec<[usize; 2]> = sliced.map(|(axis, &size)| range(axis, size)).collect();
        let cut = self.cut(operator, &view, &ranges)?;
        let shape = cut.shape();
        let left = (0..shape.len()).filter(|&axis| !(bit(gone, axis) && axis < begin.len()));
        let left: Vec<usize> = left.map(|axis| shape[axis]).collect();
        let view = cut
            .reshaped(&left)
            .ok_or_else(|| unread("an axis that is not one long and goes away"))?;
        Ok(Value::Node(view))
    }

    pub(super) fn slice(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let view = self.view(operator, 0)?;
        let (begin, size) = (self.known(operator, 1)?, self.known(operator, 2)?);
        let shape = view.shape();
        if begin.len() != shape.len() || size.len() != shape.len() {
            return Err(unread(&format!("a slice of {shape:?} along other axes")));
        }
        let range = |axis: usize| {
            let start = usize::try_from(begin[axis]).ok()?;
            let end = match size[axis] {
                -1 => shape[axis],
                size => start.checked_add(usize::try_from(size).ok()?)?,
            };
            Some([start, end])
        };
        let ranges: Option<Vec<_>> = (0..shape.len()).map(range).collect();
        let ranges = ranges.ok_or_else(|| unread("a slice that begins before its axis"))?;
        Ok(Value::Node(self.cut(operator, &view, &ranges)?))
    }

    pub(super) fn split(&mut self, operator: &Operator) -> Result<Vec<Value>, Broken> {
        let by_sizes = operator.kind == "SPLIT_V";
        let [x, along] = if by_sizes { [0, 2] } else { [1, 0] };
        let view = self.view(operator, x)?;
        let shape = view.shape();
        let &[axis] = &*self.known(operator, along)? else {
            return Err(unread("a split along many axes"));
        };
        let axis = at(axis, shape.len())?;
        let count = operator.outputs.len().max(1);
        let sizes: Vec<usize> = match by_sizes {
            false if shape[axis].is_multiple_of(count) => vec![shape[axis] / count; count],
            false => return Err(unread(&format!("{} cut into {count} parts", shape[axis]))),
            true => {
                let sizes: Result<_, _> = self
                    .known(operator, 1)?
                    .into_iter()
                    .map(usize::try_from)
                    .collect();
                sizes.map_err(|_| unread("a part of what size is left"))?
            }
        };
        let (mut start, mut parts) = (0usize, vec![]);
        for size in sizes {
            let mut ranges: Vec<[usize; 2]> = shape.iter().map(|&size| [0, size]).collect();
            ranges[axis] = [start, start.saturating_add(size)];
            start = ranges[axis][1];
            parts.push(Value::Node(self.cut(operator, &view, &ranges)?));
        }
        Ok(parts)
    }

    /// A part of a layer's result: a range of each of its first axes.
    fn cut(
        &mut self,
        operator: &Operator,
        view: &View,
        ranges: &[[usize; 2]],
    ) -> Result<View, Broken> {
        let (name, sizes) = (self.name(operator)?, view.shape());
        let mut node: Option<NodeId> = None;
        for (axis, &[start, end]) in ranges.iter().enumerate() {
            if [start, end] == [0, sizes[axis]] {
                continue;
            }
            let x = match node {
                Some(node) => node,
                None => self.in_our_order(&name, view)?,
            };
            let axis = self.our_axis(view, axis);
            node = Some(self.add(&name, Slice { axis, start, end }, &[x], vec![])?);
        }
        Ok(node.map_or(view.clone(), |node| self.plain(node)))
    }

    /// The class of the largest number: the network ends before it.
    pub(super) fn arg_max(&mut self, operator: &Operator) -> Result<Value, Broken> {
        let view = self.view(operator, 0)?;
        let along = self.known(operator, 1)?;
        let last = view.axes.len().saturating_sub(1);
        let is_last = matches!(*along, [axis] if at(axis, view.axes.len())? == last);
        if !is_last || !self.ends_in_channels(&view) {
            return Err(unread("an ARG_MAX over something else than the channels"));
        }
        Ok(Value::Largest(view))
    }
}

/// A shape that is asked for, with -1 for what is left.
fn resolved(asked: &[i64], from: &[usize]) -> Option<Vec<usize>> {
    let total = from
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))?;
    let known = asked.iter().filter(|&&size| size != -1);
    let known = known.map(|&size| usize::try_from(size).ok());
    let known = known
        .into_iter()
        .try_fold(1usize, |product, size| product.checked_mul(size?))?;
    let left = total.checked_div(known)?;
    let size = |&size: &i64| {
        if size == -1 {
            Some(left)
        } else {
            usize::try_from(size).ok()
        }
    };
    asked.iter().map(size).collect()
}
