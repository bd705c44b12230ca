//! Every kernel at every tier of this machine against the definition, with sizes around the tiles.

use super::*;
use crate::activation::Activation;
use crate::gemm_f32::tests::{close, numbers};
use crate::gemm_f32::{Residual, Start};

#[track_caller]
fn check(g: Geometry) {
    check_epilogue(g, Activation::Identity, |_| None);
}

#[track_caller]
fn check_epilogue(
    g: Geometry,
    activation: Activation,
    residual: impl Fn(&[f32]) -> Option<Residual<'_>>,
) {
    let (a, w) = (numbers(g.m * g.lda, 1), numbers(g.groups * g.n * g.k, 2));
    let (bias, other) = (numbers(g.groups * g.n, 3), numbers(g.m * g.ldc, 4));
    let epilogue = Epilogue {
        start: Start::Zero,
        bias: Some(&bias),
        activation,
        residual: residual(&other),
    };
    let before = numbers(g.m * g.ldc, 5);
    let mut want = before.clone();
    scalar::product(&g, &a, &w, &epilogue, &mut want);
    let (bytes, scales) = Weight::Numbers(&w).in_rows(g.groups * g.n, 1);
    for tier in Tier::here() {
        for count in [1, 3] {
            let threads = Threads::new(count);
            let packed = Packed::pack(Weight::Numbers(&w), &g, tier);
            let mut scratch = vec![f32::NAN; packed.scratch()];
            let mut got = before.clone();
            packed.run(&a, &epilogue, &mut got, &mut scratch, &threads);
            // The sums are equal; scales, bias and residual round a few times.
            close(&got, &want, 16);
            let packed = Packed::pack(Weight::Bytes(&bytes, &scales), &g, tier);
            let mut of_bytes = before.clone();
            packed.run(&a, &epilogue, &mut of_bytes, &mut scratch, &threads);
            assert!(of_bytes == got, "{tier}, packed of bytes");
        }
    }
}

#[test]
fn sizes_around_the_tiles() {
    for m in [1, 3, 4, 7, 8, 9, 17] {
        for n in [1, 8, 15, 16, 17, 47, 48, 49, 97] {
            check(Geometry::dense(m, n, 9));
        }
    }
    for k in [1, 2, 3, 4, 5, 31, 64, 300] {
        check(Geometry::dense(5, 20, k));
    }
    check(Geometry::dense(0, 4, 4));
}

#[test]
fn groups_and_rows_apart() {
    for groups in [2, 3, 4] {
        check(Geometry::grouped(9, 50, 7, groups));
        let wide = Geometry {
            lda: 7 * groups + 3,
            ldc: 50 * groups + 5,
            ..Geometry::grouped(9, 50, 7, groups)
        };
        check(wide);
    }
}

/// Rows and sums that matrix registers take, which vector tiles and what follows sums must meet in the middle of.
#[test]
fn sizes_around_matrix_registers() {
    for m in [15, 16, 17, 25, 33, 48] {
        for k in [48, 63, 64, 67, 130] {
            check(Geometry::dense(m, 50, k));
        }
    }
    for n in [1, 16, 17, 32, 47, 48, 49, 97] {
        check(Geometry::grouped(20, n, 76, 2));
    }
}

/// Matrix registers and vectors give the same numbers: sums are exact, and what follows them is the same.
#[test]
#[cfg(target_arch = "x86_64")]
fn matrix_registers_are_as_vectors() {
    if !amx::KERNEL.is_here() {
        return;
    }
    for (m, n, k) in [(16, 48, 64), (33, 97, 100), (40, 50, 768)] {
        let g = Geometry::dense(m, n, k);
        let (a, w, bias) = (numbers(m * k, 1), numbers(n * k, 2), numbers(n, 3));
        for activation in [Activation::Identity, Activation::Gelu, Activation::Relu] {
            let epilogue = Epilogue {
                bias: Some(&bias),
                activation,
                ..Epilogue::default()
            };
            let run = |tier: Tier| {
                let packed = Packed::pack(Weight::Numbers(&w), &g, tier);
                let (mut c, mut scratch) = (vec![0.0; m * n], vec![0.0; packed.scratch()]);
                packed.run(&a, &epilogue, &mut c, &mut scratch, &Threads::new(2));
                (packed.kernel().tier, c)
            };
            let (tiles, vectors) = (run(Tier::Amx), run(Tier::Avx512));
            assert_eq!([tiles.0, vectors.0], [Tier::Amx, Tier::Avx512]);
            assert!(tiles.1 == vectors.1, "{g:?} {activation:?}");
        }
    }
}

