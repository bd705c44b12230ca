//! Every tier against the definition, the definition's gradients against differences.

use super::*;
use crate::Threads;

fn numbers(len: usize, seed: f32) -> Vec<f32> {
    (0..len)
        .map(|i| (i as f32 * 0.7 + seed + (i as f32 * 0.013).cos()).sin())
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

#[track_caller]
fn close(a: &[f32], b: &[f32], bound: f32, what: &str) {
    assert_eq!(a.len(), b.len());
    for i in 0..a.len() {
        assert!(
            (a[i] - b[i]).abs() <= bound,
            "{what} at {i}: {} instead of {}",
            a[i],
            b[i]
        );
    }
}

/// All keys, those up to the own place, and those of shorter and longer texts.
#[track_caller]
fn check(n: usize, tokens: usize, heads: usize, dim: usize, masked: bool) {
    let other = |keys| Sight::Other { keys };
    for sight in [
        Sight::All,
        Sight::Causal,
        other(tokens / 2 + 1),
        other(tokens + 17),
    ] {
        check_sight(sight, [n, tokens, heads, dim], masked);
    }
}

#[track_caller]
fn check_sight(sight: Sight, [n, tokens, heads, dim]: [usize; 4], masked: bool) {
    let mut attention = Attention {
        n,
        tokens,
        sight,
        starts: None,
        heads,
        dim,
        scale: 1.0 / (dim as f32).sqrt(),
        lengths: None,
        additive: None,
    };
    let keys = attention.keys();
    let lengths: Vec<usize> = (0..n).map(|i| keys.saturating_sub(i * 5)).collect();
    let additive = numbers(n * keys, 9.0);
    if masked {
        (attention.lengths, attention.additive) = (Some(&lengths[..]), Some(&additive[..]));
    }
    let c = heads * dim;
    let sizes = [n * tokens * c, n * keys * c, n * keys * c];
    let rows = sizes[0];
    let [q, k, v] = [0, 1, 2].map(|part| numbers(sizes[part], part as f32));
    let qkv = Qkv::separate(&attention, &q, &k, &v);
    let dy = numbers(rows, 5.0);
    let own = keys == tokens && !matches!(sight, Sight::Other { .. });
    for dropout in [
        Dropout::NONE,
        Dropout {
            seed: 77,
            keep: 0.8,
        },
    ] {
        let (mut want, mut want_p) = (vec![0.0; rows], vec![0.0; attention.probabilities()]);
        let out = AttentionOut {
            y: &mut want,
            probabilities: &mut want_p,
            scratch: &mut [],
        };
        scalar::forward_train(&attention, qkv, dropout, out);
        let mut want_d = sizes.map(|size| vec![0.0; size]);
        let saved = AttentionSaved {
            qkv,
            probabilities: &want_p,
            dropout,
        };
        let grads = QkvGrads::Separate(want_d.each_mut().map(|d| &mut d[..]));
        scalar::backward(&attention, saved, &dy, grads);
        everywhere(|cpu| {
            let mut scratch = vec![f32::NAN; attention.forward_scratch(cpu.threads.count())];
            let (mut y, mut p) = (vec![f32::NAN; rows], vec![f32::NAN; want_p.len()]);
            let out = AttentionOut {
                y: &mut y,
                probabilities: &mut p,
                scratch: &mut scratch,
            };
            forward_train(cpu, &attention, qkv, dropout, out);
            close(&y, &want, 4e-6, "y");
            close(&p, &want_p, 2e-6, "p");
            if dropout == Dropout::NONE {
                y.fill(f32::NAN);
                forward(cpu, &attention, qkv, &mut y, &mut scratch);
                close(&y, &want, 4e-6, "y for inference");
                on_tiles(cpu, &attention, qkv);
                in_bytes(cpu, &attention, qkv);
            }
            let mut scratch = vec![f32::NAN; attention.backward_scratch(cpu.threads.count())];
            let mut three = sizes.map(|size| vec![f32::NAN; size]);
            let grads = QkvGrads::Separate(three.each_mut().map(|d| &mut d[..]));
            backward(cpu, &attention, saved, &dy, grads, &mut scratch);
            for (part, want_d) in want_d.iter().enumerate() {
                // Sums of up to `tokens` products of numbers near one.
                close(&three[part], want_d, 1e-5, "gradients");
            }
            if own {
                let mut d = vec![f32::NAN; 3 * rows];
                let grads = QkvGrads::Packed(&mut d);
                backward(cpu, &attention, saved, &dy, grads, &mut scratch);
                for (i, row) in d.chunks_exact(3 * c).enumerate() {
                    for part in 0..3 {
                        assert_eq!(row[part * c..][..c], three[part][i * c..][..c]);
                    }
                }
            }
        });
    }
}

/// On matrix registers, where the machine has them.
fn on_tiles(cpu: Cpu, attention: &Attention, qkv: Qkv) {
    let attention = Attention {
        additive: None,
        ..*attention
    };
    let numbers = attention.n * attention.tokens * attention.channels();
    assert_eq!(attention.start(attention.n) * attention.channels(), numbers);
    let mut want = vec![0.0; numbers];
    scalar::forward(&attention, qkv, &mut want);
    for (element, bound) in [
        (Element::Bf16, 3e-2),
        (Element::Bf16x3, 2e-4),
        (Element::Bf16x6, 4e-6),
    ] {
        let scratch = attention.tiles_scratch(element, cpu.threads.count());
        let (mut scratch, mut y) = (vec![f32::NAN; scratch], vec![f32::NAN; numbers]);
        forward_on_tiles(cpu, &attention, element, qkv, &mut y, &mut scratch);
        close(&y, &want, bound, "y on tiles");
    }
}

/// In bytes: the definition near to what it stands for, and where the machine has the instructions the kernel as defined, to the bit.
fn in_bytes(cpu: Cpu, attention: &Attention, qkv: Qkv) {
    let attention = Attention {
        additive: None,
        ..*attention
    };
    if attention.sight == Sight::Causal {
        return;
    }
    let numbers = attention.n * attention.tokens * attention.channels();
    let (mut want, mut near) = (vec![0.0; numbers], vec![0.0; numbers]);
    bytes_scalar::forward(&attention, qkv, &mut want);
    scalar::forward(&attention, qkv, &mut near);
    close(&want, &near, 3e-2, "the definition in bytes");
    if has_bytes() {
        assert_eq!(bytes_of(cpu, &attention, qkv), want);
    }
}

fn bytes_of(cpu: Cpu, attention: &Attention, qkv: Qkv) -> Vec<f32> {
    let scratch = attention.bytes_scratch(cpu.threads.count());
    let numbers = attention.start(attention.n) * attention.channels();
    let (mut scratch, mut y) = (vec![f32::NAN; scratch], vec![f32::NAN; numbers]);
    forward_in_bytes(cpu, attention, qkv, &mut y, &mut scratch);
    y
}

/// One sequence of one head.
fn one_head(tokens: usize, dim: usize) -> Attention<'static> {
    Attention {
        n: 1,
        tokens,
        sight: Sight::All,
        starts: None,
        heads: 1,
        dim,
        scale: 1.0,
        lengths: None,
        additive: None,
    }
}

