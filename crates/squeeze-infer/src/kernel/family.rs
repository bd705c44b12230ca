//! Which family of kernels computes a layer: by what the layer is, and by what kernels cost.

use squeeze_graph::Graph;
use squeeze_kernels::conv_f32::Conv;
use squeeze_kernels::gemm_f32::Geometry;
use squeeze_kernels::spmm::{self, Block};
use squeeze_kernels::winograd::{self, Size};
use squeeze_kernels::winograd_i8;
use squeeze_kernels::{Tier, Weight, amx, conv_i8, gemm_i8};
use squeeze_rewrite::drop_dropout;
use squeeze_tensor::Weights;

use super::layer::{conv_geometry, product_geometry};
use super::sparse::{has_zeros, without_zeros};
use crate::error::CompileError;
use crate::lower;
use crate::prices::Least;
use crate::program::{self, Value, Window, Work};
use crate::target::{Precision, Target};

/// What the choice of a layer's family depends on, beside the target.
#[derive(Clone, Copy, Debug)]
pub struct LayerFacts {
    window: Window,
    conv: Conv,
    /// What a layer of one tap comes down to.
    product: Geometry,
    is_depthwise: bool,
    /// How many weights there are, and how many numbers it reads and writes.
    weights: usize,
    inputs: usize,
    outputs: usize,
    /// How many weights blocks of each size would store, where enough of a point layer's are zero.
    stored: Option<[usize; 3]>,
}

/// A family of kernels that computes layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Each channel with a window of its own.
    Depthwise,
    /// Products of what is not zero, in blocks.
    Sparse(Block, spmm::Element),
    /// Tiles, of matrix registers or of vectors.
    Tiles(amx::Element),
    /// Products in single precision.
    Product,
    /// Products in bytes.
    ProductInBytes,
    /// Products in bytes of the pixels that a stride leaves.
    PixelsInBytes,
    /// Windows in single precision.
    Windows,
    /// Windows in bytes.
    WindowsInBytes,
    /// Windows in single precision, transformed.
    Winograd(Size),
}

impl LayerFacts {
    pub(crate) fn of(row: &program::Layer, [x, y]: [&Value; 2]) -> Self {
        let product = product_geometry(row, [x, y]);
        let may_have_zeros = row.window.is_point() && !row.is_depthwise();
        let has_some = row
            .weight
            .panels()
            .is_none_or(|panels| panels.iter().any(|panels| has_zeros(panels)));
        let stored = (may_have_zeros && has_some).then(|| match row.weight.held().weight() {
            Weight::Numbers(weight) => stored_weights(weight, &product),
            Weight::Bytes(weight, _) => stored_weights(weight, &product),
        });
        Self {
            window: row.window,
            conv: conv_geometry(row, x.columns()),
            product,
            is_depthwise: row.is_depthwise(),
            weights: row.weight.len(),
            inputs: x.rows() * x.columns(),
            outputs: y.rows() * y.columns(),
            stored: stored.flatten(),
        }
    }

    /// Those of a network's first convolution or linear layer.
    ///
    /// # Errors
    /// When the network cannot be compiled.
    ///
    /// # Panics
    /// When it has no such layer.
    pub fn of_network(graph: &Graph, weights: &Weights) -> Result<Self, CompileError> {
        let program = lower::lower(&drop_dropout(graph), weights, None)?;
        let facts = program.steps.iter().find_map(|step| match &step.work {
            Work::Layer(row) => {
                let [x, y] = [step.inputs[0], step.output].map(|id| &program.values[id]);
                Some(Self::of(row, [x, y]))
            }
            _ => None,
        });
        Ok(facts.expect("a network with a layer"))
    }

