//! Seeded stratified splits in which equal examples stay on one side.

use std::collections::{BTreeMap, HashMap};

use squeeze_tensor::Seed;

use crate::dataset::{Example, Input, Label, Picture};

/// Takes a share of the examples, the same share of each class, and gives `(rest, taken)` in their order.
///
/// Examples with equal inputs stay together. A class keeps at least one example in the rest.
pub fn take_share(examples: Vec<Example>, share: f32, seed: Seed) -> (Vec<Example>, Vec<Example>) {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known: HashMap<u64, usize> = HashMap::new();
    for (index, example) in examples.iter().enumerate() {
        let group = *known
            .entry(fingerprint(&example.input))
            .or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(index);
    }
    // BTreeMap: the strata are drawn in the same order on every machine.
    let mut strata: BTreeMap<usize, Vec<Vec<usize>>> = BTreeMap::new();
    for group in groups {
        let stratum = match examples[group[0]].label {
            Label::Class(class) => class,
            Label::Value(_) => 0,
        };
        strata.entry(stratum).or_default().push(group);
    }
    let mut random = seed.random();
    let mut taken = vec![false; examples.len()];
    for mut groups in strata.into_values() {
        random.shuffle(&mut groups);
        let total: usize = groups.iter().map(Vec::len).sum();
        let wanted = (share * total as f32).round() as usize;
        let mut have = 0;
        for group in &groups[1..] {
            if have + group.len() <= wanted {
                have += group.len();
                group.iter().for_each(|&index| taken[index] = true);
            }
        }
    }
    let (mut rest, mut out) = (Vec::new(), Vec::new());
    for (example, taken) in examples.into_iter().zip(taken) {
        if taken {
            out.push(example)
        } else {
            rest.push(example)
        }
    }
    (rest, out)
}

/// A number that is equal for inputs that say the same: letters and digits in lower case, or pixels.
pub fn fingerprint(input: &Input) -> u64 {
    match input {
        Input::Text { text, pair } => {
            let letters = |text: &str| {
                text.chars()
                    .filter(|c| c.is_alphanumeric())
                    .flat_map(char::to_lowercase)
                    .fold(START, |hash, c| step(hash, u64::from(c)))
            };
            // Texts without a letter are told apart by their characters.
            let of = |text: &str| match letters(text) {
                START => text.chars().fold(START, |hash, c| step(hash, u64::from(c))),
                hash => hash,
            };
            pair.iter()
                .fold(of(text), |hash, pair| step(hash, of(pair)))
        }
        Input::Image(Picture::Pixels(image)) => {
            let size = step(step(START, image.height as u64), image.channels as u64);
            let (words, rest) = image.pixels.as_chunks::<8>();
            let hash = words
                .iter()
                .fold(size, |hash, word| step(hash, u64::from_le_bytes(*word)));
            rest.iter()
                .fold(hash, |hash, &byte| step(hash, byte.into()))
        }
        Input::Image(Picture::File(path)) => path
            .to_string_lossy()
            .bytes()
            .fold(START, |hash, byte| step(hash, byte.into())),
    }
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a with a final mix of the high half into the low one, so that whole words can be fed.
fn step(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, class: usize) -> Example {
        let input = Input::Text {
            text: text.to_owned(),
            pair: None,
        };
        Example {
            input,
            label: Label::Class(class),
        }
    }

    #[test]
    fn each_class_gives_its_share_and_equals_stay_together() {
        let mut all: Vec<Example> = (0..100).map(|i| text(&format!("a{}", i / 2), 0)).collect();
        all.extend((0..50).map(|i| text(&format!("b{i}"), 1)));
        all.push(text("alone", 2));
        let (rest, taken) = take_share(all.clone(), 0.2, Seed(1));
        let count = |part: &[Example], class| {
            part.iter()
                .filter(|e| e.label == Label::Class(class))
                .count()
        };
        assert_eq!(
            [count(&taken, 0), count(&taken, 1), count(&taken, 2)],
            [20, 10, 0]
        );
        assert!(taken.iter().all(|t| {
            rest.iter()
                .all(|r| fingerprint(&r.input) != fingerprint(&t.input))
        }));
        assert_eq!(take_share(all.clone(), 0.2, Seed(1)).1, taken);
        assert_ne!(take_share(all, 0.2, Seed(2)).1, taken);
    }

    #[test]
    fn case_and_marks_do_not_count() {
        let of = |t: &str| fingerprint(&text(t, 0).input);
        assert_eq!(of("Hello,  World!"), of("hello world"));
        assert_ne!(of(":-)"), of(":-("));
        assert_ne!(of("ab"), of("ba"));
    }
}