/// Probabilities that are each less than half a byte of the largest keep their weight together.
#[test]
fn many_small_probabilities_are_kept_in_bytes() {
    let (tokens, dim) = (512, 16);
    let attention = one_head(tokens, dim);
    let mut x = vec![0.0; 3 * tokens * dim];
    for (token, row) in x.chunks_exact_mut(3 * dim).enumerate() {
        let (q, rest) = row.split_at_mut(dim);
        q[0] = 1.0;
        // The first key's score is 6.5 above all others', its value 1 where theirs are about -1.
        rest[0] = if token == 0 { 6.5 } else { 0.0 };
        rest[dim] = if token == 0 {
            1.0
        } else {
            -1.0 + 0.1 * (token as f32).sin()
        };
    }
    let qkv = Qkv::packed(&attention, &x);
    let (mut want, mut near) = (vec![0.0; tokens * dim], vec![0.0; tokens * dim]);
    scalar::forward(&attention, qkv, &mut want);
    bytes_scalar::forward(&attention, qkv, &mut near);
    assert!((0.1..0.3).contains(&want[0]), "{} is half of each", want[0]);
    close(&near, &want, 3e-2, "a long tail");
}

#[test]
fn what_is_not_finite_is_seen_in_bytes() {
    if !has_bytes() {
        return;
    }
    let (tokens, dim) = (20, 16);
    let attention = one_head(tokens, dim);
    let clean = numbers(3 * tokens * dim, 1.0);
    everywhere(|cpu| {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for part in 0..3 {
                let mut x = clean.clone();
                x[(7 * 3 + part) * dim + 5] = odd;
                let y = bytes_of(cpu, &attention, Qkv::packed(&attention, &x));
                // Of values their channel, of keys and queries all of the head.
                let spoilt = |at: usize| part < 2 || at % dim == 5;
                assert!((0..y.len()).all(|at| y[at].is_finite() != spoilt(at)));
            }
        }
    });
}

