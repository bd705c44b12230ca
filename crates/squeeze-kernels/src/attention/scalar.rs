//! The definition of attention: one query row at a time.

use super::{Attention, AttentionOut, AttentionSaved, Qkv, QkvGrads, Rows};
use crate::elementwise::Dropout;
use crate::softmax::scalar::row_forward;

impl<'a> Rows<'a> {
    /// The numbers of one head in one row.
    pub(super) fn head(&self, attention: &Attention, row: usize, head: usize) -> &'a [f32] {
        &self.data[row * self.stride + head * self.head..][..attention.dim]
    }
}

/// Attention for inference.
pub fn forward(attention: &Attention, qkv: Qkv, y: &mut [f32]) {
    each_query(attention, |sequence, head, query| {
        let mut scores = vec![0.0; attention.seen(sequence, query + 1)];
        probabilities(attention, qkv, [sequence, head, query], &mut scores);
        let row = attention.start(sequence) + query;
        let y = &mut y[row * attention.channels() + head * attention.dim..][..attention.dim];
        weighted_values(attention, qkv, [sequence, head], &scores, y);
    });
}

/// Attention for training.
pub fn forward_train(attention: &Attention, qkv: Qkv, dropout: Dropout, out: AttentionOut) {
    let (tokens, keys) = (attention.tokens, attention.keys());
    out.probabilities.fill(0.0);
    each_query(attention, |sequence, head, query| {
        let at = ((sequence * attention.heads + head) * tokens + query) * keys;
        let kept = &mut out.probabilities[at..][..attention.seen(sequence, query + 1)];
        probabilities(attention, qkv, [sequence, head, query], kept);
        let dropped: Vec<f32> = (0..kept.len())
            .map(|key| kept[key] * dropout.factor((at + key) as u64))
            .collect();
        let row = sequence * tokens + query;
        let y = &mut out.y[row * attention.channels() + head * attention.dim..][..attention.dim];
        weighted_values(attention, qkv, [sequence, head], &dropped, y);
    });
}

/// The gradients of attention.
pub fn backward(attention: &Attention, saved: AttentionSaved, dy: &[f32], grads: QkvGrads) {
    let channels = attention.channels();
    let (mut dq, mut dk, mut dv);
    let (mut grads, stride, offsets): ([&mut [f32]; 3], usize, [usize; 3]) = match grads {
        QkvGrads::Separate(three) => (three, channels, [0; 3]),
        QkvGrads::Packed(one) => {
            // Three whole buffers that are added in the end: the definition need not be fast.
            (dq, dk, dv) = (
                vec![0.0; one.len()],
                vec![0.0; one.len()],
                vec![0.0; one.len()],
            );
            one.fill(0.0);
            let mut parts = [&mut dq[..], &mut dk[..], &mut dv[..]];
            let offsets = [0, channels, 2 * channels];
            gradients(attention, saved, dy, &mut parts, 3 * channels, offsets);
            for part in parts {
                for (to, from) in one.iter_mut().zip(part) {
                    *to += *from;
                }
            }
            return;
        }
    };
    for part in &mut grads {
        part.fill(0.0);
    }
    gradients(attention, saved, dy, &mut grads, stride, offsets);
}

fn gradients(
    attention: &Attention,
    saved: AttentionSaved,
    dy: &[f32],
    [dq, dk, dv]: &mut [&mut [f32]; 3],
    stride: usize,
    offsets: [usize; 3],
) {
    let (tokens, keys, dim) = (attention.tokens, attention.keys(), attention.dim);
    each_query(attention, |sequence, head, query| {
        let at = ((sequence * attention.heads + head) * tokens + query) * keys;
        let length = attention.seen(sequence, query + 1);
        let p = &saved.probabilities[at..][..length];
        let row = sequence * tokens + query;
        let dy = &dy[row * attention.channels() + head * dim..][..dim];
        let place = |row: usize, part: usize| row * stride + offsets[part] + head * dim;
        let mut dp = vec![0.0; length];
        for key in 0..length {
            let factor = saved.dropout.factor((at + key) as u64);
            let key_row = sequence * keys + key;
            let v = saved.qkv.v.head(attention, key_row, head);
            dp[key] = factor * (0..dim).map(|c| dy[c] * v[c]).sum::<f32>();
            for c in 0..dim {
                dv[place(key_row, 2) + c] += p[key] * factor * dy[c];
            }
        }
        let dot: f32 = (0..length).map(|key| p[key] * dp[key]).sum();
        for key in 0..length {
            let ds = p[key] * (dp[key] - dot) * attention.scale;
            let key_row = sequence * keys + key;
            let (q, k) = (
                saved.qkv.q.head(attention, row, head),
                saved.qkv.k.head(attention, key_row, head),
            );
            for c in 0..dim {
                dq[place(row, 0) + c] += ds * k[c];
                dk[place(key_row, 1) + c] += ds * q[c];
            }
        }
    });
}

fn each_query(attention: &Attention, mut work: impl FnMut(usize, usize, usize)) {
    for sequence in 0..attention.n {
        for head in 0..attention.heads {
            for query in 0..attention.rows(sequence) {
                work(sequence, head, query);
            }
        }
    }
}

/// The probabilities of the keys that count, for one query.
fn probabilities(
    attention: &Attention,
    qkv: Qkv,
    [sequence, head, query]: [usize; 3],
    p: &mut [f32],
) {
    let start = attention.key_start(sequence);
    let q = qkv
        .q
        .head(attention, attention.start(sequence) + query, head);
    let scores: Vec<f32> = (0..p.len())
        .map(|key| {
            let row = start + key;
            let k = qkv.k.head(attention, row, head);
            let dot: f32 = q.iter().zip(k).map(|(q, k)| q * k).sum();
            dot * attention.scale + attention.additive.map_or(0.0, |additive| additive[row])
        })
        .collect();
    row_forward(&scores, p);
}

fn weighted_values(
    attention: &Attention,
    qkv: Qkv,
    [sequence, head]: [usize; 2],
    p: &[f32],
    y: &mut [f32],
) {
    y.fill(0.0);
    let start = attention.key_start(sequence);
    for (key, p) in p.iter().enumerate() {
        let v = qkv.v.head(attention, start + key, head);
        for c in 0..attention.dim {
            y[c] += p * v[c];
        }
    }
}
