//! A dense array: element type, shape and little-endian bytes in row-major order.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use half::{bf16, f16};
use thiserror::Error;

use crate::{Dtype, Unchecked};

/// A dense row-major array of any [`Dtype`].
///
/// The elements live in bytes, as they do in files, and may be a part of a mapped file. Clones share them.
/// [`Tensor::numbers`] gives them as `f32`.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Bytes,
    /// Of each row, for a weight in bytes.
    pub(crate) scales: Option<Arc<[f32]>>,
    /// Whether the elements lie in panels instead of row by row.
    pub(crate) in_panels: bool,
    /// Of a table whose rows nobody has checked yet.
    pub(crate) unchecked: Option<Arc<Unchecked>>,
}

/// A tensor whose parts do not fit together, or that has another element type than asked for.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum TensorError {
    /// The number of bytes is not what shape and element type ask for.
    #[error("{bytes} bytes do not hold {shape:?} elements of {}", dtype.name())]
    Length {
        /// Element type asked for.
        dtype: Dtype,
        /// Shape asked for.
        shape: Vec<usize>,
        /// Bytes given.
        bytes: usize,
    },
    /// The shape has more elements than memory has addresses.
    #[error("shape {shape:?} has more elements than this machine can address")]
    Overflow {
        /// Shape asked for.
        shape: Vec<usize>,
    },
    /// There is not one scale for each row of the first axis.
    #[error("{scales} scales for bytes of {shape:?}: one for each of the first axis is needed")]
    Scales {
        /// Shape of the bytes.
        shape: Vec<usize>,
        /// Scales given.
        scales: usize,
    },
    /// A scale that no bytes can have.
    #[error("the scale of row {row} is {scale}: it must be finite and not negative")]
    Scale {
        /// Which row.
        row: usize,
        /// What it is.
        scale: f32,
    },
    /// Numbers of another kind were asked for.
    #[error("tensor of {} where {} is needed", found.name(), wanted.name())]
    Dtype {
        /// The type there is.
        found: Dtype,
        /// The type asked for.
        wanted: Dtype,
    },
}

impl Tensor {
    /// A tensor from raw little-endian bytes, which are not copied.
    ///
    /// # Errors
    /// When the length of `bytes` is not the product of `shape` times the size of an element.
    pub fn new(
        dtype: Dtype,
        shape: &[usize],
        bytes: impl Into<Bytes>,
    ) -> Result<Self, TensorError> {
        let bytes = bytes.into();
        let wanted = shape
            .iter()
            .try_fold(dtype.bytes(), |product, &size| product.checked_mul(size))
            .ok_or_else(|| TensorError::Overflow {
                shape: shape.to_vec(),
            })?;
        if wanted != bytes.len() {
            let shape = shape.to_vec();
            return Err(TensorError::Length {
                dtype,
                shape,
                bytes: bytes.len(),
            });
        }
        Ok(Self {
            dtype,
            shape: shape.to_vec(),
            bytes,
            scales: None,
            in_panels: false,
            unchecked: None,
        })
    }

