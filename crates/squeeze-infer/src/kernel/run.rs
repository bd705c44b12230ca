//! Runs a kernel over slices of the arena.

use squeeze_graph::ops::PoolKind;
use squeeze_kernels::attention::{self, Attention, Qkv, Rows};
use squeeze_kernels::elementwise::{self, Block, Gate};
use squeeze_kernels::embedding::{self, Tables, Tokens};
use squeeze_kernels::norm::{Affine, batch, layer};
use squeeze_kernels::pool;
use squeeze_kernels::softmax::{self, Softmax};
use squeeze_kernels::{Tier, Weight, activation, amx, resize};

use super::{Context, Heads, Kernel, Products, name_of};
use crate::arena::Cut;
use crate::program::Embed;

impl Kernel {
    /// Computes the step.
    pub fn run(&self, context: &Context, cut: Cut) {
        let cpu = context.cpu;
        let read = |index: usize| context.read(&cut, index);
        match self {
            Self::Layer(layer) => layer.run(context, cut),
            Self::Gated(layer) => layer.run_gated(context, cut),
            Self::Band(band) => band.run(context, cut),
            Self::Pooled(pooled) => pooled.run(context, cut),
            Self::InBytes(step) => step.run(context, cut),
            Self::LayerNorm(norm, row) => {
                let affine = Affine {
                    gamma: &row.gamma,
                    beta: &row.beta,
                };
                let mut others = (0..context.reads.len()).map(read);
                let x = if context.in_place {
                    None
                } else {
                    others.next()
                };
                layer::forward(cpu, norm, x, others.next(), affine, cut.write);
            }
            Self::Scale(norm, row) => {
                let affine = Affine {
                    gamma: &row.factor,
                    beta: &row.addend,
                };
                let running = (&row.mean[..], &row.variance[..]);
                batch::forward_eval(cpu, norm, read(0), affine, running, cut.write);
            }
            Self::Activation(kind) if context.in_place => {
                activation::forward_in_place(cpu, *kind, cut.write);
            }
            Self::Activation(kind) => activation::forward(cpu, *kind, read(0), cut.write),
            Self::Pool(PoolKind::Max, pool) => pool::max_forward(cpu, pool, read(0), cut.write),
            Self::Pool(PoolKind::Average | PoolKind::AverageInside, pool) => {
                pool::average_forward(cpu, pool, read(0), cut.write);
            }
            &(Self::Mean { n, rows, c } | Self::Largest { n, rows, c }) => {
                let rows = pool::Rows {
                    n,
                    rows,
                    starts: context.starts(),
                    c,
                    lengths: context.lengths(1),
                };
                match self {
                    Self::Mean { .. } => {
                        pool::mean_forward(cpu, &rows, read(0), cut.write, cut.scratch);
                    }
                    _ => pool::largest_forward(cpu, &rows, read(0), cut.write),
                }
            }
            Self::Add(kind) if context.in_place => {
                elementwise::add_in_place(cpu, read(0), *kind, cut.write);
            }
            Self::Add(kind) => elementwise::add(cpu, read(0), read(1), *kind, cut.write),
            Self::AddGate(shape) => {
                let (first, gate) = match context.in_place {
                    true => (None, read(0)),
                    false => (Some(read(0)), read(1)),
                };
                if let Some(first) = first {
                    cut.write.copy_from_slice(first);
                }
                for (example, gate) in gate.chunks_exact(shape.c).enumerate() {
                    let own = context.numbers(example, shape);
                    let kind = activation::Activation::Identity;
                    elementwise::add_bias(cpu, gate, kind, &mut cut.write[own]);
                }
            }
            Self::Mul => elementwise::mul(cpu, read(0), read(1), cut.write),
            Self::MulGate(shape) if context.is_packed => {
                let (x, gates) = (read(0), read(1));
                for (example, gate) in gates.chunks_exact(shape.c).enumerate() {
                    let own = context.numbers(example, shape);
                    let shape = Gate {
                        rows: own.len() / shape.c,
                        ..*shape
                    };
                    let x = &x[own.clone()];
                    elementwise::gate(cpu, shape, x, gate, &mut cut.write[own]);
                }
            }
            Self::MulGate(shape) => elementwise::gate(cpu, *shape, read(0), read(1), cut.write),
            Self::Block(copy) => {
                let (from, to) = (&read(0)[copy.from..], &mut cut.write[copy.to..]);
                let block = Block {
                    rows: context.packed_rows().unwrap_or(copy.block.rows),
                    ..copy.block
                };
                elementwise::copy_block(cpu, &block, from, to);
            }
            Self::Permute { shape, order } => {
                elementwise::permute(cpu, *shape, *order, read(0), cut.write);
            }
            Self::Shuffle(shuffle) => {
                elementwise::shuffle(cpu, *shuffle, read(0), cut.write);
            }
            Self::Gather { c, table } => {
                embedding::gather(cpu, *c, table.rows(), context.indices(0), cut.write);
            }
            Self::First { stride, c } => {
                let starts = context.starts().expect("it reads packed rows");
                let x = read(0);
                for (start, y) in starts.iter().zip(cut.write.chunks_exact_mut(*c)) {
                    y.copy_from_slice(&x[start * stride..][..*c]);
                }
            }
            Self::Inside { text, c } => {
                let lengths = context.lengths(1).expect("it reads lengths");
                let x = read(0);
                let texts = cut.write.chunks_exact_mut(*text);
                for ((y, x), length) in texts.zip(x.chunks_exact(*text)).zip(lengths) {
                    let (inside, beyond) = y.split_at_mut(length * c);
                    inside.copy_from_slice(&x[..inside.len()]);
                    beyond.fill(0.0);
                }
            }
            Self::Embed(row) => {
                let tables = Tables {
                    word: row.word.rows(),
                    position: row.position.numbers(),
                    segment: row.segment.numbers(),
                };
                let tokens = Tokens {
                    ids: context.indices(0),
                    positions: context.indices(1),
                    segments: match context.reads.len() {
                        2 => &[],
                        _ => context.indices(2),
                    },
                };
                let c = cut.write.len() / tokens.ids.len();
                embedding::sum(cpu, c, tables, tokens, cut.write);
            }
            Self::Attention(heads, products) => {
                let lengths = heads.strides.map_or(1, |strides| strides.len());
                let row = match context.starts() {
                    Some(_) => heads.row(None, context.starts()),
                    None => heads.row(context.lengths(lengths), None),
                };
                let qkv = match heads.strides {
                    Some(strides) => {
                        let [q, k, v] = [0, 1, 2].map(|index| Rows {
                            data: read(index),
                            stride: strides[index],
                            head: heads.dim,
                        });
                        Qkv { q, k, v }
                    }
                    None => Qkv::by_head(&row, read(0)),
                };
                let (y, scratch) = (cut.write, cut.scratch);
                match *products {
                    Products::Numbers => attention::forward(cpu, &row, qkv, y, scratch),
                    Products::Tiles(element) => {
                        attention::forward_on_tiles(cpu, &row, element, qkv, y, scratch);
                    }
                    Products::Bytes => attention::forward_in_bytes(cpu, &row, qkv, y, scratch),
                }
            }
            Self::Softmax { columns } => {
                softmax::forward(cpu, &Softmax::whole(*columns), read(0), cut.write);
            }
            Self::Resize(row) => resize::forward(cpu, row, read(0), cut.write),
        }
    }

