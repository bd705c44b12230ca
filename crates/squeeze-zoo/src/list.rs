//! The list of published networks, and how one is built by name.

use std::fmt;
use std::sync::LazyLock;

use squeeze_graph::{Graph, GraphError};
use thiserror::Error;

use crate::networks;

/// A published network.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is called, e.g. `squeezenet1_1`.
    pub name: &'static str,
    /// What it takes and gives.
    pub task: Task,
    /// Where it comes from: paper and reference implementation.
    pub source: &'static str,
    /// Published number of parameters; for text, of the encoder with its pooler, to which the
    /// layers named in [`Entry::head`] come on top.
    pub params: u64,
    /// Weight path of what the published number of parameters leaves out.
    pub head: &'static [&'static str],
    /// What the published figures count on top of this network's.
    pub beyond: Option<Beyond>,
    /// Published multiply-adds in units of 10^9 with the default [`Options`], to the digits
    /// printed at the source; for text, of the encoder layers alone.
    pub gmacs: Option<&'static str>,
    /// Published accuracy.
    pub accuracy: Option<Accuracy>,
    /// Where this network and the published one, or its figures, part.
    pub remark: Option<&'static str>,
    pub(crate) make: Make,
}

/// How a network is built.
pub(crate) type Make = fn(&Options) -> Result<Graph, GraphError>;

/// Weights that are published with a network and play no part in what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// How many parameters.
    pub params: u64,
    /// Their multiply-adds with the default [`Options`].
    pub macs: u64,
    /// Path of these weights.
    pub path: &'static str,
    /// What they are.
    pub what: &'static str,
}

/// Published accuracy: how much, and of what, with its source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy(pub f64, pub &'static str);

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

/// Top-1 accuracy of torchvision's first weights.
pub(crate) const TOP1: &str = "% top-1 on ImageNet (torchvision)";

/// Mean intersection over union of torchvision's weights.
pub(crate) const MIOU: &str = "% mean IoU on COCO with the labels of VOC (torchvision)";

impl Entry {
    /// A network with what every row says.
    pub(crate) const fn new(
        name: &'static str,
        task: Task,
        source: &'static str,
        params: u64,
        make: Make,
    ) -> Self {
        Self {
            name,
            task,
            source,
            params,
            head: &[],
            beyond: None,
            gmacs: None,
            accuracy: None,
            remark: None,
            make,
        }
    }

    /// With published multiply-adds.
    pub(crate) const fn gmacs(mut self, gmacs: &'static str) -> Self {
        self.gmacs = Some(gmacs);
        self
    }

    /// With published accuracy.
    pub(crate) const fn accuracy(mut self, value: f64, of: &'static str) -> Self {
        self.accuracy = Some(Accuracy(value, of));
        self
    }

    /// With a word on what is not as published.
    pub(crate) const fn remark(mut self, remark: &'static str) -> Self {
        self.remark = Some(remark);
        self
    }

    /// With layers that the published number of parameters leaves out.
    pub(crate) const fn head(mut self, paths: &'static [&'static str]) -> Self {
        self.head = paths;
        self
    }

    /// With weights that are published beside those of the network.
    pub(crate) const fn beyond(mut self, beyond: Beyond) -> Self {
        self.beyond = Some(beyond);
        self
    }
}

/// What a network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// An image; gives a score a class.
    Image,
    /// An image; gives a score a class for each pixel.
    Segment,
    /// An image; gives a score a class and four offsets for each default box.
    Detection,
    /// A text or a pair of texts; gives a score a class.
    Text,
    /// A text; gives at each token a score for every token that may follow.
    Language,
    /// A text and the beginning of another one, which is made from it; gives at each token of that a score for every token that may follow.
    Translate,
}

impl Task {
    /// Whether it takes text.
    pub fn is_text(self) -> bool {
        match self {
            Self::Image | Self::Segment | Self::Detection => false,
            Self::Text | Self::Language | Self::Translate => true,
        }
    }

    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Segment => "segment",
            Self::Detection => "detection",
            Self::Text => "text",
            Self::Language => "language",
            Self::Translate => "translate",
        }
    }
}

