//! Search spaces of text classifiers: encoders whose every part is a choice.

use squeeze_graph::ops::{
    Activation, ChannelShuffle, Concat, Conv1d, Dropout, Linear, TokenMax, TokenMean,
};
use squeeze_graph::{Builder, Choice, Element, Graph, GraphError, NodeId, Space};

use crate::ZooError;
use crate::blocks::{
    Embeddings, EncoderLayer, Groups, LayerNames, attention_part, embeddings, feed_forward, finish,
};

/// What a space of text classifiers, or one classifier of the family, is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct TextSpace {
    /// What it is called, e.g. `text-base`.
    pub name: String,
    /// Rows of the token table.
    pub vocabulary: usize,
    /// Width of the encoder; a multiple of 32.
    pub width: usize,
    /// Layers; each has two slots.
    pub layers: usize,
    /// Most tokens that a text can have.
    pub places: usize,
    /// Tokens of the text that costs are counted for.
    pub length: usize,
    /// Classes to tell apart.
    pub classes: usize,
    /// Whether texts come in pairs, told apart by types.
    pub pair: bool,
    /// Share of elements dropped while training.
    pub dropout: f64,
}

impl TextSpace {
    /// The sizes of space on offer, the smallest first, for texts of up to `length` tokens.
    pub fn presets(vocabulary: usize, length: usize, classes: usize) -> Vec<Self> {
        const SIZES: &[(&str, usize, usize)] = &[
            ("text-tiny", 64, 2),
            ("text-small", 96, 2),
            ("text-base", 128, 3),
            ("text-large", 192, 4),
        ];
        let preset = |&(name, width, layers): &(&str, usize, usize)| Self {
            name: name.into(),
            vocabulary,
            width,
            layers,
            places: length,
            length,
            classes,
            pair: false,
            dropout: 0.1,
        };
        SIZES.iter().map(preset).collect()
    }

    pub(crate) fn check(&self) -> Result<(), ZooError> {
        let refuse = |reason: String| {
            let space = self.name.clone();
            Err(ZooError::Space { space, reason })
        };
        if self.width == 0 || !self.width.is_multiple_of(32) {
            let width = self.width;
            return refuse(format!(
                "width {width} is no multiple of 32: take 64 or 128"
            ));
        }
        if self.classes < 2 {
            return refuse(format!(
                "{} classes leave nothing to tell apart",
                self.classes
            ));
        }
        if self.length == 0 || self.length > self.places {
            let (length, places) = (self.length, self.places);
            return refuse(format!("length {length} does not fit into {places} places"));
        }
        Ok(())
    }

    /// Inputs and embeddings: what the first layer takes, and the lengths.
    pub(crate) fn stem(&self, b: &mut Builder) -> Result<[NodeId; 2], GraphError> {
        let text = [1, self.length];
        let ids = b.input("ids", &text, Element::Index)?;
        let types = match self.pair {
            true => Some(b.input("types", &text, Element::Index)?),
            false => None,
        };
        let lengths = b.input("lengths", &[1], Element::Index)?;
        let row = Embeddings {
            vocabulary: self.vocabulary,
            width: self.width,
            places: self.places,
            first: 0,
            dropout: self.dropout,
            epsilon: EPSILON,
        };
        Ok([embeddings(b, "embeddings", &row, ids, types)?, lengths])
    }

    /// Mean and maximum over the tokens side by side, dropout, classes.
    pub(crate) fn head(
        &self,
        b: &mut Builder,
        [x, lengths]: [NodeId; 2],
    ) -> Result<NodeId, GraphError> {
        let mean = b.add("mean", TokenMean {}, &[x, lengths])?;
        let max = b.add("max", TokenMax {}, &[x, lengths])?;
        let x = b.add("pooled", Concat { axis: 1 }, &[mean, max])?;
        let rate = self.dropout;
        let x = b.add("dropout", Dropout { rate }, &[x])?;
        b.add("classifier", Linear::dense(self.classes), &[x])
    }

    /// A layer with these heads and this ratio of the inner width.
    pub(crate) fn layer(&self, heads: usize, ratio: usize, groups: Groups) -> EncoderLayer {
        EncoderLayer {
            heads,
            inner: ratio * self.width,
            groups,
            activation: Activation::Gelu,
            shuffle: true,
            dropout: self.dropout,
            epsilon: EPSILON,
        }
    }
}

const EPSILON: f64 = 1e-6;

/// What mixes tokens.
#[derive(Clone, Copy)]
enum Mixer {
    /// Attention: heads, groups of query, key and value, groups behind attention.
    Attention([usize; 3]),
    /// A window over each channel, then a position-wise layer: window, groups of the layer.
    Depthwise([usize; 2]),
    /// A window over groups of channels: window, groups.
    Window([usize; 2]),
    /// Nothing.
    Skip,
}

