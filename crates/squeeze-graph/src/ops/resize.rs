//! Resizing of feature maps.

use serde::{Deserialize, Serialize};

use crate::shape::{Shape, ShapeError, image};

/// How new pixels follow from old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMode {
    /// The nearest pixel.
    Nearest,
    /// Between four pixels, with pixel centres at halves (PyTorch's `align_corners=False`).
    Bilinear,
    /// Between four pixels, with the corner pixels kept (`align_corners=True`).
    BilinearCorners,
}

/// How large the result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeSize {
    /// So many times the input's size.
    Times(usize),
    /// This height and width.
    To([usize; 2]),
    /// The height and width of the second input.
    Like,
}

/// An image at another height and width.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// How pixels are made.
    pub mode: ResizeMode,
    /// How many there are.
    pub size: ResizeSize,
}

impl Resize {
    /// What comes out of the image `inputs[0]`, and `inputs[1]` for [`ResizeSize::Like`].
    pub fn shape(&self, inputs: &[&[usize]]) -> Result<Shape, ShapeError> {
        let wanted = if self.size == ResizeSize::Like { 2 } else { 1 };
        if inputs.len() != wanted {
            let wanted = if wanted == 2 { "two" } else { "one" };
            return Err(ShapeError::Inputs {
                wanted,
                found: inputs.len(),
            });
        }
        let [n, channels, height, width] = image(inputs[0])?;
        let [height, width] = match self.size {
            ResizeSize::Times(factor) => [height, width].map(|size| size.saturating_mul(factor)),
            ResizeSize::To(size) => size,
            ResizeSize::Like => {
                let [_, _, height, width] = image(inputs[1])?;
                [height, width]
            }
        };
        Ok(vec![n, channels, height, width])
    }
}
