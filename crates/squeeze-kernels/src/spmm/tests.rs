//! Every kernel at every tier of this machine against the definition, with sizes around the tiles.

use super::*;
use crate::activation::Activation;
use crate::gemm_f32::tests::{close, numbers};
use crate::gemm_f32::{Residual, Start};
use crate::gemm_i8;

/// Weights of which about one block in `keep` is there.
fn sparse(g: &Geometry, block: Block, keep: usize) -> Vec<f32> {
    let mut weight = numbers(g.groups * g.n * g.k, 2);
    for (at, weight) in weight.iter_mut().enumerate() {
        let (group, row, k) = (at / (g.n * g.k), at / g.k % g.n, at % g.k);
        let block = (group * g.n + row / block.outputs()) * g.k + k;
        if block.wrapping_mul(2_654_435_761) >> 7 & 0xffff >= 0x1_0000 / keep {
            *weight = 0.0;
        }
    }
    weight
}

#[track_caller]
fn check(g: Geometry) {
    for keep in [1, 2, 7, 1000] {
        check_epilogue(g, keep, Activation::Identity, |_| None);
    }
}

#[track_caller]
fn check_epilogue(
    g: Geometry,
    keep: usize,
    activation: Activation,
    residual: impl Fn(&[f32]) -> Option<Residual<'_>>,
) {
    let (a, other) = (numbers(g.m * g.lda, 1), numbers(g.m * g.ldc, 4));
    let bias = numbers(g.groups * g.n, 3);
    let epilogue = Epilogue {
        start: Start::Zero,
        bias: Some(&bias),
        activation,
        residual: residual(&other),
    };
    let before = numbers(g.m * g.ldc, 5);
    for block in Block::ALL {
        let w = sparse(&g, block, keep);
        let (bytes, scales) = Weight::Numbers(&w).in_rows(g.groups * g.n, 1);
        for element in Element::ALL {
            let mut want = before.clone();
            // In bytes the sums are equal; scales, bias and residual round a few times.
            let terms = match element {
                Element::F32 => {
                    scalar::product((&g, block), &a, &w, &epilogue, &mut want);
                    g.k + 4
                }
                Element::I8 => {
                    gemm_i8::scalar::product_around_zero(&g, &a, &w, &epilogue, &mut want);
                    16
                }
            };
            for tier in Tier::here() {
                let packed = Packed::pack(Weight::Numbers(&w), &g, block, element, tier);
                for count in [1, 3] {
                    let mut scratch = vec![f32::NAN; packed.scratch(count)];
                    let mut got = before.clone();
                    let threads = Threads::new(count);
                    packed.run(&a, &epilogue, &mut got, &mut scratch, &threads);
                    close(&got, &want, terms);
                    if element == Element::I8 {
                        let weight = Weight::Bytes(&bytes, &scales);
                        let packed = Packed::pack(weight, &g, block, element, tier);
                        let mut of_bytes = before.clone();
                        packed.run(&a, &epilogue, &mut of_bytes, &mut scratch, &threads);
                        assert!(of_bytes == got, "{tier}, packed of bytes");
                    }
                }
            }
        }
    }
}

#[test]
fn sizes_around_the_tiles() {
    for m in [1, 7, 8, 9, 16, 17, 31, 33, 64, 65, 130] {
        for n in [1, 3, 4, 5, 15, 16, 17, 33] {
            check(Geometry::dense(m, n, 9));
        }
    }
    for k in [1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 300] {
        check(Geometry::dense(19, 20, k));
    }
    check(Geometry::dense(0, 4, 4));
}

#[test]
fn groups_and_rows_apart() {
    for groups in [2, 3, 4] {
        check(Geometry::grouped(37, 21, 17, groups));
        let wide = Geometry {
            lda: 17 * groups + 3,
            ldc: 21 * groups + 5,
            ..Geometry::grouped(37, 21, 17, groups)
        };
        check(wide);
    }
}

#[test]
fn enough_work_for_threads() {
    check(Geometry::dense(200, 100, 90));
    check(Geometry::dense(3, 500, 600));
    check(Geometry::grouped(70, 40, 96, 4));
    check(Geometry::dense(600, 17, 40));
}

/// So long that the turned tile leaves its share of the second cache.
#[test]
fn long_sums() {
    check(Geometry::dense(130, 16, 3000));
}

#[test]
fn epilogues() {
    let g = Geometry::dense(37, 21, 24);
    for activation in Activation::ALL {
        check_epilogue(g, 2, activation, |_| None);
        check_epilogue(g, 2, activation, |other| Some(Residual::plain(other)));
        check_epilogue(g, 2, activation, |other| {
            Some(Residual {
                values: other,
                factors: Some(other),
            })
        });
    }
}

