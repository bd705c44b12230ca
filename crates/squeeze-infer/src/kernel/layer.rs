//! Convolutions and linear layers: which family computes one, with its weights packed.

use squeeze_kernels::activation::Activation;
use squeeze_kernels::amx::{self, Element};
use squeeze_kernels::conv_f32::{self, Conv};
use squeeze_kernels::conv_i8;
use squeeze_kernels::depthwise::{self, Depthwise, Filter};
use squeeze_kernels::gemm_f32::{self, Epilogue, Geometry, Residual};
use squeeze_kernels::gemm_i8::{self, Pixels};
use squeeze_kernels::spmm::{self, Element as Sparse};
use squeeze_kernels::winograd::{self, Size};
use squeeze_kernels::{Cpu, Slab, Tier, Weight, elementwise};

use super::sparse::gains_when_sparse;
use super::{Context, name_of};
use crate::arena::Cut;
use crate::numbers::Held;
use crate::program::{self, Value};
use crate::target::{Precision, Target};

/// A product with weights and what follows it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    product: Product,
    bias: Option<Vec<f32>>,
    factors: Option<Vec<f32>>,
    activation: Activation,
}

#[derive(Clone, Debug)]
enum Product {
    Gemm(gemm_f32::Packed),
    GemmI8(gemm_i8::Packed),
    Amx(Box<amx::Packed>),
    Sparse(spmm::Packed),
    Depthwise(Depthwise, Vec<f32>),
    Conv(conv_f32::Packed),
    Winograd(Box<winograd::Packed>),
    ConvI8(conv_i8::Packed),
}

impl Layer {
    /// The fastest family for this layer.
    pub fn pick(row: &program::Layer, x: &Value, y: &Value, target: Target, slab: &Slab) -> Self {
        let tier = target.tier;
        let (weight, held) = (|| row.weight.numbers(), || row.weight.held());
        let channels = [x.columns(), row.out];
        let product = if row.is_depthwise() {
            let geometry = depthwise_geometry(row);
            let mut packed = vec![0.0; row.weight.len()];
            depthwise::pack(&geometry, &weight(), &mut packed);
            Product::Depthwise(geometry, packed)
        } else if let Some(packed) = sparse(row, [x, y], target) {
            Product::Sparse(packed)
        } else if let Some(element) = gains_on_tiles(row, [x, y], target) {
            let mut conv = conv_geometry(row, channels[0]);
            if row.window.is_point() {
                (conv.n, conv.h, conv.w) = (1, 1, x.rows());
            }
            let strides = (x.home.stride, y.home.stride);
            let packed = amx::Packed::pack_in(&weight(), &conv, strides, (element, tier), slab);
            Product::Amx(Box::new(packed))
        } else if row.window.is_point() {
            let geometry = product_geometry(row, [x, y]);
            match target.precision == Precision::Int8 && gains_in_bytes(&geometry) {
                true => Product::GemmI8(gemm_i8::Packed::pack(held().weight(), &geometry, tier)),
                false => Product::Gemm(gemm_f32::Packed::pack_in(&weight(), &geometry, tier, slab)),
            }
        } else if let Some(pixels) = pixels_in_bytes(row, [x, y], target) {
            let geometry = product_geometry(row, [x, y]);
            let packed = gemm_i8::Packed::pack(held().weight(), &geometry, tier);
            Product::GemmI8(packed.with_pixels(pixels))
        } else {
            let conv = conv_geometry(row, channels[0]);
            if is_in_byte_windows(row, [x, y], target) {
                let packed = conv_i8::Packed::pack(held().weight(), &conv, tier);
                Product::ConvI8(packed.with_stride(y.home.stride))
            } else if let Some(size) = gains_on_winograd(&conv, target) {
                let packed = winograd::Packed::pack_in(&weight(), &conv, size, tier, slab);
                Product::Winograd(Box::new(packed.with_stride(y.home.stride)))
            } else {
                let packed = conv_f32::Packed::pack_in(&weight(), &conv, tier, slab);
                Product::Conv(packed.with_stride(y.home.stride))
            }
        };
        Self {
            product,
            bias: row.bias.clone(),
            factors: row.factors.clone(),
            activation: row.activation,
        }
    }

