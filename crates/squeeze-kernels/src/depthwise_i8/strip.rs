//! The loops, written once for every tier: lanes are channels, four rows of the image lie in a quad.
//!
//! For as many channels as a register has bytes, the bytes of four rows of each column are interleaved to quads, once; they stay in
//! the first cache while all windows that read them are summed. Where a quad has room for the rows of two windows, one below the
//! other, both are summed from the same quads with two sets of weights.

use std::mem::MaybeUninit;

use super::Kernel;
use super::finish::Finish;
use crate::activation::curve::Curve;
use crate::depthwise::Depthwise;
use crate::vector::Vector;

/// One register of bytes, or of a quarter as many sums. Its methods are few instructions of a tier and may run only below a
/// `#[target_feature]` function of that tier.
pub(super) trait Lanes: Copy {
    /// Bytes of a register: channels of a strip.
    const BYTES: usize;
    /// Windows beside each other that are summed at once: 4 or 1.
    const PIXELS: usize;
    /// Whether windows of three quads have code of their own.
    const THREES: bool;
    /// Bytes of the weights of a register of quads.
    const WEIGHTS: usize;
    /// A quarter as many numbers.
    type Floats: Vector;
    /// Quads as products take them.
    type Quads: Copy;
    /// Weights of quads.
    type Weights: Copy;

    /// The same byte everywhere.
    fn splat(byte: u8) -> Self;
    /// A register.
    ///
    /// # Safety
    /// `from` is valid for reading a register.
    unsafe fn load(from: *const u8) -> Self;
    /// `count` bytes, fewer than a register has.
    ///
    /// # Safety
    /// `from` is valid for reading so many.
    unsafe fn load_part(from: *const u8, count: usize) -> Self;
    /// Writes a register.
    ///
    /// # Safety
    /// `to` is valid for writing a register.
    unsafe fn store(self, to: *mut u8);
    /// Writes `count` bytes, fewer than a register has.
    ///
    /// # Safety
    /// `to` is valid for writing so many.
    unsafe fn store_part(self, to: *mut u8, count: usize);
    /// Quads of the bytes of four rows, in the order that [`Lanes::words`] and [`Lanes::bytes`] undo.
    fn interleave(rows: [Self; 4]) -> [Self; 4];
    /// Quads as products take them.
    fn quads(self) -> Self::Quads;
    /// The weights of a register of quads.
    ///
    /// # Safety
    /// `from` is valid for reading [`Lanes::WEIGHTS`] bytes.
    unsafe fn weights(from: *const u8) -> Self::Weights;
    /// These sums and in each the four products.
    fn add_dot(self, quads: Self::Quads, weights: Self::Weights) -> Self;
    /// Sums in single precision.
    fn numbers(self) -> Self::Floats;
    /// The nearest whole numbers, half to even; for numbers that are none in 32 bits, the least.
    fn whole(numbers: Self::Floats) -> Self;
    /// Two registers of whole numbers as words of 16 bits, the nearest bound beyond them.
    fn words(self, right: Self) -> Self;
    /// Two registers of words as unsigned bytes, the nearest bound beyond them.
    fn bytes(self, right: Self) -> Self;
    /// Unsigned bytes within limits.
    fn clamp(self, low: Self, high: Self) -> Self;
    /// A curve at these places.
    fn curve(places: Self::Floats, curve: &Curve) -> Self::Floats;
}

/// Computes a strip.
///
/// # Safety
/// The CPU has what the kernel needs. Each of the strip's rows and its output hold [`Across::c`] bytes for each column, from which
/// its channels are inside, and the table is the strip's.
pub(super) type StripFn = unsafe fn(&Strip, &mut Room);

/// The most rows of an image that are read together.
pub(super) const MOST_ROWS: usize = 32;

/// The most quads of a window.
const MOST_QUADS: usize = 64;

/// What follows a window's quads. The loop over them ends there and not with a count, for which the compiler would write it many
/// times over.
const END: usize = usize::MAX;

/// Registers of quads of each of the four quarters of a strip's channels that stay in the first cache.
const REGISTERS: usize = 64;

/// Columns of quads that are in the room together: so few that the rows of the image stay near, too.
const COLUMNS: usize = 32;

/// A register of the widest, or less.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Register([u8; 64]);

/// One more than are used, so that the quarters do not lie 4 kB apart, where they put each other out of the first cache.
type Quarter = [MaybeUninit<Register>; REGISTERS + 1];

/// Where quads lie on their way.
pub(super) struct Room {
    quads: [Quarter; 4],
}

