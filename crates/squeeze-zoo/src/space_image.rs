//! Search spaces of image classifiers: chains of blocks whose every block is a choice, after
//! SqueezeNAS (Shaw et al., 2019) with Fire modules and grouped residuals beside its inverted ones.

use squeeze_graph::ops::{Activation, Add, ChannelShuffle, Concat, Dropout, GlobalAverage, Linear};
use squeeze_graph::{Builder, Choice, Element, GraphError, NodeId, Space};

use crate::ZooError;
use crate::blocks::{ConvNorm, Inverted, InvertedNames, conv_norm, inverted};

/// What a space of image classifiers, or one classifier of the family, is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSpace {
    /// What it is called, e.g. `image-base`.
    pub name: String,
    /// Channels of the image.
    pub channels: usize,
    /// Height and width of the image.
    pub size: usize,
    /// Classes to tell apart.
    pub classes: usize,
    /// Channels and stride of the first convolution.
    pub stem: [usize; 2],
    /// Channels (multiples of 8), blocks, and stride of the first block of each stage.
    pub stages: Vec<[usize; 3]>,
    /// Channels of the last 1x1 convolution.
    pub last: usize,
    /// Share of channels dropped in front of the classes while training.
    pub dropout: f64,
}

/// Name, first convolution, stages, last convolution.
type Size = (&'static str, [usize; 2], &'static [[usize; 3]], usize);

const SIZES: &[Size] = &[
    (
        "image-tiny",
        [8, 2],
        &[[16, 2, 1], [24, 2, 2], [32, 1, 2]],
        64,
    ),
    (
        "image-small",
        [16, 2],
        &[[16, 1, 1], [32, 3, 2], [64, 2, 2]],
        128,
    ),
    (
        "image-base",
        [16, 1],
        &[[32, 3, 2], [64, 3, 2], [96, 2, 2]],
        256,
    ),
    (
        "image-large",
        [32, 1],
        &[[32, 1, 1], [64, 3, 2], [128, 3, 2], [192, 2, 2]],
        512,
    ),
];

impl ImageSpace {
    /// The sizes of space on offer, the smallest first. Images above 48 pixels get strides in
    /// front, until the first stage sees at most 48 x 48 places.
    pub fn presets(channels: usize, size: usize, classes: usize) -> Vec<Self> {
        let preset = |&(name, stem, stages, last): &Size| {
            let mut row = Self {
                name: name.into(),
                channels,
                size,
                classes,
                stem,
                stages: stages.to_vec(),
                last,
                dropout: 0.1,
            };
            let mut places = size / row.stem[1];
            while places > 48 {
                if row.stem[1] == 1 {
                    row.stem[1] = 2;
                } else {
                    row.stages.insert(0, [row.stem[0].max(16), 1, 2]);
                }
                places /= 2;
            }
            row
        };
        SIZES.iter().map(preset).collect()
    }

    pub(crate) fn check(&self) -> Result<(), ZooError> {
        let refuse = |reason: String| {
            let space = self.name.clone();
            Err(ZooError::Space { space, reason })
        };
        let widths = self.stages.iter().map(|stage| stage[0]);
        let mut widths = widths.chain([self.stem[0], self.last]);
        if let Some(width) = widths.find(|&width| width == 0 || !width.is_multiple_of(8)) {
            return refuse(format!(
                "{width} channels are no multiple of 8: take 16 or 24"
            ));
        }
        if self.classes < 2 {
            return refuse(format!(
                "{} classes leave nothing to tell apart",
                self.classes
            ));
        }
        if self.stages.is_empty() || self.stages.iter().any(|stage| stage[1] == 0) {
            return refuse("a stage has no block: give each at least one".into());
        }
        Ok(())
    }

    /// Input and first convolution.
    pub(crate) fn stem(&self, b: &mut Builder) -> Result<NodeId, GraphError> {
        let image = [1, self.channels, self.size, self.size];
        let x = b.input("image", &image, Element::Number)?;
        let [out, stride] = self.stem;
        let stem = ConvNorm::square(out, 3).stride(stride);
        conv_norm(b, ["stem.conv", "stem.norm"], &stem.then(RELU), x)
    }

