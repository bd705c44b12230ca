//! Convolution of channels-last images, dense or grouped, with stride, dilation and any padding: the tiles of [`gemm_f32`], fed
//! with the rows that each tap reads, so that no image is unrolled in memory.
//!
//! Taps that read only padding for all of a tile are left out: of a dilated layer's most. Images of a few channels are read a row of
//! taps at a time. Depthwise convolutions are a family of their own.
//!
//! [`gemm_f32`]: crate::gemm_f32

mod gradients;
pub mod scalar;
#[cfg(test)]
mod tests;
pub(crate) mod window;

pub(crate) use gradients::by_tap;
pub use gradients::{bias_gradient, forward, input_gradient, weight_gradient};

use std::ops::Range;
use std::sync::Arc;

use crate::gemm_f32::gradients::pack_weight;
use crate::gemm_f32::panels::Panels;
use crate::gemm_f32::product::{Output, Product, Source, Strided};
use crate::gemm_f32::{Epilogue, Geometry, Kernel};
use crate::slab::{Block, Slab};
use crate::{Cpu, Threads, Tier};
use window::{Image, Window};

/// A convolution of images `[n, h, w, c]` to `[n, out_h, out_w, out]` with a weight `[out, c / groups, kh, kw]`, as PyTorch has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Images.
    pub n: usize,
    /// Rows of an image.
    pub h: usize,
    /// Columns of an image.
    pub w: usize,
    /// Channels of the input.
    pub c: usize,
    /// Channels of the output.
    pub out: usize,
    /// Taps down and across.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next.
    pub stride: [usize; 2],
    /// Pixels from one tap to the next.
    pub dilation: [usize; 2],
    /// Zeros at the top, left, bottom and right.
    pub padding: [usize; 4],
    /// Groups of channels.
    pub groups: usize,
}

impl Conv {
    /// Rows of the output; zero when the window does not fit.
    pub fn out_h(&self) -> usize {
        self.extent(0, self.h + self.padding[0] + self.padding[2])
    }

    /// Columns of the output; zero when the window does not fit.
    pub fn out_w(&self) -> usize {
        self.extent(1, self.w + self.padding[1] + self.padding[3])
    }

    /// Numbers of the input.
    pub fn input(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Numbers of the output.
    pub fn output(&self) -> usize {
        self.pixels() * self.out
    }

    /// Numbers of the weight.
    pub fn weight(&self) -> usize {
        self.out * self.sum()
    }

    /// Multiply-adds, those with padding counted too.
    pub fn macs(&self) -> usize {
        self.output() * self.sum()
    }

    fn extent(&self, axis: usize, padded: usize) -> usize {
        let reach = (self.kernel[axis] - 1) * self.dilation[axis];
        padded
            .checked_sub(reach + 1)
            .map_or(0, |room| room / self.stride[axis] + 1)
    }

    /// Taps of its window.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Terms of each sum.
    pub(crate) fn sum(&self) -> usize {
        self.c / self.groups * self.taps()
    }

    pub(crate) fn pixels(&self) -> usize {
        self.n * self.out_h() * self.out_w()
    }

    /// The product it comes down to; its input is not stored as such.
    fn product(&self) -> Geometry {
        let g = Geometry::grouped(
            self.pixels(),
            self.out / self.groups,
            self.sum(),
            self.groups,
        );
        Geometry { ldc: self.out, ..g }
    }

    fn window(&self) -> Window {
        let signed = |zeros: usize| isize::try_from(zeros).expect("padding is small");
        Window {
            h: self.h,
            w: self.w,
            out_h: self.out_h(),
            out_w: self.out_w(),
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            before: [signed(self.padding[0]), signed(self.padding[1])],
        }
    }

    /// Whether every pixel is a row of a plain product.
    fn is_pointwise(&self) -> bool {
        self.taps() == 1 && self.stride == [1, 1] && self.padding == [0; 4]
    }

    /// # Panics
    /// If a size is zero, the channels do not divide into the groups, or a slice does not hold what the geometry says.
    pub(crate) fn check(&self, input: usize, output: usize, weight: usize) {
        let sizes = [self.kernel, self.stride, self.dilation, [self.c, self.out]];
        assert!(
            sizes.as_flattened().iter().all(|&size| size > 0),
            "{self:?} has an empty size"
        );
        assert!(
            self.groups > 0 && self.c.is_multiple_of(self.groups),
            "{self:?}: channels do not divide"
        );
        assert!(
            self.out.is_multiple_of(self.groups),
            "{self:?}: output channels do not divide"
        );
        assert!(
            input >= self.input(),
            "{self:?}: {input} inputs are too few"
        );
        assert!(
            output >= self.output(),
            "{self:?}: {output} outputs are too few"
        );
        assert_eq!(
            weight,
            self.weight(),
            "{self:?}: weights are [out, c / groups, kh, kw]"
        );
    }

    /// Calls `run` with where the rows of the product come from.
    fn source(&self, x: &[f32], run: impl FnOnce(&dyn Source)) {
        if self.is_pointwise() {
            let k = self.c / self.groups;
            run(&Strided {
                data: x,
                row: self.c,
                group: k,
                k,
            })
        } else {
            run(&self.image(x, self.window()))
        }
    }

    /// What this window reads of images.
    fn image<'a>(&self, x: &'a [f32], window: Window) -> Image<'a> {
        Image {
            x,
            window,
            channels: self.c,
            k: self.c / self.groups,
        }
    }
}

