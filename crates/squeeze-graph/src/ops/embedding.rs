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

/// The place of each token in its text, counted from `first`: indices `[n, s]`, or the tokens themselves `[n, s, c]`, to indices `[n, s]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Number of the first token (RoBERTa counts from 2).
    pub first: usize,
    /// Places there are; longer texts are refused. Tokens themselves must fill them: an image's patches lie on a grid, of which another
    /// number of patches would have another one.
    pub places: usize,
}

impl Position {
    /// What comes out of indices `[n, s]` or tokens `[n, s, c]`.
    pub fn shape(&self, text: &[usize]) -> Result<Shape, ShapeError> {
        let (&[n, s] | &[n, s, _]) = text else {
            return Err(ShapeError::Rank {
                wanted: "indices [n, s] or text [n, s, c]",
                found: text.to_vec(),
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
        if text.len() == 3 && end < self.places {
            return Err(ShapeError::Places {
                tokens: s,
                places: self.places - self.first,
            });
        }
        Ok(vec![n, s])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &[usize], message: &str) {
        let row = Position {
            first: 2,
            places: 9,
        };
        let found = row.shape(text).map_err(|error| error.to_string());
        let wanted = match message {
            "" => Ok(text[..2].to_vec()),
            _ => Err(message.to_owned()),
        };
        assert_eq!(found, wanted);
    }

    #[test]
    fn texts_may_be_shorter() {
        check(&[3, 7], "");
        check(&[3, 4], "");
        check(&[3, 8], "2..10 is not inside an axis of 9");
    }

    #[test]
    fn patches_fill_their_grid() {
        check(&[3, 7, 16], "");
        let message = "4 tokens for 7 places: those of an image belong to one size";
        check(&[3, 4, 16], message);
        check(&[3, 8, 16], "2..10 is not inside an axis of 9");
    }

    #[test]
    fn images_have_no_order() {
        let message = "takes indices [n, s] or text [n, s, c], the input is [1, 2, 3, 4]";
        check(&[1, 2, 3, 4], message);
    }
}
