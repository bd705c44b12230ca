//! Vision Transformers (Dosovitskiy et al., 2020; Touvron et al., 2020): patches of an image as tokens, a class token in front of them,
//! layers whose norms stand in front; with the weight names of torchvision and timm.

use squeeze_graph::ops::{
    Activation, Add, Attention, ClassToken, Conv2d, Embedding, LayerNorm, Linear, Position,
    Reshape, Select, Transpose,
};
use squeeze_graph::{Builder, Element, Graph, GraphError};

use crate::blocks::{PreNorm, PreNormNames, pre_norm};
use crate::list::{Entry, Make, Options, TOP1, Task};

/// The published networks.
pub(crate) const ROWS: &[Entry] = &[
    vision("vit_b_16", 86_567_656, |options| {
        TORCHVISION.graph("vit_b_16", BASE, options)
    })
    .gmacs("17.564")
    .accuracy(81.072, TOP1),
    vision("vit_b_32", 88_224_232, |options| {
        TORCHVISION.graph("vit_b_32", BASE, options)
    })
    .gmacs("4.409")
    .accuracy(75.912, TOP1),
    vision("vit_l_16", 304_326_632, |options| {
        TORCHVISION.graph("vit_l_16", [24, 1024, 16], options)
    })
    .gmacs("61.555")
    .accuracy(79.662, TOP1),
    deit("deit_tiny", 5_717_416, |options| {
        TIMM.graph("deit_tiny", [12, 192, 3], options)
    })
    .gmacs("1.3")
    .accuracy(72.2, DEIT),
    deit("deit_small", 22_050_664, |options| {
        TIMM.graph("deit_small", [12, 384, 6], options)
    })
    .gmacs("4.6")
    .accuracy(79.9, DEIT),
];

/// Layers, width and heads of the base size.
const BASE: [usize; 3] = [12, 768, 12];
const DEIT: &str = "% top-1 on ImageNet (facebookresearch/deit)";

const fn vision(name: &'static str, params: u64, make: Make) -> Entry {
    let source = "Dosovitskiy et al., 2020; torchvision";
    Entry::new(name, Task::Image, source, params, make)
}

const fn deit(name: &'static str, params: u64, make: Make) -> Entry {
    Entry::new(
        name,
        Task::Image,
        "Touvron et al., 2020; timm",
        params,
        make,
    )
}

/// Height and width of the patches of a network of this name, if it takes patches.
pub(crate) fn patch(name: &str) -> Option<usize> {
    let known = ROWS.iter().any(|entry| entry.name == name);
    known.then_some(if name.ends_with("_32") { 32 } else { 16 })
}

/// How a family names its weights.
struct Family {
    /// The convolution over patches.
    patches: &'static str,
    class_token: &'static str,
    places: &'static str,
    layer: &'static str,
    names: PreNormNames,
    norm: &'static str,
    head: &'static str,
}

const TORCHVISION: Family = Family {
    patches: "conv_proj",
    class_token: "class_token",
    places: "encoder.pos_embedding",
    layer: "encoder.layers.encoder_layer_",
    names: PreNormNames::TORCHVISION,
    norm: "encoder.ln",
    head: "heads.head",
};
const TIMM: Family = Family {
    patches: "patch_embed.proj",
    class_token: "cls_token",
    places: "pos_embed",
    layer: "blocks.",
    names: PreNormNames::TIMM,
    norm: "norm",
    head: "head",
};

impl Family {
    /// A network of `[layers, width, heads]`.
    fn graph(
        &self,
        name: &str,
        [layers, width, heads]: [usize; 3],
        options: &Options,
    ) -> Result<Graph, GraphError> {
        let (epsilon, patch) = (1e-6, patch(name).expect("a row of its own"));
        let mut b = Builder::new(name);
        let x = b.input("image", &options.image_shape(), Element::Number)?;
        let conv = Conv2d {
            stride: [patch; 2],
            padding: [0; 4],
            bias: true,
            ..Conv2d::square(width, patch)
        };
        let x = b.add(self.patches, conv, &[x])?;
        let order = vec![0, 2, 3, 1];
        let x = b.add("channels_last", Transpose { order }, &[x])?;
        let dims = vec![0, -1, width as i64];
        let x = b.add("patches", Reshape { dims }, &[x])?;
        let x = b.add(self.class_token, ClassToken { tokens: 1 }, &[x])?;
        let rows = b.shape(x)[1];
        let position = Position {
            first: 0,
            places: rows,
        };
        let places = b.add("position_ids", position, &[x])?;
        let places = b.add(self.places, Embedding { rows, width }, &[places])?;
        let mut x = b.add("sum", Add {}, &[x, places])?;
        let row = PreNorm {
            attention: Attention::new(heads),
            inner: 4 * width,
            activation: Activation::Gelu,
            dropout: 0.0,
            epsilon,
        };
        for index in 0..layers {
            let path = format!("{}{index}", self.layer);
            x = pre_norm(&mut b, &path, &row, &self.names, (x, None))?;
        }
        x = b.add(self.norm, LayerNorm { epsilon }, &[x])?;
        x = b.add("first", Select { axis: 1, index: 0 }, &[x])?;
        x = b.add(self.head, Linear::dense(options.image_classes()), &[x])?;
        b.finish(&[x])
    }
}

#[cfg(test)]
mod tests {
    use crate::{Options, build};

    /// Parameters of torchvision's weights for larger images.
    #[test]
    fn images_of_other_sizes_have_other_places() {
        let sized = |name, image| {
            let options = Options {
                image: Some(image),
                ..Options::default()
            };
            build(name, &options)
        };
        let params = |name, image| sized(name, image).expect("fits").cost().params;
        assert_eq!(params("vit_b_16", 384), 86_859_496);
        assert_eq!(params("vit_l_16", 512), 305_174_504);
        let error = sized("vit_b_32", 240).expect_err("7.5 patches");
        assert_eq!(
            error.to_string(),
            "vit_b_32: an image of 240 pixels does not divide into patches of 32"
        );
        let graph = sized("vit_b_16", 224).expect("fits");
        let error = graph.with_image([192; 2]).expect_err("other places");
        assert_eq!(
            error.to_string(),
            "position_ids: 145 tokens for 197 places: those of an image belong to one size"
        );
    }
}
