//! Steps that read or write images in bytes.

use squeeze_graph::ops::PoolKind;
use squeeze_kernels::activation::{self, Activation, Table};
use squeeze_kernels::depthwise_i8;
use squeeze_kernels::elementwise::{self, Block, Gate};
use squeeze_kernels::gemm_f32::{Epilogue, Residual};
use squeeze_kernels::gemm_i8::codes::{Codes, Fixed, Output};
use squeeze_kernels::gemm_i8::{self, Pixels};
use squeeze_kernels::pool::{self, Pool};
use squeeze_kernels::resize::{self, Resize};
use squeeze_kernels::{
    Quantization, Slab, Threads, Tier, as_bytes, as_bytes_mut, conv_i8, winograd_i8,
};

use super::family::LayerFacts;
use super::layer::{conv_geometry, depthwise_geometry, product_geometry};
use super::{Context, name_of, pool_geometry, resize_geometry};
use crate::arena::Cut;
use crate::program::{self, Draft, Program, Value, Work};
use crate::target::Target;

/// A step over bytes, and what the bytes of its sides stand for.
#[derive(Clone, Debug)]
pub(crate) struct InBytes {
    work: Kind,
    /// Of each input, and of the output: its code, if it is in bytes, and how many it has.
    inputs: Vec<Side>,
    output: Side,
}

#[derive(Clone, Copy, Debug)]
struct Side {
    code: Option<Quantization>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    Layer(Box<Packed>, Rest),
    Depthwise(Box<depthwise_i8::Packed>),
    Max(Pool),
    Average(Pool),
    Resize(Resize),
    Activation(Box<Table>),
    Mean([usize; 3]),
    Gate(Gate),
    Add(Activation),
    /// Rows from one home to another.
    Move(Block),
}

/// The weights of a layer that is not depthwise.
#[derive(Clone, Debug)]
enum Packed {
    Product(gemm_i8::Packed),
    Conv(conv_i8::Packed),
    Winograd(winograd_i8::Packed),
}

/// What a layer does to the numbers it writes.
#[derive(Clone, Debug)]
struct Rest {
    bias: Option<Vec<f32>>,
    activation: Activation,
}

impl InBytes {
    /// The kernel of a step of which a side is in bytes.
    pub fn pick(
        program: &Program,
        step: &Draft,
        work: Work,
        target: Target,
        slab: &Slab,
    ) -> InBytes {
        let value = |id: usize| &program.values[id];
        let (x, y) = (value(step.inputs[0]), value(step.output));
        let side = |value: &Value| Side {
            code: value.code,
            len: value.span(),
        };
        let gate = Gate {
            rows: y.rows() / y.shape[0],
            c: y.columns(),
        };
        let kind = match work {
            Work::Layer(layer) if layer.is_depthwise() => {
                let code = |value: &Value| value.code.expect("both sides are in bytes");
                let held = layer.weight.held();
                let filter = depthwise_i8::Filter {
                    weights: held.weight(),
                    bias: layer.bias.as_deref(),
                    activation: layer.activation,
                    codes: depthwise_i8::Codes {
                        input: code(x),
                        output: code(y),
                    },
                };
                let geometry = depthwise_geometry(&layer);
                let packed = depthwise_i8::Packed::pack(&filter, &geometry, target.tier);
                Kind::Depthwise(Box::new(packed))
            }
            Work::Layer(layer) => {
                let residual = step.inputs.get(1).and_then(|&id| value(id).code);
                Self::layer(layer, [x, y], residual, (target, slab))
            }
            Work::Pool(row) => {
                let [n, c, h, w] = x.shape[..] else {
                    unreachable!("pools are of images")
                };
                let pool = pool_geometry(&row, [n, h, w, c]);
                match row.kind {
                    PoolKind::Max => Kind::Max(pool),
                    PoolKind::Average | PoolKind::AverageInside => Kind::Average(pool),
                }
            }
            Work::Resize(mode) => Kind::Resize(resize_geometry(mode, x, y)),
            Work::Activation(activation) => {
                let code = |value: &Value| value.code.expect("both sides are in bytes");
                Kind::Activation(Box::new(Table::of(activation, code(x), code(y))))
            }
            Work::GlobalAverage => {
                let n = x.shape[0];
                Kind::Mean([n, x.rows() / n, x.columns()])
            }
            Work::MulGate => Kind::Gate(gate),
            Work::Add(activation) => Kind::Add(activation),
            Work::Move => Kind::Move(Block {
                rows: y.rows(),
                columns: y.columns(),
                from_stride: x.home.stride,
                to_stride: y.home.stride,
            }),
            work => unreachable!("the pass leaves numbers to {work:?}"),
        };
        InBytes {
            work: kind,
            inputs: step.inputs.iter().map(|&id| side(value(id))).collect(),
            output: side(y),
        }
    }

