//! Point layer or windows, depthwise and point layer of an image, band by band of its rows.

use std::ops::Range;

use squeeze_kernels::Slab;
use squeeze_kernels::activation::Activation;
use squeeze_kernels::depthwise::{self, Depthwise, Filter};

use super::Context;
use super::layer::{Layer, depthwise_geometry};
use crate::arena::Cut;
use crate::program::{self, Home, Value};
use crate::target::Target;

/// The layers with their weights packed.
#[derive(Clone, Debug)]
pub(crate) struct Band {
    expand: Option<Layer>,
    depthwise: Depthwise,
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
    activation: Activation,
    project: Option<Layer>,
    /// Whether the last layer adds what the first one gave.
    adds_expanded: bool,
    /// Rows of the output that pass at a time.
    rows: usize,
    /// Rows of the input that they read.
    above: usize,
    /// From one pixel of input and output to the next.
    strides: [usize; 2],
    /// Channels of the output.
    out: usize,
}

/// Memory of one thread.
struct Room<'a> {
    /// Rows of the expanded image, and which ones they are, counted through all images.
    expanded: &'a mut [f32],
    held: Range<usize>,
    /// Rows of the depthwise layer's result.
    filtered: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Band {
    /// Picks kernels for bands of the height that fits the cache.
    pub fn pick(row: &program::Band, x: &Value, y: &Value, target: Target, slab: &Slab) -> Band {
        let depthwise = depthwise_geometry(&row.depthwise);
        let unpacked = row.depthwise.weight.numbers();
        let mut weights = vec![0.0; unpacked.len()];
        depthwise::pack(&depthwise, &unpacked, &mut weights);
        let mut band = Band {
            expand: None,
            depthwise,
            weights,
            bias: row.depthwise.bias.clone(),
            activation: row.depthwise.activation,
            project: None,
            adds_expanded: row.adds_expanded,
            rows: row.rows(),
            above: row.depthwise.window.rows_read(row.rows()),
            strides: [x.home.stride, y.home.stride],
            out: y.columns(),
        };
        let value = |channels: usize, rows: usize, width: usize, home: Home| Value {
            shape: vec![1, channels, rows, width],
            home,
            range: None,
            code: None,
        };
        let inner = Home {
            stride: depthwise.c,
            ..x.home
        };
        let (above, w) = (band.above, depthwise.w);
        band.expand = row.expand.as_ref().map(|layer| {
            if row.expands_windows() {
                let between = value(depthwise.c, depthwise.n * depthwise.h, w, inner);
                return Layer::pick(layer, x, &between, target, slab);
            }
            let x = value(x.columns(), above, w, x.home);
            let between = value(depthwise.c, above, w, inner);
            Layer::pick(layer, &x, &between, target, slab)
        });
        band.project = row.project.as_ref().map(|layer| {
            let behind = value(depthwise.c, band.rows, depthwise.out_w(), inner);
            let y = value(y.columns(), band.rows, depthwise.out_w(), y.home);
            Layer::pick(layer, &behind, &y, target, slab)
        });
        band
    }

    /// Numbers of the expanded rows and of the filtered ones.
    fn between(&self) -> [usize; 2] {
        let d = &self.depthwise;
        let expanded = self.expand.as_ref().map_or(0, |_| self.above * d.w * d.c);
        let filtered = self
            .project
            .as_ref()
            .map_or(0, |_| self.rows * d.out_w() * d.c);
        [expanded, filtered]
    }

    /// How many numbers one thread works in, of so many.
    fn room(&self, threads: usize) -> usize {
        let layers = self.expand.iter().chain(&self.project);
        let scratch = layers.map(|layer| layer.scratch(threads)).max();
        self.between().iter().sum::<usize>() + scratch.unwrap_or(0)
    }

    /// How many numbers it works in beside input and output.
    pub fn scratch(&self, threads: usize) -> usize {
        threads * self.room(threads)
    }

    /// Bytes of weights and biases.
    pub fn bytes(&self) -> usize {
        let own = self.weights.len() + self.bias.as_ref().map_or(0, Vec::len);
        let layers = self.expand.iter().chain(&self.project);
        4 * own + layers.map(Layer::bytes).sum::<usize>()
    }

    /// Multiply-adds with zeros that its point layers leave out; each was picked for the rows of one band.
    pub fn left_out(&self) -> u64 {
        let d = &self.depthwise;
        let of = |layer: &Option<Layer>, pixels: usize, all: usize| {
            let left_out = layer.as_ref().map_or(0, Layer::left_out);
            left_out / pixels as u64 * all as u64
        };
        of(&self.expand, self.above * d.w, d.n * d.h * d.w)
            + of(
                &self.project,
                self.rows * d.out_w(),
                d.n * d.out_h() * d.out_w(),
            )
    }

    /// What tables show: the kernel of the products.
    pub fn name(&self, tier: squeeze_kernels::Tier) -> &'static str {
        let layer = self.expand.as_ref().or(self.project.as_ref());
        layer.expect("one of them is there").name(tier)
    }

    /// Computes the layers.
    pub fn run(&self, context: &Context, cut: Cut) {
        let x = context.read(&cut, 0);
        let residual = (context.reads.len() > 1).then(|| context.read(&cut, 1));
        let d = &self.depthwise;
        let threads = context.cpu.threads;
        let rows = d.n * d.out_h();
        let macs = d.output() * (d.taps() + self.out);
        let parts = threads.parts(
            macs,
            rows.div_ceil(self.rows).max(threads.count().min(rows)),
        );
        // Each range computes rows anew that the one above it had.
        let least = self.rows.max(20 * (d.kernel[0] - 1) * d.dilation[0]);
        let room = self.room(threads.count());
        let row_len = d.out_w() * self.strides[1];
        let out = (cut.write, rows, row_len);
        threads.run_rows_with(
            out,
            (cut.scratch, room),
            (parts, least),
            |own, y, scratch| {
                let [expanded, filtered] = self.between();
                let (expanded, scratch) = scratch.split_at_mut(expanded);
                let (filtered, scratch) = scratch.split_at_mut(filtered);
                let mut room = Room {
                    expanded,
                    held: 0..0,
                    filtered,
                    scratch,
                };
                let mut row = own.start;
                while row < own.end {
                    let image_end = (row / d.out_h() + 1) * d.out_h();
                    let end = (row + self.rows).min(own.end).min(image_end);
                    let pixels = (end - row) * d.out_w();
                    let len = (pixels - 1) * self.strides[1] + self.out;
                    let y = &mut y[(row - own.start) * row_len..][..len];
                    let residual = residual.map(|residual| &residual[row * row_len..][..len]);
                    self.band(context, row..end, (x, residual), y, &mut room);
                    row = end;
                }
            },
        );
    }

    /// Some rows of one image's output.
    fn band(
        &self,
        context: &Context,
        rows: Range<usize>,
        (x, residual): (&[f32], Option<&[f32]>),
        y: &mut [f32],
        room: &mut Room,
    ) {
        let d = &self.depthwise;
        let (image, top) = (rows.start / d.out_h(), rows.start % d.out_h());
        let start = (top * d.stride[0]).saturating_sub(d.padding[0]);
        let reach = (rows.len() - 1) * d.stride[0] + (d.kernel[0] - 1) * d.dilation[0] + 1;
        let end = (top * d.stride[0] + reach).saturating_sub(d.padding[0]);
        let read = image * d.h + start.min(d.h)..image * d.h + end.min(d.h);
        let above = d.padding[0].saturating_sub(top * d.stride[0]).min(reach);
        let geometry = Depthwise {
            n: 1,
            h: read.len(),
            padding: [
                above,
                d.padding[1],
                reach - above - read.len(),
                d.padding[3],
            ],
            ..*d
        };
        let from = match &self.expand {
            Some(expand) => {
                self.expand(context, expand, &read, x, room);
                &room.expanded[..geometry.input()]
            }
            None => &x[read.start * d.w * d.c..][..geometry.input()],
        };
        let filter = Filter {
            weights: &self.weights,
            bias: self.bias.as_deref(),
            activation: self.activation,
        };
        let Some(project) = &self.project else {
            return depthwise::forward(context.cpu, &geometry, from, filter, y);
        };
        let filtered = &mut room.filtered[..geometry.output()];
        depthwise::forward(context.cpu, &geometry, from, filter, filtered);
        let pixels = rows.len() * d.out_w();
        // Windows of stride 1 that keep the size: rows of the output are those of the expanded image.
        let residual = match self.adds_expanded {
            true => {
                let from = (rows.start - room.held.start) * d.w * d.c;
                Some(&room.expanded[from..from + pixels * d.c])
            }
            false => residual,
        };
        project.run_rows(context.cpu, pixels, (filtered, residual), y, room.scratch);
    }

    /// Holds the expanded rows `read`: those that the last band had move up, the others are computed.
    fn expand(
        &self,
        context: &Context,
        expand: &Layer,
        read: &Range<usize>,
        x: &[f32],
        room: &mut Room,
    ) {
        let width = self.depthwise.w * self.depthwise.c;
        let known = read.start.max(room.held.start)..read.end.min(room.held.end);
        let known = if known.is_empty() || known.start != read.start {
            read.start..read.start
        } else {
            known
        };
        if !known.is_empty() {
            let from = (known.start - room.held.start) * width;
            room.expanded
                .copy_within(from..from + known.len() * width, 0);
        }
        let new = known.end..read.end;
        if !new.is_empty() {
            let pixels = new.len() * self.depthwise.w;
            let to = &mut room.expanded[known.len() * width..read.len() * width];
            if expand.is_point() {
                let x = &x[new.start * self.depthwise.w * self.strides[0]..];
                expand.run_rows(context.cpu, pixels, (x, None), to, room.scratch);
            } else {
                expand.run_lines(context.cpu, new, x, to);
            }
        }
        room.held = read.clone();
    }
}
