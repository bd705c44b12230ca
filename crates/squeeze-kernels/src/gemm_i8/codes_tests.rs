//! Layers that read bytes, at every tier of this machine, against the definition.

use super::codes::{Codes, Fixed, Output};
use super::*;
use crate::Quantization;
use crate::activation::Activation;
use crate::gemm_f32::tests::numbers;

/// Bytes without a pattern.
pub(crate) fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let numbers = numbers(len, seed);
    numbers.iter().map(|x| (x * 1e4) as i32 as u8).collect()
}

/// Codes of a layer whose sums have about `k` products.
pub(crate) fn codes(k: usize, has_residual: bool) -> Codes {
    let reach = 0.3 * (k as f32).sqrt();
    Codes {
        input: Quantization::of(-0.4, 1.0),
        output: Some(Quantization::of(-1.0 - reach, 1.0 + reach)),
        residual: has_residual.then(|| Quantization::of(-1.0, 0.7)),
    }
}

/// At most one byte away, since numbers near the middle of two are rounded either way.
#[track_caller]
pub(crate) fn near(got: &[u8], want: &[u8], activation: Activation) {
    let far = |(got, want): (&u8, &u8)| got.abs_diff(*want) > 1;
    if let Some(at) = got.iter().zip(want).position(far) {
        panic!("byte {at} is {} where {} is right", got[at], want[at]);
    }
    let apart = got.iter().zip(want).filter(|(got, want)| got != want);
    // Curves are off by up to a third of a byte.
    let share = activation.limits().map_or(3, |_| 100);
    assert!(apart.count() <= 2 + got.len() / share, "more than ties");
    let ends = want.iter().filter(|&&byte| byte == 0 || byte == 255);
    assert!(
        want.len() < 50 || ends.count() < want.len() / 2,
        "bounds alone"
    );
}

#[track_caller]
fn check(g: Geometry, activation: Activation, has_residual: bool) {
    let (a, w) = (bytes(g.m * g.lda, 1), numbers(g.groups * g.n * g.k, 2));
    let (bias, other) = (numbers(g.groups * g.n, 3), bytes(g.m * g.ldc, 4));
    let fixed = Fixed {
        codes: codes(g.k, has_residual),
        bias: Some(&bias),
        activation,
    };
    let residual = has_residual.then_some(&other[..]);
    let before = bytes(g.m * g.ldc, 5);
    let mut want = before.clone();
    scalar::product_of_bytes(&g, (&a, &w), &fixed, residual, &mut want);
    let (quantized, scales) = Weight::Numbers(&w).in_rows(g.groups * g.n, 1);
    for tier in Tier::here() {
        for count in [1, 3] {
            let threads = Threads::new(count);
            let packed =
                Packed::pack_fixed(Weight::Numbers(&w), &g, &fixed, tier, &Slab::default());
            let mut scratch = vec![f32::NAN; packed.scratch()];
            let mut got = before.clone();
            packed.run_bytes(
                &a,
                Output::Bytes(&mut got, residual),
                &mut scratch,
                &threads,
            );
            near(&got, &want, activation);
            let weight = Weight::Bytes(&quantized, &scales);
            let packed = Packed::pack_fixed(weight, &g, &fixed, tier, &Slab::default());
            let mut of_bytes = before.clone();
            let to = Output::Bytes(&mut of_bytes, residual);
            packed.run_bytes(&a, to, &mut scratch, &threads);
            assert!(of_bytes == got, "{tier}, packed of bytes");
        }
    }
}

#[test]
fn sizes_around_the_tiles() {
    for m in [1, 3, 4, 7, 8, 9, 17] {
        for n in [1, 8, 15, 16, 17, 47, 48, 49, 97] {
            check(Geometry::dense(m, n, 12), Activation::Identity, false);
        }
    }
    for k in [4, 8, 32, 64, 300] {
        check(Geometry::dense(5, 20, k), Activation::Identity, true);
    }
}

#[test]
fn sizes_around_matrix_registers() {
    for m in [15, 16, 17, 25, 33] {
        for k in [48, 64, 68, 132] {
            check(Geometry::dense(m, 50, k), Activation::Relu, false);
            check(Geometry::dense(m, 50, k), Activation::Identity, true);
        }
    }
    for n in [1, 16, 17, 48, 49, 97] {
        check(Geometry::grouped(20, n, 76, 2), Activation::Identity, true);
    }
    check(Geometry::dense(34, 60, 72), Activation::HardSwish, false);
}

#[test]
fn groups_and_rows_apart() {
    for groups in [1, 2, 3] {
        let g = Geometry {
            lda: 8 * groups + 3,
            ldc: 50 * groups + 5,
            ..Geometry::grouped(9, 50, 8, groups)
        };
        check(g, Activation::Identity, false);
        check(g, Activation::Relu, true);
    }
}

#[test]
fn epilogues() {
    let g = Geometry::dense(10, 50, 24);
    for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
        check(g, activation, false);
        check(g, activation, true);
    }
    for activation in [Activation::HardSwish, Activation::Silu, Activation::Gelu] {
        check(g, activation, false);
    }
}

