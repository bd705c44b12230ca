//! Operators on small arrays: shapes, positions and masks are computed while a file is read.

use super::array::{Array, broadcast};
use super::proto::Node;
use crate::error::Broken;

/// Computes a node whose inputs are all known; `None` for an operator that is not computed here.
pub(super) fn fold(node: &Node, inputs: &[&Array]) -> Result<Option<Array>, Broken> {
    let truth = |value: bool| f64::from(u8::from(value));
    let get = |index: usize| -> Result<&Array, Broken> {
        let missing = || Broken::new(format!("{}: input {index} is missing", node.label()));
        inputs.get(index).copied().ok_or_else(missing)
    };
    let axes = || -> Result<Vec<i64>, Broken> {
        match node.ints("axes") {
            Some(axes) => Ok(axes.to_vec()),
            None => Ok(get(1)?.ints()),
        }
    };
    let zip = |f: &dyn Fn(f64, f64) -> f64| Ok::<_, Broken>(get(0)?.zip(get(1)?, f));
    let result = match &*node.op {
        "Identity" | "CastLike" => Some(get(0)?.clone()),
        "Cast" => Some(cast(node, get(0)?)),
        "Add" => zip(&|a, b| a + b)?,
        "Sub" => zip(&|a, b| a - b)?,
        "Mul" => zip(&|a, b| a * b)?,
        "Div" => zip(&|a, b| a / b)?,
        "Equal" => zip(&|a, b| truth(a == b))?,
        "Less" => zip(&|a, b| truth(a < b))?,
        "LessOrEqual" => zip(&|a, b| truth(a <= b))?,
        "Greater" => zip(&|a, b| truth(a > b))?,
        "GreaterOrEqual" => zip(&|a, b| truth(a >= b))?,
        "And" => zip(&|a, b| truth(a != 0.0 && b != 0.0))?,
        "Or" => zip(&|a, b| truth(a != 0.0 || b != 0.0))?,
        "Not" => Some(map(get(0)?, |a| truth(a == 0.0))),
        "Neg" => Some(map(get(0)?, |a| -a)),
        "Where" => choose(get(0)?, get(1)?, get(2)?),
        "Shape" => Some(Array::row(&get(0)?.shape)),
        "Unsqueeze" => unsqueeze(get(0)?, &axes()?),
        "Squeeze" => squeeze(get(0)?, &axes()?),
        "Flatten" => flatten(get(0)?, node.int("axis", 1)),
        "Reshape" => reshape(get(0)?, &get(1)?.ints()),
        "Expand" => expand(get(0)?, &get(1)?.ints()),
        "Transpose" => transpose(get(0)?, node.ints("perm")),
        "Gather" => gather(get(0)?, get(1)?, node.int("axis", 0)),
        "GatherND" if node.int("batch_dims", 0) == 0 => gather_nd(get(0)?, get(1)?),
        "Slice" => slice(inputs),
        "Concat" => concat(inputs, node.int("axis", 0)),
        "Range" => range(get(0)?, get(1)?, get(2)?),
        "ConstantOfShape" => constant(node, get(0)?),
        _ => return Ok(None),
    };
    let wrong = || Broken::new(format!("{}: its inputs do not fit together", node.label()));
    result.map(Some).ok_or_else(wrong)
}

/// Most elements of an array that is computed here: far beyond any mask or shape.
const MOST: usize = 1 << 24;

fn sizes(values: &[i64]) -> Option<Vec<usize>> {
    let sizes: Option<Vec<usize>> = values.iter().map(|&v| usize::try_from(v).ok()).collect();
    let sizes = sizes?;
    let count = sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
    (count <= MOST).then_some(sizes)
}

fn map(a: &Array, f: impl Fn(f64) -> f64) -> Array {
    Array {
        shape: a.shape.clone(),
        data: a.data.iter().map(|&value| f(value)).collect(),
    }
}

fn cast(node: &Node, a: &Array) -> Array {
    match node.int("to", 1) {
        9 => map(a, |value| f64::from(u8::from(value != 0.0))),
        1 | 10 | 11 | 16 => a.clone(),
        _ => map(a, f64::trunc),
    }
}

