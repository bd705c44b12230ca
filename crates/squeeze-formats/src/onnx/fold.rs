//! Operators on small arrays: shapes, positions and masks are computed while a file is read.

use super::array::{Array, MOST_AXES, MOST_ELEMENTS as MOST, broadcast};
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
        "Sqrt" => Some(map(get(0)?, f64::sqrt)),
        "Reciprocal" => Some(map(get(0)?, |a| 1.0 / a)),
        "Abs" => Some(map(get(0)?, f64::abs)),
        "Sign" => Some(map(get(0)?, |a| if a == 0.0 { a } else { a.signum() })),
        "Floor" => Some(map(get(0)?, f64::floor)),
        "Pow" => zip(&f64::powf)?,
        "Mod" if node.int("fmod", 0) == 1 => zip(&|a, b| a % b)?,
        // With the divisor's sign.
        "Mod" => zip(&|a, b| match a % b {
            rest if rest != 0.0 && (rest < 0.0) != (b < 0.0) => rest + b,
            rest => rest,
        })?,
        "Max" if inputs.len() == 2 => zip(&f64::max)?,
        "Min" if inputs.len() == 2 => zip(&f64::min)?,
        "Clip" => {
            let bound = |index: usize, none: f64| match node.inputs.get(index).map(|name| &**name) {
                None | Some("") => Ok(none),
                Some(_) => get(index).map(|bound| bound.scalar().unwrap_or(f64::NAN)),
            };
            let (low, high) = (bound(1, f64::NEG_INFINITY)?, bound(2, f64::INFINITY)?);
            (low <= high).then(|| map(inputs[0], |a| a.clamp(low, high)))
        }
        "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" => reduce(node, inputs),
        "CumSum" if node.int("reverse", 0) == 0 && node.int("exclusive", 0) == 0 => {
            running_sum(get(0)?, get(1)?)
        }
        "GatherElements" => gather_elements(get(0)?, get(1)?, node.int("axis", 0)),
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
    if rank > MOST_AXES {
        return None;
    }
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
    if dims.len() > MOST_AXES {
        return None;
    }
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

/// Sums and the like over some axes, or all.
fn reduce(node: &Node, inputs: &[&Array]) -> Option<Array> {
    let a = inputs.first()?;
    let rank = a.shape.len();
    let given = match (node.ints("axes"), inputs.get(1)) {
        (Some(axes), _) => axes.to_vec(),
        (None, Some(axes)) => axes.ints(),
        (None, None) => (0..rank as i64).collect(),
    };
    let axes: Option<Vec<usize>> = given.iter().map(|&value| axis(value, rank)).collect();
    let axes = axes?;
    let shape: Vec<usize> = (0..rank)
        .map(|at| if axes.contains(&at) { 1 } else { a.shape[at] })
        .collect();
    let (start, f): (f64, fn(f64, f64) -> f64) = match &*node.op {
        "ReduceSum" => (0.0, |a, b| a + b),
        "ReduceMax" => (f64::NEG_INFINITY, f64::max),
        "ReduceMin" => (f64::INFINITY, f64::min),
        _ => (1.0, |a, b| a * b),
    };
    let mut sums = Array::filled(shape.clone(), start);
    // Every element falls on the place that has index 0 on the axes that go.
    let places = Array::from_places(a.shape.clone(), |place| {
        let at = place.iter().zip(&shape);
        at.fold(0, |index, (&at, &size)| index * size + at.min(size - 1)) as f64
    });
    for (&value, &place) in a.data.iter().zip(&places.data) {
        let sum = &mut sums.data[place as usize];
        *sum = f(*sum, value);
    }
    if node.int("keepdims", 1) == 0 {
        let kept = (0..rank).filter(|at| !axes.contains(at));
        sums.shape = kept.map(|at| a.shape[at]).collect();
    }
    Some(sums)
}

fn running_sum(a: &Array, along: &Array) -> Option<Array> {
    let along = axis(along.scalar()? as i64, a.shape.len())?;
    let inner: usize = a.shape[along + 1..].iter().product();
    let mut sums = a.clone();
    for at in 0..sums.data.len() {
        if !(at / inner).is_multiple_of(a.shape[along]) {
            sums.data[at] += sums.data[at - inner];
        }
    }
    Some(sums)
}