    /// How many numbers it works in beside inputs and output.
    pub fn scratch(&self, threads: usize) -> usize {
        match self {
            Self::Layer(layer) => layer.scratch(threads),
            Self::Band(band) => band.scratch(threads),
            Self::Pooled(pooled) => pooled.scratch(threads),
            Self::InBytes(step) => step.scratch(threads),
            Self::Gated(layer) => layer.gated_scratch(),
            &Self::Mean { n, c, .. } => pool::mean_scratch(n, c),
            Self::Attention(heads, products) => {
                let row = heads.row(None, None);
                match *products {
                    Products::Numbers => row.forward_scratch(threads),
                    Products::Tiles(element) => row.tiles_scratch(element, threads),
                    Products::Bytes => row.bytes_scratch(threads),
                }
            }
            _ => 0,
        }
    }

    /// Bytes of its weights.
    pub fn bytes(&self) -> usize {
        let numbers = match self {
            Self::Layer(layer) | Self::Gated(layer) => return layer.bytes(),
            Self::Band(band) => return band.bytes(),
            Self::Pooled(pooled) => return pooled.bytes(),
            Self::InBytes(step) => return step.bytes(),
            Self::LayerNorm(_, row) => row.gamma.len() + row.beta.len(),
            Self::Scale(_, row) => row.factor.len() + row.addend.len(),
            Self::Gather { table, .. } => return table.bytes(),
            Self::Embed(row) => {
                return row.word.bytes() + row.position.bytes() + row.segment.bytes();
            }
            _ => 0,
        };
        numbers * size_of::<f32>()
    }

    /// Multiply-adds with zeros that it leaves out.
    pub fn left_out(&self) -> u64 {
        match self {
            Self::Layer(layer) => layer.left_out(),
            Self::Band(band) => band.left_out(),
            _ => 0,
        }
    }

    /// The name that tables show.
    pub fn name(&self, tier: Tier) -> &'static str {
        let of = |kernels| name_of(kernels, tier);
        match self {
            Self::Layer(layer) | Self::Gated(layer) => layer.name(tier),
            Self::Band(band) => band.name(tier),
            Self::Pooled(pooled) => pooled.name(),
            Self::InBytes(step) => step.name(tier),
            Self::LayerNorm(..) | Self::Scale(..) => of(squeeze_kernels::norm::KERNELS),
            Self::Activation(_) => of(activation::KERNELS),
            Self::Pool(..) | Self::Mean { .. } | Self::Largest { .. } => of(pool::KERNELS),
            Self::Add(_)
            | Self::AddGate(_)
            | Self::Mul
            | Self::MulGate(_)
            | Self::Block(_)
            | Self::First { .. }
            | Self::Inside { .. }
            | Self::Permute { .. }
            | Self::Shuffle(_) => of(elementwise::KERNELS),
            Self::Gather { table, .. } | Self::Embed(Embed { word: table, .. }) => {
                match table.rows() {
                    Weight::Numbers(_) => of(embedding::KERNELS),
                    Weight::Bytes(..) => of(embedding::BYTE_KERNELS),
                }
            }
            Self::Attention(_, Products::Numbers) => of(attention::KERNELS),
            Self::Attention(_, Products::Tiles(element)) => {
                amx::Kernel::of(tier, *element).name(*element)
            }
            Self::Attention(_, Products::Bytes) => of(attention::BYTE_KERNELS),
            Self::Softmax { .. } => of(softmax::KERNELS),
            Self::Resize(_) => of(resize::KERNELS),
        }
    }
}

impl Heads {
    fn row<'a>(&self, lengths: Option<&'a [usize]>, starts: Option<&'a [usize]>) -> Attention<'a> {
        Attention {
            n: self.n,
            tokens: self.tokens,
            sight: self.sight,
            starts,
            heads: self.heads,
            dim: self.dim,
            scale: 1.0 / (self.dim as f32).sqrt(),
            lengths,
            additive: None,
        }
    }
}