/// Sequences one after the other: each as if it were alone, to the bit.
#[track_caller]
fn check_packed(rows: &[usize], heads: usize, dim: usize) {
    for sight in [Sight::All, Sight::Causal] {
        check_packed_sight(sight, rows, heads, dim);
    }
}

#[track_caller]
fn check_packed_sight(sight: Sight, rows: &[usize], heads: usize, dim: usize) {
    let mut starts = vec![0];
    for (at, rows) in rows.iter().enumerate() {
        starts.push(starts[at] + rows);
    }
    let c = heads * dim;
    let attention = Attention {
        n: rows.len(),
        tokens: rows.iter().copied().max().unwrap_or(0) + 3,
        sight,
        starts: Some(&starts),
        heads,
        dim,
        scale: 1.0 / (dim as f32).sqrt(),
        lengths: None,
        additive: None,
    };
    let all = starts[rows.len()];
    let x = numbers(3 * all * c, 0.0);
    let by_head: Vec<f32> = (0..x.len())
        .map(|at| {
            let (row, head, part) = (at / (3 * c), at % (3 * c) / (3 * dim), at % (3 * dim) / dim);
            x[(row * 3 + part) * c + head * dim + at % dim]
        })
        .collect();
    let mut want = vec![0.0; all * c];
    scalar::forward(&attention, Qkv::packed(&attention, &x), &mut want);
    everywhere(|cpu| {
        let mut scratch = vec![f32::NAN; attention.forward_scratch(cpu.threads.count())];
        let mut y = vec![f32::NAN; all * c];
        let qkv = Qkv::packed(&attention, &x);
        forward(cpu, &attention, qkv, &mut y, &mut scratch);
        close(&y, &want, 4e-6, "packed y");
        let mut same = vec![f32::NAN; all * c];
        let qkv_by_head = Qkv::by_head(&attention, &by_head);
        forward(cpu, &attention, qkv_by_head, &mut same, &mut scratch);
        assert_eq!(same, y);
        for (element, bound) in [(Element::Bf16, 3e-2), (Element::Bf16x3, 2e-4)] {
            let scratch = attention.tiles_scratch(element, cpu.threads.count());
            let (mut scratch, mut y) = (vec![f32::NAN; scratch], vec![f32::NAN; all * c]);
            forward_on_tiles(cpu, &attention, element, qkv, &mut y, &mut scratch);
            close(&y, &want, bound, "packed y on tiles");
            let qkv = qkv_by_head;
            forward_on_tiles(cpu, &attention, element, qkv, &mut same, &mut scratch);
            assert_eq!(same, y);
        }
        if has_bytes() && sight == Sight::All {
            let y = bytes_of(cpu, &attention, qkv);
            close(&y, &want, 3e-2, "packed y in bytes");
            assert_eq!(bytes_of(cpu, &attention, qkv_by_head), y);
        }
        for (at, &tokens) in rows.iter().enumerate() {
            let alone = Attention {
                n: 1,
                tokens,
                starts: None,
                ..attention
            };
            let x = &x[3 * starts[at] * c..3 * starts[at + 1] * c];
            let mut own = vec![f32::NAN; tokens * c];
            forward(cpu, &alone, Qkv::packed(&alone, x), &mut own, &mut scratch);
            assert_eq!(own, y[starts[at] * c..starts[at + 1] * c]);
        }
    });
}

#[test]
fn sequences_of_different_lengths() {
    check_packed(&[33, 1, 70, 16, 25], 3, 32);
    check_packed(&[5, 0, 24], 2, 5);
    check_packed(&[130, 2], 1, 64);
    check_packed(&[], 2, 8);
}

#[test]
fn one_token() {
    check(1, 1, 1, 16, false);
}

#[test]
fn wide_heads() {
    check(1, 50, 1, 80, false);
}

#[test]
fn usual_heads() {
    check(2, 33, 3, 32, true);
}

#[test]
fn large_heads_in_panels() {
    check(1, 130, 2, 64, false);
}

#[test]
fn narrow_heads_with_masks() {
    check(3, 25, 2, 16, true);
}

#[test]
fn dimensions_that_are_no_vectors() {
    check(2, 19, 2, 5, true);
    check(1, 7, 1, 23, false);
}

