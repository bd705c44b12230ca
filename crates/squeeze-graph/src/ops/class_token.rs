//! Learned tokens put before those of a text or of an image's patches (Dosovitskiy et al., 2020).

use serde::{Deserialize, Serialize};

use crate::param::{Init, Param};
use crate::shape::{Shape, ShapeError};

/// The same learned rows in front of each text: `[n, s, c]` to `[n, tokens + s, c]`, weight `[tokens, c]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassToken {
    /// How many rows: one, or two for a network that was distilled (Touvron et al., 2020).
    pub tokens: usize,
}

impl ClassToken {
    /// What comes out of `x`.
    pub fn shape(&self, x: &[usize]) -> Result<Shape, ShapeError> {
        let &[n, s, channels] = x else {
            return Err(ShapeError::Rank {
                wanted: "text [n, s, c]",
                found: x.to_vec(),
            });
        };
        if self.tokens == 0 {
            return Err(ShapeError::Zero {
                what: "the number of class tokens",
            });
        }
        Ok(vec![n, s.saturating_add(self.tokens), channels])
    }

    /// The rows.
    pub fn params(&self, x: &[usize]) -> Vec<Param> {
        let channels = x[x.len() - 1];
        vec![Param::weight(
            vec![self.tokens, channels],
            Init::Normal(0.02),
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tokens: usize, x: &[usize], wanted: Option<Shape>) {
        let row = ClassToken { tokens };
        assert_eq!(row.shape(x).ok(), wanted);
        let text = toml::to_string(&row).expect("a row has a text form");
        assert_eq!(text, format!("tokens = {tokens}\n"));
        assert_eq!(toml::from_str(&text), Ok(row));
    }

    #[test]
    fn one() {
        check(1, &[2, 196, 768], Some(vec![2, 197, 768]));
    }

    #[test]
    fn two() {
        check(2, &[1, 196, 192], Some(vec![1, 198, 192]));
    }

    #[test]
    fn none() {
        check(0, &[1, 196, 192], None);
    }

    #[test]
    fn images_are_no_texts() {
        check(1, &[1, 768, 14, 14], None);
    }

    #[test]
    fn rows_are_as_wide_as_the_text() {
        let params = ClassToken { tokens: 2 }.params(&[1, 196, 192]);
        let shapes: Vec<_> = params.iter().map(|param| &param.shape[..]).collect();
        assert_eq!(shapes, [[2, 192]]);
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(toml::from_str::<ClassToken>("tokens = 1\nplaces = 3\n").is_err());
        assert!(toml::from_str::<ClassToken>("").is_err());
    }
}