/// What can be chosen about a published network; anything left out is as published.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Classes it tells apart.
    pub classes: Option<usize>,
    /// Height and width of the image.
    pub image: Option<usize>,
    /// Tokens of the text.
    pub length: Option<usize>,
    /// Factor on the channels, where the publication has one.
    pub width: Option<f64>,
}

impl Options {
    /// Classes, or as many as ImageNet has.
    pub(crate) fn image_classes(&self) -> usize {
        self.classes.unwrap_or(1000)
    }

    /// Classes, or as many as Pascal VOC has with the background.
    pub(crate) fn pixel_classes(&self) -> usize {
        self.classes.unwrap_or(21)
    }

    /// Classes, or two.
    pub(crate) fn text_classes(&self) -> usize {
        self.classes.unwrap_or(2)
    }

    /// Shape of the image, or of one of 224 x 224.
    pub(crate) fn image_shape(&self) -> [usize; 4] {
        self.image_or([224; 2])
    }

    /// Shape of the image, or of one of this height and width.
    pub(crate) fn image_or(&self, size: [usize; 2]) -> [usize; 4] {
        let [height, width] = self.image.map_or(size, |size| [size; 2]);
        [1, 3, height, width]
    }

    /// Tokens of the text.
    pub(crate) fn text_length(&self) -> usize {
        self.length.unwrap_or(128)
    }
}

/// Why there is no such network.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ZooError {
    /// A name that is not in the list.
    #[error("no network `{name}`: did you mean `{nearest}`? (`squeeze list models` shows all)")]
    Name {
        /// What was asked for.
        name: String,
        /// The most similar name there is.
        nearest: &'static str,
    },
    /// An option that means nothing for this network, or is out of its range.
    #[error("{network}: {reason}")]
    Option {
        /// Name of the network.
        network: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A search space that cannot be built.
    #[error("search space {space}: {reason}")]
    Space {
        /// Name of the space.
        space: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The network does not take these sizes.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Every published network, family by family.
pub fn list() -> &'static [Entry] {
    static ALL: LazyLock<Vec<Entry>> = LazyLock::new(|| {
        let families = [
            networks::encoder::ROWS,
            networks::albert::ROWS,
            networks::mobilebert::ROWS,
            networks::lite_transformer::ROWS,
            networks::gpt2::ROWS,
            networks::transformer::ROWS,
            networks::alexnet::ROWS,
            networks::vgg::ROWS,
            networks::squeezenet::ROWS,
            networks::resnet::ROWS,
            networks::mobilenet_v1::ROWS,
            networks::mobilenet_v2::ROWS,
            networks::mobilenet_v3::ROWS,
            networks::mobilenet_v4::ROWS,
            networks::shufflenet_v2::ROWS,
            networks::mnasnet::ROWS,
            networks::efficientnet::ROWS,
            networks::regnet::ROWS,
            networks::vit::ROWS,
            networks::xception::ROWS,
            networks::fcn::ROWS,
            networks::deeplab_v3::ROWS,
            networks::deeplab_v3_plus::ROWS,
            networks::lraspp::ROWS,
            networks::squeezenas::ROWS,
            networks::unet::ROWS,
            networks::ssdlite::ROWS,
        ];
        families.concat()
    });
    &ALL
}

/// The network of this name.
///
/// # Errors
/// When there is no such network (with the nearest name), or the options do not fit it.
pub fn build(name: &str, options: &Options) -> Result<Graph, ZooError> {
    let entry = list().iter().find(|entry| entry.name == name);
    let entry = entry.ok_or_else(|| ZooError::Name {
        name: name.into(),
        nearest: nearest(name),
    })?;
    let refuse = |reason: String| {
        let network = entry.name;
        Err(ZooError::Option { network, reason })
    };
    if entry.task.is_text() && options.image.is_some() {
        return refuse("takes text, an image size means nothing: give a length".into());
    }
    if !entry.task.is_text() && options.length.is_some() {
        return refuse("takes images, a length means nothing: give an image size".into());
    }
    if matches!(entry.task, Task::Language | Task::Translate) && options.classes.is_some() {
        return refuse("scores tokens, classes mean nothing: leave them out".into());
    }
    if let (Some(patch), Some(image)) = (networks::vit::patch(entry.name), options.image)
        && !image.is_multiple_of(patch)
    {
        return refuse(format!(
            "an image of {image} pixels does not divide into patches of {patch}"
        ));
    }
    if let Some(width) = options.width {
        if !["mobilenet_v1", "mobilenet_v2"].contains(&entry.name) {
            return refuse(
                "has no width factor, mobilenet_v1 and mobilenet_v2 have: leave it out".into(),
            );
        }
        if !(0.05..=4.0).contains(&width) {
            return refuse(format!("width {width} is outside of 0.05 to 4"));
        }
    }
    Ok((entry.make)(options)?)
}

/// The name most like `name`.
fn nearest(name: &str) -> &'static str {
    let distance = |entry: &&Entry| edits(&name.to_lowercase(), entry.name);
    let best = list().iter().min_by_key(distance);
    best.expect("the list is not empty").name
}