fn choose(condition: &Array, yes: &Array, no: &Array) -> Option<Array> {
    let shape = broadcast(&broadcast(&condition.shape, &yes.shape)?, &no.shape)?;
    sizes(&shape.iter().map(|&s| s as i64).collect::<Vec<_>>())?;
    Some(Array::from_places(shape, |place| {
        if condition.at(place) != 0.0 {
            yes.at(place)
        } else {
            no.at(place)
        }
    }))
}

/// The axis that a possibly negative number means.
pub(super) fn axis(value: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let at = if value < 0 { value + rank } else { value };
    (0..rank).contains(&at).then_some(at as usize)
}

/// A shape with axes of size 1 put in.
pub(super) fn widened(shape: &[usize], axes: &[i64]) -> Option<Vec<usize>> {
    let rank = shape.len() + axes.len();
    let new: Option<Vec<usize>> = axes.iter().map(|&value| axis(value, rank)).collect();
    let new = new?;
    let mut old = shape.iter();
    let out: Option<Vec<usize>> = (0..rank)
        .map(|at| {
            if new.contains(&at) {
                Some(1)
            } else {
                old.next().copied()
            }
        })
        .collect();
    out.filter(|_| old.next().is_none())
}

/// A shape with axes of size 1 taken out.
pub(super) fn narrowed(shape: &[usize], axes: &[i64]) -> Option<Vec<usize>> {
    let gone: Option<Vec<usize>> = axes.iter().map(|&value| axis(value, shape.len())).collect();
    let gone = gone?;
    if gone.iter().any(|&at| shape[at] != 1) {
        return None;
    }
    let stays = |(at, _): &(usize, &usize)| !gone.contains(at);
    Some(
        shape
            .iter()
            .enumerate()
            .filter(stays)
            .map(|(_, &size)| size)
            .collect(),
    )
}

/// A shape with its 0 and -1 filled in for `count` elements.
pub(super) fn resolved(dims: &[i64], from: &[usize]) -> Option<Vec<usize>> {
    let count = from.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
    let mut shape = vec![];
    for (at, &dim) in dims.iter().enumerate() {
        shape.push(match dim {
            0 => *from.get(at)?,
            -1 => 1,
            _ => usize::try_from(dim).ok()?,
        });
    }
    let known = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
    if let Some(free) = dims.iter().position(|&dim| dim == -1) {
        shape[free] = count.checked_div(known)?;
    }
    let total = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
    (total == count).then_some(shape)
}

fn with_shape(a: &Array, shape: Vec<usize>) -> Array {
    Array {
        shape,
        data: a.data.clone(),
    }
}

fn unsqueeze(a: &Array, axes: &[i64]) -> Option<Array> {
    Some(with_shape(a, widened(&a.shape, axes)?))
}

fn squeeze(a: &Array, axes: &[i64]) -> Option<Array> {
    Some(with_shape(a, narrowed(&a.shape, axes)?))
}

fn reshape(a: &Array, dims: &[i64]) -> Option<Array> {
    Some(with_shape(a, resolved(dims, &a.shape)?))
}

fn flatten(a: &Array, at: i64) -> Option<Array> {
    let at = axis(at, a.shape.len() + 1)?;
    let (front, back) = a.shape.split_at(at);
    let shape = vec![front.iter().product(), back.iter().product()];
    Some(with_shape(a, shape))
}

fn expand(a: &Array, dims: &[i64]) -> Option<Array> {
    let shape = broadcast(&a.shape, &sizes(dims)?)?;
    Some(Array::from_places(shape, |place| a.at(place)))
}

fn transpose(a: &Array, order: Option<&[i64]>) -> Option<Array> {
    let reversed: Vec<i64> = (0..a.shape.len() as i64).rev().collect();
    let order = sizes(order.unwrap_or(&reversed))?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..a.shape.len()) {
        return None;
    }
    let shape = order.iter().map(|&axis| a.shape[axis]).collect();
    Some(Array::from_places(shape, |place| {
        let mut source = vec![0; place.len()];
        order
            .iter()
            .zip(place)
            .for_each(|(&axis, &at)| source[axis] = at);
        a.at(&source)
    }))
}

