//! Attention of one head in tiles of bfloat16: scores of 32 queries with all keys, their softmax, and its product with the values.

use std::arch::x86_64::*;
use std::f32::consts::LOG2_E;

use super::blocks::{Head, lines};
use super::{Attention, Qkv};
use crate::amx::split::{load, part, wide};
use crate::amx::{Element, Job, Kernel, Registers, SplitRows};
use crate::elementwise::transpose::interleave;
use crate::vector::{F32x16, Vector, exp, rough_exp2};
use crate::{SharedMut, Tier};

/// Rows of a strip, and bytes of a tile.
const STRIP: usize = 16;
const TILE: usize = 1024;
/// Keys, queries or columns that pass at a time.
const BLOCK: usize = 32;

/// The most keys and channels of a head.
pub(super) const MOST: usize = 4096;

/// Where each step's line lies in a row.
static OFFSETS: [usize; MOST / BLOCK] = {
    let mut offsets = [0; MOST / BLOCK];
    let mut step = 0;
    while step < offsets.len() {
        offsets[step] = 64 * step;
        step += 1;
    }
    offsets
};

/// Where everything lies in the scratch of one thread, in bytes.
struct Places {
    /// Steps of a query with a key: lines of a head's channels.
    steps: usize,
    parts: usize,
    /// Blocks of keys.
    blocks: usize,
    /// Bytes of a row of queries and of probabilities: odd numbers of lines, so that rows spread over a cache.
    query: usize,
    probability: usize,
    keys: usize,
    values: usize,
    queries: usize,
    scores: usize,
    probabilities: usize,
    sums: usize,
    end: usize,
}

impl Places {
    fn new(attention: &Attention, element: Element) -> Places {
        let parts = element.parts();
        let steps = attention.dim.div_ceil(BLOCK);
        let blocks = attention.keys().div_ceil(BLOCK);
        let (query, probability) = (64 * (steps | 1), 64 * (blocks | 1));
        let keys = 0;
        let values = keys + blocks * steps * parts * 2 * TILE;
        let queries = values + steps * blocks * parts * 2 * TILE;
        let scores = queries + parts * BLOCK * query;
        let probabilities = scores + blocks * 4 * TILE;
        let sums = probabilities + parts * BLOCK * probability;
        Places {
            steps,
            parts,
            blocks,
            query,
            probability,
            keys,
            values,
            queries,
            scores,
            probabilities,
            sums,
            end: sums + 4 * TILE,
        }
    }
}

/// How many numbers of scratch one thread needs, with room to begin at a line.
pub(super) fn scratch(attention: &Attention, element: Element) -> usize {
    Places::new(attention, element).end / 4 + 16
}

/// One head.
pub(super) fn head(
    head: Head,
    element: Element,
    qkv: Qkv,
    y: &SharedMut<f32>,
    scratch: &mut [f32],
) {
    let kernel = Kernel::of(Tier::detect(), element);
    assert!(kernel.tier >= Tier::Avx512, "the machine multiplies tiles");
    let length = head.length();
    if length == 0 {
        return head.write_zeros(y);
    }
    let places = Places::new(head.attention, element);
    let work = Work {
        head,
        base: lines(scratch, places.end),
        places,
        length,
        kernel,
        blocks: kernel.blocks(element),
        qkv,
    };
    // SAFETY: a machine that runs such a kernel has AVX-512 with bfloat16; the scratch holds all places.
    unsafe { work.run(y) };
}

struct Work<'a> {
    head: Head<'a>,
    places: Places,
    length: usize,
    kernel: &'static Kernel,
    blocks: &'static [[crate::amx::Block; 2]; 2],
    qkv: Qkv<'a>,
    base: *mut u8,
}

/// Queries that pass together.
#[derive(Clone, Copy)]
struct Queries {
    first: usize,
    count: usize,
    /// Blocks of keys that the last of them sees; every other one sees a part of the last block too.
    blocks: usize,
}

