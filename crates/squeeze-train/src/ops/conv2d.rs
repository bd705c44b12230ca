//! Convolutions over images, and over tokens as images of one row, with a fused activation.

use std::sync::Arc;

use squeeze_graph::ops::{Conv1d, Conv2d};
use squeeze_kernels::depthwise::{self, Depthwise, Filter, FilterGrads};
use squeeze_kernels::gemm_f32::{self, Epilogue, Geometry, Start};

use super::{Call, Saved, before_activation, image};
use crate::Parameters;
use crate::backward::Sink;
use crate::pool::Buffer;
use crate::tape::Value;

/// A convolution with the sizes of its images.
#[derive(Clone, Copy)]
struct Shape {
    n: usize,
    /// Height and width of the input and of the output.
    from: [usize; 2],
    to: [usize; 2],
    inputs: usize,
    outputs: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 4],
    groups: usize,
}

pub(crate) fn forward(op: &Conv2d, call: &Call, x: &Value, parameters: &Parameters) -> Value {
    shape(op, call)
        .forward(call, x.numbers(), parameters)
        .into()
}

pub(crate) fn backward(
    op: &Conv2d,
    call: &Call,
    saved: &Saved,
    dy: Arc<Buffer>,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    shape(op, call).backward(call, saved, dy, sink, parameters);
}

pub(crate) fn forward_1d(op: &Conv1d, call: &Call, x: &Value, parameters: &Parameters) -> Value {
    shape_1d(op, call)
        .forward(call, x.numbers(), parameters)
        .into()
}

pub(crate) fn backward_1d(
    op: &Conv1d,
    call: &Call,
    saved: &Saved,
    dy: Arc<Buffer>,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    shape_1d(op, call).backward(call, saved, dy, sink, parameters);
}

fn shape(op: &Conv2d, call: &Call) -> Shape {
    let [n, inputs, h, w] = image(call.inputs[0]);
    let [_, outputs, to_h, to_w] = image(call.shape);
    Shape {
        n,
        from: [h, w],
        to: [to_h, to_w],
        inputs,
        outputs,
        kernel: op.kernel,
        stride: op.stride,
        dilation: op.dilation,
        padding: op.padding,
        groups: op.groups,
    }
}

fn shape_1d(op: &Conv1d, call: &Call) -> Shape {
    let &[n, s, inputs] = call.inputs[0] else {
        unreachable!("the graph checked that this is text");
    };
    Shape {
        n,
        from: [1, s],
        to: [1, s],
        inputs,
        outputs: op.out,
        kernel: [1, op.kernel],
        stride: [1; 2],
        dilation: [1, op.dilation],
        padding: [0, op.padding(), 0, op.padding()],
        groups: op.groups,
    }
}

impl Shape {
    fn forward(&self, call: &Call, x: &[f32], parameters: &Parameters) -> Buffer {
        let weight = call
            .weight(parameters, 0)
            .expect("a convolution has a weight");
        let bias = call.weight(parameters, 1);
        let (work, cpu) = (call.work, call.work.cpu);
        let mut y = call.output();
        if let Some(depthwise) = self.depthwise() {
            let packed = packed(call, &depthwise, weight);
            let filter = Filter {
                weights: &packed,
                bias,
                activation: call.activation,
            };
            depthwise::forward(cpu, &depthwise, x, filter, &mut y);
            return y;
        }
        let epilogue = Epilogue {
            bias,
            activation: call.activation,
            ..Epilogue::default()
        };
        let columns = self.columns(call, x);
        let x = columns.as_deref().unwrap_or(x);
        let scratch = &mut work.scratch();
        gemm_f32::forward(
            &self.product(),
            (x, weight),
            &epilogue,
            &mut y,
            scratch,
            cpu,
        );
        y
    }

    fn backward(
        &self,
        call: &Call,
        saved: &Saved,
        dy: Arc<Buffer>,
        sink: &mut Sink,
        parameters: &mut Parameters,
    ) {
        let (work, cpu) = (call.work, call.work.cpu);
        let dy = before_activation(call, saved, dy);
        let x = saved.input(0);
        if let Some(depthwise) = self.depthwise() {
            return depthwise_backward(&depthwise, (call, x), &dy, sink, parameters);
        }
        let scratch = &mut work.scratch();
        if let Some(bias) = call.places.get(1) {
            let db = &mut parameters.gradients[bias.clone()];
            gemm_f32::bias_gradient(&self.product(), &dy, db, cpu);
        }
        let columns = self.columns(call, x);
        let product = self.product();
        let dw = &mut parameters.gradients[call.places[0].clone()];
        let rows = columns.as_deref().unwrap_or(x);
        gemm_f32::weight_gradient(&product, (&dy, rows), dw, scratch, cpu);
        if !sink.wants(0) {
            return;
        }
        let weight = call
            .weight(parameters, 0)
            .expect("a convolution has a weight");
        match columns {
            None => {
                let (mut dx, start) = sink.target(0, x.len());
                gemm_f32::input_gradient(&product, (weight, &dy), &mut dx, start, scratch, cpu);
                sink.close(0, dx);
            }
            Some(mut columns) => {
                let operands = (weight, &dy[..]);
                let start = Start::Zero;
                gemm_f32::input_gradient(&product, operands, &mut columns, start, scratch, cpu);
                let mut dx = sink.open(0, x.len());
                self.scatter(&columns, &mut dx);
                sink.close(0, dx);
            }
        }
    }

