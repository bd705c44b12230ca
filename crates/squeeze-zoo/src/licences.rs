//! Licences of published weights, as those who publish them state them.

use crate::list::Entry;

/// Whose weights, their licence, and where it is stated.
pub(crate) struct Licence {
    /// What [`Entry::source`] ends with.
    pub source: &'static str,
    /// An SPDX name where there is one, or what is said instead.
    pub name: &'static str,
    /// Where it is stated.
    pub stated: &'static str,
}

const fn row(source: &'static str, name: &'static str, stated: &'static str) -> Licence {
    Licence {
        source,
        name,
        stated,
    }
}

const CARD: &str = "model card";
const NONE: &str = "none of this form published";
const REPOSITORY: &str = "licence of the repository";

#[rustfmt::skip]
pub(crate) const LICENCES: &[Licence] = &[
    row("Devlin et al., 2018; transformers", "Apache-2.0", "google-research/bert"),
    row("Turc et al., 2019; transformers", "Apache-2.0", "google-research/bert"),
    row("Wang et al., 2020; transformers", "MIT", CARD),
    row("Jiao et al., 2019; transformers", "not stated", CARD),
    row("Liu et al., 2019; transformers", "MIT", CARD),
    row("Sanh et al., 2019; transformers", "Apache-2.0", CARD),
    row("Clark et al., 2020; transformers", "Apache-2.0", CARD),
    row("Iandola et al., 2020; transformers", "BSD", "model card (\"bsd\", no variant)"),
    row("Lan et al., 2019; transformers", "Apache-2.0", CARD),
    row("Sun et al., 2020; transformers", "Apache-2.0", CARD),
    row("Radford et al., 2019; transformers", "modified MIT", "licence of openai/gpt-2"),
    row("Vaswani et al., 2017; transformers", NONE, "-"),
    row("tensor2tensor", NONE, "-"),
    row("Tiedemann and Thottingal, 2020; transformers", "CC-BY-4.0", "README of Helsinki-NLP/Opus-MT"),
    row("mit-han-lab/lite-transformer", NONE, REPOSITORY),
    row("torchvision", "terms of the training data", "README, \"Pre-trained Model License\"; the code is BSD-3-Clause"),
    row("timm", "Apache-2.0", "the models' configurations; the README advises to assume ImageNet's terms"),
    row("facebookresearch/FixRes", "CC-BY-NC-4.0", "README of FixEfficientNet"),
    row("VainF/DeepLabV3Plus-Pytorch", "MIT", REPOSITORY),
    row("tensorflow/models", "Apache-2.0", REPOSITORY),
    row("ashaw596/squeezenas", "MIT", REPOSITORY),
    row("milesial/Pytorch-UNet", "none of this size published", "-"),
];

impl Entry {
    /// Licence of the published weights: an SPDX name, or what is said instead.
    pub fn licence(&self) -> &'static str {
        let row = LICENCES
            .iter()
            .find(|row| self.source.ends_with(row.source));
        row.expect("every source is listed").name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_has_one_row_and_no_row_is_idle() {
        let fits = |entry: &Entry, row: &Licence| entry.source.ends_with(row.source);
        for entry in crate::list() {
            let rows = LICENCES.iter().filter(|row| fits(entry, row)).count();
            assert_eq!(rows, 1, "{}: {}", entry.name, entry.source);
        }
        for row in LICENCES {
            assert!(
                crate::list().iter().any(|entry| fits(entry, row)),
                "{}",
                row.source
            );
        }
    }
}
