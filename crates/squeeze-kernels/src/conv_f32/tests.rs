//! Convolutions and their gradients at every tier of this machine against the definition.

use super::*;
use crate::Cpu;
use crate::activation::Activation;
use crate::gemm_f32::tests::{close, numbers};
use crate::gemm_f32::{Residual, Scratch, Start};

/// A square convolution of two images with padding that keeps the size at stride 1.
fn square(c: usize, out: usize, kernel: usize, groups: usize) -> Conv {
    let pad = kernel / 2;
    Conv {
        n: 2,
        h: 9,
        w: 7,
        c,
        out,
        kernel: [kernel; 2],
        stride: [1; 2],
        dilation: [1; 2],
        padding: [pad; 4],
        groups,
    }
}

#[track_caller]
fn check(conv: Conv) {
    check_epilogue(conv, Activation::Identity, |_| None);
    let (x, w) = (numbers(conv.input(), 1), numbers(conv.weight(), 2));
    let dy = numbers(conv.output(), 3);
    let (dw0, db0) = (numbers(w.len(), 5), numbers(conv.out, 6));
    let dx0 = numbers(conv.input(), 4);
    let mut scratch = Scratch::default();
    for tier in Tier::here() {
        for count in [1, 2] {
            let threads = Threads::new(count);
            let cpu = Cpu {
                tier,
                threads: &threads,
            };
            for start in [Start::Zero, Start::Add] {
                let (mut got, mut want) = (dx0.clone(), dx0.clone());
                input_gradient(&conv, (&w, &dy), &mut got, start, &mut scratch, cpu);
                scalar::input_gradient(&conv, &w, &dy, &mut want, start);
                close(&got, &want, conv.out / conv.groups * conv.taps() + 1);
            }
            let (mut got, mut want) = (dw0.clone(), dw0.clone());
            weight_gradient(&conv, (&dy, &x), &mut got, &mut scratch, cpu);
            scalar::weight_gradient(&conv, &dy, &x, &mut want);
            close(&got, &want, conv.pixels().min(256) + conv.pixels() / 64 + 2);
            let (mut got, mut want) = (db0.clone(), db0.clone());
            bias_gradient(&conv, &dy, &mut got, cpu);
            scalar::bias_gradient(&conv, &dy, &mut want);
            close(&got, &want, conv.pixels().min(128) + conv.pixels() / 64 + 2);
        }
    }
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
    for tier in Tier::here() {
        for count in [1, 2] {
            let threads = Threads::new(count);
            let mut got = vec![f32::NAN; conv.output()];
            Packed::pack(&w, &conv, tier).run(&x, &epilogue, &mut got, &threads);
            close(&got, &want, conv.sum() + 2);
            if epilogue.residual.is_none() {
                let packed = Packed::pack(&w, &conv, tier);
                assert_eq!(got, in_bands(&packed, &x, &epilogue, &threads));
            }
            let (mut again, cpu) = (
                got.clone(),
                Cpu {
                    tier,
                    threads: &threads,
                },
            );
            forward(
                &conv,
                (&x, &w),
                &epilogue,
                &mut again,
                &mut Scratch::default(),
                cpu,
            );
            assert_eq!(got, again, "training and plans compute the same bits");
        }
    }
}

/// The output of one to three rows of an image at a time.
fn in_bands(packed: &Packed, x: &[f32], epilogue: &Epilogue, threads: &Threads) -> Vec<f32> {
    let conv = packed.conv();
    let mut y = vec![f32::NAN; conv.output()];
    let len = conv.out_w() * conv.out;
    for image in 0..conv.n {
        let (mut row, end) = (image * conv.out_h(), (image + 1) * conv.out_h());
        while row < end {
            let rows = row..(row + 1 + row % 3).min(end);
            row = rows.end;
            let y = &mut y[rows.start * len..rows.end * len];
            packed.run_rows(rows, x, epilogue, y, threads);
        }
    }
    y
}

#[test]
fn dense() {
    check(square(16, 24, 3, 1));
    check(square(20, 50, 3, 1));
    check(square(5, 3, 3, 1));
    check(square(32, 17, 5, 1));
}

#[test]
fn pointwise() {
    check(square(24, 40, 1, 1));
    check(square(24, 40, 1, 4));
    check(Conv {
        stride: [2, 2],
        ..square(24, 40, 1, 1)
    });
}

#[test]
fn first_layers() {
    for c in [1, 3] {
        check(square(c, 16, 3, 1));
        check(Conv {
            stride: [2, 2],
            ..square(c, 20, 7, 1)
        });
        check(Conv {
            padding: [0; 4],
            ..square(c, 8, 5, 1)
        });
    }
}

#[test]
fn grouped() {
    for (c, out, groups) in [
        (8, 8, 4),
        (16, 32, 4),
        (64, 32, 2),
        (40, 40, 10),
        (6, 12, 6),
    ] {
        check(square(c, out, 3, groups));
        check(Conv {
            stride: [2, 2],
            ..square(c, out, 3, groups)
        });
    }
}

