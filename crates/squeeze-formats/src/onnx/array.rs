//! Small arrays that are computed while a file is read: constants, shapes and masks.

use bytes::Bytes;
use squeeze_tensor::{Dtype, Tensor};

use super::proto;
use crate::error::Broken;

/// Numbers in row-major order; truth is 1 and 0. Indices of texts and masks are exact in `f64`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Array {
    /// One row of whole numbers.
    pub fn row(values: &[usize]) -> Self {
        Self {
            shape: vec![values.len()],
            data: values.iter().map(|&value| value as f64).collect(),
        }
    }

    /// The same number everywhere.
    pub fn filled(shape: Vec<usize>, value: f64) -> Self {
        let count = shape.iter().product();
        Self {
            shape,
            data: vec![value; count],
        }
    }

    /// Whole numbers, as axes and sizes are given.
    pub fn ints(&self) -> Vec<i64> {
        self.data.iter().map(|&value| value as i64).collect()
    }

    /// The only number.
    pub fn scalar(&self) -> Option<f64> {
        match *self.data {
            [value] => Some(value),
            _ => None,
        }
    }

    /// The number that stands everywhere.
    pub fn constant(&self) -> Option<f64> {
        let first = *self.data.first()?;
        self.data
            .iter()
            .all(|&value| value == first)
            .then_some(first)
    }

    /// The element that stands at `place` after broadcasting to a larger shape.
    pub fn at(&self, place: &[usize]) -> f64 {
        let skipped = place.len() - self.shape.len();
        let mut index = 0;
        for (&size, &at) in self.shape.iter().zip(&place[skipped..]) {
            index = index * size + if size == 1 { 0 } else { at };
        }
        self.data[index]
    }

    /// An array from what stands at each place.
    pub fn from_places(shape: Vec<usize>, at: impl Fn(&[usize]) -> f64) -> Self {
        let count = shape.iter().product();
        let mut place = vec![0; shape.len()];
        let mut data = Vec::with_capacity(count);
        for _ in 0..count {
            data.push(at(&place));
            for axis in (0..shape.len()).rev() {
                place[axis] += 1;
                if place[axis] < shape[axis] {
                    break;
                }
                place[axis] = 0;
            }
        }
        Self { shape, data }
    }

    /// Element by element with broadcasting.
    pub fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Option<Self> {
        let shape = broadcast(&self.shape, &other.shape)?;
        Some(Self::from_places(shape, |place| {
            f(self.at(place), other.at(place))
        }))
    }
}

/// Most axes that a value has.
pub(super) const MOST_AXES: usize = 12;

/// Most elements of an array that is computed here: far beyond any mask or shape.
pub(super) const MOST_ELEMENTS: usize = 1 << 24;

/// The shape that two shapes make together, when it has not too many elements.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(axis) => shape[axis],
        None => 1,
    };
    let both = (0..rank).map(|axis| match (size(a, axis), size(b, axis)) {
        (x, y) if x == y => Some(x),
        (1, y) => Some(y),
        (x, 1) => Some(x),
        _ => None,
    });
    let shape: Vec<usize> = both.collect::<Option<_>>()?;
    let count = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
    (count <= MOST_ELEMENTS).then_some(shape)
}

impl From<&Tensor> for Array {
    fn from(tensor: &Tensor) -> Self {
        let data = match tensor.dtype() {
            // Indices beyond 2^24 do not survive `f32`.
            Dtype::I64 => tensor
                .bytes()
                .as_chunks()
                .0
                .iter()
                .map(|&b| i64::from_le_bytes(b) as f64)
                .collect(),
            _ => tensor.floats().into_iter().map(f64::from).collect(),
        };
        Self {
            shape: tensor.shape().to_vec(),
            data,
        }
    }
}

