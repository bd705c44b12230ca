//! Scaled dot-product attention with several heads (Vaswani et al., 2017).

use serde::{Deserialize, Serialize};

use crate::shape::{Shape, ShapeError, divides};

/// `softmax(q k' / sqrt(d)) v` for each head; inputs query, key, value `[n, s, c]` and, when
/// padded tokens must not be seen, the lengths `[n]` of the key texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Heads that the channels are cut into.
    pub heads: usize,
}

impl Attention {
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

    /// Multiply-adds of the two products.
    pub fn macs(&self, inputs: &[&[usize]]) -> u64 {
        let (query, value) = (inputs[0], inputs[2]);
        let pairs = (query[0] * query[1]) as u64 * value[1] as u64;
        pairs * (query[2] + value[2]) as u64
    }
}
