//! The definition of attention in bytes: one query row at a time.

use super::{Attention, Qkv, Rows};

/// Below it a span counts as nothing: 127 over it must be finite.
pub(super) const LEAST: f32 = 1e-30;

/// The logarithm to base 2 of what the largest probability of a query is, 254: with what rounding took from another one it is a byte.
pub(super) const LOG2_TOP: f32 = 7.988_684_7;

/// How many keys further what rounding takes from a probability is added: the lanes of a register.
pub(super) const CARRY: usize = 16;

/// How one channel of all keys or values becomes bytes: number `x` is about `middle + step * byte`.
#[derive(Clone, Copy, Default)]
struct Mark {
    middle: f32,
    step: f32,
    /// What numbers are multiplied by, and what is added.
    factor: f32,
    shift: f32,
}

impl Mark {
    fn of(x: impl Iterator<Item = f32> + Clone) -> Self {
        let low = x.clone().fold(f32::INFINITY, f32::min);
        let high = x.clone().fold(f32::NEG_INFINITY, f32::max);
        let odd = x.fold(0.0, |odd: f32, x| x.mul_add(0.0, odd));
        let (middle, half) = (0.5 * high + 0.5 * low + odd, 0.5 * high - 0.5 * low);
        let factor = if half < LEAST { 0.0 } else { 127.0 / half };
        Self {
            middle,
            step: half * (1.0 / 127.0) + odd,
            factor,
            shift: -(middle * factor),
        }
    }

    fn byte(&self, x: f32) -> i32 {
        byte(x.mul_add(self.factor, self.shift))
    }
}

/// The nearest signed byte, half to even.
fn byte(x: f32) -> i32 {
    (x.round_ties_even() as i32).clamp(-128, 127)
}

/// `2^x` from 0 to 1: the minimax polynomial of the relative error, which is 0.0017, by Lawson's algorithm.
pub(super) const ROUGH_EXP2: [f32; 3] = [1.001_724_6, 0.657_636_6, 0.337_189_72];

/// `2^x`, roughly.
fn rough_exp2(x: f32) -> f32 {
    let [c0, c1, c2] = ROUGH_EXP2;
    let above = x - x.floor();
    let p = c2.mul_add(above, c1).mul_add(above, c0);
    (f64::from(p) * f64::from(x.floor()).exp2()) as f32
}

/// Attention for inference, of finite numbers.
pub fn forward(attention: &Attention, qkv: Qkv, y: &mut [f32]) {
    for sequence in 0..attention.n {
        for head in 0..attention.heads {
            forward_head(attention, qkv, [sequence, head], y);
        }
    }
}

fn forward_head(a: &Attention, qkv: Qkv, [sequence, head]: [usize; 2], y: &mut [f32]) {
    let (length, first) = (a.length(sequence), a.key_start(sequence));
    let columns = |rows: Rows| -> (Vec<Mark>, Vec<Vec<i32>>) {
        let row = |key: usize| rows.head(a, first + key, head);
        let marks: Vec<Mark> = (0..a.dim)
            .map(|c| Mark::of((0..length).map(|key| row(key)[c])))
            .collect();
        let bytes = (0..length)
            .map(|key| marks.iter().zip(row(key)).map(|(m, &x)| m.byte(x)))
            .map(Iterator::collect)
            .collect();
        (marks, bytes)
    };
    let (key_marks, keys) = columns(qkv.k);
    let (value_marks, values) = columns(qkv.v);
    let query_row = |query: usize| qkv.q.head(a, a.start(sequence) + query, head);
    let most = (0..a.rows(sequence))
        .flat_map(|query| query_row(query).iter().zip(&key_marks))
        .fold(0.0, |most: f32, (q, mark)| most.max((q * mark.step).abs()));
    let factor = if most < LEAST { 0.0 } else { 127.0 / most };
    let cool = most * (1.0 / 127.0) * (a.scale * std::f32::consts::LOG2_E);
    for query in 0..a.rows(sequence) {
        let row = a.start(sequence) + query;
        let y = &mut y[row * a.channels() + head * a.dim..][..a.dim];
        if length == 0 {
            y.fill(0.0);
            continue;
        }
        let q: Vec<i32> = (query_row(query).iter().zip(&key_marks))
            .map(|(q, mark)| byte(q * (mark.step * factor)))
            .collect();
        // Bytes of keys are 128 too large: the same for all keys of a query, which softmax does not see.
        let score = |key: &Vec<i32>| -> i32 { q.iter().zip(key).map(|(q, k)| q * (k + 128)).sum() };
        let scores: Vec<i32> = keys.iter().map(score).collect();
        let largest = scores.iter().copied().fold(i32::MIN, i32::max);
        let below = LOG2_TOP - largest as f32 * cool;
        let mut carry = [0.0; CARRY];
        let mut sum = 0;
        let probabilities: Vec<i32> = (scores.iter().enumerate())
            .map(|(key, score)| {
                let power = rough_exp2((*score as f32).mul_add(cool, below));
                let exact = power + carry[key % CARRY];
                let whole = exact.round_ties_even();
                carry[key % CARRY] = exact - whole;
                sum += whole as i32;
                whole as i32
            })
            .collect();
        let share = 1.0 / sum as f32;
        for (c, (y, mark)) in y.iter_mut().zip(&value_marks).enumerate() {
            let sum: i32 = (probabilities.iter().zip(&values))
                .map(|(p, value)| p * value[c])
                .sum();
            *y = (sum as f32).mul_add(share * mark.step, mark.middle);
        }
    }
}
