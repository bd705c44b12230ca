//! Every tier against the definition; the definition against the layer in single precision.

use super::*;
use crate::depthwise;

/// Numbers in -1..1 without an order.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let byte = |x: f32| ((x + 1.0) * 128.0) as u8;
    numbers(len, seed).into_iter().map(byte).collect()
}

const BASE: Depthwise = Depthwise {
    n: 1,
    h: 7,
    w: 9,
    c: 96,
    kernel: [3; 2],
    stride: [1; 2],
    dilation: [1; 2],
    padding: [1; 4],
};

fn square(kernel: usize) -> Depthwise {
    Depthwise {
        kernel: [kernel; 2],
        padding: [kernel / 2; 4],
        ..BASE
    }
}

const CODES: Codes = Codes {
    input: Quantization {
        scale: 0.02,
        zero: 111,
    },
    output: Quantization {
        scale: 0.05,
        zero: 93,
    },
};

/// The bytes that a tier gives, on one thread and on three.
#[track_caller]
fn run(filter: &Filter, geometry: &Depthwise, x: &[u8], tier: Tier) -> Vec<u8> {
    let packed = Packed::pack(filter, geometry, tier);
    let [one, three] = [1, 3].map(|count| {
        let mut y = vec![7; geometry.output()];
        packed.run(x, &mut y, &Threads::new(count));
        y
    });
    assert_eq!(one, three, "{packed:?} on three threads");
    one
}

#[track_caller]
fn check_activation(geometry: Depthwise, activation: Activation) {
    let weights = numbers(geometry.taps() * geometry.c, 1);
    let bias = numbers(geometry.c, 2);
    let filter = Filter {
        weights: Weight::Numbers(&weights),
        bias: Some(&bias),
        activation,
        codes: CODES,
    };
    let (quantized, scales) = filter.weights.in_rows(geometry.c, 0);
    let in_bytes = Filter {
        weights: Weight::Bytes(&quantized, &scales),
        ..filter
    };
    let x = bytes(geometry.input(), 3);
    let want = run(&filter, &geometry, &x, Tier::Scalar);
    for tier in Tier::here() {
        let got = run(&filter, &geometry, &x, tier);
        let apart = got.iter().zip(&want).position(|(got, want)| got != want);
        assert_eq!(apart, None, "{tier}");
        assert!(
            run(&in_bytes, &geometry, &x, tier) == want,
            "{tier}, packed of bytes"
        );
    }
    check_definition(&geometry, &filter, &x, &want);
}

/// Half a step of the output, what a curve is off by, and what rounding of numbers takes, from the layer in single precision with the
/// same weights.
#[track_caller]
fn check_definition(geometry: &Depthwise, filter: &Filter, x: &[u8], want: &[u8]) {
    let Codes { input, output } = filter.codes;
    let taps = geometry.taps();
    let mut weights = vec![];
    let (bytes, scales) = filter.weights.in_rows(geometry.c, 0);
    for (row, scale) in bytes.chunks_exact(taps).zip(scales) {
        weights.extend(row.iter().map(|&byte| scale * f32::from(byte)));
    }
    let mut packed = vec![0.0; weights.len()];
    depthwise::pack(geometry, &weights, &mut packed);
    let x: Vec<f32> = x.iter().map(|&byte| input.number(byte)).collect();
    let mut y = vec![0.0; geometry.output()];
    let like = depthwise::Filter {
        weights: &packed,
        bias: filter.bias,
        activation: filter.activation,
    };
    depthwise::scalar::forward(geometry, &x, like, &mut y);
    let size = taps as f32 * 255.0 * input.scale;
    let half = match filter.activation.limits() {
        Some(_) => 0.5,
        None => 0.5 + 0.35,
    };
    for (at, (y, &byte)) in y.iter().zip(want).enumerate() {
        let reached = y.clamp(output.number(0), output.number(255));
        let difference = (output.number(byte) - reached).abs();
        let most = half * output.scale + 4.0 * taps as f32 * f32::EPSILON * size;
        assert!(difference <= most, "at {at}: {byte} for {y}");
    }
}

