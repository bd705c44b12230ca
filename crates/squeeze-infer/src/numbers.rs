//! Numbers of weights, where the file has them.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use squeeze_kernels::Weight;
use squeeze_kernels::gemm_f32::{Kept, PANEL};
use squeeze_tensor::Tensor;

/// The weight of a layer: tensors whose rows lie below each other, or take turns, not yet read.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    parts: Vec<Tensor>,
    /// The name of each.
    names: Vec<String>,
    /// Which column of the file's tensor each column of a part is, where they are in another order.
    orders: Vec<Option<Vec<usize>>>,
    /// How many parts, of as many rows each, the tensors are cut into that take turns.
    turns: usize,
}

/// A weight as it is packed in bytes: of numbers, or of bytes if that is what the file has.
pub(crate) enum Held<'a> {
    Numbers(Cow<'a, [f32]>),
    Bytes(Cow<'a, [i8]>, Cow<'a, [f32]>),
}

/// A table that a plan reads as it lies, so that only the rows it takes are ever in memory.
#[derive(Clone, Debug)]
pub(crate) struct Table(Tensor);

/// A weight that lies in panels.
struct InPanels(Tensor);

impl Deref for InPanels {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.panels().expect("it was asked for them before")
    }
}

// What files hold is what products read.
const _: () = assert!(squeeze_tensor::PANEL == PANEL);

impl Rows {
    /// Those of one tensor.
    pub fn of(name: String, tensor: &Tensor) -> Self {
        Self {
            parts: vec![tensor.clone()],
            names: vec![name],
            orders: vec![None],
            turns: 1,
        }
    }

    /// Those of some tensors: the first of so many parts of each tensor, then the next of each. One part puts them below each other.
    ///
    /// # Panics
    /// If one of several parts would be of a tensor that takes turns itself.
    pub fn by_turns(all: impl IntoIterator<Item = Rows>, turns: usize) -> Self {
        let (mut parts, mut names, mut orders) = (vec![], vec![], vec![]);
        for rows in all {
            assert!(rows.turns == 1 && (turns == 1 || rows.parts.len() == 1));
            parts.extend(rows.parts);
            names.extend(rows.names);
            orders.extend(rows.orders);
        }
        Self {
            parts,
            names,
            orders,
            turns,
        }
    }

    /// Names of the tensors, and which of its columns each column is, where their order is another one.
    pub fn orders(&self) -> impl Iterator<Item = (&String, Option<&[usize]>)> {
        let orders = self.orders.iter().map(Option::as_deref);
        self.names.iter().zip(orders)
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Tensor::len).sum()
    }

    /// The weight as products read it where it lies, below each other if in several pieces, if all of it is held in panels.
    pub fn panels(&self) -> Option<Vec<Kept>> {
        let kept = |part: &Tensor| -> Option<Kept> {
            part.panels()?;
            Some(Arc::new(InPanels(part.clone())))
        };
        let in_order = self.turns == 1 || self.parts.len() == 1;
        let parts = self.parts.iter().map(kept);
        in_order.then(|| parts.collect()).flatten()
    }

    /// The numbers: where they lie if they are single precision in one piece, else copied for as long as they are needed.
    pub fn numbers(&self) -> Cow<'_, [f32]> {
        match &*self.parts {
            [whole] => whole.numbers(),
            parts => {
                let numbers: Vec<_> = parts.iter().map(Tensor::numbers).collect();
                let numbers: Vec<&[f32]> = numbers.iter().map(|numbers| &**numbers).collect();
                in_turns(&numbers, self.turns).into()
            }
        }
    }

    /// The bytes with their scales, if all rows have some, else the numbers; where they lie if possible.
    pub fn held(&self) -> Held<'_> {
        let parts: Option<Vec<_>> = self.parts.iter().map(Tensor::scaled).collect();
        match parts.as_deref() {
            None => Held::Numbers(self.numbers()),
            Some(&[(bytes, scales)]) => Held::Bytes(bytes.into(), scales.into()),
            Some(parts) => {
                let (bytes, scales): (Vec<&[i8]>, Vec<&[f32]>) = parts.iter().copied().unzip();
                let (bytes, scales) = (in_turns(&bytes, self.turns), in_turns(&scales, self.turns));
                Held::Bytes(bytes.into(), scales.into())
            }
        }
    }

    /// Multiplies each row by its factor.
    pub fn scale(&mut self, factors: &[f32]) {
        self.reorder(|tensor| tensor.rows_times(factors));
    }

    /// Puts what is in the second axis of each row in another order: place `at` has what was in place `order[at]`.
    pub fn reorder_columns(&mut self, order: &[usize]) {
        self.reorder(|tensor| tensor.columns_in(order));
        let before = self.orders[0].take();
        let source = |&at: &usize| before.as_ref().map_or(at, |before| before[at]);
        self.orders[0] = Some(order.iter().map(source).collect());
    }

    /// Puts rows in another order.
    pub fn reorder(&mut self, reordered: impl Fn(&Tensor) -> Tensor) {
        let [whole] = &mut *self.parts else {
            unreachable!("rows are put in order before others come below them")
        };
        *whole = reordered(whole);
    }
}

/// The first of so many parts of each side, then the next of each.
pub(crate) fn in_turns<T: Copy>(sides: &[&[T]], turns: usize) -> Vec<T> {
    let turn = |at: usize| {
        let part = move |side: &&[T]| {
            let len = side.len() / turns;
            at * len..(at + 1) * len
        };
        sides.iter().map(move |side| &side[part(side)])
    };
    let all: Vec<&[T]> = (0..turns).flat_map(turn).collect();
    all.concat()
}

