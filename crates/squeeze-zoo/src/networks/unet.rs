//! U-Net (Ronneberger et al., 2015) as milesial/Pytorch-UNet has it with bilinear resizing, and
//! with its weight names, at a quarter of its channels.

use squeeze_graph::ops::{Activation, Concat, Pool, PoolKind, Resize, ResizeMode, ResizeSize};
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};

use crate::blocks::{ConvNorm, conv_norm, pixel_classifier};
use crate::list::{Entry, Options, Task};

/// The small network.
pub(crate) const ROWS: &[Entry] = &[Entry::new(
    "unet_small",
    Task::Segment,
    "Ronneberger et al., 2015; milesial/Pytorch-UNet",
    1_081_269,
    |options| unet("unet_small", 16, options),
)
.remark("a quarter of the source's channels, counted there; a test holds all of them against it")];

/// Times that the image is halved and made larger again.
const DEPTH: usize = 4;

/// Images must have a height and width that are multiples of 16.
fn unet(name: &str, width: usize, options: &Options) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let mut x = b.input("image", &options.image_or([256; 2]), Element::Number)?;
    x = double(&mut b, "inc.double_conv", [width; 2], x)?;
    let mut levels = vec![x];
    for depth in 1..=DEPTH {
        let path = format!("down{depth}.maxpool_conv");
        let pool = Pool {
            kind: PoolKind::Max,
            kernel: [2; 2],
            stride: [2; 2],
            padding: [0; 4],
            ceil: false,
        };
        x = b.add(format!("{path}.0"), pool, &[x])?;
        // The deepest level has half, since resizing does not halve the channels.
        let channels = (width << depth) / if depth == DEPTH { 2 } else { 1 };
        x = double(&mut b, &format!("{path}.1.double_conv"), [channels; 2], x)?;
        levels.push(x);
    }
    for (index, &level) in levels[..DEPTH].iter().rev().enumerate() {
        let path = format!("up{}", index + 1);
        let resize = Resize {
            mode: ResizeMode::BilinearCorners,
            size: ResizeSize::Times(2),
        };
        x = b.add(format!("{path}.up"), resize, &[x])?;
        x = b.add(format!("{path}.concat"), Concat { axis: 1 }, &[level, x])?;
        let middle = b.channels(x) / 2;
        let out = if index + 1 == DEPTH {
            middle
        } else {
            middle / 2
        };
        x = double(
            &mut b,
            &format!("{path}.conv.double_conv"),
            [middle, out],
            x,
        )?;
    }
    x = b.add("outc.conv", pixel_classifier(options.pixel_classes()), &[x])?;
    b.finish(&[x])
}

/// Two 3x3 convolutions with norms.
fn double(
    b: &mut Builder,
    path: &str,
    channels: [usize; 2],
    mut x: NodeId,
) -> Result<NodeId, GraphError> {
    for (step, out) in channels.into_iter().enumerate() {
        let names = [0, 1].map(|part| format!("{path}.{}", 3 * step + part));
        let row = ConvNorm::square(out, 3).then(Activation::Relu);
        x = conv_norm(b, names.each_ref().map(|s| &**s), &row, x)?;
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameters of `UNet(3, 2, bilinear=True)` of milesial/Pytorch-UNet.
    #[test]
    fn all_channels_are_the_published_network() {
        let options = Options {
            classes: Some(2),
            ..Options::default()
        };
        let graph = unet("unet", 64, &options).expect("fits");
        assert_eq!(graph.cost().params, 17_263_042);
    }
}