#[track_caller]
fn check(geometry: Depthwise) {
    check_activation(geometry, Activation::Identity);
}

#[test]
fn channels_around_the_registers() {
    for c in [1, 3, 8, 16, 24, 31, 32, 33, 63, 64, 65, 95, 96, 128, 144] {
        check(Depthwise { c, ..BASE });
    }
}

#[test]
fn widths_around_the_tiles() {
    for w in [1, 2, 3, 4, 5, 6, 7, 8, 11, 61, 62, 63, 64, 130] {
        check(Depthwise { w, c: 40, ..BASE });
        check(Depthwise {
            w,
            c: 72,
            stride: [2; 2],
            ..square(5)
        });
    }
}

#[test]
fn heights_around_the_pairs() {
    for h in [1, 2, 3, 4, 5, 8] {
        for kernel in [1, 3, 5, 7] {
            check(Depthwise {
                h,
                ..square(kernel)
            });
        }
    }
}

#[test]
fn kernels_and_strides() {
    for kernel in [
        [3, 3],
        [5, 5],
        [1, 3],
        [3, 1],
        [7, 7],
        [2, 2],
        [4, 6],
        [9, 9],
    ] {
        for stride in [[1, 1], [2, 2], [2, 1], [1, 3], [5, 5]] {
            check(Depthwise {
                n: 2,
                h: 12,
                w: 15,
                c: 80,
                kernel,
                stride,
                padding: [kernel[0] / 2, kernel[1] / 2, kernel[0] / 2, kernel[1] / 2],
                ..BASE
            });
        }
    }
}

#[test]
fn dilated() {
    for dilation in [[2, 2], [1, 2], [2, 1], [3, 4]] {
        for kernel in [3, 5] {
            for stride in [1, 2] {
                check(Depthwise {
                    h: 14,
                    w: 17,
                    dilation,
                    stride: [stride; 2],
                    padding: [
                        dilation[0] * (kernel / 2),
                        dilation[1] * (kernel / 2),
                        dilation[0] * (kernel / 2),
                        dilation[1] * (kernel / 2),
                    ],
                    ..square(kernel)
                });
            }
        }
    }
}

#[test]
fn fewer_channels_than_registers_have() {
    for (w, c) in [(1, 16), (7, 17), (8, 24), (19, 31)] {
        for kernel in [[3, 3], [5, 5], [1, 3], [2, 5]] {
            for (stride, dilation) in [([1, 1], [1, 1]), ([2, 2], [1, 1]), ([1, 1], [2, 3])] {
                check(Depthwise {
                    n: 2,
                    h: 4,
                    w,
                    c,
                    kernel,
                    stride,
                    dilation,
                    padding: [2, 5, 1, 8],
                });
            }
        }
    }
    for activation in [Activation::Relu6, Activation::HardSwish, Activation::Silu] {
        check_activation(Depthwise { c: 24, ..BASE }, activation);
    }
}

#[test]
fn padding_on_some_sides() {
    for padding in [[0; 4], [0, 1, 2, 0], [1, 0, 0, 2], [2, 3, 1, 4], [4; 4]] {
        for stride in [1, 2] {
            check(Depthwise {
                padding,
                stride: [stride; 2],
                ..BASE
            });
        }
    }
    // Nothing but padding, and nothing at all.
    check(Depthwise {
        w: 0,
        padding: [2; 4],
        ..BASE
    });
    check(Depthwise {
        h: 0,
        padding: [2; 4],
        ..BASE
    });
    check(Depthwise { n: 0, ..BASE });
    check(Depthwise {
        h: 1,
        padding: [0; 4],
        ..BASE
    });
}

/// Windows that reach farther than quads of columns have room run the definition.
#[test]
fn wide_windows_run_the_definition() {
    let geometry = Depthwise {
        w: 150,
        c: 5,
        dilation: [1, 70],
        padding: [1, 70, 1, 70],
        ..BASE
    };
    check(geometry);
    let weights = vec![1.0; 45];
    let filter = filter(&weights, CODES);
    let packed = Packed::pack(&filter, &geometry, Tier::detect());
    assert_eq!(packed.kernel_name(), "u8_depthwise_scalar");
}