fn gather(a: &Array, indices: &Array, along: i64) -> Option<Array> {
    let along = axis(along, a.shape.len())?;
    let size = a.shape[along];
    let found: Option<Vec<usize>> = indices.ints().iter().map(|&i| axis(i, size)).collect();
    let shape = [&a.shape[..along], &indices.shape, &a.shape[along + 1..]].concat();
    let indices = found?;
    let inner: usize = a.shape[along + 1..].iter().product();
    let outer: usize = a.shape[..along].iter().product();
    outer
        .checked_mul(indices.len())?
        .checked_mul(inner)
        .filter(|&count| count <= MOST)?;
    let mut data = vec![];
    for block in 0..outer {
        for &index in &indices {
            let start = (block * size + index) * inner;
            data.extend(&a.data[start..start + inner]);
        }
    }
    Some(Array { shape, data })
}

fn gather_nd(a: &Array, indices: &Array) -> Option<Array> {
    let (&depth, outer) = indices.shape.split_last()?;
    if depth == 0 || depth > a.shape.len() {
        return None;
    }
    let inner: usize = a.shape[depth..].iter().product();
    let mut data = vec![];
    for place in indices.ints().chunks(depth) {
        let mut row = 0;
        for (&value, &size) in place.iter().zip(&a.shape) {
            row = row * size + axis(value, size)?;
        }
        data.extend(&a.data[row * inner..(row + 1) * inner]);
    }
    let shape = [outer, &a.shape[depth..]].concat();
    Some(Array { shape, data })
}

/// First and one past the last index of each axis that is cut with step 1, from the inputs of a
/// slice behind the data.
pub(super) fn ranges(shape: &[usize], bounds: &[&Array]) -> Option<Vec<(usize, [usize; 2])>> {
    let [starts, ends, rest @ ..] = bounds else {
        return None;
    };
    let count = starts.data.len();
    let axes = match rest.first() {
        Some(axes) => axes.ints(),
        None => (0..count as i64).collect(),
    };
    if rest
        .get(1)
        .is_some_and(|steps| steps.data.iter().any(|&step| step != 1.0))
    {
        return None;
    }
    let (starts, ends) = (starts.ints(), ends.ints());
    let mut found = vec![];
    for (at, &value) in axes.iter().enumerate() {
        let axis = axis(value, shape.len())?;
        let size = i64::try_from(shape[axis]).ok()?;
        let clamp = |value: i64| (if value < 0 { value + size } else { value }).clamp(0, size);
        let (start, end) = (clamp(*starts.get(at)?), clamp(*ends.get(at)?));
        found.push((axis, [start as usize, end.max(start) as usize]));
    }
    Some(found)
}

fn slice(inputs: &[&Array]) -> Option<Array> {
    let (a, bounds) = inputs.split_first()?;
    let mut starts = vec![0; a.shape.len()];
    let mut shape = a.shape.clone();
    for (axis, [start, end]) in ranges(&a.shape, bounds)? {
        (starts[axis], shape[axis]) = (start, end - start);
    }
    Some(Array::from_places(shape, |place| {
        let source: Vec<_> = place
            .iter()
            .zip(&starts)
            .map(|(at, start)| at + start)
            .collect();
        a.at(&source)
    }))
}

fn concat(inputs: &[&Array], along: i64) -> Option<Array> {
    let first = inputs.first()?;
    let along = axis(along, first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[along] = inputs
        .iter()
        .map(|a| a.shape.get(along).copied().unwrap_or(0))
        .sum();
    let outer: usize = first.shape[..along].iter().product();
    let mut data = vec![];
    for block in 0..outer {
        for a in inputs {
            let alike = a.shape.len() == shape.len()
                && (0..shape.len()).all(|at| at == along || a.shape[at] == shape[at]);
            if !alike {
                return None;
            }
            let run: usize = a.shape[along..].iter().product();
            data.extend(&a.data[block * run..(block + 1) * run]);
        }
    }
    Some(Array { shape, data })
}

fn range(start: &Array, limit: &Array, step: &Array) -> Option<Array> {
    let (start, limit, step) = (start.scalar()?, limit.scalar()?, step.scalar()?);
    let count = ((limit - start) / step).ceil();
    if !(0.0..=MOST as f64).contains(&count) {
        return None;
    }
    let data: Vec<f64> = (0..count as usize)
        .map(|i| start + i as f64 * step)
        .collect();
    Some(Array {
        shape: vec![data.len()],
        data,
    })
}

fn constant(node: &Node, shape: &Array) -> Option<Array> {
    let value = match node.tensor("value") {
        Some(message) => Array::from(&super::array::tensor(message).ok()?).scalar()?,
        None => 0.0,
    };
    Some(Array::filled(sizes(&shape.ints())?, value))
}
