//! The kernel of a step: picked once with its weights packed, then run over slices of the arena.

mod band;
mod bytes;
mod family;
mod layer;
mod pooled;
mod run;
mod sparse;

use std::ops::Range;

use squeeze_graph::ops::{Pool, PoolKind, ResizeMode};
use squeeze_kernels::activation::Activation;
use squeeze_kernels::amx::{self, Element};
use squeeze_kernels::attention::{self, Sight};
use squeeze_kernels::elementwise::{Block, Gate, Shuffle};
use squeeze_kernels::norm::{self, BatchNorm};
use squeeze_kernels::pool::{self, Divisor, Rounding};
use squeeze_kernels::resize::{self, Mode};
use squeeze_kernels::{Cpu, Slab, Tier};

use crate::arena::Cut;
use crate::input::Input;
use crate::numbers::Table;
use crate::plan::Place;
use crate::program::{BlockCopy, Draft, Embed, LayerNorm, Program, Scale, Sides, Value, Work};
use crate::target::{Precision, Target};
use crate::texts::Rows;
use band::Band;
use bytes::InBytes;
pub(crate) use family::multiplies_bytes;
pub use family::{Family, LayerFacts};
use layer::Layer;
use pooled::Pooled;

/// A kernel with its geometry and weights.
#[derive(Clone, Debug)]
pub(crate) enum Kernel {
    Layer(Layer),
    /// A point layer whose input is multiplied by a gate: the second input.
    Gated(Layer),
    Band(Box<Band>),
    Pooled(Box<Pooled>),
    InBytes(InBytes),
    LayerNorm(norm::LayerNorm, LayerNorm),
    Scale(BatchNorm, Scale),
    Activation(Activation),
    Pool(PoolKind, pool::Pool),
    Mean {
        n: usize,
        rows: usize,
        c: usize,
    },
    Largest {
        n: usize,
        rows: usize,
        c: usize,
    },
    Add(Activation),
    AddGate(Gate),
    Mul,
    MulGate(Gate),
    Block(BlockCopy),
    Permute {
        shape: [usize; 4],
        order: [usize; 4],
    },
    Shuffle(Shuffle),
    Gather {
        c: usize,
        table: Table,
    },
    Embed(Embed),
    First {
        stride: usize,
        c: usize,
    },
    /// Numbers of a text and of a row.
    Inside {
        text: usize,
        c: usize,
    },
    Attention(Heads, Products),
    Softmax {
        columns: usize,
    },
    Resize(resize::Resize),
}

/// What attention's products are products of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Products {
    Numbers,
    Tiles(Element),
    Bytes,
}

/// Attention's geometry and the row strides of query, key and value, if these are three inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    n: usize,
    tokens: usize,
    sight: Sight,
    heads: usize,
    dim: usize,
    strides: Option<[usize; 3]>,
}

/// What a kernel may see while it runs.
pub(crate) struct Context<'a> {
    pub cpu: Cpu<'a>,
    pub inputs: &'a [Input<'a>],
    pub lengths: &'a [Vec<usize>],
    /// The texts' rows, where they are packed.
    pub rows: Option<&'a Rows>,
    /// Whether the result has packed rows.
    pub is_packed: bool,
    pub reads: &'a [Place],
    pub in_place: bool,
}

impl<'a> Context<'a> {
    /// How many rows the result has, where it has one a token and none for padding.
    fn packed_rows(&self) -> Option<usize> {
        let rows = self.rows.filter(|_| self.is_packed)?;
        Some(rows.count())
    }

