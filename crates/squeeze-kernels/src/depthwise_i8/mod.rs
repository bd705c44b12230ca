//! Depthwise convolution of channels-last images in bytes, statically quantized: what bytes stand for is known before, on both
//! sides of the layer, so that no number is written in between.
//!
//! Weights are symmetric with one scale for each channel. Sums are exact in 32 bits, padding counts as the byte of zero, and one
//! multiply-add in single precision brings a sum to a byte, or to the curve of an activation that is more than limits: every tier
//! gives the same bytes. A channel whose weights or bias are not all finite counts as one of zeros, since no byte stands for NaN.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod finish;
mod pack;
mod pairs;
pub mod scalar;
mod strip;
#[cfg(test)]
mod tests;

use std::ops::Range;

use self::finish::Finish;
use self::pack::{Channels, Table};
use self::pairs::Pairs;
use self::strip::{Across, Room, Strip, StripFn};
use crate::activation::Activation;
use crate::depthwise::{self, Depthwise};
use crate::{Cpu, Quantization, SharedMut, Threads, Tier, Weight};

/// One row of the table of kernels.
#[derive(Debug)]
pub struct Kernel {
    /// What logs and tables show.
    pub name: &'static str,
    /// The instructions it needs.
    pub tier: Tier,
    /// Whether the machine has what it needs beyond its tier.
    is_present: fn() -> bool,
    /// Whether weights lie as pairs of 16 bits.
    widened: bool,
    /// How many channels a register holds, and what computes so many; the widest first. None for the definition.
    strips: &'static [(usize, StripFn)],
    /// What computes windows of the layers that [`Pairs`] has.
    windows: Option<WindowsFn>,
}

/// Computes some windows, whose results are all that the bytes hold.
///
/// # Safety
/// The CPU has what the kernel needs.
type WindowsFn = unsafe fn(&depthwise::rows::Strips<u8>, (&Pairs, &Finish), &mut [u8]);

/// The kernels of this family, in rising order of tiers.
#[cfg(target_arch = "x86_64")]
pub const KERNELS: &[Kernel] = &[scalar::KERNEL, avx2::KERNEL, avx512::KERNEL];
/// The kernels of this family, in rising order of tiers.
#[cfg(not(target_arch = "x86_64"))]
pub const KERNELS: &[Kernel] = &[scalar::KERNEL];

impl Kernel {
    /// Whether this machine can run it.
    pub fn is_here(&self) -> bool {
        self.tier.is_present() && (self.is_present)()
    }

    /// The best kernel of at most this tier that this machine can run.
    fn of(tier: Tier) -> &'static Kernel {
        let fits = |kernel: &&Kernel| kernel.tier <= tier && kernel.is_here();
        KERNELS
            .iter()
            .rev()
            .find(fits)
            .expect("the scalar kernel runs everywhere")
    }
}

/// What bytes stand for before and after a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Codes {
    /// The bytes that it reads.
    pub input: Quantization,
    /// The bytes that it writes.
    pub output: Quantization,
}

/// The numbers of a layer, and what they stand between.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// Weights, `[c, 1, kh, kw]`.
    pub weights: Weight<'a>,
    /// Added to each channel.
    pub bias: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
    /// What bytes stand for.
    pub codes: Codes,
}

/// The most taps of a kernel: sums of that many products hold in 32 bits.
pub const MOST_TAPS: usize = 1 << 15;

/// A depthwise layer in bytes, packed once for the kernel that will run it.
#[derive(Clone)]
pub struct Packed {
    geometry: Depthwise,
    kernel: &'static Kernel,
    channels: Channels,
    finish: Finish,
    /// The byte of zero before the layer.
    zero: u8,
    fast: Option<Fast>,
}

/// What the kernels in registers need.
#[derive(Clone)]
enum Fast {
    Pairs(WindowsFn, Pairs),
    Strips(Box<Strips>),
}

/// Channels in strips as wide as registers.
#[derive(Clone)]
struct Strips {
    table: Table,
    across: Across,
    /// A row of an image of zeros.
    padding: Vec<u8>,
}

impl Packed {
    /// Brings a layer's weights to bytes and packs them.
    ///
    /// # Panics
    /// If the lengths do not fit, or there are over [`MOST_TAPS`] taps.
    pub fn pack(filter: &Filter, geometry: &Depthwise, tier: Tier) -> Packed {
        assert!(geometry.kernel.iter().all(|&taps| taps > 0));
        assert!(geometry.taps() <= MOST_TAPS, "{geometry:?}: too many taps");
        let channels = Channels::of(filter, geometry);
        let (finish, channels) = Finish::of(filter, channels, geometry.taps());
        let kernel = Kernel::of(tier);
        let zero = filter.codes.input.zero;
        let pairs = kernel.windows.and_then(|run| {
            Pairs::of(&channels, geometry, zero).map(|pairs| Fast::Pairs(run, pairs))
        });
        let strips = || {
            Across::of(geometry, kernel, zero).map(|across| {
                Fast::Strips(Box::new(Strips {
                    table: Table::of(&channels, geometry, kernel, across.rows),
                    padding: vec![zero; geometry.w * geometry.c],
                    across,
                }))
            })
        };
        let fast = pairs.or_else(strips);
        let kernel = match fast {
            Some(_) => kernel,
            None => &scalar::KERNEL,
        };
        Packed {
            geometry: *geometry,
            kernel,
            channels,
            finish,
            zero,
            fast,
        }
    }

