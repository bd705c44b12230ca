//! Hand-designed image classifiers of the same family as the search space, at its sizes: the
//! yardsticks that a searched network is held against.

use squeeze_graph::{Builder, Graph, GraphError, NodeId};

use crate::ZooError;
use crate::blocks::{Inverted, InvertedNames, inverted};
use crate::space_image::{ImageSpace, fire, residual};

/// How every block of a reference is filled.
#[derive(Clone, Copy)]
enum Kind {
    Inverted,
    Fire,
    Residual,
}

/// A MobileNetV2-like, a SqueezeNet-like and a ResNet-like classifier with the first convolution,
/// stages and head of this space.
///
/// # Errors
/// As [`image`](crate::image).
pub fn image_references(row: &ImageSpace) -> Result<Vec<Graph>, ZooError> {
    row.check()?;
    let size = row.name.strip_prefix("image-").unwrap_or(&row.name);
    let kinds = [
        ("mobilenet_v2", Kind::Inverted),
        ("squeezenet", Kind::Fire),
        ("resnet", Kind::Residual),
    ];
    let mut graphs = vec![];
    for (name, kind) in kinds {
        let mut b = Builder::new(format!("{name}-{size}"));
        let mut x = row.stem(&mut b)?;
        for (path, out, stride) in row.blocks() {
            x = block(&mut b, &path, kind, [out, stride], x)?;
        }
        let y = row.head(&mut b, x)?;
        graphs.push(b.finish(&[y])?);
    }
    Ok(graphs)
}

fn block(
    b: &mut Builder,
    path: &str,
    kind: Kind,
    [out, stride]: [usize; 2],
    x: NodeId,
) -> Result<NodeId, GraphError> {
    match kind {
        Kind::Inverted => {
            let row = Inverted {
                stride,
                ..Inverted::new(out, 6 * b.channels(x))
            };
            inverted(b, &InvertedNames::words(&format!("{path}.")), &row, x)
        }
        Kind::Fire => fire(b, &format!("{path}."), [out, stride], x),
        Kind::Residual => residual(b, &format!("{path}."), [out, stride, 1], x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_for_every_preset() {
        for row in ImageSpace::presets(3, 32, 10) {
            let graphs = image_references(&row).expect("presets fit");
            let macs: Vec<_> = graphs.iter().map(|graph| graph.cost().macs).collect();
            assert_eq!(macs.len(), 3);
            assert!(macs[1] < macs[2], "Fire modules are cheaper: {macs:?}");
        }
    }
}
