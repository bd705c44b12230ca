//! Whether a layer gains when its zeros are left out, and in which blocks.

use squeeze_kernels::Tier;
use squeeze_kernels::gemm_f32::Geometry;
use squeeze_kernels::spmm::{self, Block, Element};

use crate::target::{Precision, Target};

/// Below this share of zeros no kernel gains.
const FEWEST_ZEROS: f64 = 0.1;

/// A weight of at least so many numbers is looked at in a sample first: one cache line of so many, a prime, which goes through all
/// columns of a matrix.
const LARGE: usize = 1 << 16;
const LINE: usize = 16;
const SAMPLE: usize = 67;

/// The product without zeros must be ahead by a tenth: so far the prices are off. Of the benchmark's 720 lines 10 are then up to 11 %
/// slower than the dense product, and 45 are left dense that were up to 28 % quicker.
const AHEAD: f64 = 0.9;

/// On matrix registers the floor of single precision is 2.5 times the vectors' rate (docs/engine.md): what the product without zeros
/// must be ahead of there. Less exact elements are further ahead, and keep their registers.
const TILES_AHEAD: f64 = 2.5;

/// bfloat16 in vector registers takes 1.9 multiply-adds in the time of one (`gains_on_tiles`).
const BFLOAT16_AHEAD: f64 = 2.0;

/// What products cost, in multiply-adds of the dense single precision kernel on one thread; fitted to the kernels' benchmark `spmm` on
/// a Zen 4 with AVX-512.
struct Price {
    /// A multiply-add of the dense product, a number that it reads and one that it writes.
    dense: [f64; 3],
    /// For each block a stored weight times each row, and once for each tile of 64 rows.
    stored: [[f64; 2]; 3],
    /// A number turned, and a sum finished.
    turned: f64,
    finished: f64,
}

const F32: Price = Price {
    dense: [1.0, 0.0, 5.0],
    stored: [[1.9, 23.0], [1.0, 0.0], [1.0, 0.0]],
    turned: 7.0,
    finished: 15.5,
};

const I8: Price = Price {
    dense: [0.218, 9.3, 12.9],
    stored: [[0.12, 27.0], [0.162, 5.2], [0.162, 5.2]],
    turned: 10.8,
    finished: 19.2,
};

/// The blocks in which a point layer's product without zeros is quicker than the dense one; `None` where it is not. `element` is what
/// the vectors would multiply.
pub(super) fn gains_when_sparse<T: Copy + Default + PartialEq>(
    weight: &[T],
    g: &Geometry,
    element: Element,
    target: Target,
) -> Option<Block> {
    if !has_zeros(weight) {
        return None;
    }
    let price = match element {
        Element::F32 => &F32,
        Element::I8 => &I8,
    };
    let (read, written) = (g.m * g.groups * g.k, g.m * g.groups * g.n);
    let [mac, number, sum] = price.dense;
    let dense = g.macs() as f64 * mac + read as f64 * number + written as f64 * sum;
    let limit = match (target.tier >= Tier::Amx, target.precision) {
        (false, Precision::Bf16) => dense * AHEAD / BFLOAT16_AHEAD,
        (false, Precision::F32 | Precision::Bf16x3 | Precision::Int8) => dense * AHEAD,
        (true, Precision::F32) => dense / TILES_AHEAD,
        (true, Precision::Bf16x3 | Precision::Bf16 | Precision::Int8) => return None,
    };
    let (rows, tiles) = (g.m.next_multiple_of(16), g.m.div_ceil(64));
    let turned = g.groups * g.k * rows;
    let finished = g.groups * g.n * rows;
    let around = turned as f64 * price.turned + finished as f64 * price.finished;
    let costs = spmm::stored(weight, g).map(|stored| stored as f64);
    let cost = |block: &Block| {
        let [each, tile] = price.stored[*block as usize];
        around + costs[*block as usize] * (each * rows as f64 + tile * tiles as f64)
    };
    // Of equals the largest block, whose lists are shortest.
    let best = Block::ALL
        .into_iter()
        .rev()
        .min_by(|a, b| cost(a).total_cmp(&cost(b)));
    best.filter(|best| cost(best) < limit)
}

