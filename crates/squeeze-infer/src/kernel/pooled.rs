//! A convolution and the pool behind it, some rows at a time.

use squeeze_kernels::gemm_f32::Epilogue;
use squeeze_kernels::pool::{self, Pool};
use std::ops::Range;

use squeeze_kernels::activation::Activation;
use squeeze_kernels::{Cpu, Slab, Threads, conv_f32, conv_i8};

use super::{Context, layer, pool_geometry};
use crate::arena::Cut;
use crate::program::{self, Value};
use crate::target::Target;

/// A convolution with its weights packed.
#[derive(Clone, Debug)]
enum Windows {
    Numbers(conv_f32::Packed),
    Bytes(conv_i8::Packed),
}

/// Both layers.
#[derive(Clone, Debug)]
pub(crate) struct Pooled {
    windows: Windows,
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
        let weight = &row.layer.weight;
        let windows = match row.in_bytes {
            true => {
                let held = weight.held();
                Windows::Bytes(conv_i8::Packed::pack_in(
                    held.weight(),
                    &conv,
                    target.tier,
                    slab,
                ))
            }
            false => {
                let numbers = weight.numbers();
                Windows::Numbers(conv_f32::Packed::pack_in(
                    &numbers,
                    &conv,
                    target.tier,
                    slab,
                ))
            }
        };
        Pooled {
            windows,
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
        self.bytes_read() + threads * self.room()
    }

    /// How many numbers its input takes in bytes, if it is brought to bytes.
    fn bytes_read(&self) -> usize {
        match &self.windows {
            Windows::Numbers(_) => 0,
            Windows::Bytes(packed) => packed.scratch(),
        }
    }

    /// Bytes of weights and bias.
    pub fn bytes(&self) -> usize {
        let weights = match &self.windows {
            Windows::Numbers(packed) => packed.bytes(),
            Windows::Bytes(packed) => packed.bytes(),
        };
        weights + self.bias.as_deref().map_or(0, size_of_val::<[f32]>)
    }

    /// What tables show: the kernel of the convolution.
    pub fn name(&self) -> &'static str {
        match &self.windows {
            Windows::Numbers(packed) => packed.kernel().name,
            Windows::Bytes(packed) => packed.kernel().name,
        }
    }

    /// Computes both.
    pub fn run(&self, context: &Context, cut: Cut) {
        let threads = context.cpu.threads;
        let x = context.read(&cut, 0);
        let (bytes, room) = cut.scratch.split_at_mut(self.bytes_read());
        let (x, macs) = match &self.windows {
            Windows::Numbers(packed) => (x, packed.conv().macs()),
            Windows::Bytes(packed) => {
                packed.quantize(x, bytes, threads);
                (&*bytes, packed.conv().macs() / 4)
            }
        };
        let pool = &self.pool;
        let rows = pool.n * pool.out_h();
        let row_len = pool.out_w() * pool.c;
        let parts = threads.parts(macs, rows);
        let out = (cut.write, rows, row_len);
        // Each range computes a row or two anew that the one above it had.
        threads.run_rows_with(out, (room, self.room()), (parts, 8), |own, y, room| {
            let mut held = 0..0;
            for (row, y) in own.zip(y.chunks_exact_mut(row_len)) {
                held = self.hold(row, held, (x, room), threads);
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
        (x, room): (&[f32], &mut [f32]),
        threads: &Threads,
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
        let rows = known.end..wanted.end;
        if !rows.is_empty() {
            match &self.windows {
                Windows::Numbers(packed) => packed.run_rows(rows, x, &epilogue, to, threads),
                Windows::Bytes(packed) => packed.run_rows(rows, &epilogue, to, x),
            }
        }
        wanted
    }
}
