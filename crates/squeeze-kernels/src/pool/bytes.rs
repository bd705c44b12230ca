//! Pools of bytes that stand for numbers: largest and average of windows, mean of all pixels. Sums are exact.
//!
//! One body for every tier: loops over strips of channels of constant length, which the compiler keeps in registers. The last strip
//! begins earlier where the channels are no whole number of strips.

use super::scalar::covered;
use super::{Divisor, Pool};
use crate::elementwise::each_rows;
use crate::gemm_i8::quantize::ROUND;
use crate::vector::per_tier;
use crate::{Cpu, Quantization, SharedMut};

/// [`super::max_forward`] of bytes; 0 where a window holds only padding.
///
/// # Panics
/// When the lengths do not fit.
pub fn max_forward_bytes(cpu: Cpu, pool: &Pool, x: &[u8], y: &mut [u8]) {
    check(pool, x, y);
    each_rows(cpu, pool.out_w() * pool.c, y, |rows, y| {
        rows_max(cpu.tier, pool, rows.start, x, y);
    });
}

/// [`super::average_forward`] of bytes.
///
/// # Panics
/// When the lengths do not fit.
pub fn average_forward_bytes(
    cpu: Cpu,
    pool: &Pool,
    x: (&[u8], Quantization),
    y: (&mut [u8], Quantization),
) {
    check(pool, x.0, y.0);
    let sides = [x.1, y.1];
    each_rows(cpu, pool.out_w() * pool.c, y.0, |rows, y| {
        rows_average(cpu.tier, pool, sides, rows.start, x.0, y);
    });
}

/// The mean over all rows of each image: `x` is `[n, rows, c]`, `y` is `[n, c]`. The mean of no rows is 0.
///
/// # Panics
/// When the lengths do not fit, or there are more than 2^23 rows.
pub fn mean_forward_bytes(cpu: Cpu, shape: [usize; 3], x: (&[u8], Quantization), y: &mut [f32]) {
    let [n, rows, c] = shape;
    assert_eq!(x.0.len(), n * rows * c);
    assert_eq!(y.len(), n * c);
    assert!(rows <= 1 << 23, "sums of {rows} rows do not fit 31 bits");
    let strips = c.div_ceil(STRIP);
    let shared = SharedMut::new(y);
    cpu.split(n * strips, x.0.len(), |range| {
        for at in range {
            let (image, first) = (at / strips, at % strips * STRIP);
            let channels = image * c + first..image * c + c.min(first + STRIP);
            // SAFETY: each strip has its own channels.
            let y = unsafe { shared.slice(channels) };
            let x = (&x.0[image * rows * c..][..rows * c], x.1);
            strip_mean(cpu.tier, x, c, first, y);
        }
    });
}

/// Channels whose means are found together.
const STRIP: usize = 128;

fn check(pool: &Pool, x: &[u8], y: &[u8]) {
    assert_eq!(x.len(), pool.input(), "input of {pool:?}");
    assert_eq!(y.len(), pool.output(), "output of {pool:?}");
}

per_tier! {
    /// Rows of the output from the `first` of all images on.
    fn rows_max(pool: &Pool, first: usize, x: &[u8], y: &mut [u8])
    { compiled: max_rows }
}

per_tier! {
    /// Rows of the output from the `first` of all images on.
    fn rows_average(pool: &Pool, sides: [Quantization; 2], first: usize, x: &[u8], y: &mut [u8])
    { compiled: average_rows }
}

per_tier! {
    /// The means of the channels from `first` on, as many as `y` holds: at most [`STRIP`].
    fn strip_mean(x: (&[u8], Quantization), c: usize, first: usize, y: &mut [f32])
    { compiled: mean_strip }
}

/// How many channels pass through a window together.
fn width(c: usize) -> usize {
    match c {
        128.. => 128,
        64.. => 64,
        16.. => 16,
        _ => 1,
    }
}

// Plain loops instead of closures: those are compiled for themselves, without the instructions of the tier.

