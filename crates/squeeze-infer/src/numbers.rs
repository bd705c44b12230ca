//! Numbers of weights, where the file has them.

use std::borrow::Cow;
use std::ops::Deref;

use squeeze_tensor::Tensor;

/// The weight of a layer: tensors whose rows lie below each other, not yet read.
#[derive(Clone, Debug)]
pub(crate) struct Rows(Vec<Tensor>);

/// A table that a plan reads as it lies, so that only the rows it takes are ever in memory.
#[derive(Clone, Debug)]
pub(crate) struct Table(Tensor);

impl Rows {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(Tensor::len).sum()
    }

    /// The numbers: where they lie if they are single precision in one piece, else copied for as long as they are needed.
    pub fn numbers(&self) -> Cow<'_, [f32]> {
        match &*self.0 {
            [whole] => whole.numbers(),
            parts => {
                let mut all = Vec::with_capacity(self.len());
                parts.iter().for_each(|part| all.extend(&*part.numbers()));
                Cow::Owned(all)
            }
        }
    }

    /// Puts more rows below these.
    pub fn append(&mut self, more: Rows) {
        self.0.extend(more.0);
    }

    /// Multiplies each row by its factor.
    pub fn scale(&mut self, factors: &[f32]) {
        let length = self.len() / factors.len();
        let mut numbers = self.numbers().into_owned();
        for (row, factor) in numbers.chunks_exact_mut(length).zip(factors) {
            row.iter_mut().for_each(|number| *number *= factor);
        }
        self.replace(&numbers);
    }

    /// Puts other numbers in their place, as many as there were.
    pub fn replace(&mut self, numbers: &[f32]) {
        assert_eq!(numbers.len(), self.len());
        self.0 = vec![Tensor::from_f32(&[numbers.len()], numbers)];
    }
}

impl From<&Tensor> for Rows {
    fn from(tensor: &Tensor) -> Self {
        Self(vec![tensor.clone()])
    }
}

impl From<&Tensor> for Table {
    fn from(tensor: &Tensor) -> Self {
        match tensor.as_f32() {
            Some(_) => Self(tensor.clone()),
            None => Self(Tensor::from_f32(tensor.shape(), &tensor.floats())),
        }
    }
}

impl Deref for Table {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.as_f32().expect("made of such a tensor")
    }
}

#[cfg(test)]
mod tests {
    use squeeze_tensor::Dtype;

    use super::*;

    #[test]
    fn rows_in_one_piece_stay_where_they_are() {
        let tensor = Tensor::from_f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let mut rows = Rows::from(&tensor);
        assert!(matches!(rows.numbers(), Cow::Borrowed(_)));
        rows.append(Rows::from(&Tensor::from_f32(&[1, 2], &[5.0, 6.0])));
        assert_eq!(*rows.numbers(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        rows.scale(&[2.0, 0.5]);
        assert_eq!(*rows.numbers(), [2.0, 4.0, 6.0, 2.0, 2.5, 3.0]);
        rows.replace(&[0.0; 6]);
        assert_eq!(*rows.numbers(), [0.0; 6]);
    }

    #[test]
    fn tables_of_halves_are_widened_once() {
        // 1.5 and -2 in bfloat16.
        let bytes = vec![0xc0, 0x3f, 0x00, 0xc0];
        let halves = Tensor::new(Dtype::Bf16, &[2, 1], bytes).expect("fits");
        assert_eq!(*Table::from(&halves), [1.5, -2.0]);
        let tensor = Tensor::from_f32(&[2], &[1.0, 2.0]);
        let table = Table::from(&tensor);
        assert_eq!(Some(table.as_ptr()), tensor.as_f32().map(<[f32]>::as_ptr));
    }
}
