//! Every kernel at every tier of this machine against the definition: the sums are equal.

use super::*;
use crate::activation::Activation;
use crate::gemm_f32::tests::{close, numbers};
use crate::gemm_f32::{Residual, Start};
use crate::gemm_i8::codes_tests::{bytes, codes, near};

/// A square convolution of two images with padding that keeps the size at stride 1.
fn square(c: usize, out: usize, kernel: usize, groups: usize) -> Conv {
    Conv {
        n: 2,
        h: 9,
        w: 7,
        c,
        out,
        kernel: [kernel; 2],
        stride: [1; 2],
        dilation: [1; 2],
        padding: [kernel / 2; 4],
        groups,
    }
}

#[track_caller]
fn check(conv: Conv) {
    check_epilogue(conv, Activation::Identity, |_| None);
}

#[track_caller]
fn check_epilogue(
    conv: Conv,
    activation: Activation,
    residual: impl Fn(&[f32]) -> Option<Residual<'_>>,
) {
    let (x, w) = (numbers(conv.input(), 1), numbers(conv.weight(), 2));
    let (bias, other) = (numbers(conv.out, 3), numbers(conv.output(), 4));
    let epilogue = Epilogue {
        start: Start::Zero,
        bias: Some(&bias),
        activation,
        residual: residual(&other),
    };
    let mut want = vec![0.0; conv.output()];
    scalar::conv(&conv, &x, &w, &epilogue, &mut want);
    let (bytes, scales) = Weight::Numbers(&w).in_rows(conv.out, conv.taps());
    for tier in Tier::here() {
        for count in [1, 3] {
            let threads = Threads::new(count);
            let packed = Packed::pack(Weight::Numbers(&w), &conv, tier);
            let mut scratch = vec![f32::NAN; packed.scratch()];
            let mut got = vec![f32::NAN; conv.output()];
            packed.run(&x, &epilogue, &mut got, &mut scratch, &threads);
            // The sums are equal; scales, bias and residual round a few times.
            close(&got, &want, 16);
            let packed = Packed::pack(Weight::Bytes(&bytes, &scales), &conv, tier);
            let mut of_bytes = vec![f32::NAN; conv.output()];
            packed.run(&x, &epilogue, &mut of_bytes, &mut scratch, &threads);
            assert!(of_bytes == got, "{tier}, packed of bytes");
        }
    }
}

#[test]
fn sizes_around_the_tiles() {
    for w in [1, 3, 4, 7, 8, 9, 17] {
        check(Conv {
            w,
            ..square(8, 20, 3, 1)
        });
    }
    for out in [1, 8, 15, 16, 17, 47, 48, 49, 97] {
        check(square(5, out, 3, 1));
    }
    for c in [1, 2, 3, 4, 5, 31, 64] {
        check(square(c, 12, 3, 1));
    }
}

/// Rows of windows that matrix registers take, some of which read more than there are.
#[test]
fn sizes_around_matrix_registers() {
    for w in [3, 4, 6, 7, 8, 9, 15, 16, 18, 31, 33] {
        for (c, groups) in [(8, 1), (32, 2), (64, 1)] {
            let conv = Conv {
                w,
                ..square(c, 50, 3, groups)
            };
            check(conv);
            check_bytes(conv, Activation::Relu, false);
            check_bytes(conv, Activation::Identity, true);
            check_bytes(conv, Activation::HardSwish, false);
        }
        check(Conv {
            w: 2 * w,
            stride: [2; 2],
            ..square(24, 20, 3, 1)
        });
        check(Conv {
            w,
            dilation: [3; 2],
            padding: [3; 4],
            ..square(20, 20, 3, 1)
        });
    }
}

/// Images so narrow that a tile takes several rows of the output, with zeros of any size around them.
#[test]
fn narrow_images() {
    for (w, h) in [(4, 4), (5, 3), (7, 7), (7, 1), (6, 8)] {
        for (dilation, padding) in [
            (1, [1, 1, 1, 1]),
            (2, [2, 1, 2, 1]),
            (1, [0, 2, 3, 1]),
            (1, [2; 4]),
        ] {
            let conv = Conv {
                w,
                h,
                dilation: [dilation, 1],
                padding,
                ..square(24, 50, 3, 1)
            };
            if h + padding[0] + padding[2] > 2 * dilation {
                check(conv);
                check_bytes(conv, Activation::Relu, false);
                check_bytes(conv, Activation::Identity, true);
            }
        }
    }
}

