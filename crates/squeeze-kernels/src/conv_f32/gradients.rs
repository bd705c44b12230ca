//! The convolutions of a training step: with a weight that changes, and the gradients of input, weight and bias.
//!
//! At stride 1 the input's gradient is a convolution of `dy` with the flipped weight; at larger strides each output pixel's share is
//! a product that is added to the pixels it came from, a block of pixels at a time. The weight's gradient gathers the rows that
//! the taps read, a block of pixels at a time.

use std::ops::Range;

use super::window::{Image, Window};
use super::{Conv, run_product};
use crate::buffer::Buffer;
use crate::gemm_f32::gradients::{Sums, add_columns, pack_groups, pack_weight};
use crate::gemm_f32::panels::{Panels, View};
use crate::gemm_f32::product::{Output, Product, Source, Strided};
use crate::gemm_f32::{self, Epilogue, Kernel, Scratch, Start};
use crate::{Cpu, SharedMut, even};

/// `y = activation(conv(x, weight) + bias + residual)` with `weight` as PyTorch has it.
///
/// # Panics
/// If a slice is shorter than the geometry says.
pub fn forward(
    conv: &Conv,
    (x, weight): (&[f32], &[f32]),
    epilogue: &Epilogue,
    y: &mut [f32],
    scratch: &mut Scratch,
    cpu: Cpu,
) {
    conv.check(x.len(), y.len(), weight.len());
    let (kernel, g) = (Kernel::of(cpu.tier), conv.product());
    let panels = Panels::new(kernel.width(), g.k, g.n);
    let weight = in_tap_order(conv, weight, &mut scratch.weight);
    let packed = scratch.columns.sized(g.groups * panels.group_len());
    pack_weight(&g, weight, &panels, (packed, cpu));
    run_product(
        conv,
        x,
        (kernel, panels, &scratch.columns),
        (epilogue, conv.out),
        y,
        cpu.threads,
    );
}

/// `dx` from `dy`, or added to `dx`.
///
/// # Panics
/// If a slice is shorter than the geometry says.
pub fn input_gradient(
    conv: &Conv,
    (weight, dy): (&[f32], &[f32]),
    dx: &mut [f32],
    start: Start,
    scratch: &mut Scratch,
    cpu: Cpu,
) {
    conv.check(dx.len(), dy.len(), weight.len());
    if conv.is_pointwise() {
        return gemm_f32::input_gradient(&conv.product(), (weight, dy), dx, start, scratch, cpu);
    }
    if conv.pixels() == 0 {
        if start == Start::Zero {
            dx.fill(0.0);
        }
        return;
    }
    if conv.stride != [1, 1] {
        return scattered_gradient(conv, (weight, dy), dx, start, scratch, cpu);
    }
    let (k, n, taps) = (conv.c / conv.groups, conv.out / conv.groups, conv.taps());
    let kernel = Kernel::of(cpu.tier);
    let panels = Panels::new(kernel.width(), taps * n, k);
    let weight = in_tap_order(conv, weight, &mut scratch.weight);
    pack_flipped(conv, weight, &panels, (&mut scratch.columns, cpu));
    let forward = conv.window();
    let before = |axis: usize| {
        let reach = (conv.kernel[axis] - 1) * conv.dilation[axis];
        isize::try_from(reach).expect("windows are small") - forward.before[axis]
    };
    let window = Window {
        h: forward.out_h,
        w: forward.out_w,
        out_h: conv.h,
        out_w: conv.w,
        before: [before(0), before(1)],
        ..forward
    };
    let product = Product {
        kernel,
        m: conv.n * conv.h * conv.w,
        groups: conv.groups,
        panels,
        source: &Image {
            x: dy,
            window,
            channels: conv.out,
            k: n,
        },
        b: &scratch.columns,
        output: Output {
            row: conv.c,
            group: k,
        },
        epilogue: Epilogue {
            start,
            ..Epilogue::default()
        },
    };
    product.run(dx, cpu.threads);
}

/// `dw += ` the gradient, `dw` as the weight: `[out, c / groups, kh, kw]`.
///
/// # Panics
/// If a slice is shorter than the geometry says.
pub fn weight_gradient(
    conv: &Conv,
    (dy, x): (&[f32], &[f32]),
    dw: &mut [f32],
    scratch: &mut Scratch,
    cpu: Cpu,
) {
    conv.check(x.len(), dy.len(), dw.len());
    let g = conv.product();
    if conv.is_pointwise() {
        return gemm_f32::weight_gradient(&g, (dy, x), dw, scratch, cpu);
    }
    let image = Image {
        x,
        window: conv.window(),
        channels: conv.c,
        k: conv.c / conv.groups,
    };
    let pack = |panels: &Panels, at: (usize, usize), rows: Range<usize>, to: &mut [f32]| {
        let (columns, width) = (panels.columns(at.1), panels.width(at.1));
        if columns.len() < width {
            to.fill(0.0);
        }
        image.gather(at.0, rows, columns, (to, width));
    };
    let sums = Sums {
        m: g.m,
        n: g.n,
        k: g.k,
        groups: g.groups,
        dy,
        ldy: conv.out,
    };
    if conv.taps() == 1 {
        return sums.add(&pack, dw, scratch, cpu);
    }
    // The sums run over taps and then channels; the weight has the taps last.
    let mut by_tap = std::mem::take(&mut scratch.weight);
    by_tap.sized(dw.len()).fill(0.0);
    sums.add(&pack, &mut by_tap, scratch, cpu);
    let (taps, k) = (conv.taps(), conv.c / conv.groups);
    for (dw, sums) in dw
        .chunks_exact_mut(taps * k)
        .zip(by_tap.chunks_exact(taps * k))
    {
        for (channel, dw) in dw.chunks_exact_mut(taps).enumerate() {
            for (tap, dw) in dw.iter_mut().enumerate() {
                *dw += sums[tap * k + channel];
            }
        }
    }
    scratch.weight = by_tap;
}

