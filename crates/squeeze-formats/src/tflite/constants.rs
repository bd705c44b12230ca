//! What a file holds as constants: weights in our layouts, as bytes where they can be, biases and known integers.

use squeeze_tensor::Tensor as Stored;

use super::schema::{Kind, Model, Quantization, Tensor};
use crate::error::Broken;

/// The largest byte that a weight in bytes may have, and the smallest is its negative.
const LARGEST: i64 = 127;

/// A layer's weight.
pub(super) struct Weight {
    pub tensor: Stored,
    /// Whether the file has bytes that are not around zero, so that numbers were made of them.
    pub was_widened: bool,
}

/// A weight with its axes in another order, its outputs first: axis `i` is axis `order[i]` of the file.
///
/// Bytes stay bytes with a scale for each output where all of them are at most 127 away from what stands for zero.
pub(super) fn weight(model: &Model, tensor: &Tensor, order: &[usize]) -> Result<Weight, Broken> {
    let count = checked(tensor)?;
    model.file.charge(count.saturating_mul(4))?;
    let shape: Vec<usize> = order.iter().map(|&axis| tensor.shape[axis]).collect();
    let Some(quantized) = integers(tensor)? else {
        let numbers = reordered(&floats(tensor)?, &tensor.shape, order);
        return Ok(Weight {
            tensor: Stored::from_f32(&shape, &numbers),
            was_widened: false,
        });
    };
    let Quantization {
        scales,
        zeros,
        axis,
    } = quantized;
    if scales.len() > 1 && axis != order[0] {
        let name = tensor.name;
        return Err(Broken::new(format!(
            "tensor `{name}` has scales along axis {axis}, which is not read: convert it with a scale for each output"
        )));
    }
    let of = |all: &[i64], row: usize| all[row % all.len()];
    let width = shape[1..].iter().product::<usize>().max(1);
    let mut whole: Vec<i64> = ints(tensor)?;
    whole = reordered(&whole, &tensor.shape, order);
    for (row, values) in whole.chunks_mut(width).enumerate() {
        let zero = of(&zeros, row);
        values
            .iter_mut()
            .for_each(|value| *value = value.saturating_sub(zero));
    }
    let scales: Vec<f32> = (0..shape[0])
        .map(|row| scales[row % scales.len()])
        .collect();
    let are_bytes = whole
        .iter()
        .all(|value| (-LARGEST..=LARGEST).contains(value));
    if are_bytes {
        let bytes: Vec<i8> = whole.iter().map(|&value| value as i8).collect();
        let tensor = Stored::from_i8(&shape, &bytes).with_scales(&scales);
        let tensor = tensor.map_err(|error| Broken::new(error.to_string()))?;
        return Ok(Weight {
            tensor,
            was_widened: false,
        });
    }
    let rows = whole.chunks(width).zip(&scales);
    let numbers: Vec<f32> = rows
        .flat_map(|(row, scale)| row.iter().map(move |&value| scale * value as f32))
        .collect();
    Ok(Weight {
        tensor: Stored::from_f32(&shape, &numbers),
        was_widened: true,
    })
}

/// The numbers that a constant stands for, in the file's order.
pub(super) fn numbers(model: &Model, tensor: &Tensor) -> Result<Vec<f32>, Broken> {
    model.file.charge(checked(tensor)?.saturating_mul(4))?;
    let Some(quantized) = integers(tensor)? else {
        return floats(tensor);
    };
    let Quantization {
        scales,
        zeros,
        axis,
    } = quantized;
    // How many elements lie behind each other at one index of the axis.
    let inner: usize = match scales.len() {
        1 => 1,
        _ => tensor.shape[axis + 1..].iter().product(),
    };
    let all = ints(tensor)?.into_iter().enumerate();
    let number = |(at, value): (usize, i64)| {
        let index = at / inner.max(1) % scales.len();
        scales[index] * value.saturating_sub(zeros[index]) as f32
    };
    Ok(all.map(number).collect())
}