    /// Where each text's packed rows begin, and where the last one's end.
    fn starts(&self) -> Option<&'a [usize]> {
        self.rows.map(|rows| &rows.starts[..])
    }

    fn read(&self, cut: &Cut<'a>, index: usize) -> &'a [f32] {
        match &self.reads[index] {
            Place::Arena(stretch) => cut.read(&stretch.used(self.rows.map_or(0, Rows::count))),
            Place::Input(input, range) => match self.inputs[*input] {
                Input::Numbers(values) => &values[range.clone()],
                Input::Indices(_) => unreachable!("the graph keeps numbers and indices apart"),
            },
            Place::Positions(_) => unreachable!("the graph keeps numbers and indices apart"),
        }
    }

    fn indices(&self, index: usize) -> &'a [i32] {
        match (&self.reads[index], self.rows) {
            (Place::Input(input, _), Some(rows)) => &rows.indices[*input][..rows.count()],
            (Place::Positions(_), Some(rows)) => &rows.positions[..rows.count()],
            (Place::Positions(all), None) => all,
            (Place::Input(input, _), None) => match self.inputs[*input] {
                Input::Indices(values) => values,
                Input::Numbers(_) => unreachable!("the graph keeps numbers and indices apart"),
            },
            (Place::Arena(_), _) => unreachable!("indices are inputs of the network"),
        }
    }

    /// The numbers of an example's rows, dense.
    fn numbers(&self, example: usize, shape: &Gate) -> Range<usize> {
        let rows = match self.rows.filter(|_| self.is_packed) {
            Some(rows) => rows.starts[example]..rows.starts[example + 1],
            None => example * shape.rows..(example + 1) * shape.rows,
        };
        rows.start * shape.c..rows.end * shape.c
    }

    fn lengths(&self, index: usize) -> Option<&'a [usize]> {
        match self.reads.get(index)? {
            Place::Input(input, _) => Some(&self.lengths[*input]),
            Place::Arena(_) | Place::Positions(_) => {
                unreachable!("lengths are inputs of the network")
            }
        }
    }
}

impl Kernel {
    /// The kernel of a step.
    pub fn pick(program: &Program, step: &Draft, work: Work, target: Target, slab: &Slab) -> Self {
        let output = &program.values[step.output];
        let input = |at: usize| &program.values[step.inputs[at]];
        // [n, h, w, c] of an image, [n, 1, s, c] of text, [1, 1, n, c] of vectors.
        let image = |at: usize| match *input(at).memory_shape() {
            [n, h, w, c] => [n, h, w, c],
            [n, s, c] => [n, 1, s, c],
            _ => [1, 1, input(at).rows(), input(at).columns()],
        };
        let gate = || Gate {
            rows: output.rows() / output.shape[0],
            c: output.columns(),
        };
        let in_bytes = |&id: &usize| program.values[id].code.is_some();
        if step.inputs.iter().chain([&step.output]).any(in_bytes) {
            return Self::InBytes(InBytes::pick(program, step, work, target, slab));
        }
        match work {
            Work::Layer(layer) => Self::Layer(Layer::pick(&layer, input(0), output, target, slab)),
            Work::Gated(layer) => Self::Gated(Layer::pick(&layer, input(0), output, target, slab)),
            Work::Pooled(row) => Self::Pooled(Box::new(Pooled::pick(&row, input(0), target, slab))),
            Work::Band(row) => {
                Self::Band(Box::new(Band::pick(&row, input(0), output, target, slab)))
            }
            Work::LayerNorm(row) => {
                let norm = norm::LayerNorm {
                    channels: output.columns(),
                    eps: row.epsilon,
                };
                Self::LayerNorm(norm, row)
            }
            Work::Scale(row) => {
                let norm = BatchNorm {
                    channels: output.columns(),
                    eps: 0.0,
                    momentum: 0.0,
                    activation: row.activation,
                };
                Self::Scale(norm, row)
            }
            Work::Activation(activation) => Self::Activation(activation),
            Work::Pool(row) => {
                let pool = pool_geometry(&row, image(0));
                Self::Pool(row.kind, pool)
            }
            work @ (Work::GlobalAverage | Work::TokenMean | Work::TokenMax) => {
                let [n, h, w, c] = image(0);
                let rows = h * w;
                match work {
                    Work::TokenMax => Self::Largest { n, rows, c },
                    _ => Self::Mean { n, rows, c },
                }
            }
            Work::Add(activation) => Self::Add(activation),
            Work::AddGate => Self::AddGate(gate()),
            Work::Mul => Self::Mul,
            Work::MulGate => Self::MulGate(gate()),
            Work::Move => {
                let block = Block {
                    rows: output.rows(),
                    columns: output.columns(),
                    from_stride: input(0).home.stride,
                    to_stride: output.home.stride,
                };
                Self::Block(BlockCopy {
                    block,
                    from: 0,
                    to: 0,
                })
            }
            Work::Block(copy) => Self::Block(copy),
            Work::Permute { shape, order } => Self::Permute { shape, order },
            Work::Shuffle { groups } => Self::Shuffle(Shuffle {
                c: output.columns(),
                groups,
            }),
            Work::Gather { table } => Self::Gather {
                c: output.columns(),
                table,
            },
            Work::Embed(tables) => Self::Embed(tables),
            Work::Inside => Self::Inside {
                text: output.shape[1] * output.columns(),
                c: output.columns(),
            },
            Work::First => Self::First {
                stride: input(0).home.stride,
                c: output.columns(),
            },
            Work::Attention(attention, sides) => {
                let heads = attention.heads;
                let tokens = output.shape[1];
                let keys = match sides {
                    Sides::Apart => input(1).shape[1],
                    Sides::ByHead => tokens,
                };
                let row = Heads {
                    n: output.shape[0],
                    tokens,
                    sight: Sight::of(attention.causal, tokens, keys),
                    heads,
                    dim: output.columns() / heads,
                    strides: (sides == Sides::Apart)
                        .then(|| [0, 1, 2].map(|at| input(at).home.stride)),
                };
                let products = Products::of(&target, row.sight);
                Self::Attention(row, products)
            }
            Work::Softmax => Self::Softmax {
                columns: output.columns(),
            },
            Work::Resize(mode) => Self::Resize(resize_geometry(mode, input(0), output)),
        }
    }
}