/// The largest bytes of both signs: no sum of pairs may leave its bits.
#[test]
fn extremes_are_exact() {
    let g = Geometry::dense(40, 16, 512);
    let a: Vec<f32> = (0..g.m * g.k).map(|at| [1.0, -1.0][at / 3 % 2]).collect();
    let w: Vec<f32> = (0..g.n * g.k).map(|at| [-1.0, 1.0][at / 5 % 2]).collect();
    let (mut want, epilogue) = (vec![0.0; g.m * g.n], Epilogue::default());
    gemm_i8::scalar::product_around_zero(&g, &a, &w, &epilogue, &mut want);
    for tier in Tier::here() {
        for block in Block::ALL {
            let packed = Packed::pack(Weight::Numbers(&w), &g, block, Element::I8, tier);
            let mut got = vec![0.0; want.len()];
            let mut scratch = vec![0.0; packed.scratch(1)];
            packed.run(&a, &epilogue, &mut got, &mut scratch, &Threads::new(1));
            // Sums of 512 products of 127: one rounding of the scale and one of the product.
            close(&got, &want, 512);
        }
    }
}

/// What is not finite reaches the outputs that have a weight for it, in their own row only; in bytes the whole row.
#[test]
fn nan_and_infinity_reach_their_outputs() {
    let g = Geometry::dense(20, 32, 24);
    let mut w = vec![0.0; g.n * g.k];
    for row in 0..16 {
        (w[row * g.k + 5], w[row * g.k + 9]) = (1.0, 1.0);
        (w[(row + 16) * g.k + 7], w[(row + 16) * g.k + 9]) = (1.0, 1.0);
    }
    let mut a = vec![1.0; g.m * g.k];
    (a[5], a[2 * g.k + 5]) = (f32::NAN, f32::INFINITY);
    let epilogue = Epilogue::default();
    for (tier, block) in Tier::here()
        .into_iter()
        .flat_map(|t| Block::ALL.map(|b| (t, b)))
    {
        for element in Element::ALL {
            let packed = Packed::pack(Weight::Numbers(&w), &g, block, element, tier);
            let mut scratch = vec![0.0; packed.scratch(1)];
            let mut c = vec![0.0; g.m * g.n];
            packed.run(&a, &epilogue, &mut c, &mut scratch, &Threads::new(1));
            let row = |at: usize| &c[at * g.n..(at + 1) * g.n];
            assert!(row(0)[..16].iter().all(|c| c.is_nan()), "{packed:?}");
            match element {
                Element::F32 => {
                    assert!(row(2)[..16].iter().all(|&c| c == f32::INFINITY));
                    assert!([row(0), row(2)].iter().all(|row| row[16..] == [2.0; 16]));
                }
                Element::I8 => assert!(row(2).iter().all(|c| !c.is_finite()), "{packed:?}"),
            }
            let others = (0..g.m).filter(|&at| at != 0 && at != 2).flat_map(row);
            assert!(others.into_iter().all(|c| c.is_finite()), "{packed:?}");
        }
    }
}

#[test]
fn blocks_are_counted_and_only_they_are_stored() {
    let g = Geometry::grouped(8, 18, 6, 2);
    let mut w = vec![0.0; 2 * 18 * 6];
    // One weight in the first block of 16, one in the last rows of each group.
    (w[3 * 6 + 2], w[17 * 6 + 4], w[(18 + 16) * 6]) = (1.0, -1.0, 2.0);
    assert_eq!(stored(&w, &g), [3, 3 * 4, 3 * 16]);
    let bytes =
        |block| Packed::pack(Weight::Numbers(&w), &g, block, Element::F32, Tier::Scalar).bytes();
    for (block, element) in Block::ALL
        .into_iter()
        .flat_map(|b| Element::ALL.map(|e| (b, e)))
    {
        let packed = Packed::pack(Weight::Numbers(&w), &g, block, element, Tier::Scalar);
        // The last block of a group has but two outputs.
        let kept = [3, 4 + 2 + 2, 16 + 2 + 2][block as usize];
        assert_eq!(packed.left_out(), 8 * (w.len() - kept));
    }
    // Places and values of three blocks, and where each block of outputs begins.
    assert_eq!(bytes(Block::One), 4 * (3 + 3 + 37));
    assert_eq!(bytes(Block::Sixteen), 4 * (3 + 48 + 5));
}

#[test]
fn the_table_rises_and_its_names_say_block_and_tier() {
    for kernel in KERNELS {
        for block in Block::ALL {
            let start = match kernel.element {
                Element::F32 => "f32",
                Element::I8 => "i8",
            };
            let tiles = &kernel.tiles[block as usize];
            assert_eq!(block.outputs() % tiles.outputs, 0);
            assert!(tiles.by_registers.len() * kernel.lanes <= product::MOST_ROWS);
            let name = format!("{start}_spmm_{}x1_{}", block.outputs(), kernel.tier);
            assert!(kernel.names[block as usize].starts_with(&name), "{name}");
        }
        if kernel.is_here() {
            assert_eq!(Kernel::of(kernel.tier, kernel.element).names, kernel.names);
        }
    }
    assert!(KERNELS.is_sorted_by_key(|kernel| kernel.tier));
}

/// Small for Miri.
#[test]
fn smallest() {
    check_epilogue(
        Geometry::grouped(9, 5, 5, 2),
        2,
        Activation::Relu,
        |other| {
            Some(Residual {
                values: other,
                factors: Some(other),
            })
        },
    );
}