#[inline(always)]
fn max_rows(pool: &Pool, first: usize, x: &[u8], y: &mut [u8]) {
    let strip = width(pool.c);
    for (row, y) in y.chunks_exact_mut(pool.out_w() * pool.c).enumerate() {
        let line = Line::of(pool, first + row);
        for (column, y) in y.chunks_exact_mut(pool.c).enumerate() {
            let window = line.window(pool, column);
            match strip {
                128 => max_window::<128>(&window, x, y),
                64 => max_window::<64>(&window, x, y),
                16 => max_window::<16>(&window, x, y),
                _ => max_window::<1>(&window, x, y),
            }
        }
    }
}

#[inline(always)]
fn average_rows(pool: &Pool, sides: [Quantization; 2], first: usize, x: &[u8], y: &mut [u8]) {
    let strip = width(pool.c);
    for (row, y) in y.chunks_exact_mut(pool.out_w() * pool.c).enumerate() {
        let line = Line::of(pool, first + row);
        for (column, y) in y.chunks_exact_mut(pool.c).enumerate() {
            let window = line.window(pool, column);
            match strip {
                128 | 64 => average_window::<64>(&window, sides, x, y),
                16 => average_window::<16>(&window, sides, x, y),
                _ => average_window::<1>(&window, sides, x, y),
            }
        }
    }
}

#[inline(always)]
fn mean_strip((x, q): (&[u8], Quantization), c: usize, first: usize, y: &mut [f32]) {
    let mut sums = [0; STRIP];
    let from = match c {
        STRIP.. => {
            let from = first.min(c - STRIP);
            sums = column_sums(x, c, from);
            from
        }
        _ => {
            narrow_sums(x, c, &mut sums);
            0
        }
    };
    let rows = x.len() / c;
    let (zeros, factor) = (
        rows as i32 * i32::from(q.zero),
        q.scale / rows.max(1) as f32,
    );
    for (y, sum) in y.iter_mut().zip(&sums[first - from..]) {
        *y = (*sum as i32 - zeros) as f32 * factor;
    }
}

/// Few channels: as many rows as fit a strip are taken for one, whose sums are added in the end. It has more than half a strip.
#[inline(always)]
fn narrow_sums(x: &[u8], c: usize, sums: &mut [u32; STRIP]) {
    const HALF: usize = STRIP / 2;
    let wide = STRIP / c * c;
    let whole = x.len() / wide * wide;
    for from in [0, wide - HALF] {
        let half: [u32; HALF] = column_sums(&x[..whole], wide, from);
        sums[from..from + HALF].copy_from_slice(&half);
    }
    for (sum, x) in sums.iter_mut().zip(&x[whole..]) {
        *sum += u32::from(*x);
    }
    for i in c..wide {
        sums[i % c] += sums[i];
    }
}

/// The sums of `N` columns, from `from` on, of rows of `c` bytes.
#[inline(always)]
fn column_sums<const N: usize>(x: &[u8], c: usize, from: usize) -> [u32; N] {
    let mut sums = [0; N];
    // The sum of 256 bytes fits 16 bits.
    for block in x.chunks(256 * c) {
        let mut short = [0u16; N];
        for row in block.chunks_exact(c) {
            let row: &[u8; N] = row[from..].first_chunk().expect("columns of a row");
            for i in 0..N {
                short[i] += u16::from(row[i]);
            }
        }
        for i in 0..N {
            sums[i] += u32::from(short[i]);
        }
    }
    sums
}

/// A row of windows: the first byte of its inputs' rows, how many rows there are, and with padding.
struct Line {
    start: usize,
    rows: usize,
    tall: usize,
}

impl Line {
    /// Row `at` of all images.
    #[inline(always)]
    fn of(pool: &Pool, at: usize) -> Self {
        let (image, row) = (at / pool.out_h(), at % pool.out_h());
        let (rows, tall) = covered(pool, 0, pool.h, row);
        Self {
            start: (image * pool.h + rows.start) * pool.w * pool.c,
            rows: rows.len(),
            tall,
        }
    }

