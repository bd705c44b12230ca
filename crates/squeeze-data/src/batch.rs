//! Batches of one epoch: seeded order, texts of like length together, images changed at random.

use serde::{Deserialize, Serialize};
use squeeze_tensor::Seed;

use crate::augment::{Augment, plain};
use crate::prepared::{Inputs, Prepared, span};
use crate::{DataError, Preprocess};

/// Some examples at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// What the network sees.
    pub input: BatchInput,
    /// The right answers.
    pub labels: Labels,
    /// Which examples of the split these are.
    pub rows: Vec<usize>,
    /// How images were mixed in pairs, if they were.
    pub mix: Option<Mix>,
}

/// What the network sees.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchInput {
    /// Normalised images.
    Images {
        /// `[n, h, w, c]` in memory.
        pixels: Vec<f32>,
        /// `[n, h, w, c]`.
        size: [usize; 4],
    },
    /// Texts as numbers, filled up with the padding's number.
    Tokens {
        /// `[n, s]`.
        ids: Vec<i32>,
        /// 0 for the first text, 1 for the second, 0 where filled up; `[n, s]`.
        type_ids: Vec<i32>,
        /// The length of each text.
        lengths: Vec<usize>,
        /// `[n, s]`.
        size: [usize; 2],
    },
}

/// The right answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// Numbers of classes.
    Classes(Vec<usize>),
    /// Numbers.
    Values(Vec<f32>),
}

impl Labels {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(all) => all.len(),
            Self::Values(all) => all.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn pick(&self, rows: &[usize]) -> Self {
        match self {
            Self::Classes(all) => Self::Classes(rows.iter().map(|&row| all[row]).collect()),
            Self::Values(all) => Self::Values(rows.iter().map(|&row| all[row]).collect()),
        }
    }
}

/// Image `i` of a mixed batch is `share * image[i] + (1 - share) * image[partners[i]]`; so should its answer be.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// The place in the batch of each image's partner.
    pub partners: Vec<usize>,
    /// The share of the image itself, between a half and one.
    pub share: f32,
}

/// How a split is cut into batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batching {
    /// Examples in a batch.
    pub size: usize,
    /// The seed of the order and of the changes to images.
    pub seed: u64,
    /// What happens to a last batch that is not full.
    pub last: Last,
    /// Texts are filled up to a multiple of this length.
    pub multiple: usize,
    /// Random changes to images.
    pub augment: Augment,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            size: 32,
            seed: 0,
            last: Last::Drop,
            multiple: 8,
            augment: Augment::default(),
        }
    }
}

/// What happens to a last batch that is not full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Last {
    /// It is left out, unless it is the only one.
    #[default]
    Drop,
    /// It is given as it is.
    Keep,
}

/// Batches whose examples are sorted by length together before they are cut.
const POOL: usize = 32;

/// The batches of one epoch.
#[derive(Debug)]
pub struct Epoch<'a> {
    split: &'a Prepared,
    batches: std::vec::IntoIter<Vec<usize>>,
    change: Option<(&'a Augment, Seed)>,
    multiple: usize,
    table: Vec<[f32; 256]>,
}

impl<'a> Epoch<'a> {
    pub(crate) fn shuffled(split: &'a Prepared, batching: &'a Batching, epoch: u64) -> Self {
        let seed = Seed(batching.seed);
        let mut random = seed.child("shuffle").child_number(epoch).random();
        let mut rows: Vec<usize> = (0..split.len()).collect();
        random.shuffle(&mut rows);
        let size = batching.size.max(1);
        let lengths = split.lengths();
        if !lengths.is_empty() {
            for pool in rows.chunks_mut(size * POOL) {
                pool.sort_by_key(|&row| lengths[row]);
            }
        }
        let mut batches: Vec<Vec<usize>> = rows.chunks(size).map(<[usize]>::to_vec).collect();
        if batching.last == Last::Drop && batches.len() > 1 {
            batches.retain(|batch| batch.len() == size);
        }
        random.shuffle(&mut batches);
        let change = Some((&batching.augment, seed.child("augment").child_number(epoch)));
        Self {
            change,
            ..Self::of(split, batches, batching.multiple)
        }
    }

    pub(crate) fn ordered(split: &'a Prepared, batch: usize) -> Self {
        let lengths = split.lengths();
        let mut rows: Vec<usize> = (0..split.len()).collect();
        if !lengths.is_empty() {
            rows.sort_by_key(|&row| lengths[row]);
        }
        Self::of(
            split,
            rows.chunks(batch.max(1)).map(<[usize]>::to_vec).collect(),
            1,
        )
    }

    fn of(split: &'a Prepared, batches: Vec<Vec<usize>>, multiple: usize) -> Self {
        let table = match &split.inputs {
            Inputs::Pixels { preprocess, .. } | Inputs::Files { preprocess, .. } => {
                preprocess.table()
            }
            Inputs::Tokens { .. } => Vec::new(),
        };
        Self {
            split,
            batches: batches.into_iter(),
            change: None,
            multiple: multiple.max(1),
            table,
        }
    }