impl Products {
    /// The quickest at a precision, for queries that see so much.
    fn of(target: &Target, sight: Sight) -> Self {
        let element = match target.precision {
            // Six products of heads this narrow are no quicker than vectors.
            Precision::F32 => return Self::Numbers,
            // Half precision is written for layers.
            Precision::Bf16x3 | Precision::F16 => Element::Bf16x3,
            Precision::Bf16 | Precision::Int8 => Element::Bf16,
        };
        let in_bytes = target.precision == Precision::Int8 && attention::has_bytes();
        match amx::Kernel::of(target.tier, element).tier {
            // Of what is causal, or of two texts, matrix registers were never seen to run.
            Tier::Amx if sight == Sight::All => Self::Tiles(element),
            Tier::Amx => Self::Numbers,
            // Steps of bytes are found from all keys, so a query would see later ones by them.
            _ if in_bytes && target.tier >= Tier::Avx512 && sight != Sight::Causal => Self::Bytes,
            Tier::Avx512 if element == Element::Bf16 => Self::Tiles(element),
            _ => Self::Numbers,
        }
    }
}

/// The geometry of a pool over images of this size.
fn pool_geometry(row: &Pool, [n, h, w, c]: [usize; 4]) -> pool::Pool {
    pool::Pool {
        n,
        h,
        w,
        c,
        kernel: row.kernel,
        stride: row.stride,
        padding: row.padding,
        rounding: match row.ceil {
            true => Rounding::Ceil,
            false => Rounding::Floor,
        },
        divisor: match row.kind {
            PoolKind::AverageInside => Divisor::InputsOnly,
            PoolKind::Average | PoolKind::Max => Divisor::WithPadding,
        },
    }
}

/// The geometry of an image at another size.
fn resize_geometry(mode: ResizeMode, x: &Value, y: &Value) -> resize::Resize {
    let [n, c, h, w] = x.shape[..] else {
        unreachable!("images are resized")
    };
    resize::Resize {
        n,
        h,
        w,
        c,
        out: [y.shape[2], y.shape[3]],
        mode: match mode {
            ResizeMode::Nearest => Mode::Nearest,
            ResizeMode::Bilinear => Mode::Bilinear,
            ResizeMode::BilinearCorners => Mode::BilinearCorners,
        },
    }
}

/// The best of a family's kernels for a tier.
fn name_of(kernels: &[(&'static str, Tier)], tier: Tier) -> &'static str {
    let fitting = kernels.iter().rev().find(|(_, needs)| *needs <= tier);
    fitting.map_or("scalar", |(name, _)| name)
}