    /// Computes the layer.
    pub fn run(&self, context: &Context, cut: Cut) {
        let x = context.read(&cut, 0);
        let residual = (context.reads.len() > 1).then(|| context.read(&cut, 1));
        if let (Some(rows), Some(starts)) = (context.packed_rows(), context.starts()) {
            return match self.is_point() {
                true => self.run_rows(context.cpu, rows, (x, residual), cut.write, cut.scratch),
                false => self.run_texts(context.cpu, starts, (x, residual), cut.write),
            };
        }
        let (cpu, epilogue) = (context.cpu, self.epilogue(residual));
        match &self.product {
            Product::Gemm(packed) => packed.run(x, &epilogue, cut.write, cpu.threads),
            Product::GemmI8(packed) => {
                packed.run(x, &epilogue, cut.write, cut.scratch, cpu.threads);
            }
            Product::Amx(packed) => {
                packed.run(x, &epilogue, cut.write, cut.scratch, cpu.threads);
            }
            Product::ConvI8(packed) => {
                packed.run(x, &epilogue, cut.write, cut.scratch, cpu.threads);
            }
            Product::Sparse(packed) => {
                packed.run(x, &epilogue, cut.write, cut.scratch, cpu.threads);
            }
            Product::Conv(packed) => packed.run(x, &epilogue, cut.write, cpu.threads),
            Product::Winograd(packed) => {
                packed.run(x, &epilogue, cut.write, cut.scratch, cpu.threads);
            }
            Product::Depthwise(geometry, weights) => {
                self.depthwise(cpu, (geometry, weights), (x, residual), cut.write);
            }
        }
    }

    fn depthwise(
        &self,
        cpu: Cpu,
        (geometry, weights): (&Depthwise, &[f32]),
        (x, residual): (&[f32], Option<&[f32]>),
        y: &mut [f32],
    ) {
        let filter = Filter {
            weights,
            bias: self.bias.as_deref(),
            activation: match residual {
                Some(_) => Activation::Identity,
                None => self.activation,
            },
        };
        depthwise::forward(cpu, geometry, x, filter, y);
        if let Some(residual) = residual {
            elementwise::add_in_place(cpu, residual, self.activation, y);
        }
    }

    /// Whether it computes each row from itself alone.
    fn is_point(&self) -> bool {
        match &self.product {
            Product::Gemm(_) | Product::GemmI8(_) | Product::Amx(_) | Product::Sparse(_) => true,
            Product::Depthwise(geometry, _) => geometry.kernel == [1; 2],
            Product::Conv(_) | Product::ConvI8(_) | Product::Winograd(_) => false,
        }
    }

    /// Moves windows over the rows of each text, from `starts` on; before and behind a text they read zeros.
    fn run_texts(
        &self,
        cpu: Cpu,
        starts: &[usize],
        (x, residual): (&[f32], Option<&[f32]>),
        y: &mut [f32],
    ) {
        for rows in starts.windows(2) {
            let tokens = rows[1] - rows[0];
            match &self.product {
                Product::Conv(packed) => {
                    let (from, to) = (packed.conv().c, packed.stride());
                    let epilogue = self.epilogue(residual.map(|from| &from[rows[0] * to..]));
                    let x = &x[rows[0] * from..rows[1] * from];
                    let y = &mut y[rows[0] * to..];
                    packed.run_images([1, 1, tokens], x, &epilogue, y, cpu.threads);
                }
                Product::Depthwise(geometry, weights) => {
                    let geometry = Depthwise {
                        n: 1,
                        w: tokens,
                        ..*geometry
                    };
                    let own = rows[0] * geometry.c..rows[1] * geometry.c;
                    let residual = residual.map(|residual| &residual[own.clone()]);
                    let on = (&geometry, &weights[..]);
                    self.depthwise(cpu, on, (&x[own.clone()], residual), &mut y[own]);
                }
                Product::ConvI8(_) => unreachable!("windows in bytes take texts that lie evenly"),
                Product::Gemm(_)
                | Product::GemmI8(_)
                | Product::Amx(_)
                | Product::Sparse(_)
                | Product::Winograd(_) => {
                    unreachable!("windows over tokens are convolutions of one row")
                }
            }
        }
    }