    /// Leaves out the first batches, as a resumed run does; costs nothing.
    pub fn skipping(mut self, batches: usize) -> Self {
        if batches > 0 {
            self.batches.nth(batches - 1);
        }
        self
    }

    /// Gives the batches to `body` while the next ones are made on a thread of their own, `ahead` at most.
    pub fn ahead<R>(
        self,
        ahead: usize,
        body: impl FnOnce(&mut dyn Iterator<Item = Result<Batch, DataError>>) -> R,
    ) -> R {
        std::thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::sync_channel(ahead.max(1));
            scope.spawn(move || {
                for batch in self {
                    // The receiver is gone when `body` stops early.
                    if sender.send(batch).is_err() {
                        break;
                    }
                }
            });
            body(&mut receiver.into_iter())
        })
    }

    fn images(
        &self,
        rows: &[usize],
        preprocess: &Preprocess,
        bytes: impl Fn(usize) -> Result<std::borrow::Cow<'a, [u8]>, DataError>,
    ) -> Result<(BatchInput, Option<Mix>), DataError> {
        let length = preprocess.len();
        let mut pixels = vec![0.0; rows.len() * length];
        for (&row, out) in rows.iter().zip(pixels.chunks_exact_mut(length)) {
            let bytes = bytes(row)?;
            match self.change {
                Some((augment, seed)) if *augment != Augment::default() => {
                    let mut random = seed.child_number(row as u64).random();
                    augment.write(&bytes, preprocess, &self.table, &mut random, out);
                }
                _ => plain(&bytes, preprocess.channels, &self.table, out),
            }
        }
        let mix = match self.change {
            Some((augment, seed)) if augment.mixup > 0.0 && rows.len() > 1 => {
                let mut random = seed.child("mixup").child_number(rows[0] as u64).random();
                let share = augment.mixing(&mut random);
                let mut partners: Vec<usize> = (0..rows.len()).collect();
                random.shuffle(&mut partners);
                let whole = pixels.clone();
                for (out, &partner) in pixels.chunks_exact_mut(length).zip(&partners) {
                    let other = &whole[partner * length..(partner + 1) * length];
                    out.iter_mut()
                        .zip(other)
                        .for_each(|(a, b)| *a = share * *a + (1.0 - share) * b);
                }
                Some(Mix { partners, share })
            }
            _ => None,
        };
        let [height, width] = preprocess.size;
        Ok((
            BatchInput::Images {
                pixels,
                size: [rows.len(), height, width, preprocess.channels],
            },
            mix,
        ))
    }

    fn make(&self, rows: Vec<usize>) -> Result<Batch, DataError> {
        let (input, mix) = match &self.split.inputs {
            Inputs::Pixels { preprocess, bytes } => {
                let length = preprocess.len();
                self.images(&rows, preprocess, |row| {
                    Ok(bytes[row * length..(row + 1) * length].into())
                })?
            }
            Inputs::Files {
                preprocess,
                pictures,
            } => self.images(&rows, preprocess, |row| {
                Ok(preprocess.bytes(&*pictures[row].image()?).into())
            })?,
            Inputs::Tokens {
                ids,
                type_ids,
                ends,
                pad,
                unknown,
                longest: limit,
            } => {
                let lengths: Vec<usize> = rows.iter().map(|&row| span(ends, row).len()).collect();
                let longest = lengths.iter().max().map_or(0, |&longest| {
                    longest
                        .next_multiple_of(self.multiple)
                        .min((*limit).max(longest))
                });
                let size = [rows.len(), longest];
                let (mut all, mut types) =
                    (vec![*pad; size[0] * size[1]], vec![0; size[0] * size[1]]);
                for (index, &row) in rows.iter().enumerate() {
                    let span = span(ends, row);
                    let place = index * longest..index * longest + span.len();
                    all[place.clone()].copy_from_slice(&ids[span.clone()]);
                    if let Some((Augment { forget, .. }, seed)) = self.change
                        && *forget > 0.0
                    {
                        let mut random = seed.child_number(row as u64).random();
                        // The marks at both ends stay.
                        for id in &mut all[place.start + 1..place.end.max(place.start + 2) - 1] {
                            if random.uniform() < *forget {
                                *id = *unknown;
                            }
                        }
                    }
                    types[place].copy_from_slice(&type_ids[span]);
                }
                (
                    BatchInput::Tokens {
                        ids: all,
                        type_ids: types,
                        lengths,
                        size,
                    },
                    None,
                )
            }
        };
        Ok(Batch {
            input,
            labels: self.split.labels.pick(&rows),
            rows,
            mix,
        })
    }
}

impl Iterator for Epoch<'_> {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.batches.next()?;
        Some(self.make(rows))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.batches.size_hint()
    }
}