/// The tensor of a message. Truth becomes bytes, double precision becomes single.
pub(super) fn tensor(message: &proto::Tensor) -> Result<Tensor, Broken> {
    let name = &message.name;
    let wrong = |reason: String| Broken::new(format!("tensor `{name}`: {reason}"));
    if message.location != 0 {
        return Err(wrong(
            "its data lie in another file, which is not read here".into(),
        ));
    }
    let shape: Result<Vec<usize>, _> = message.dims.iter().map(|&d| usize::try_from(d)).collect();
    let shape = shape.map_err(|_| wrong(format!("shape {:?}", message.dims)))?;
    if shape.len() > MOST_AXES {
        return Err(wrong(format!("{} axes", shape.len())));
    }
    let bytes_of_ints = || message.ints.iter().map(|&v| v as u8).collect();
    let raw = !message.raw.is_empty();
    let given = |typed: Vec<u8>| match raw {
        true => message.raw.clone(),
        false => Bytes::from(typed),
    };
    let (dtype, bytes) = match message.data_type {
        1 => {
            let typed = message.floats.iter().flat_map(|v| v.to_le_bytes());
            (Dtype::F32, given(typed.collect()))
        }
        2 | 9 => (Dtype::U8, given(bytes_of_ints())),
        3 => (Dtype::I8, given(bytes_of_ints())),
        6 => {
            let typed = message.ints.iter().flat_map(|v| v.to_le_bytes());
            (Dtype::I32, given(typed.collect()))
        }
        7 => {
            let typed = message.longs.iter().flat_map(|v| v.to_le_bytes());
            (Dtype::I64, given(typed.collect()))
        }
        10 | 16 => {
            let halves = message.ints.iter();
            let typed = halves.flat_map(|&v| (v as u16).to_le_bytes());
            let dtype = [Dtype::F16, Dtype::Bf16][usize::from(message.data_type == 16)];
            (dtype, given(typed.collect()))
        }
        11 => {
            let typed = message.doubles.iter().flat_map(|v| v.to_le_bytes());
            let doubles = given(typed.collect());
            if !doubles.len().is_multiple_of(8) {
                return Err(wrong(format!("{} bytes of doubles", doubles.len())));
            }
            let chunks = doubles.as_chunks().0.iter();
            let bytes = chunks.flat_map(|&b| (f64::from_le_bytes(b) as f32).to_le_bytes());
            (Dtype::F32, bytes.collect::<Vec<u8>>().into())
        }
        other => {
            return Err(wrong(format!(
                "element type {other} of ONNX is not read: export in float32"
            )));
        }
    };
    Tensor::new(dtype, &shape, bytes).map_err(|error| wrong(error.to_string()))
}

/// A tensor as single-precision numbers; bytes with scales stay.
pub(super) fn single(tensor: Tensor) -> Tensor {
    match tensor.dtype() {
        Dtype::F32 => tensor,
        _ if tensor.scaled().is_some() => tensor,
        _ => Tensor::from_f32(tensor.shape(), &tensor.floats()),
    }
}

/// Rows and columns exchanged; nothing of what is no matrix.
pub(super) fn transposed(tensor: &Tensor) -> Option<Tensor> {
    let &[rows, columns] = <&[usize; 2]>::try_from(tensor.shape()).ok()?;
    let mut bytes = vec![0; tensor.bytes().len()];
    match tensor.dtype().bytes() {
        4 => turn::<4>(tensor.bytes(), [rows, columns], &mut bytes),
        1 => turn::<1>(tensor.bytes(), [rows, columns], &mut bytes),
        _ => return None,
    }
    let turned = Tensor::new(tensor.dtype(), &[columns, rows], bytes);
    Some(turned.expect("as many numbers as before"))
}

fn turn<const SIZE: usize>(from: &[u8], [rows, columns]: [usize; 2], to: &mut [u8]) {
    // Squares of numbers that stay in the first cache, so that neither side is walked in long steps.
    const SIDE: usize = 32;
    let (values, turned) = (from.as_chunks::<SIZE>().0, to.as_chunks_mut::<SIZE>().0);
    for first_row in (0..rows).step_by(SIDE) {
        for first_column in (0..columns).step_by(SIDE) {
            for row in first_row..(first_row + SIDE).min(rows) {
                for column in first_column..(first_column + SIDE).min(columns) {
                    turned[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting() {
        let column = Array {
            shape: vec![2, 1],
            data: vec![1.0, 2.0],
        };
        let sum = column.zip(&Array::row(&[10, 20, 30]), |a, b| a + b);
        let sum = sum.expect("fit together");
        assert_eq!(sum.shape, [2, 3]);
        assert_eq!(sum.data, [11.0, 21.0, 31.0, 12.0, 22.0, 32.0]);
        assert!(
            Array::row(&[1, 2])
                .zip(&Array::row(&[1, 2, 3]), |a, _| a)
                .is_none()
        );
    }

    #[test]
    fn lying_tensors_are_refused() {
        let message = proto::Tensor {
            dims: vec![1 << 40, 1 << 40],
            data_type: 1,
            raw: vec![0; 8].into(),
            ..Default::default()
        };
        assert!(tensor(&message).is_err());
        let message = proto::Tensor {
            dims: vec![-1],
            ..message
        };
        assert!(tensor(&message).is_err());
    }
}