/// Letters to insert, delete or replace to turn `a` into `b` (Levenshtein, 1966).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Parameters of the network without its text head.
    fn counted_params(entry: &Entry, graph: &Graph) -> u64 {
        let in_head = |name: &str| entry.head.contains(&name);
        let counted = graph.nodes().iter().filter(|node| !in_head(&node.name));
        counted.map(|node| graph.cost_of(node).params).sum()
    }

    /// Multiply-adds of an image network, or of a text network's layers without what follows them.
    pub(crate) fn encoder_macs(graph: &Graph) -> u64 {
        let end = graph
            .find("first_token")
            .map_or(graph.nodes().len(), |id| id.0);
        let counted = graph.nodes()[..end].iter();
        counted.map(|node| graph.cost_of(node).macs).sum()
    }

    /// torchvision 0.29.2's `num_params`; transformers 5.23's models counted.
    #[test]
    fn parameters_are_the_published_ones() {
        for entry in list() {
            let graph = build(entry.name, &Options::default()).expect("defaults fit");
            let beyond = entry.beyond.map_or(0, |beyond| beyond.params);
            assert_eq!(
                counted_params(entry, &graph) + beyond,
                entry.params,
                "{}",
                entry.name
            );
        }
    }

    /// torchvision 0.29.2's `_ops`, what the papers print, and of networks that score tokens what `torch.utils.flop_counter` counts in
    /// those of transformers 5.23 with attention written out (`attn_implementation="eager"`); text at 128 tokens.
    #[test]
    fn multiply_adds_are_the_published_ones() {
        for entry in list() {
            let Some(gmacs) = entry.gmacs else { continue };
            let graph = build(entry.name, &Options::default()).expect("defaults fit");
            let beyond = entry.beyond.map_or(0, |beyond| beyond.macs);
            let found = (encoder_macs(&graph) + beyond) as f64 / 1e9;
            let digits = gmacs.len() - gmacs.find('.').expect("digits behind the point") - 1;
            assert_eq!(format!("{found:.digits$}"), gmacs, "{}", entry.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = list().iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), list().len());
    }

    #[track_caller]
    fn check(name: &str, options: Options, message: &str) {
        let error = build(name, &options).expect_err("refused");
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn unknown_is_an_error_with_the_nearest_name() {
        check(
            "squeeze-bert",
            Options::default(),
            "no network `squeeze-bert`: did you mean `squeezebert`? (`squeeze list models` shows all)",
        );
        check(
            "resnet50",
            Options {
                width: Some(0.5),
                ..Options::default()
            },
            "resnet50: has no width factor, mobilenet_v1 and mobilenet_v2 have: leave it out",
        );
        check(
            "bert-base",
            Options {
                image: Some(224),
                ..Options::default()
            },
            "bert-base: takes text, an image size means nothing: give a length",
        );
        check(
            "bert-base",
            Options {
                length: Some(513),
                ..Options::default()
            },
            "bert.embeddings.position_ids: 0..513 is not inside an axis of 512",
        );
    }
}