impl ExactSizeIterator for Epoch<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataSet, OpenOptions, Tokenizer};

    fn digits() -> (Preprocess, Prepared) {
        let set = DataSet::open("digits", &OpenOptions::default()).unwrap();
        let preprocess = Preprocess::fit(&set.train, None).unwrap();
        let split = Prepared::images(&set.test[..100], &preprocess).unwrap();
        (preprocess, split)
    }

    fn spam() -> Prepared {
        let set = DataSet::open("spam", &OpenOptions::default()).unwrap();
        let texts = set
            .train
            .iter()
            .take(300)
            .map(|example| match &example.input {
                crate::Input::Text { text, .. } => text.as_str(),
                crate::Input::Image(_) => unreachable!("spam is texts"),
            });
        let tokenizer = Tokenizer::train(texts, Some(1000)).unwrap();
        Prepared::texts(&set.test[..200], &tokenizer, 60).unwrap()
    }

    #[test]
    fn an_epoch_has_each_image_once_and_repeats_with_its_seed() {
        let (preprocess, split) = digits();
        let augment = Augment {
            mixup: 0.5,
            ..Augment::suited(&preprocess)
        };
        let batching = Batching {
            size: 32,
            last: Last::Keep,
            augment,
            ..Batching::default()
        };
        let all =
            |epoch| -> Vec<Batch> { split.epoch(&batching, epoch).map(Result::unwrap).collect() };
        let mut rows: Vec<usize> = all(0).into_iter().flat_map(|batch| batch.rows).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..100).collect::<Vec<_>>());
        assert_eq!(all(0), all(0));
        assert_ne!(all(0), all(1));
        let ahead: Vec<Batch> = split
            .epoch(&batching, 1)
            .ahead(2, |batches| batches.map(Result::unwrap).collect());
        assert_eq!(ahead, all(1));
        let rest: Vec<Batch> = split
            .epoch(&batching, 1)
            .skipping(2)
            .map(Result::unwrap)
            .collect();
        assert_eq!(rest, all(1)[2..]);
    }

    #[test]
    fn a_share_of_the_tokens_is_forgotten_and_the_marks_stay() {
        let split = spam();
        let batches = |forget| -> Vec<Vec<i32>> {
            let augment = Augment {
                forget,
                ..Augment::default()
            };
            let batching = Batching {
                augment,
                ..Batching::default()
            };
            let ids = |batch: Result<Batch, _>| match batch.unwrap().input {
                BatchInput::Tokens { ids, .. } => ids,
                BatchInput::Images { .. } => unreachable!("spam is texts"),
            };
            split.epoch(&batching, 0).map(ids).collect()
        };
        let (plain, changed) = (batches(0.0).concat(), batches(0.2).concat());
        let differ: Vec<_> = plain.iter().zip(&changed).filter(|(a, b)| a != b).collect();
        let Inputs::Tokens {
            pad, unknown, ids, ..
        } = &split.inputs
        else {
            unreachable!("spam is texts");
        };
        assert!(
            differ
                .iter()
                .all(|(a, b)| *b == unknown && *a != pad && **a != ids[0])
        );
        // 4 deviations of about 8,000 draws are 0.018; a tenth of the tokens is unknown anyway.
        let share = differ.len() as f64 / plain.iter().filter(|id| *id != pad).count() as f64;
        assert!((0.12..0.22).contains(&share), "{share}");
    }

    #[test]
    fn stopping_early_ends_the_other_thread() {
        let (_, split) = digits();
        let batching = Batching {
            size: 4,
            ..Batching::default()
        };
        let first = split
            .epoch(&batching, 0)
            .ahead(1, |batches| batches.next().unwrap().unwrap());
        assert_eq!(first.rows.len(), 4);
    }

    #[test]
    fn texts_of_like_length_are_together() {
        let split = spam();
        let batching = Batching {
            size: 8,
            ..Batching::default()
        };
        let (mut used, mut filled) = (0, 0);
        for batch in split.epoch(&batching, 0) {
            let BatchInput::Tokens {
                ids, lengths, size, ..
            } = batch.unwrap().input
            else {
                unreachable!("texts")
            };
            assert!(size[1] <= 60 && size[1] >= *lengths.iter().max().unwrap());
            assert!(ids[lengths[0]..size[1]].iter().all(|&id| id == 0));
            used += lengths.iter().sum::<usize>();
            filled += size[0] * size[1];
        }
        // Without sorting nearly every batch of 8 would be 60 wide.
        assert!(used * 10 > filled * 8, "{used} of {filled} places are used");
    }

    #[test]
    fn evaluation_has_every_row_once_unchanged() {
        let split = spam();
        let mut rows: Vec<usize> = split
            .once(7)
            .flat_map(|batch| batch.unwrap().rows)
            .collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..200).collect::<Vec<_>>());
        let (preprocess, split) = digits();
        let BatchInput::Images { pixels, size } = split.once(3).next().unwrap().unwrap().input
        else {
            unreachable!("images")
        };
        assert_eq!((size, pixels.len()), ([3, 28, 28, 1], 3 * preprocess.len()));
    }
}
