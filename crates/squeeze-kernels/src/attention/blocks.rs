//! Attention by heads: keys and values are packed once, blocks of query rows go through scores, softmax and values.

use super::product::{Left, Size, WIDTH, pack_rows, pack_transposed, packed_len, panel, product};
use super::{Attention, AttentionOut, AttentionSaved, Qkv, QkvGrads, Rows};
use crate::elementwise::Dropout;
use crate::elementwise::dropout::masked;
use crate::vector::{Vector, per_tier};
use crate::{Cpu, SharedMut};

/// How many query rows go through scores, softmax and values together: their scores stay in the first caches.
const QUERIES: usize = 24;

/// How many numbers of scratch one thread needs.
pub(super) fn forward_scratch(attention: &Attention) -> usize {
    let (keys, dim) = padded(attention.keys(), attention.dim);
    2 * keys * dim + 2 * QUERIES * keys + QUERIES * dim
}

/// How many numbers of scratch one thread needs.
pub(super) fn backward_scratch(attention: &Attention) -> usize {
    let (tokens, dim) = padded(attention.tokens, attention.dim);
    let (keys, _) = padded(attention.keys(), attention.dim);
    3 * tokens.max(keys) * dim + 2 * tokens * keys
}

fn padded(rows: usize, dim: usize) -> (usize, usize) {
    (rows.next_multiple_of(WIDTH), dim.next_multiple_of(WIDTH))
}

/// One head of one sequence.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub attention: &'a Attention<'a>,
    pub sequence: usize,
    pub head: usize,
}

impl<'a> Head<'a> {
    /// How many keys count.
    pub(super) fn length(&self) -> usize {
        self.attention.length(self.sequence)
    }

