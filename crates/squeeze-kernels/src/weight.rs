//! The weight of a layer as it comes to be packed in bytes: numbers, or bytes that were made of them before.

use crate::gemm_i8::weights;

/// Rows of weights, one for each output channel.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// Numbers; each row becomes bytes with a scale when it is packed.
    Numbers(&'a [f32]),
    /// Bytes, and the scale of each row: byte `b` stands for `scale * b`.
    Bytes(&'a [i8], &'a [f32]),
}

impl Weight<'_> {
    /// How many weights there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Bytes(bytes, _) => bytes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of a row, all of them as long as `to`, and its scale; where numbers become bytes, neighbours so far `apart` are limited as
    /// [`weights::to_bytes`] says.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, row: usize, apart: usize, to: &mut [i8]) -> f32 {
        let place = row * to.len()..(row + 1) * to.len();
        match self {
            Self::Numbers(numbers) => weights::to_bytes(&numbers[place], apart, to),
            Self::Bytes(bytes, scales) => {
                to.copy_from_slice(&bytes[place]);
                scales[row]
            }
        }
    }

    /// The bytes of so many rows, and their scales, as [`Weight::row`] gives them.
    ///
    /// # Panics
    /// When the weights are no whole number of so many rows.
    pub fn in_rows(&self, rows: usize, apart: usize) -> (Vec<i8>, Vec<f32>) {
        let len = self.len();
        assert!(rows > 0 && len.is_multiple_of(rows), "{len} in {rows} rows");
        let (mut bytes, mut scales) = (vec![0; len], vec![0.0; rows]);
        if len > 0 {
            let to = bytes.chunks_exact_mut(len / rows).zip(&mut scales);
            for (row, (bytes, scale)) in to.enumerate() {
                *scale = self.row(row, apart, bytes);
            }
        }
        (bytes, scales)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_what_they_are() {
        let numbers = Weight::Numbers(&[1.0, -2.0, 0.5, 0.0, 0.0, 0.0]);
        let (bytes, scales) = numbers.in_rows(2, 0);
        // Of the scales that are tried for a short row, one where nothing is lost.
        assert_eq!(bytes, [62, -124, 31, 0, 0, 0]);
        assert_eq!(scales, [2.0 / 124.0, 0.0]);
        let again = Weight::Bytes(&bytes, &scales).in_rows(2, 0);
        assert_eq!(again, (bytes, scales));
    }
}