    /// Last convolution, mean over the image, dropout, classes.
    pub(crate) fn head(&self, b: &mut Builder, x: NodeId) -> Result<NodeId, GraphError> {
        let last = ConvNorm::square(self.last, 1).then(RELU);
        let x = conv_norm(b, ["last.conv", "last.norm"], &last, x)?;
        let x = b.add("pool", GlobalAverage {}, &[x])?;
        let rate = self.dropout;
        let x = b.add("dropout", Dropout { rate }, &[x])?;
        b.add("classifier", Linear::dense(self.classes), &[x])
    }

    /// Output channels and stride of each block, with its path.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (String, usize, usize)> + use<'_> {
        let stages = self.stages.iter().enumerate();
        stages.flat_map(|(stage, &[out, repeats, stride])| {
            (0..repeats).map(move |block| {
                let stride = if block == 0 { stride } else { 1 };
                (format!("stage{stage}.{block}"), out, stride)
            })
        })
    }
}

pub(crate) const RELU: Activation = Activation::Relu;

/// What fills a block.
#[derive(Clone, Copy, PartialEq)]
enum Block {
    /// Inverted residual: window, expansion, groups of the 1x1 convolutions, dilation.
    Inverted([usize; 4]),
    /// Fire module: the input's channels are squeezed to a quarter of the output's.
    Fire,
    /// Two 3x3 convolutions with a residual sum: groups.
    Residual(usize),
    /// One 3x3 convolution.
    Plain,
    /// Nothing.
    Skip,
}

use Block::{Fire, Inverted as Inv, Plain, Residual, Skip};

/// Choices of a block; dilated ones only where the stride is 1, `skip` where the shape stays.
const BLOCKS: &[(&str, Block)] = &[
    ("k3e1g1", Inv([3, 1, 1, 1])),
    ("k3e1g2", Inv([3, 1, 2, 1])),
    ("k3e3g1", Inv([3, 3, 1, 1])),
    ("k3e3g2", Inv([3, 3, 2, 1])),
    ("k3e6g1", Inv([3, 6, 1, 1])),
    ("k3e6g4", Inv([3, 6, 4, 1])),
    ("k5e3g1", Inv([5, 3, 1, 1])),
    ("k3e3g1d2", Inv([3, 3, 1, 2])),
    ("fire", Fire),
    ("r3g1", Residual(1)),
    ("r3g4", Residual(4)),
    ("c3", Plain),
    ("skip", Skip),
];

/// A space of chains: first convolution, blocks in stages, last convolution, mean, classes. Every
/// choice holds its residual sum.
///
/// # Errors
/// When the channels do not fit the groups, or the image is too small.
pub fn image(row: &ImageSpace) -> Result<Space, ZooError> {
    row.check()?;
    let mut b = Builder::new(&*row.name);
    let mut x = row.stem(&mut b)?;
    for (path, out, stride) in row.blocks() {
        let keeps = stride == 1 && b.channels(x) == out;
        let fits = |block: Block| match block {
            Inv([_, _, _, dilation]) => dilation == 1 || stride == 1,
            Skip => keeps,
            Fire | Residual(_) | Plain => true,
        };
        let mut choices = vec![];
        for &(name, block) in BLOCKS.iter().filter(|(_, block)| fits(*block)) {
            choices.push(choice(&b, name, block, [out, stride], x)?);
        }
        x = b.slot(&path, &[x], choices)?;
    }
    let y = row.head(&mut b, x)?;
    Ok(b.finish_space(&[y])?)
}

fn choice(
    b: &Builder,
    name: &str,
    block: Block,
    [out, stride]: [usize; 2],
    x: NodeId,
) -> Result<Choice, GraphError> {
    let (mut body, ids) = b.body(name, &[x])?;
    let (b, x) = (&mut body, ids[0]);
    let y = match block {
        Inv([kernel, expand, groups, dilation]) => {
            let row = Inverted {
                kernel,
                stride,
                dilation,
                groups,
                ..Inverted::new(out, expand * b.channels(x))
            };
            inverted(b, &InvertedNames::words(""), &row, x)?
        }
        Fire => fire(b, "", [out, stride], x)?,
        Residual(groups) => residual(b, "", [out, stride, groups], x)?,
        Plain => {
            let conv = ConvNorm::square(out, 3).stride(stride).then(RELU);
            conv_norm(b, ["conv", "norm"], &conv, x)?
        }
        Skip => x,
    };
    Ok(Choice::new(body.finish(&[y])?))
}