/// Numbers instead of bytes come out of the same sums.
#[test]
fn numbers_go_out() {
    let g = Geometry::dense(9, 50, 24);
    let (a, w) = (bytes(g.m * g.k, 1), numbers(g.n * g.k, 2));
    let (bias, other) = (numbers(g.n, 3), numbers(g.m * g.n, 4));
    let fixed = Fixed {
        codes: Codes {
            output: None,
            ..codes(g.k, false)
        },
        bias: None,
        activation: Activation::Identity,
    };
    let epilogue = Epilogue {
        bias: Some(&bias),
        activation: Activation::Silu,
        residual: Some(crate::gemm_f32::Residual::plain(&other)),
        ..Epilogue::default()
    };
    let numbers: Vec<f32> = a.iter().map(|&a| fixed.codes.input.number(a)).collect();
    let mut whole = vec![0; g.k];
    let rows = w.chunks_exact(g.k).flat_map(|row| {
        let scale = weights::to_bytes(row, 1, &mut whole);
        let row: Vec<f32> = whole.iter().map(|&w| scale * f32::from(w)).collect();
        row
    });
    let mut want = vec![0.0; g.m * g.n];
    let rows: Vec<f32> = rows.collect();
    crate::gemm_f32::scalar::product(&g, &numbers, &rows, &epilogue, &mut want);
    for tier in Tier::here() {
        let packed = Packed::pack_fixed(Weight::Numbers(&w), &g, &fixed, tier, &Slab::default());
        let mut got = vec![0.0; want.len()];
        let output = Output::Numbers(&mut got, &epilogue);
        let mut scratch = vec![0.0; packed.scratch()];
        packed.run_bytes(&a, output, &mut scratch, &Threads::new(2));
        crate::gemm_f32::tests::close(&got, &want, 64);
    }
}

/// Weights of which two neighbours leave 16 bits, and bytes of 255.
#[test]
fn pairs_beyond_16_bits_are_exact() {
    for (m, n, k) in [(1, 8, 4), (5, 15, 12), (9, 40, 64), (16, 33, 300)] {
        let g = Geometry::dense(m, n, k);
        let a: Vec<u8> = (0..m * k).map(|at| [255, 3, 255][at / 37 % 3]).collect();
        let other = bytes(m * n, 4);
        let weight: Vec<i8> = (0..n * k).map(|at| [127, -90, -127][at / 29 % 3]).collect();
        let scales = vec![0.01; n];
        let fixed = Fixed {
            codes: codes(k * 2000, true),
            bias: None,
            activation: Activation::Identity,
        };
        let run = |tier: Tier| {
            let weight = Weight::Bytes(&weight, &scales);
            let packed = Packed::pack_fixed(weight, &g, &fixed, tier, &Slab::default());
            let (mut c, mut scratch) = (vec![0; m * n], vec![0.0; packed.scratch()]);
            let to = Output::Bytes(&mut c, Some(&other));
            packed.run_bytes(&a, to, &mut scratch, &Threads::new(2));
            c
        };
        let want = run(Tier::Scalar);
        for tier in Tier::here() {
            near(&run(tier), &want, Activation::Identity);
        }
    }
}

/// What an output's bytes cannot hold becomes the least or the most, however far it is beyond them, and what is no number the least.
#[test]
fn results_far_beyond_bytes() {
    let g = Geometry::dense(13, 36, 16);
    let (a, w) = (bytes(g.m * g.k, 1), numbers(g.n * g.k, 2));
    let other = bytes(g.m * g.n, 4);
    let biases = [1e30, -1e30, f32::NAN, f32::INFINITY];
    let bias: Vec<f32> = (0..g.n).map(|column| biases[column % 4]).collect();
    for residual in [None, Some(Quantization::of(-1e9, 1e9))] {
        let codes = Codes {
            input: Quantization::of(-0.4, 1.0),
            output: Some(Quantization::of(-1e-30, 2e-30)),
            residual,
        };
        let fixed = Fixed {
            codes,
            bias: Some(&bias),
            activation: Activation::Identity,
        };
        for tier in Tier::here() {
            let packed =
                Packed::pack_fixed(Weight::Numbers(&w), &g, &fixed, tier, &Slab::default());
            let (mut c, mut scratch) = (vec![7; g.m * g.n], vec![0.0; packed.scratch()]);
            let to = Output::Bytes(&mut c, residual.map(|_| &other[..]));
            packed.run_bytes(&a, to, &mut scratch, &Threads::new(1));
            let right = |(at, &byte): (usize, &u8)| match at % g.n % 4 {
                0 | 3 if residual.is_none() => byte == 255,
                2 => byte == 0,
                1 if residual.is_none() => byte == 0,
                _ => byte == 0 || byte == 255,
            };
            assert!(c.iter().enumerate().all(right), "{tier}: {c:?}");
        }
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
    let g = Geometry::dense(18, 20, 12);
    let (x, w) = (bytes(2 * 5 * 8 * g.lda, 1), numbers(20 * 12, 2));
    let mut a = vec![];
    for (image, y, x_at) in (0..18).map(|row| (row / 9, row / 3 % 3, row % 3)) {
        let pixel = (image * 5 + 2 * y) * 8 + 3 * x_at;
        a.extend_from_slice(&x[pixel * g.lda..][..g.lda]);
    }
    let fixed = Fixed {
        codes: codes(g.k, false),
        bias: None,
        activation: Activation::Relu,
    };
    for tier in Tier::here() {
        let packed = Packed::pack_fixed(Weight::Numbers(&w), &g, &fixed, tier, &Slab::default());
        let (mut want, mut got) = (vec![0; 18 * g.ldc], vec![0; 18 * g.ldc]);
        let threads = Threads::new(2);
        let mut scratch = vec![0.0; packed.scratch()];
        packed.run_bytes(&a, Output::Bytes(&mut want, None), &mut scratch, &threads);
        let packed = packed.with_pixels(pixels);
        let mut scratch = vec![0.0; packed.scratch()];
        packed.run_bytes(&x, Output::Bytes(&mut got, None), &mut scratch, &threads);
        assert_eq!(got, want);
    }
}

/// What Miri can finish.
#[test]
fn smallest() {
    check(Geometry::dense(5, 9, 8), Activation::Relu, true);
    check(Geometry::grouped(3, 2, 8, 2), Activation::Silu, false);
}