impl Held<'_> {
    /// As the kernels take it.
    pub fn weight(&self) -> Weight<'_> {
        match self {
            Self::Numbers(numbers) => Weight::Numbers(numbers),
            Self::Bytes(bytes, scales) => Weight::Bytes(bytes, scales),
        }
    }
}

impl Table {
    /// The rows as the kernels take them.
    pub fn rows(&self) -> Weight<'_> {
        match self.0.scaled() {
            Some((bytes, scales)) => Weight::Bytes(bytes, scales),
            None => Weight::Numbers(self.numbers()),
        }
    }

    /// The numbers of a table that has no bytes.
    ///
    /// # Panics
    /// If it has.
    pub fn numbers(&self) -> &[f32] {
        self.0.as_f32().expect("bytes are made numbers before")
    }

    /// The same as numbers.
    pub fn in_numbers(self) -> Self {
        match self.0.as_f32() {
            Some(_) => self,
            None => Self(Tensor::from_f32(self.0.shape(), &self.0.floats())),
        }
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.0.size()
    }
}

impl From<&Tensor> for Table {
    fn from(tensor: &Tensor) -> Self {
        let table = Self(tensor.clone());
        match tensor.scaled() {
            Some(_) => table,
            None => table.in_numbers(),
        }
    }
}

#[cfg(test)]
mod tests {
    use squeeze_tensor::Dtype;

    use super::*;

    fn in_bytes(bytes: &[i8], scales: &[f32]) -> Tensor {
        let shape = [scales.len(), bytes.len() / scales.len()];
        let tensor = Tensor::from_i8(&shape, bytes);
        tensor.with_scales(scales).expect("one a row")
    }

    fn of(tensor: &Tensor) -> Rows {
        Rows::of("layer.weight".into(), tensor)
    }

    #[test]
    fn rows_in_one_piece_stay_where_they_are() {
        let tensor = Tensor::from_f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let mut rows = of(&tensor);
        assert!(matches!(rows.numbers(), Cow::Borrowed(_)));
        rows.reorder(|tensor| tensor.rows_in(&[1, 0]));
        let below = of(&Tensor::from_f32(&[1, 2], &[5.0, 6.0]));
        let rows = Rows::by_turns([rows, below], 1);
        assert_eq!(*rows.numbers(), [3.0, 4.0, 1.0, 2.0, 5.0, 6.0]);
    }

    #[test]
    fn bytes_stay_bytes() {
        let rows = of(&in_bytes(&[1, 2, 3, 4], &[0.5, 2.0]));
        let is_borrowed = |rows: &Rows| matches!(rows.held(), Held::Bytes(Cow::Borrowed(_), _));
        assert!(is_borrowed(&rows));
        let rows = Rows::by_turns([rows, of(&in_bytes(&[5, 6], &[3.0]))], 1);
        let held = rows.held();
        let Weight::Bytes(bytes, scales) = held.weight() else {
            panic!("all rows are bytes");
        };
        assert_eq!(
            (bytes, scales),
            (&[1, 2, 3, 4, 5, 6][..], &[0.5, 2.0, 3.0][..])
        );
        drop(held);
        assert_eq!(*rows.numbers(), [0.5, 1.0, 6.0, 8.0, 15.0, 18.0]);
        let numbers = of(&Tensor::from_f32(&[1, 2], &[7.0, 8.0]));
        let rows = Rows::by_turns([rows, numbers], 1);
        assert!(matches!(rows.held(), Held::Numbers(numbers) if numbers.len() == 8));
    }

    #[test]
    fn rows_take_turns() {
        let numbers = |first: f32| Tensor::from_f32(&[2, 1], &[first, first + 1.0]);
        let three = [1.0, 3.0, 5.0].map(|first| of(&numbers(first)));
        let below = Rows::by_turns(three.clone(), 1);
        assert_eq!(*below.numbers(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let by_turns = Rows::by_turns(three, 2);
        assert_eq!(*by_turns.numbers(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        let two = [
            of(&in_bytes(&[1, 2], &[0.5, 2.0])),
            of(&in_bytes(&[3, 4], &[0.25, 4.0])),
        ];
        let by_turns = Rows::by_turns(two, 2);
        let held = by_turns.held();
        let Weight::Bytes(bytes, scales) = held.weight() else {
            panic!("all rows are bytes");
        };
        assert_eq!(
            (bytes, scales),
            (&[1, 3, 2, 4][..], &[0.5, 0.25, 2.0, 4.0][..])
        );
    }

    #[test]
    fn tables_of_halves_are_widened_once() {
        // 1.5 and -2 in bfloat16.
        let bytes = vec![0xc0, 0x3f, 0x00, 0xc0];
        let halves = Tensor::new(Dtype::Bf16, &[2, 1], bytes).expect("fits");
        assert_eq!(*Table::from(&halves).numbers(), [1.5, -2.0]);
        let tensor = Tensor::from_f32(&[2], &[1.0, 2.0]);
        let table = Table::from(&tensor);
        let numbers = table.numbers().as_ptr();
        assert_eq!(Some(numbers), tensor.as_f32().map(<[f32]>::as_ptr));
        let table = Table::from(&in_bytes(&[1, 2, 3, 4], &[0.5, 2.0]));
        assert!(matches!(table.rows(), Weight::Bytes(..)) && table.bytes() == 4 + 8);
        assert_eq!(*table.in_numbers().numbers(), [0.5, 1.0, 6.0, 8.0]);
    }
}
