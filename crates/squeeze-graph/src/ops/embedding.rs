//! Embedding tables and token positions.

use serde::{Deserialize, Serialize};

use crate::param::{Init, Param};
use crate::shape::{Shape, ShapeError};

/// A row of a table for each index: `[n, s]` to `[n, s, width]`, weight `[rows, width]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Rows of the table: the size of the vocabulary.
    pub rows: usize,
    /// Width of a row.
    pub width: usize,
}

impl Embedding {
    /// What comes out of indices `ids`.
    pub fn shape(&self, ids: &[usize]) -> Result<Shape, ShapeError> {
        if ids.len() != 2 {
            return Err(ShapeError::Rank {
                wanted: "indices [n, s]",
                found: ids.to_vec(),
            });
        }
        Ok(vec![ids[0], ids[1], self.width])
    }

    /// The table.
    pub fn params(&self) -> Vec<Param> {
        vec![Param::weight(
            vec![self.rows, self.width],
            Init::Normal(0.02),
        )]
    }
}

/// The place of each token in its text, counted from `first`: indices `[n, s]` to indices `[n, s]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Number of the first token (RoBERTa counts from 2).
    pub first: usize,
    /// Places there are; longer texts are refused.
    pub places: usize,
}

impl Position {
    /// What comes out of indices `ids`.
    pub fn shape(&self, ids: &[usize]) -> Result<Shape, ShapeError> {
        let &[_, s] = ids else {
            return Err(ShapeError::Rank {
                wanted: "indices [n, s]",
                found: ids.to_vec(),
            });
        };
        let end = self.first.saturating_add(s);
        if end > self.places {
            return Err(ShapeError::Range {
                start: self.first,
                end,
                size: self.places,
            });
        }
        Ok(ids.to_vec())
    }
}
