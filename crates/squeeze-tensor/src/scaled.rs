//! Weights in bytes: each row of the first axis, an output channel or a row of a table, has a scale, and byte `b` of it stands for
//! `scale * b`. Whoever asks such a tensor for numbers gets those.

use crate::{Dtype, Tensor, TensorError};

impl Tensor {
    /// Signed bytes that count for themselves.
    ///
    /// # Panics
    /// When there are not as many as `shape` says.
    pub fn from_i8(shape: &[usize], values: &[i8]) -> Self {
        let bytes = bytemuck::cast_slice::<i8, u8>(values).to_vec();
        Self::new(Dtype::I8, shape, bytes).expect("as many bytes as the shape says")
    }

    /// Signed bytes with a scale for each row of the first axis.
    ///
    /// # Errors
    /// When there are not as many scales as rows, or one is negative or not finite.
    ///
    /// # Panics
    /// When the elements are no signed bytes.
    pub fn with_scales(self, scales: &[f32]) -> Result<Self, TensorError> {
        assert_eq!(self.dtype, Dtype::I8, "scales are those of signed bytes");
        if self.shape.first() != Some(&scales.len()) {
            let shape = self.shape;
            return Err(TensorError::Scales {
                shape,
                scales: scales.len(),
            });
        }
        let is_wrong = |&(_, scale): &(usize, &f32)| !(scale.is_finite() && *scale >= 0.0);
        if let Some((row, &scale)) = scales.iter().enumerate().find(is_wrong) {
            return Err(TensorError::Scale { row, scale });
        }
        let scales = Some(scales.into());
        Ok(Self { scales, ..self })
    }

    /// The bytes and the scale of each row, of a weight in bytes.
    pub fn scaled(&self) -> Option<(&[i8], &[f32])> {
        let scales = self.scales.as_deref()?;
        Some((bytemuck::cast_slice(&self.bytes), scales))
    }

