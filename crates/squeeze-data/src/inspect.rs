//! What is in a data set and what is wrong with it.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::dataset::{Input, Label, Problem, Problems};
use crate::{DataError, DataSet, SplitOrigin, Task, Tokenizer, split::fingerprint};

/// What is in a data set and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// The set's name.
    pub name: String,
    /// What is asked.
    pub task: Task,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The three splits.
    pub splits: Vec<SplitFacts>,
    /// Where the splits come from.
    pub origin: SplitOrigin,
    /// Lengths of texts in words (a pair counts as one text), over all splits.
    pub words: Option<Spread>,
    /// Heights of images, over all splits; only of those in memory.
    pub heights: Option<Spread>,
    /// Widths of images.
    pub widths: Option<Spread>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// One split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitFacts {
    /// `train`, `validation` or `test`.
    pub name: String,
    /// Examples.
    pub n: usize,
    /// Examples of each class; empty when the answer is a number.
    pub per_class: Vec<usize>,
}

/// How a size is spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: usize,
    /// Half are at most this.
    pub p50: usize,
    /// Nine of ten are at most this.
    pub p90: usize,
    /// The largest.
    pub max: usize,
}

impl Spread {
    /// Of these sizes; nothing when there is none.
    pub fn of(mut sizes: Vec<usize>) -> Option<Self> {
        sizes.sort_unstable();
        let at = |share: f64| sizes[((sizes.len() - 1) as f64 * share).ceil() as usize];
        (!sizes.is_empty()).then(|| Self {
            min: at(0.0),
            p50: at(0.5),
            p90: at(0.9),
            max: at(1.0),
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            return write!(f, "{}", self.min);
        }
        write!(
            f,
            "{} to {}, p50 {}, p90 {}",
            self.min, self.max, self.p50, self.p90
        )
    }
}

impl DataSet {
    /// Counts, sizes and problems, those found while reading and those found by comparing examples.
    pub fn inspect(&self) -> Inspection {
        let splits: Vec<SplitFacts> = self
            .splits()
            .iter()
            .map(|(name, examples)| {
                let mut per_class = vec![0; self.labels.len()];
                for example in *examples {
                    if let Label::Class(class) = example.label {
                        per_class[class] += 1;
                    }
                }
                SplitFacts {
                    name: (*name).to_owned(),
                    n: examples.len(),
                    per_class,
                }
            })
            .collect();
        let (mut words, mut heights, mut widths) = (Vec::new(), Vec::new(), Vec::new());
        for example in self.splits().iter().flat_map(|(_, examples)| *examples) {
            match &example.input {
                Input::Text { text, pair } => {
                    let count = |text: &str| text.split_whitespace().count();
                    words.push(count(text) + pair.as_deref().map_or(0, count));
                }
                Input::Image(crate::Picture::Pixels(image)) => {
                    heights.push(image.height);
                    widths.push(image.width);
                }
                Input::Image(crate::Picture::File(_)) => {}
            }
        }
        let mut found = Problems::default();
        for (class, label) in self.labels.iter().enumerate() {
            match splits.iter().map(|split| split.per_class[class]).sum() {
                0 => found.add("class without an example", label),
                1 => found.add("class with one example", label),
                _ if splits[0].per_class[class] == 0 => found.add("class that train lacks", label),
                _ => {}
            }
        }
        self.compare(&mut found);
        let mut problems = self.problems.clone();
        problems.extend(found.into_vec());
        Inspection {
            name: self.name.clone(),
            task: self.task,
            classes: self.labels.clone(),
            splits,
            origin: self.origin.clone(),
            words: Spread::of(words),
            heights: Spread::of(heights),
            widths: Spread::of(widths),
            problems,
        }
    }

    /// Lengths in pieces over the train split, for choosing where texts are cut.
    pub fn lengths(&self, tokenizer: &Tokenizer) -> Result<Option<Spread>, DataError> {
        let mut texts = Vec::new();
        for example in &self.train {
            if let Input::Text { text, pair } = &example.input {
                texts.push((text.as_str(), pair.as_deref()));
            }
        }
        let encoded = tokenizer.encode_all(&texts, usize::MAX / 2)?;
        Ok(Spread::of(
            encoded.iter().map(|encoded| encoded.ids.len()).collect(),
        ))
    }

