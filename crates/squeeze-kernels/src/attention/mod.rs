//! Scaled dot-product attention with masks: streamed for inference, with kept probabilities for training.

mod blocks;
#[cfg(target_arch = "x86_64")]
mod bytes;
pub mod bytes_scalar;
mod product;
pub mod scalar;
#[cfg(target_arch = "x86_64")]
mod tiles;

#[cfg(target_arch = "x86_64")]
use crate::SharedMut;
use crate::amx::Element;
#[cfg(target_arch = "x86_64")]
use crate::amx::Kernel;
use crate::elementwise::Dropout;
use crate::{Cpu, Tier};

/// Attention over `n` sequences of `tokens` rows, or of their own numbers of rows, with `heads` heads of `dim` channels each.
///
/// A key at or beyond its sequence's length gets probability 0; a sequence of length 0 gives zeros. Keys and values that a query does
/// not see must still be finite where attention is causal: they are multiplied by zero.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// How many sequences.
    pub n: usize,
    /// How many rows a sequence has at most.
    pub tokens: usize,
    /// What queries see.
    pub sight: Sight,
    /// Where each sequence's rows begin, and where the last one's end: `[n + 1]`; `None` where each has `tokens` rows. Not for training,
    /// nor for keys of another text.
    pub starts: Option<&'a [usize]>,
    /// How many heads.
    pub heads: usize,
    /// How many channels a head has.
    pub dim: usize,
    /// What scores are multiplied by, commonly `1 / sqrt(dim)`.
    pub scale: f32,
    /// How many keys of each sequence count: `[n]`.
    pub lengths: Option<&'a [usize]>,
    /// Added to the scores of each key after scaling: one number for each row of each sequence.
    pub additive: Option<&'a [f32]>,
}

impl Attention<'_> {
    /// How many keys a sequence has at most.
    pub fn keys(&self) -> usize {
        match self.sight {
            Sight::All | Sight::Causal => self.tokens,
            Sight::Other { keys } => keys,
        }
    }

    /// How many channels all heads have together.
    pub fn channels(&self) -> usize {
        self.heads * self.dim
    }

    /// The first row of a sequence; that of sequence `n` is the number of all rows.
    pub fn start(&self, sequence: usize) -> usize {
        self.starts
            .map_or(sequence * self.tokens, |starts| starts[sequence])
    }

    /// How many rows a sequence has.
    pub fn rows(&self, sequence: usize) -> usize {
        self.start(sequence + 1) - self.start(sequence)
    }

    /// The first row of a sequence's keys and values.
    pub fn key_start(&self, sequence: usize) -> usize {
        match self.sight {
            Sight::All | Sight::Causal => self.start(sequence),
            Sight::Other { keys } => sequence * keys,
        }
    }

    /// How many keys of a sequence count.
    pub fn length(&self, sequence: usize) -> usize {
        let rows = match self.sight {
            Sight::All | Sight::Causal => self.rows(sequence),
            Sight::Other { keys } => keys,
        };
        self.lengths
            .map_or(rows, |lengths| lengths[sequence].min(rows))
    }

    /// How many keys the last of a sequence's first so many queries sees.
    pub fn seen(&self, sequence: usize, queries: usize) -> usize {
        let length = self.length(sequence);
        match self.sight {
            Sight::All | Sight::Other { .. } => length,
            Sight::Causal => length.min(queries),
        }
    }

    /// How many numbers the probabilities of training are: `[n, heads, tokens, keys]`.
    pub fn probabilities(&self) -> usize {
        self.n * self.heads * self.tokens * self.keys()
    }

    /// How many numbers of scratch [`forward`] and [`forward_train`] need with so many threads.
    pub fn forward_scratch(&self, threads: usize) -> usize {
        threads.min(self.n * self.heads).max(1) * blocks::forward_scratch(self)
    }

    /// How many numbers of scratch [`forward_on_tiles`] needs with so many threads.
    pub fn tiles_scratch(&self, element: Element, threads: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.fits_tiles(element) {
            return threads.min(self.n * self.heads).max(1) * tiles::scratch(self, element);
        }
        self.forward_scratch(threads)
    }

    /// How many numbers of scratch [`forward_in_bytes`] needs with so many threads.
    pub fn bytes_scratch(&self, threads: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        if bytes::fits(self) {
            return threads.min(self.n * self.heads).max(1) * bytes::scratch(self);
        }
        self.forward_scratch(threads)
    }

    /// Whether a head fits the tables of [`forward_on_tiles`] and the machine multiplies tiles of bfloat16.
    #[cfg(target_arch = "x86_64")]
    fn fits_tiles(&self, element: Element) -> bool {
        let is_bfloat16 = element != Element::F16;
        is_bfloat16
            && Kernel::of(Tier::detect(), element).tier >= Tier::Avx512
            && self.additive.is_none()
            && self.keys().max(self.dim) <= tiles::MOST
    }

    /// How many numbers of scratch [`backward`] needs with so many threads.
    pub fn backward_scratch(&self, threads: usize) -> usize {
        threads.min(self.n * self.heads).max(1) * blocks::backward_scratch(self)
    }
}

