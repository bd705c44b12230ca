//! Shapes of activations and what can be wrong with them.
//!
//! Axis 0 is the batch. Images are `[n, c, h, w]`, text is `[n, s, c]`, vectors are `[n, c]`.

use thiserror::Error;

use crate::graph::Element;

/// Size of each axis, batch first.
pub type Shape = Vec<usize>;

/// The axis that holds the channels: 1 of an image, the last of everything else.
pub fn channel_axis(shape: &[usize]) -> usize {
    if shape.len() == 4 {
        1
    } else {
        shape.len().saturating_sub(1)
    }
}

/// Number of elements of a shape.
///
/// # Panics
/// When the product overflows; shapes in a [`Graph`](crate::Graph) were checked against that.
pub fn elements(shape: &[usize]) -> usize {
    shape
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
        .expect("was checked")
}

/// Why an operator cannot take its inputs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ShapeError {
    /// Another number of inputs.
    #[error("takes {wanted} inputs, {found} are given")]
    Inputs {
        /// What the operator takes.
        wanted: &'static str,
        /// What there is.
        found: usize,
    },
    /// Another number of axes.
    #[error("takes {wanted}, the input is {found:?}")]
    Rank {
        /// What the operator takes.
        wanted: &'static str,
        /// What there is.
        found: Shape,
    },
    /// Channels that cannot be cut into equal groups.
    #[error("{channels} channels do not divide into {groups} groups")]
    Groups {
        /// Input or output channels.
        channels: usize,
        /// Groups or heads asked for.
        groups: usize,
    },
    /// A window larger than what it slides over.
    #[error("a window of {window} does not fit into {size} with padding")]
    Window {
        /// Kernel size with dilation.
        window: usize,
        /// Input size with padding.
        size: usize,
    },
    /// A window over tokens that has no middle.
    #[error("the kernel must be odd so that the length stays, it is {kernel}")]
    EvenKernel {
        /// Kernel size.
        kernel: usize,
    },
    /// Two inputs that do not fit together.
    #[error("inputs {a:?} and {b:?} do not fit together")]
    Mismatch {
        /// First input.
        a: Shape,
        /// The other input.
        b: Shape,
    },
    /// A number that must be positive.
    #[error("{what} must not be zero")]
    Zero {
        /// Which number.
        what: &'static str,
    },
    /// An index outside of its axis.
    #[error("{start}..{end} is not inside an axis of {size}")]
    Range {
        /// First index.
        start: usize,
        /// One past the last index.
        end: usize,
        /// Size of the axis.
        size: usize,
    },
    /// Tokens of an image that do not fill the places there are.
    #[error("{tokens} tokens for {places} places: those of an image belong to one size")]
    Places {
        /// Tokens that come in.
        tokens: usize,
        /// Places there are.
        places: usize,
    },
    /// A reshape that changes the number of elements, or an axis that does not exist.
    #[error("{found:?} cannot take the form {wanted:?}")]
    Form {
        /// Input shape.
        found: Shape,
        /// Form asked for.
        wanted: Vec<i64>,
    },
    /// Numbers where indices are needed, or the reverse.
    #[error("input {index} must be of {wanted:?}")]
    Element {
        /// Which input.
        index: usize,
        /// What it must be.
        wanted: Element,
    },
    /// More elements than any machine of ours holds.
    #[error("{shape:?} has more than 2^40 elements")]
    TooLarge {
        /// The shape.
        shape: Shape,
    },
}

/// Refuses shapes with empty axes or an absurd number of elements.
pub(crate) fn check(shape: &[usize]) -> Result<(), ShapeError> {
    let count = shape
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size));
    match count {
        Some(0) => Err(ShapeError::Zero {
            what: "the size of an axis",
        }),
        Some(count) if count <= 1 << 40 => Ok(()),
        _ => Err(ShapeError::TooLarge {
            shape: shape.to_vec(),
        }),
    }
}

/// Refuses anything that is not an image.
pub(crate) fn image(shape: &[usize]) -> Result<[usize; 4], ShapeError> {
    <[usize; 4]>::try_from(shape).map_err(|_| ShapeError::Rank {
        wanted: "an image [n, c, h, w]",
        found: shape.to_vec(),
    })
}

/// Refuses groups that do not divide the channels.
pub(crate) fn divides(channels: usize, groups: usize) -> Result<(), ShapeError> {
    match groups {
        0 => Err(ShapeError::Zero {
            what: "the number of groups",
        }),
        _ if channels.is_multiple_of(groups) => Ok(()),
        _ => Err(ShapeError::Groups { channels, groups }),
    }
}

/// Places a window of `kernel` taps takes on an axis of `size` with `padding` before and after.
pub(crate) fn windows(
    size: usize,
    padding: usize,
    window: usize,
    stride: usize,
) -> Result<usize, ShapeError> {
    if stride == 0 {
        return Err(ShapeError::Zero { what: "the stride" });
    }
    let padded = size.saturating_add(padding);
    let room = padded.checked_sub(window).ok_or(ShapeError::Window {
        window,
        size: padded,
    })?;
    Ok(room / stride + 1)
}
