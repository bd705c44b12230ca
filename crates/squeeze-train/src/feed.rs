//! What goes into a network.

/// One input of a network with its shape.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// Shape in the graph's order of axes, batch first: `[n, c, h, w]`, `[n, s]`, `[n]`, `[n, c]`.
    pub shape: &'a [usize],
    /// The elements; an image channels-last, as in all memory.
    pub data: Data<'a>,
}

/// Elements of an input.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Numbers.
    Numbers(&'a [f32]),
    /// Indices: tokens, types, lengths.
    Indices(&'a [i32]),
}

impl<'a> Feed<'a> {
    /// An input of numbers.
    pub fn numbers(shape: &'a [usize], data: &'a [f32]) -> Self {
        let data = Data::Numbers(data);
        Self { shape, data }
    }

    /// An input of indices.
    pub fn indices(shape: &'a [usize], data: &'a [i32]) -> Self {
        let data = Data::Indices(data);
        Self { shape, data }
    }

    pub(crate) fn len(&self) -> usize {
        match self.data {
            Data::Numbers(data) => data.len(),
            Data::Indices(data) => data.len(),
        }
    }
}