    /// Writes zeros as its part of the output.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn write_zeros(&self, y: &SharedMut<f32>) {
        for row in 0..self.attention.rows(self.sequence) {
            let place = self.place(Of::Queries, row, self.attention.channels());
            // SAFETY: each head of each sequence has its own part of the output.
            unsafe { y.slice(place) }.fill(0.0);
        }
    }

    /// The rows of this head from a query on; `stride` is that of the rows.
    fn rows(&self, rows: Rows<'a>, query: usize) -> &'a [f32] {
        self.behind(rows, self.attention.start(self.sequence) + query)
    }

    /// The rows of this head in keys or values.
    fn key_rows(&self, rows: Rows<'a>) -> &'a [f32] {
        self.behind(rows, self.attention.key_start(self.sequence))
    }

    fn behind(&self, rows: Rows<'a>, row: usize) -> &'a [f32] {
        rows.data
            .get(row * rows.stride + self.head * rows.head..)
            .unwrap_or_default()
    }

    /// Where a row of this head lies in rows of all heads, `stride` apart: of the queries, or of keys and values.
    fn place(&self, of: Of, token: usize, stride: usize) -> std::ops::Range<usize> {
        let start = match of {
            Of::Queries => self.attention.start(self.sequence),
            Of::Keys => self.attention.key_start(self.sequence),
        };
        let at = (start + token) * stride + self.head * self.attention.dim;
        at..at + self.attention.dim
    }

    /// Where the probabilities of a query begin.
    fn probabilities(&self, query: usize) -> usize {
        let (tokens, keys) = (self.attention.tokens, self.attention.keys());
        ((self.sequence * self.attention.heads + self.head) * tokens + query) * keys
    }
}

/// Whose rows.
#[derive(Clone, Copy)]
enum Of {
    Queries,
    Keys,
}

/// So many bytes of scratch, from the first line of the cache in it on.
///
/// # Panics
/// If the scratch is too short.
#[cfg(target_arch = "x86_64")]
pub(super) fn lines(scratch: &mut [f32], bytes: usize) -> *mut u8 {
    let first = scratch.as_ptr().align_offset(64);
    scratch[first..][..bytes / 4].as_mut_ptr().cast()
}

/// Calls `work(head, scratch)` for every head, split over the threads.
pub(super) fn each_head(
    cpu: Cpu,
    attention: &Attention,
    scratch: &mut [f32],
    one: usize,
    work: impl Fn(Head, &mut [f32]) + Sync,
) {
    let scores = |sequence| attention.rows(sequence) * attention.length(sequence).max(1);
    let all: usize = attention.heads * (0..attention.n).map(scores).sum::<usize>();
    let heads = attention.n * attention.heads;
    let parts = cpu.threads.parts(all * attention.dim * 2, heads);
    let scratch = SharedMut::new(scratch);
    cpu.threads
        .share(all, (parts, all / heads.max(1)), &|part, own| {
            // SAFETY: each part has its own scratch.
            let scratch = unsafe { scratch.slice(part * one..(part + 1) * one) };
            // Sequences differ in length: a head belongs to the part in whose share of all scores its own begin.
            let mut at = 0;
            for sequence in 0..attention.n {
                for head in 0..attention.heads {
                    if own.contains(&at) {
                        let head = Head {
                            attention,
                            sequence,
                            head,
                        };
                        work(head, scratch);
                    }
                    at += scores(sequence);
                }
            }
        });
}

/// Attention for inference.
pub(super) fn forward(
    cpu: Cpu,
    attention: &Attention,
    qkv: Qkv,
    y: &mut [f32],
    scratch: &mut [f32],
) {
    let y = SharedMut::new(y);
    each_head(
        cpu,
        attention,
        scratch,
        forward_scratch(attention),
        |head, scratch| {
            head_forward(cpu, head, qkv, Training::No, &y, scratch);
        },
    );
}

/// Attention for training.
pub(super) fn forward_train(
    cpu: Cpu,
    attention: &Attention,
    qkv: Qkv,
    dropout: Dropout,
    out: AttentionOut,
) {
    let (y, kept) = (SharedMut::new(out.y), SharedMut::new(out.probabilities));
    each_head(
        cpu,
        attention,
        out.scratch,
        forward_scratch(attention),
        |head, scratch| {
            head_forward(
                cpu,
                head,
                qkv,
                Training::Yes {
                    dropout,
                    kept: &kept,
                },
                &y,
                scratch,
            );
        },
    );
}

/// Whether the forward pass keeps its probabilities.
#[derive(Clone, Copy)]
enum Training<'a> {
    No,
    Yes {
        dropout: Dropout,
        kept: &'a SharedMut<'a, f32>,
    },
}

fn head_forward(
    cpu: Cpu,
    head: Head,
    qkv: Qkv,
    training: Training,
    y: &SharedMut<f32>,
    scratch: &mut [f32],
) {
    let attention = head.attention;
    let tokens = attention.rows(head.sequence);
    let (dim, length) = (attention.dim, head.length());
    let (wide, deep) = padded(attention.keys(), dim);
    let (keys, scratch) = scratch.split_at_mut(wide * deep);
    let (values, scratch) = scratch.split_at_mut(wide * deep);
    let (scores, scratch) = scratch.split_at_mut(QUERIES * wide);
    let (weights, out) = scratch.split_at_mut(QUERIES * wide);
    let size = Size::new(cpu.tier, [0, length, dim]);
    pack_transposed(cpu.tier, head.key_rows(qkv.k), qkv.k.stride, size, keys);
    let size = Size::new(cpu.tier, [0, dim, length]);
    pack_rows(cpu.tier, head.key_rows(qkv.v), qkv.v.stride, size, values);
    let additive = attention
        .additive
        .map(|additive| &additive[attention.key_start(head.sequence)..][..length]);
    for first in (0..tokens).step_by(QUERIES) {
        let m = QUERIES.min(tokens - first);
        // Keys that the last of these queries sees; scores are computed for whole panels of them.
        let seen = attention.seen(head.sequence, first + m);
        let q = Left {
            data: head.rows(qkv.q, first),
            row_step: qkv.q.stride,
            k_step: 1,
        };
        product(
            cpu.tier,
            q,
            keys,
            Size::new(
                cpu.tier,
                [m, length.min(seen.next_multiple_of(panel(cpu.tier))), dim],
            ),
            scores,
            wide,
        );
        let mut factors = [1.0; QUERIES];
        for i in 0..m {
            let own = attention.seen(head.sequence, first + i + 1);
            let scores = &mut scores[i * wide..][..own];
            let (weights, unseen) = weights[i * wide..][..seen].split_at_mut(own);
            unseen.fill(0.0);
            let additive = additive.map(|additive| &additive[..own]);
            let sum = score_exponentials(cpu.tier, attention.scale, additive, scores, weights);
            let factor = if length == 0 { 0.0 } else { 1.0 / sum };
            match training {
                // Scaling `dim` sums in the end is less than scaling `length` probabilities.
                Training::No => factors[i] = factor,
                Training::Yes { dropout, kept } => {
                    let at = head.probabilities(first + i);
                    // SAFETY: each query's row belongs to one head.
                    let kept = unsafe { kept.slice(at..at + attention.keys()) };
                    for (kept, weight) in kept.iter_mut().zip(&*weights) {
                        *kept = weight * factor;
                    }
                    kept[own..].fill(0.0);
                    masked(cpu.tier, dropout, at as u64, &kept[..own], weights);
                }
            }
        }
        let p = Left {
            data: weights,
            row_step: wide,
            k_step: 1,
        };
        let panel = panel(cpu.tier);
        for column in (0..dim).step_by(panel) {
            let n = panel.min(dim - column);
            let (values, out) = (&values[column * length..], &mut out[column..]);
            product(
                cpu.tier,
                p,
                values,
                Size::new(cpu.tier, [m, n, seen]),
                out,
                deep,
            );
        }
        for i in 0..m {
            let place = head.place(Of::Queries, first + i, attention.channels());
            // SAFETY: each row of each head is written by one part.
            let y = unsafe { y.slice(place) };
            scaled(cpu.tier, factors[i], &out[i * deep..][..dim], y);
        }
    }
}

/// The gradients of attention.
pub(super) fn backward(
    cpu: Cpu,
    attention: &Attention,
    saved: AttentionSaved,
    dy: &[f32],
    grads: QkvGrads,
    scratch: &mut [f32],
) {
    let channels = attention.channels();
    let one = backward_scratch(attention);
    match grads {
        QkvGrads::Separate(three) => {
            let three = three.map(SharedMut::new);
            each_head(cpu, attention, scratch, one, |head, scratch| {
                head_backward(cpu, head, saved, dy, scratch, |part, token, from| {
                    let of = if part == 0 { Of::Queries } else { Of::Keys };
                    // SAFETY: each row of each head is written by one part.
                    let to = unsafe { three[part].slice(head.place(of, token, channels)) };
                    to.copy_from_slice(from);
                });
            });
        }
        QkvGrads::Packed(packed) => {
            let packed = SharedMut::new(packed);
            each_head(cpu, attention, scratch, one, |head, scratch| {
                head_backward(cpu, head, saved, dy, scratch, |part, token, from| {
                    let at = head.place(Of::Queries, token, 3 * channels);
                    let at = at.start + part * channels..at.end + part * channels;
                    // SAFETY: each row of each head is written by one part.
                    unsafe { packed.slice(at) }.copy_from_slice(from);
                });
            });
        }
    }
}

/// Calls `write(which of q, k, v; token; gradient)` for every row of a head.
fn head_backward(
    cpu: Cpu,
    head: Head,
    saved: AttentionSaved,
    dy: &[f32],
    scratch: &mut [f32],
    write: impl Fn(usize, usize, &[f32]),
) {
    let attention = head.attention;
    let (tokens, keys) = (attention.tokens, attention.keys());
    let (dim, length) = (attention.dim, head.length());
    let (wide, deep) = padded(keys, dim);
    let (high, _) = padded(tokens, dim);
    let most = wide.max(high);
    let (packed, scratch) = scratch.split_at_mut(most * deep);
    let (upstream, scratch) = scratch.split_at_mut(most * deep);
    let (out, scratch) = scratch.split_at_mut(most * deep);
    let (ds, dropped) = scratch.split_at_mut(high * wide);
    let p = &saved.probabilities[head.probabilities(0)..][..tokens * keys];
    let dy = Rows {
        data: dy,
        stride: attention.channels(),
        head: dim,
    };
    let dy_head = head.rows(dy, 0);
    let columns = |k: usize| Size::new(cpu.tier, [0, dim, k]);

    // The gradient of the probabilities is dy v^T.
    let v = saved.qkv.v;
    pack_transposed(
        cpu.tier,
        head.key_rows(v),
        v.stride,
        Size::new(cpu.tier, [0, length, dim]),
        packed,
    );
    let left = Left {
        data: dy_head,
        row_step: dy.stride,
        k_step: 1,
    };
    product(
        cpu.tier,
        left,
        packed,
        Size::new(cpu.tier, [tokens, length, dim]),
        ds,
        wide,
    );

    // Through dropout and softmax: ds = p (dp - sum(p dp)) scale.
    for query in 0..tokens {
        let p = &p[query * keys..][..length];
        let ds = &mut ds[query * wide..][..length];
        if saved.dropout.keep < 1.0 {
            let place = head.probabilities(query) as u64;
            let dropped = &mut dropped[query * wide..][..length];
            masked(cpu.tier, saved.dropout, place, ds, dropped);
            ds.copy_from_slice(dropped);
            masked(cpu.tier, saved.dropout, place, p, dropped);
        }
        score_gradient(cpu.tier, attention.scale, p, ds);
    }

    // dv = p^T dy, dk = ds^T q: left sides read by columns.
    let p = if saved.dropout.keep < 1.0 {
        Left {
            data: dropped,
            row_step: 1,
            k_step: wide,
        }
    } else {
        Left {
            data: p,
            row_step: 1,
            k_step: keys,
        }
    };
    let put = |part: usize, rows: usize, out: &[f32]| {
        for token in 0..rows {
            write(part, token, &out[token * deep..][..dim]);
        }
    };
    out[length * deep..].fill(0.0);
    pack_rows(cpu.tier, dy_head, dy.stride, columns(tokens), upstream);
    product(
        cpu.tier,
        p,
        upstream,
        Size::new(cpu.tier, [length, dim, tokens]),
        out,
        deep,
    );
    put(2, keys, out);
    let q = saved.qkv.q;
    pack_rows(cpu.tier, head.rows(q, 0), q.stride, columns(tokens), packed);
    let left = Left {
        data: ds,
        row_step: 1,
        k_step: wide,
    };
    product(
        cpu.tier,
        left,
        packed,
        Size::new(cpu.tier, [length, dim, tokens]),
        out,
        deep,
    );
    put(1, keys, out);

    // dq = ds k.
    let k = saved.qkv.k;
    pack_rows(
        cpu.tier,
        head.key_rows(k),
        k.stride,
        columns(length),
        packed,
    );
    let left = Left {
        data: ds,
        row_step: wide,
        k_step: 1,
    };
    product(
        cpu.tier,
        left,
        packed,
        Size::new(cpu.tier, [tokens, dim, length]),
        out,
        deep,
    );
    put(0, tokens, out);
    debug_assert!(packed_len(dim, tokens.max(keys)) <= most * deep);
}

per_tier! {
    /// `weights = e^(scale scores + additive - largest)`, and their sum; `scores` are changed.
    fn score_exponentials(
        scale: f32,
        additive: Option<&[f32]>,
        scores: &mut [f32],
        weights: &mut [f32],
    ) -> f32
    { scalar: score_exponentials_scalar, vector: score_exponentials_vector }
}

fn score_exponentials_scalar(
    scale: f32,
    additive: Option<&[f32]>,
    scores: &mut [f32],
    weights: &mut [f32],
) -> f32 {
    for (i, score) in scores.iter_mut().enumerate() {
        *score = *score * scale + additive.map_or(0.0, |additive| additive[i]);
    }
    crate::softmax::scalar::exponentials(scores, 1.0, weights)[1]
}

#[inline(always)]
fn score_exponentials_vector<V: Vector>(
    scale: f32,
    additive: Option<&[f32]>,
    scores: &mut [f32],
    weights: &mut [f32],
) -> f32 {
    if let Some(additive) = additive {
        let scale = V::splat(scale);
        for (score, add) in scores.chunks_mut(V::LANES).zip(additive.chunks(V::LANES)) {
            V::load_part(score)
                .mul_add(scale, V::load_part(add))
                .store_part(score);
        }
        crate::softmax::vector::exponentials::<V>(scores, 1.0, weights)[1]
    } else if scale > 0.0 {
        // The largest score stays the largest under a positive scale.
        crate::softmax::vector::exponentials::<V>(scores, scale, weights)[1]
    } else {
        for score in scores.chunks_mut(V::LANES) {
            (V::load_part(score) * V::splat(scale)).store_part(score);
        }
        crate::softmax::vector::exponentials::<V>(scores, 1.0, weights)[1]
    }
}

per_tier! {
    /// `to = factor from`.
    fn scaled(factor: f32, from: &[f32], to: &mut [f32])
    { compiled: scaled_body }
}

#[inline(always)]
fn scaled_body(factor: f32, from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from * factor;
    }
}

per_tier! {
    /// `d = p (d - sum(p d)) scale`.
    fn score_gradient(scale: f32, p: &[f32], d: &mut [f32])
    { scalar: score_gradient_scalar, vector: score_gradient_vector }
}

fn score_gradient_scalar(scale: f32, p: &[f32], d: &mut [f32]) {
    let dot: f32 = p.iter().zip(&*d).map(|(p, d)| p * d).sum();
    for (d, p) in d.iter_mut().zip(p) {
        *d = p * (*d - dot) * scale;
    }
}

#[inline(always)]
fn score_gradient_vector<V: Vector>(scale: f32, p: &[f32], d: &mut [f32]) {
    let mut dot = V::splat(0.0);
    for (p, d) in p.chunks(V::LANES).zip(d.chunks(V::LANES)) {
        dot = V::load_part(p).mul_add(V::load_part(d), dot);
    }
    let (dot, scale) = (V::splat(dot.sum()), V::splat(scale));
    for (p, d) in p.chunks(V::LANES).zip(d.chunks_mut(V::LANES)) {
        (V::load_part(p) * (V::load_part(d) - dot) * scale).store_part(d);
    }
}