impl Work<'_> {
    /// # Safety
    /// The CPU has the features and what the kernel needs, and `base` is valid for all places.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    unsafe fn run(&self, y: &SharedMut<f32>) {
        let a = self.head.attention;
        // SAFETY (of all blocks below): the caller's promise.
        let _registers = (self.kernel.tier == Tier::Amx).then(|| unsafe { Registers::set_up() });
        unsafe {
            self.pack_keys();
            self.pack_values();
        }
        let rows = a.rows(self.head.sequence);
        for first in (0..rows).step_by(BLOCK) {
            let count = BLOCK.min(rows - first);
            let queries = Queries {
                first,
                count,
                blocks: a.seen(self.head.sequence, first + count).div_ceil(BLOCK),
            };
            unsafe {
                self.scores(queries);
                let factors = self.softmax(queries);
                self.sums(queries, &factors, y);
            }
        }
    }

    /// Blocks of keys that count.
    fn blocks_here(&self) -> usize {
        self.length.div_ceil(BLOCK)
    }

    /// The first number of a row of this head, of keys or values.
    fn row(&self, rows: super::Rows, row: usize) -> *const f32 {
        let a = self.head.attention;
        let row = a.key_start(self.head.sequence) + row;
        rows.data[row * rows.stride + self.head.head * rows.head..].as_ptr()
    }

    /// The keys as right tiles, `[block][step][part][2]`: pairs of channels by keys.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    unsafe fn pack_keys(&self) {
        let p = &self.places;
        for tile in 0..2 * self.blocks_here() {
            for step in 0..p.steps {
                let left = (self.head.attention.dim - step * BLOCK).min(BLOCK);
                let mut rows = [[_mm512_setzero_ps(); 2]; STRIP];
                for (at, row) in rows.iter_mut().enumerate() {
                    let key = tile * STRIP + at;
                    if key < self.length {
                        let from = self.row(self.qkv.k, key).wrapping_add(step * BLOCK);
                        // SAFETY: the row has so many numbers left.
                        *row = unsafe { load(from, left) };
                    }
                }
                for index in 0..p.parts {
                    let mut lines = [F32x16(_mm512_setzero_ps()); STRIP];
                    for (line, row) in lines.iter_mut().zip(&mut rows) {
                        *line = F32x16(_mm512_castsi512_ps(part(row)));
                    }
                    interleave(&mut lines);
                    let place = ((tile / 2 * p.steps + step) * p.parts + index) * 2 + tile % 2;
                    let to = self.base.wrapping_add(p.keys + TILE * place);
                    for (row, line) in lines.into_iter().enumerate() {
                        // SAFETY: the caller's promise.
                        unsafe { _mm512_store_ps(to.wrapping_add(64 * row).cast(), line.0) };
                    }
                }
            }
        }
    }

    /// The values as right tiles, `[block of channels][block of keys][part][tiles]`: pairs of keys by channels.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    unsafe fn pack_values(&self) {
        let p = &self.places;
        let dim = self.head.attention.dim;
        for pair in 0..STRIP * self.blocks_here() {
            let (block, row) = (pair / STRIP, pair % STRIP);
            for column in 0..p.steps {
                let left = (dim - column * BLOCK).min(BLOCK);
                let tiles = left.div_ceil(STRIP);
                let mut rows = [[_mm512_setzero_ps(); 2]; 2];
                for (at, row) in rows.iter_mut().enumerate() {
                    let key = 2 * pair + at;
                    if key < self.length {
                        let from = self.row(self.qkv.v, key).wrapping_add(column * BLOCK);
                        // SAFETY: the row has so many numbers left.
                        *row = unsafe { load(from, left) };
                    }
                }
                for index in 0..p.parts {
                    let [even, odd] = &mut rows;
                    let (even, odd) = (part(even), part(odd));
                    let pairs = |even: __m256i, odd: __m256i| {
                        let odd = _mm512_castps_si512(wide(odd));
                        _mm512_or_si512(_mm512_cvtepu16_epi32(even), odd)
                    };
                    let start = column * p.blocks * p.parts * 2 + (block * p.parts + index) * tiles;
                    let to = self.base.wrapping_add(p.values + TILE * start + 64 * row);
                    let low = pairs(_mm512_castsi512_si256(even), _mm512_castsi512_si256(odd));
                    // SAFETY: the caller's promise.
                    unsafe { _mm512_store_si512(to.cast(), low) };
                    if tiles > 1 {
                        let high = pairs(
                            _mm512_extracti64x4_epi64::<1>(even),
                            _mm512_extracti64x4_epi64::<1>(odd),
                        );
                        // SAFETY: as above.
                        unsafe { _mm512_store_si512(to.wrapping_add(TILE).cast(), high) };
                    }
                }
            }
        }
    }

    /// The scores of some queries with all keys that they see, `[block][2 strips][16][32]`.
    ///
    /// # Safety
    /// As for [`Work::run`].
    unsafe fn scores(&self, queries: Queries) {
        let Queries { first, count, .. } = queries;
        let p = &self.places;
        let q = self.qkv.q;
        let to = self.base.wrapping_add(p.queries);
        let rows = SplitRows {
            lda: q.stride,
            groups: 1,
            k: self.head.attention.dim,
            lines: p.steps,
            pixel: p.query,
            plane: BLOCK * p.query,
            parts: p.parts,
        };
        let start = self.head.attention.start(self.head.sequence) + first;
        let start = start * q.stride + self.head.head * q.head;
        // SAFETY: the place holds 32 queries.
        unsafe { rows.split(self.kernel.tier, &q.data[start..], count, to) };
        let strips = count.div_ceil(STRIP);
        for block in 0..queries.blocks {
            let bytes = p.steps * p.parts * 2 * TILE;
            let b = self.base.wrapping_add(p.keys + block * bytes);
            let c = self.base.wrapping_add(p.scores + block * 4 * TILE);
            let job = self.job((to, p.query), p.steps, b, c);
            // SAFETY: queries, keys and scores lie at their places.
            unsafe { self.blocks[strips - 1][1](&job) };
        }
    }

    /// A product of 32 rows of `a`, so many bytes apart.
    fn job(&self, (a, row): (*mut u8, usize), steps: usize, b: *const u8, c: *mut u8) -> Job {
        Job {
            a0: a,
            a1: a.wrapping_add(STRIP * row),
            stride: row,
            plane: BLOCK * row,
            offsets: OFFSETS.as_ptr(),
            steps,
            b,
            c: c.cast(),
            prefetch: b,
            lines: 0,
            add: false,
        }
    }

    /// The scores' exponentials in parts, and for each query what makes them probabilities.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    unsafe fn softmax(&self, queries: Queries) -> [f32; BLOCK] {
        let mut factors = [0.0; BLOCK];
        for (query, factor) in factors.iter_mut().enumerate().take(queries.count) {
            let a = self.head.attention;
            let seen = a.seen(self.head.sequence, queries.first + query + 1);
            // SAFETY: the caller's promise.
            let sum = unsafe {
                match self.places.parts {
                    1 => self.exponentials::<1>(query, seen),
                    2 => self.exponentials::<2>(query, seen),
                    _ => self.exponentials::<3>(query, seen),
                }
            };
            *factor = 1.0 / sum;
        }
        factors
    }

    /// The exponentials of a query's scores with the keys that it sees, in parts, and their sum.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    unsafe fn exponentials<const PARTS: usize>(&self, query: usize, seen: usize) -> f32 {
        let p = &self.places;
        let (whole, rest) = (seen / BLOCK, seen % BLOCK);
        let scores = self.base.wrapping_add(p.scores + 128 * query);
        let scores = |block: usize| scores.wrapping_add(block * 4 * TILE).cast::<f32>();
        // SAFETY (of all blocks below): the caller's promise.
        let read = |block: usize| unsafe {
            let high = scores(block).wrapping_add(16);
            [_mm512_loadu_ps(scores(block)), _mm512_loadu_ps(high)].map(F32x16)
        };
        // What lies behind the last key is no score.
        let read_rest = || unsafe {
            let none = _mm512_set1_ps(f32::NEG_INFINITY);
            let mask = |keys: usize| if keys >= 16 { 0xffff } else { (1 << keys) - 1 };
            let (low, high) = (scores(whole), scores(whole).wrapping_add(16));
            let second = mask(rest.saturating_sub(16));
            [
                F32x16(_mm512_mask_loadu_ps(none, mask(rest), low)),
                F32x16(_mm512_mask_loadu_ps(none, second, high)),
            ]
        };
        let mut most = [F32x16::splat(f32::NEG_INFINITY); 2];
        for block in 0..whole {
            let [low, high] = read(block);
            most = [most[0].max(low), most[1].max(high)];
        }
        if rest > 0 {
            let [low, high] = read_rest();
            most = [most[0].max(low), most[1].max(high)];
        }
        let most = most[0].max(most[1]).largest();
        let scale = self.head.attention.scale;
        let row = Row {
            most: F32x16::splat(most),
            scale: F32x16::splat(scale),
            cool: F32x16::splat(scale * LOG2_E),
            below: F32x16::splat(-(most * (scale * LOG2_E))),
        };
        let to = self.base.wrapping_add(p.probabilities);
        let to = to.wrapping_add(p.probability * query);
        let mut sums = [F32x16::splat(0.0); 2];
        for block in 0..whole + usize::from(rest > 0) {
            let both = match block < whole {
                true => read(block),
                false => read_rest(),
            };
            let [low, high] = row.powers::<PARTS>(both);
            sums = [sums[0] + low, sums[1] + high];
            let mut both = [low.0, high.0];
            for index in 0..PARTS {
                let to = to.wrapping_add(index * BLOCK * p.probability + 64 * block);
                unsafe { _mm512_store_si512(to.cast(), part(&mut both)) };
            }
        }
        (sums[0] + sums[1]).sum()
    }

    /// The probabilities' products with the values.
    ///
    /// # Safety
    /// As for [`Work::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    unsafe fn sums(&self, queries: Queries, factors: &[f32; BLOCK], y: &SharedMut<f32>) {
        let Queries { first, count, .. } = queries;
        let (p, a) = (&self.places, self.head.attention);
        let strips = count.div_ceil(STRIP);
        let left = self.base.wrapping_add(p.probabilities);
        let c = self.base.wrapping_add(p.sums);
        for column in 0..p.steps {
            let width = (a.dim - column * BLOCK).min(BLOCK);
            let tiles = width.div_ceil(STRIP);
            let b = column * p.blocks * p.parts * 2 * TILE;
            let b = self.base.wrapping_add(p.values + b);
            let job = self.job((left, p.probability), queries.blocks, b, c);
            // SAFETY: probabilities, values and sums lie at their places.
            unsafe { self.blocks[strips - 1][tiles - 1](&job) };
            for (row, &factor) in factors.iter().enumerate().take(count) {
                let place = a.start(self.head.sequence) + first + row;
                let start = place * a.channels() + self.head.head * a.dim + column * BLOCK;
                // SAFETY: each head of each sequence has its own part of the output.
                let y = unsafe { y.slice(start..start + width) };
                let sums = c.wrapping_add(128 * row).cast::<f32>();
                let factor = F32x16::splat(factor);
                // SAFETY: a row of sums has 32 numbers.
                let sum = |at: usize| F32x16(unsafe { _mm512_loadu_ps(sums.wrapping_add(at)) });
                if width == BLOCK {
                    (sum(0) * factor).store(&mut y[..16]);
                    (sum(16) * factor).store(&mut y[16..]);
                } else {
                    for (at, y) in y.chunks_mut(16).enumerate() {
                        (sum(16 * at) * factor).store_part(y);
                    }
                }
            }
        }
    }
}

/// What a query's scores are counted from, and how they are scaled.
struct Row {
    most: F32x16,
    scale: F32x16,
    /// The scale to base 2, and where the largest score is under it, with the other sign.
    cool: F32x16,
    below: F32x16,
}

impl Row {
    /// Their exponentials; roughly where only the first part is asked for.
    #[inline(always)]
    fn powers<const PARTS: usize>(&self, scores: [F32x16; 2]) -> [F32x16; 2] {
        let [low, high] = scores;
        match PARTS {
            1 => {
                let power = |x: F32x16| rough_exp2(x.mul_add(self.cool, self.below));
                [power(low), power(high)]
            }
            _ => {
                let power = |x: F32x16| exp((x - self.most) * self.scale);
                [power(low), power(high)]
            }
        }
    }
}