impl Room {
    pub fn new() -> Room {
        Room {
            quads: [[MaybeUninit::uninit(); REGISTERS + 1]; 4],
        }
    }
}

/// What all rows of a layer have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Across {
    /// Columns of the input.
    w: usize,
    /// Channels.
    pub c: usize,
    /// Columns of the output.
    out_w: usize,
    /// Columns of padding at the left.
    left: usize,
    stride: usize,
    /// How many columns a window spans.
    span: usize,
    /// Groups of four rows that windows read.
    groups: usize,
    /// Whether a window's quads are three neighbours.
    is_three: bool,
    /// Where each quad of a window lies from the first: group after group, as many columns each as there is room for; then [`END`].
    quads: [usize; MOST_QUADS + 1],
    /// How many quads a window has.
    count: usize,
    /// Windows beside each other whose quads are in the room together.
    piece: usize,
    /// Rows of the output that are computed together: 1 or 2.
    pub rows: usize,
    zero: u8,
}

impl Across {
    /// If the kernel can compute it.
    pub fn of(geometry: &Depthwise, kernel: &Kernel, zero: u8) -> Option<Across> {
        if kernel.strips.is_empty() {
            return None;
        }
        let [kh, kw] = geometry.kernel;
        let groups = kh.div_ceil(4);
        let share = (geometry.stride[0] + kh).div_ceil(4) == groups;
        let rows = match share && geometry.dilation[0] == 1 && geometry.out_h() > 1 {
            true => 2,
            false => 1,
        };
        let mut across = Across {
            w: geometry.w,
            c: geometry.c,
            out_w: geometry.out_w(),
            left: geometry.padding[1],
            stride: geometry.stride[1],
            span: (kw - 1) * geometry.dilation[1] + 1,
            groups,
            is_three: [groups, kw, geometry.dilation[1]] == [1, 3, 1]
                && (rows, geometry.stride[1]) != (2, 2),
            quads: [END; MOST_QUADS + 1],
            count: groups * kw,
            piece: 1,
            rows,
            zero,
        };
        if 4 * groups > MOST_ROWS || across.count > MOST_QUADS {
            return None;
        }
        let columns = across.columns();
        let most = columns.checked_sub(across.span)? / across.stride + 1;
        for (at, quad) in across.quads.iter_mut().enumerate().take(groups * kw) {
            *quad = at / kw * columns + at % kw * geometry.dilation[1];
        }
        // Pieces are about equal, and whole tiles.
        let pieces = across.out_w.div_ceil(most).max(1);
        let piece = across.out_w.div_ceil(pieces).next_multiple_of(4);
        across.piece = piece.clamp(1, most);
        Some(across)
    }

    /// Where a quad of a window lies from the first: `Q` neighbours, or as the list says for 0.
    #[inline(always)]
    fn quad<const Q: usize>(&self, at: usize) -> Option<usize> {
        let (quad, end) = match Q {
            0 => (self.quads[at], END),
            _ => (at, Q),
        };
        (quad != end).then_some(quad)
    }

    /// How many columns there is room for.
    fn columns(&self) -> usize {
        (REGISTERS / self.groups).min(COLUMNS)
    }
}

/// Some channels of one row of the output, or of two.
pub(super) struct Strip<'a> {
    pub across: &'a Across,
    pub finish: &'a Finish,
    /// Rows of the image, one for each row that the taps read.
    pub rows: &'a [*const u8; MOST_ROWS],
    /// The first channel.
    pub first: usize,
    /// How many there are.
    pub channels: usize,
    /// The strip's block of the table.
    pub table: *const u8,
    /// The first row of the output, which the second follows.
    pub to: *mut u8,
    /// How many rows of the output.
    pub count: usize,
}

/// [`StripFn`] for registers of any tier.
///
/// # Safety
/// As for [`StripFn`].
#[inline(always)]
pub(super) unsafe fn strip<L: Lanes>(strip: &Strip, room: &mut Room) {
    let across = strip.across;
    let mut first = 0;
    while first < across.out_w {
        let count = across.piece.min(across.out_w - first);
        let columns = (count - 1) * across.stride + across.span;
        // SAFETY (of both blocks): the caller's promise; the room has the quads of so many windows, which are written before they
        // are read.
        unsafe { interleave::<L>(strip, first * across.stride, columns, room) };
        match L::THREES && across.is_three {
            true => unsafe { tiles::<L, 3>(strip, first, count, room) },
            false => unsafe { tiles::<L, 0>(strip, first, count, room) },
        }
        first += count;
    }
}