    /// Bytes of the elements and of the scales.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.scales.as_deref().map_or(0, size_of_val::<[f32]>)
    }

    /// The same without its scales: bytes that count for themselves.
    pub fn without_scales(self) -> Self {
        let scales = None;
        Self { scales, ..self }
    }

    /// Signed bytes as numbers.
    pub(crate) fn signed_floats(&self) -> Vec<f32> {
        let bytes: &[i8] = bytemuck::cast_slice(&self.bytes);
        match &self.scales {
            None => bytes.iter().map(|&byte| f32::from(byte)).collect(),
            Some(scales) => {
                let width = bytes.len() / scales.len().max(1);
                let mut numbers = Vec::with_capacity(bytes.len());
                for (row, scale) in bytes.chunks(width.max(1)).zip(&**scales) {
                    numbers.extend(row.iter().map(|&byte| scale * f32::from(byte)));
                }
                numbers
            }
        }
    }

    /// Each row of the first axis times its factor: of bytes the scale is multiplied, and of a negative factor bytes change their sign.
    /// Numbers come of bytes where a factor is not finite.
    ///
    /// # Panics
    /// When there are more or fewer factors than rows.
    pub fn rows_times(&self, factors: &[f32]) -> Self {
        assert_eq!(self.shape.first(), Some(&factors.len()));
        let width = (self.len() / factors.len().max(1)).max(1);
        let in_bytes = self.scaled().and_then(|(bytes, scales)| {
            let mut bytes = bytes.to_vec();
            let rows = bytes.chunks_mut(width).zip(factors);
            for (row, _) in rows.filter(|(_, factor)| **factor < 0.0) {
                row.iter_mut()
                    .for_each(|byte| *byte = byte.saturating_neg());
            }
            let pairs = scales.iter().zip(factors);
            let scales: Vec<f32> = pairs.map(|(scale, factor)| scale * factor.abs()).collect();
            Self::from_i8(&self.shape, &bytes).with_scales(&scales).ok()
        });
        in_bytes.unwrap_or_else(|| {
            let mut numbers = self.floats();
            for (row, factor) in numbers.chunks_mut(width).zip(factors) {
                row.iter_mut().for_each(|number| *number *= factor);
            }
            Self::from_f32(&self.shape, &numbers)
        })
    }

    /// Rows of the first axis in another order: row `at` is what was row `order[at]`, its scale included.
    ///
    /// # Panics
    /// When a row is not there, or there are more or fewer than before.
    pub fn rows_in(&self, order: &[usize]) -> Self {
        assert_eq!(self.shape.first(), Some(&order.len()));
        let all = self.in_rows();
        let width = all.bytes.len() / order.len().max(1);
        let row = |&from: &usize| &all.bytes[from * width..][..width];
        let rows: Vec<&[u8]> = order.iter().map(row).collect();
        let scales = self.scales.as_deref();
        Self {
            bytes: rows.concat().into(),
            scales: scales.map(|scales| order.iter().map(|&from| scales[from]).collect()),
            ..all
        }
    }

    /// The second axis of each row in another order: place `at` has what was in place `order[at]`.
    ///
    /// # Panics
    /// When there are fewer than two axes, a place is not there, or there are more or fewer than before.
    pub fn columns_in(&self, order: &[usize]) -> Self {
        assert_eq!(self.shape[1], order.len());
        let each = self.shape[2..].iter().product::<usize>() * self.dtype.bytes();
        let all = self.in_rows();
        let mut bytes = Vec::with_capacity(all.bytes.len());
        for row in all.bytes.chunks((order.len() * each).max(1)) {
            for from in order {
                bytes.extend(&row[from * each..][..each]);
            }
        }
        Self {
            bytes: bytes.into(),
            ..all
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled() -> Tensor {
        let tensor = Tensor::from_i8(&[2, 3], &[127, -1, 0, 2, 4, -127]);
        tensor.with_scales(&[0.5, 2.0]).expect("two rows")
    }

    #[test]
    fn numbers_are_bytes_times_their_rows_scale() {
        let tensor = scaled();
        assert_eq!(tensor.floats(), [63.5, -0.5, 0.0, 4.0, 8.0, -254.0]);
        assert_eq!((tensor.as_f32(), tensor.dtype()), (None, Dtype::I8));
        let again = tensor.clone().without_scales();
        assert_eq!(again.floats(), [127.0, -1.0, 0.0, 2.0, 4.0, -127.0]);
        assert_ne!(tensor, again);
        let (own, scales) = tensor.scaled().expect("it has scales");
        assert_eq!((own.len(), scales), (6, &[0.5, 2.0][..]));
    }

    #[test]
    fn rows_and_columns_in_another_order() {
        let tensor = scaled();
        let rows = tensor.rows_in(&[1, 0]);
        assert_eq!(rows.floats(), [4.0, 8.0, -254.0, 63.5, -0.5, 0.0]);
        let columns = tensor.columns_in(&[2, 0, 1]);
        assert_eq!(columns.floats(), [0.0, 63.5, -0.5, -254.0, 4.0, 8.0]);
        let numbers = Tensor::from_f32(&[2, 2, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        let columns = numbers.columns_in(&[1, 0]);
        assert_eq!(columns.floats(), [2.0, 3.0, 0.0, 1.0, 6.0, 7.0, 4.0, 5.0]);
        assert_eq!(numbers.rows_in(&[1, 0]).floats()[..4], [4.0, 5.0, 6.0, 7.0]);
    }

    #[test]
    fn rows_times_factors() {
        let times = scaled().rows_times(&[2.0, -0.5]);
        assert_eq!(times.floats(), [127.0, -1.0, 0.0, -2.0, -4.0, 127.0]);
        assert!(times.scaled().is_some());
        let odd = scaled().rows_times(&[f32::NAN, 1.0]);
        assert!(odd.floats()[0].is_nan() && odd.floats()[5] == -254.0);
        let numbers = Tensor::from_f32(&[2, 1], &[3.0, 4.0]).rows_times(&[2.0, -1.0]);
        assert_eq!(numbers.floats(), [6.0, -4.0]);
    }

    #[test]
    fn scales_that_lie_are_refused() {
        let of = |scales: &[f32]| Tensor::from_i8(&[2, 3], &[1; 6]).with_scales(scales);
        assert!(of(&[0.0, 1.0]).is_ok());
        assert!(matches!(of(&[1.0]), Err(TensorError::Scales { .. })));
        for wrong in [-1.0, f32::NAN, f32::INFINITY] {
            let error = of(&[1.0, wrong]).expect_err("no scale");
            assert!(matches!(error, TensorError::Scale { row: 1, .. }));
        }
        assert!(scaled().reshaped(&[2, 3, 1]).is_ok());
        assert!(scaled().reshaped(&[3, 2]).is_err());
    }
}