/// A Fire module with norms and a stride; the input is added when its shape is kept.
pub(crate) fn fire(
    b: &mut Builder,
    path: &str,
    [out, stride]: [usize; 2],
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let name = |last: &str| format!("{path}{last}");
    let layer = |b: &mut Builder, step: &str, row: ConvNorm, x| {
        let names = ["conv", "norm"].map(|part| name(&format!("{step}.{part}")));
        conv_norm(b, names.each_ref().map(|s| &**s), &row, x)
    };
    let squeeze = ConvNorm::square(out / 4, 1).then(RELU);
    let narrow = ConvNorm::square(out / 2, 1).stride(stride).then(RELU);
    let wide = ConvNorm::square(out / 2, 3).stride(stride).then(RELU);
    let y = layer(b, "squeeze", squeeze, x)?;
    let narrow = layer(b, "expand1x1", narrow, y)?;
    let wide = layer(b, "expand3x3", wide, y)?;
    let y = b.add(name("concat"), Concat { axis: 1 }, &[narrow, wide])?;
    match b.shape(x) == b.shape(y) {
        true => b.add(name("sum"), Add {}, &[y, x]),
        false => Ok(y),
    }
}

/// Two 3x3 convolutions, shuffled between when grouped; the input, fitted by a 1x1 convolution
/// where the shape changes, is added.
pub(crate) fn residual(
    b: &mut Builder,
    path: &str,
    [out, stride, groups]: [usize; 3],
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let name = |last: &str| format!("{path}{last}");
    let layer = |b: &mut Builder, step: &str, row: ConvNorm, x| {
        let names = ["conv", "norm"].map(|part| name(&format!("{step}.{part}")));
        conv_norm(b, names.each_ref().map(|s| &**s), &row, x)
    };
    let first = ConvNorm::square(out, 3).groups(groups).stride(stride);
    let mut y = layer(b, "first", first.then(RELU), x)?;
    if groups > 1 {
        y = b.add(name("shuffle"), ChannelShuffle { groups }, &[y])?;
    }
    y = layer(b, "second", ConvNorm::square(out, 3).groups(groups), y)?;
    let mut shortcut = x;
    if b.shape(x) != b.shape(y) {
        let fit = ConvNorm::square(out, 1).stride(stride);
        shortcut = layer(b, "fit", fit, x)?;
    }
    y = b.add(name("sum"), Add {}, &[y, shortcut])?;
    b.add(name("relu"), RELU, &[y])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_of_every_preset_resolves() {
        for (channels, size) in [(1, 28), (3, 32), (3, 96), (3, 224)] {
            for row in ImageSpace::presets(channels, size, 10) {
                let space = image(&row).expect("presets fit");
                let most = space.slots().iter().map(|slot| slot.choices().len()).max();
                for pick in 0..most.expect("slots") {
                    let picks: Vec<_> = space
                        .slots()
                        .iter()
                        .map(|slot| pick.min(slot.choices().len() - 1))
                        .collect();
                    let graph = space.resolve(&picks).expect("valid picks");
                    assert_eq!(graph.node(graph.outputs()[0]).shape, [1, 10]);
                }
            }
        }
    }

    #[test]
    fn strided_blocks_have_no_skip() {
        let rows = ImageSpace::presets(3, 32, 10);
        let space = image(&rows[2]).expect("presets fit");
        for (slot, (path, _, stride)) in space.slots().iter().zip(rows[2].blocks()) {
            let skips = slot.choices().iter().filter(|c| c.is_skip()).count();
            assert_eq!(skips, usize::from(stride == 1), "{path}");
            assert!((8..=13).contains(&slot.choices().len()), "{path}");
        }
    }

    /// The limit that the tiny space is made for: 256 kB of working memory for 28 x 28 digits.
    #[test]
    fn tiny_needs_little_memory() {
        let space = image(&ImageSpace::presets(1, 28, 10)[0]).expect("presets fit");
        for pick in 0..12 {
            let picks: Vec<_> = space
                .slots()
                .iter()
                .map(|slot| pick.min(slot.choices().len() - 1))
                .collect();
            let graph = space.resolve(&picks).expect("valid picks");
            assert!(graph.placement().bytes <= 256_000, "choice {pick}");
        }
    }

    #[test]
    fn odd_channels_are_refused() {
        let mut row = ImageSpace::presets(3, 32, 10).swap_remove(0);
        row.stages[1][0] = 20;
        let error = image(&row).expect_err("20 is no multiple of 8");
        assert_eq!(
            error.to_string(),
            "search space image-tiny: 20 channels are no multiple of 8: take 16 or 24"
        );
    }
}
