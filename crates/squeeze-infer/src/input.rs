//! What a plan is given: numbers or indices, checked before a run.

use squeeze_graph::{Element, Shape, elements};

use crate::error::InputError;

/// One input of a run. Images are channels-last: `[n, h, w, c]`, see [`channels_last`].
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Numbers in the order of memory.
    Numbers(&'a [f32]),
    /// Tokens, types or lengths.
    Indices(&'a [i32]),
}

/// What an input must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Its name in the network.
    pub name: String,
    /// Its shape in the network; an image is `[n, c, h, w]` here and channels-last in memory.
    pub shape: Shape,
    /// Numbers or indices.
    pub element: Element,
    /// Least and greatest index that every user of the input takes.
    pub range: (i32, i32),
}

impl InputSpec {
    /// Numbers of a row in memory: an image's channels, else the last axis.
    pub(crate) fn channels(&self) -> usize {
        match *self.shape {
            [_, channels, _, _] => channels,
            _ => self.shape.last().copied().unwrap_or(1),
        }
    }

    /// Refuses what the plan cannot take.
    pub(crate) fn check(&self, input: &Input) -> Result<(), InputError> {
        let (element, found) = match input {
            Input::Numbers(values) => (Element::Number, values.len()),
            Input::Indices(values) => (Element::Index, values.len()),
        };
        let name = || self.name.clone();
        if element != self.element {
            let wanted = match self.element {
                Element::Number => "numbers",
                Element::Index => "indices",
            };
            return Err(InputError::Kind {
                name: name(),
                wanted,
            });
        }
        if found != elements(&self.shape) {
            let shape = self.shape.clone();
            return Err(InputError::Length {
                name: name(),
                shape,
                found,
            });
        }
        let Input::Indices(values) = input else {
            return Ok(());
        };
        let (least, most) = self.range;
        match values
            .iter()
            .position(|value| !(least..=most).contains(value))
        {
            None => Ok(()),
            Some(at) => Err(InputError::Range {
                name: name(),
                at,
                value: values[at],
                least,
                most,
            }),
        }
    }
}

/// Images `[n, c, h, w]` as plans take them: `[n, h, w, c]`.
///
/// # Panics
/// When there are not as many numbers as `shape` says.
pub fn channels_last(shape: [usize; 4], images: &[f32]) -> Vec<f32> {
    let [n, c, h, w] = shape;
    assert_eq!(images.len(), n * c * h * w, "images of shape {shape:?}");
    let mut out = vec![0.0; images.len()];
    for image in 0..n {
        for channel in 0..c {
            for pixel in 0..h * w {
                out[(image * h * w + pixel) * c + channel] =
                    images[(image * c + channel) * h * w + pixel];
            }
        }
    }
    out
}

/// Images as plans give them, `[n, h, w, c]`, as `[n, c, h, w]`.
///
/// # Panics
/// When there are not as many numbers as `shape`, which is `[n, c, h, w]`, says.
pub fn channels_first([n, c, h, w]: [usize; 4], images: &[f32]) -> Vec<f32> {
    channels_last([n, h * w, c, 1], images)
}