    /// The name of the kernel that runs it.
    pub fn kernel_name(&self) -> &'static str {
        self.kernel.name
    }

    /// Bytes of the packed weights with all that belongs to them.
    pub fn bytes(&self) -> usize {
        let fast = |fast: &Fast| match fast {
            Fast::Pairs(_, pairs) => pairs.bytes(),
            Fast::Strips(strips) => strips.table.bytes() + strips.padding.len(),
        };
        self.channels.bytes() + self.fast.as_ref().map_or(0, fast)
    }

    /// `y = byte(activation(conv(number(x)) + bias))`; allocates nothing.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn run(&self, x: &[u8], y: &mut [u8], threads: &Threads) {
        let geometry = &self.geometry;
        assert_eq!(x.len(), geometry.input());
        assert_eq!(y.len(), geometry.output());
        let (out_h, row_len) = (geometry.out_h(), geometry.out_w() * geometry.c);
        let together = match &self.fast {
            Some(Fast::Strips(strips)) => strips.across.rows,
            _ => 1,
        };
        let units = out_h.div_ceil(together);
        let size = geometry.h * geometry.w * geometry.c;
        let y = SharedMut::new(y);
        let cpu = Cpu {
            tier: self.kernel.tier,
            threads,
        };
        // What is around them makes these products as slow as those of numbers in large layers.
        let work = geometry.output() * geometry.taps();
        cpu.split(geometry.n * units, work, |own| {
            if let Some(Fast::Pairs(run, pairs)) = &self.fast {
                // SAFETY: each row of the output belongs to one unit.
                let y = unsafe { y.slice(own.start * row_len..own.end * row_len) };
                return depthwise::rows::strips(&pairs.layer(geometry, x), own, y, |strips, y| {
                    // SAFETY: the machine has what the kernel needs (`Kernel::of`).
                    unsafe { run(strips, (pairs, &self.finish), y) };
                });
            }
            let mut room = Room::new();
            for unit in own {
                let (image, top) = (unit / units, unit % units * together);
                let rows = top..(top + together).min(out_h);
                let first = image * out_h;
                let place = (first + rows.start) * row_len..(first + rows.end) * row_len;
                // SAFETY: each row of the output belongs to one unit.
                let y = unsafe { y.slice(place) };
                let (channels, finish) = (&self.channels, &self.finish);
                let of_image = || &x[image * size..][..size];
                match &self.fast {
                    Some(Fast::Strips(strips)) => {
                        self.strips(strips, (rows, of_image(), y), &mut room);
                    }
                    _ => {
                        let x = of_image();
                        scalar::rows(geometry, (channels, finish, self.zero), (rows, x, y));
                    }
                }
            }
        });
    }

    /// Rows of the output, as many as are computed together or fewer, from their image.
    fn strips(
        &self,
        fast: &Strips,
        (rows, x, y): (Range<usize>, &[u8], &mut [u8]),
        room: &mut Room,
    ) {
        let geometry = &self.geometry;
        let width = geometry.w * geometry.c;
        // Rows of the image that the taps read: a line of zeros where there is none.
        let mut from = [fast.padding.as_ptr(); strip::MOST_ROWS];
        let reach = match rows.len() {
            0 => return,
            count => (count - 1) * geometry.stride[0] + geometry.kernel[0],
        };
        for (at, from) in from.iter_mut().enumerate().take(reach) {
            // Rows are only computed together where taps follow each other.
            let place = rows.start * geometry.stride[0] + at * geometry.dilation[0];
            let inside = place.checked_sub(geometry.padding[0]);
            if let Some(row) = inside.filter(|&row| row < geometry.h) {
                *from = x[row * width..][..width].as_ptr();
            }
        }
        for block in &fast.table.blocks {
            let strip = Strip {
                across: &fast.across,
                finish: &self.finish,
                rows: &from,
                first: block.first,
                channels: block.channels,
                table: fast.table.pointer(block),
                to: y.as_mut_ptr(),
                count: rows.len(),
            };
            // SAFETY: the machine has what the kernel needs (`Kernel::of`); each of the rows, and each row of `y`, holds a pixel's
            // channels for all columns; the table holds the block.
            unsafe { (block.run)(&strip, room) };
        }
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({:?}, {})", self.geometry, self.kernel.name)
    }
}
