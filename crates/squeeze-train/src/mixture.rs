//! Which choices of a space each example of a batch goes through, and with which weights.

/// For each slot of a space, the choices that each example takes.
///
/// A slot gives `sum of weight * choice(x)` over an example's parts. Only choices that appear are
/// computed, each once, on the examples that take it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mixture {
    /// For each slot its parts, in any order.
    pub slots: Vec<Vec<Part>>,
}

/// One example takes one choice with one weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Which example of the batch.
    pub example: usize,
    /// Which choice of the slot.
    pub choice: usize,
    /// Its share.
    pub weight: f32,
}

impl Mixture {
    /// All `examples` take the same single choice in each slot.
    pub fn single(picks: &[usize], examples: usize) -> Self {
        let part = |example, choice| Part {
            example,
            choice,
            weight: 1.0,
        };
        let slot = |&choice: &usize| (0..examples).map(|example| part(example, choice)).collect();
        Self {
            slots: picks.iter().map(slot).collect(),
        }
    }
}