#[test]
fn epilogues() {
    // The larger one has more tiles in matrix registers than what follows them has room for at once.
    let sizes = [Geometry::dense(10, 50, 24), Geometry::dense(100, 60, 72)];
    // GELU is as exact as bytes only, which its own test bounds.
    let activations = [Activation::Relu, Activation::Relu6, Activation::Silu];
    let both = |g| activations.map(|activation| (g, activation));
    for (g, activation) in sizes.into_iter().flat_map(both) {
        check_epilogue(g, activation, |_| None);
        check_epilogue(g, activation, |other| Some(Residual::plain(other)));
        check_epilogue(g, activation, |other| {
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
    let g = Geometry::dense(8, 48, 512);
    let a: Vec<f32> = (0..g.m * g.k).map(|at| [1.0, -1.0][at / 3 % 2]).collect();
    let w: Vec<f32> = (0..g.n * g.k).map(|at| [-1.0, 1.0][at / 5 % 2]).collect();
    let (mut want, epilogue) = (vec![0.0; g.m * g.n], Epilogue::default());
    scalar::product(&g, &a, &w, &epilogue, &mut want);
    for tier in Tier::here() {
        let packed = Packed::pack(Weight::Numbers(&w), &g, tier);
        let mut got = vec![0.0; want.len()];
        let mut scratch = vec![0.0; packed.scratch()];
        packed.run(&a, &epilogue, &mut got, &mut scratch, &Threads::new(1));
        close(&got, &want, 512);
    }
}

/// Bytes as files of others have them, of which two neighbours leave 16 bits, among them the largest of both signs: every tier's sums are
/// those of the scalar one, and so is what becomes of them.
#[test]
fn pairs_beyond_16_bits_are_exact() {
    for (m, n, k) in [
        (1, 8, 4),
        (5, 15, 9),
        (9, 40, 64),
        (16, 33, 300),
        (12, 16, 512),
    ] {
        let g = Geometry::dense(m, n, k);
        let a: Vec<f32> = (0..m * k)
            .map(|at| [1.0, 0.9, 1.0, -1.0][at / 37 % 4])
            .collect();
        let bytes: Vec<i8> = (0..n * k).map(|at| [127, 120, -127][at / 29 % 3]).collect();
        // Sums of about one.
        let (scales, epilogue) = (vec![1.0 / (127 * k) as f32; n], Epilogue::default());
        let run = |tier: Tier| {
            let packed = Packed::pack(Weight::Bytes(&bytes, &scales), &g, tier);
            let (mut c, mut scratch) = (vec![0.0; m * n], vec![0.0; packed.scratch()]);
            packed.run(&a, &epilogue, &mut c, &mut scratch, &Threads::new(2));
            (packed.kernel().name, c)
        };
        let (_, want) = run(Tier::Scalar);
        for tier in Tier::here() {
            let (name, got) = run(tier);
            close(&got, &want, 16);
            assert_eq!(name.ends_with("wide"), tier == Tier::Avx2, "{name}");
        }
    }
}

/// Weights that came in numbers need no wide tiles.
#[test]
fn numbers_become_pairs_that_fit() {
    let g = Geometry::dense(4, 50, 33);
    for tier in Tier::here() {
        let packed = Packed::pack(Weight::Numbers(&numbers(50 * 33, 2)), &g, tier);
        let kernel = Kernel::of_sums(tier, packed.right.panels.k);
        assert!(std::ptr::eq(packed.kernel(), kernel));
    }
}

/// A row with a NaN gives NaN, one of zeros gives the bias, and neither touches the other rows.
#[test]
fn odd_rows_stay_by_themselves() {
    let g = Geometry::dense(4, 20, 16);
    let (mut a, w) = (numbers(g.m * g.k, 1), numbers(g.n * g.k, 2));
    a[g.k + 3] = f32::NAN;
    a[2 * g.k..3 * g.k].fill(0.0);
    let bias = numbers(g.n, 3);
    for tier in Tier::here() {
        let packed = Packed::pack(Weight::Numbers(&w), &g, tier);
        let mut c = vec![0.0; g.m * g.n];
        let mut scratch = vec![0.0; packed.scratch()];
        let epilogue = Epilogue {
            bias: Some(&bias),
            ..Epilogue::default()
        };
        packed.run(&a, &epilogue, &mut c, &mut scratch, &Threads::new(1));
        let row = |at: usize| &c[at * g.n..(at + 1) * g.n];
        assert!(row(1).iter().all(|y| y.is_nan()));
        assert_eq!(row(2), bias);
        assert!(row(0).iter().chain(row(3)).all(|y| y.is_finite()));
    }
}

/// Every second pixel of an image, as a plain product of these pixels.
#[test]
fn some_pixels() {
    let pixels = Pixels {
        size: [5, 8],
        stride: [2, 3],
        out: [3, 3],
    };
    for groups in [1, 2] {
        let g = Geometry::grouped(18, 20, 12, groups);
        let (x, w) = (numbers(2 * 5 * 8 * g.lda, 1), numbers(groups * 20 * 12, 2));
        let mut a = vec![];
        for (image, y, x_at) in (0..18).map(|row| (row / 9, row / 3 % 3, row % 3)) {
            let pixel = (image * 5 + 2 * y) * 8 + 3 * x_at;
            a.extend_from_slice(&x[pixel * g.lda..][..g.lda]);
        }
        for tier in Tier::here() {
            let packed = Packed::pack(Weight::Numbers(&w), &g, tier);
            let mut scratch = vec![0.0; packed.scratch()];
            let (mut want, mut got) = (vec![0.0; 18 * g.ldc], vec![0.0; 18 * g.ldc]);
            let (epilogue, threads) = (Epilogue::default(), Threads::new(2));
            packed.run(&a, &epilogue, &mut want, &mut scratch, &threads);
            let packed = packed.with_pixels(pixels);
            packed.run(&x, &epilogue, &mut got, &mut scratch, &threads);
            assert_eq!(got, want);
        }
    }
}

/// Bytes, scales and middles of every tier are those of the definition, at every length and whatever is in a row.
#[test]
fn bytes_are_equal() {
    for k in [1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 100] {
        let mut x = numbers(5 * (k + 2), 1);
        x[k + 2..][..k].fill(0.0);
        x[2 * (k + 2) + k - 1] = f32::NAN;
        x[3 * (k + 2) + k / 2] = f32::NEG_INFINITY;
        let rows = Stretch { k, step: k + 2 };
        let run = |tier: Tier| {
            let mut to = vec![7; 5 * k.next_multiple_of(4)];
            let mut marks = [[5.0; 2]; 5];
            quantize_rows(tier, &x, rows, &mut to, &mut marks);
            (to, marks)
        };
        let (want, marks) = run(Tier::Scalar);
        let [_, zeros, odd, endless, _] = marks;
        assert!(odd[0].is_nan() && endless == [f32::INFINITY, 0.0] && zeros == [0.0; 2]);
        for tier in Tier::here() {
            let (got, own) = run(tier);
            let bits = |marks: [[f32; 2]; 5]| marks.map(|mark| mark.map(f32::to_bits));
            assert_eq!(bits(own), bits(marks), "{tier} {k} {own:?} {marks:?}");
            let width = k.next_multiple_of(4);
            for row in [0, 1, 4] {
                assert_eq!(got[row * width..][..width], want[row * width..][..width]);
            }
        }
    }
}

/// Activations of one sign use all of a byte: half the error of bytes around zero.
#[test]
fn one_sign_loses_no_bit() {
    let g = Geometry::dense(16, 32, 256);
    // Weights are whole bytes, so that only activations have an error.
    let (bytes, scales) = Weight::Numbers(&numbers(g.n * g.k, 2)).in_rows(g.n, 1);
    let rows = bytes.chunks_exact(g.k).zip(scales);
    let w: Vec<f32> = rows
        .flat_map(|(row, scale)| row.iter().map(move |&w| scale * f32::from(w)))
        .collect();
    let a: Vec<f32> = numbers(g.m * g.k, 1).iter().map(|a| a.abs()).collect();
    let (mut right, epilogue) = (vec![0.0; g.m * g.n], Epilogue::default());
    crate::gemm_f32::scalar::product(&g, &a, &w, &epilogue, &mut right);
    let error = |product: fn(&Geometry, &[f32], &[f32], &Epilogue, &mut [f32])| {
        let mut c = vec![0.0; right.len()];
        product(&g, &a, &w, &epilogue, &mut c);
        let square = |(c, right): (&f32, &f32)| (c - right).powi(2);
        c.iter().zip(&right).map(square).sum::<f32>().sqrt()
    };
    let (around_zero, around_middle) = (error(scalar::product_around_zero), error(scalar::product));
    assert!(
        around_middle < 0.7 * around_zero,
        "{around_middle} and {around_zero}"
    );
}

/// What Miri can finish.
#[test]
fn smallest() {
    check(Geometry::dense(9, 17, 5));
    check_epilogue(Geometry::grouped(3, 2, 7, 2), Activation::Silu, |other| {
        Some(Residual::plain(other))
    });
}
