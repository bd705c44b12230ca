//! Every kernel at every tier of this machine against the windows as they are: the same bytes.

use super::*;
use crate::activation::Activation;
use crate::conv_i8;
use crate::gemm_f32::tests::numbers;
use crate::gemm_i8::codes::Output;
use crate::gemm_i8::codes_tests::{bytes, codes};
use crate::winograd::tests::same;

#[track_caller]
fn check(conv: Conv) {
    let w = numbers(conv.weight(), 2);
    let x = bytes(conv.input(), 1);
    for stride in [conv.out, conv.out + 24] {
        check_all(conv, Weight::Numbers(&w), &x, (stride, false));
        check_all(conv, Weight::Numbers(&w), &x, (stride, true));
    }
}

#[track_caller]
fn check_all(conv: Conv, weight: Weight, x: &[u8], (stride, has_residual): (usize, bool)) {
    let bias = numbers(conv.out, 3);
    let fixed = Fixed {
        codes: codes(conv.sum(), has_residual),
        bias: Some(&bias),
        activation: Activation::Relu,
    };
    let len = conv.pixels() * stride;
    let other = bytes(len, 4);
    let residual = has_residual.then_some(&other[..]);
    let windows = |tier| {
        let packed = conv_i8::Packed::pack_fixed(weight, &conv, &fixed, tier, &Slab::default());
        let packed = packed.with_stride(stride);
        let (mut y, mut scratch) = (vec![7; len], vec![f32::NAN; packed.scratch()]);
        let to = Output::Bytes(&mut y, residual);
        packed.run_bytes(x, to, &mut scratch, &Threads::new(1));
        y
    };
    for tier in Tier::here() {
        let want = windows(tier);
        let packed = Packed::pack_fixed(weight, &conv, &fixed, tier, &Slab::default());
        let packed = packed.with_stride(stride);
        for count in [1, 3] {
            let mut got = vec![7; len];
            let mut scratch = vec![f32::NAN; packed.scratch(count)];
            let threads = Threads::new(count);
            packed.run_bytes(x, &mut got, residual, &mut scratch, &threads);
            assert!(got == want, "{packed:?} on {count} threads");
        }
    }
}

#[test]
fn sizes_around_a_tile() {
    for h in [1, 2, 3, 5] {
        for w in [2, 3, 4, 7] {
            check(same(h, w, 16, 16));
        }
    }
}

#[test]
fn channels_groups_and_blocks() {
    check(same(6, 5, 64, 48));
    check(same(4, 4, 272, 16));
    check(same(37, 41, 16, 32));
    check(Conv {
        groups: 2,
        ..same(9, 7, 64, 32)
    });
}

#[test]
fn paddings_and_dilations() {
    for padding in [[0; 4], [0, 1, 2, 3], [2; 4]] {
        check(Conv {
            padding,
            ..same(8, 9, 16, 16)
        });
    }
    for dilation in [[2, 2], [5, 1]] {
        check(Conv {
            dilation,
            padding: [dilation[0], dilation[1], dilation[0], dilation[1]],
            ..same(11, 13, 16, 16)
        });
    }
}

/// The largest bytes of both signs, as files of others hold them, over the longest sums.
#[test]
fn extremes_are_exact() {
    let conv = Conv {
        n: 1,
        ..same(4, 4, MOST_CHANNELS, 16)
    };
    let signs = [[1, 1, 1, 1, 1, 1, 1, 1, 1], [1, -1, 1, -1, 1, -1, 1, -1, 1]];
    for signs in signs {
        let taps = signs.iter().cycle().take(conv.weight());
        let weight: Vec<i8> = taps.map(|sign| sign * 127).collect();
        let scales = [1.0 / 127.0; 16];
        for x in [0, 255] {
            let x = vec![x; conv.input()];
            check_all(conv, Weight::Bytes(&weight, &scales), &x, (16, false));
        }
    }
}

#[test]
fn what_it_computes() {
    assert!(computes(&same(4, 4, 16, 32)));
    assert!(!computes(&same(4, 4, 24, 32)) && !computes(&same(4, 4, 16, 8)));
    let stride = [2; 2];
    assert!(!computes(&Conv {
        stride,
        ..same(4, 4, 16, 16)
    }));
    assert!(!computes(&same(4, 4, MOST_CHANNELS + 16, 16)));
}

/// What Miri can finish.
#[test]
fn smallest() {
    check(Conv {
        n: 1,
        ..same(3, 2, 16, 16)
    });
}
