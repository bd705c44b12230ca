//! How many messages a file's bytes hold, counted before memory is given to any: two bytes of a file can ask for a hundred.

use crate::error::Broken;

/// Most messages and words of a file; the largest networks have some ten thousand.
const MOST: usize = 1 << 20;

/// What a message may hold, as far as it is read.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Value,
    Type,
    TensorType,
    Shape,
    /// Anything that holds no messages.
    Leaf,
}

impl Kind {
    /// What the field of this number holds; nothing when it is not read.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) => Self::Graph,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) => Self::Tensor,
            (Self::Graph, 11 | 12) => Self::Value,
            (Self::Node, 5) => Self::Attribute,
            (Self::Attribute, 5) => Self::Tensor,
            (Self::Value, 2) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Model, 8 | 14) | (Self::Node, 1 | 2) | (Self::Tensor, 13) | (Self::Shape, 1) => {
                Self::Leaf
            }
            _ => return None,
        })
    }
}

/// Refuses bytes that hold too many messages, or are no messages at all.
pub(super) fn weigh(bytes: &[u8]) -> Result<(), Broken> {
    let mut left = MOST;
    walk(bytes, Kind::Model, &mut left)
}

fn walk(mut bytes: &[u8], kind: Kind, left: &mut usize) -> Result<(), Broken> {
    let damaged = || Broken::new("no ONNX file, or damaged: its fields do not fit into it");
    while !bytes.is_empty() {
        let key = varint(&mut bytes).ok_or_else(damaged)?;
        let skipped = match key & 7 {
            0 => {
                varint(&mut bytes).ok_or_else(damaged)?;
                0
            }
            1 => 8,
            2 => {
                let length = varint(&mut bytes).ok_or_else(damaged)?;
                let length = usize::try_from(length).map_err(|_| damaged())?;
                let inner = bytes.get(..length).ok_or_else(damaged)?;
                if let Some(inside) = kind.field(key >> 3) {
                    *left = left.checked_sub(1).ok_or_else(|| {
                        Broken::new(format!(
                            "more than {MOST} nodes, attributes and names: no network"
                        ))
                    })?;
                    if !matches!(inside, Kind::Leaf) {
                        walk(inner, inside, left)?;
                    }
                }
                length
            }
            5 => 4,
            _ => return Err(damaged()),
        };
        bytes = bytes.get(skipped..).ok_or_else(damaged)?;
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for at in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 127) << (7 * at).min(63);
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_empty_messages_are_refused() {
        // A graph of nodes that hold nothing: two bytes each.
        let count = MOST + 1;
        let mut bytes = vec![(7 << 3) | 2];
        let mut length = 2 * count;
        while length >= 128 {
            bytes.push((length % 128) as u8 | 128);
            length /= 128;
        }
        bytes.push(length as u8);
        bytes.extend([(1 << 3) | 2, 0].repeat(count));
        let error = weigh(&bytes).expect_err("too many");
        assert!(
            error.0.starts_with("more than 1048576 nodes"),
            "{}",
            error.0
        );
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in [
            &[58, 5, 0][..],
            &[58, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
            &[63],
        ] {
            assert!(weigh(bytes).is_err(), "{bytes:?}");
        }
    }
}
