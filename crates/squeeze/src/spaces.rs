//! The search spaces by name, for a user who names one without a data set.

use squeeze_graph::Space;
use squeeze_zoo::{ImageSpace, TextSpace, ZooError};

use crate::error;

/// What a named space is built for; a design takes these from its data.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Height and width of images.
    pub image: usize,
    /// Channels of images.
    pub channels: usize,
    /// Tokens of texts.
    pub length: usize,
    /// Pieces in the vocabulary.
    pub vocabulary: usize,
    /// Classes.
    pub classes: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            image: 32,
            channels: 3,
            length: 64,
            vocabulary: 8192,
            classes: 10,
        }
    }
}

/// Every space on offer, built for this shape: texts first, each family from small to large.
///
/// # Errors
/// When the shape does not fit a space.
pub fn all(shape: &Shape) -> Result<Vec<(&'static str, Space)>, ZooError> {
    let &Shape {
        image,
        channels,
        length,
        vocabulary,
        classes,
    } = shape;
    let mut spaces = vec![];
    for row in TextSpace::presets(vocabulary, length, classes) {
        spaces.push(("text", squeeze_zoo::text(&row)?));
    }
    for row in ImageSpace::presets(channels, image, classes) {
        spaces.push(("image", squeeze_zoo::image(&row)?));
    }
    Ok(spaces)
}

/// The space of this name.
///
/// # Errors
/// When there is none, with the nearest name; or the shape does not fit it.
pub fn open(name: &str, shape: &Shape) -> anyhow::Result<Space> {
    let spaces = all(shape)?;
    let names: Vec<String> = spaces
        .iter()
        .map(|(_, space)| space.name().into())
        .collect();
    let found = spaces.into_iter().find(|(_, space)| space.name() == name);
    match found {
        Some((_, space)) => Ok(space),
        None => Err(error::unknown(
            "space",
            name,
            names.iter().map(String::as_str),
        )),
    }
}