    #[inline(always)]
    fn window(&self, pool: &Pool, column: usize) -> Window {
        let (columns, wide) = covered(pool, 1, pool.w, column);
        Window {
            start: self.start + columns.start * pool.c,
            next: [pool.w * pool.c, pool.c],
            count: [self.rows, columns.len()],
            divisor: match pool.divisor {
                Divisor::WithPadding => self.tall * wide,
                Divisor::InputsOnly => (self.rows * columns.len()).max(1),
            },
        }
    }
}

/// The inputs under a window: the first byte, from one row and column to the next, how many there are, and what an average is
/// divided by.
struct Window {
    start: usize,
    next: [usize; 2],
    count: [usize; 2],
    divisor: usize,
}

impl Window {
    /// `N` channels, from `channel` on, of an input.
    #[inline(always)]
    fn input<'x, const N: usize>(
        &self,
        x: &'x [u8],
        place: [usize; 2],
        channel: usize,
    ) -> &'x [u8; N] {
        let at = self.start + place[0] * self.next[0] + place[1] * self.next[1] + channel;
        x[at..].first_chunk().expect("channels of a pixel")
    }
}

#[inline(always)]
fn max_window<const N: usize>(window: &Window, x: &[u8], y: &mut [u8]) {
    for channel in (0..y.len()).step_by(N) {
        let channel = channel.min(y.len() - N);
        let mut best = [0; N];
        for row in 0..window.count[0] {
            for column in 0..window.count[1] {
                let x: &[u8; N] = window.input(x, [row, column], channel);
                for i in 0..N {
                    best[i] = best[i].max(x[i]);
                }
            }
        }
        y[channel..channel + N].copy_from_slice(&best);
    }
}

