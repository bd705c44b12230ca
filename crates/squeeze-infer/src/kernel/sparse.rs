//! Whether a layer gains when its zeros are left out, and in which blocks.

use squeeze_kernels::gemm_f32::Geometry;
use squeeze_kernels::spmm::{Block, Element};

use crate::target::Target;

/// Below this share of zeros no kernel gains.
const FEWEST_ZEROS: f64 = 0.1;

/// A weight of at least so many numbers is looked at in a sample first: one cache line of so many, a prime, which goes through all
/// columns of a matrix.
const LARGE: usize = 1 << 16;
const LINE: usize = 16;
const SAMPLE: usize = 67;

/// The blocks in which a point layer's product without zeros is quicker than the dense one, if they store so many weights; `None`
/// where it is not. `element` is what the vectors would multiply.
pub(super) fn without_zeros(
    g: &Geometry,
    stored: [usize; 3],
    element: Element,
    target: &Target,
) -> Option<Block> {
    let price = target.prices.sparse.of(element);
    let (read, written) = (g.m * g.groups * g.k, g.m * g.groups * g.n);
    let [mac, number, sum] = price.dense;
    let dense = g.macs() as f64 * mac + read as f64 * number + written as f64 * sum;
    let (rows, tiles) = (g.m.next_multiple_of(16), g.m.div_ceil(64));
    let turned = g.groups * g.k * rows;
    let finished = g.groups * g.n * rows;
    let around = turned as f64 * price.turned + finished as f64 * price.finished;
    let cost = |block: &Block| {
        let [each, tile] = price.stored(*block);
        around + stored[*block as usize] as f64 * (each * rows as f64 + tile * tiles as f64)
    };
    // Of equals the largest block, whose lists are shortest.
    let best = Block::ALL
        .into_iter()
        .rev()
        .min_by(|a, b| cost(a).total_cmp(&cost(b)));
    let limit = dense * target.prices.sparse.under.of(target.precision);
    best.filter(|best| cost(best) < limit)
}

/// Whether enough weights are zero. A sample with less than half of the share that is asked for speaks for all of a large weight.
pub(super) fn has_zeros<T: Copy + Default + PartialEq>(weight: &[T]) -> bool {
    let (lines, rest) = weight.as_chunks::<LINE>();
    let zeros = |numbers: &[T]| -> u32 {
        let is_zero = |&number: &T| u32::from(number == T::default());
        numbers.iter().map(is_zero).sum()
    };
    let share = |step: usize| {
        // Lines of a constant length are counted without a branch, so that the CPU looks for the next ones meanwhile.
        let sampled = lines.iter().step_by(step);
        let all = sampled.len() * LINE + rest.len();
        let in_lines: usize = sampled.map(|line| zeros(line) as usize).sum();
        (in_lines + zeros(rest) as usize) as f64 / all as f64
    };
    let may = weight.len() < LARGE || share(SAMPLE) >= FEWEST_ZEROS / 2.0;
    may && share(1) >= FEWEST_ZEROS
}

#[cfg(test)]
mod tests {
    use squeeze_kernels::{Tier, spmm};

    use super::*;
    use crate::target::Precision;

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

    fn picked(weight: &[f32], g: &Geometry, element: Element, target: &Target) -> Option<Block> {
        has_zeros(weight)
            .then(|| without_zeros(g, spmm::stored(weight, g), element, target))
            .flatten()
    }

    #[track_caller]
    fn check(g: Geometry, element: Element, (block, zeros): (Block, usize), want: Option<Block>) {
        let weight = weights(&g, block, zeros);
        let target = Target::here(1).at(Tier::Avx512);
        assert_eq!(picked(&weight, &g, element, &target), want);
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
        let on_tiles = |precision, element, (block, zeros)| {
            let weight = weights(&g, block, zeros);
            let target = Target::here(1).at(Tier::Amx).with_precision(precision);
            picked(&weight, &g, element, &target)
        };
        let [one, four] = [Block::One, Block::Four];
        let single = |blocks| on_tiles(Precision::F32, Element::F32, blocks);
        assert_eq!(single((one, 8)), Some(one));
        assert_eq!(single((four, 4)), Some(four));
        assert_eq!(single((one, 4)), None);
        let bytes = |blocks| on_tiles(Precision::Int8, Element::I8, blocks);
        assert_eq!(bytes((four, 9)), Some(four));
        assert_eq!(bytes((one, 8)), None);
        assert_eq!(on_tiles(Precision::Bf16, Element::F32, (four, 9)), None);
    }
}