    fn layer(
        row: program::Layer,
        [x, y]: [&Value; 2],
        residual: Option<Quantization>,
        (target, slab): (Target, &Slab),
    ) -> Kind {
        let fixed = Fixed {
            codes: Codes {
                input: x.code.expect("layers read bytes"),
                output: y.code,
                residual,
            },
            bias: row.bias.as_deref(),
            activation: row.activation,
        };
        let held = row.weight.held();
        let weight = held.weight();
        let window = &row.window;
        let rest = Rest {
            bias: row.bias.clone(),
            activation: row.activation,
        };
        let is_limited = y.code.is_some() && row.activation.limits().is_some();
        if is_limited && LayerFacts::of(&row, [x, y]).transforms_in_bytes(&target) {
            let conv = conv_geometry(&row, x.columns());
            let packed = winograd_i8::Packed::pack_fixed(weight, &conv, &fixed, target.tier, slab);
            let packed = packed.with_stride(y.home.stride);
            return Kind::Layer(Box::new(Packed::Winograd(packed)), rest);
        }
        if !window.has_one_tap() {
            let conv = conv_geometry(&row, x.columns());
            let packed = conv_i8::Packed::pack_fixed(weight, &conv, &fixed, target.tier, slab);
            let packed = Box::new(Packed::Conv(packed.with_stride(y.home.stride)));
            return Kind::Layer(packed, rest);
        }
        let geometry = product_geometry(&row, [x, y]);
        let mut packed = gemm_i8::Packed::pack_fixed(weight, &geometry, &fixed, target.tier, slab);
        if !window.is_point() {
            let [_, height, width] = window.size;
            packed = packed.with_pixels(Pixels {
                size: [height, width],
                stride: window.stride,
                out: window.out(),
            });
        }
        Kind::Layer(Box::new(Packed::Product(packed)), rest)
    }

    /// Computes the step.
    pub fn run(&self, context: &Context, cut: Cut) {
        let (cpu, threads) = (context.cpu, context.cpu.threads);
        let x = context.read(&cut, 0);
        let second = (self.inputs.len() > 1).then(|| context.read(&cut, 1));
        let numbers = |index: usize| [x, second.unwrap_or(&[])][index];
        let bytes = |index: usize| &as_bytes(numbers(index))[..self.inputs[index].len];
        let code = |index: usize| self.inputs[index].code.expect("it is in bytes");
        let (y, scratch) = (cut.write, cut.scratch);
        match (&self.work, self.output.code) {
            (Kind::Layer(packed, _), Some(_)) => {
                let y = &mut as_bytes_mut(y)[..self.output.len];
                let y = Output::Bytes(y, second.map(|_| bytes(1)));
                packed.run(bytes(0), y, scratch, threads);
            }
            (Kind::Layer(packed, rest), None) => {
                let epilogue = Epilogue {
                    bias: rest.bias.as_deref(),
                    activation: rest.activation,
                    residual: second.map(Residual::plain),
                    ..Epilogue::default()
                };
                packed.run(bytes(0), Output::Numbers(y, &epilogue), scratch, threads);
            }
            (Kind::Mean(shape), _) => {
                pool::mean_forward_bytes(cpu, *shape, (bytes(0), code(0)), y);
            }
            (Kind::Move(block), None) => {
                rows(block, bytes(0), y, |x, y| {
                    elementwise::dequantize(cpu, code(0), x, y)
                });
            }
            (work, to) => {
                let to = to.expect("it writes bytes");
                let y = &mut as_bytes_mut(y)[..self.output.len];
                match work {
                    Kind::Depthwise(packed) => packed.run(bytes(0), y, threads),
                    Kind::Max(pool) => pool::max_forward_bytes(cpu, pool, bytes(0), y),
                    Kind::Average(pool) => {
                        pool::average_forward_bytes(cpu, pool, (bytes(0), code(0)), (y, to));
                    }
                    Kind::Resize(row) => resize::forward_bytes(cpu, row, bytes(0), y),
                    Kind::Activation(table) => table.apply(cpu, bytes(0), y),
                    Kind::Gate(gate) => {
                        let x = (bytes(0), code(0));
                        elementwise::gate_bytes(cpu, *gate, x, numbers(1), (y, to));
                    }
                    Kind::Add(activation) => {
                        let [a, b] = [0, 1].map(|index| (bytes(index), code(index)));
                        elementwise::add_bytes(cpu, a, b, *activation, (y, to));
                    }
                    Kind::Move(block) if self.inputs[0].code.is_none() => {
                        rows(block, numbers(0), y, |x, y| {
                            elementwise::quantize(cpu, to, x, y)
                        });
                    }
                    Kind::Move(block) => elementwise::copy_block_bytes(cpu, block, bytes(0), y),
                    Kind::Layer(..) | Kind::Mean(_) => unreachable!("they are above"),
                }
            }
        }
    }