/// The whole numbers of a constant.
pub(super) fn known(model: &Model, tensor: &Tensor) -> Result<Vec<i64>, Broken> {
    model.file.charge(checked(tensor)?.saturating_mul(8))?;
    ints(tensor)
}

/// How many elements a constant has, at least one; all of them are there.
fn checked(tensor: &Tensor) -> Result<usize, Broken> {
    let bytes = match tensor.kind {
        Kind::F32 | Kind::I32 => 4,
        Kind::F16 | Kind::I16 => 2,
        Kind::I8 | Kind::U8 => 1,
        Kind::I64 => 8,
        Kind::Other(kind) => {
            let name = tensor.name;
            return Err(Broken::new(format!(
                "tensor `{name}` has elements of type {kind} of the schema: float32, float16, int8, uint8, int16, int32 and int64 are read"
            )));
        }
    };
    let mut sizes = tensor.shape.iter();
    let wanted = sizes.try_fold(bytes, |product: usize, &size| product.checked_mul(size));
    if wanted != Some(tensor.data.len()) || tensor.data.is_empty() {
        let (name, shape, found) = (tensor.name, &tensor.shape, tensor.data.len());
        return Err(Broken::new(format!(
            "tensor `{name}` of {shape:?} has {found} bytes: damaged, or no constant"
        )));
    }
    Ok(tensor.data.len() / bytes)
}

/// What a constant's integers stand for; nothing for numbers.
fn integers(tensor: &Tensor) -> Result<Option<Quantization>, Broken> {
    if matches!(tensor.kind, Kind::F32 | Kind::F16) {
        return Ok(None);
    }
    let name = tensor.name;
    let quantization = tensor.quantization()?;
    let missing = || Broken::new(format!("tensor `{name}` has integers and no scale"));
    quantization.ok_or_else(missing).map(Some)
}

/// Single or half precision.
fn floats(tensor: &Tensor) -> Result<Vec<f32>, Broken> {
    let dtype = match tensor.kind {
        Kind::F16 => squeeze_tensor::Dtype::F16,
        _ => squeeze_tensor::Dtype::F32,
    };
    let stored = Stored::new(
        dtype,
        &[tensor.data.len() / dtype.bytes()],
        tensor.data.to_vec(),
    );
    Ok(stored.expect("it was counted").floats())
}

fn ints(tensor: &Tensor) -> Result<Vec<i64>, Broken> {
    let data = tensor.data;
    Ok(match tensor.kind {
        Kind::I8 => data
            .iter()
            .map(|&byte| i64::from(byte.cast_signed()))
            .collect(),
        Kind::U8 => data.iter().map(|&byte| i64::from(byte)).collect(),
        Kind::I16 => of_bytes(data, i16::from_le_bytes),
        Kind::I32 => of_bytes(data, i32::from_le_bytes),
        Kind::I64 => of_bytes(data, i64::from_le_bytes),
        Kind::F32 | Kind::F16 | Kind::Other(_) => {
            let name = tensor.name;
            return Err(Broken::new(format!(
                "tensor `{name}` should hold whole numbers and does not"
            )));
        }
    })
}

fn of_bytes<const N: usize, T: Into<i64>>(data: &[u8], read: fn([u8; N]) -> T) -> Vec<i64> {
    let all = data.as_chunks().0.iter();
    all.map(|&bytes| read(bytes).into()).collect()
}

/// Elements of this shape with their axes in another order.
fn reordered<T: Copy>(values: &[T], shape: &[usize], order: &[usize]) -> Vec<T> {
    let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let mut from = vec![0];
    for &axis in order {
        let along = (0..shape[axis]).map(|index| index * stride(axis));
        from = from
            .iter()
            .flat_map(|&at| along.clone().map(move |step| at + step))
            .collect();
    }
    from.into_iter().map(|at: usize| values[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_in_another_order() {
        let values: Vec<usize> = (0..24).collect();
        let turned = reordered(&values, &[2, 3, 4], &[2, 0, 1]);
        assert_eq!(turned[..6], [0, 4, 8, 12, 16, 20]);
        assert_eq!(turned[6..8], [1, 5]);
        assert_eq!(reordered(&[7], &[], &[]), [7]);
    }
}
