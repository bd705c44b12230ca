//! The definition of the transforms: products with three matrices that follow from the points where polynomials are evaluated.

use std::ops::Range;

use super::transform::{Back, There};
use super::{Size, transform};
use crate::SharedMut;
use crate::gemm_f32::scalar::finish;
use crate::gemm_f32::{Epilogue, Residual};

/// The most inputs of a tile, down or across.
const MOST: usize = 6;

/// The finite points of a size; the last one is infinity.
fn points(size: Size) -> &'static [f64] {
    match size {
        Size::Two => &[0.0, 1.0, -1.0],
        Size::Four => &[0.0, 2.0 / 3.0, -2.0 / 3.0, 1.5, -1.5],
    }
}

/// The transforms of one axis: `y = back (weight g * there d)` for inputs `d` and taps `g`.
#[derive(Debug, Clone)]
pub struct Matrices {
    read: usize,
    out: usize,
    there: [[f32; MOST]; MOST],
    back: [[f32; MOST]; MOST],
    weight: [[f64; 3]; MOST],
}

impl Matrices {
    /// The matrices of a size (Toom 1963, Cook 1966; transposed as Winograd 1980 has it).
    pub fn new(size: Size) -> Matrices {
        let (points, out) = (points(size), size.out());
        let read = points.len() + 1;
        let mut matrices = Matrices {
            read,
            out,
            there: [[0.0; MOST]; MOST],
            back: [[0.0; MOST]; MOST],
            weight: [[0.0; 3]; MOST],
        };
        for (i, &point) in points.iter().enumerate() {
            let others = || points.iter().filter(move |&&other| other != point);
            let scale: f64 = others().map(|other| point - other).product();
            for power in 0..out {
                matrices.back[power][i] = point.powi(power as i32) as f32;
            }
            matrices.weight[i] = [0, 1, 2].map(|power| point.powi(power) / scale);
            matrices.there[i] = polynomial(others());
        }
        matrices.back[out - 1][read - 1] = 1.0;
        matrices.weight[read - 1] = [0.0, 0.0, 1.0];
        matrices.there[read - 1] = polynomial(points.iter());
        matrices
    }

    /// The transformed weight of one input channel of one output channel, `[3, 3]`, computed in double precision.
    pub fn weight(&self, taps: &[f32; 9]) -> impl Iterator<Item = f32> {
        let (g, taps) = (self.weight, *taps);
        let read = self.read;
        (0..read * read).map(move |at| {
            let mut sum = 0.0;
            for tap in 0..9 {
                sum += g[at / read][tap / 3] * g[at % read][tap % 3] * f64::from(taps[tap]);
            }
            sum as f32
        })
    }
}

/// The coefficients of the polynomial with these roots, lowest first.
fn polynomial<'a>(roots: impl Iterator<Item = &'a f64>) -> [f32; MOST] {
    let mut product = [0.0f64; MOST];
    product[0] = 1.0;
    for root in roots {
        for at in (0..MOST).rev() {
            let lower = if at > 0 { product[at - 1] } else { 0.0 };
            product[at] = lower - root * product[at];
        }
    }
    product.map(|value| value as f32)
}

/// Both axes: `m values m^T`, from the columns to the rows.
fn both(
    (matrix, to, from): (&[[f32; MOST]; MOST], usize, usize),
    value: impl Fn(usize, usize) -> f32,
) -> [[f32; MOST]; MOST] {
    let mut half = [[0.0; MOST]; MOST];
    let mut whole = [[0.0; MOST]; MOST];
    for i in 0..to {
        for j in 0..from {
            half[i][j] = (0..from).map(|l| matrix[i][l] * value(l, j)).sum();
        }
    }
    for i in 0..to {
        for j in 0..to {
            whole[i][j] = (0..from).map(|l| matrix[j][l] * half[i][l]).sum();
        }
    }
    whole
}

/// Transforms the inputs of tiles.
pub(super) fn there(job: &There, tiles: Range<usize>, to: &SharedMut<f32>) {
    let (m, conv) = (job.matrices, job.conv);
    let k = conv.c / conv.groups;
    for tile in tiles {
        let place = job.grid.place(tile);
        for channel in 0..conv.c {
            let values = both((&m.there, m.read, m.read), |i, j| {
                transform::pixel(conv, &place, [i, j])
                    .map_or(0.0, |at| job.x[at * conv.c + channel])
            });
            for product in 0..m.read * m.read {
                let matrix = product * conv.groups + channel / k;
                let at = matrix * job.step + (tile - job.first) * k + channel % k;
                // SAFETY: no other part has this tile.
                let place = unsafe { to.slice(at..at + 1) };
                place[0] = values[product / m.read][product % m.read];
            }
        }
    }
}

/// Transforms the sums of tiles back and writes the outputs that exist.
pub(super) fn back(job: &Back, tiles: Range<usize>, y: &SharedMut<f32>) {
    let (m, conv) = (job.matrices, job.conv);
    let n = conv.out / conv.groups;
    for tile in tiles {
        let place = job.grid.place(tile);
        for channel in 0..conv.out {
            let values = both((&m.back, m.out, m.read), |i, j| {
                let matrix = (i * m.read + j) * conv.groups + channel / n;
                job.sums[matrix * job.step + (tile - job.first) * n + channel % n]
            });
            for i in 0..place.exist[0] {
                for j in 0..place.exist[1] {
                    let at = transform::written(conv, &place, [i, j]) * job.stride + channel;
                    write(job.epilogue, values[i][j], channel, (y, at));
                }
            }
        }
    }
}

fn write(epilogue: &Epilogue, sum: f32, channel: usize, (y, at): (&SharedMut<f32>, usize)) {
    let residual = epilogue.residual.map(|residual| Residual {
        values: &residual.values[at..],
        ..residual
    });
    let epilogue = Epilogue {
        residual,
        ..*epilogue
    };
    // SAFETY: no other part has this pixel.
    let y = unsafe { y.slice(at..at + 1) };
    finish(&epilogue, sum, channel, (y, 0));
}