#[inline(always)]
fn average_window<const N: usize>(
    window: &Window,
    [from, to]: [Quantization; 2],
    x: &[u8],
    y: &mut [u8],
) {
    let zeros = (window.count[0] * window.count[1]) as f32 * f32::from(from.zero);
    let factor = from.scale / to.scale / window.divisor as f32;
    for channel in (0..y.len()).step_by(N) {
        let channel = channel.min(y.len() - N);
        let mut sums = [0u32; N];
        for row in 0..window.count[0] {
            for column in 0..window.count[1] {
                let x: &[u8; N] = window.input(x, [row, column], channel);
                for i in 0..N {
                    sums[i] += u32::from(x[i]);
                }
            }
        }
        let y = &mut y[channel..channel + N];
        for i in 0..N {
            let place = (sums[i] as f32 - zeros) * factor + f32::from(to.zero);
            y[i] = (place.clamp(0.0, 255.0) + ROUND).to_bits() as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Rounding, scalar};
    use super::*;
    use crate::{Threads, Tier};

    const WIDTHS: [usize; 13] = [1, 3, 15, 16, 17, 63, 64, 65, 100, 127, 128, 129, 200];

    fn everywhere(mut work: impl FnMut(Cpu)) {
        for threads in [1, 3] {
            let threads = Threads::new(threads);
            for tier in Tier::here() {
                work(Cpu {
                    tier,
                    threads: &threads,
                });
            }
        }
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| {
                if i % 97 == 0 {
                    255
                } else {
                    ((i * 0x9e37_79b1) >> 13) as u8
                }
            })
            .collect()
    }

    fn pools(c: usize) -> impl Iterator<Item = Pool> {
        let base = Pool {
            n: 2,
            h: 9,
            w: 11,
            c,
            kernel: [3, 3],
            stride: [2, 2],
            padding: [1, 1, 1, 1],
            rounding: Rounding::Floor,
            divisor: Divisor::WithPadding,
        };
        let rounded = Pool {
            padding: [0, 1, 0, 0],
            rounding: Rounding::Ceil,
            divisor: Divisor::InputsOnly,
            ..base
        };
        let tall = Pool {
            kernel: [5, 2],
            stride: [1, 3],
            padding: [2, 0, 2, 1],
            ..rounded
        };
        // The last windows hold only padding.
        let empty = Pool {
            kernel: [1, 1],
            padding: [0, 0, 2, 2],
            ..base
        };
        [base, rounded, tall, empty].into_iter()
    }

    /// The definition in numbers, with bytes as numbers: whole numbers up to 255 and their sums are exact there.
    fn in_numbers(pool: &Pool, x: &[u8], kernel: fn(&Pool, usize, &[f32], &mut [f32])) -> Vec<f32> {
        let x: Vec<f32> = x.iter().map(|&x| f32::from(x)).collect();
        let mut y = vec![f32::NAN; pool.output()];
        kernel(pool, 0, &x, &mut y);
        y
    }

    #[test]
    fn largest() {
        for c in WIDTHS {
            for pool in pools(c) {
                let x = bytes(pool.input());
                let want = in_numbers(&pool, &x, scalar::max_forward);
                everywhere(|cpu| {
                    let mut y = vec![77; pool.output()];
                    max_forward_bytes(cpu, &pool, &x, &mut y);
                    for (i, (&y, want)) in y.iter().zip(&want).enumerate() {
                        assert_eq!(f32::from(y), want.max(0.0), "{} {pool:?} {i}", cpu.tier);
                    }
                });
            }
        }
    }

    #[test]
    fn averages() {
        let (from, to) = (Quantization::of(-1.0, 3.0), Quantization::of(-0.8, 2.5));
        for c in WIDTHS {
            for pool in pools(c) {
                let x = bytes(pool.input());
                let numbers: Vec<f32> = x.iter().map(|&x| from.number(x)).collect();
                let mut want = vec![f32::NAN; pool.output()];
                scalar::average_forward(&pool, 0, &numbers, &mut want);
                let mut first = None;
                everywhere(|cpu| {
                    let mut y = vec![77; pool.output()];
                    average_forward_bytes(cpu, &pool, (&x, from), (&mut y, to));
                    for (i, (&y, &want)) in y.iter().zip(&want).enumerate() {
                        let place = want / to.scale + f32::from(to.zero);
                        let distance = (f32::from(y) - place.clamp(0.0, 255.0)).abs();
                        // A dozen roundings of numbers below 512.
                        let bound = 0.5 + 12.0 * 512.0 * f32::EPSILON / 2.0;
                        assert!(distance <= bound, "{} {pool:?} {i}", cpu.tier);
                    }
                    assert_eq!(first.get_or_insert(y.clone()), &y, "{} {pool:?}", cpu.tier);
                });
            }
        }
    }

    #[test]
    fn means() {
        let q = Quantization::of(-1.0, 3.0);
        for (n, rows) in [
            (1, 0),
            (2, 1),
            (3, 49),
            (1, 196),
            (2, 255),
            (2, 257),
            (1, 700),
        ] {
            for c in WIDTHS.into_iter().chain([672]) {
                for x in [bytes(n * rows * c), vec![255; n * rows * c]] {
                    everywhere(|cpu| {
                        let mut y = vec![f32::NAN; n * c];
                        mean_forward_bytes(cpu, [n, rows, c], (&x, q), &mut y);
                        for (i, y) in y.into_iter().enumerate() {
                            let column = x[i / c * rows * c..][..rows * c].iter();
                            let sum: u32 =
                                (column.skip(i % c).step_by(c)).map(|&x| u32::from(x)).sum();
                            let sum = f64::from(sum) - rows as f64 * f64::from(q.zero);
                            let want = f64::from(q.scale) * sum / rows.max(1) as f64;
                            // The factor and the product are rounded once each.
                            let bound = want.abs() * f64::from(f32::EPSILON);
                            assert!((f64::from(y) - want).abs() <= bound, "{rows} {c} {i}");
                        }
                    });
                }
            }
        }
    }
}