    fn depthwise(&self) -> Option<Depthwise> {
        let is_depthwise = self.groups == self.inputs && self.inputs == self.outputs;
        is_depthwise.then_some(Depthwise {
            n: self.n,
            h: self.from[0],
            w: self.from[1],
            c: self.inputs,
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            padding: self.padding,
        })
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    fn product(&self) -> Geometry {
        let rows = self.n * self.to[0] * self.to[1];
        let (n, k) = (self.outputs / self.groups, self.inputs / self.groups);
        Geometry::grouped(rows, n, k * self.taps(), self.groups)
    }

    /// The input under each window, channel by channel as the weight lies; none when each window is
    /// one pixel, which is the input itself.
    fn columns(&self, call: &Call, x: &[f32]) -> Option<Buffer> {
        if self.taps() == 1 && self.stride == [1; 2] && self.padding == [0; 4] {
            return None;
        }
        let width = self.taps() * self.inputs;
        let rows = self.n * self.to[0] * self.to[1];
        let mut columns = call.work.pool.zeros(rows * width);
        self.each_tap(|row, tap, pixel| {
            let to = &mut columns[row * width..][..width];
            let from = &x[pixel * self.inputs..][..self.inputs];
            for (c, x) in from.iter().enumerate() {
                to[c * self.taps() + tap] = *x;
            }
        });
        Some(columns)
    }

    /// Adds the gradient of [`Shape::columns`] to that of the input.
    fn scatter(&self, columns: &[f32], dx: &mut [f32]) {
        let width = self.taps() * self.inputs;
        self.each_tap(|row, tap, pixel| {
            let from = &columns[row * width..][..width];
            let to = &mut dx[pixel * self.inputs..][..self.inputs];
            for (c, dx) in to.iter_mut().enumerate() {
                *dx += from[c * self.taps() + tap];
            }
        });
    }

    /// Calls `visit` with output pixel, tap and input pixel, for each tap inside the image.
    fn each_tap(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let [h, w] = self.from;
        let [to_h, to_w] = self.to;
        let inside = |at: usize, tap: usize, axis: usize, size: usize| {
            let place = at * self.stride[axis] + tap * self.dilation[axis];
            place
                .checked_sub(self.padding[axis])
                .filter(|&place| place < size)
        };
        for row in 0..self.n * to_h * to_w {
            let (n, i, j) = (row / (to_h * to_w), row / to_w % to_h, row % to_w);
            for tap in 0..self.taps() {
                let (down, across) = (tap / self.kernel[1], tap % self.kernel[1]);
                if let (Some(y), Some(x)) = (inside(i, down, 0, h), inside(j, across, 1, w)) {
                    visit(row, tap, (n * h + y) * w + x);
                }
            }
        }
    }
}

fn packed(call: &Call, depthwise: &Depthwise, weight: &[f32]) -> Buffer {
    let mut packed = call.work.pool.take(weight.len());
    depthwise::pack(depthwise, weight, &mut packed);
    packed
}

fn depthwise_backward(
    depthwise: &Depthwise,
    (call, x): (&Call, &[f32]),
    dy: &Buffer,
    sink: &mut Sink,
    parameters: &mut Parameters,
) {
    let cpu = call.work.cpu;
    let mut scratch = call.work.pool.take(depthwise.weights_scratch());
    if sink.wants(0) {
        let weight = call
            .weight(parameters, 0)
            .expect("a convolution has a weight");
        let packed = packed(call, depthwise, weight);
        let mut dx = call.like_input(0);
        depthwise::backward_input(cpu, depthwise, &packed, dy, &mut dx);
        sink.give(0, Arc::new(dx));
    }
    let gradients = &mut parameters.gradients;
    let grads = match call.places {
        [weight, bias] => {
            let parts = gradients.get_disjoint_mut([weight.clone(), bias.clone()]);
            let [weights, bias] = parts.expect("weights lie apart");
            FilterGrads {
                weights,
                bias: Some(bias),
            }
        }
        _ => FilterGrads {
            weights: &mut gradients[call.places[0].clone()],
            bias: None,
        },
    };
    depthwise::backward_weights(cpu, depthwise, x, dy, grads, &mut scratch);
}