use Mixer::{Attention, Depthwise, Window};

/// Choices of a layer's first slot.
const MIXERS: &[(&str, Mixer)] = &[
    ("h4g1", Attention([4, 1, 1])),
    ("h4g2", Attention([4, 2, 1])),
    ("h4g4", Attention([4, 4, 1])),
    ("h4g4o4", Attention([4, 4, 4])),
    ("h2g1", Attention([2, 1, 1])),
    ("h2g2", Attention([2, 2, 1])),
    ("h2g2o2", Attention([2, 2, 2])),
    ("k3d", Depthwise([3, 1])),
    ("k7d", Depthwise([7, 1])),
    ("k7dg4", Depthwise([7, 4])),
    ("k3g4", Window([3, 4])),
    ("skip", Mixer::Skip),
];

/// A feed-forward part's ratio, groups, and whether channels are shuffled; or nothing.
type Feed = Option<(usize, usize, Shuffle)>;

/// Choices of a layer's second slot.
const FEEDS: &[(&str, Feed)] = &[
    ("r4g1", Some((4, 1, Shuffle::No))),
    ("r2g1", Some((2, 1, Shuffle::No))),
    ("r1g1", Some((1, 1, Shuffle::No))),
    ("r4g2s", Some((4, 2, Shuffle::Yes))),
    ("r2g2s", Some((2, 2, Shuffle::Yes))),
    ("r4g4", Some((4, 4, Shuffle::No))),
    ("r4g4s", Some((4, 4, Shuffle::Yes))),
    ("r2g4s", Some((2, 4, Shuffle::Yes))),
    ("r4g8s", Some((4, 8, Shuffle::Yes))),
    ("skip", None),
];

#[derive(Clone, Copy, PartialEq)]
enum Shuffle {
    Yes,
    No,
}

/// A space of encoders: embeddings, for each layer one slot that mixes tokens and one that mixes
/// channels, mean and maximum over the tokens, classes. Every choice holds its residual sum and norm.
///
/// # Errors
/// When the sizes do not fit: the width into the groups, or the length into the places.
pub fn text(row: &TextSpace) -> Result<Space, ZooError> {
    row.check()?;
    let mut b = Builder::new(&*row.name);
    let [mut x, lengths] = row.stem(&mut b)?;
    for layer in 0..row.layers {
        let mut choices = vec![];
        for &(name, mixer) in MIXERS {
            choices.push(mixer_choice(&b, row, name, mixer, [x, lengths])?);
        }
        x = b.slot(&format!("layer{layer}.mixer"), &[x, lengths], choices)?;
        let mut choices = vec![];
        for &(name, feed) in FEEDS {
            choices.push(feed_choice(&b, row, name, feed, x)?);
        }
        x = b.slot(&format!("layer{layer}.feed"), &[x], choices)?;
    }
    let y = row.head(&mut b, [x, lengths])?;
    Ok(b.finish_space(&[y])?)
}

fn mixer_choice(
    b: &Builder,
    row: &TextSpace,
    name: &str,
    mixer: Mixer,
    inputs: [NodeId; 2],
) -> Result<Choice, GraphError> {
    let (mut body, ids) = b.body(name, &inputs)?;
    let b = &mut body;
    let (x, lengths) = (ids[0], ids[1]);
    let layer = row.layer(1, 1, Groups::DENSE);
    let window = |kernel, groups| Conv1d {
        out: row.width,
        kernel,
        dilation: 1,
        groups,
        bias: true,
    };
    let y = match mixer {
        Attention([heads, qkv, post]) => {
            let groups = Groups {
                qkv,
                post,
                ..Groups::DENSE
            };
            let layer = row.layer(heads, 1, groups);
            attention_part(b, "", &layer, &LayerNames::SHORT, [x, lengths])?
        }
        Depthwise([kernel, groups]) => {
            let y = b.add("window", window(kernel, row.width), &[x, lengths])?;
            let y = b.add("gelu", Activation::Gelu, &[y])?;
            let y = b.add("post", Linear::grouped(row.width, groups), &[y])?;
            let y = shuffled(b, groups, y)?;
            finish(b, &layer, ["", "window", "norm"], [x, y])?
        }
        Window([kernel, groups]) => {
            let y = b.add("window", window(kernel, groups), &[x, lengths])?;
            let y = b.add("gelu", Activation::Gelu, &[y])?;
            let y = shuffled(b, groups, y)?;
            finish(b, &layer, ["", "window", "norm"], [x, y])?
        }
        Mixer::Skip => x,
    };
    Ok(Choice::new(body.finish(&[y])?))
}

fn shuffled(b: &mut Builder, groups: usize, x: NodeId) -> Result<NodeId, GraphError> {
    match groups {
        1 => Ok(x),
        _ => b.add("shuffle", ChannelShuffle { groups }, &[x]),
    }
}