#[test]
fn first_layers() {
    for kernel in [3, 7] {
        check(Conv {
            h: 15,
            w: 19,
            stride: [2; 2],
            ..square(3, 16, kernel, 1)
        });
    }
}

#[test]
fn strides() {
    check(Conv {
        stride: [2; 2],
        padding: [0; 4],
        ..square(24, 40, 1, 1)
    });
    check(Conv {
        stride: [3, 2],
        ..square(6, 18, 3, 1)
    });
    check(Conv {
        stride: [2, 3],
        padding: [0; 4],
        ..square(6, 18, 2, 1)
    });
}

#[test]
fn padding_on_some_sides() {
    for padding in [[0, 1, 2, 0], [1, 0, 0, 2], [2, 3, 1, 4], [0; 4]] {
        check(Conv {
            padding,
            ..square(5, 18, 3, 1)
        });
    }
}

/// Whole tiles, and whole windows, read taps that are not there.
#[test]
fn dilated() {
    for dilation in [2, 3, 6, 12] {
        check(Conv {
            dilation: [dilation; 2],
            padding: [dilation; 4],
            w: 21,
            ..square(8, 20, 3, 1)
        });
    }
    check(Conv {
        padding: [9; 4],
        ..square(8, 20, 3, 1)
    });
}

#[test]
fn groups() {
    for (k, n) in [(1, 1), (3, 5), (4, 17), (16, 50)] {
        check(square(3 * k, 3 * n, 3, 3));
    }
    check(Conv {
        dilation: [2; 2],
        stride: [2; 2],
        ..square(12, 6, 5, 2)
    });
}

#[test]
fn epilogues() {
    let conv = square(8, 50, 3, 1);
    for activation in [Activation::Relu, Activation::Relu6, Activation::HardSwish] {
        check_epilogue(conv, activation, |_| None);
        check_epilogue(conv, activation, |other| Some(Residual::plain(other)));
        check_epilogue(conv, activation, |other| {
            Some(Residual {
                values: other,
                factors: Some(other),
            })
        });
    }
}

/// A part of a wider image leaves the rest of it alone.
#[test]
fn apart() {
    let conv = square(4, 10, 3, 1);
    let (x, w) = (numbers(conv.input(), 1), numbers(conv.weight(), 2));
    let mut want = vec![0.0; conv.output()];
    scalar::conv(&conv, &x, &w, &Epilogue::default(), &mut want);
    for tier in Tier::here() {
        let packed = Packed::pack(Weight::Numbers(&w), &conv, tier).with_stride(13);
        let mut got = vec![7.0; conv.pixels() * 13];
        let mut scratch = vec![0.0; packed.scratch()];
        packed.run(
            &x,
            &Epilogue::default(),
            &mut got,
            &mut scratch,
            &Threads::new(2),
        );
        for (got, want) in got.chunks_exact(13).zip(want.chunks_exact(10)) {
            close(&got[..10], want, 16);
            assert_eq!(got[10..], [7.0; 3]);
        }
    }
}

/// The largest bytes of both signs: no sum of pairs may leave its bits.
#[test]
fn extremes_are_exact() {
    check_extremes(square(64, 48, 3, 1));
    check_extremes(square(3, 48, 3, 1));
}

/// The kernel of numbers is that of pairs that fit.
#[track_caller]
fn check_extremes(conv: Conv) {
    let signs = |count: usize, step: usize| -> Vec<f32> {
        (0..count).map(|at| [1.0, -1.0][at / step % 2]).collect()
    };
    let (x, w) = (signs(conv.input(), 3), signs(conv.weight(), 5));
    let (mut want, epilogue) = (vec![0.0; conv.output()], Epilogue::default());
    scalar::conv(&conv, &x, &w, &epilogue, &mut want);
    // As large as bytes are, which numbers become only where pairs fit into 16 bits.
    let bytes: Vec<i8> = w.iter().map(|w| 127 * *w as i8).collect();
    let weights = [
        Weight::Numbers(&w),
        Weight::Bytes(&bytes, &[1.0 / 127.0; 48]),
    ];
    let each = |tier: Tier| weights.map(|weight| (tier, weight));
    for (tier, weight) in Tier::here().into_iter().flat_map(each) {
        let packed = Packed::pack(weight, &conv, tier);
        let of_tier = Kernel::of_sums(tier, packed.right.panels.k);
        let is_of_tier = std::ptr::eq(packed.kernel(), of_tier);
        assert!(is_of_tier || matches!(weight, Weight::Bytes(..)));
        let (mut got, mut scratch) = (vec![0.0; want.len()], vec![0.0; packed.scratch()]);
        packed.run(&x, &epilogue, &mut got, &mut scratch, &Threads::new(1));
        close(&got, &want, 16);
    }
}

