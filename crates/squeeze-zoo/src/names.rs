//! How weights are called, and shaped, in published files where they differ from ours.
//!
//! Node names follow the reference implementations, so that most weights are found under their
//! own name. What is left are rows here.

/// Endings that some files have in place of ours.
const ENDINGS: &[[&str; 2]] = &[
    // Checkpoints converted from TensorFlow keep its names for norms.
    ["LayerNorm.weight", "LayerNorm.gamma"],
    ["LayerNorm.bias", "LayerNorm.beta"],
];

/// First parts that some files leave out or add: encoders saved without their head, or wrapped.
const ROOTS: &[[&str; 2]] = &[
    ["bert.", ""],
    ["transformer.", ""],
    ["distilbert.", ""],
    ["", "m."],
    ["", "module."],
    ["", "model."],
];

/// The names under which a published file may hold our weight `name`, the likeliest first.
pub fn published(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    for [ours, theirs] in ENDINGS {
        if let Some(path) = name.strip_suffix(ours) {
            names.push(format!("{path}{theirs}"));
        }
    }
    for [ours, theirs] in ROOTS {
        let known = names.clone();
        let stripped = known.iter().filter_map(|name| name.strip_prefix(ours));
        names.extend(stripped.map(|rest| format!("{theirs}{rest}")));
    }
    names.dedup();
    names
}

/// Whether a published weight of shape `theirs` holds the numbers of ours as they are: equal, or
/// with a window of size 1 behind, as SqueezeBERT's 1-D convolutions have it.
pub fn same_numbers(ours: &[usize], theirs: &[usize]) -> bool {
    match theirs.strip_prefix(ours) {
        Some(rest) => rest.iter().all(|&size| size == 1),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_name_comes_first() {
        let names = published("bert.embeddings.LayerNorm.weight");
        assert_eq!(names[0], "bert.embeddings.LayerNorm.weight");
        assert!(names.contains(&"bert.embeddings.LayerNorm.gamma".into()));
        assert!(names.contains(&"embeddings.LayerNorm.weight".into()));
        assert!(names.contains(&"m.bert.embeddings.LayerNorm.weight".into()));
    }

    #[test]
    fn windows_of_one_are_left_out() {
        assert!(same_numbers(&[768, 192], &[768, 192, 1]));
        assert!(same_numbers(&[768], &[768]));
        assert!(!same_numbers(&[768, 192], &[768, 768, 1]));
        assert!(!same_numbers(&[768, 192], &[768, 192, 3]));
    }
}
