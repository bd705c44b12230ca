//! Every tier against plain formulas at sizes around the vector; the mask of dropout.

use super::*;
use crate::Threads;

fn numbers(len: usize, seed: f32) -> Vec<f32> {
    (0..len)
        .map(|i| (i as f32 * 0.7 + seed).sin() * 2.0)
        .collect()
}

fn everywhere(mut work: impl FnMut(Cpu)) {
    for threads in [1, 3] {
        let threads = Threads::new(threads);
        for tier in Tier::here() {
            work(Cpu {
                tier,
                threads: &threads,
            });
        }
    }
}

#[test]
fn sums_and_products() {
    everywhere(|cpu| {
        for len in [0, 1, 7, 16, 17, 65, 100_001] {
            let (a, b) = (numbers(len, 0.0), numbers(len, 1.0));
            let mut y = vec![0.0; len];
            add(cpu, &a, &b, Activation::Relu, &mut y);
            assert!((0..len).all(|i| y[i] == (a[i] + b[i]).max(0.0)));
            add_in_place(cpu, &a, Activation::Identity, &mut y);
            assert!((0..len).all(|i| y[i] == (a[i] + b[i]).max(0.0) + a[i]));
            mul(cpu, &a, &b, &mut y);
            assert!((0..len).all(|i| y[i] == a[i] * b[i]));
            scale(cpu, 2.0, &mut y);
            assert!((0..len).all(|i| y[i] == a[i] * b[i] * 2.0));
            let mut y = b.clone();
            add_scaled(cpu, 0.5, &a, &mut y);
            assert!((0..len).all(|i| y[i] == b[i] + 0.5 * a[i]));
            let mut y = b.clone();
            add_product(cpu, &a, &b, &mut y);
            assert!((0..len).all(|i| (y[i] - (b[i] + a[i] * b[i])).abs() < 1e-6));
        }
    });
}

#[test]
fn bias_and_its_gradient() {
    everywhere(|cpu| {
        for c in [1, 3, 16, 37, 64, 100, 200] {
            let rows = 300;
            let (x, bias) = (numbers(rows * c, 0.0), numbers(c, 1.0));
            let mut y = x.clone();
            add_bias(cpu, &bias, Activation::Relu6, &mut y);
            assert!((0..y.len()).all(|i| y[i] == (x[i] + bias[i % c]).clamp(0.0, 6.0)));
            let mut sums = bias.clone();
            let mut scratch = vec![f32::NAN; column_sums_scratch(x.len(), c)];
            column_sums(cpu, &x, &mut sums, &mut scratch);
            for i in 0..c {
                let want = f64::from(bias[i])
                    + (0..rows).map(|row| f64::from(x[row * c + i])).sum::<f64>();
                // 128 additions of numbers below 2 in a block, whose sums stay below 256.
                assert!(
                    (f64::from(sums[i]) - want).abs() < 128.0 * 256.0 * 6e-8,
                    "{c}: {i}"
                );
            }
        }
    });
}

#[test]
fn gates() {
    everywhere(|cpu| {
        let shape = Gate { rows: 5, c: 19 };
        let (x, g, dy) = (numbers(190, 0.0), numbers(38, 1.0), numbers(190, 2.0));
        let mut y = vec![0.0; 190];
        gate(cpu, shape, &x, &g, &mut y);
        assert!((0..190).all(|i| y[i] == x[i] * g[i / 95 * 19 + i % 19]));
        let mut dgate = vec![f32::NAN; 38];
        gate_backward(cpu, shape, &x, &dy, &mut dgate);
        for i in 0..38 {
            let at = |row: usize| i / 19 * 95 + row * 19 + i % 19;
            let want: f32 = (0..5).map(|row| x[at(row)] * dy[at(row)]).sum();
            assert!((dgate[i] - want).abs() < 4e-6);
        }
    });
}

#[test]
fn copies() {
    everywhere(|cpu| {
        let from = numbers(60, 0.0);
        let mut to = vec![0.0; 100];
        let block = Block {
            rows: 10,
            columns: 4,
            from_stride: 6,
            to_stride: 10,
        };
        copy_block(cpu, &block, &from[1..], &mut to[3..]);
        add_block(cpu, &block, &from[1..], &mut to[3..]);
        for (i, &y) in to.iter().enumerate() {
            let (row, column) = (i / 10, i % 10);
            let want = if (3..7).contains(&column) {
                2.0 * from[row * 6 + column - 2]
            } else {
                0.0
            };
            assert_eq!(y, want);
        }
        let x = numbers(2 * 35 * 18, 0.0);
        let (mut y, mut back) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        transpose(
            cpu,
            Transpose {
                n: 2,
                rows: 35,
                columns: 18,
            },
            &x,
            &mut y,
        );
        assert_eq!(y[35 * 18 + 3 * 35 + 20], x[35 * 18 + 20 * 18 + 3]);
        transpose(
            cpu,
            Transpose {
                n: 2,
                rows: 18,
                columns: 35,
            },
            &y,
            &mut back,
        );
        assert_eq!(back, x);
        let order = Shuffle { c: 18, groups: 3 };
        shuffle(cpu, order, &x, &mut y);
        // Channel 1 of the result is the first one of the second group.
        assert_eq!(y[18 + 1], x[18 + 6]);
        shuffle(cpu, order.inverse(), &y, &mut back);
        assert_eq!(back, x);
        permute(cpu, [2, 5, 7, 18], [0, 2, 3, 1], &x, &mut y);
        assert_eq!(
            y[((7 + 3) * 18 + 11) * 5 + 4],
            x[((5 + 4) * 7 + 3) * 18 + 11]
        );
    });
}

#[test]
fn dropout_is_the_same_everywhere_and_keeps_its_share() {
    let row = Dropout {
        seed: 0x1234_5678_9abc_def0,
        keep: 0.9,
    };
    let x = vec![1.0; 200_000];
    everywhere(|cpu| {
        let mut y = vec![0.0; x.len()];
        dropout(cpu, row, &x, &mut y);
        assert!((0..x.len()).all(|i| y[i] == row.factor(i as u64)));
        let kept = y.iter().filter(|&&y| y > 0.0).count() as f64 / x.len() as f64;
        // Three deviations of a share of 0.9 among 200,000.
        assert!((kept - 0.9).abs() < 0.002, "{kept}");
        dropout(cpu, Dropout::NONE, &x, &mut y);
        assert_eq!(x, y);
    });
    // Neighbours and neighbouring seeds are unrelated: the share of pairs that are both kept is the product.
    let other = Dropout {
        seed: row.seed + 1,
        ..row
    };
    let both = |a: &dyn Fn(u64) -> f32, b: &dyn Fn(u64) -> f32| {
        (0..200_000).filter(|&i| a(i) > 0.0 && b(i) > 0.0).count() as f64 / 2e5
    };
    assert!((both(&|i| row.factor(i), &|i| row.factor(i + 1)) - 0.81).abs() < 0.003);
    assert!((both(&|i| row.factor(i), &|i| other.factor(i)) - 0.81).abs() < 0.003);
    assert!((both(&|i| row.factor(i), &|i| row.factor(i + (1 << 32))) - 0.81).abs() < 0.003);
}

#[test]
fn a_mask_does_not_break_where_high_bits_change() {
    let row = Dropout {
        seed: 99,
        keep: 0.5,
    };
    let start = (1u64 << 32) - 20;
    for tier in Tier::here() {
        let mut y = [0.0; 40];
        dropout::masked(tier, row, start, &[1.0; 40], &mut y);
        assert!((0..40).all(|i| y[i as usize] == row.factor(start + i)));
    }
}
