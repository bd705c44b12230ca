//! Tables of a mapped file, whose rows are checked when they are first taken.

use std::sync::atomic::{AtomicBool, Ordering};

use squeeze_kernels::crc64::sum;
use squeeze_tensor::{RowSums, Tensor, Unchecked};

use crate::error::InputError;

/// A table that an input of indices takes rows of.
#[derive(Debug)]
pub(crate) struct Unread {
    /// Which input.
    pub input: usize,
    /// The name of its weight.
    weight: String,
    table: Tensor,
    /// Whether each block of rows was found sound.
    seen: Vec<AtomicBool>,
}

impl Unread {
    /// The table, if nobody has checked all of it.
    pub fn of(input: usize, weight: String, table: &Tensor) -> Option<Self> {
        let seen = table.unchecked()?.sums.sums.iter();
        let seen = seen.map(|_| AtomicBool::new(false)).collect();
        Some(Self {
            input,
            weight,
            table: table.clone(),
            seen,
        })
    }

    /// Checks the rows of these indices, which are rows of it, with their neighbours, unless that was done.
    pub fn check(&self, indices: &[i32]) -> Result<(), InputError> {
        let Unchecked { sums, file } = self.table.unchecked().expect("it was made of one");
        let RowSums { rows, sums } = sums;
        for &index in indices {
            let block = usize::try_from(index).expect("its range was checked") / rows;
            if self.seen[block].load(Ordering::Relaxed) {
                continue;
            }
            let (of, bytes) = self.table.block_of_rows(*rows, block);
            if sum(bytes) != sums[block] {
                return Err(InputError::Damaged {
                    file: file.clone(),
                    weight: self.weight.clone(),
                    first: of.start,
                    last: of.end - 1,
                });
            }
            self.seen[block].store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
