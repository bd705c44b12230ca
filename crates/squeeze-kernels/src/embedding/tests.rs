//! Gathers and scatters on every tier.

use super::*;
use crate::Threads;

fn numbers(len: usize, seed: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.7 + seed).sin()).collect()
}

#[test]
fn rows_are_gathered_summed_and_scattered() {
    for threads in [1, 3] {
        let threads = Threads::new(threads);
        for tier in Tier::here() {
            let cpu = Cpu {
                tier,
                threads: &threads,
            };
            for c in [1, 16, 37] {
                let tokens = 6;
                let ids: Vec<i32> = (0..4000 * tokens as i32).map(|i| i * 7 % 11).collect();
                let segments: Vec<i32> = ids.iter().map(|id| id % 2).collect();
                let positions: Vec<i32> =
                    (0..ids.len() as i32).map(|i| i % tokens as i32).collect();
                let (word, position) = (numbers(11 * c, 0.0), numbers(8 * c, 1.0));
                let segment = numbers(2 * c, 2.0);
                let mut y = vec![0.0; ids.len() * c];
                gather(cpu, c, Weight::Numbers(&word), &ids, &mut y);
                assert!((0..y.len()).all(|i| y[i] == word[ids[i / c] as usize * c + i % c]));
                let (bytes, scales) = Weight::Numbers(&word).in_rows(11, 0);
                let in_bytes = Weight::Bytes(&bytes, &scales);
                let number = |at: usize| scales[at / c] * f32::from(bytes[at]);
                gather(cpu, c, in_bytes, &ids, &mut y);
                assert!((0..y.len()).all(|i| y[i] == number(ids[i / c] as usize * c + i % c)));
                let tables = Tables {
                    word: Weight::Numbers(&word),
                    position: &position,
                    segment: &segment,
                };
                let shape = Sum { tokens, c };
                let mut of = Tokens {
                    ids: &ids,
                    positions: &positions,
                    segments: &segments,
                };
                sum(cpu, c, tables, of, &mut y);
                for i in (0..y.len()).step_by(97) {
                    let (token, at) = (i / c, i % c);
                    let want = word[ids[token] as usize * c + at]
                        + position[token % tokens * c + at]
                        + segment[segments[token] as usize * c + at];
                    assert_eq!(y[i], want);
                }
                let mut sums = vec![0.0; y.len()];
                let of_bytes = Tables {
                    word: in_bytes,
                    ..tables
                };
                sum(cpu, c, of_bytes, of, &mut sums);
                for i in (0..sums.len()).step_by(89) {
                    let (token, at) = (i / c, i % c);
                    let want = number(ids[token] as usize * c + at)
                        + position[token % tokens * c + at]
                        + segment[segments[token] as usize * c + at];
                    assert_eq!(sums[i], want);
                }
                let mut plain = vec![0.0; y.len()];
                of.segments = &[];
                sum(cpu, c, tables, of, &mut plain);
                assert_eq!(plain[0], word[0] + position[0] + segment[0]);
                let (mut dword, mut dposition) = (vec![1.0; 11 * c], vec![1.0; 8 * c]);
                scatter_add(cpu, c, &ids, &y, &mut dword);
                scatter_add_positions(cpu, shape, &y, &mut dposition);
                let (mut want, mut want_position) = (vec![1.0; 11 * c], vec![1.0; 8 * c]);
                for (i, y) in y.iter().enumerate() {
                    want[ids[i / c] as usize * c + i % c] += y;
                    want_position[i / c % tokens * c + i % c] += y;
                }
                assert_eq!((dword, dposition), (want, want_position));
            }
        }
    }
}