fn gather_elements(a: &Array, indices: &Array, along: i64) -> Option<Array> {
    let along = axis(along, a.shape.len())?;
    let fits = indices.shape.len() == a.shape.len()
        && (0..a.shape.len()).all(|at| at == along || indices.shape[at] <= a.shape[at]);
    let found: Option<Vec<usize>> = (indices.ints().iter())
        .map(|&index| axis(index, a.shape[along]))
        .collect();
    let mut found = found.filter(|_| fits)?.into_iter();
    let mut place_of = indices.clone();
    let places = Array::from_places(indices.shape.clone(), |place| {
        let outside = place.iter().zip(&a.shape).enumerate();
        outside.fold(0, |index, (at, (&place, &size))| {
            index * size + if at == along { 0 } else { place }
        }) as f64
    });
    let step: usize = a.shape[along + 1..].iter().product();
    for (value, &base) in place_of.data.iter_mut().zip(&places.data) {
        *value = a.data[base as usize + found.next()? * step];
    }
    Some(place_of)
}

fn gather_nd(a: &Array, indices: &Array) -> Option<Array> {
    let (&depth, outer) = indices.shape.split_last()?;
    if depth == 0 || depth > a.shape.len() {
        return None;
    }
    let inner: usize = a.shape[depth..].iter().product();
    let count = (indices.data.len() / depth).checked_mul(inner);
    count.filter(|&count| count <= MOST)?;
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
    let cuts = cuts(shape, bounds)?.into_iter();
    cuts.map(|cut| (cut.step == 1).then_some((cut.axis, [cut.start, cut.start + cut.count])))
        .collect()
}

/// What a slice keeps of an axis.
struct Cut {
    axis: usize,
    start: usize,
    count: usize,
    step: i64,
}

fn cuts(shape: &[usize], bounds: &[&Array]) -> Option<Vec<Cut>> {
    let [starts, ends, rest @ ..] = bounds else {
        return None;
    };
    let count = starts.data.len();
    let axes = match rest.first() {
        Some(axes) => axes.ints(),
        None => (0..count as i64).collect(),
    };
    let steps = match rest.get(1) {
        Some(steps) => steps.ints(),
        None => vec![1; axes.len()],
    };
    if axes.len() > shape.len() || steps.len() != axes.len() {
        return None;
    }
    let (starts, ends) = (starts.ints(), ends.ints());
    let mut found = vec![];
    for (at, &value) in axes.iter().enumerate() {
        let (axis, step) = (axis(value, shape.len())?, steps[at]);
        let size = i64::try_from(shape[axis]).ok()?;
        let from_end = |value: i64| {
            if value < 0 {
                value.saturating_add(size)
            } else {
                value
            }
        };
        let (start, end) = (from_end(*starts.get(at)?), from_end(*ends.get(at)?));
        let (start, count) = match step {
            1.. => {
                let (start, end) = (start.clamp(0, size), end.clamp(0, size));
                (
                    start,
                    (end - start)
                        .max(0)
                        .unsigned_abs()
                        .div_ceil(step.unsigned_abs()),
                )
            }
            0 => return None,
            _ => {
                let (start, end) = (start.clamp(-1, size - 1), end.clamp(-1, size - 1));
                (
                    start,
                    (start - end)
                        .max(0)
                        .unsigned_abs()
                        .div_ceil(step.unsigned_abs()),
                )
            }
        };
        found.push(Cut {
            axis,
            start: usize::try_from(start).unwrap_or(0),
            count: usize::try_from(count).ok()?,
            step,
        });
    }
    Some(found)
}

fn slice(inputs: &[&Array]) -> Option<Array> {
    let (a, bounds) = inputs.split_first()?;
    let mut cut: Vec<(usize, i64)> = vec![(0, 1); a.shape.len()];
    let mut shape = a.shape.clone();
    for one in cuts(&a.shape, bounds)? {
        cut[one.axis] = (one.start, one.step);
        shape[one.axis] = one.count;
    }
    Some(Array::from_places(shape, |place| {
        let from = |(&at, &(start, step)): (&usize, &(usize, i64))| {
            (start as i64 + at as i64 * step).unsigned_abs() as usize
        };
        let source: Vec<usize> = place.iter().zip(&cut).map(from).collect();
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
    let count: usize = inputs.iter().map(|a| a.data.len()).sum();
    if count > MOST {
        return None;
    }
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
