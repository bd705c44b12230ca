//! A convolution in bytes and the pool behind it, some rows at a time.

use squeeze_kernels::gemm_f32::Epilogue;
use squeeze_kernels::pool::{self, Pool};
use std::ops::Range;

use squeeze_kernels::activation::Activation;
use squeeze_kernels::conv_i8;
use squeeze_kernels::{Cpu, Slab};

use super::{Context, layer, pool_geometry};
use crate::arena::Cut;
use crate::program::{self, Value};
use crate::target::Target;

/// Both layers, the first with its weights packed.
#[derive(Clone, Debug)]
pub(crate) struct Pooled {
    packed: conv_i8::Packed,
    bias: Option<Vec<f32>>,
    activation: Activation,
    pool: Pool,
}

impl Pooled {
    /// Packs the weights.
    pub fn pick(row: &program::Pooled, x: &Value, target: Target, slab: &Slab) -> Pooled {
        let [n, h, w, c] = *row.shape else {
            unreachable!("pools are of images")
        };
        let conv = layer::conv_geometry(&row.layer, x.columns());
        let held = row.layer.weight.held();
        Pooled {
            packed: conv_i8::Packed::pack_in(held.weight(), &conv, target.tier, slab),
            bias: row.layer.bias.clone(),
            activation: row.layer.activation,
            pool: pool_geometry(&row.pool, [n, h, w, c]),
        }
    }

    /// Numbers of a row of the image between.
    fn row(&self) -> usize {
        self.pool.w * self.pool.c
    }

    /// Rows of the image between that one thread holds.
    fn room(&self) -> usize {
        self.pool.kernel[0].min(self.pool.h) * self.row()
    }

    /// How many numbers it works in beside input and output.
    pub fn scratch(&self, threads: usize) -> usize {
        self.packed.scratch() + threads * self.room()
    }

    /// Bytes of weights and bias.
    pub fn bytes(&self) -> usize {
        self.packed.bytes() + self.bias.as_deref().map_or(0, size_of_val::<[f32]>)
    }

    /// What tables show: the kernel of the convolution.
    pub fn name(&self) -> &'static str {
        self.packed.kernel().name
    }

    /// Computes both.
    pub fn run(&self, context: &Context, cut: Cut) {
        let threads = context.cpu.threads;
        let x = context.read(&cut, 0);
        let (bytes, room) = cut.scratch.split_at_mut(self.packed.scratch());
        self.packed.quantize(x, bytes, threads);
        let (bytes, pool) = (&*bytes, &self.pool);
        let rows = pool.n * pool.out_h();
        let row_len = pool.out_w() * pool.c;
        let parts = threads.parts(self.packed.conv().macs() / 4, rows);
        let out = (cut.write, rows, row_len);
        threads.run_rows_with(out, (room, self.room()), parts, |own, y, room| {
            let mut held = 0..0;
            for (row, y) in own.zip(y.chunks_exact_mut(row_len)) {
                held = self.hold(row, held, bytes, room);
                // The window's rows are all that is left of the image: a pool of one row.
                let window = Pool {
                    n: 1,
                    h: held.len(),
                    kernel: [held.len(), pool.kernel[1]],
                    padding: [0, pool.padding[1], 0, pool.padding[3]],
                    ..*pool
                };
                let x = &room[..held.len() * self.row()];
                let tier = context.cpu.tier;
                pool::max_forward(Cpu { tier, threads }, &window, x, y);
            }
        });
    }

    /// Computes the rows that a row of the pool reads, unless they are held; those of the next row that were read before move up.
    fn hold(
        &self,
        row: usize,
        held: Range<usize>,
        bytes: &[f32],
        room: &mut [f32],
    ) -> Range<usize> {
        let pool = &self.pool;
        let (image, top) = (row / pool.out_h(), row % pool.out_h() * pool.stride[0]);
        let inside = |at: usize| image * pool.h + at.saturating_sub(pool.padding[0]).min(pool.h);
        let wanted = inside(top)..inside(top + pool.kernel[0]);
        let known = wanted.start.max(held.start)..wanted.end.min(held.end);
        let known = match known.is_empty() || known.start != wanted.start {
            true => wanted.start..wanted.start,
            false => known,
        };
        let len = self.row();
        if !known.is_empty() {
            let from = (known.start - held.start) * len;
            room.copy_within(from..from + known.len() * len, 0);
        }
        let epilogue = Epilogue {
            bias: self.bias.as_deref(),
            activation: self.activation,
            ..Epilogue::default()
        };
        let to = &mut room[known.len() * len..wanted.len() * len];
        self.packed
            .run_rows(known.end..wanted.end, &epilogue, to, bytes);
        wanted
    }
}