/// Which keys a query sees, of those inside the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// All of its own sequence.
    All,
    /// Those of its own sequence up to its own place.
    Causal,
    /// All of another sequence, which has so many rows.
    Other {
        /// How many keys each sequence has.
        keys: usize,
    },
}

impl Sight {
    /// What queries of texts of `tokens` rows see of `keys` rows; where there are as many, they are taken for their own.
    pub fn of(causal: bool, tokens: usize, keys: usize) -> Self {
        match causal {
            true => Self::Causal,
            false if tokens == keys => Self::All,
            false => Self::Other { keys },
        }
    }
}

/// Rows of `heads` times `dim` numbers, `stride` numbers apart; sequences follow each other without a gap.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The numbers, from the first one of the first row.
    pub data: &'a [f32],
    /// From one row to the next.
    pub stride: usize,
    /// From one head of a row to the next.
    pub head: usize,
}

/// Queries, keys and values: rows of `heads` times `dim` numbers, those of a sequence behind those of the one before.
#[derive(Clone, Copy, Debug)]
pub struct Qkv<'a> {
    /// The queries.
    pub q: Rows<'a>,
    /// The keys.
    pub k: Rows<'a>,
    /// The values.
    pub v: Rows<'a>,
}

impl<'a> Qkv<'a> {
    /// Three buffers of `[n, tokens, heads * dim]`, or `[n, keys, heads * dim]`.
    pub fn separate(attention: &Attention, q: &'a [f32], k: &'a [f32], v: &'a [f32]) -> Self {
        let rows = |data| Rows {
            data,
            stride: attention.channels(),
            head: attention.dim,
        };
        Self {
            q: rows(q),
            k: rows(k),
            v: rows(v),
        }
    }

    /// One buffer of `[n, tokens, 3 * heads * dim]`: the queries, keys and values of a row beside each other.
    pub fn packed(attention: &Attention, qkv: &'a [f32]) -> Self {
        Self::beside(attention, qkv, [attention.channels(), attention.dim])
    }

    /// One buffer of `[n, tokens, heads * 3 * dim]`: query, key and value of each head of a row beside each other.
    pub fn by_head(attention: &Attention, qkv: &'a [f32]) -> Self {
        Self::beside(attention, qkv, [attention.dim, 3 * attention.dim])
    }

    fn beside(attention: &Attention, qkv: &'a [f32], [part, head]: [usize; 2]) -> Self {
        let rows = |at: usize| Rows {
            data: qkv.get(at * part..).unwrap_or_default(),
            stride: 3 * attention.channels(),
            head,
        };
        Self {
            q: rows(0),
            k: rows(1),
            v: rows(2),
        }
    }
}

/// Where the gradients of queries, keys and values go; overwritten.
#[derive(Debug)]
pub enum QkvGrads<'a> {
    /// Three buffers of `[n, tokens, heads * dim]`, or `[n, keys, heads * dim]`: queries, keys, values.
    Separate([&'a mut [f32]; 3]),
    /// One buffer of `[n, tokens, 3 * heads * dim]`; not for keys of another text.
    Packed(&'a mut [f32]),
}

/// What the forward pass of training leaves.
#[derive(Debug)]
pub struct AttentionOut<'a> {
    /// `[n, tokens, heads * dim]`.
    pub y: &'a mut [f32],
    /// The probabilities before dropout: `[n, heads, tokens, keys]`.
    pub probabilities: &'a mut [f32],
    /// At least [`Attention::forward_scratch`] numbers.
    pub scratch: &'a mut [f32],
}

/// What the backward pass reads.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSaved<'a> {
    /// Queries, keys and values of the forward pass.
    pub qkv: Qkv<'a>,
    /// The probabilities before dropout: `[n, heads, tokens, keys]`.
    pub probabilities: &'a [f32],
    /// The same dropout as in the forward pass.
    pub dropout: Dropout,
}

/// The rows of this family: name and tier.
pub const KERNELS: &[(&str, Tier)] = &[
    ("f32_attention_scalar", Tier::Scalar),
    ("f32_attention_avx2", Tier::Avx2),
    ("f32_attention_avx512", Tier::Avx512),
];

/// The kernel of [`forward_in_bytes`]: name and tier. It also asks for VNNI.
pub const BYTE_KERNELS: &[(&str, Tier)] = &[("i8_attention_avx512_vnni", Tier::Avx512)];

/// `y = softmax(scale q k^T + additive) v` for each head; `scratch` holds at least [`Attention::forward_scratch`] numbers.
pub fn forward(cpu: Cpu, attention: &Attention, qkv: Qkv, y: &mut [f32], scratch: &mut [f32]) {
    check(attention, qkv, y);
    assert!(scratch.len() >= attention.forward_scratch(cpu.threads.count()));
    blocks::forward(cpu, attention, qkv, y, scratch);
}