/// The weight of a convolution, packed once for the kernel that will run it.
#[derive(Clone)]
pub struct Packed {
    conv: Conv,
    kernel: &'static Kernel,
    panels: Panels,
    data: Arc<Block<f32>>,
    /// From one pixel of the output to the next.
    stride: usize,
}

impl Packed {
    /// Packs `weight`, `[out, c / groups, kh, kw]`.
    ///
    /// # Panics
    /// If the weight's length or the geometry is wrong.
    pub fn pack(weight: &[f32], conv: &Conv, tier: Tier) -> Packed {
        Packed::pack_in(weight, conv, tier, &Slab::default())
    }

    /// The same with the packed weight in a slab.
    ///
    /// # Panics
    /// As for [`Packed::pack`].
    pub fn pack_in(weight: &[f32], conv: &Conv, tier: Tier, slab: &Slab) -> Packed {
        conv.check(usize::MAX, usize::MAX, weight.len());
        let kernel = Kernel::of(tier);
        let g = conv.product();
        let panels = Panels::new(kernel.width(), g.k, g.n);
        let mut data = slab.block(g.groups * panels.group_len());
        let cpu = Cpu {
            tier,
            threads: &Threads::new(1),
        };
        let by_tap = by_tap(conv, weight);
        pack_weight(&g, &by_tap, &panels, (&mut data, cpu));
        Packed {
            conv: *conv,
            kernel,
            panels,
            data: Arc::new(data),
            stride: conv.out,
        }
    }

    /// The same for an output whose pixels lie `stride` numbers apart: part of a wider image.
    ///
    /// # Panics
    /// If pixels would overlap.
    pub fn with_stride(self, stride: usize) -> Packed {
        assert!(stride >= self.conv.out, "{:?}: pixels overlap", self.conv);
        Packed { stride, ..self }
    }

    /// The geometry it was packed for.
    pub fn conv(&self) -> &Conv {
        &self.conv
    }

    /// The same weight for other images, which packing does not depend on.
    pub fn set_images(&mut self, n: usize, h: usize, w: usize) {
        (self.conv.n, self.conv.h, self.conv.w) = (n, h, w);
    }

    /// From one pixel of the output to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The kernel that runs it.
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// Bytes of the packed weight.
    pub fn bytes(&self) -> usize {
        size_of_val::<[f32]>(&**self.data)
    }

    /// `y = activation(conv(x, weight) + bias + residual)`; allocates nothing.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry says.
    pub fn run(&self, x: &[f32], epilogue: &Epilogue, y: &mut [f32], threads: &Threads) {
        let Conv { n, h, w, .. } = self.conv;
        self.run_images([n, h, w], x, epilogue, y, threads);
    }

    /// The same of so many images, rows and columns instead of the geometry's.
    ///
    /// # Panics
    /// If a slice is shorter than the geometry says.
    pub fn run_images(
        &self,
        [n, h, w]: [usize; 3],
        x: &[f32],
        epilogue: &Epilogue,
        y: &mut [f32],
        threads: &Threads,
    ) {
        let conv = &Conv {
            n,
            h,
            w,
            ..self.conv
        };
        // The product checks the output, whose pixels may lie apart.
        conv.check(x.len(), usize::MAX, conv.weight());
        let on = (self.kernel, self.panels, &**self.data);
        run_product(conv, x, on, (epilogue, self.stride), y, threads);
    }

    /// Computes some rows of the output of one image, counted through all images, which are all that `y` holds.
    ///
    /// # Panics
    /// If the rows are not of one image, or a slice is shorter than the geometry says.
    pub fn run_rows(
        &self,
        rows: Range<usize>,
        x: &[f32],
        epilogue: &Epilogue,
        y: &mut [f32],
        threads: &Threads,
    ) {
        let conv = &self.conv;
        conv.check(x.len(), usize::MAX, conv.weight());
        let (image, top) = (rows.start / conv.out_h(), rows.start % conv.out_h());
        assert!(image < conv.n && top + rows.len() <= conv.out_h());
        let mut window = conv.window();
        window.out_h = rows.len();
        window.before[0] -= (top * conv.stride[0]).cast_signed();
        let size = conv.h * conv.w * conv.c;
        let source = conv.image(&x[image * size..][..size], window);
        let on = (self.kernel, self.panels, &**self.data);
        let m = rows.len() * conv.out_w();
        product(conv, m, &source, on, (epilogue, self.stride)).run(y, threads);
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({:?}, {})", self.conv, self.kernel.name)
    }
}

/// The forward product with a weight in panels.
fn run_product(
    conv: &Conv,
    x: &[f32],
    (kernel, panels, b): (&Kernel, Panels, &[f32]),
    (epilogue, stride): (&Epilogue, usize),
    y: &mut [f32],
    threads: &Threads,
) {
    conv.source(x, |source| {
        product(
            conv,
            conv.pixels(),
            source,
            (kernel, panels, b),
            (epilogue, stride),
        )
        .run(y, threads);
    });
}

/// The product of so many pixels.
fn product<'a>(
    conv: &Conv,
    m: usize,
    source: &'a dyn Source,
    (kernel, panels, b): (&'a Kernel, Panels, &'a [f32]),
    (epilogue, stride): (&Epilogue<'a>, usize),
) -> Product<'a> {
    Product {
        kernel,
        m,
        groups: conv.groups,
        panels,
        source,
        b,
        output: Output {
            row: stride,
            group: panels.n,
        },
        epilogue: *epilogue,
    }
}
