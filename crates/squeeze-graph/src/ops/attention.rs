//! Scaled dot-product attention with several heads (Vaswani et al., 2017).

use serde::{Deserialize, Serialize};

use crate::shape::{Shape, ShapeError, divides};

/// `softmax(q k' / sqrt(d)) v` for each head; inputs query, key, value `[n, s, c]` and, when
/// padded tokens must not be seen, the lengths `[n]` of the key texts. Queries may be of another
/// text than keys and values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Heads that the channels are cut into.
    pub heads: usize,
    /// Whether a token sees itself and those before it alone; of texts of one length.
    #[serde(default, skip_serializing_if = "is_false")]
    pub causal: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Attention {
    /// Attention in which every token sees the whole text.
    pub fn new(heads: usize) -> Self {
        let causal = false;
        Self { heads, causal }
    }

    /// Attention in which a token sees itself and those before it.
    pub fn causal(heads: usize) -> Self {
        let causal = true;
        Self { heads, causal }
    }

    /// What comes out of query, key, value and lengths.
    pub fn shape(&self, inputs: &[&[usize]]) -> Result<Shape, ShapeError> {
        let [query, key, value, lengths @ ..] = inputs else {
            return Err(ShapeError::Inputs {
                wanted: "three or four",
                found: inputs.len(),
            });
        };
        let (&[n, s, c], &[key_n, key_s, key_c], &[_, _, value_c]) = (*query, *key, *value) else {
            return Err(ShapeError::Rank {
                wanted: "text [n, s, c]",
                found: query.to_vec(),
            });
        };
        if (key_n, key_c) != (n, c) || value[..2] != key[..2] || key_s == 0 {
            return Err(ShapeError::Mismatch {
                a: query.to_vec(),
                b: key.to_vec(),
            });
        }
        if self.causal && key_s != s {
            return Err(ShapeError::Mismatch {
                a: query.to_vec(),
                b: key.to_vec(),
            });
        }
        if lengths.len() > 1 || lengths.iter().any(|lengths| **lengths != [n]) {
            return Err(ShapeError::Mismatch {
                a: query.to_vec(),
                b: lengths[0].to_vec(),
            });
        }
        divides(c, self.heads)?;
        divides(value_c, self.heads)?;
        Ok(vec![n, s, value_c])
    }

    /// Multiply-adds of the two products, whole ones: also of pairs that a causal mask hides, which
    /// published figures count too.
    pub fn macs(&self, inputs: &[&[usize]]) -> u64 {
        let (query, value) = (inputs[0], inputs[2]);
        let pairs = (query[0] * query[1]) as u64 * value[1] as u64;
        pairs * (query[2] + value[2]) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(row: Attention, query: [usize; 3], key: [usize; 3], fits: bool) {
        let shape = row.shape(&[&query, &key, &key]);
        assert_eq!(shape.is_ok(), fits, "{shape:?}");
    }

    #[test]
    fn keys_of_another_text() {
        check(Attention::new(2), [1, 5, 8], [1, 7, 8], true);
        check(Attention::new(2), [1, 5, 8], [2, 7, 8], false);
    }

    #[test]
    fn causal_texts_are_of_one_length() {
        check(Attention::causal(2), [1, 5, 8], [1, 5, 8], true);
        check(Attention::causal(2), [1, 5, 8], [1, 7, 8], false);
    }

    #[test]
    fn files_say_what_is_causal_and_nothing_else() {
        let text = |row: &Attention| toml::to_string(row).expect("a row has a text form");
        assert_eq!(text(&Attention::new(2)), "heads = 2\n");
        assert_eq!(text(&Attention::causal(2)), "heads = 2\ncausal = true\n");
        for row in [Attention::new(4), Attention::causal(4)] {
            assert_eq!(toml::from_str(&text(&row)), Ok(row));
        }
    }
}