    /// An `f32` tensor.
    ///
    /// # Panics
    /// When `values` are not as many as `shape` says.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Self {
        assert_eq!(
            shape.iter().product::<usize>(),
            values.len(),
            "values of shape {shape:?}"
        );
        let mut bytes = vec![0; size_of_val(values)];
        for (to, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
            *to = value.to_le_bytes();
        }
        Self {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: bytes.into(),
            scales: None,
            in_panels: false,
            unchecked: None,
        }
    }

    /// An `f32` tensor of zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        let bytes = vec![0; shape.iter().product::<usize>() * Dtype::F32.bytes()];
        Self {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: bytes.into(),
            scales: None,
            in_panels: false,
            unchecked: None,
        }
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Size of each axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The elements as little-endian bytes, as they lie.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements as `f32` where they lie, if that is what they are, row by row, and each lies on a multiple of four bytes.
    pub fn as_f32(&self) -> Option<&[f32]> {
        let is_native =
            self.dtype == Dtype::F32 && !self.in_panels && cfg!(target_endian = "little");
        bytemuck::try_cast_slice(&self.bytes)
            .ok()
            .filter(|_| is_native)
    }

    /// The elements as `f32`: where they lie if possible, else copied or converted.
    pub fn numbers(&self) -> Cow<'_, [f32]> {
        match self.as_f32() {
            Some(numbers) => Cow::Borrowed(numbers),
            None => Cow::Owned(self.floats()),
        }
    }

    /// A copy of the elements as `f32`; half-precision numbers and integers are converted, bytes with scales are multiplied by them.
    pub fn floats(&self) -> Vec<f32> {
        let bytes = &self.bytes;
        match self.dtype {
            Dtype::F32 if self.in_panels => self.rows_of_panels(),
            Dtype::F32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|&b| f32::from_le_bytes(b))
                .collect(),
            Dtype::F16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|&b| f16::from_le_bytes(b).to_f32())
                .collect(),
            Dtype::Bf16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|&b| bf16::from_le_bytes(b).to_f32())
                .collect(),
            Dtype::I8 => self.signed_floats(),
            Dtype::U8 => bytes.iter().map(|&b| f32::from(b)).collect(),
            Dtype::I32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|&b| i32::from_le_bytes(b) as f32)
                .collect(),
            Dtype::I64 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|&b| i64::from_le_bytes(b) as f32)
                .collect(),
        }
    }

    /// The elements as `i32`.
    ///
    /// # Errors
    /// When the element type is not [`Dtype::I32`].
    pub fn ints(&self) -> Result<Vec<i32>, TensorError> {
        if self.dtype != Dtype::I32 {
            return Err(TensorError::Dtype {
                found: self.dtype,
                wanted: Dtype::I32,
            });
        }
        Ok(self
            .bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| i32::from_le_bytes(b))
            .collect())
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// When `shape` has another number of elements, or, for bytes with scales, of rows.
    pub fn reshaped(self, shape: &[usize]) -> Result<Self, TensorError> {
        let rows = self.in_rows();
        let tensor = Self::new(rows.dtype, shape, rows.bytes)?;
        match rows.scales {
            Some(scales) => tensor.with_scales(&scales),
            None => Ok(tensor),
        }
    }
}

impl PartialEq for Tensor {
    /// Whether they are the same to the last bit, however their elements lie.
    fn eq(&self, other: &Self) -> bool {
        (self.dtype, &self.shape, &self.scales) == (other.dtype, &other.shape, &other.scales)
            && match self.in_panels == other.in_panels {
                true => self.bytes == other.bytes,
                false => self.in_rows().bytes == other.in_rows().bytes,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_round_trip() {
        let tensor = Tensor::from_f32(&[2, 2], &[1.0, -2.5, 0.0, f32::MAX]);
        assert_eq!(tensor.floats(), [1.0, -2.5, 0.0, f32::MAX]);
        assert_eq!((tensor.len(), tensor.bytes().len()), (4, 16));
    }

    #[test]
    fn numbers_are_not_copied_without_need() {
        let bytes = Bytes::from([1.0f32, 2.0].map(f32::to_le_bytes).concat());
        let tensor = Tensor::new(Dtype::F32, &[2], bytes.clone()).expect("fits");
        assert_eq!(tensor.bytes().as_ptr(), bytes.as_ptr());
        assert_eq!(tensor.as_f32(), Some(&[1.0, 2.0][..]));
        // One byte off: no number lies on a multiple of four.
        let moved = Bytes::from([&[0], &bytes[..]].concat()).slice(1..);
        let tensor = Tensor::new(Dtype::F32, &[2], moved).expect("fits");
        assert_eq!(tensor.as_f32(), None);
        assert_eq!(tensor.numbers(), [1.0, 2.0].as_slice());
        let halves = Tensor::new(Dtype::F16, &[2], vec![0; 4]).expect("fits");
        assert_eq!(halves.as_f32(), None);
    }

    #[test]
    fn half_precision_is_widened() {
        let bytes = [
            f16::from_f32(1.5).to_le_bytes(),
            f16::from_f32(-2.0).to_le_bytes(),
        ]
        .concat();
        assert_eq!(
            Tensor::new(Dtype::F16, &[2], bytes).expect("fits").floats(),
            [1.5, -2.0]
        );
    }

    #[test]
    fn lying_shapes_are_refused() {
        let huge = Tensor::new(Dtype::F32, &[usize::MAX, 2], vec![]);
        assert!(matches!(huge, Err(TensorError::Overflow { .. })));
        let short = Tensor::new(Dtype::F32, &[3], vec![0; 8]);
        assert!(matches!(short, Err(TensorError::Length { bytes: 8, .. })));
    }
}