    /// Equal inputs in different splits, and equal inputs with different answers.
    fn compare(&self, problems: &mut Problems) {
        let mut seen: HashMap<u64, (&str, Label)> = HashMap::new();
        for (name, examples) in self.splits() {
            for (index, example) in examples.iter().enumerate() {
                let print = fingerprint(&example.input);
                let place = || format!("{name} {}", index + 1);
                match seen.get(&print) {
                    None => {
                        seen.insert(print, (name, example.label));
                    }
                    Some((first, _)) if *first != name => {
                        problems.add(
                            &format!("{} of {name} also in {first}", self.input()),
                            place(),
                        );
                    }
                    Some((_, label)) if *label != example.label => {
                        problems.add(
                            &format!("same {}, different answers", self.input()),
                            place(),
                        );
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn input(&self) -> &'static str {
        if self.task.is_image() {
            "image"
        } else {
            "text"
        }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.task)?;
        for split in &self.splits {
            write!(f, "  {:<11}{:>7}", split.name, split.n)?;
            match split.per_class[..] {
                [] => {}
                [.., _] if split.per_class.len() <= 10 => {
                    let each = self.classes.iter().zip(&split.per_class);
                    let each: Vec<String> = each.map(|(name, n)| format!("{name} {n}")).collect();
                    write!(f, "   {}", each.join(", "))?;
                }
                _ => {
                    let (least, most) =
                        (split.per_class.iter().min(), split.per_class.iter().max());
                    let classes = self.classes.len();
                    write!(
                        f,
                        "   {classes} classes, {} to {} each",
                        least.unwrap_or(&0),
                        most.unwrap_or(&0)
                    )?;
                }
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "  test: {}; validation: {}",
            self.origin.test, self.origin.validation
        )?;
        if let Some(words) = &self.words {
            writeln!(f, "  words: {words}")?;
        }
        if let (Some(heights), Some(widths)) = (&self.heights, &self.widths) {
            writeln!(f, "  height: {heights}; width: {widths}")?;
        }
        for problem in &self.problems {
            writeln!(f, "  ! {problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenOptions;

    fn open(train: &str, test: &str) -> Result<DataSet, DataError> {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("train.csv"), train).unwrap();
        std::fs::write(root.path().join("test.csv"), test).unwrap();
        DataSet::open(root.path().to_str().unwrap(), &OpenOptions::default())
    }

    #[test]
    fn counts_and_problems() {
        let train = "text,label\na b c,x\nd,y\nd!,x\n,x\ne,y\nf,lonely\n";
        let inspection = open(train, "text,label\nA b C,x\ng,y\n").unwrap().inspect();
        assert_eq!(
            inspection.splits[0].per_class.iter().sum::<usize>() + inspection.splits[1].n,
            5
        );
        assert_eq!(
            inspection.words,
            Some(Spread {
                min: 1,
                p50: 1,
                p90: 3,
                max: 3
            })
        );
        let problems: Vec<String> = inspection
            .problems
            .iter()
            .map(|p| format!("{}: {}", p.what, p.count))
            .collect();
        assert_eq!(
            problems,
            [
                "empty text, skipped: 1",
                "class with one example: 1",
                "same text, different answers: 1",
                "text of test also in train: 1",
            ]
        );
        assert!(
            inspection
                .to_string()
                .contains("  ! empty text, skipped: 1 (")
        );
    }

    #[test]
    fn zero_rows_and_one_class() {
        let message = |train| open(train, "text,label\nq,x\n").unwrap_err().to_string();
        assert!(message("text,label\n").contains("no examples"));
        assert!(message("text,label\n,x\n").contains("skipped: empty text, skipped: 1"));
        assert!(message("text,label\na,x\nb,x\n").contains("every example has the class `x`"));
    }

    #[test]
    fn refusals_have_the_whole_path() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        std::fs::create_dir(&folder).unwrap();
        let message = |train: &str| {
            std::fs::write(folder.join("train.csv"), train).unwrap();
            let options = OpenOptions::default();
            let error = DataSet::open(folder.to_str().unwrap(), &options).unwrap_err();
            error.to_string()
        };
        let start = format!("{}: ", folder.display());
        assert!(message("text,label\n").starts_with(&start));
        assert!(message("text,label\na,x\nb,x\n").starts_with(&start));
    }

    #[test]
    fn the_embedded_sets_are_clean() {
        for (name, _) in crate::embedded::SETS {
            let set = DataSet::open(name, &OpenOptions::default()).unwrap();
            assert_eq!(set.inspect().problems, [], "{name}");
        }
    }
}