/// `db +=` the sum of `dy` over all pixels, in blocks of 128; `db` is `[out]`.
///
/// # Panics
/// If a slice is shorter than the geometry says.
pub fn bias_gradient(conv: &Conv, dy: &[f32], db: &mut [f32], cpu: Cpu) {
    conv.check(usize::MAX, dy.len(), conv.weight());
    assert_eq!(db.len(), conv.out, "{conv:?}: one bias a channel");
    add_columns((dy, conv.pixels(), conv.out), db, cpu.threads);
}

/// The weight as `[out, kh, kw, c / groups]`.
pub(crate) fn by_tap<T: Copy>(conv: &Conv, weight: &[T]) -> Vec<T> {
    let mut to = weight.to_vec();
    put_in_tap_order(conv, weight, &mut to);
    to
}

/// The weight as `[out, kh, kw, c / groups]`, in `buffer` where that is another order.
fn in_tap_order<'a>(conv: &Conv, weight: &'a [f32], buffer: &'a mut Buffer) -> &'a [f32] {
    if conv.taps() == 1 || conv.c == conv.groups {
        return weight;
    }
    let to = buffer.sized(weight.len());
    put_in_tap_order(conv, weight, to);
    to
}

fn put_in_tap_order<T: Copy>(conv: &Conv, weight: &[T], to: &mut [T]) {
    let (taps, k) = (conv.taps(), conv.c / conv.groups);
    for (to, from) in to
        .chunks_exact_mut(taps * k)
        .zip(weight.chunks_exact(taps * k))
    {
        for (tap, to) in to.chunks_exact_mut(k).enumerate() {
            for (channel, to) in to.iter_mut().enumerate() {
                *to = from[channel * taps + tap];
            }
        }
    }
}

/// Packs the weight (in tap order) for the convolution of `dy`: taps from the last to the first, sums over output channels.
fn pack_flipped(conv: &Conv, weight: &[f32], panels: &Panels, (buffer, cpu): (&mut Buffer, Cpu)) {
    let (k, n, taps) = (conv.c / conv.groups, conv.out / conv.groups, conv.taps());
    let len = panels.group_len();
    let data = SharedMut::new(buffer.sized(conv.groups * len));
    let units = conv.groups * panels.count;
    let parts = cpu.threads.parts(conv.groups * len * 4, units);
    cpu.threads.run(parts, &|part| {
        for unit in even(units, parts, part) {
            let (group, index) = panels.place(unit);
            let start = group * len + panels.start(index);
            // SAFETY: panels are disjoint, and each belongs to one part.
            let to = unsafe { data.slice(start..start + panels.width(index) * panels.k) };
            for tap in 0..taps {
                let data = &weight[(group * n * taps + taps - 1 - tap) * k..];
                let view = View {
                    data,
                    k_step: taps * k,
                    n_step: 1,
                };
                panels.pack((to, index), tap * n..(tap + 1) * n, view, cpu.tier);
            }
        }
    });
}

/// Pixels whose shares are computed at once before they are added to where they belong.
const SCATTER_ROWS: usize = 64;

/// The input's gradient at strides above 1, image by image.
fn scattered_gradient(
    conv: &Conv,
    (weight, dy): (&[f32], &[f32]),
    dx: &mut [f32],
    start: Start,
    scratch: &mut Scratch,
    cpu: Cpu,
) {
    let g = conv.product();
    let kernel = Kernel::of(cpu.tier);
    let panels = Panels::new(kernel.width(), g.n, g.k);
    let weight = in_tap_order(conv, weight, &mut scratch.weight);
    let view = |group: usize| View {
        data: &weight[group * g.n * g.k..],
        k_step: g.k,
        n_step: 1,
    };
    let packed = scratch.columns.sized(g.groups * panels.group_len());
    pack_groups(g.groups, &panels, view, (packed, cpu));
    let b = &*scratch.columns;
    let width = g.groups * g.k;
    let parts = cpu.threads.parts(conv.macs(), conv.n);
    let room = SCATTER_ROWS * width;
    let shares = scratch.rows.sized(parts * room);
    let (pixels, image_len) = (conv.out_h() * conv.out_w(), conv.h * conv.w * conv.c);
    let (window, k) = (conv.window(), conv.c / conv.groups);
    let images = (&mut dx[..conv.input()], conv.n, image_len);
    cpu.threads
        .run_rows_with(images, (shares, room), (parts, 1), |images, dx, shares| {
            if start == Start::Zero {
                dx.fill(0.0);
            }
            let all = images.start * pixels..images.end * pixels;
            for first in all.clone().step_by(SCATTER_ROWS) {
                let rows = first..(first + SCATTER_ROWS).min(all.end);
                let source: &dyn Source = &Strided {
                    data: &dy[rows.start * conv.out..],
                    row: conv.out,
                    group: g.n,
                    k: g.n,
                };
                let product = Product {
                    kernel,
                    m: rows.len(),
                    groups: g.groups,
                    panels,
                    source,
                    b,
                    output: Output {
                        row: width,
                        group: g.k,
                    },
                    epilogue: Epilogue::default(),
                };
                product.run(shares, cpu.threads);
                window.pixels(rows, |row, tap, pixel| {
                    let to = &mut dx[(pixel - images.start * conv.h * conv.w) * conv.c..][..conv.c];
                    for (group, to) in to.chunks_exact_mut(k).enumerate() {
                        let from = &shares[row * width + group * g.k + tap * k..][..k];
                        for (to, from) in to.iter_mut().zip(from) {
                            *to += from;
                        }
                    }
                });
            }
        });
}