    /// Computes some rows of a layer that computes each from itself alone: at most as many as it was picked for.
    pub fn run_rows(
        &self,
        cpu: Cpu,
        rows: usize,
        (x, residual): (&[f32], Option<&[f32]>),
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let epilogue = self.epilogue(residual);
        match &self.product {
            Product::Gemm(packed) => packed.run_rows(rows, x, &epilogue, y, cpu.threads),
            Product::GemmI8(packed) => {
                packed
                    .with_rows(rows)
                    .run(x, &epilogue, y, scratch, cpu.threads);
            }
            Product::Amx(packed) => {
                packed
                    .with_rows(rows)
                    .run(x, &epilogue, y, scratch, cpu.threads);
            }
            Product::Depthwise(geometry, weights) => {
                let geometry = Depthwise {
                    n: 1,
                    h: 1,
                    w: rows,
                    ..*geometry
                };
                self.depthwise(cpu, (&geometry, weights), (x, residual), y);
            }
            Product::Conv(_) | Product::ConvI8(_) | Product::Winograd(_) => {
                unreachable!("point layers are products")
            }
            Product::Sparse(packed) => {
                packed
                    .with_rows(rows)
                    .run(x, &epilogue, y, scratch, cpu.threads);
            }
        }
    }

    fn epilogue<'a>(&'a self, residual: Option<&'a [f32]>) -> Epilogue<'a> {
        Epilogue {
            bias: self.bias.as_deref(),
            activation: self.activation,
            residual: residual.map(|values| Residual {
                values,
                factors: self.factors.as_deref(),
            }),
            ..Epilogue::default()
        }
    }

    /// How many numbers it works in beside inputs and output.
    pub fn scratch(&self, threads: usize) -> usize {
        match &self.product {
            Product::GemmI8(packed) => packed.scratch(),
            Product::ConvI8(packed) => packed.scratch(),
            Product::Amx(packed) => packed.scratch(threads),
            Product::Winograd(packed) => packed.scratch(threads),
            Product::Sparse(packed) => packed.scratch(threads),
            Product::Gemm(_) | Product::Depthwise(..) | Product::Conv(_) => 0,
        }
    }

    /// Bytes of weights and bias.
    pub fn bytes(&self) -> usize {
        let weights = match &self.product {
            Product::Gemm(packed) => packed.bytes(),
            Product::GemmI8(packed) => packed.bytes(),
            Product::Amx(packed) => packed.bytes(),
            Product::Sparse(packed) => packed.bytes(),
            Product::Depthwise(_, weights) => size_of_val::<[f32]>(weights),
            Product::Conv(packed) => packed.bytes(),
            Product::Winograd(packed) => packed.bytes(),
            Product::ConvI8(packed) => packed.bytes(),
        };
        let numbers = [&self.bias, &self.factors].map(|row| row.as_deref().map_or(0, size_of_val));
        weights + numbers.iter().sum::<usize>()
    }

    /// Multiply-adds with zeros that it leaves out.
    pub fn left_out(&self) -> u64 {
        match &self.product {
            Product::Sparse(packed) => packed.left_out() as u64,
            Product::Gemm(_)
            | Product::GemmI8(_)
            | Product::Amx(_)
            | Product::Depthwise(..)
            | Product::Conv(_)
            | Product::ConvI8(_)
            | Product::Winograd(_) => 0,
        }
    }

    /// The name that tables show.
    pub fn name(&self, tier: Tier) -> &'static str {
        match &self.product {
            Product::Gemm(packed) => packed.kernel().name,
            Product::GemmI8(packed) => packed.kernel().name,
            Product::Amx(packed) => packed.name(),
            Product::Sparse(packed) => packed.name(),
            Product::Depthwise(..) => name_of(depthwise::KERNELS, tier),
            Product::Conv(packed) => packed.kernel().name,
            Product::Winograd(packed) => packed.name(),
            Product::ConvI8(packed) => packed.kernel().name,
        }
    }
}