/// [`forward`] in tiles where the CPU multiplies them, with numbers as sums of so many bfloat16; `scratch` holds at least
/// [`Attention::tiles_scratch`] numbers.
pub fn forward_on_tiles(
    cpu: Cpu,
    attention: &Attention,
    element: Element,
    qkv: Qkv,
    y: &mut [f32],
    scratch: &mut [f32],
) {
    check(attention, qkv, y);
    assert!(scratch.len() >= attention.tiles_scratch(element, cpu.threads.count()));
    #[cfg(target_arch = "x86_64")]
    if attention.fits_tiles(element) {
        let (one, y) = (tiles::scratch(attention, element), SharedMut::new(y));
        blocks::each_head(cpu, attention, scratch, one, |head, scratch| {
            tiles::head(head, element, qkv, &y, scratch);
        });
        return;
    }
    blocks::forward(cpu, attention, qkv, y, scratch);
}

/// Whether the CPU has the instructions for [`forward_in_bytes`].
pub fn has_bytes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return bytes::is_present();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// [`forward`] with queries, keys, values and probabilities in bytes, where the CPU adds up their products and no query is to see less
/// than all keys; `scratch` holds at least [`Attention::bytes_scratch`] numbers.
///
/// Channels of keys and values have a step each, counted from the middle of what they span; that of keys goes over to the queries,
/// which have one step for a head.
/// What rounding takes from a probability goes to that of a later key, so that many small ones do not vanish (error diffusion, Floyd
/// and Steinberg, 1976).
pub fn forward_in_bytes(
    cpu: Cpu,
    attention: &Attention,
    qkv: Qkv,
    y: &mut [f32],
    scratch: &mut [f32],
) {
    check(attention, qkv, y);
    assert!(scratch.len() >= attention.bytes_scratch(cpu.threads.count()));
    #[cfg(target_arch = "x86_64")]
    if bytes::fits(attention) {
        let (one, y) = (bytes::scratch(attention), SharedMut::new(y));
        blocks::each_head(cpu, attention, scratch, one, |head, scratch| {
            bytes::head(head, qkv, &y, scratch);
        });
        return;
    }
    blocks::forward(cpu, attention, qkv, y, scratch);
}

/// [`forward`] with dropout on the probabilities, that keeps what [`backward`] reads.
pub fn forward_train(
    cpu: Cpu,
    attention: &Attention,
    qkv: Qkv,
    dropout: Dropout,
    out: AttentionOut,
) {
    check(attention, qkv, out.y);
    assert!(attention.starts.is_none(), "training keeps its padding");
    assert_eq!(out.probabilities.len(), attention.probabilities());
    assert!(out.scratch.len() >= attention.forward_scratch(cpu.threads.count()));
    blocks::forward_train(cpu, attention, qkv, dropout, out);
}

/// The gradients of [`forward_train`]; `scratch` holds at least [`Attention::backward_scratch`] numbers.
pub fn backward(
    cpu: Cpu,
    attention: &Attention,
    saved: AttentionSaved,
    dy: &[f32],
    grads: QkvGrads,
    scratch: &mut [f32],
) {
    check(attention, saved.qkv, dy);
    assert!(attention.starts.is_none(), "training keeps its padding");
    assert_eq!(saved.probabilities.len(), attention.probabilities());
    assert!(scratch.len() >= attention.backward_scratch(cpu.threads.count()));
    let numbers = |rows: usize| attention.n * rows * attention.channels();
    let (queries, keys) = (numbers(attention.tokens), numbers(attention.keys()));
    match &grads {
        QkvGrads::Separate([dq, dk, dv]) => {
            assert_eq!([dq.len(), dk.len(), dv.len()], [queries, keys, keys]);
        }
        QkvGrads::Packed(one) => {
            assert_eq!(attention.keys(), attention.tokens, "rows lie side by side");
            assert_eq!(one.len(), 3 * queries);
        }
    }
    blocks::backward(cpu, attention, saved, dy, grads, scratch);
}

fn check(attention: &Attention, qkv: Qkv, y: &[f32]) {
    if let Some(starts) = attention.starts {
        assert!(!matches!(attention.sight, Sight::Other { .. }));
        assert!(starts.len() == attention.n + 1 && starts[0] == 0);
        let fits = |pair: &[usize]| pair[0] <= pair[1] && pair[1] - pair[0] <= attention.tokens;
        assert!(starts.windows(2).all(fits), "a sequence of too many rows");
    }
    let rows = attention.start(attention.n);
    assert_eq!(y.len(), rows * attention.channels());
    let keys = attention.key_start(attention.n);
    for (part, rows) in [(qkv.q, rows), (qkv.k, keys), (qkv.v, keys)] {
        assert!(part.head >= attention.dim);
        let row = attention.heads.saturating_sub(1) * part.head + attention.dim;
        assert!(part.stride >= row);
        assert!(rows == 0 || part.data.len() >= (rows - 1) * part.stride + row);
    }
    assert!(
        attention
            .lengths
            .is_none_or(|lengths| lengths.len() == attention.n)
    );
    assert!(
        attention
            .additive
            .is_none_or(|additive| additive.len() == keys)
    );
}

#[cfg(test)]
mod tests;
