//! Convolutions and linear layers: which family computes one, with its weights packed.

use squeeze_kernels::activation::{self, Activation};
use squeeze_kernels::depthwise::{self, Depthwise, Filter};
use squeeze_kernels::gemm_f32::{Epilogue, Geometry, Packed, Residual};
use squeeze_kernels::{Cpu, Tier, elementwise};

use super::Context;
use crate::arena::Cut;
use crate::program::{self, Value, Window};
use crate::target::Target;

/// A product with weights and what follows it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    product: Product,
    bias: Option<Vec<f32>>,
    activation: Activation,
}

#[derive(Clone, Debug)]
enum Product {
    Gemm(Packed),
    Depthwise(Depthwise, Vec<f32>),
    Loops(Loops),
}

/// Plain loops.
#[derive(Clone, Debug)]
struct Loops {
    weight: Vec<f32>,
    window: Window,
    groups: usize,
    /// Channels of input and output, and their row strides.
    channels: [usize; 2],
    strides: [usize; 2],
}

impl Layer {
    /// The fastest family for this layer.
    pub fn pick(row: &program::Layer, x: &Value, y: &Value, target: Target) -> Self {
        let channels = [x.columns(), row.out];
        let product = if row.is_depthwise() {
            let geometry = depthwise_geometry(row);
            let mut packed = vec![0.0; row.weight.len()];
            depthwise::pack(&geometry, &row.weight, &mut packed);
            Product::Depthwise(geometry, packed)
        } else if row.window.is_point() {
            let geometry = Geometry {
                m: x.rows(),
                n: row.out / row.groups,
                k: channels[0] / row.groups,
                groups: row.groups,
                lda: x.home.stride,
                ldc: y.home.stride,
            };
            Product::Gemm(Packed::pack(&row.weight, &geometry, target.tier))
        } else {
            Product::Loops(Loops {
                weight: row.weight.clone(),
                window: row.window,
                groups: row.groups,
                channels,
                strides: [x.home.stride, y.home.stride],
            })
        };
        Self {
            product,
            bias: row.bias.clone(),
            activation: row.activation,
        }
    }

    /// Computes the layer.
    pub fn run(&self, context: &Context, cut: Cut) {
        let x = context.read(&cut, 0);
        let residual = (context.reads.len() > 1).then(|| context.read(&cut, 1));
        match &self.product {
            Product::Gemm(packed) => {
                let epilogue = Epilogue {
                    bias: self.bias.as_deref(),
                    activation: self.activation,
                    residual: residual.map_or(Residual::None, Residual::Before),
                    ..Epilogue::default()
                };
                packed.run(x, &epilogue, cut.write, context.cpu.threads);
            }
            Product::Depthwise(geometry, weights) => {
                let activation = match residual {
                    Some(_) => Activation::Identity,
                    None => self.activation,
                };
                let filter = Filter {
                    weights,
                    bias: self.bias.as_deref(),
                    activation,
                };
                depthwise::forward(context.cpu, geometry, x, filter, cut.write);
                if let Some(residual) = residual {
                    elementwise::add_in_place(context.cpu, residual, self.activation, cut.write);
                }
            }
            Product::Loops(loops) => loops.run(context.cpu, self, x, residual, cut.write),
        }
    }

    /// Bytes of weights and bias.
    pub fn bytes(&self) -> usize {
        let weights = match &self.product {
            Product::Gemm(packed) => packed.bytes() / size_of::<f32>(),
            Product::Depthwise(_, weights) => weights.len(),
            Product::Loops(loops) => loops.weight.len(),
        };
        (weights + self.bias.as_ref().map_or(0, Vec::len)) * size_of::<f32>()
    }

    /// The name that tables show.
    pub fn name(&self, tier: Tier) -> &'static str {
        match &self.product {
            Product::Gemm(packed) => packed.kernel().name,
            Product::Depthwise(..) => {
                let mut rows = depthwise::KERNELS.iter().rev();
                rows.find(|(_, needs)| *needs <= tier)
                    .map_or("scalar", |(name, _)| name)
            }
            Product::Loops(_) => "f32_conv_loops",
        }
    }
}

fn depthwise_geometry(row: &program::Layer) -> Depthwise {
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

impl Loops {
    fn run(&self, cpu: Cpu, layer: &Layer, x: &[f32], residual: Option<&[f32]>, y: &mut [f32]) {
        let Window {
            size: [n, h, w],
            out: [out_h, out_w],
            kernel: [kh, kw],
            stride,
            dilation,
            padding,
        } = self.window;
        let [into, out] = [0, 1].map(|side| self.channels[side] / self.groups);
        for row in 0..n * out_h * out_w {
            let (image, oy, ox) = (row / (out_h * out_w), row / out_w % out_h, row % out_w);
            for c in 0..self.channels[1] {
                let mut sum = layer.bias.as_ref().map_or(0.0, |bias| bias[c]);
                for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                    let iy = (oy * stride[0] + ky * dilation[0]).checked_sub(padding[0]);
                    let ix = (ox * stride[1] + kx * dilation[1]).checked_sub(padding[1]);
                    let (Some(iy), Some(ix)) = (iy, ix) else {
                        continue;
                    };
                    if iy >= h || ix >= w {
                        continue;
                    }
                    let from = ((image * h + iy) * w + ix) * self.strides[0] + c / out * into;
                    for i in 0..into {
                        sum += x[from + i] * self.weight[((c * into + i) * kh + ky) * kw + kx];
                    }
                }
                if let Some(residual) = residual {
                    sum += residual[row * self.channels[1] + c];
                }
                y[row * self.strides[1] + c] = sum;
            }
            let y = &mut y[row * self.strides[1]..][..self.channels[1]];
            activation::forward_in_place(cpu, layer.activation, y);
        }
    }
}