fn feed_choice(
    b: &Builder,
    row: &TextSpace,
    name: &str,
    feed: Feed,
    x: NodeId,
) -> Result<Choice, GraphError> {
    let (mut body, ids) = b.body(name, &[x])?;
    let y = match feed {
        Some((ratio, groups, shuffle)) => {
            let groups = Groups {
                intermediate: groups,
                output: groups,
                ..Groups::DENSE
            };
            let layer = EncoderLayer {
                shuffle: shuffle == Shuffle::Yes,
                ..row.layer(1, ratio, groups)
            };
            feed_forward(&mut body, "", &layer, &LayerNames::SHORT, ids[0])?
        }
        None => ids[0],
    };
    Ok(Choice::new(body.finish(&[y])?))
}

/// Hand-designed classifiers of the family at this size: a BERT-like dense encoder, and one with
/// SqueezeBERT's groups of four.
///
/// # Errors
/// As [`text`].
pub fn text_references(row: &TextSpace) -> Result<Vec<Graph>, ZooError> {
    row.check()?;
    let kinds = [
        ("bert", Groups::DENSE),
        ("squeezebert", Groups::SQUEEZEBERT),
    ];
    let mut graphs = vec![];
    for (kind, groups) in kinds {
        let name = format!("{kind}-{}x{}", row.layers, row.width);
        graphs.push(encoder(row, &name, groups)?);
    }
    Ok(graphs)
}

fn encoder(row: &TextSpace, name: &str, groups: Groups) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let [mut x, lengths] = row.stem(&mut b)?;
    let layer = EncoderLayer {
        shuffle: false,
        ..row.layer(4, 4, groups)
    };
    for index in 0..row.layers {
        let path = format!("encoder.layer.{index}");
        x = attention_part(&mut b, &path, &layer, &LayerNames::BERT, [x, lengths])?;
        x = feed_forward(&mut b, &path, &layer, &LayerNames::BERT, x)?;
    }
    let y = row.head(&mut b, [x, lengths])?;
    b.finish(&[y])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset(index: usize) -> TextSpace {
        TextSpace::presets(2000, 48, 77).swap_remove(index)
    }

    #[test]
    fn every_choice_of_every_preset_resolves() {
        for row in TextSpace::presets(2000, 48, 77) {
            let space = text(&row).expect("presets fit");
            assert_eq!(space.slots().len(), 2 * row.layers);
            let most = MIXERS.len().max(FEEDS.len());
            for pick in 0..most {
                let picks: Vec<_> = space
                    .slots()
                    .iter()
                    .map(|slot| pick.min(slot.choices().len() - 1))
                    .collect();
                let graph = space.resolve(&picks).expect("valid picks");
                assert_eq!(graph.node(graph.outputs()[0]).shape, [1, 77]);
                graph
                    .with_batch(5)
                    .expect("any batch")
                    .with_length(7)
                    .expect("shorter");
            }
        }
    }

    #[test]
    fn the_first_choices_are_the_dense_encoder() {
        let row = preset(2);
        let space = text(&row).expect("presets fit");
        let dense = &text_references(&row).expect("presets fit")[0];
        let graph = space.resolve(&[0; 6]).expect("valid picks");
        assert_eq!(graph.cost().macs, dense.cost().macs);
        assert_eq!(graph.cost().params, dense.cost().params);
    }

    #[test]
    fn groups_save_multiply_adds() {
        let graphs = text_references(&preset(3)).expect("presets fit");
        let [dense, grouped] = [0, 1].map(|at| graphs[at].cost().macs as f64);
        assert!(dense / grouped > 2.5, "{dense} against {grouped}");
    }

    #[test]
    fn all_skips_leave_the_embeddings() {
        let row = TextSpace {
            pair: true,
            ..preset(0)
        };
        let space = text(&row).expect("fits");
        let skips: Vec<_> = space
            .slots()
            .iter()
            .map(|slot| slot.choices().len() - 1)
            .collect();
        assert!(
            space
                .slots()
                .iter()
                .all(|slot| slot.choices().last().expect("some").is_skip())
        );
        let graph = space.resolve(&skips).expect("valid picks");
        // Mean and maximum, side by side.
        assert_eq!(graph.cost().macs, 2 * 64 * 77);
        assert_eq!(graph.inputs().len(), 3);
    }

    #[test]
    fn odd_widths_are_refused() {
        let row = TextSpace {
            width: 100,
            ..preset(0)
        };
        let error = text(&row).expect_err("100 is no multiple of 32");
        assert_eq!(
            error.to_string(),
            "search space text-tiny: width 100 is no multiple of 32: take 64 or 128"
        );
    }
}