fn filter(weights: &[f32], codes: Codes) -> Filter<'_> {
    Filter {
        weights: Weight::Numbers(weights),
        bias: None,
        activation: Activation::Identity,
        codes,
    }
}

#[test]
fn activations() {
    for activation in Activation::ALL {
        for c in [24, 96] {
            check_activation(Depthwise { c, ..BASE }, activation);
        }
        let strided = Depthwise {
            stride: [2; 2],
            ..square(5)
        };
        check_activation(strided, activation);
    }
}

/// The largest sums of both signs, exactly, and outputs beyond both ends.
#[test]
fn extremes() {
    let geometry = Depthwise { c: 97, ..square(7) };
    let weights: Vec<f32> = (0..geometry.taps() * geometry.c)
        .map(|at| [1.0, -1.0][at / 49 % 2])
        .collect();
    for (byte, zero) in [(255, 0), (0, 255)] {
        for scale in [1e-30, 1e-3, 1.0, 250.0, 1e30] {
            let codes = Codes {
                input: Quantization { scale: 1.0, zero },
                output: Quantization { scale, zero: 100 },
            };
            for activation in [
                Activation::Identity,
                Activation::Relu6,
                Activation::HardSwish,
            ] {
                let filter = Filter {
                    activation,
                    ..filter(&weights, codes)
                };
                let x = vec![byte; geometry.input()];
                let want = run(&filter, &geometry, &x, Tier::Scalar);
                let middle = (3 * geometry.w + 4) * geometry.c;
                let sum = 49 * if byte == 0 { -255 } else { 255 };
                if activation == Activation::Identity {
                    let ends = [sum, -sum].map(|sum| codes.output.byte(sum as f32));
                    assert_eq!(want[middle..middle + 2], ends, "scale {scale}");
                }
                for tier in Tier::here() {
                    assert!(run(&filter, &geometry, &x, tier) == want, "{tier}, {scale}");
                }
            }
        }
    }
}

/// A channel with a weight or a bias that is no number counts as one of zeros, and touches no other.
#[test]
fn odd_channels_stay_by_themselves() {
    for activation in [Activation::Identity, Activation::HardSwish] {
        let mut weights = numbers(9 * BASE.c, 1);
        let mut bias = numbers(BASE.c, 2);
        let x = bytes(BASE.input(), 3);
        let with = |weights: &[f32], bias: &[f32], tier| {
            let filter = Filter {
                weights: Weight::Numbers(weights),
                bias: Some(bias),
                activation,
                codes: CODES,
            };
            run(&filter, &BASE, &x, tier)
        };
        let before = with(&weights, &bias, Tier::Scalar);
        weights[9 * 4 + 2] = f32::NAN;
        weights[9 * 70] = f32::INFINITY;
        bias[90] = f32::NAN;
        bias[33] = f32::NEG_INFINITY;
        for tier in Tier::here() {
            let after = with(&weights, &bias, tier);
            for (at, (after, before)) in after.iter().zip(&before).enumerate() {
                let want = match at % BASE.c {
                    4 | 33 | 70 | 90 => CODES.output.zero,
                    _ => *before,
                };
                assert_eq!(*after, want, "{tier} at {at}");
            }
        }
    }
}

#[test]
fn every_kernel_runs_here_or_says_so() {
    for kernel in KERNELS {
        let packed = Packed::pack(&filter(&[1.0; 9 * 96], CODES), &BASE, kernel.tier);
        match kernel.is_here() {
            true => assert_eq!(packed.kernel_name(), kernel.name),
            false => assert_ne!(packed.kernel_name(), kernel.name),
        }
    }
}

/// What Miri can finish.
#[test]
fn smallest() {
    for activation in [Activation::Relu, Activation::Silu] {
        check_activation(
            Depthwise {
                h: 4,
                w: 5,
                c: 9,
                stride: [2; 2],
                ..BASE
            },
            activation,
        );
    }
}