    /// How many numbers it works in beside inputs and output.
    pub fn scratch(&self, threads: usize) -> usize {
        match &self.work {
            Kind::Layer(packed, _) => match &**packed {
                Packed::Product(packed) => packed.scratch(),
                Packed::Conv(packed) => packed.scratch(),
                Packed::Winograd(packed) => packed.scratch(threads),
            },
            _ => 0,
        }
    }

    /// Bytes of its weights.
    pub fn bytes(&self) -> usize {
        match &self.work {
            Kind::Layer(packed, rest) => {
                let packed = match &**packed {
                    Packed::Product(packed) => packed.bytes(),
                    Packed::Conv(packed) => packed.bytes(),
                    Packed::Winograd(packed) => packed.bytes(),
                };
                packed + rest.bytes()
            }
            Kind::Depthwise(packed) => packed.bytes(),
            _ => 0,
        }
    }

    /// The name that tables show.
    pub fn name(&self, tier: Tier) -> &'static str {
        let of = |kernels| name_of(kernels, tier);
        match &self.work {
            Kind::Layer(packed, _) => match &**packed {
                Packed::Product(packed) => packed.kernel().name,
                Packed::Conv(packed) => packed.kernel().name,
                Packed::Winograd(packed) => packed.kernel().name,
            },
            Kind::Depthwise(packed) => packed.kernel_name(),
            Kind::Max(_) | Kind::Average(_) | Kind::Mean(_) => of(pool::BYTE_KERNELS),
            Kind::Resize(_) => of(resize::BYTE_KERNELS),
            Kind::Activation(_) => of(activation::table::TABLE_KERNELS),
            Kind::Gate(_) | Kind::Add(_) | Kind::Move(_) => of(elementwise::BYTE_KERNELS),
        }
    }
}

impl Rest {
    fn bytes(&self) -> usize {
        self.bias.as_deref().map_or(0, size_of_val::<[f32]>)
    }
}

impl Packed {
    fn run(&self, x: &[u8], y: Output, scratch: &mut [f32], threads: &Threads) {
        match self {
            Self::Product(packed) => packed.run_bytes(x, y, scratch, threads),
            Self::Conv(packed) => packed.run_bytes(x, y, scratch, threads),
            Self::Winograd(packed) => match y {
                Output::Bytes(y, residual) => packed.run_bytes(x, y, residual, scratch, threads),
                Output::Numbers(..) => unreachable!("it was packed for bytes"),
            },
        }
    }
}

/// Each row of a block, or all at once where none is apart.
fn rows<X, Y>(block: &Block, x: &[X], y: &mut [Y], mut row: impl FnMut(&[X], &mut [Y])) {
    let columns = block.columns;
    if block.from_stride == columns && block.to_stride == columns {
        return row(x, y);
    }
    for (x, y) in x
        .chunks(block.from_stride)
        .zip(y.chunks_mut(block.to_stride))
    {
        row(&x[..columns], &mut y[..columns]);
    }
}