/// `count` windows from `first` on, of which the room has the quads: `Q` neighbours each, or as many as `strip` says for 0.
///
/// # Safety
/// As for [`StripFn`]; the room holds the quads of these windows.
#[inline(always)]
unsafe fn tiles<L: Lanes, const Q: usize>(
    strip: &Strip,
    first: usize,
    count: usize,
    room: &mut Room,
) {
    let stride = strip.across.stride;
    let mut at = 0;
    while at < count {
        let place = (first, at);
        let windows = match count - at {
            _ if stride > 2 => 1,
            4.. if L::PIXELS >= 4 => 4,
            2.. if L::PIXELS >= 4 => 2,
            _ => 1,
        };
        // SAFETY (of all blocks below): the caller's promise.
        match (windows, stride, strip.count) {
            (4, 1, 2) if L::PIXELS >= 4 => unsafe { tile::<L, Q, 4, 2, 1>(strip, place, room) },
            (4, 1, _) if L::PIXELS >= 4 => unsafe { tile::<L, Q, 4, 1, 1>(strip, place, room) },
            (4, _, 2) if L::PIXELS >= 4 && Q == 0 => unsafe {
                tile::<L, Q, 4, 2, 2>(strip, place, room)
            },
            (4, ..) if L::PIXELS >= 4 => unsafe { tile::<L, Q, 4, 1, 2>(strip, place, room) },
            (2, 1, 2) if L::PIXELS >= 4 => unsafe { tile::<L, Q, 2, 2, 1>(strip, place, room) },
            (2, 1, _) if L::PIXELS >= 4 => unsafe { tile::<L, Q, 2, 1, 1>(strip, place, room) },
            (2, _, 2) if L::PIXELS >= 4 && Q == 0 => unsafe {
                tile::<L, Q, 2, 2, 2>(strip, place, room)
            },
            (2, ..) if L::PIXELS >= 4 => unsafe { tile::<L, Q, 2, 1, 2>(strip, place, room) },
            (_, _, 2) => unsafe { tile::<L, Q, 1, 2, 0>(strip, place, room) },
            _ => unsafe { tile::<L, Q, 1, 1, 0>(strip, place, room) },
        }
        at += windows;
    }
}

/// Interleaves `count` columns, the first counted from the padding's, to quads.
///
/// # Safety
/// As for [`StripFn`]; the room holds so many columns.
#[inline(always)]
unsafe fn interleave<L: Lanes>(strip: &Strip, first: usize, count: usize, room: &mut Room) {
    let across = strip.across;
    let inside = |column: usize| column.clamp(first, first + count) - first;
    let (begin, end) = (inside(across.left), inside(across.left + across.w));
    let zeros = L::splat(across.zero);
    let full = strip.channels == L::BYTES;
    for group in 0..across.groups {
        let place = group * across.columns();
        for column in (0..begin).chain(end..count) {
            // SAFETY: the room holds the column.
            unsafe { keep::<L>([zeros; 4], place + column, room) };
        }
        let rows: [*const u8; 4] = strip.rows[4 * group..][..4].try_into().expect("four rows");
        // Wraps where the first column is padding, and back with the first that is not.
        let start = first.wrapping_sub(across.left).wrapping_mul(across.c);
        let start = start.wrapping_add(strip.first);
        for column in begin..end {
            let at = start.wrapping_add(column * across.c);
            let mut bytes = [zeros; 4];
            for row in 0..4 {
                let from = rows[row].wrapping_add(at);
                // SAFETY: the column is inside the row, by the range.
                bytes[row] = match full {
                    true => unsafe { L::load(from) },
                    false => unsafe { L::load_part(from, strip.channels) },
                };
            }
            // SAFETY: the room holds the column.
            unsafe { keep::<L>(L::interleave(bytes), place + column, room) };
        }
    }
}

/// Keeps the quads of a column in the room.
///
/// # Safety
/// The room holds the column.
#[inline(always)]
unsafe fn keep<L: Lanes>(quads: [L; 4], column: usize, room: &mut Room) {
    for quarter in 0..4 {
        let to = room.quads[quarter].as_mut_ptr().cast::<u8>();
        // SAFETY: the caller's promise.
        unsafe { quads[quarter].store(to.wrapping_add(column * L::BYTES)) };
    }
}