    /// The fastest family for the layer, by the target's prices.
    pub fn family(&self, target: &Target) -> Family {
        let int8 = target.precision == Precision::Int8;
        if self.is_depthwise {
            Family::Depthwise
        } else if let Some((block, element)) = self.without_zeros(target) {
            Family::Sparse(block, element)
        } else if let Some(element) = self.on_tiles(target) {
            Family::Tiles(element)
        } else if self.window.is_point() {
            match int8 && self.product_gains_in_bytes(target) {
                true => Family::ProductInBytes,
                false => Family::Product,
            }
        } else if int8 && self.window.has_one_tap() && self.product_gains_in_bytes(target) {
            Family::PixelsInBytes
        } else if int8 && self.windows_gain_in_bytes(target) {
            Family::WindowsInBytes
        } else if let Some((size, _)) = self.on_winograd(target) {
            Family::Winograd(size)
        } else {
            Family::Windows
        }
    }

    /// The blocks in which a product without zeros gains.
    fn without_zeros(&self, target: &Target) -> Option<(Block, spmm::Element)> {
        let stored = self.stored?;
        let int8 = target.precision == Precision::Int8;
        let element = match int8 && self.product_gains_in_bytes(target) {
            true => spmm::Element::I8,
            false => spmm::Element::F32,
        };
        let block = without_zeros(&self.product, stored, element, target)?;
        Some((block, element))
    }

    /// What tiles should be made of; `None` where vectors are as fast.
    fn on_tiles(&self, target: &Target) -> Option<amx::Element> {
        /// Matrix registers with fewer channels are mostly empty.
        const FEWEST_CHANNELS: usize = 16;
        let [kh, kw] = self.window.kernel;
        if kh * kw > amx::MOST_TAPS {
            return None;
        }
        let channels = self.conv.c / self.conv.groups;
        let out = self.conv.out / self.conv.groups;
        let macs = self.product.m * self.weights;
        // Lines are multiplied whole.
        let whole = macs / channels * channels.next_multiple_of(amx::LINE);
        let of = |&precision: &Precision| {
            let element = precision.element()?;
            let fits = match amx::Kernel::of(target.tier, element).tier {
                Tier::Scalar | Tier::Avx2 => false,
                Tier::Avx512 => true,
                Tier::Amx => channels >= FEWEST_CHANNELS && out >= FEWEST_CHANNELS,
                tier => unreachable!("no tiles are written for {tier}"),
            };
            let price = target.prices.tiles.of(precision).filter(|_| fits)?;
            let cost = price.mac * whole as f64
                + price.split * self.inputs as f64
                + price.finish * self.outputs as f64
                + price.weight * self.weights as f64;
            Some((element, cost))
        };
        let ways = target.precision.tiles().iter().filter_map(of);
        let (element, cost) = ways.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let vectors = self.on_winograd(target).map_or(1.0, |(_, share)| share) * macs as f64;
        (vectors > cost).then_some(element)
    }

    /// The tiles with which Winograd's transforms save more multiply-adds than they cost, and their share of what the direct kernel
    /// costs; `None` where that one is as fast.
    fn on_winograd(&self, target: &Target) -> Option<(Size, f64)> {
        let conv = &self.conv;
        if target.tier == Tier::Scalar || !winograd::computes(conv) {
            return None;
        }
        // Columns are multiplied by whole registers.
        let lanes = if target.tier == Tier::Avx2 { 8 } else { 16 };
        let weights =
            conv.groups * (conv.out / conv.groups).next_multiple_of(lanes) * conv.c / conv.groups;
        let price = &target.prices.winograd;
        // So many weights, of so many products, each read once.
        let reading = |products: usize, each: f64| {
            let read = (products * weights) as f64;
            let is_far = products * weights * size_of::<f32>() >= NEAR;
            read * each * if is_far { price.far } else { 1.0 }
        };
        let cost = |size: Size| {
            let tiles = winograd::tiles(conv, size) as f64;
            let transform = match size {
                Size::Two => price.two,
                Size::Four => price.four,
            };
            let numbers = tiles * (conv.c + conv.out) as f64;
            reading(size.products(), transform.weight)
                + size.products() as f64 * (weights as f64 * tiles + transform.number * numbers)
        };
        let direct = (weights * taps_read(conv)) as f64 + reading(9, price.weight);
        let best = Size::ALL
            .into_iter()
            .min_by(|&a, &b| cost(a).total_cmp(&cost(b)));
        let share = best.map(|size| (size, cost(size) / direct));
        share.filter(|&(_, share)| share < 1.0)
    }