/// What tiles should be made of for this layer; `None` where vectors of numbers are as fast.
fn gains_on_tiles(row: &program::Layer, [x, y]: [&Value; 2], target: Target) -> Option<Element> {
    let element = match target.precision {
        Precision::F32 => Element::Bf16x6,
        Precision::Bf16x3 => Element::Bf16x3,
        Precision::Bf16 => Element::Bf16,
        Precision::Int8 => Element::I8,
    };
    let [inputs, outputs] = [x, y].map(|value| value.rows() * value.columns());
    let weights = row.weight.len();
    let macs = y.rows() * weights;
    let [kh, kw] = row.window.kernel;
    let channels = x.columns() / row.groups;
    // What splitting a number, finishing a sum and reading a weight cost beyond the vectors' way, in saved multiply-adds; measured by
    // the kernels' benchmark `amx`.
    let gains = match amx::Kernel::of(target.tier).tier {
        Tier::Scalar | Tier::Avx2 => false,
        Tier::Avx512 => {
            // How many multiply-adds take the time of one in single precision; lines are multiplied whole.
            let (rate, [split, finish]) = match element {
                Element::Bf16 => (1.9, [10, 14]),
                // Products and windows in bytes have families of their own.
                Element::I8 | Element::Bf16x3 | Element::Bf16x6 => return None,
            };
            let whole = macs / channels * channels.next_multiple_of(element.line());
            macs as f64 > whole as f64 / rate + (split * inputs + finish * outputs) as f64
        }
        Tier::Amx => {
            const FEWEST_CHANNELS: usize = 16;
            let [split, finish, read] = match element {
                Element::Bf16x6 => [37, 28, 46],
                Element::Bf16x3 => [14, 20, 14],
                Element::Bf16 | Element::I8 => [12, 24, 4],
            };
            channels >= FEWEST_CHANNELS
                && row.out / row.groups >= FEWEST_CHANNELS
                && macs > split * inputs + finish * outputs + read * weights
        }
        tier => unreachable!("no tiles are written for {tier}"),
    };
    (gains && kh * kw <= amx::MOST_TAPS).then_some(element)
}

/// The tiles with which Winograd's transforms save more multiply-adds than they cost; `None` where the direct kernel is as fast.
fn gains_on_winograd(conv: &Conv, target: Target) -> Option<Size> {
    // What a transformed number, input or sum, and reading a weight cost, in multiply-adds; measured by the kernels' benchmark
    // `convolutions`.
    const NUMBER: usize = 12;
    const WEIGHT: usize = 8;
    let is_vector = Tier::Scalar < target.tier && target.tier < Tier::Amx;
    if !is_vector || !winograd::computes(conv) {
        return None;
    }
    // Columns are multiplied by whole registers.
    let lanes = if target.tier == Tier::Avx2 { 8 } else { 16 };
    let weights =
        conv.groups * (conv.out / conv.groups).next_multiple_of(lanes) * conv.c / conv.groups;
    let cost = |size: Size| {
        let (tiles, products) = (winograd::tiles(conv, size), size.products());
        products * (weights * (tiles + WEIGHT) + NUMBER * tiles * (conv.c + conv.out))
    };
    let direct = weights * (taps_read(conv) + WEIGHT * 9);
    let best = Size::ALL.into_iter().min_by_key(|&size| cost(size));
    best.filter(|&size| cost(size) < direct)
}

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