#[test]
fn dilated() {
    check(Conv {
        dilation: [2, 2],
        padding: [2; 4],
        ..square(16, 16, 3, 1)
    });
    check(Conv {
        dilation: [3, 2],
        padding: [3, 2, 3, 2],
        ..square(8, 16, 3, 2)
    });
    check(Conv {
        dilation: [2, 1],
        padding: [4, 2, 4, 2],
        ..square(3, 4, 5, 1)
    });
}

#[test]
fn taps_that_read_nothing_for_whole_tiles() {
    for dilation in [[8, 1], [1, 6], [8, 6], [20, 20]] {
        let [down, across] = dilation;
        let conv = Conv {
            w: 17,
            dilation,
            padding: [down, across, down, across],
            ..square(140, 20, 3, 1)
        };
        check(conv);
        check_epilogue(conv, Activation::Relu, |r| Some(Residual::plain(r)));
        check_epilogue(conv, Activation::HardSwish, |r| {
            Some(Residual {
                values: r,
                factors: Some(r),
            })
        });
    }
}

#[test]
fn strides_of_two_kinds() {
    check(Conv {
        stride: [2, 1],
        ..square(16, 8, 3, 1)
    });
    check(Conv {
        stride: [3, 2],
        ..square(4, 8, 3, 2)
    });
}

#[test]
fn paddings_of_four_kinds() {
    check(Conv {
        padding: [0, 1, 2, 3],
        ..square(16, 8, 3, 1)
    });
    check(Conv {
        padding: [0, 1, 2, 3],
        ..square(4, 8, 3, 1)
    });
    check(Conv {
        padding: [4, 5, 4, 5],
        ..square(16, 8, 3, 1)
    });
}

#[test]
fn kernels_that_are_not_square() {
    check(Conv {
        kernel: [1, 5],
        padding: [0, 2, 0, 2],
        ..square(16, 8, 1, 1)
    });
    check(Conv {
        kernel: [5, 1],
        padding: [2, 0, 2, 0],
        ..square(3, 8, 1, 1)
    });
}

#[test]
fn taps_longer_than_a_block() {
    check(Conv {
        h: 3,
        w: 4,
        ..square(270, 5, 3, 1)
    });
    check(Conv {
        stride: [2; 2],
        ..square(270, 50, 1, 1)
    });
}

#[test]
fn a_window_that_only_sees_padding() {
    check(Conv {
        h: 1,
        w: 1,
        ..square(16, 16, 3, 1)
    });
    check(Conv {
        h: 1,
        w: 2,
        padding: [2; 4],
        ..square(3, 16, 3, 1)
    });
}

#[test]
fn every_epilogue() {
    for activation in [Activation::Relu, Activation::Relu6, Activation::HardSwish] {
        check_epilogue(square(16, 20, 3, 1), activation, |_| None);
        check_epilogue(square(4, 20, 3, 2), activation, |r| {
            Some(Residual::plain(r))
        });
        check_epilogue(square(16, 20, 3, 1), activation, |r| {
            Some(Residual {
                values: r,
                factors: Some(r),
            })
        });
    }
}

#[test]
fn nan_stays_where_its_window_is() {
    let conv = Conv {
        n: 1,
        h: 8,
        w: 8,
        ..square(16, 16, 3, 2)
    };
    let w = vec![1.0; conv.weight()];
    let mut x = vec![1.0; conv.input()];
    x[0] = f32::NAN;
    for tier in Tier::here() {
        let mut y = vec![0.0; conv.output()];
        Packed::pack(&w, &conv, tier).run(&x, &Epilogue::default(), &mut y, &Threads::new(1));
        for (at, y) in y.iter().enumerate() {
            let (pixel, channel) = (at / 16, at % 16);
            let sees = pixel / 8 < 2 && pixel % 8 < 2 && channel < 8;
            assert_eq!(y.is_nan(), sees, "{tier}: pixel {pixel}, channel {channel}");
        }
    }
}

#[test]
fn a_window_larger_than_the_image_has_no_output() {
    let conv = Conv {
        h: 2,
        w: 2,
        padding: [0; 4],
        ..square(16, 16, 3, 1)
    };
    assert_eq!(conv.output(), 0);
    let packed = Packed::pack(&vec![0.0; conv.weight()], &conv, Tier::Scalar);
    packed.run(
        &vec![0.0; conv.input()],
        &Epilogue::default(),
        &mut [],
        &Threads::new(1),
    );
}

/// What Miri can finish.
#[test]
fn smallest() {
    check(Conv {
        h: 4,
        w: 3,
        ..square(2, 3, 3, 1)
    });
    check(Conv {
        h: 4,
        w: 3,
        ..square(4, 6, 2, 2)
    });
}