    /// Whether Winograd's transforms, in whole numbers, are quicker over images of bytes than windows as they are.
    pub(crate) fn transforms_in_bytes(&self, target: &Target) -> bool {
        /// What transforming a number costs, in multiply-adds of windows over bytes.
        const NUMBER: f64 = 16.0;
        /// And reading a byte of a weight.
        const READ: f64 = 1.8;
        let (conv, mac) = (&self.conv, target.prices.winograd.bytes);
        if mac == 0.0 || target.tier != Tier::Avx2 || !winograd_i8::computes(conv) {
            return false;
        }
        let weights = self.weights as f64 / 9.0;
        let tiles = winograd::tiles(conv, Size::Two) as f64;
        let numbers = tiles * (conv.c + conv.out) as f64;
        let transformed = (mac * tiles + 2.0 * READ) * weights + NUMBER * numbers;
        let windows = (taps_read(conv) as f64 + 9.0 * READ) * weights;
        Size::Two.products() as f64 * transformed < windows
    }

    /// Whether a product in bytes saves more time than it takes to bring its rows to bytes.
    fn product_gains_in_bytes(&self, target: &Target) -> bool {
        let Geometry { k, n, .. } = self.product;
        k <= gemm_i8::LONGEST && target.prices.bytes.product.holds([k, n])
    }

    /// Whether a convolution in bytes saves more time than it takes to bring its images to bytes.
    fn windows_gain_in_bytes(&self, target: &Target) -> bool {
        let Conv { c, out, groups, .. } = self.conv;
        let [kh, kw] = self.conv.kernel;
        let sum = c / groups * kh * kw;
        kh * kw <= conv_i8::MOST_TAPS
            && sum <= gemm_i8::LONGEST
            && target.prices.bytes.window.holds([sum, out / groups])
    }
}

impl Least {
    /// Whether a group of so many inputs and outputs is as large.
    fn holds(&self, [inputs, outputs]: [usize; 2]) -> bool {
        inputs >= self.inputs && outputs >= self.outputs && inputs * outputs >= self.weights
    }
}

/// How many weights blocks of each size would store, where enough are zero.
fn stored_weights<T: Copy + Default + PartialEq>(weight: &[T], g: &Geometry) -> Option<[usize; 3]> {
    has_zeros(weight).then(|| spmm::stored(weight, g))
}

/// Whether a layer that reads and writes numbers multiplies bytes.
pub(crate) fn multiplies_bytes(row: &program::Layer, values: [&Value; 2], target: &Target) -> bool {
    match LayerFacts::of(row, values).family(target) {
        Family::ProductInBytes | Family::PixelsInBytes | Family::WindowsInBytes => true,
        Family::Sparse(_, element) => element == spmm::Element::I8,
        Family::Depthwise
        | Family::Tiles(_)
        | Family::Product
        | Family::Windows
        | Family::Winograd(_) => false,
    }
}

/// Less than so many bytes of weights come from caches; larger layers are those of networks that do not fit there.
const NEAR: usize = 4 << 20;

/// How many taps of all windows read pixels. The direct kernel leaves out those that read padding for all of a tile.
fn taps_read(conv: &Conv) -> usize {
    let read = |axis: usize, size: usize, out: usize| -> usize {
        let inside = |tap: usize| {
            let first = conv.padding[axis].saturating_sub(tap * conv.dilation[axis]);
            let end = (conv.padding[axis] + size).saturating_sub(tap * conv.dilation[axis]);
            end.min(out).saturating_sub(first)
        };
        (0..conv.kernel[axis]).map(inside).sum()
    };
    conv.n * read(0, conv.h, conv.out_h()) * read(1, conv.w, conv.out_w())
}
