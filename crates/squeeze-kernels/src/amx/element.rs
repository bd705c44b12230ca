//! What tiles are made of.

/// What the registers multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// Numbers rounded to bfloat16.
    Bf16,
    /// Three products of two parts each: 16 bits of a number.
    Bf16x3,
    /// Six products of three parts each: single precision.
    Bf16x6,
    /// Numbers in half precision, scaled by powers of two: weights for each output channel, the left side for each row, or for each image
    /// where windows share its pixels.
    F16,
}

/// Numbers in a line of 64 bytes.
pub const LINE: usize = 32;

impl Element {
    /// Every element, in the order of a kernel's blocks.
    pub const ALL: [Element; 4] = [
        Element::Bf16,
        Element::Bf16x3,
        Element::Bf16x6,
        Element::F16,
    ];

    /// Its place in [`Element::ALL`].
    pub(super) fn place(self) -> usize {
        let place = Element::ALL.iter().position(|&element| element == self);
        place.expect("all are listed")
    }

    /// How many parts a number has.
    pub(crate) fn parts(self) -> usize {
        match self {
            Element::Bf16 | Element::F16 => 1,
            Element::Bf16x3 => 2,
            Element::Bf16x6 => 3,
        }
    }

    /// How many products of parts a product of numbers takes.
    pub fn products(self) -> usize {
        super::scalar::pairs(self).len()
    }

    /// Whether rows and columns have scales.
    pub(super) fn is_scaled(self) -> bool {
        self == Element::F16
    }
}