#[test]
fn a_sequence_of_nothing_gives_zeros() {
    check(4, 13, 2, 8, true);
    let lengths = [0];
    let attention = Attention {
        n: 1,
        tokens: 3,
        sight: Sight::All,
        starts: None,
        heads: 1,
        dim: 4,
        scale: 1.0,
        lengths: Some(&lengths),
        additive: None,
    };
    everywhere(|cpu| {
        let x = numbers(36, 0.0);
        let mut scratch = vec![f32::NAN; attention.forward_scratch(cpu.threads.count())];
        let mut y = vec![f32::NAN; 12];
        forward(
            cpu,
            &attention,
            Qkv::packed(&attention, &x),
            &mut y,
            &mut scratch,
        );
        assert_eq!(y, [0.0; 12]);
    });
}

#[test]
fn gradients_of_the_definition() {
    for sight in [Sight::All, Sight::Causal] {
        check_gradients(sight);
    }
}

#[track_caller]
fn check_gradients(sight: Sight) {
    let attention = Attention {
        n: 1,
        tokens: 4,
        sight,
        starts: None,
        heads: 2,
        dim: 3,
        scale: 0.6,
        lengths: Some(&[3]),
        additive: None,
    };
    let rows = 4 * 6;
    let (mut x, dy) = (numbers(3 * rows, 0.0), numbers(rows, 5.0));
    let dropout = Dropout { seed: 3, keep: 0.7 };
    let forward = |x: &[f32], p: &mut [f32]| -> f64 {
        let mut y = vec![0.0; rows];
        let out = AttentionOut {
            y: &mut y,
            probabilities: p,
            scratch: &mut [],
        };
        scalar::forward_train(&attention, Qkv::packed(&attention, x), dropout, out);
        y.iter()
            .zip(&dy)
            .map(|(&y, &dy)| f64::from(y) * f64::from(dy))
            .sum()
    };
    let mut p = vec![0.0; attention.probabilities()];
    forward(&x, &mut p);
    let mut d = vec![0.0; 3 * rows];
    let saved = AttentionSaved {
        qkv: Qkv::packed(&attention, &x),
        probabilities: &p,
        dropout,
    };
    scalar::backward(&attention, saved, &dy, QkvGrads::Packed(&mut d));
    let h = 1.0 / 128.0;
    for i in 0..x.len() {
        let middle = x[i];
        x[i] = middle + h;
        let up = forward(&x, &mut p);
        x[i] = middle - h;
        let down = forward(&x, &mut p);
        x[i] = middle;
        let want = (up - down) / f64::from(2.0 * h);
        // h^2 and rounding over h are both below 1e-4.
        assert!(
            (f64::from(d[i]) - want).abs() < 3e-4,
            "at {i}: {} instead of {want}",
            d[i]
        );
    }
}

/// What a causal query does not see changes nothing, to the bit.
#[test]
fn later_tokens_are_not_seen() {
    let (tokens, heads, dim) = (90, 2, 16);
    let c = heads * dim;
    let attention = Attention {
        n: 1,
        tokens,
        sight: Sight::Causal,
        starts: None,
        heads,
        dim,
        scale: 0.25,
        lengths: None,
        additive: None,
    };
    let x = numbers(3 * tokens * c, 0.0);
    everywhere(|cpu| {
        let size = attention.tiles_scratch(Element::Bf16x6, cpu.threads.count());
        let size = size.max(attention.forward_scratch(cpu.threads.count()));
        let mut scratch = vec![f32::NAN; size];
        let mut runs = [const { vec![] }; 3];
        for changed in [tokens, 70, 33] {
            let mut x = x.clone();
            x[3 * changed * c..].fill(1e6);
            let mut y = vec![f32::NAN; tokens * c];
            forward(
                cpu,
                &attention,
                Qkv::packed(&attention, &x),
                &mut y,
                &mut scratch,
            );
            runs[0].push(y.clone());
            for (run, element) in [(1, Element::Bf16), (2, Element::Bf16x6)] {
                let qkv = Qkv::packed(&attention, &x);
                forward_on_tiles(cpu, &attention, element, qkv, &mut y, &mut scratch);
                runs[run].push(y.clone());
            }
        }
        for [whole, late, early] in runs.map(|run| <[Vec<f32>; 3]>::try_from(run).expect("three")) {
            assert_eq!(whole[..70 * c], late[..70 * c]);
            assert_eq!(whole[..33 * c], early[..33 * c]);
            assert_ne!(whole[33 * c..34 * c], early[33 * c..34 * c]);
        }
    });
}

/// What Miri can finish.
#[test]
fn smallest() {
    check(2, 6, 2, 5, true);
    check_packed(&[3, 0, 2], 2, 4);
}