/// An image with a NaN gives NaN, one of zeros gives the bias, and neither touches the other ones.
#[test]
fn odd_images_stay_by_themselves() {
    let conv = Conv {
        n: 4,
        ..square(8, 20, 3, 1)
    };
    let (mut x, w) = (numbers(conv.input(), 1), numbers(conv.weight(), 2));
    let image = conv.input() / conv.n;
    x[image + 3] = f32::NAN;
    x[2 * image..3 * image].fill(0.0);
    let bias = numbers(conv.out, 3);
    for tier in Tier::here() {
        let packed = Packed::pack(Weight::Numbers(&w), &conv, tier);
        let (mut y, mut scratch) = (vec![0.0; conv.output()], vec![0.0; packed.scratch()]);
        let epilogue = Epilogue {
            bias: Some(&bias),
            ..Epilogue::default()
        };
        packed.run(&x, &epilogue, &mut y, &mut scratch, &Threads::new(1));
        let images: Vec<&[f32]> = y.chunks_exact(conv.output() / conv.n).collect();
        assert!(images[1].iter().all(|y| y.is_nan()));
        assert!(images[2].chunks_exact(conv.out).all(|y| y == bias));
        assert!(images[0].iter().chain(images[3]).all(|y| y.is_finite()));
    }
}

#[track_caller]
fn check_bytes(conv: Conv, activation: Activation, has_residual: bool) {
    let (x, w) = (bytes(conv.input(), 1), numbers(conv.weight(), 2));
    let (bias, other) = (numbers(conv.out, 3), bytes(conv.output(), 4));
    let fixed = Fixed {
        codes: codes(conv.sum(), has_residual),
        bias: Some(&bias),
        activation,
    };
    let residual = has_residual.then_some(&other[..]);
    let mut want = vec![0; conv.output()];
    scalar::conv_of_bytes(&conv, (&x, &w), &fixed, residual, &mut want);
    let (quantized, scales) = Weight::Numbers(&w).in_rows(conv.out, conv.taps());
    for tier in Tier::here() {
        for count in [1, 3] {
            let threads = Threads::new(count);
            let packed =
                Packed::pack_fixed(Weight::Numbers(&w), &conv, &fixed, tier, &Slab::default());
            let mut scratch = vec![f32::NAN; packed.scratch()];
            let mut got = vec![7; conv.output()];
            packed.run_bytes(
                &x,
                Output::Bytes(&mut got, residual),
                &mut scratch,
                &threads,
            );
            near(&got, &want, activation);
            let weight = Weight::Bytes(&quantized, &scales);
            let packed = Packed::pack_fixed(weight, &conv, &fixed, tier, &Slab::default());
            let mut of_bytes = vec![7; conv.output()];
            let to = Output::Bytes(&mut of_bytes, residual);
            packed.run_bytes(&x, to, &mut scratch, &threads);
            assert!(of_bytes == got, "{tier}, packed of bytes");
        }
    }
}

#[test]
fn images_of_bytes() {
    for c in [1, 3, 5, 8, 31] {
        check_bytes(square(c, 20, 3, 1), Activation::Identity, false);
    }
    for out in [1, 15, 16, 17, 48, 49] {
        check_bytes(square(4, out, 3, 1), Activation::Relu, true);
    }
    let first = Conv {
        h: 15,
        w: 19,
        stride: [2; 2],
        ..square(3, 16, 7, 1)
    };
    check_bytes(first, Activation::Relu6, false);
    let dilated = Conv {
        dilation: [6; 2],
        padding: [6; 4],
        w: 21,
        ..square(8, 20, 3, 1)
    };
    check_bytes(dilated, Activation::HardSwish, false);
    check_bytes(square(12, 20, 3, 2), Activation::Silu, false);
    let uneven = Conv {
        padding: [2, 3, 1, 4],
        ..square(5, 18, 3, 1)
    };
    check_bytes(uneven, Activation::Identity, true);
}

/// What Miri can finish.
#[test]
fn smallest() {
    for (c, out, groups) in [(3, 5, 1), (6, 4, 2)] {
        let conv = Conv {
            h: 3,
            w: 3,
            n: 1,
            stride: [1, 2],
            ..square(c, out, 3, groups)
        };
        check(conv);
        check_bytes(conv, Activation::Relu, true);
    }
}