/// `P` windows beside each other, `S` columns apart, of `R` rows, from quads in the room: window `at` of those there, `first + at`
/// of the row.
///
/// # Safety
/// As for [`StripFn`]; the room holds the quads of these windows.
#[inline(always)]
unsafe fn tile<L: Lanes, const Q: usize, const P: usize, const R: usize, const S: usize>(
    strip: &Strip,
    (first, at): (usize, usize),
    room: &mut Room,
) {
    let limits = strip.finish.limits;
    let (low, high) = (L::splat(limits[0]), L::splat(limits[1]));
    // SAFETY (of all blocks below): the caller's promise.
    let left = unsafe { words::<L, Q, P, R, S>(strip, at, [0, 1], room) };
    let right = unsafe { words::<L, Q, P, R, S>(strip, at, [2, 3], room) };
    for p in 0..P {
        for row in 0..R {
            let bytes = left[p][row].bytes(right[p][row]).clamp(low, high);
            unsafe { write(strip, first + at + p, row, bytes) };
        }
    }
}

/// Writes the bytes of a window of a row.
///
/// # Safety
/// As for [`StripFn`]; the output has the window.
#[inline(always)]
unsafe fn write<L: Lanes>(strip: &Strip, window: usize, row: usize, bytes: L) {
    let at = (row * strip.across.out_w + window) * strip.across.c + strip.first;
    let to = strip.to.wrapping_add(at);
    // SAFETY: the caller's promise.
    match strip.channels == L::BYTES {
        true => unsafe { bytes.store(to) },
        false => unsafe { bytes.store_part(to, strip.channels) },
    }
}

/// Two quarters of a tile's channels as words.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn words<L: Lanes, const Q: usize, const P: usize, const R: usize, const S: usize>(
    strip: &Strip,
    at: usize,
    quarters: [usize; 2],
    room: &Room,
) -> [[L; R]; P] {
    // SAFETY (of both blocks): the caller's promise.
    let left = unsafe { places::<L, Q, P, R, S>(strip, at, quarters[0], room) };
    let mut words = [[L::splat(0); R]; P];
    for p in 0..P {
        for row in 0..R {
            words[p][row] = L::whole(left[p][row]);
        }
    }
    let right = unsafe { places::<L, Q, P, R, S>(strip, at, quarters[1], room) };
    for p in 0..P {
        for row in 0..R {
            words[p][row] = words[p][row].words(L::whole(right[p][row]));
        }
    }
    words
}

/// A quarter of a tile's channels behind the multiply-add: `P * R` sums; as many loads of quads as windows, and of weights as rows,
/// for `P * R` products.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn places<L: Lanes, const Q: usize, const P: usize, const R: usize, const S: usize>(
    strip: &Strip,
    at: usize,
    quarter: usize,
    room: &Room,
) -> [[L::Floats; R]; P] {
    let across = strip.across;
    let quads = room.quads[quarter].as_ptr().cast::<u8>();
    let quads = quads.wrapping_add(at * across.stride * L::BYTES);
    let table = strip.table.wrapping_add(quarter * L::BYTES);
    let quads_of_window = match Q {
        0 => across.count,
        _ => Q,
    };
    let step = across.rows * L::WEIGHTS;
    let weights = 12 * L::BYTES + quarter * quads_of_window * step;
    let mut weights = strip.table.wrapping_add(weights);
    // SAFETY (of all blocks below): the caller's promise.
    let mut sums = [[unsafe { L::load(table) }; R]; P];
    let mut done = 0;
    while let Some(quad) = across.quad::<Q>(done) {
        let from = quads.wrapping_add(quad * L::BYTES);
        let mut loaded = [unsafe { L::weights(weights) }; R];
        for row in 1..R {
            loaded[row] = unsafe { L::weights(weights.add(row * L::WEIGHTS)) };
        }
        weights = weights.wrapping_add(step);
        for p in 0..P {
            let x = unsafe { L::load(from.add(p * S * L::BYTES)) }.quads();
            for row in 0..R {
                sums[p][row] = sums[p][row].add_dot(x, loaded[row]);
            }
        }
        done += 1;
    }
    let [factor, offset] = [4, 8].map(|skipped| {
        let from = table.wrapping_add(skipped * L::BYTES);
        unsafe { L::Floats::load_ptr(from.cast()) }
    });
    let mut places = [[factor; R]; P];
    for p in 0..P {
        for row in 0..R {
            places[p][row] = sums[p][row].numbers().mul_add(factor, offset);
        }
    }
    if let Some(curve) = &strip.finish.curve {
        for p in 0..P {
            for row in 0..R {
                places[p][row] = L::curve(places[p][row], curve);
            }
        }
    }
    if strip.finish.is_large {
        let (low, high) = (L::Floats::splat(0.0), L::Floats::splat(255.0));
        for p in 0..P {
            for row in 0..R {
                // NaN, of an infinity times zero, becomes the lowest byte, as `max` gives its right operand.
                places[p][row] = places[p][row].max(low).min(high);
            }
        }
    }
    places
}
