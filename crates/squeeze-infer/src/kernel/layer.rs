//! Convolutions and linear layers: which family computes one, with its weights packed.

use std::ops::Range;

use squeeze_kernels::activation::Activation;
use squeeze_kernels::amx;
use squeeze_kernels::conv_f32::{self, Conv};
use squeeze_kernels::conv_i8;
use squeeze_kernels::depthwise::{self, Depthwise, Filter};
use squeeze_kernels::gemm_f32::{self, Epilogue, Geometry, Residual};
use squeeze_kernels::gemm_i8::{self, Pixels};
use squeeze_kernels::spmm;
use squeeze_kernels::winograd;
use squeeze_kernels::{Cpu, Slab, Tier, elementwise};

use super::family::{Family, LayerFacts};
use super::{Context, name_of};
use crate::arena::Cut;
use crate::numbers::Held;
use crate::program::{self, Value};
use crate::target::Target;

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
        let point = || product_geometry(row, [x, y]);
        let conv = || conv_geometry(row, x.columns());
        let product = match LayerFacts::of(row, [x, y]).family(&target) {
            Family::Depthwise => {
                let geometry = depthwise_geometry(row);
                let mut packed = vec![0.0; row.weight.len()];
                depthwise::pack(&geometry, &weight(), &mut packed);
                Product::Depthwise(geometry, packed)
            }
            Family::Sparse(block, element) => {
                let held = match element {
                    spmm::Element::I8 => held(),
                    spmm::Element::F32 => Held::Numbers(weight()),
                };
                let packed = spmm::Packed::pack(held.weight(), &point(), block, element, tier);
                Product::Sparse(packed)
            }
            Family::Tiles(element) => {
                let mut conv = conv();
                if row.window.is_point() {
                    (conv.n, conv.h, conv.w) = (1, 1, x.rows());
                }
                let strides = (x.home.stride, y.home.stride);
                let packed = amx::Packed::pack_in(&weight(), &conv, strides, (element, tier), slab);
                Product::Amx(Box::new(packed))
            }
            Family::Product => {
                let panels = row.weight.panels();
                let of_panels = |panels| gemm_f32::Packed::of_panels(panels, &point(), tier, slab);
                let packed = panels.and_then(of_panels);
                Product::Gemm(
                    packed.unwrap_or_else(|| {
                        gemm_f32::Packed::pack_in(&weight(), &point(), tier, slab)
                    }),
                )
            }
            Family::ProductInBytes => Product::GemmI8(gemm_i8::Packed::pack_in(
                held().weight(),
                &point(),
                tier,
                slab,
            )),
            Family::PixelsInBytes => {
                let [_, height, width] = row.window.size;
                let packed = gemm_i8::Packed::pack_in(held().weight(), &point(), tier, slab);
                Product::GemmI8(packed.with_pixels(Pixels {
                    size: [height, width],
                    stride: row.window.stride,
                    out: row.window.out(),
                }))
            }
            Family::Windows => {
                let packed = conv_f32::Packed::pack_in(&weight(), &conv(), tier, slab);
                Product::Conv(packed.with_stride(y.home.stride))
            }
            Family::WindowsInBytes => {
                let packed = conv_i8::Packed::pack_in(held().weight(), &conv(), tier, slab);
                Product::ConvI8(packed.with_stride(y.home.stride))
            }
            Family::Winograd(size) => {
                let packed = winograd::Packed::pack_in(&weight(), &conv(), size, tier, slab);
                Product::Winograd(Box::new(packed.with_stride(y.home.stride)))
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

    /// Computes the layer of an input that is multiplied by a gate.
    pub fn run_gated(&self, context: &Context, cut: Cut) {
        let Product::Gemm(packed) = &self.product else {
            unreachable!("{self:?} is no product in single precision")
        };
        let (x, gate) = (context.read(&cut, 0), context.read(&cut, 1));
        let residual = (context.reads.len() > 2).then(|| context.read(&cut, 2));
        let epilogue = self.epilogue(residual);
        packed.run_gated((x, gate), &epilogue, cut.write, cut.scratch, context.cpu);
    }

    /// How many numbers [`Layer::run_gated`] works in.
    pub fn gated_scratch(&self) -> usize {
        match &self.product {
            Product::Gemm(packed) => packed.bytes() / 4,
            other => unreachable!("{other:?} is no product in single precision"),
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

    /// Computes some rows of one image's output, counted through all images, of windows in single precision.
    pub fn run_lines(&self, cpu: Cpu, rows: Range<usize>, x: &[f32], y: &mut [f32]) {
        match &self.product {
            Product::Conv(packed) => packed.run_rows(rows, x, &self.epilogue(None), y, cpu.threads),
            other => unreachable!("{other:?} is no family of windows in single precision"),
        }
    }

    /// Whether it computes each row from itself alone.
    pub fn is_point(&self) -> bool {
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
