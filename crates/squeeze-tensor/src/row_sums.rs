//! Checksums of a table's rows: whoever takes few of them need not read the others.

use std::ops::Range;
use std::sync::Arc;

use crate::Tensor;

/// The CRC-64/XZ of every so many rows of a table, of fewer at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSums {
    /// Rows of a block; not zero.
    pub rows: usize,
    /// Of each block.
    pub sums: Vec<u64>,
}

/// What a table that nobody has checked yet is to be compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchecked {
    /// What its blocks of rows should have.
    pub sums: RowSums,
    /// The file that it lies in, for messages.
    pub file: String,
}

impl Tensor {
    /// The same as a table whose blocks are compared with these checksums by whoever reads them.
    ///
    /// # Panics
    /// When there is not one for each block of rows.
    pub fn unchecked_until_read(self, table: Unchecked) -> Self {
        let RowSums { rows, sums } = &table.sums;
        let blocks = self.shape[0].div_ceil(*rows);
        assert_eq!(sums.len(), blocks, "a checksum for each block");
        let unchecked = Some(Arc::new(table));
        Self { unchecked, ..self }
    }

    /// What blocks of rows are to be compared with before they are used; none if all was checked.
    pub fn unchecked(&self) -> Option<&Unchecked> {
        self.unchecked.as_deref()
    }

    /// The rows of a block of so many, and their bytes.
    ///
    /// # Panics
    /// When the table is shorter, or in panels.
    pub fn block_of_rows(&self, rows: usize, block: usize) -> (Range<usize>, &[u8]) {
        assert!(!self.in_panels, "rows lie one behind the other");
        let end = self.shape[0].min(rows * (block + 1));
        let (rows, width) = (rows * block..end, self.bytes.len() / self.shape[0]);
        let bytes = &self.bytes[rows.start * width..rows.end * width];
        (rows, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_is_shorter() {
        let table = Tensor::from_i8(&[5, 2], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(table.block_of_rows(2, 1), (2..4, &[4, 5, 6, 7][..]));
        assert_eq!(table.block_of_rows(2, 2), (4..5, &[8, 9][..]));
        let own = Unchecked {
            sums: RowSums {
                rows: 2,
                sums: vec![7; 3],
            },
            file: "a file".into(),
        };
        let unread = table.clone().unchecked_until_read(own.clone());
        assert_eq!((unread.unchecked(), table.unchecked()), (Some(&own), None));
    }
}
