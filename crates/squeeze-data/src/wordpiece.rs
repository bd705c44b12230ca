//! A WordPiece vocabulary from counted words, by merging the most frequent pair until it is large enough.
//!
//! As Sennrich et al. (2016), "Neural Machine Translation of Rare Words with Subword Units", with
//! WordPiece's `##` before pieces inside a word. Ties go to the pair that was known first, so that the
//! same words give the same vocabulary on every machine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

/// The first tokens of every vocabulary trained here, in the order of their numbers.
pub const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Characters kept at most; words with a rarer one become `[UNK]`.
const ALPHABET: usize = 1000;

/// Pieces in the order of their numbers, at most `size` (more only when the alphabet alone is larger).
pub fn vocabulary(words: &BTreeMap<String, u64>, size: usize) -> Vec<String> {
    let alphabet = alphabet(words, size);
    let mut pieces: Vec<String> = SPECIALS.iter().map(|&special| special.to_owned()).collect();
    let mut numbers: HashMap<String, u32> = HashMap::new();
    for prefix in ["", "##"] {
        for &character in alphabet.keys() {
            let piece = format!("{prefix}{character}");
            if alphabet[&character][usize::from(prefix.is_empty())] {
                numbers.insert(piece.clone(), pieces.len() as u32);
                pieces.push(piece);
            }
        }
    }
    let split = |word: &str| -> Option<Vec<u32>> {
        let piece = |(index, character)| {
            let prefix = if index == 0 { "" } else { "##" };
            numbers.get(&format!("{prefix}{character}")).copied()
        };
        word.chars().enumerate().map(piece).collect()
    };
    let (mut parts, counts): (Vec<Vec<u32>>, Vec<u64>) = words
        .iter()
        .filter_map(|(word, &count)| Some((split(word)?, count)))
        .unzip();
    let mut pairs: HashMap<(u32, u32), (u64, Vec<usize>)> = HashMap::new();
    for (index, part) in parts.iter().enumerate() {
        for pair in part.windows(2) {
            let entry = pairs.entry((pair[0], pair[1])).or_default();
            entry.0 += counts[index];
            if entry.1.last() != Some(&index) {
                entry.1.push(index);
            }
        }
    }
    let mut queue: BinaryHeap<(u64, Reverse<(u32, u32)>)> = pairs
        .iter()
        .map(|(&pair, &(count, _))| (count, Reverse(pair)))
        .collect();
    while pieces.len() < size {
        let Some((count, Reverse(pair))) = queue.pop() else {
            break;
        };
        let current = pairs[&pair].0;
        if current != count {
            // It shrank since it was queued; its present count goes back.
            if current > 1 {
                queue.push((current, Reverse(pair)));
            }
            continue;
        }
        if count < 2 {
            break;
        }
        let merged = format!(
            "{}{}",
            pieces[pair.0 as usize],
            pieces[pair.1 as usize].trim_start_matches("##")
        );
        let number = match numbers.get(&merged) {
            Some(&number) => number,
            None => {
                let number = pieces.len() as u32;
                numbers.insert(merged.clone(), number);
                pieces.push(merged);
                number
            }
        };
        let places = pairs
            .remove(&pair)
            .map(|(_, places)| places)
            .unwrap_or_default();
        let mut grown: BTreeMap<(u32, u32), ()> = BTreeMap::new();
        for index in places {
            let (old, n) = (std::mem::take(&mut parts[index]), counts[index]);
            let new = merge(&old, pair, number);
            for gone in old.windows(2).map(|w| (w[0], w[1])) {
                if let Some(entry) = pairs.get_mut(&gone) {
                    entry.0 -= n;
                }
            }
            for came in new.windows(2).map(|w| (w[0], w[1])) {
                let entry = pairs.entry(came).or_default();
                entry.0 += n;
                if came.0 == number || came.1 == number {
                    entry.1.push(index);
                    grown.insert(came, ());
                }
            }
            parts[index] = new;
        }
        for pair in grown.into_keys() {
            let entry = pairs.get_mut(&pair).expect("it was just counted");
            entry.1.dedup();
            queue.push((entry.0, Reverse(pair)));
        }
    }
    pieces
}

/// The most frequent characters, with whether each occurs inside words and at their start.
fn alphabet(words: &BTreeMap<String, u64>, size: usize) -> BTreeMap<char, [bool; 2]> {
    let mut counts: BTreeMap<char, (u64, [bool; 2])> = BTreeMap::new();
    for (word, &count) in words {
        for (index, character) in word.chars().enumerate() {
            let entry = counts.entry(character).or_default();
            entry.0 += count;
            entry.1[usize::from(index == 0)] = true;
        }
    }
    let mut order: Vec<(Reverse<u64>, char)> = counts
        .iter()
        .map(|(&character, &(count, _))| (Reverse(count), character))
        .collect();
    order.sort_unstable();
    let room = ALPHABET
        .min(size.saturating_sub(SPECIALS.len()) / 4)
        .max(26);
    order.truncate(room);
    order
        .into_iter()
        .map(|(_, character)| (character, counts[&character].1))
        .collect()
}

fn merge(part: &[u32], pair: (u32, u32), number: u32) -> Vec<u32> {
    let mut out = Vec::with_capacity(part.len());
    let mut at = 0;
    while at < part.len() {
        if at + 1 < part.len() && (part[at], part[at + 1]) == pair {
            out.push(number);
            at += 2;
        } else {
            out.push(part[at]);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[(&str, u64)]) -> BTreeMap<String, u64> {
        list.iter()
            .map(|&(word, count)| (word.to_owned(), count))
            .collect()
    }

    #[test]
    fn merges_the_most_frequent_first() {
        // Sennrich's example: e-s is in 6 + 3 = 9 words, then es-t.
        let counted = words(&[("low", 5), ("lower", 2), ("newest", 6), ("widest", 3)]);
        let pieces = vocabulary(&counted, 1000);
        let alphabet = 5 + 3 + 8; // l, n, w start words; d, e, i, o, r, s, t, w are inside.
        assert_eq!(pieces[alphabet..alphabet + 2], ["##es", "##est"]);
        assert!(
            ["low", "newest", "widest", "lower"]
                .iter()
                .all(|&word| pieces.contains(&word.to_owned()))
        );
        assert_eq!(vocabulary(&counted, alphabet + 2).len(), alphabet + 2);
    }

    #[test]
    fn a_repeated_letter_merges_without_losing_count() {
        let pieces = vocabulary(&words(&[("aaaa", 3), ("aaaaa", 2)]), 100);
        assert!(pieces.contains(&"aaaa".to_owned()) && pieces.contains(&"aaaaa".to_owned()));
    }
}