/// The weights of a point layer without their zeros, where that is quicker.
fn sparse(row: &program::Layer, values: [&Value; 2], target: Target) -> Option<spmm::Packed> {
    if !row.window.is_point() {
        return None;
    }
    let geometry = product_geometry(row, values);
    let (element, held) = match target.precision == Precision::Int8 && gains_in_bytes(&geometry) {
        true => (Sparse::I8, row.weight.held()),
        false => (Sparse::F32, Held::Numbers(row.weight.numbers())),
    };
    let block = match held.weight() {
        Weight::Numbers(weight) => gains_when_sparse(weight, &geometry, element, target)?,
        Weight::Bytes(weight, _) => gains_when_sparse(weight, &geometry, element, target)?,
    };
    let packed = spmm::Packed::pack(held.weight(), &geometry, block, element, target.tier);
    Some(packed)
}

/// Whether a product in bytes saves more time than it takes to bring its rows to bytes.
fn gains_in_bytes(g: &Geometry) -> bool {
    const SHORTEST: usize = 16;
    const NARROWEST: usize = 16;
    const SMALLEST: usize = 1024;
    let long = (SHORTEST..=gemm_i8::LONGEST).contains(&g.k);
    long && g.n >= NARROWEST && g.k * g.n >= SMALLEST
}

/// Whether a layer that reads and writes numbers multiplies bytes.
pub(crate) fn multiplies_bytes(row: &program::Layer, values: [&Value; 2], target: Target) -> bool {
    let is_product = target.precision == Precision::Int8
        && row.window.is_point()
        && gains_in_bytes(&product_geometry(row, values));
    !row.is_depthwise()
        && (is_product
            || pixels_in_bytes(row, values, target).is_some()
            || is_in_byte_windows(row, values, target))
}

/// The pixels that a layer of one tap reads, where a product of them gains in bytes.
fn pixels_in_bytes(row: &program::Layer, [x, y]: [&Value; 2], target: Target) -> Option<Pixels> {
    let window = &row.window;
    let [_, height, width] = window.size;
    let gains = target.precision == Precision::Int8
        && window.has_one_tap()
        && gains_in_bytes(&product_geometry(row, [x, y]));
    gains.then_some(Pixels {
        size: [height, width],
        stride: window.stride,
        out: window.out(),
    })
}

/// Whether a layer is a convolution in bytes.
pub(crate) fn is_in_byte_windows(
    row: &program::Layer,
    [x, y]: [&Value; 2],
    target: Target,
) -> bool {
    target.precision == Precision::Int8
        && !row.is_depthwise()
        && gains_on_tiles(row, [x, y], target).is_none()
        && !row.window.is_point()
        && pixels_in_bytes(row, [x, y], target).is_none()
        && windows_gain_in_bytes(&conv_geometry(row, x.columns()))
}

/// Whether a convolution in bytes saves more time than it takes to bring its images to bytes.
fn windows_gain_in_bytes(conv: &Conv) -> bool {
    const SHORTEST: usize = 16;
    const NARROWEST: usize = 16;
    let [kh, kw] = conv.kernel;
    let sum = conv.c / conv.groups * kh * kw;
    kh * kw <= conv_i8::MOST_TAPS
        && (SHORTEST..=gemm_i8::LONGEST).contains(&sum)
        && conv.out / conv.groups >= NARROWEST
}

/// The product that a layer of one tap comes down to.
pub(super) fn product_geometry(row: &program::Layer, [x, y]: [&Value; 2]) -> Geometry {
    Geometry {
        m: y.rows(),
        n: row.out / row.groups,
        k: x.columns() / row.groups,
        groups: row.groups,
        lda: x.home.stride,
        ldc: y.home.stride,
    }
}

pub(super) fn conv_geometry(row: &program::Layer, channels: usize) -> Conv {
    let [n, h, w] = row.window.size;
    Conv {
        n,
        h,
        w,
        c: channels,
        out: row.out,
        kernel: row.window.kernel,
        stride: row.window.stride,
        dilation: row.window.dilation,
        padding: row.window.padding,
        groups: row.groups,
    }
}

pub(super) fn depthwise_geometry(row: &program::Layer) -> Depthwise {
    let [n, h, w] = row.window.size;
    Depthwise {
        n,
        h,
        w,
        c: row.out,
        kernel: row.window.kernel,
        stride: row.window.stride,
        dilation: row.window.dilation,
        padding: row.window.padding,
    }
}