/// Whether enough weights are zero. A sample with less than half of the share that is asked for speaks for all of a large weight.
fn has_zeros<T: Copy + Default + PartialEq>(weight: &[T]) -> bool {
    let share = |step: usize| {
        let lines = weight.chunks(LINE).step_by(step);
        let (zeros, all) = lines.fold((0, 0), |(zeros, all), line| {
            let here = line.iter().filter(|&&w| w == T::default()).count();
            (zeros + here, all + line.len())
        });
        zeros as f64 / all as f64
    };
    let may = weight.len() < LARGE || share(SAMPLE) >= FEWEST_ZEROS / 2.0;
    may && share(1) >= FEWEST_ZEROS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights of which so many in ten blocks are zero.
    fn weights(g: &Geometry, block: Block, zeros: usize) -> Vec<f32> {
        let weight = |at: usize| {
            let (row, k) = (at / g.k, at % g.k);
            let block = row / block.outputs() * g.k + k;
            let number = block.wrapping_mul(2_654_435_761) >> 9 & 0xffff;
            if number < zeros * 0x1_0000 / 10 {
                0.0
            } else {
                0.5
            }
        };
        (0..g.groups * g.n * g.k).map(weight).collect()
    }

    #[track_caller]
    fn check(g: Geometry, element: Element, (block, zeros): (Block, usize), want: Option<Block>) {
        let weight = weights(&g, block, zeros);
        let target = Target::here(1).at(Tier::Avx512);
        assert_eq!(gains_when_sparse(&weight, &g, element, target), want);
    }

    #[test]
    fn structure_is_found_in_the_zeros() {
        let g = Geometry::dense(128, 768, 768);
        for block in Block::ALL {
            check(g, Element::F32, (block, 9), Some(block));
            check(g, Element::I8, (block, 9), Some(block));
        }
    }

    #[test]
    fn zeros_are_found_wherever_they_lie() {
        let (rows, k) = (768usize, 768usize);
        let weight = |is_zero: &dyn Fn(usize, usize) -> bool| -> Vec<f32> {
            let number = |at| if is_zero(at / k, at % k) { 0.0 } else { 0.5 };
            (0..rows * k).map(number).collect()
        };
        assert!(has_zeros(&weight(&|row, _| row >= 680)));
        assert!(has_zeros(&weight(&|row, _| row % 8 == 5)));
        assert!(has_zeros(&weight(&|_, k| k < 80)));
        assert!(has_zeros(&weight(&|_, k| k % 8 == 5)));
        assert!(!has_zeros(&weight(&|row, _| row >= 700)));
        assert!(!has_zeros(&weight(&|_, _| false)));
        assert!(has_zeros(&[0.0, 1.0]) && !has_zeros(&[1.0]));
    }

    #[test]
    fn dense_where_sparse_loses() {
        let g = Geometry::dense(128, 768, 768);
        check(g, Element::F32, (Block::Sixteen, 0), None);
        check(g, Element::F32, (Block::One, 4), None);
        check(g, Element::F32, (Block::Sixteen, 4), Some(Block::Sixteen));
        // Turning and finishing take longer than the dense product.
        check(
            Geometry::dense(12_544, 16, 32),
            Element::F32,
            (Block::Sixteen, 7),
            None,
        );
        check(
            Geometry::dense(3136, 144, 24),
            Element::I8,
            (Block::Sixteen, 9),
            None,
        );
    }

    #[test]
    fn matrix_registers_keep_what_they_are_ahead_in() {
        let g = Geometry::dense(128, 768, 768);
        let on_tiles = |precision, zeros| {
            let weight = weights(&g, Block::Sixteen, zeros);
            let target = Target::here(1).at(Tier::Amx).with_precision(precision);
            gains_when_sparse(&weight, &g, Element::F32, target)
        };
        assert_eq!(on_tiles(Precision::F32, 9), Some(Block::Sixteen));
        assert_eq!(on_tiles(Precision::F32, 6), None);
        assert_eq!(on_tiles(Precision::Bf16, 9), None);
    }
}
